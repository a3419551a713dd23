"""Which numbers the native packet process gives to whom: a real one is asked what `test_numbers` asks of Python's."""

import os
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from culvert.change import AddPolicy, AddSa, RemoveSa
from culvert.dataplane.userspace import program, wire
from culvert.dataplane.userspace.counters import SEQUENCE
from culvert.dataplane.userspace.leases import BLOCK, BLOCK_NUMBERS_MIN, Record, append, key_name
from culvert.dataplane.userspace.process import PacketProcess
from culvert.dataplane.userspace.tun import close_tun, open_tun
from culvert.ipsec.drops import Reason
from culvert.ipsec.sa import SecurityAssociation
from culvert.ipsec.secret import Secret
from tests.dataplane.sites import OUT, association, selectors, signing
from tests.dataplane.topology import Namespace, wait_until
from tests.dataplane.userspace.parent import Parent

pytestmark = [pytest.mark.network, pytest.mark.usefixtures("native_engine")]

CBC = association("a", OUT)
GCM = replace(CBC, cipher="aes-gcm128", cipher_key=Secret(b"k" * 20), auth="none", auth_key=Secret(b""))
MOVED = replace(GCM, spi=7777)
BAD = replace(GCM, spi=7, cipher_key=Secret(b"o" * 20))
"""Refused: its SPI is a reserved one."""
GMAC = replace(signing("a")[0].sa, auth="aes-gmac128", auth_key=Secret(b"g" * 20))
"""What is around the ESP packets of a bundle."""
POLICIES = [each for each in selectors("a") if isinstance(each, AddPolicy)]
FAR = 2**32
DISK_OCTETS = 128 << 10


class Site(Parent):
    """A packet process with a TUN and no sockets: its packets go nowhere, but use their numbers up."""

    def __init__(self, namespace: Namespace, state: Path) -> None:
        super().__init__(state)
        self.tun = namespace.inside(lambda: open_tun("tt0", offloads=True))
        namespace.run("ip", "link", "set", "tt0", "up")
        namespace.run("ip", "address", "add", "10.1.0.5/32", "dev", "tt0")
        namespace.run("ip", "route", "add", "10.2.0.0/16", "dev", "tt0", "src", "10.1.0.5")
        self.client = namespace.inside(lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        self.client.connect(("10.2.0.5", 9))
        self.process = self.started()

    def started(self) -> PacketProcess:
        fds = {**self.tun, "counters": self.counters.fd, "leases": self.journal.fd}
        return PacketProcess.start(fds, program.chosen())

    def change(self, *changes: wire.PacketChange) -> wire.Reply:
        return self.process.ask(self.prepared(*changes))

    def send(self, packets: int) -> None:
        """So that the TUN's queue never overflows."""
        for number in range(packets):
            self.client.send(b"x" * 20)
            if number % 64 == 63:
                time.sleep(0.002)

    def dropped(self, reason: Reason) -> int:
        return self.counters.drop(reason)[0]

    def reaches(self, sa: SecurityAssociation, number: int) -> None:
        wait_until(lambda: self.at(sa) >= number)
        assert self.at(sa) == number

    def close(self) -> None:
        self.process.end()
        self.client.close()
        close_tun(self.tun)
        self.counters.close()
        self.journal.close()


@pytest.fixture
def site(namespace: Namespace, tmp_path: Path) -> Iterator[Site]:
    made = Site(namespace, tmp_path)
    yield made
    made.close()


def test_switched_off_and_on_again_extended_numbers_go_on(site: Site) -> None:
    extended = replace(GCM, esn=True)
    (slot,) = site.slots.of([AddSa(extended)], ())
    site.counters.numbers[site.counters.base(slot) + SEQUENCE] = FAR + 5000
    append(site.journal.fd, [Record(BLOCK, key_name(extended), extended.identity(), FAR + 9000, 1.0)])
    assert site.change(AddSa(extended), *POLICIES) == wire.Reply()
    site.send(100)
    site.reaches(GCM, FAR + 9100)
    assert site.change(RemoveSa(extended), AddSa(GCM)) == wire.Reply()
    site.send(5)
    wait_until(lambda: site.dropped(Reason.SEQUENCE_EXHAUSTED) == 5)
    assert site.at(GCM) == FAR + 9100
    assert site.change(RemoveSa(GCM), AddSa(extended)) == wire.Reply()
    site.send(10)
    site.reaches(GCM, FAR + 9110)


def test_a_key_that_moves_begins_behind_what_was_sent_after_the_journal_was_read(site: Site) -> None:
    site.change(AddSa(GCM), *POLICIES)
    site.send(500)
    site.reaches(GCM, 500)
    message = site.prepared(RemoveSa(GCM), AddSa(MOVED))
    site.send(1500)
    site.reaches(GCM, 2000)
    left = site.last(GCM)
    assert message.leases[0].last < 2000 < left.last
    assert site.process.ask(message) == wire.Reply()
    # The first block is the new one's own, and on the disk before its first packet.
    begun = site.at(MOVED)
    assert begun >= left.last
    wait_until(lambda: site.last(MOVED).owner == MOVED.identity())
    site.send(10)
    site.reaches(MOVED, begun + 10)
    # Taken back, it goes behind all of that.
    assert site.change(RemoveSa(MOVED), AddSa(GCM)) == wire.Reply()
    assert site.at(GCM) >= begun + BLOCK_NUMBERS_MIN


def test_an_sa_that_a_refused_batch_took_away_comes_back_with_its_lease(site: Site) -> None:
    site.change(AddSa(GCM), *POLICIES)
    site.send(100)
    site.reaches(GCM, 100)
    reply = site.change(RemoveSa(GCM), AddSa(BAD))
    assert reply.failed == 1 and "SPI 7 " in reply.sentence
    site.send(3000)
    wait_until(lambda: site.at(GCM) + site.dropped(Reason.COUNTER_JOURNAL) == 3100)
    assert 1500 < site.at(GCM) <= site.last(GCM).last


def test_without_a_lease_an_sa_is_refused_where_there_is_a_journal(site: Site) -> None:
    reply = site.process.ask(replace(site.prepared(AddSa(GCM)), leases=()))
    assert reply == wire.Reply(0, "/Common/sa-out-4: the counter journal says nothing of the numbers of its key")


def test_a_log_that_nobody_reads_any_more_ends_nothing(site: Site) -> None:
    site.process.end()
    kept, (reading, writing) = os.dup(2), os.pipe()
    full = os.open("/dev/full", os.O_RDWR)
    os.dup2(writing, 2)
    try:
        fds = {**site.tun, "counters": site.counters.fd, "leases": full}
        site.process = PacketProcess.start(fds, program.chosen())
    finally:
        os.dup2(kept, 2)
        for fd in (kept, reading, writing, full):
            os.close(fd)
    site.change(AddSa(GCM), *POLICIES)
    site.send(10)
    wait_until(lambda: site.dropped(Reason.COUNTER_JOURNAL) == 10)
    assert site.process.alive


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    path = tmp_path / "disk"
    path.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={DISK_OCTETS}", "culvert-test", path], check=True)
    yield path
    subprocess.run(["umount", path], check=True)


def until_full(path: Path) -> None:
    with path.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(4096))
        except OSError:
            return


def test_both_sas_of_a_bundle_go_on_when_there_is_room_again(
    namespace: Namespace, small_disk: Path, tmp_path: Path
) -> None:
    site = Site(namespace, tmp_path)
    site.process.end()
    journal = os.open(small_disk / "leases", os.O_RDWR | os.O_CREAT | os.O_APPEND)
    try:
        fds = {**site.tun, "counters": site.counters.fd, "leases": journal}
        site.process = PacketProcess.start(fds, program.chosen())
        policies = [AddPolicy(replace(each.policy, bundle_ah=True)) for each in POLICIES]
        assert site.change(AddSa(CBC), AddSa(GMAC), *policies) == wire.Reply()
        site.send(100)
        site.reaches(GMAC, 100)
        # The last page of the journal's file is its own, and would still take records.
        os.write(journal, bytes(-os.fstat(journal).st_size % 4096))
        until_full(small_disk / "full")
        site.send(1500)
        wait_until(lambda: site.dropped(Reason.COUNTER_JOURNAL) > 0)
        # All that was asked for is refused by then.
        time.sleep(0.6)
        stood = site.at(GMAC)
        (small_disk / "full").unlink()
        sends: Callable[[], bool] = lambda: (site.send(1), site.at(GMAC) > stood + 10)[1]  # noqa: E731
        wait_until(sends)
        assert site.at(CBC) > BLOCK_NUMBERS_MIN // 2
    finally:
        os.close(journal)
        site.close()

"""Which numbers the packet process gives to whom: keys that move, batches that are refused, a log that is gone."""

import os
import socket
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from culvert.change import AddSa, RemoveSa
from culvert.dataplane.userspace import wire
from culvert.dataplane.userspace.counters import SEQUENCE
from culvert.dataplane.userspace.leases import BLOCK, BLOCK_NUMBERS_MIN, Block, Record, append, key_name
from culvert.dataplane.userspace.telling import tell
from culvert.dataplane.userspace.tmm import Tmm
from culvert.ipsec.drops import Reason
from culvert.ipsec.sa import SecurityAssociation
from culvert.ipsec.secret import Secret
from tests.dataplane.sites import OUT, association, selectors
from tests.dataplane.userspace.parent import Parent
from tests.dataplane.userspace.test_mover import PACKET

GCM = replace(
    association("a", OUT), cipher="aes-gcm128", cipher_key=Secret(b"k" * 20), auth="none", auth_key=Secret(b"")
)
MOVED = replace(GCM, spi=7777)
CBC = association("a", OUT)
BAD = replace(GCM, spi=7, cipher_key=Secret(b"o" * 20))
"""Refused: its SPI is a reserved one."""
FAR = 2**32


class Site(Parent):
    """A packet process in this one, and its parent's files. Packets go nowhere, but use their numbers up."""

    def __init__(self, state: Path) -> None:
        super().__init__(state)
        tun, self.kernel = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        control, self.parent = socket.socketpair()
        for each in (tun, self.kernel):
            each.setblocking(False)
        fds = {"tun": tun.detach(), "control": control.detach()}
        self.tmm = Tmm({**fds, "counters": os.dup(self.counters.fd), "leases": os.dup(self.journal.fd)})

    def tell(self, message: wire.Apply) -> wire.Reply:
        reply = self.tmm._obey(wire.emit(message))
        assert isinstance(reply, wire.Reply)
        return reply

    def change(self, *changes: wire.PacketChange, whole: bool = False) -> wire.Reply:
        return self.tell(self.prepared(*changes, whole=whole))

    def send(self, packets: int) -> None:
        for _ in range(packets):
            self.kernel.send(PACKET)
            self.tmm._mover.outbound_burst()
            self.tmm._mover.extend_leases()
        self.tmm._ledger.write()

    def drops(self) -> dict[Reason, int]:
        return {reason: count for reason in Reason if (count := self.counters.drop(reason)[0])}

    def close(self) -> None:
        for each in (self.kernel, self.parent, self.tmm._control):
            each.close()
        os.close(self.tmm._tun)
        self.counters.close()
        self.journal.close()


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    made = Site(tmp_path)
    yield made
    made.close()


POLICIES = tuple(each for each in selectors("a"))


def test_switched_off_and_on_again_extended_numbers_go_on(site: Site) -> None:
    extended = replace(GCM, esn=True)
    (slot,) = site.slots.of([AddSa(extended)], ())
    site.counters.numbers[site.counters.base(slot) + SEQUENCE] = FAR + 5000
    append(site.journal.fd, [Record(BLOCK, key_name(extended), extended.identity(), FAR + 9000, 1.0)])
    assert site.change(AddSa(extended), *POLICIES) == wire.Reply()  # type: ignore[arg-type]
    site.send(100)
    assert site.at(GCM) == FAR + 9100
    assert site.change(RemoveSa(extended), AddSa(GCM)) == wire.Reply()
    site.send(5)
    assert (site.at(GCM), site.drops()[Reason.SEQUENCE_EXHAUSTED]) == (FAR + 9100, 5)
    assert site.change(RemoveSa(GCM), AddSa(extended)) == wire.Reply()
    site.send(10)
    assert site.at(extended) == FAR + 9110 < site.last(extended).last
    assert Reason.INTERNAL not in site.drops()


def test_a_key_that_moves_begins_behind_what_was_sent_after_the_journal_was_read(site: Site) -> None:
    site.change(AddSa(GCM), *POLICIES)  # type: ignore[arg-type]
    site.send(500)
    message = site.prepared(RemoveSa(GCM), AddSa(MOVED))
    told = message.leases[0].last
    site.send(1500)
    left = site.last(GCM)
    assert told < site.at(GCM) < left.last
    assert site.tell(message) == wire.Reply()
    # The first block is the new one's own, and on the disk before its first packet.
    assert site.at(MOVED) == left.last
    assert site.last(MOVED) == Block(left.last + BLOCK_NUMBERS_MIN, MOVED.identity())
    site.send(10)
    assert site.at(MOVED) == left.last + 10


def test_a_key_that_stays_keeps_the_block_that_it_has_by_now(site: Site) -> None:
    site.change(AddSa(GCM), *POLICIES)  # type: ignore[arg-type]
    site.send(500)
    message = site.prepared(RemoveSa(GCM), AddSa(replace(GCM, label="/Common/renamed")))
    site.send(1500)
    dropped = site.drops()
    last = site.last(GCM).last
    assert site.tell(message) == wire.Reply()
    (leased,) = [way.leased for way in site.tmm._mover._ways.values() if way.leased is not None]
    assert leased.last >= last > message.leases[0].last
    site.send(10)
    assert site.at(GCM) == 2010 and site.drops().keys() == dropped.keys()


def test_what_moved_is_forgotten_with_its_message(site: Site) -> None:
    site.change(AddSa(GCM), *POLICIES)  # type: ignore[arg-type]
    site.change(RemoveSa(GCM))
    assert site.tmm._mover._moved == {}


@pytest.mark.parametrize("whole", [False, True], ids=["batch", "replace"])
def test_an_sa_that_a_refused_batch_took_away_comes_back_with_its_lease(site: Site, whole: bool) -> None:
    site.change(AddSa(GCM), *POLICIES)  # type: ignore[arg-type]
    site.send(100)
    changes = (AddSa(BAD), *POLICIES) if whole else (RemoveSa(GCM), AddSa(BAD))
    reply = site.change(*changes, whole=whole)  # type: ignore[arg-type]
    assert reply.failed == changes.index(AddSa(BAD)) and "SPI 7 " in reply.sentence
    (record,) = site.tmm._mover.gateway.sadb.all_outbound()
    assert record.leased == BLOCK_NUMBERS_MIN
    site.send(3000)
    assert site.at(GCM) == 3100 <= site.last(GCM).last
    site.tmm._mover._leases._fd = -1
    site.send(9000)
    assert site.at(GCM) == site.last(GCM).last and Reason.COUNTER_JOURNAL in site.drops()


def test_what_replaces_all_may_fail_at_what_is_not_in_it(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    site.change(AddSa(GCM), *POLICIES)  # type: ignore[arg-type]

    def fail(sa: SecurityAssociation) -> None:
        raise ValueError("no")

    monkeypatch.setattr(site.tmm._mover, "remove_sa", fail)
    assert site.change(*POLICIES, whole=True) == wire.Reply(None, "no")  # type: ignore[arg-type]


def test_a_counter_mode_without_a_lease_is_refused_where_there_is_a_journal(site: Site) -> None:
    message = site.prepared(AddSa(GCM))
    reply = site.tell(replace(message, leases=()))
    assert reply == wire.Reply(0, "/Common/sa-out-4: the counter journal says nothing of the numbers of its key")
    assert len(site.tmm._mover.gateway.sadb) == 0
    assert site.tell(replace(site.prepared(AddSa(CBC)), leases=())) == wire.Reply()


def test_a_log_that_is_gone_ends_nothing(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    monkeypatch.setattr("sys.stderr", os.fdopen(writing, "w", buffering=1))
    tell("nobody hears that")
    site.tmm._guarded(lambda: 1 // 0)  # type: ignore[arg-type]
    assert site.drops() == {Reason.INTERNAL: 1}
    site.change(AddSa(GCM), *POLICIES)  # type: ignore[arg-type]
    site.tmm._mover._leases._fd = os.open("/dev/null", os.O_RDONLY)
    site.send(2000)
    assert site.drops()[Reason.COUNTER_JOURNAL] and site.tmm._mover._leases.trouble


@pytest.mark.parametrize("stream", [None, "closed"])
def test_without_a_log_nothing_is_told(stream: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    opened = None if stream is None else os.fdopen(os.dup(1), "w")
    if opened is not None:
        opened.close()
    monkeypatch.setattr("sys.stderr", opened)
    tell("nobody hears that")

"""AES-GCM with keys that were typed in: no send counter is ever used twice, whatever is killed while packets flow.

CULVERT_COUNTER_KILLS asks for more rounds.
"""

import os
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from culvert.dataplane.userspace.leases import EDGE, Record
from culvert.lab.tap import Tap
from culvert.lab.topology import WAN
from tests.scenarios.test_protocols import KEY_OF, SA, digits, merge
from tests.scenarios.two_sites import SERVER_V4, SERVER_V6, Sites, wait_until

pytestmark = [pytest.mark.network, pytest.mark.timeout(60 + 10 * int(os.environ.get("CULVERT_COUNTER_KILLS", "6")))]

ROUNDS = int(os.environ.get("CULVERT_COUNTER_KILLS", "6"))
ETHERNET, IPV4, ESP = 14, 20, 50


class Numbers:
    """Every (SPI, IV) that one gateway sends, as a stranger on the wan sees them."""

    def __init__(self, source: bytes) -> None:
        self._source = source
        self.seen: set[bytes] = set()
        self.twice: list[str] = []

    def see(self, frame: bytes) -> None:
        packet = frame[ETHERNET:]
        if frame[12:14] != b"\x08\x00" or packet[9] != ESP or packet[12:16] != self._source:
            return
        number = packet[IPV4 : IPV4 + 4] + packet[IPV4 + 8 : IPV4 + 16]
        if number in self.seen:
            self.twice.append(number.hex())
        self.seen.add(number)


@contextmanager
def with_gcm(sites: Sites, directory: Path) -> Iterator[None]:
    """The IPv4 SAs of both systems under AES-GCM, and as they were afterwards."""
    for node in "ab":
        stanzas = [
            f"{SA} /Common/sa-{way} {{ encrypt-algorithm aes-gcm128 auth-algorithm none auth-key none "
            f"encrypt-key {digits(20, KEY_OF[node, way])} }}"
            for way in ("out", "in")
        ]
        merge(sites, directory, node, "\n".join(stanzas))
    try:
        yield
    finally:
        for node in "ab":
            names = ("a-to-b", "b-to-a") if node == "a" else ("b-to-a", "a-to-b")
            for way, name in zip(("out", "in"), names, strict=True):
                keys = sites.keys[name]
                sites.tell(
                    node,
                    f'modify {SA} sa-{way} encrypt-algorithm aes128 encrypt-key "{keys.encrypt_key}" '
                    f'auth-algorithm sha1 auth-key "{keys.auth_key}"',
                )


@contextmanager
def load(sites: Sites) -> Iterator[None]:
    """Packets from the client to the server, as fast as they are answered."""
    command = sites.lab.namespace("client").command(["ping", "-f", "-q", SERVER_V4])
    flood = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        yield
    finally:
        flood.kill()
        flood.wait()


def kill(sites: Sites, round_number: int) -> None:
    """By turns the packet process, the daemon, and both."""
    victim, daemon = sites.tmm("a"), sites.lab.daemon("a")
    assert victim is not None, f"no packet process in round {round_number}:\n{daemon.log_tail(30)}"
    with_daemon, with_process = round_number % 3 > 0, round_number % 3 != 1
    if with_daemon:
        assert daemon.pid is not None
        os.kill(daemon.pid, signal.SIGKILL)
        wait_until(lambda: daemon.pid is None)
    if with_process:
        os.kill(victim, signal.SIGKILL)
        wait_until(lambda: sites.tmm("a") != victim)
    if with_daemon:
        daemon.start()
    wait_until(lambda: sites.tmm("a") is not None)
    assert (sites.tmm("a") != victim) == with_process


def test_no_number_is_sent_twice_whatever_is_killed(sites: Sites, tmp_path: Path) -> None:
    numbers = Numbers(bytes((2, 2, 2, 2)))
    with with_gcm(sites, tmp_path):
        for node in "ab":
            sites.tell(node, "save sys config")
        wait_until(lambda: sites.ping(count=1).lost == 0)
        replays = sites.drops("b").get("replay", 0)
        tap = Tap(sites.lab.namespace(WAN), "a0", numbers.see, 128)
        try:
            with load(sites):
                for round_number in range(ROUNDS):
                    kill(sites, round_number)
                    before = len(numbers.seen)
                    # Traffic resumes by itself.
                    wait_until(lambda before=before: len(numbers.seen) > before + 50)
        finally:
            tap.close()
        assert tap.missed == 0 and len(numbers.seen) > 50 * ROUNDS
        assert numbers.twice == []
        assert sites.drops("b").get("replay", 0) == replays
    for node in "ab":
        sites.tell(node, "save sys config")
    # A flood leaves long queues behind it.
    wait_until(sites.is_healthy, seconds=30)


def test_a_machine_that_was_set_back_sends_only_when_it_is_trusted(sites: Sites, tmp_path: Path) -> None:
    daemon = sites.lab.daemon("a")
    with with_gcm(sites, tmp_path):
        wait_until(lambda: sites.ping(count=1).lost == 0)
        sites.tell("a", "modify sys global-settings counter-journal-set-back refuse", "save sys config")
        daemon.stop()
        # As if it had been written an hour from now.
        with (daemon.directory / daemon.name / "leases").open("ab") as file:
            file.write(Record(EDGE, bytes(16), bytes(16), 1, time.time() + 3600).emit())
        daemon.start()
        assert sites.ping(count=2).lost == 2
        # What has no counter mode goes on.
        wait_until(lambda: sites.ping(SERVER_V6, count=1).lost == 0)
        assert "In doubt      the clock was " in sites.show("a", "sys tmm-info")
        assert "sa-out waits: the clock was" in sites.show("a", "sys version")
        assert "trusted from now on" in sites.tell("a", "run sys counter-journal trust")
        wait_until(lambda: sites.ping(count=1).lost == 0)
        assert "In doubt" not in sites.show("a", "sys tmm-info")
        sites.tell("a", "modify sys global-settings counter-journal-set-back warn")
    sites.tell("a", "save sys config")
    wait_until(sites.is_healthy)


def test_a_key_under_another_name_and_spi_does_not_begin_again(sites: Sites, tmp_path: Path) -> None:
    numbers = Numbers(bytes((2, 2, 2, 2)))
    with with_gcm(sites, tmp_path):
        tap = Tap(sites.lab.namespace(WAN), "a0", numbers.see, 128)
        try:
            assert sites.ping(count=20).lost == 0
            for node, way in (("a", "out"), ("b", "in")):
                sites.tell(node, f"modify {SA} sa-{way} spi 7777")
            assert sites.ping(count=20).lost == 0
            for node, way in (("a", "out"), ("b", "in")):
                sites.tell(node, f"modify {SA} sa-{way} spi {sites.keys['a-to-b'].spi}")
            assert sites.ping(count=20).lost == 0
        finally:
            tap.close()
    ivs = [number[4:] for number in numbers.seen]
    assert len(ivs) == len(set(ivs)) >= 60

"""The packets' way through the packet process, with a socket pair in the place of the TUN."""

import os
import socket
import struct
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from scapy.layers.inet import IP, UDP
from scapy.packet import Raw

from culvert.change import AddPolicy, AddSa
from culvert.dataplane.userspace import counters as file
from culvert.dataplane.userspace.counters import Counters, CountersFile
from culvert.dataplane.userspace.leases import Leases
from culvert.dataplane.userspace.ledger import Ledger
from culvert.dataplane.userspace.mover import Mover
from culvert.dataplane.userspace.overflows import Overflows
from culvert.dataplane.userspace.tmm import Tmm
from culvert.ipsec.drops import Reason
from culvert.ipsec.gateway import Gateway
from culvert.ipsec.sa import SEQUENCE_MAX, SecurityAssociation
from culvert.ipsec.verdict import Send
from tests.dataplane.sites import IN, OUT, association, ends, selectors, shaped, signing

PACKET = bytes(IP(src="10.1.0.5", dst="10.2.0.5") / UDP(sport=1, dport=2) / Raw(bytes(500)))


class Bench:
    """A Mover, the far end of its TUN, and its counters."""

    def __init__(self, path: Path) -> None:
        self.counters = CountersFile(path / "counters")
        self.ledger = Ledger(Counters(os.dup(self.counters.fd)))
        self.tun, self.kernel = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        for each in (self.tun, self.kernel):
            each.setblocking(False)
        self.mover = Mover(self.tun.fileno(), {}, self.ledger, Leases(-1))

    def add(self, sa: SecurityAssociation) -> int:
        slot = self.counters.slot_for(sa.identity(), sa.direction, set())
        self.counters.begin(slot, 1.0)
        self.mover.add_sa(sa, slot, None)
        return slot

    def number(self, slot: int, index: int) -> int:
        return int(self.counters.numbers[self.counters.base(slot) + index])

    def drops(self) -> dict[Reason, int]:
        return {reason: count for reason in Reason if (count := self.counters.drop(reason)[0])}

    def outbound(self, packet: bytes = PACKET) -> None:
        self.kernel.send(packet)
        self.mover.outbound_burst()
        self.ledger.write()

    def close(self) -> None:
        self.counters.close()
        self.tun.close()
        self.kernel.close()


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    made = Bench(tmp_path)
    yield made
    made.close()


def policies(bench: Bench, side: str, **fields: object) -> None:
    for change in shaped(selectors(side), policy=fields):
        bench.mover.gateway.add_policy(change.policy)  # type: ignore[union-attr]


def test_number_of_a_packet_that_the_host_refused_is_used_up(bench: Bench) -> None:
    slot = bench.add(association("a", OUT))
    policies(bench, "a")
    bench.outbound()
    assert bench.number(slot, file.SEQUENCE) == 1
    assert bench.drops() == {Reason.SEND_FAILED: 1}
    assert "Address family not supported" in bench.counters.drop(Reason.SEND_FAILED)[2]


def test_numbers_of_both_sas_of_a_bundle_are_stored(bench: Bench) -> None:
    slots = [bench.add(association("a", OUT)), bench.add(signing("a")[0].sa)]  # type: ignore[union-attr]
    policies(bench, "a", bundle_ah=True)
    for _ in range(3):
        bench.outbound()
    assert [bench.number(slot, file.SEQUENCE) for slot in slots] == [3, 3]
    assert [bench.number(slot, file.LIFE_PACKETS) for slot in slots] == [3, 3]


def test_every_piece_has_its_number(bench: Bench) -> None:
    slot = bench.add(replace(association("a", OUT), path_mtu=300))
    policies(bench, "a")
    bench.outbound()
    assert bench.number(slot, file.SEQUENCE) == 3


def test_source_of_a_packet_that_is_too_big_is_told_through_the_tun(bench: Bench) -> None:
    bench.add(replace(association("a", OUT), path_mtu=400))
    policies(bench, "a")
    bench.outbound(PACKET[:6] + b"\x40" + PACKET[7:])
    answer = bench.kernel.recv(65535)
    assert (answer[9], answer[12:16], answer[16:20], answer[20:22]) == (1, PACKET[16:20], PACKET[12:16], b"\3\4")
    assert bench.drops() == {Reason.TOO_BIG: 1}


def test_full_tun_is_a_full_queue(bench: Bench) -> None:
    bench.tun.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 2048)
    slot = bench.add(association("b", IN))
    policies(bench, "b")
    peer = Gateway(random=os.urandom)
    peer.add_sa(association("a", OUT), now=1.0)
    peer.add_policy(selectors("a")[0].policy)  # type: ignore[union-attr]
    waiting = [sent.packet for _ in range(40) if isinstance(sent := peer.outbound(PACKET, 1.0), Send)]

    def receive() -> bytes:
        if not waiting:
            raise BlockingIOError
        return waiting.pop()

    bench.mover.inbound_burst(receive)
    assert bench.kernel.recv(65535) == PACKET
    assert set(bench.drops()) == {Reason.QUEUE_FULL}
    assert bench.number(slot, file.SEQUENCE) == 40


def test_the_newest_numbers_of_a_window_are_told(bench: Bench) -> None:
    slot = bench.add(association("b", IN))
    assert bench.number(slot, file.WINDOW) == 2**64 - 1, "nothing before the first number can come"
    policies(bench, "b")
    peer = Gateway(random=os.urandom)
    peer.add_sa(association("a", OUT), now=1.0)
    peer.add_policy(selectors("a")[0].policy)  # type: ignore[union-attr]
    sent = [verdict.packet for _ in range(4) if isinstance(verdict := peer.outbound(PACKET, 1.0), Send)]
    waiting = [sent[3], sent[0], sent[1]]

    def receive() -> bytes:
        if not waiting:
            raise BlockingIOError
        return waiting.pop()

    bench.mover.inbound_burst(receive)
    bench.ledger.write()
    assert (bench.number(slot, file.SEQUENCE), bench.number(slot, file.WINDOW)) == (4, 2**64 - 1 - 2)
    # Where it stands now is saved though no further packet may come.
    bench.mover.do_chores()
    assert bench.mover.has_chores
    bench.mover.save_edges()
    assert not bench.mover.has_chores


def test_counts_go_on_where_they_stopped(bench: Bench) -> None:
    sa = replace(association("b", IN), esn=True)
    slot = bench.counters.slot_for(sa.identity(), IN, set())
    base = bench.counters.base(slot)
    values = {file.SEQUENCE: 2**40, file.LIFE_PACKETS: 7, file.LIFE_OCTETS: 700, file.LOST: 3, file.PACKETS: 5}
    for index, value in values.items():
        bench.counters.numbers[base + index] = value
    bench.add(sa)
    (record,) = bench.mover.gateway.sadb
    assert record.sequence == 2**40
    usage = record.usage
    assert (usage.created, usage.life_packets, usage.life_octets, usage.packets) == (1.0, 7, 700, 5)
    bench.ledger.touched.add(record)
    bench.ledger.reset()
    assert {index: bench.number(slot, index) for index in values} == {**values, file.LOST: 0, file.PACKETS: 0}
    bench.mover.remove_sa(sa)
    assert bench.number(slot, file.LIFE_PACKETS) == 7


@pytest.mark.parametrize("number", [SEQUENCE_MAX, 2**40, 2**64 - 1])
def test_sequence_beyond_the_end_of_an_sa_is_its_end(bench: Bench, number: int) -> None:
    """The same key without extended numbers, or behind the jump after a loss of power. The number stays."""
    sa = association("a", OUT)
    slot = bench.counters.slot_for(sa.identity(), OUT, set())
    bench.counters.numbers[bench.counters.base(slot) + file.SEQUENCE] = number
    bench.add(sa)
    policies(bench, "a")
    bench.outbound()
    assert bench.drops() == {Reason.SEQUENCE_EXHAUSTED: 1}
    bench.mover.remove_sa(sa)
    assert bench.number(slot, file.SEQUENCE) == number


@pytest.mark.parametrize("size", [64, 0])
def test_window_beyond_the_end_of_an_sa_refuses_all_and_stays(bench: Bench, size: int) -> None:
    sa = replace(association("b", IN), replay_window=size)
    slot = bench.counters.slot_for(sa.identity(), IN, set())
    bench.counters.numbers[bench.counters.base(slot) + file.SEQUENCE] = 2**32 + 10
    bench.add(sa)
    policies(bench, "b")
    peer = Gateway(random=os.urandom)
    for number in (0, SEQUENCE_MAX - 1):
        peer.add_sa(association("a", OUT), sequence=number, now=1.0)
        if not number:
            peer.add_policy(selectors("a")[0].policy)  # type: ignore[union-attr]
        sent = peer.outbound(PACKET, 1.0)
        assert isinstance(sent, Send)
        waiting = [sent.packet]

        def receive(waiting: list[bytes] = waiting) -> bytes:
            if not waiting:
                raise BlockingIOError
            return waiting.pop()

        bench.mover.inbound_burst(receive)
        peer.remove_sa(association("a", OUT))
    bench.ledger.write()
    # Without a window nothing is a replay.
    assert bench.drops() == ({Reason.REPLAY: 2} if size else {})
    assert bench.number(slot, file.SEQUENCE) == 2**32 + 10


def test_chores_are_there_only_for_who_asks(bench: Bench) -> None:
    assert not bench.mover.has_chores
    sa = replace(association("a", OUT), dummy_seconds=1)
    slot = bench.add(sa)
    assert bench.mover.has_chores
    bench.mover.do_chores()
    assert bench.number(slot, file.SEQUENCE) == 1
    bench.mover.remove_sa(sa)
    assert not bench.mover.has_chores


def test_fragment_that_waits_is_given_up(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    for change in ends("a"):
        if isinstance(change, AddSa):
            bench.add(change.sa)
        elif isinstance(change, AddPolicy):
            bench.mover.gateway.add_policy(change.policy)
    clock = [100.0]
    monkeypatch.setattr("time.time", lambda: clock[0])
    bench.outbound(bytes(IP(src="2.2.2.2", dst="3.3.3.3", flags="MF", proto=17, id=7) / Raw(bytes(64))))
    assert bench.mover.has_chores
    assert bench.drops() == {}
    clock[0] = 131.0
    bench.mover.do_chores()
    assert bench.drops() == {Reason.REASSEMBLY_TIMEOUT: 1}
    clock[0] = 140.0
    assert not bench.mover.has_chores


def test_mistake_of_the_process_is_counted_as_one(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    counters = CountersFile(tmp_path / "counters")
    tun, far = os.pipe()
    control, parent = socket.socketpair()
    tmm = Tmm({"tun": tun, "counters": os.dup(counters.fd), "control": control.detach()})
    tmm._guarded(lambda: struct.unpack("B", b""))
    assert counters.drop(Reason.INTERNAL)[0] == 1
    assert counters.drop(Reason.MALFORMED_HEADER)[0] == 0
    assert "struct.error" in capfd.readouterr().err
    parent.close()
    for fd in (tun, far):
        os.close(fd)


def test_what_was_counted_at_sockets_is_only_for_who_has_the_same(bench: Bench) -> None:
    """The numbers of sockets begin anew with the machine, and what the kernel counts at them does too."""
    one, other = socket.socketpair()
    with one, other:
        Overflows([one], bench.counters).count(1.0)
        known, lost = bench.counters.looked
        assert (known != 0, lost) == (True, 0)
        bench.counters.note_looked(known, 7)
        again = Overflows([one], bench.counters)
        assert not again.is_due, "more was counted than there is: that was another socket"
        again.count(2.0)
        assert bench.counters.looked == (known, 0)
        bench.counters.zero()
        assert bench.counters.looked == (known, 0), "that is no statistics"
        Overflows([one, other], bench.counters).count(3.0)
        assert bench.counters.looked[0] != known
    assert bench.drops() == {}

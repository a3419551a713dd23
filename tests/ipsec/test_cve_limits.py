"""What a stranger can make grow: memory, time, state, and what he can make small. One test for every class.

The classes about the form of packets and about cryptography are in test_cve.py.
"""

import time
import tracemalloc
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from culvert.ipsec import fragment, ipcomp
from culvert.ipsec.drops import Reason
from culvert.ipsec.gateway import Gateway, Learned
from culvert.ipsec.icmp import ANSWERS_BURST, FLOORS
from culvert.ipsec.ipcomp import CPI_DEFLATE
from culvert.ipsec.sa import Direction, Mode, Protocol
from culvert.ipsec.sadb import Outbound
from culvert.ipsec.verdict import Drop, Hold
from tests.ipsec.building import (
    AUTH_KEYS,
    NOW,
    OUTER,
    SPI,
    delivered,
    dice,
    dropped,
    gateway_of,
    ipv4,
    ipv6,
    make_policy,
    make_sa,
    make_selector,
    packet_of,
    parsed,
    receiver,
    sender,
    sent,
    udp,
)

MEGABYTE = 1 << 20


@contextmanager
def at_most(octets: int, seconds: float) -> Iterator[None]:
    """Python's own memory at its peak, and processor time."""
    tracemalloc.start()
    started = time.process_time()
    try:
        yield
        assert time.process_time() - started < seconds
        assert tracemalloc.get_traced_memory()[1] < octets
    finally:
        tracemalloc.stop()


def outside(version: int, protocol: int, body: bytes, **fields: Any) -> bytes:
    source, destination = OUTER[version]
    make = ipv4 if version == 4 else ipv6
    return make(body, protocol=protocol, source=source, destination=destination, **fields)


def sealed_by_key_holder(next_header: int, payload: bytes, **sa: Any) -> bytes:
    """What a peer that has the keys can send, whatever it is."""
    (record,) = sender(**sa).sadb
    assert isinstance(record, Outbound)
    header = outside(4, int(record.sa.protocol), bytes(record.sealer.layout.sealed(len(payload))))[:20]
    body = record.sealer.seal(header, 1, next_header, payload)
    assert isinstance(body, bytes)
    return header + body


# Decompression bombs and IPComp loops


def deflated(octets: bytes) -> bytes:
    state = zlib.compressobj(9, wbits=-15)
    return state.compress(octets) + state.flush()


def nested(payload: bytes, times: int) -> bytes:
    header = 4
    for _ in range(times):
        payload = bytes((header, 0)) + CPI_DEFLATE.to_bytes(2) + deflated(payload)
        header = ipcomp.NextHeader.IPCOMP
    return payload


@pytest.mark.parametrize("protocol", list(Protocol))
@pytest.mark.parametrize("mode", list(Mode))
def test_decompression_bomb(protocol: Protocol, mode: Mode) -> None:
    """64 megabytes in a packet of 64 kilobytes, and one whose inner packet is what it says."""
    sa = {"protocol": protocol, "mode": mode, "compression": CPI_DEFLATE}
    bomb = bytes((4, 0)) + CPI_DEFLATE.to_bytes(2) + deflated(packet_of(4) + bytes(62 * MEGABYTE))
    packet = sealed_by_key_holder(ipcomp.NextHeader.IPCOMP, bomb, **sa)
    there = receiver(**sa)
    with at_most(MEGABYTE, 1.0):
        assert dropped(there.inbound(packet, NOW)).reason is Reason.DECOMPRESSION


@pytest.mark.parametrize("times", [2, 3, 50])
def test_ipcomp_loop(times: int) -> None:
    packet = sealed_by_key_holder(ipcomp.NextHeader.IPCOMP, nested(packet_of(4), times), compression=CPI_DEFLATE)
    with at_most(MEGABYTE, 0.5):
        assert dropped(receiver(compression=CPI_DEFLATE).inbound(packet, NOW)).reason is Reason.NESTING
    once = sealed_by_key_holder(ipcomp.NextHeader.IPCOMP, nested(packet_of(4), 1), compression=CPI_DEFLATE)
    assert delivered(receiver(compression=CPI_DEFLATE).inbound(once, NOW)).packet == packet_of(4)


def test_esp_in_esp_in_esp() -> None:
    """Layers for this gateway end after two, and only as a bundle."""
    packet = packet_of(4)
    for number in range(4):
        sa = make_sa(Direction.OUT, spi=SPI + number, mode=Mode.TRANSPORT, reqid=number + 1)
        here = gateway_of(sa, seed=number)
        source, destination = OUTER[4]
        header = parsed(packet)
        body = packet[header.offset :] if number else udp()
        clear = ipv4(body, protocol=50 if number else 17, source=source, destination=destination)
        packet = sent(here.outbound(clear, NOW)).packet
    there = gateway_of(*(make_sa(Direction.IN, spi=SPI + number, mode=Mode.TRANSPORT) for number in range(4)))
    assert dropped(there.inbound(packet, NOW)).reason is Reason.NESTING


# Fragments


def pieces_of(packet: bytes, size: int) -> list[bytes]:
    return fragment.split(packet, parsed(packet), size, 9)


@pytest.mark.parametrize("version", [4, 6])
@pytest.mark.parametrize("protocol", list(Protocol))
def test_esp_in_fragments_is_opened_whole_or_not_at_all(version: int, protocol: Protocol) -> None:
    """Even if the first piece holds the header, the ICV and all: RFC 4303 section 3.4.1."""
    packet = sent(sender(outer=version, protocol=protocol).outbound(packet_of(4, udp(data=bytes(900))), NOW)).packet
    for size in (72, 100, 600):
        there = receiver(outer=version, protocol=protocol)
        *first, last = pieces_of(packet, size)
        assert all(isinstance(there.inbound(piece, NOW), Hold) for piece in first)
        assert next(iter(there.sadb)).sequence == 0
        assert delivered(there.inbound(last, NOW)).packet == packet_of(4, udp(data=bytes(900)))


@pytest.mark.parametrize("version", [4, 6])
def test_overlapping_fragments_teardrop(version: int) -> None:
    """RFC 5722: the packet dies, whichever of the two came first, and what follows of it opens nothing."""
    packet = sent(sender(outer=version).outbound(packet_of(4, udp(data=bytes(900))), NOW)).packet
    pieces = pieces_of(packet, 200)
    for other in (pieces_of(packet, 208)[1], pieces_of(packet, 400)[0], pieces[1][:-1] + bytes((pieces[1][-1] ^ 1,))):
        there = receiver(outer=version)
        verdicts = [there.inbound(piece, NOW) for piece in (pieces[0], pieces[1], other, *pieces[2:])]
        assert Reason.REASSEMBLY in {verdict.reason for verdict in verdicts if isinstance(verdict, Drop)}
        assert {type(verdict) for verdict in verdicts} <= {Hold, Drop}
        assert next(iter(there.sadb)).usage.packets == 0


@pytest.mark.parametrize("version", [4, 6])
def test_tiny_fragments(version: int) -> None:
    """A first piece too short for SPI and number, and for the ports that a selector asks for."""
    packet = sent(sender(outer=version).outbound(packet_of(4), NOW)).packet
    there = receiver(outer=version)
    pieces = pieces_of(packet, (20 if version == 4 else 48) + 8)
    verdicts = [there.inbound(piece, NOW) for piece in pieces]
    assert delivered(verdicts[-1]).packet == packet_of(4)
    here = Gateway(dice())
    here.add_sa(make_sa(Direction.OUT), now=NOW)
    here.add_policy(make_policy(Direction.OUT, make_selector("10.0.0.0/8", "10.0.0.0/8", 6, None, (80, 80))))
    later = ipv4(bytes(8), protocol=6, flags=1)
    assert dropped(here.outbound(later, NOW)).reason is Reason.FRAGMENT_PORTS


def test_fragment_flood_is_bounded() -> None:
    there = receiver()
    big = bytes(1400)
    with at_most(8 * MEGABYTE, 20.0):
        for number in range(20_000):
            piece = outside(4, 50, big, identification=number & 0xFFFF, flags=0x2000 | number % 7 * 175)
            assert isinstance(there.inbound(piece, NOW), Hold | Drop)
    assert len(list(there.expire(NOW + fragment.WAIT_SECONDS))) <= fragment.PACKETS_MAX
    whole = sent(sender().outbound(packet_of(4), NOW)).packet
    assert delivered(there.inbound(whole, NOW)).packet == packet_of(4)


# Allocation stays flat (the lesson of libipsec's early return)

Bad = Callable[[int], bytes]


def bad_packets(outer: int, **sa: Any) -> list[Bad]:
    """Packets of every sort that an outsider can make of one that he saw."""
    good = sent(sender(outer=outer, **sa).outbound(packet_of(4), NOW)).packet
    protocol = good[9] if outer == 4 else good[6]
    start = 20 if outer == 4 else 40
    spi_at = start + (4 if protocol == 51 else 0)
    return [
        lambda number: good[:-1] + bytes((good[-1] ^ (1 + number % 255),)),
        lambda number: good[:spi_at] + (300 + number).to_bytes(4) + good[spi_at + 4 :],
        lambda number: good[: spi_at + 4] + (2 + number).to_bytes(4) + good[spi_at + 8 :],
        lambda number: outside(outer, protocol, good[start : start + number % (len(good) - start)]),
        lambda number: good[: number % len(good)],
        lambda number: good,
        lambda number: outside(outer, 17, number.to_bytes(4) * 5),
    ]


@pytest.mark.parametrize("outer", [4, 6])
@pytest.mark.parametrize("sa", [{}, {"cipher": "aes-gcm256"}, {"protocol": Protocol.AH, "auth": "aes-gmac128"}])
def test_allocation_stays_flat_over_bad_packets(outer: int, sa: dict[str, Any]) -> None:
    """A hundred thousand over all six cases; the good packet was taken once, so it is a replay."""
    there, makers = receiver(outer=outer, **sa), bad_packets(outer, **sa)
    delivered(there.inbound(makers[5](0), NOW))
    for number in range(700):
        dropped(there.inbound(makers[number % 7](number), NOW))
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        for number in range(17_000):
            assert type(there.inbound(makers[number % 7](number), NOW)) is Drop
        assert tracemalloc.get_traced_memory()[0] - before < 16_384
    finally:
        tracemalloc.stop()


def test_memory_is_bounded_over_flows_that_never_repeat() -> None:
    """On the way out every flow is remembered, up to a limit."""
    here = sender()
    random = dice()
    with at_most(16 * MEGABYTE, 60.0):
        for _ in range(18_000):
            flow = packet_of(4, random(4) + bytes(8))
            sent(here.outbound(flow, NOW))


# ICMP "too big"


def too_big(version: int, quoted: bytes, mtu: int) -> bytes:
    if version == 4:
        return outside(4, 1, b"\3\4\0\0" + mtu.to_bytes(4) + quoted)
    return outside(6, 58, b"\2\0\0\0" + mtu.to_bytes(4) + quoted)


@pytest.mark.parametrize("version", [4, 6])
@pytest.mark.parametrize("protocol", list(Protocol))
def test_icmp_too_big_makes_nothing_small_for_long(version: int, protocol: Protocol) -> None:
    here = sender(outer=version, protocol=protocol)
    (record,) = here.sadb.all_outbound()
    packet = sent(here.outbound(packet_of(4), NOW)).packet
    start = 20 if version == 4 else 40
    spi_at = start + (4 if protocol is Protocol.AH else 0)
    mtu = record.mtu(NOW)
    for forged in (
        packet[:spi_at] + (SPI + 5).to_bytes(4) + packet[spi_at + 4 :],
        packet[: spi_at + 4] + (2).to_bytes(4) + packet[spi_at + 8 :],
        packet[: spi_at + 4] + (2**31).to_bytes(4) + packet[spi_at + 8 :],
    ):
        assert dropped(here.told_too_big(too_big(version, forged, 600), NOW)).reason is Reason.FORGED_TOO_BIG
        assert record.mtu(NOW) == mtu
    for said in (1, 68, 0):
        learned = here.told_too_big(too_big(version, packet, said), NOW)
        assert not isinstance(learned, Learned) or learned.mtu >= FLOORS[version]
    assert record.mtu(NOW) == FLOORS[version]
    assert record.mtu(NOW + 3600) == mtu


def test_icmp_answers_are_rate_limited() -> None:
    here = sender(path_mtu=1300)
    large = packet_of(4, udp(data=bytes(1400)), flags=0x4000)
    answers = [dropped(here.outbound(large, NOW)).answer for _ in range(500)]
    assert len([answer for answer in answers if answer]) == ANSWERS_BURST


# Keys in what a program says when something goes wrong


def test_no_key_is_in_a_traceback_of_the_packet_path() -> None:
    """With everything shown that its frames hold, down to the innermost: the source of chance fails there."""

    def empty(count: int) -> bytes:
        if count == 16:
            raise RuntimeError("no chance")
        return bytes(count)

    here = Gateway(empty)
    record = here.add_sa(make_sa(Direction.OUT), now=NOW)
    here.add_policy(make_policy(Direction.OUT))
    with pytest.raises(RuntimeError, match="no chance") as caught:
        here.outbound(packet_of(4), NOW)
    frames, traceback = [], caught.tb
    while traceback is not None:
        frames.append(repr(traceback.tb_frame.f_locals))
        traceback = traceback.tb_next
    told = "".join(frames)
    assert len(frames) > 5 and "Secret(" in told
    for key in (AUTH_KEYS["sha1"], record.sa.cipher_key.reveal()):
        assert key.hex() not in told and repr(key)[2:-1] not in told and repr(key[:8])[2:-1] not in told

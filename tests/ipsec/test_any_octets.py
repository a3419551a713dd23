"""Hostile octets: any of them give a verdict, none of them an exception, and none a false delivery."""

import random as seeded
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from culvert.ipsec import ip
from culvert.ipsec.algorithms import CIPHERS
from culvert.ipsec.gateway import Bypass, Deliver, Drop, Gateway, Send
from culvert.ipsec.sa import Direction
from tests.ipsec.building import (
    NOW,
    OUTER,
    SPI,
    ipv4,
    ipv6,
    make_policy,
    make_sa,
    packet_of,
    receiver,
    sender,
    sent,
    udp,
)

KINDS = [(cipher, outer) for cipher in CIPHERS for outer in (4, 6)]


def judge(gateway: Gateway, packet: bytes) -> None:
    """Any octets, either way. What is delivered or protected at all must be IP."""
    verdict = gateway.inbound(packet, NOW)
    assert isinstance(verdict, Drop | Deliver)
    if isinstance(verdict, Deliver):
        assert ip.parse(verdict.packet) is not None
    verdict = gateway.outbound(packet, NOW)
    assert isinstance(verdict, Drop | Send | Bypass)
    if not isinstance(verdict, Drop):
        assert ip.parse(packet) is not None


def both_ways(cipher: str = "aes128", outer: int = 4) -> Gateway:
    gateway = receiver(cipher, outer)
    gateway.add_sa(make_sa(Direction.OUT, cipher=cipher, outer=outer), now=NOW)
    gateway.add_policy(make_policy(Direction.OUT, inner=4))
    return gateway


FILLS: list[Callable[[int], bytes]] = [
    bytes,
    lambda count: b"\xff" * count,
    lambda count: (b"\x45" + bytes(count))[:count],
    lambda count: (b"\x60" + bytes(count))[:count],
    lambda count: (b"\x4f\0\0" + bytes((count & 255,)) + b"\xff" * count)[:count],
    lambda count: seeded.Random(count).randbytes(count),
]


@pytest.mark.parametrize("fill", FILLS)
def test_every_length_up_to_200(fill: Callable[[int], bytes]) -> None:
    gateway = both_ways()
    for count in range(201):
        judge(gateway, fill(count))


@pytest.mark.parametrize(("cipher", "outer"), KINDS)
def test_every_length_of_esp_up_to_200_for_a_live_sa(cipher: str, outer: int) -> None:
    """Right addresses and SPI, so that every length reaches the ESP code."""
    gateway = both_ways(cipher, outer)
    source, destination = OUTER[outer]
    make = ipv4 if outer == 4 else ipv6
    for count in range(201):
        esp = (SPI.to_bytes(4) + (1).to_bytes(4) + bytes(count))[:count]
        judge(gateway, make(esp, protocol=50, source=source, destination=destination))
        judge(gateway, make(esp, protocol=51, source=source, destination=destination))
    assert next(iter(gateway.sadb)).usage.packets == 0


@pytest.mark.parametrize(("cipher", "outer"), KINDS)
def test_every_truncation_of_a_good_packet(cipher: str, outer: int) -> None:
    gateway = both_ways(cipher, outer)
    packet = sent(sender(cipher, outer).outbound(packet_of(4), NOW)).packet
    for count in range(len(packet)):
        assert isinstance(gateway.inbound(packet[:count], NOW), Drop)
        judge(gateway, packet[:count])
    assert isinstance(gateway.inbound(packet, NOW), Deliver)


@settings(max_examples=500, deadline=None)
@given(st.binary(max_size=200))
def test_any_octets(packet: bytes) -> None:
    judge(both_ways(), packet)


@settings(max_examples=500, deadline=None)
@given(
    st.sampled_from(("sealed", "ipv4", "ipv6")),
    st.lists(st.tuples(st.integers(0, 119), st.integers(0, 255)), min_size=1, max_size=4),
    st.integers(0, 120),
)
def test_mutated_packets(kind: str, changes: list[tuple[int, int]], cut: int) -> None:
    sealed = sent(sender().outbound(packet_of(4), NOW)).packet
    start = {"sealed": sealed, "ipv4": packet_of(4), "ipv6": ipv6(bytes(8) + udp(), protocol=0)}[kind]
    packet = bytearray(start)
    for position, octet in changes:
        packet[position % len(packet)] = octet
    judge(both_ways(), bytes(packet[: len(packet) - cut] if cut < len(packet) // 4 else packet))


@settings(max_examples=500, deadline=None)
@given(st.sampled_from(sorted(CIPHERS)), st.binary(max_size=120), st.integers(0, 255), st.sampled_from((4, 6)))
def test_any_clear_text_of_an_honest_key_holder(cipher: str, clear: bytes, next_header: int, outer: int) -> None:
    """A peer that has the keys and sends nonsense inside: still a verdict."""
    gateway = both_ways(cipher, outer)
    (record,) = sender(cipher, outer).sadb
    esp = record.sealer.seal(1, next_header, clear)  # type: ignore[union-attr]
    source, destination = OUTER[outer]
    make = ipv4 if outer == 4 else ipv6
    judge(gateway, make(esp, protocol=50, source=source, destination=destination))

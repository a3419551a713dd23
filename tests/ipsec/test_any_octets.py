"""Hostile octets: any of them give a verdict, none of them an exception, and none a false delivery."""

import random as seeded
import zlib
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from culvert.ipsec import ip
from culvert.ipsec.gateway import Gateway
from culvert.ipsec.sa import Direction, Mode, Protocol, UdpPorts
from culvert.ipsec.sadb import Outbound
from culvert.ipsec.udp import wrap
from culvert.ipsec.verdict import Bypass, Deliver, Drop, Hold, Send
from tests.ipsec.building import (
    NOW,
    OUTER,
    SPI,
    delivered,
    end_to_end,
    ipv4,
    ipv6,
    make_policy,
    make_sa,
    receiver,
    sender,
    sent,
    udp,
)

CIPHER_KINDS = ("null", "3des", "aes-ctr192", "aes-gcm128", "aes-ccm256-icv8", "aes-gmac192", "chacha20-poly1305")
AUTH_KINDS = ("sha512", "aes-gmac128")
SAS: list[dict[str, Any]] = [
    *({"cipher": cipher} for cipher in CIPHER_KINDS),
    *({"protocol": Protocol.AH, "auth": auth} for auth in AUTH_KINDS),
    {"mode": Mode.TRANSPORT, "esn": True},
    {"mode": Mode.TRANSPORT, "compression": 2, "encapsulation": UdpPorts(), "mss": 0},
    {"mode": Mode.TRANSPORT, "protocol": Protocol.AH, "compression": 2},
]
KINDS = [(outer, sa) for sa in SAS for outer in (4, 6)]


def front(sa: dict[str, Any]) -> tuple[int, bytes]:
    """The protocol that the outer header names, and what stands in front of SPI and number."""
    if "encapsulation" in sa:
        return 17, bytes.fromhex("11941194")
    return (51, bytes.fromhex("04040000")) if "protocol" in sa else (50, b"")


def judge(gateway: Gateway, packet: bytes) -> None:
    """Any octets, either way. What is delivered or protected at all must be IP."""
    verdict = gateway.inbound(packet, NOW)
    assert isinstance(verdict, Drop | Deliver | Hold)
    if isinstance(verdict, Deliver):
        assert ip.parse(verdict.packet) is not None
    verdict = gateway.outbound(packet, NOW)
    assert isinstance(verdict, Drop | Send | Bypass | Hold)
    gateway.told_too_big(packet, NOW)
    if not isinstance(verdict, Drop):
        assert ip.parse(packet) is not None


def both_ways(outer: int = 4, **sa: Any) -> Gateway:
    gateway = receiver(outer=outer, **sa)
    own = make_sa(Direction.OUT, outer=outer, **sa)
    gateway.add_sa(own, now=NOW)
    for version in (4, 6):
        gateway.add_policy(make_policy(Direction.OUT, inner=version, protocol=own.protocol, mode=own.mode))
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


@pytest.mark.parametrize(("outer", "sa"), KINDS)
def test_every_length_up_to_200_for_a_live_sa(outer: int, sa: dict[str, Any]) -> None:
    """Right addresses and SPI, so that every length reaches the code of the protocol."""
    gateway = both_ways(outer, **sa)
    protocol, start = front(sa)
    for count in range(201):
        body = SPI.to_bytes(4) + (1).to_bytes(4) + bytes(count)
        if protocol == 17:
            body = (8 + len(body)).to_bytes(2) + bytes(2) + body
        judge(gateway, end_to_end(outer, (start + body)[:count], protocol=protocol))
        judge(gateway, end_to_end(outer, (start + body)[:count], protocol=50 + count % 2))
    assert next(iter(gateway.sadb)).usage.packets == 0


@pytest.mark.parametrize(("outer", "sa"), KINDS)
def test_every_truncation_of_a_good_packet(outer: int, sa: dict[str, Any]) -> None:
    gateway = both_ways(outer, **sa)
    clear = end_to_end(outer, udp(data=bytes(100)))
    packet = sent(sender(outer=outer, **sa).outbound(clear, NOW)).packet
    for count in range(len(packet)):
        assert isinstance(gateway.inbound(packet[:count], NOW), Drop)
        judge(gateway, packet[:count])
    assert delivered(gateway.inbound(packet, NOW)).packet == clear


@settings(max_examples=500, deadline=None)
@given(st.binary(max_size=200))
def test_any_octets(packet: bytes) -> None:
    judge(both_ways(), packet)


@settings(max_examples=300, deadline=None)
@given(
    st.sampled_from(KINDS),
    st.sampled_from(("sealed", "clear", "options", "quoted")),
    st.lists(st.tuples(st.integers(0, 119), st.integers(0, 255)), min_size=1, max_size=4),
    st.integers(0, 120),
)
def test_mutated_packets(kind: tuple[int, dict[str, Any]], sort: str, changes: list[tuple[int, int]], cut: int) -> None:
    outer, sa = kind
    clear = end_to_end(outer)
    here = both_ways(outer, **sa)
    sealed = sent(here.outbound(clear, NOW)).packet
    options = (
        ipv4(udp(), options=bytes.fromhex("830704c000020200"))
        if outer == 4
        else ipv6(bytes((17, *bytes(7))) + udp(), protocol=0)
    )
    quoted = end_to_end(
        outer, bytes((3, 4) if outer == 4 else (2, 0)) + bytes(6) + sealed, protocol=1 if outer == 4 else 58
    )
    packet = bytearray({"sealed": sealed, "clear": clear, "options": options, "quoted": quoted}[sort])
    for position, octet in changes:
        packet[position % len(packet)] = octet
    judge(here, bytes(packet[: len(packet) - cut] if cut < len(packet) // 4 else packet))


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(KINDS), st.binary(max_size=120), st.integers(0, 255), st.booleans())
def test_any_clear_text_of_an_honest_key_holder(
    kind: tuple[int, dict[str, Any]], clear: bytes, next_header: int, compressed: bool
) -> None:
    """A peer that has the keys and sends nonsense inside: still a verdict."""
    outer, sa = kind
    gateway = both_ways(outer, **sa)
    (record,) = sender(outer=outer, **sa).sadb
    assert isinstance(record, Outbound)
    if compressed:
        state = zlib.compressobj(wbits=-15)
        clear, next_header = bytes((next_header, 0, 0, 2)) + state.compress(clear * 1000) + state.flush(), 108
    protocol, _ = front(sa)
    header = end_to_end(outer, bytes(record.sealer.layout.sealed(len(clear))), protocol=protocol)
    header = header[: 20 if outer == 4 else 40]
    body = record.sealer.seal(header, 1, next_header, clear)
    assert isinstance(body, bytes)
    if protocol == 17:
        body = wrap(UdpPorts(), *(address.packed for address in OUTER[outer]), body)
    packet = end_to_end(outer, body, protocol=protocol)
    if protocol != 17:
        assert packet.startswith(header)
    judge(gateway, packet)

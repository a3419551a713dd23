"""AH: where its fields are, what its value covers, what the way may change and what nobody may."""

import hmac
import struct
from collections.abc import Iterator
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scapy.layers.inet import IP
from scapy.layers.inet6 import IPv6
from scapy.layers.ipsec import AH, zero_mutable_fields
from scapy.packet import Packet

from culvert.ipsec import ah
from culvert.ipsec.ah import Opener, Sealer, layout
from culvert.ipsec.algorithms import AUTHS, NONE, BadKeyLength
from culvert.ipsec.drops import Reason
from culvert.ipsec.esp import Payload, Unauthenticated
from culvert.ipsec.gateway import Gateway
from culvert.ipsec.replay import Window
from culvert.ipsec.sa import Direction, Mode, Protocol, SecurityAssociation, UdpPorts
from culvert.ipsec.verdict import Deliver
from tests.ipsec.building import (
    AUTH_KEY,
    AUTH_KEYS,
    NOW,
    OUTER,
    SPI,
    delivered,
    dice,
    gateway_of,
    ipv4,
    ipv6,
    make_sa,
    udp,
)

AH_PROTOCOL, HOP_BY_HOP, ROUTING, DESTINATION = 51, 0, 43, 60


def ah_sa(direction: Direction = Direction.OUT, outer: int = 4, **more: Any) -> SecurityAssociation:
    return make_sa(direction, protocol=Protocol.AH, mode=Mode.TRANSPORT, outer=outer, **more)


def icv(octets: bytes) -> bytes:
    return hmac.digest(AUTH_KEY, octets, "sha1")[:12]


def signed(header: bytes, payload: bytes, sequence: int = 1, next_header: int = 17, **sa: Any) -> bytes:
    """The packet with AH behind `header`, which names it already and says a length that `payload` makes true."""
    outer = header[0] >> 4
    sealed = Sealer(ah_sa(outer=outer, **sa), dice()).seal(header, sequence, next_header, payload)
    assert isinstance(sealed, bytes)
    return header + sealed


def header4(octets_behind: int, options: bytes = b"", **fields: Any) -> bytes:
    source, destination = OUTER[4]
    fields = {"source": source, "destination": destination, **fields}
    return ipv4(bytes(octets_behind), protocol=AH_PROTOCOL, options=options, **fields)[: 20 + len(options)]


def header6(octets_behind: int, chain: bytes = b"", first: int = AH_PROTOCOL, **fields: Any) -> bytes:
    source, destination = OUTER[6]
    fields = {"source": source, "destination": destination, **fields}
    return ipv6(chain + bytes(octets_behind), protocol=first, **fields)[: 40 + len(chain)]


def receiver() -> Gateway:
    """Takes what the peer's gateway sends to this one by AH, for itself."""
    return gateway_of(*(ah_sa(Direction.IN, outer) for outer in (4, 6)))


@pytest.mark.parametrize("auth", AUTHS)
@pytest.mark.parametrize("outer", [4, 6])
def test_sizes(auth: str, outer: int) -> None:
    """RFC 4302 section 2.2 and 2.6: multiples of 32 bits, of 64 in IPv6."""
    known = {12: (24, 24), 16: (28, 32), 24: (36, 40), 32: (44, 48)}
    sizes = layout(ah_sa(outer=outer, auth=auth))
    assert sizes.header == known[AUTHS[auth].icv_octets][outer == 6]
    assert (sizes.sealed(100), sizes.largest_payload(sizes.header + 100)) == (sizes.header + 100, 100)


@pytest.mark.parametrize("auth", AUTHS)
@pytest.mark.parametrize("outer", [4, 6])
@pytest.mark.parametrize("number", [1, 2**32 - 1, 2**32 + 1, 2**64 - 1])
def test_what_was_signed_opens(auth: str, outer: int, number: int) -> None:
    esn, payload = number >> 32 > 0, udp()
    header = (header4 if outer == 4 else header6)(layout(ah_sa(outer=outer, auth=auth)).sealed(len(payload)))
    packet = signed(header, payload, number, auth=auth, esn=esn)
    window = Window(64, number - 1, extended=esn)
    ready = Opener(ah_sa(Direction.IN, outer, auth=auth, esn=esn))
    assert ready.open(window, packet + b"behind", len(header), len(packet)) == Payload(17, payload)
    assert window.top == number
    assert ready.open(window, packet, len(header), len(packet)) is Reason.REPLAY


def test_fields_and_value_in_ipv4() -> None:
    """By hand, from RFC 4302 section 2 and 3.3.3.1.1."""
    payload = udp()
    header = header4(24 + len(payload), traffic_class=0xB9, flags=0x4000, hops=63, identification=0x1234)
    packet = signed(header, payload, 0x01020304)
    start = bytes((17, 4, 0, 0)) + struct.pack("!II", SPI, 0x01020304)
    assert packet[20:32] == start
    still = bytes.fromhex("4500") + struct.pack("!HHHBBH", len(packet), 0x1234, 0, 0, AH_PROTOCOL, 0) + header[12:20]
    assert packet[32:44] == icv(still + start + bytes(12) + payload)
    assert packet[44:] == payload


def test_fields_and_value_in_ipv6() -> None:
    payload = udp()
    header = header6(24 + len(payload), traffic_class=0xB9, hops=63)
    packet = signed(header, payload, 7)
    start = bytes((17, 4, 0, 0)) + struct.pack("!II", SPI, 7)
    still = bytes.fromhex("60000000") + struct.pack("!HBB", 24 + len(payload), AH_PROTOCOL, 0) + header[8:40]
    assert packet[40:] == start + icv(still + start + bytes(12) + payload) + payload


def test_the_upper_half_of_an_extended_number_is_signed_behind_the_packet() -> None:
    """RFC 4302 section 3.3.3.2.2."""
    header = header4(24 + 8)
    packet = signed(header, bytes(8), 0x0000000700000009, esn=True)
    still = bytearray(header)
    still[8] = 0
    still[10:12] = bytes(2)
    assert packet[28:32] == b"\0\0\0\x09"
    assert packet[32:44] == icv(bytes(still) + packet[20:32] + bytes(12) + bytes(8) + b"\0\0\0\7")


def test_a_header_padded_to_eight_octets_in_ipv4_opens_too() -> None:
    """As Linux sends it unless told otherwise. What the padding holds is signed."""
    header = header4(32 + 8)
    start = bytes((17, 6, 0, 0)) + struct.pack("!II", SPI, 1)
    still = bytearray(header)
    still[8] = 0
    still[10:12] = bytes(2)
    covered = bytes(still) + start + bytes(16) + b"pad!" + udp()[:8]
    value = hmac.digest(AUTH_KEYS["sha256"], covered, "sha256")[:16]
    packet = header + start + value + b"pad!" + udp()[:8]
    ready = Opener(ah_sa(Direction.IN, auth="sha256"))
    assert ready.open(Window(64), packet, 20, len(packet)) == Payload(17, udp()[:8])
    other = packet.replace(b"pad!", b"pad?")
    assert ready.open(Window(64), other, 20, len(other)) is Reason.INTEGRITY


@pytest.mark.parametrize("outer", [4, 6])
def test_lengths_that_the_algorithm_can_not_have_are_runts(outer: int) -> None:
    payload = bytes(300)
    header = (header4 if outer == 4 else header6)(24 + len(payload))
    packet = signed(header, payload)
    ready, start = Opener(ah_sa(Direction.IN, outer)), len(header)
    for length in range(256):
        damaged = packet[: start + 1] + bytes((length,)) + packet[start + 2 :]
        result = ready.open(Window(64), damaged, start, len(packet))
        assert result == (Payload(17, payload) if length == 4 else Reason.RUNT)
    for end in range(start, start + 24):
        assert ready.open(Window(64), packet, start, end) is Reason.RUNT


def test_a_dummy() -> None:
    header = header4(24 + 8)
    packet = signed(header, bytes(8), next_header=59)
    window = Window(64)
    assert Opener(ah_sa(Direction.IN)).open(window, packet, 20, len(packet)) is Reason.DUMMY
    assert window.top == 1


@pytest.mark.parametrize(
    "change",
    [
        {"auth": NONE, "auth_key": b""},
        {"cipher": "aes128"},
        {"encapsulation": UdpPorts()},
    ],
    ids=lambda change: next(iter(change)),
)
def test_what_never_goes_into_service(change: dict[str, Any]) -> None:
    for direction in Direction:
        with pytest.raises(Unauthenticated):
            Opener(ah_sa(direction, **change))
        with pytest.raises(BadKeyLength):
            Opener(ah_sa(direction, auth_key=bytes(19)))


# What counts, against scapy's own table

SECURITY, ROUTER_ALERT, STREAM = (
    bytes.fromhex("820b0000000000000000ff"),
    bytes.fromhex("94040000"),
    bytes.fromhex("88040102"),
)
RECORD_ROUTE, TIMESTAMP = bytes.fromhex("070b080a0000010a000002"), bytes.fromhex("440c0d0001020304aabbccdd")
LOOSE, STRICT = bytes.fromhex("830b04c0000263c0000202"), bytes.fromhex("890b04c0000263c0000202")
UNKNOWN = bytes.fromhex("e30401ff")


def filled(options: bytes) -> bytes:
    return options + bytes(-len(options) % 4)


option_lists = st.lists(
    st.sampled_from((SECURITY, ROUTER_ALERT, STREAM, RECORD_ROUTE, TIMESTAMP, b"\x01", UNKNOWN)), max_size=3
).map(lambda parts: filled(b"".join(parts)))


def known_to_scapy(options: bytes) -> bool:
    """It takes the one for a source route, and what follows the other for a part of it."""
    return UNKNOWN not in options and TIMESTAMP not in options


def by_scapy(header: bytes, *, sending: bool) -> bytes:
    kind = IP if header[0] >> 4 == 4 else IPv6
    packet: Packet = kind(header + bytes(AH(nh=17, icv=bytes(12))) + bytes(8))
    return bytes(zero_mutable_fields(packet, sending=sending))[: len(header)]


@given(option_lists.filter(known_to_scapy), st.booleans(), st.integers(0, 255), st.integers(0, 255))
def test_scapy_agrees_on_ipv4(options: bytes, sending: bool, traffic_class: int, hops: int) -> None:
    header = header4(32, options, traffic_class=traffic_class, hops=hops, flags=0x4000)
    assert ah.immutable(header, foretell=sending) == by_scapy(header, sending=sending)


@pytest.mark.parametrize("route", [LOOSE, STRICT], ids=["loose", "strict"])
def test_the_destination_of_a_source_route_is_foretold(route: bytes) -> None:
    """RFC 4302 section 3.3.3.1.1: mutable but predictable, which scapy doesn't know. The route counts as zeros."""
    header = header4(32, b"\x01" + route, destination=ip_address("192.0.2.77"))
    assert ah.immutable(header, foretell=False) == by_scapy(header, sending=False)
    other = header[:16] + route[-4:] + header[20:]
    assert ah.immutable(header, foretell=True) == ah.immutable(other, foretell=False) != by_scapy(header, sending=True)


def options6(next_header: int, *options: bytes) -> bytes:
    """A hop-by-hop or destination options header."""
    body = b"".join(options)
    missing = -(2 + len(body)) % 8
    body += b"\0" if missing == 1 else bytes((1, missing - 2)) + bytes(missing - 2) if missing else b""
    return bytes((next_header, (2 + len(body)) // 8 - 1)) + body


def route6(next_header: int, kind: int, left: int, *addresses: IPv6Address) -> bytes:
    start = bytes((next_header, 2 * len(addresses), kind, left, 0, 0, 0, 0))
    return start + b"".join(address.packed for address in addresses)


ALERT6, STILL6, MOVING6 = bytes.fromhex("05020000"), bytes.fromhex("1e03616263"), bytes.fromhex("3e03616263")
option_sets = st.lists(st.sampled_from((ALERT6, STILL6, MOVING6, b"\0")), max_size=4)
STOPS = [IPv6Address(f"2001:db8:5::{stop}") for stop in range(1, 4)]


@given(option_sets, option_sets, st.booleans(), st.integers(0, 255), st.integers(0, 2**20 - 1))
def test_scapy_agrees_on_ipv6(
    first: list[bytes], second: list[bytes], sending: bool, traffic_class: int, flow_label: int
) -> None:
    # Scapy moves the router alert to an even place when it writes the packet anew.
    first, second = (sorted(options, key=lambda option: option != ALERT6) for options in (first, second))
    chain = options6(DESTINATION, *first) + options6(AH_PROTOCOL, *second)
    header = header6(32, chain, HOP_BY_HOP, traffic_class=traffic_class, flow_label=flow_label)
    assert ah.immutable(header, foretell=sending) == by_scapy(header, sending=sending)


@pytest.mark.parametrize("kind", [0, 2])
def test_scapy_agrees_on_routing_headers(kind: int) -> None:
    header = header6(32, route6(AH_PROTOCOL, kind, 1, STOPS[0]), ROUTING)
    if kind == 0:
        header = header6(32, route6(AH_PROTOCOL, kind, 3, *STOPS), ROUTING)
    assert ah.immutable(header, foretell=True) == by_scapy(header, sending=True)
    assert ah.immutable(header, foretell=False) == by_scapy(header, sending=False)


# What the way may change


def visited4(header: bytes, at: int, router: IPv4Address) -> bytes:
    """What a router does that a source route names (RFC 791 section 3.1)."""
    changed = bytearray(header)
    pointer = at + changed[at + 2] - 1
    changed[16:20], changed[pointer : pointer + 4] = changed[pointer : pointer + 4], router.packed
    changed[at + 2] += 4
    return bytes(changed)


def visited6(header: bytes, at: int) -> bytes:
    """What a node does that a routing header names (RFC 2460 section 4.4)."""
    changed = bytearray(header)
    changed[at + 3] -= 1
    place = at + 8 + 16 * (header[at + 1] // 2 - header[at + 3])
    changed[24:40], changed[place : place + 16] = changed[place : place + 16], changed[24:40]
    return bytes(changed)


@settings(max_examples=60, deadline=None)
@given(
    option_lists.filter(lambda options: len(options) <= 24),
    st.sampled_from((b"", LOOSE, STRICT)),
    st.integers(0, 255),
    st.integers(1, 255),
    st.integers(0, 0xFFFF),
    st.sampled_from((0, 0x4000)),
    st.data(),
)
def test_an_ipv4_packet_arrives_through_honest_routers(
    options: bytes, route: bytes, traffic_class: int, hops: int, checksum: int, flags: int, data: st.DataObject
) -> None:
    destination = IPv4Address("192.0.2.77") if route else OUTER[4][1]
    route = b"\x01" + route if route else b""
    header = header4(24 + len(udp()), route + options, destination=destination)
    packet = bytearray(signed(header, udp()))
    if route:
        packet[: len(header)] = visited4(visited4(bytes(packet[: len(header)]), 21, destination), 21, destination)
    packet[1], packet[8] = traffic_class, hops
    packet[6:8], packet[10:12] = flags.to_bytes(2), checksum.to_bytes(2)
    for at in mutable_data4(bytes(packet), 20 + len(route), len(header)):
        packet[at] = data.draw(st.integers(0, 255))
    assert delivered(receiver().inbound(bytes(packet), NOW)).packet[len(header) :] == udp()


def mutable_data4(packet: bytes, at: int, end: int) -> Iterator[int]:
    """Octets behind type and length of options that routers write into."""
    while at < end and packet[at]:
        octets = 1 if packet[at] == 1 else packet[at + 1]
        if packet[at] in (RECORD_ROUTE[0], TIMESTAMP[0], STREAM[0], UNKNOWN[0]):
            yield from range(at + 2, at + octets)
        at += octets


def test_a_source_route_that_was_worked_through_before_it_was_signed() -> None:
    """The pointer is behind the last address: the destination is the last one already, and stays."""
    route = bytes.fromhex("83070801020304") + b"\0"
    packet = signed(header4(24 + len(udp()), route), udp())
    delivered(receiver().inbound(packet, NOW))


@pytest.mark.parametrize("kind", [0, 2])
@given(option_sets, option_sets, st.integers(0, 255), st.integers(0, 255), st.integers(0, 2**20 - 1), st.data())
@settings(max_examples=40, deadline=None)
def test_an_ipv6_packet_arrives_through_honest_routers(
    kind: int,
    hop_by_hop: list[bytes],
    before_route: list[bytes],
    traffic_class: int,
    hops: int,
    flow_label: int,
    data: st.DataObject,
) -> None:
    stops = STOPS[: 1 if kind == 2 else 3]
    chain = options6(DESTINATION, *hop_by_hop) + options6(ROUTING, *before_route)
    route_at = 40 + len(chain)
    # The source names the first stop as destination; the last address of the list is where it really goes.
    chain += route6(AH_PROTOCOL, kind, len(stops), *stops[1:], OUTER[6][1])
    header = header6(24 + len(udp()), chain, HOP_BY_HOP, destination=stops[0])
    packet = bytearray(signed(header, udp()))
    for _ in stops:
        packet[: len(header)] = visited6(bytes(packet[: len(header)]), route_at)
    assert packet[24:40] == OUTER[6][1].packed and packet[route_at + 3] == 0
    packet[:4] = (6 << 28 | traffic_class << 20 | flow_label).to_bytes(4)
    packet[7] = hops
    for at in range(40, route_at):
        if packet[at : at + 5] == MOVING6:
            packet[at + 2 : at + 5] = data.draw(st.binary(min_size=3, max_size=3))
    assert delivered(receiver().inbound(bytes(packet), NOW)).packet[len(header) :] == udp()


# What nobody may change


def sample4() -> tuple[bytes, set[int]]:
    """A packet, and its octets that routers may write. All of a mutable option counts as zeros, its type too."""
    options = filled(SECURITY + b"\x01" + ROUTER_ALERT + RECORD_ROUTE)
    header = header4(24 + len(udp()), options, flags=0x4000)
    record_at = 20 + len(SECURITY) + 1 + len(ROUTER_ALERT)
    return signed(header, udp()), {1, 6, 7, 8, 10, 11, *range(record_at, record_at + len(RECORD_ROUTE))}


def sample6() -> tuple[bytes, set[int]]:
    """The version shares its octet with four bits of the traffic class; it is looked at by itself."""
    chain = options6(DESTINATION, ALERT6, MOVING6) + options6(ROUTING, STILL6)
    chain += route6(AH_PROTOCOL, 0, 0, *STOPS)
    header = header6(24 + len(udp()), chain, HOP_BY_HOP)
    moving_at = header.index(MOVING6) + 2
    return signed(header, udp()), {0, 1, 2, 3, 7, *range(moving_at, moving_at + 3)}


@pytest.mark.parametrize("make", [sample4, sample6])
def test_no_other_bit_may_change(make: Any) -> None:
    packet, may_change = make()
    delivered(receiver().inbound(packet, NOW))
    there = receiver()
    for bit in range(len(packet) * 8):
        if bit // 8 not in may_change:
            damaged = bytearray(packet)
            damaged[bit // 8] ^= 1 << bit % 8
            assert not isinstance(there.inbound(bytes(damaged), NOW), Deliver), f"octet {bit // 8}"
    delivered(there.inbound(packet, NOW))


def test_the_version_of_ipv6_may_not_change_and_the_rest_of_its_octet_may() -> None:
    packet, _ = sample6()
    for bit in range(8):
        damaged = bytes((packet[0] ^ 1 << bit,)) + packet[1:]
        assert isinstance(receiver().inbound(damaged, NOW), Deliver) is (bit < 4)


@pytest.mark.parametrize(
    "options",
    ["830300ff", "83030001", "83020000", "07010000", "07000000", "0709ff00", "01010144", "01010107", "8307"],
    ids=lambda options: options,
)
def test_damaged_options_are_never_signed_nor_believed(options: str) -> None:
    octets = filled(bytes.fromhex(options))
    header = header4(32, octets)
    sealed = Sealer(ah_sa(), dice()).seal(header, 1, 17, bytes(8))
    if options in ("83030001", "83020000"):
        # Short for a source route, but whole: it counts as zeros.
        assert isinstance(sealed, bytes)
        return
    assert sealed is Reason.MALFORMED_HEADER
    good = signed(header4(32, b"\x01" * len(octets)), bytes(8))
    packet = header + good[len(header) :]
    assert Opener(ah_sa(Direction.IN)).open(Window(64), packet, len(header), len(packet)) is Reason.INTEGRITY


@pytest.mark.parametrize(
    ("first", "chain"),
    [
        (HOP_BY_HOP, bytes((51, 0, 5, 9, 0, 0, 0, 0))),
        (DESTINATION, bytes((51, 0, 1, 3, 0, 0, 0, 5))),
        (DESTINATION, bytes((51, 1)) + bytes(6)),
        (DESTINATION, bytes((51, 0)) + bytes(6) + bytes(4)),
        (ROUTING, route6(51, 0, 4, *STOPS)),
        (ROUTING, route6(51, 3, 1, *STOPS)),
        (ROUTING, route6(51, 0, 1, *STOPS)[:-8]),
        (135, bytes((51, 0)) + bytes(6)),
    ],
    ids=["option", "option type alone", "header", "rest", "left", "unknown route", "odd route", "mobility"],
)
def test_damaged_extension_headers_are_never_signed(first: int, chain: bytes) -> None:
    header = header6(32, chain, first)
    assert Sealer(ah_sa(outer=6), dice()).seal(header, 1, 17, bytes(8)) is Reason.MALFORMED_HEADER


def test_a_routing_header_of_any_kind_that_was_worked_through_is_signed_as_it_is() -> None:
    header = header6(24 + len(udp()), route6(51, 4, 0, *STOPS), ROUTING)
    assert ah.immutable(header, foretell=True) == ah.immutable(header, foretell=False)
    delivered(receiver().inbound(signed(header, udp()), NOW))


@pytest.mark.parametrize("reserved", [0, 3])
def test_the_fragment_header_of_a_whole_packet_is_signed_as_it_is(reserved: int) -> None:
    """RFC 6946."""
    header = header6(24 + len(udp()), struct.pack("!BBHI", 51, reserved, 0, 0x1234), 44)
    packet = signed(header, udp())
    delivered(receiver().inbound(packet, NOW))
    other = packet[:47] + bytes((packet[47] ^ 1,)) + packet[48:]
    assert not isinstance(receiver().inbound(other, NOW), Deliver)


def test_scapy_takes_it_apart() -> None:
    packet = IP(signed(header4(24 + len(udp())), udp(), 5))
    assert (packet[AH].nh, packet[AH].payloadlen, packet[AH].spi, packet[AH].seq) == (17, 4, SPI, 5)
    assert (len(packet[AH].icv), bytes(packet[AH].payload)) == (12, udp())

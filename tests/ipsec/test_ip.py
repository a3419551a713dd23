"""IP headers: what is read from good ones, and that no damaged one is read at all."""

import struct
from ipaddress import IPv4Address, IPv6Address

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.inet6 import (
    ICMPv6EchoRequest,
    IPv6,
    IPv6ExtHdrDestOpt,
    IPv6ExtHdrFragment,
    IPv6ExtHdrHopByHop,
    IPv6ExtHdrRouting,
    PadN,
)
from scapy.packet import Packet, Raw

from culvert.ipsec import ip
from culvert.ipsec.ip import Datagram, Fragment
from culvert.ipsec.selector import ICMP_BASE, Flow
from tests.ipsec.building import INNER, ipv4, ipv6, parsed, udp

PORTS = (1111, 53)


def test_an_ipv4_packet() -> None:
    packet = ipv4(udp(), traffic_class=0xB9, hops=63)
    datagram = parsed(packet)
    source, destination = INNER[4]
    key = source.packed, destination.packed, 17, *PORTS
    assert datagram == Datagram(4, len(packet), 0xB9, False, None, 17, 20, key, 9, 63)
    assert datagram.flow == Flow(source, destination, 17, *PORTS)


def test_an_ipv6_packet() -> None:
    packet = ipv6(udp(), traffic_class=0xB9, hops=63, flow_label=0x54321)
    datagram = parsed(packet)
    source, destination = INNER[6]
    key = source.packed, destination.packed, 17, *PORTS
    assert datagram == Datagram(6, len(packet), 0xB9, True, None, 17, 40, key, 6, 63, 0x54321)
    assert datagram.flow == Flow(source, destination, 17, *PORTS)


@pytest.mark.parametrize("make", [ipv4, ipv6])
def test_what_follows_the_packet_is_not_in_it(make) -> None:  # type: ignore[no-untyped-def]
    packet = make(udp())
    assert parsed(packet + bytes(7)) == parsed(packet)
    # Ports that lie behind the end of the packet are not the packet's.
    assert parsed(make(b"\1\2\3") + b"\4").key[3:] == (None, None)


@pytest.mark.parametrize("protocol", [6, 17, 33, 132, 136])
def test_protocols_with_ports(protocol: int) -> None:
    assert parsed(ipv4(udp(), protocol=protocol)).key[2:] == (protocol, *PORTS)
    assert parsed(ipv6(udp(), protocol=protocol)).key[2:] == (protocol, *PORTS)


@pytest.mark.parametrize("protocol", [1, 58])
def test_icmp_shows_type_and_code_where_ports_stand(protocol: int) -> None:
    """RFC 4301 section 4.4.1.1; lifted above every port, so that none is taken for the other."""
    key = (protocol, ICMP_BASE + 3, ICMP_BASE + 4)
    for make in (ipv4, ipv6):
        assert parsed(make(b"\3\4", protocol=protocol)).key[2:] == key
        assert parsed(make(b"\3", protocol=protocol) + b"\4").key[2:] == (protocol, None, None)


@pytest.mark.parametrize("protocol", [2, 47, 50, 51, 59, 89, 255])
def test_protocols_without_ports(protocol: int) -> None:
    assert parsed(ipv4(udp(), protocol=protocol)).key[2:] == (protocol, None, None)
    assert parsed(ipv6(udp(), protocol=protocol)).key[2:] == (protocol, None, None)


@pytest.mark.parametrize(
    ("flags", "dont_fragment", "fragment", "ports"),
    [
        (0x0000, False, None, PORTS),
        (0x4000, True, None, PORTS),
        (0x8000, False, None, PORTS),
        (0x2000, False, Fragment(77, 0, True), PORTS),
        (0x0001, False, Fragment(77, 8, False), (None, None)),
        (0x2001, False, Fragment(77, 8, True), (None, None)),
        (0x1FFF, False, Fragment(77, 65528, False), (None, None)),
        (0x6000, True, Fragment(77, 0, True), PORTS),
    ],
)
def test_ipv4_flags(
    flags: int, dont_fragment: bool, fragment: Fragment | None, ports: tuple[int | None, int | None]
) -> None:
    datagram = parsed(ipv4(udp(), flags=flags, identification=77))
    assert (datagram.dont_fragment, datagram.fragment, datagram.key[3:]) == (dont_fragment, fragment, ports)
    assert datagram.is_later_fragment is (ports != PORTS)


def test_ipv4_options_are_skipped() -> None:
    for words in range(1, 11):
        datagram = parsed(ipv4(udp(), options=b"\1" * 4 * words))
        assert (datagram.offset, datagram.key[3:]) == (20 + 4 * words, PORTS)


@pytest.mark.parametrize(
    "damage",
    [
        lambda packet: b"",
        lambda packet: packet[:1],
        lambda packet: packet[:19],
        lambda packet: packet[:-1],
        lambda packet: b"\x44" + packet[1:],
        lambda packet: b"\x40" + packet[1:],
        lambda packet: b"\x4f" + packet[1:],
        lambda packet: b"\x55" + packet[1:],
        lambda packet: b"\x05" + packet[1:],
        lambda packet: packet[:2] + struct.pack("!H", 19) + packet[4:],
        lambda packet: packet[:2] + b"\0\0" + packet[4:],
        lambda packet: packet[:2] + b"\xff\xff" + packet[4:],
        lambda packet: b"\x46" + packet[1:2] + struct.pack("!H", 23) + packet[4:],
    ],
)
def test_damaged_ipv4_headers(damage) -> None:  # type: ignore[no-untyped-def]
    assert ip.parse(damage(ipv4(udp()))) is None


@pytest.mark.parametrize("count", [0, 1, 20, 39, 40, 47])
def test_ipv6_packets_that_end_early(count: int) -> None:
    assert ip.parse(ipv6(udp())[:count]) is None


def options(next_header: int, octets: int = 8) -> bytes:
    """A hop-by-hop, routing or destination options header that does nothing."""
    return bytes((next_header, octets // 8 - 1)) + bytes(octets - 2)


def fragment_header(next_header: int, place: int) -> bytes:
    return struct.pack("!BBHI", next_header, 0, place, 9)


@pytest.mark.parametrize(
    ("first", "chain", "protocol", "offset"),
    [
        (0, options(17), 17, 48),
        (60, options(17, 24), 17, 64),
        (43, options(17, 2048), 17, 40 + 2048),
        (0, options(60) + options(43) + options(60) + options(17), 17, 72),
        (0, options(59), 59, 48),
        # RFC 4301 section 4.4.1.1: AH and ESP are next layer protocols, mobility (135) is not in the list to skip.
        (0, options(51), 51, 48),
        (60, options(50), 50, 48),
        (135, b"", 135, 40),
    ],
)
def test_ipv6_extension_headers_are_skipped(first: int, chain: bytes, protocol: int, offset: int) -> None:
    datagram = parsed(ipv6(chain + udp(), protocol=first))
    assert (datagram.protocol, datagram.offset, datagram.fragment) == (protocol, offset, None)
    assert datagram.key[3:] == (PORTS if protocol == 17 else (None, None))


@pytest.mark.parametrize(
    ("first", "payload"),
    [
        (0, b""),
        (0, options(17)[:7]),
        (60, options(17, 16)[:15]),
        (60, options(0) + options(17)),
        (44, fragment_header(17, 1)[:7]),
        (44, fragment_header(60, 1) + options(17)[:4]),
        (60, b"".join([options(60)] * 16) + udp()),
    ],
)
def test_damaged_ipv6_chains(first: int, payload: bytes) -> None:
    assert ip.parse(ipv6(payload, protocol=first)) is None


def test_the_longest_chain_that_is_walked() -> None:
    chain = b"".join([options(60)] * 14) + options(17)
    assert parsed(ipv6(chain + udp(), protocol=60)).protocol == 17


@pytest.mark.parametrize(
    ("place", "fragment", "ports"),
    [
        # RFC 6946: offset 0 and nothing more is a whole packet. The two reserved bits say nothing.
        (0, None, PORTS),
        (6, None, PORTS),
        (1, Fragment(9, 0, True, 48), PORTS),
        (8, Fragment(9, 8, False, 48), (None, None)),
        (0xFFFF, Fragment(9, 65528, True, 48), (None, None)),
    ],
)
def test_ipv6_fragments(place: int, fragment: Fragment | None, ports: tuple[int | None, int | None]) -> None:
    datagram = parsed(ipv6(options(44) + fragment_header(17, place) + udp(), protocol=0))
    assert (datagram.protocol, datagram.offset, datagram.fragment, datagram.key[3:]) == (17, 56, fragment, ports)
    assert datagram.protocol_at == 48


def test_a_later_fragment_is_not_walked() -> None:
    datagram = parsed(ipv6(fragment_header(60, 8) + udp(), protocol=44))
    assert datagram.key[2:] == (60, None, None)


def test_two_fragment_headers_stay_a_fragment() -> None:
    chain = fragment_header(44, 1) + fragment_header(17, 0)
    assert parsed(ipv6(chain + udp(), protocol=44)).fragment


def chain_of(*parts: tuple[int, int]) -> tuple[int, bytes]:
    """An IPv6 extension chain of (kind, octets), with UDP behind it; the kind of the first."""
    kinds = [kind for kind, _ in parts] + [17]
    headers = (
        fragment_header(after, 0) if kind == 44 else options(after, octets)
        for (kind, octets), after in zip(parts, kinds[1:], strict=True)
    )
    return kinds[0], b"".join(headers)


@given(st.lists(st.tuples(st.sampled_from((60, 43, 44)), st.sampled_from((8, 16, 40))), max_size=14))
def test_the_octet_that_names_the_upper_protocol(parts: list[tuple[int, int]]) -> None:
    first, chain = chain_of(*parts)
    packet = ipv6(chain + udp(), protocol=first)
    datagram = parsed(packet)
    assert packet[datagram.protocol_at] == 17
    other = bytearray(packet)
    other[datagram.protocol_at] = 59
    assert parsed(bytes(other)).key[2:] == (59, None, None)


@given(st.binary(max_size=70))
def test_the_sum_of_rfc_1071(octets: bytes) -> None:
    """Word by word, as the RFC's own C does it."""
    total = 0
    for at in range(0, len(octets), 2):
        total += int.from_bytes(octets[at : at + 2].ljust(2, b"\0"))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    assert ip.ones_complement_sum(octets) == total


@pytest.mark.parametrize("make", [ipv4, ipv6])
def test_another_payload_behind_the_same_header(make) -> None:  # type: ignore[no-untyped-def]
    packet = make(udp(), protocol=17, traffic_class=4)
    datagram = parsed(packet)
    header = ip.with_length(packet[: datagram.offset], datagram.protocol_at, 6, 9)
    assert header + bytes(9) == make(bytes(9), protocol=6, traffic_class=4)


def test_checksum_is_rfc_1071() -> None:
    header = bytes.fromhex("45000073000040004011b861c0a80001c0a800c7")
    assert ip.checksum(header) == 0
    assert ip.checksum(header[:10] + bytes(2) + header[12:]) == 0xB861
    assert ip.checksum(bytes(20)) == 0


@st.composite
def transports(draw: st.DrawFn, icmp: type = ICMP) -> Packet:
    port = st.integers(0, 65535)
    upper = draw(st.sampled_from((TCP, UDP, icmp)))
    layer = upper() if upper is icmp else upper(sport=draw(port), dport=draw(port))
    return layer / Raw(draw(st.binary(max_size=30)))


def shown(transport: Packet) -> tuple[int | None, int | None]:
    """What scapy has where a selector looks for ports."""
    if isinstance(transport, ICMP | ICMPv6EchoRequest):
        return ICMP_BASE + transport.type, ICMP_BASE + transport.code
    return transport.sport, transport.dport


@given(
    st.integers(0, 2**32 - 1).map(IPv4Address),
    st.integers(0, 2**32 - 1).map(IPv4Address),
    st.integers(0, 255),
    st.sampled_from(("", "DF", "MF")),
    transports(),
)
def test_scapy_agrees_on_ipv4(
    source: IPv4Address, destination: IPv4Address, traffic_class: int, flags: str, transport: Packet
) -> None:
    packet = IP(src=str(source), dst=str(destination), tos=traffic_class, flags=flags) / transport
    datagram = parsed(bytes(packet))
    ports = shown(transport)
    assert datagram.key == (source.packed, destination.packed, packet.proto, *ports)
    assert datagram.traffic_class == traffic_class
    assert (datagram.dont_fragment, datagram.fragment) == (
        flags == "DF",
        Fragment(1, 0, True) if flags == "MF" else None,
    )


EXTENSIONS = (
    lambda: IPv6ExtHdrDestOpt(options=[PadN(optdata=b"\0" * 12)]),
    IPv6ExtHdrRouting,
    lambda: IPv6ExtHdrFragment(offset=0, m=1),
)


@given(
    st.integers(0, 2**128 - 1).map(IPv6Address),
    st.integers(0, 255),
    st.booleans(),
    st.lists(st.sampled_from(EXTENSIONS), max_size=4, unique=True),
    transports(ICMPv6EchoRequest),
)
def test_scapy_agrees_on_ipv6(
    source: IPv6Address, traffic_class: int, hop_by_hop: bool, extensions: list[type], transport: Packet
) -> None:
    packet = IPv6(src=str(source), dst="2001:db8::5", tc=traffic_class)
    packet = packet / IPv6ExtHdrHopByHop() if hop_by_hop else packet
    for extension in extensions:
        packet = packet / extension()
    octets = bytes(packet / transport)
    datagram = parsed(octets)
    ports = shown(transport)
    assert len(octets) - datagram.offset == len(bytes(transport))
    assert datagram.key[0] == source.packed and datagram.key[3:] == ports
    assert datagram.traffic_class == traffic_class
    assert bool(datagram.fragment) == (EXTENSIONS[2] in extensions)

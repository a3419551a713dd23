"""IP headers: what is read from good ones, and that no damaged one is read at all."""

import struct
from ipaddress import IPv4Address, IPv6Address

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.inet6 import (
    IPv6,
    IPv6ExtHdrDestOpt,
    IPv6ExtHdrFragment,
    IPv6ExtHdrHopByHop,
    IPv6ExtHdrRouting,
    PadN,
)
from scapy.packet import Packet, Raw

from culvert.ipsec import ip
from culvert.ipsec.ip import Datagram
from culvert.ipsec.selector import Flow
from tests.ipsec.building import INNER, ipv4, ipv6, udp

PORTS = (1111, 53)


def parsed(packet: bytes) -> Datagram:
    datagram = ip.parse(packet)
    assert datagram is not None
    return datagram


def test_an_ipv4_packet() -> None:
    packet = ipv4(udp(), traffic_class=0xB9)
    datagram = parsed(packet)
    source, destination = INNER[4]
    assert datagram == Datagram(
        4, len(packet), 0xB9, False, False, 17, 20, (source.packed, destination.packed, 17, *PORTS)
    )
    assert datagram.flow == Flow(source, destination, 17, *PORTS)


def test_an_ipv6_packet() -> None:
    packet = ipv6(udp(), traffic_class=0xB9)
    datagram = parsed(packet)
    source, destination = INNER[6]
    assert datagram == Datagram(
        6, len(packet), 0xB9, True, False, 17, 40, (source.packed, destination.packed, 17, *PORTS)
    )
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


@pytest.mark.parametrize("protocol", [1, 2, 47, 50, 51, 58, 59, 89, 255])
def test_protocols_without_ports(protocol: int) -> None:
    assert parsed(ipv4(udp(), protocol=protocol)).key[2:] == (protocol, None, None)
    assert parsed(ipv6(udp(), protocol=protocol)).key[2:] == (protocol, None, None)


@pytest.mark.parametrize(
    ("flags", "dont_fragment", "fragment", "ports"),
    [
        (0x0000, False, False, PORTS),
        (0x4000, True, False, PORTS),
        (0x8000, False, False, PORTS),
        (0x2000, False, True, PORTS),
        (0x0001, False, True, (None, None)),
        (0x2001, False, True, (None, None)),
        (0x1FFF, False, True, (None, None)),
        (0x6000, True, True, PORTS),
    ],
)
def test_ipv4_flags(flags: int, dont_fragment: bool, fragment: bool, ports: tuple[int | None, int | None]) -> None:
    datagram = parsed(ipv4(udp(), flags=flags))
    assert (datagram.dont_fragment, datagram.fragment, datagram.key[3:]) == (dont_fragment, fragment, ports)


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
    assert (datagram.protocol, datagram.offset, datagram.fragment) == (protocol, offset, False)
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
    [(0, False, PORTS), (1, True, PORTS), (8, True, (None, None)), (9, True, (None, None)), (6, False, PORTS)],
)
def test_ipv6_fragments(place: int, fragment: bool, ports: tuple[int | None, int | None]) -> None:
    datagram = parsed(ipv6(fragment_header(17, place) + udp(), protocol=44))
    assert (datagram.protocol, datagram.offset, datagram.fragment, datagram.key[3:]) == (17, 48, fragment, ports)


def test_a_later_fragment_is_not_walked() -> None:
    datagram = parsed(ipv6(fragment_header(60, 8) + udp(), protocol=44))
    assert datagram.key[2:] == (60, None, None)


def test_two_fragment_headers_stay_a_fragment() -> None:
    chain = fragment_header(44, 1) + fragment_header(17, 0)
    assert parsed(ipv6(chain + udp(), protocol=44)).fragment


def test_checksum_is_rfc_1071() -> None:
    header = bytes.fromhex("45000073000040004011b861c0a80001c0a800c7")
    assert ip.checksum(header) == 0
    assert ip.checksum(header[:10] + bytes(2) + header[12:]) == 0xB861
    assert ip.checksum(bytes(20)) == 0


@st.composite
def transports(draw: st.DrawFn) -> Packet:
    port = st.integers(0, 65535)
    upper = draw(st.sampled_from((TCP, UDP, ICMP)))
    layer = upper() if upper is ICMP else upper(sport=draw(port), dport=draw(port))
    return layer / Raw(draw(st.binary(max_size=30)))


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
    ports = (getattr(transport, "sport", None), getattr(transport, "dport", None))
    assert datagram.key == (source.packed, destination.packed, packet.proto, *ports)
    assert datagram.traffic_class == traffic_class
    assert (datagram.dont_fragment, datagram.fragment) == (flags == "DF", flags == "MF")


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
    transports(),
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
    ports = (getattr(transport, "sport", None), getattr(transport, "dport", None))
    assert len(octets) - datagram.offset == len(bytes(transport))
    assert datagram.key[0] == source.packed and datagram.key[3:] == ports
    assert datagram.traffic_class == traffic_class
    assert datagram.fragment == (EXTENSIONS[2] in extensions)

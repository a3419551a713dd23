"""IPv4 and IPv6 headers: strict, bounded parsing (RFC 791, RFC 8200) of what IPsec needs to know.

`parse` gives None for anything whose length fields contradict the octets that are there; nothing here
raises for what came from the wire. Header checksums are not looked at: the host checks them before it
hands us a packet and again after it takes one.
"""

import struct
from enum import IntEnum
from ipaddress import ip_address
from typing import NamedTuple

from culvert.ipsec.selector import Flow, FlowKey

IPV4_HEADER_OCTETS = 20
IPV6_HEADER_OCTETS = 40
LENGTH_MAX = 65535
IPV6_EXTENSIONS_MAX = 16
"""A chain longer than this is an attack on whoever walks it (RFC 8504 section 5.3 allows a limit)."""

DONT_FRAGMENT = 0x4000
_MORE_OR_OFFSET = 0x3FFF
_OFFSET = 0x1FFF


class NextHeader(IntEnum):
    """IP protocol numbers that the packet path itself speaks of."""

    HOP_BY_HOP = 0
    ICMP = 1
    IPV4 = 4
    TCP = 6
    UDP = 17
    IPV6 = 41
    ROUTING = 43
    FRAGMENT = 44
    ESP = 50
    AH = 51
    ICMPV6 = 58
    NONE = 59
    DESTINATION_OPTIONS = 60
    IPCOMP = 108
    SCTP = 132


# RFC 4301 section 4.4.1.1: these four are skipped to find the next layer protocol; AH is not, it counts as one.
_EXTENSIONS = frozenset(
    (NextHeader.HOP_BY_HOP, NextHeader.ROUTING, NextHeader.FRAGMENT, NextHeader.DESTINATION_OPTIONS)
)
_WITH_PORTS = frozenset((NextHeader.TCP, NextHeader.UDP, 33, NextHeader.SCTP, 136))

_IPV4 = struct.Struct("!BBHHHBBH4s4s")
_IPV6 = struct.Struct("!IHBB16s16s")
_PORTS = struct.Struct("!HH")
_FRAGMENT = struct.Struct("!BBH")


class Datagram(NamedTuple):
    """What one IP header (with its extension headers) says.

    `length`: octets of the packet; more may follow (link padding, or RFC 4303 section 2.7 padding).
    `fragment`: any fragment, the first one too. `offset`: where the upper protocol begins.
    """

    version: int
    length: int
    traffic_class: int
    dont_fragment: bool
    fragment: bool
    protocol: int
    offset: int
    key: FlowKey

    @property
    def flow(self) -> Flow:
        source, destination, protocol, source_port, destination_port = self.key
        return Flow(ip_address(source), ip_address(destination), protocol, source_port, destination_port)


def parse(packet: bytes) -> Datagram | None:
    """The packet's header, or None for what is no IP packet."""
    if not packet:
        return None
    version = packet[0] >> 4
    if version == 4:
        return _parse_ipv4(packet)
    if version == 6:
        return _parse_ipv6(packet)
    return None


def _parse_ipv4(packet: bytes) -> Datagram | None:
    if len(packet) < IPV4_HEADER_OCTETS:
        return None
    first, traffic_class, length, _, fragment, _, protocol, _, source, destination = _IPV4.unpack_from(packet)
    offset = (first & 15) * 4
    if not IPV4_HEADER_OCTETS <= offset <= length <= len(packet):
        return None
    ports = _NO_PORTS if fragment & _OFFSET else _ports(packet, protocol, offset, length)
    return Datagram(
        4,
        length,
        traffic_class,
        fragment & DONT_FRAGMENT != 0,
        fragment & _MORE_OR_OFFSET != 0,
        protocol,
        offset,
        (source, destination, protocol, *ports),
    )


def _parse_ipv6(packet: bytes) -> Datagram | None:
    if len(packet) < IPV6_HEADER_OCTETS:
        return None
    word, payload_length, next_header, _, source, destination = _IPV6.unpack_from(packet)
    length = IPV6_HEADER_OCTETS + payload_length
    if length > len(packet):
        return None
    upper = _walk(packet, next_header, length) if next_header in _EXTENSIONS else _Upper(next_header)
    if upper is None:
        return None
    protocol, offset, fragment, later = upper
    ports = _NO_PORTS if later else _ports(packet, protocol, offset, length)
    return Datagram(
        6,
        length,
        word >> 20 & 0xFF,
        True,
        fragment,
        protocol,
        offset,
        (source, destination, protocol, *ports),
    )


class _Upper(NamedTuple):
    protocol: int
    offset: int = IPV6_HEADER_OCTETS
    fragment: bool = False
    later: bool = False


def _walk(packet: bytes, next_header: int, length: int) -> _Upper | None:
    """Skip extension headers. Every one must lie inside the packet, in a first fragment too (RFC 7112)."""
    offset = IPV6_HEADER_OCTETS
    fragment = False
    for position in range(IPV6_EXTENSIONS_MAX):
        if next_header not in _EXTENSIONS:
            return _Upper(next_header, offset, fragment)
        if offset + 8 > length or (next_header == NextHeader.HOP_BY_HOP and position):
            return None
        if next_header == NextHeader.FRAGMENT:
            next_header, _, place = _FRAGMENT.unpack_from(packet, offset)
            offset += 8
            if place & 0xFFF8:
                return _Upper(next_header, offset, fragment=True, later=True)
            fragment = fragment or place & 1 != 0
        else:
            next_header, octets = packet[offset], 8 * (packet[offset + 1] + 1)
            offset += octets
            if offset > length:
                return None
    return None


_NO_PORTS: tuple[int | None, int | None] = (None, None)


def _ports(packet: bytes, protocol: int, offset: int, length: int) -> tuple[int | None, int | None]:
    if protocol in _WITH_PORTS and offset + 4 <= length:
        source, destination = _PORTS.unpack_from(packet, offset)
        return source, destination
    return _NO_PORTS


def checksum(header: bytes) -> int:
    """RFC 1071 over a header of an even number of octets, whose checksum field is zero (or included, to verify)."""
    # A sum of 16-bit words with end-around carry is the number modulo 65535.
    return -int.from_bytes(header) % 0xFFFF

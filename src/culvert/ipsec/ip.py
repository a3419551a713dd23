"""IPv4 and IPv6 headers: strict, bounded parsing (RFC 791, RFC 8200) of what IPsec needs to know.

`parse` gives None for anything whose length fields contradict the octets that are there; nothing here
raises for what came from the wire. Header checksums are not looked at: the host checks them before it
hands us a packet and again after it takes one.
"""

import struct
from enum import IntEnum
from ipaddress import ip_address
from typing import NamedTuple

from culvert.ipsec.selector import ICMP_BASE, Flow, FlowKey

IPV4_HEADER_OCTETS = 20
IPV6_HEADER_OCTETS = 40
HEADER_OCTETS = {4: IPV4_HEADER_OCTETS, 6: IPV6_HEADER_OCTETS}
LENGTH_MAX = 65535
IPV6_EXTENSIONS_MAX = 16
"""A chain longer than this is an attack on whoever walks it (RFC 8504 section 5.3 allows a limit)."""

DONT_FRAGMENT = 0x4000
MORE_FRAGMENTS = 0x2000
_MORE_OR_OFFSET = 0x3FFF
_OFFSET = 0x1FFF
_IPV4_PROTOCOL_AT = 9
_IPV6_NEXT_HEADER_AT = 6


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
ROUTER_READS = frozenset((NextHeader.HOP_BY_HOP, NextHeader.ROUTING, NextHeader.DESTINATION_OPTIONS))
"""What may stand in front of a fragment header, or of IPsec in transport mode (RFC 8200 section 4.1)."""
_WITH_PORTS = frozenset((NextHeader.TCP, NextHeader.UDP, 33, NextHeader.SCTP, 136))
_WITH_TYPE = frozenset((NextHeader.ICMP, NextHeader.ICMPV6))

_IPV4 = struct.Struct("!BBHHHBBH4s4s")
_IPV6 = struct.Struct("!IHBB16s16s")
_PORTS = struct.Struct("!HH")
_FRAGMENT = struct.Struct("!BBHI")


class Fragment(NamedTuple):
    """Which part of a datagram a fragment is. `header_at`: where the IPv6 fragment header stands, 0 for IPv4."""

    identification: int
    offset: int
    """Octets of the datagram's fragmentable part that come before this one."""
    more: bool
    header_at: int = 0


class Datagram(NamedTuple):
    """What one IP header (with its extension headers) says.

    `length`: octets of the packet; more may follow (link padding, or RFC 4303 section 2.7 padding).
    `fragment`: of any fragment, the first one too; None for a whole datagram. `offset`: where the upper protocol
    begins; `protocol_at`: the octet that names it. `hops`: TTL or hop limit. `flow_label`: 0 for IPv4.
    """

    version: int
    length: int
    traffic_class: int
    dont_fragment: bool
    fragment: Fragment | None
    protocol: int
    offset: int
    key: FlowKey
    protocol_at: int
    hops: int
    flow_label: int = 0

    @property
    def is_later_fragment(self) -> bool:
        """A fragment that shows nothing of the upper protocol's header."""
        return self.fragment is not None and self.fragment.offset > 0

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
    first, traffic_class, length, number, place, hops, protocol, _, source, destination = _IPV4.unpack_from(packet)
    offset = (first & 15) * 4
    if not IPV4_HEADER_OCTETS <= offset <= length <= len(packet):
        return None
    fragment = None
    if place & _MORE_OR_OFFSET:
        fragment = Fragment(number, (place & _OFFSET) * 8, place & MORE_FRAGMENTS != 0)
    ports = _NO_PORTS if place & _OFFSET else _ports(packet, protocol, offset, length)
    return Datagram(
        4,
        length,
        traffic_class,
        place & DONT_FRAGMENT != 0,
        fragment,
        protocol,
        offset,
        (source, destination, protocol, *ports),
        _IPV4_PROTOCOL_AT,
        hops,
    )


def _parse_ipv6(packet: bytes) -> Datagram | None:
    if len(packet) < IPV6_HEADER_OCTETS:
        return None
    word, payload_length, next_header, hops, source, destination = _IPV6.unpack_from(packet)
    length = IPV6_HEADER_OCTETS + payload_length
    if length > len(packet):
        return None
    upper = _walk(packet, next_header, length) if next_header in _EXTENSIONS else _Upper(next_header)
    if upper is None:
        return None
    protocol, offset, protocol_at, fragment = upper
    later = fragment is not None and fragment.offset > 0
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
        protocol_at,
        hops,
        word & 0xFFFFF,
    )


class _Upper(NamedTuple):
    protocol: int
    offset: int = IPV6_HEADER_OCTETS
    protocol_at: int = _IPV6_NEXT_HEADER_AT
    fragment: Fragment | None = None


def _walk(packet: bytes, next_header: int, length: int) -> _Upper | None:
    """Skip extension headers. Every one must lie inside the packet, in a first fragment too (RFC 7112)."""
    offset, named_at = IPV6_HEADER_OCTETS, _IPV6_NEXT_HEADER_AT
    fragment = None
    for position in range(IPV6_EXTENSIONS_MAX):
        if next_header not in _EXTENSIONS:
            return _Upper(next_header, offset, named_at, fragment)
        if offset + 8 > length or (next_header == NextHeader.HOP_BY_HOP and position):
            return None
        header_at, named_at = offset, offset
        if next_header == NextHeader.FRAGMENT:
            next_header, _, place, number = _FRAGMENT.unpack_from(packet, offset)
            offset += 8
            # RFC 6946: a fragment that is the whole datagram is treated as one.
            if place & 0xFFF9:
                fragment = Fragment(number, place & 0xFFF8, place & 1 != 0, header_at)
            if place & 0xFFF8:
                return _Upper(next_header, offset, named_at, fragment)
        else:
            next_header, octets = packet[offset], 8 * (packet[offset + 1] + 1)
            offset += octets
            if offset > length:
                return None
    return None


def extension_octets(packet: bytes, at: int, kind: int) -> int:
    """Of the extension header that stands there. A fragment header says no length: that octet is reserved."""
    return 8 if kind == NextHeader.FRAGMENT else 8 * (packet[at + 1] + 1)


_NO_PORTS: tuple[int | None, int | None] = (None, None)


def _ports(packet: bytes, protocol: int, offset: int, length: int) -> tuple[int | None, int | None]:
    if protocol in _WITH_PORTS and offset + 4 <= length:
        source, destination = _PORTS.unpack_from(packet, offset)
        return source, destination
    if protocol in _WITH_TYPE and offset + 2 <= length:
        return ICMP_BASE + packet[offset], ICMP_BASE + packet[offset + 1]
    return _NO_PORTS


def checksum(header: bytes) -> int:
    """RFC 1071 over a header of an even number of octets, whose checksum field is zero (or included, to verify)."""
    # A sum of 16-bit words with end-around carry is the number modulo 65535.
    return -int.from_bytes(header) % 0xFFFF


def ones_complement_sum(octets: bytes) -> int:
    """RFC 1071: the sum itself, of any number of octets; a zero is written as 0xFFFF."""
    padded = octets + b"\0" if len(octets) & 1 else octets
    return (int.from_bytes(padded) - 1) % 0xFFFF + 1 if any(padded) else 0


def with_length(header: bytes, protocol_at: int, protocol: int, payload_octets: int) -> bytes:
    """The header (with its options or extension headers) in front of another payload of another protocol."""
    changed = bytearray(header)
    changed[protocol_at] = protocol
    if header[0] >> 4 == 6:
        changed[4:6] = (len(header) - IPV6_HEADER_OCTETS + payload_octets).to_bytes(2)
        return bytes(changed)
    changed[2:4] = (len(header) + payload_octets).to_bytes(2)
    changed[10:12] = b"\0\0"
    changed[10:12] = checksum(bytes(changed)).to_bytes(2)
    return bytes(changed)


def payload_max(header: bytes) -> int:
    """Octets that can follow this header (with its options or extension headers): its length field has 16 bits."""
    return LENGTH_MAX - len(header) + (IPV6_HEADER_OCTETS if header[0] >> 4 == 6 else 0)


def pseudo_header(source: bytes, destination: bytes, protocol: int, upper_octets: int) -> bytes:
    """What the checksum of an upper protocol covers besides itself (RFC 768, RFC 8200 section 8.1)."""
    return source + destination + upper_octets.to_bytes(4) + protocol.to_bytes(4)

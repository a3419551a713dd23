"""Packets that are too big (RFC 1191, RFC 8201, RFC 4301 section 8.2): said to inner sources, heard from the way.

What is *said* comes from the inner packet's destination, as from the far end of a link that is too small: this
gateway's own address may be of another family, and a packet that claims to be from the host itself is refused by its
kernel.

What is *heard* is unauthenticated, so it is believed only about an SA that is alive, with a sequence number that it
sent not long ago, and never below a floor; and for a while only (`PATH_SECONDS`, RFC 1191 section 6.3).
"""

import struct
from typing import NamedTuple

from culvert.ipsec import ip, udp
from culvert.ipsec.ip import Datagram, NextHeader
from culvert.ipsec.sa import UdpPorts

PATH_SECONDS = 600.0
FLOORS = {4: 576, 6: 1280}
"""No path has to be believed smaller: RFC 791 section 3.2 for IPv4 in practice, RFC 8200 section 5."""
PLATEAUS = (65535, 32000, 17914, 8166, 4352, 2002, 1492, 1006, 576)
"""RFC 1191 section 7.1: for routers that don't say which size would fit."""
RECENT = 1 << 16
ANSWERS_PER_SECOND = 100.0
ANSWERS_BURST = 50.0

_UNREACHABLE, _FRAGMENTATION_NEEDED = 3, 4
_TOO_BIG6 = 2
_ERRORS4 = frozenset((3, 4, 5, 11, 12))
_QUOTED4_MAX, _QUOTED6_MAX = 576, 1280
_HOPS = 64
_ICMP = struct.Struct("!BBHI")
_IPV4 = struct.Struct("!BBHHHBBH4s4s")
_IPV6 = struct.Struct("!IHBB16s16s")


def too_big(packet: bytes, inner: Datagram, mtu: int) -> bytes | None:
    """What tells the source of this packet that only `mtu` octets pass; None where nobody may be told.

    RFC 1122 section 3.2.2 and RFC 4443 section 2.4: no error about an error, or about what is for many.
    """
    source, destination = inner.key[0], inner.key[1]
    if inner.is_later_fragment or _is_error(packet, inner) or _is_for_many(source) or _is_for_many(destination):
        return None
    return _too_big4(packet, inner, mtu) if inner.version == 4 else _too_big6(packet, inner, mtu)


def _is_error(packet: bytes, inner: Datagram) -> bool:
    if inner.offset >= inner.length:
        return False
    kind = packet[inner.offset]
    if inner.protocol == NextHeader.ICMP:
        return kind in _ERRORS4
    return inner.protocol == NextHeader.ICMPV6 and kind < 128


def _is_for_many(address: bytes) -> bool:
    if len(address) == 4:
        return address[0] >= 224 or address == bytes(4)
    return address[0] == 0xFF or address == bytes(16)


def _too_big4(packet: bytes, inner: Datagram, mtu: int) -> bytes:
    quoted = packet[: min(inner.length, _QUOTED4_MAX - 28)]
    message = _ICMP.pack(_UNREACHABLE, _FRAGMENTATION_NEEDED, 0, mtu) + quoted
    message = message[:2] + (0xFFFF - ip.ones_complement_sum(message)).to_bytes(2) + message[4:]
    source, destination = inner.key[1], inner.key[0]
    length = ip.IPV4_HEADER_OCTETS + len(message)
    header = _IPV4.pack(0x45, 0xC0, length, 0, 0, _HOPS, NextHeader.ICMP, 0, source, destination)
    return header[:10] + ip.checksum(header).to_bytes(2) + header[12:] + message


def _too_big6(packet: bytes, inner: Datagram, mtu: int) -> bytes:
    quoted = packet[: min(inner.length, _QUOTED6_MAX - 48)]
    message = _ICMP.pack(_TOO_BIG6, 0, 0, mtu) + quoted
    source, destination = inner.key[1], inner.key[0]
    pseudo = ip.pseudo_header(source, destination, NextHeader.ICMPV6, len(message))
    message = message[:2] + (0xFFFF - ip.ones_complement_sum(pseudo + message)).to_bytes(2) + message[4:]
    return _IPV6.pack(6 << 28, len(message), NextHeader.ICMPV6, _HOPS, source, destination) + message


class Complaint(NamedTuple):
    """A router says that an IPsec packet of ours was too big. `mtu` is what it says would pass.

    `encapsulation`: the ports of the UDP that the ESP went in, if it is ESP at all.
    """

    mtu: int
    protocol: int
    spi: int
    sequence_low: int
    source: bytes
    destination: bytes
    encapsulation: UdpPorts | None


def parse_too_big(packet: bytes) -> Complaint | None:
    """The complaint in an ICMP packet; None for everything else, whatever its octets."""
    outer = ip.parse(packet)
    if outer is None or outer.fragment or outer.length < outer.offset + _ICMP.size:
        return None
    kind, code, _, value = _ICMP.unpack_from(packet, outer.offset)
    quoted = packet[outer.offset + _ICMP.size : outer.length]
    if outer.protocol == NextHeader.ICMP and (kind, code) == (_UNREACHABLE, _FRAGMENTATION_NEEDED):
        return _complaint(quoted, value & 0xFFFF, 4)
    if outer.protocol == NextHeader.ICMPV6 and kind == _TOO_BIG6:
        return _complaint(quoted, value, 6)
    return None


def _complaint(quoted: bytes, mtu: int, version: int) -> Complaint | None:
    # The quotation is cut off somewhere, so its length field says more than there is.
    minimum = ip.IPV4_HEADER_OCTETS if version == 4 else ip.IPV6_HEADER_OCTETS
    if len(quoted) < minimum or quoted[0] >> 4 != version:
        return None
    if version == 4:
        at, protocol, length = (quoted[0] & 15) * 4, quoted[9], int.from_bytes(quoted[2:4])
        source, destination = quoted[12:16], quoted[16:20]
    else:
        at, protocol, length = ip.IPV6_HEADER_OCTETS, quoted[6], 40 + int.from_bytes(quoted[4:6])
        source, destination = quoted[8:24], quoted[24:40]
        protocol, at = _behind_extensions(quoted, protocol, at)
    encapsulation = None
    if protocol == NextHeader.UDP:
        ports = quoted[at : at + 2], quoted[at + 2 : at + 4]
        encapsulation = UdpPorts(*map(int.from_bytes, ports))
        at, protocol = at + udp.HEADER_OCTETS, NextHeader.ESP
    at += 4 if protocol == NextHeader.AH else 0
    if protocol not in (NextHeader.ESP, NextHeader.AH) or len(quoted) < at + 8:
        return None
    spi, sequence = int.from_bytes(quoted[at : at + 4]), int.from_bytes(quoted[at + 4 : at + 8])
    return Complaint(mtu or _plateau_below(length), protocol, spi, sequence, source, destination, encapsulation)


def _behind_extensions(quoted: bytes, protocol: int, at: int) -> tuple[int, int]:
    """What a quoted IPv6 packet carries and where: our own outer packet may be a first fragment, or have options."""
    for _ in range(ip.IPV6_EXTENSIONS_MAX):
        if protocol == NextHeader.FRAGMENT and not int.from_bytes(quoted[at + 2 : at + 4]) & 0xFFF8:
            octets = 8
        elif protocol in ip.ROUTER_READS:
            octets = 8 * (int.from_bytes(quoted[at + 1 : at + 2]) + 1)
        else:
            break
        protocol, at = int.from_bytes(quoted[at : at + 1]), at + octets
    return protocol, at


def _plateau_below(length: int) -> int:
    return next((plateau for plateau in PLATEAUS if plateau < length), PLATEAUS[-1])


class Allowance:
    """How many answers may still be sent (RFC 4443 section 2.4 f: they must be limited)."""

    def __init__(self) -> None:
        self._left = ANSWERS_BURST
        self._when = 0.0

    def take(self, now: float) -> bool:
        """Whether one more may go."""
        self._left = min(ANSWERS_BURST, self._left + max(0.0, now - self._when) * ANSWERS_PER_SECOND)
        self._when = now
        if self._left < 1:
            return False
        self._left -= 1
        return True

"""What a captured Ethernet frame is: protected, somebody asking for a neighbour, or in clear.

Read here without the product's own parser, so that a fault in one is not hidden by the other.
"""

import struct
from dataclasses import dataclass
from enum import StrEnum
from ipaddress import IPv4Address, IPv6Address

_ETHERTYPE_IPV4, _ETHERTYPE_ARP, _ETHERTYPE_IPV6 = 0x0800, 0x0806, 0x86DD
_ICMP, _IGMP, _UDP, _FRAGMENT, _ESP, _AH, _ICMPV6, _HOP_BY_HOP = 1, 2, 17, 44, 50, 51, 58, 0
_NAT_TRAVERSAL_PORT = 4500
_ECHO_TYPES = {_ICMP: (8, 0), _ICMPV6: (128, 129)}
# Neighbour and router discovery, and who listens to which multicast group (RFC 4861, 2710, 3810).
_ICMPV6_NEIGHBOUR = frozenset({130, 131, 132, 133, 134, 135, 136, 143})


class Sort(StrEnum):
    ESP = "esp"
    AH = "ah"
    NEIGHBOUR = "neighbour"
    CLEAR = "clear"


@dataclass(frozen=True, slots=True)
class Sighting:
    """One frame, sorted. `words` describes it; `spi` is that of a protected packet."""

    sort: Sort
    words: str
    spi: int | None = None


@dataclass(frozen=True, slots=True)
class EchoId:
    """Which ping a packet belongs to, and whether it is the answer."""

    version: int
    reply: bool
    identifier: int
    sequence: int


@dataclass(frozen=True, slots=True)
class _Ip:
    version: int
    protocol: int
    source: str
    destination: str
    packet: bytes
    payload: bytes
    later_fragment: bool = False


def sort(frame: bytes) -> Sighting:
    """Everything that is neither ESP (also in UDP), nor AH, nor neighbour talk counts as clear, whatever it is."""
    ethertype = struct.unpack_from("!H", frame, 12)[0] if len(frame) >= 14 else 0
    if ethertype == _ETHERTYPE_ARP:
        return Sighting(Sort.NEIGHBOUR, "arp")
    ip = _ip(frame)
    if ip is None:
        return Sighting(Sort.CLEAR, f"ethertype 0x{ethertype:04x}, {len(frame)} octets")
    words = f"{ip.source} -> {ip.destination} protocol {ip.protocol}"
    if ip.protocol == _ESP and len(ip.payload) >= 4:
        # Only the first fragment of a packet begins with the SPI.
        return Sighting(Sort.ESP, words, None if ip.later_fragment else struct.unpack_from("!I", ip.payload)[0])
    if ip.protocol == _AH and len(ip.payload) >= 8:
        return Sighting(Sort.AH, words, None if ip.later_fragment else struct.unpack_from("!I", ip.payload, 4)[0])
    if (in_udp := _esp_in_udp(ip)) is not None:
        return Sighting(Sort.ESP, f"{words} with ESP", in_udp)
    return Sighting(Sort.NEIGHBOUR if _is_neighbour_talk(ip) else Sort.CLEAR, words)


def _esp_in_udp(ip: _Ip) -> int | None:
    """The SPI of ESP in UDP (RFC 3948); an IKE message has zeros in its place, a keep-alive is one octet."""
    if ip.protocol != _UDP or ip.later_fragment or len(ip.payload) < 16:
        return None
    (port, spi) = struct.unpack_from("!2xH4xI", ip.payload)
    return spi if port == _NAT_TRAVERSAL_PORT and spi else None


def echo(frame: bytes) -> tuple[EchoId, bytes] | None:
    """A ping and the packet as it must arrive: what every router on the way changes is set to nought."""
    ip = _ip(frame)
    if ip is None or ip.protocol not in _ECHO_TYPES or len(ip.payload) < 8:
        return None
    kind, _code, _checksum, identifier, sequence = struct.unpack_from("!BBHHH", ip.payload)
    if kind not in _ECHO_TYPES[ip.protocol]:
        return None
    reply = kind == _ECHO_TYPES[ip.protocol][1]
    return EchoId(ip.version, reply, identifier, sequence), _without_hops(ip)


def _without_hops(ip: _Ip) -> bytes:
    packet = bytearray(ip.packet)
    if ip.version == 4:
        packet[8] = 0
        packet[10:12] = b"\0\0"
    else:
        packet[7] = 0
    return bytes(packet)


def _ip(frame: bytes) -> _Ip | None:
    """The IP packet in a frame, without the padding of short frames; None if there is none to speak of."""
    if len(frame) < 34:
        return None
    ethertype, packet = struct.unpack_from("!H", frame, 12)[0], frame[14:]
    if ethertype == _ETHERTYPE_IPV4 and packet[0] >> 4 == 4:
        return _ipv4(packet)
    if ethertype == _ETHERTYPE_IPV6 and packet[0] >> 4 == 6 and len(packet) >= 40:
        return _ipv6(packet)
    return None


def _ipv4(packet: bytes) -> _Ip:
    header, (total, _identifier, fragment) = (packet[0] & 15) * 4, struct.unpack_from("!HHH", packet, 2)
    source, destination = str(IPv4Address(packet[12:16])), str(IPv4Address(packet[16:20]))
    return _Ip(4, packet[9], source, destination, packet[:total], packet[header:total], bool(fragment & 0x1FFF))


def _ipv6(packet: bytes) -> _Ip:
    protocol, total = packet[6], 40 + struct.unpack_from("!H", packet, 4)[0]
    source, destination = str(IPv6Address(packet[8:24])), str(IPv6Address(packet[24:40]))
    payload, later = packet[40:total], False
    if protocol == _FRAGMENT and len(payload) >= 8:
        protocol, later = payload[0], bool(struct.unpack_from("!H", payload, 2)[0] & 0xFFF8)
        payload = payload[8:]
    return _Ip(6, protocol, source, destination, packet[:total], payload, later)


def _is_neighbour_talk(ip: _Ip) -> bool:
    if ip.protocol == _IGMP:
        return True
    payload = ip.payload
    # Multicast listener reports come behind a hop-by-hop header with the router alert option (RFC 3810 section 5).
    if ip.version == 6 and ip.protocol == _HOP_BY_HOP and len(payload) >= 9 and payload[0] == _ICMPV6:
        return payload[8] in _ICMPV6_NEIGHBOUR
    return ip.protocol == _ICMPV6 and len(payload) >= 1 and payload[0] in _ICMPV6_NEIGHBOUR

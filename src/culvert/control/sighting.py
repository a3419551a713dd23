"""A captured packet in a line: protocol, addresses, SPI, sequence number, ports. Whatever the octets are, no error."""

import struct
from ipaddress import IPv4Address, IPv6Address
from typing import Any

from culvert.model.services import PROTOCOLS

Json = Any
TCP, UDP, ESP, AH = 6, 17, 50, 51
ICMP = (1, 58)
ESP_PORT = 4500
ETHERTYPES = {0x0806: "ARP", 0x8100: "802.1Q", 0x88CC: "LLDP"}
"""Of what isn't IP."""


def sighting(octets: bytes, link_octets: int) -> dict[str, Json]:
    """`protocol` in words, and as far as the packet has them: `source`, `destination`, `spi`, `sequence`, `detail`."""
    try:
        if link_octets:
            ethertype = int.from_bytes(octets[link_octets - 2 : link_octets])
            if ethertype not in (0x0800, 0x86DD):
                return _seen(ETHERTYPES.get(ethertype, f"ethertype {ethertype:#06x}"))
        return _ip(octets[link_octets:])
    except (struct.error, IndexError, ValueError):
        return _seen("cut off")


def _seen(protocol: str, **words: Json) -> dict[str, Json]:
    return {"protocol": protocol, "source": "", "destination": "", "spi": None, "sequence": None, "detail": ""} | words


def _ip(packet: bytes) -> dict[str, Json]:
    version = packet[0] >> 4
    if version == 4:
        ends = {"source": str(IPv4Address(packet[12:16])), "destination": str(IPv4Address(packet[16:20]))}
        later = int.from_bytes(packet[6:8]) & 0x1FFF
        protocol, upper = packet[9], packet[4 * (packet[0] & 0x0F) :]
    elif version == 6:
        ends = {"source": str(IPv6Address(packet[8:24])), "destination": str(IPv6Address(packet[24:40]))}
        protocol, upper, later = packet[6], packet[40:], 0
    else:
        return _seen(f"IP version {version}")
    if later:
        return _seen(_word(protocol), **ends, detail="a later fragment")
    return _upper(protocol, upper, ends)


def _upper(protocol: int, upper: bytes, ends: dict[str, str]) -> dict[str, Json]:
    if protocol == ESP:
        return _seen("ESP", **ends, **_counted(upper))
    if protocol == AH:
        return _seen("AH", **ends, **_counted(upper[4:]))
    if protocol in ICMP:
        return _seen("ICMP", **ends, detail="type {} code {}".format(*struct.unpack("!BB", upper[:2])))
    if protocol in (TCP, UDP):
        ports = struct.unpack("!HH", upper[:4])
        detail = "port {} to {}".format(*ports)
        if protocol == UDP and ESP_PORT in ports and any(upper[8:12]) and len(upper) >= 16:
            return _seen("ESP in UDP", **ends, **_counted(upper[8:]), detail=detail)
        return _seen(_word(protocol), **ends, detail=detail)
    return _seen(_word(protocol), **ends)


def _counted(header: bytes) -> dict[str, int]:
    """SPI and sequence number (RFC 4303 section 2, RFC 4302 section 2)."""
    spi, sequence = struct.unpack("!II", header[:8])
    return {"spi": spi, "sequence": sequence}


def _word(protocol: int) -> str:
    found = next((word for word, number in PROTOCOLS.items() if number == protocol), "")
    return found.upper() if found else f"protocol {protocol}"

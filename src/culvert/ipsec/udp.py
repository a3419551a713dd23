"""ESP in UDP (RFC 3948): for networks that pass nothing but UDP and TCP, and for NATs.

      source port (2) | destination port (2) | length (2) | checksum (2) | ESP

The first four octets behind the header tell what it is: an SPI, which is never 0; four zeros, an IKE message; and a
datagram of the single octet 0xFF is a keep-alive.
"""

import struct

from culvert.ipsec import ip
from culvert.ipsec.drops import Reason
from culvert.ipsec.ip import NextHeader
from culvert.ipsec.sa import UdpPorts

HEADER_OCTETS = 8
KEEP_ALIVE = b"\xff"

_HEADER = struct.Struct("!HHHH")
_NO_ESP_MARKER = bytes(4)


def wrap(ports: UdpPorts, source: bytes, destination: bytes, payload: bytes) -> bytes:
    """The datagram. Without checksum in IPv4 (RFC 3948 section 2.1), with one in IPv6 (RFC 8200 section 8.1)."""
    length = HEADER_OCTETS + len(payload)
    header = _HEADER.pack(*ports, length, 0)
    if len(source) == 4:
        return header + payload
    pseudo = ip.pseudo_header(source, destination, NextHeader.UDP, length)
    checksum = 0xFFFF - ip.ones_complement_sum(pseudo + header + payload) or 0xFFFF
    return header[:6] + checksum.to_bytes(2) + payload


def esp_in(packet: bytes, offset: int, end: int) -> tuple[int, int] | Reason:
    """Where ESP begins and ends in a packet whose UDP header stands at `offset`, or what else the packet is.

    The checksum isn't looked at: the integrity check says more (RFC 3948 section 2.1).
    """
    if end < offset + HEADER_OCTETS:
        return Reason.RUNT
    length = int.from_bytes(packet[offset + 4 : offset + 6])
    if not HEADER_OCTETS <= length <= end - offset:
        return Reason.MALFORMED_HEADER
    start, stop = offset + HEADER_OCTETS, offset + length
    payload = packet[start:stop]
    if payload == KEEP_ALIVE:
        return Reason.KEEP_ALIVE
    if len(payload) < 4:
        return Reason.RUNT
    return Reason.IKE if payload[:4] == _NO_ESP_MARKER else (start, stop)

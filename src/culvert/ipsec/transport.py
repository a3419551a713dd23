"""Transport mode (RFC 4302 section 3.1.1, RFC 4303 section 3.1.1): where in a packet the security header goes.

IPv4: behind the header and its options. IPv6: behind the extension headers that routers read on the way (hop-by-hop,
routing, and destination options in front of a routing header); other destination options are protected.
"""

from typing import NamedTuple

from culvert.ipsec import ip
from culvert.ipsec.fragment import unfragmentable
from culvert.ipsec.ip import Datagram


class Place(NamedTuple):
    """Where a packet is opened: `header` stays in front, `payload` is protected, `protocol` is what it is.

    `protocol_at`: the octet of `header` that names what follows.
    """

    header: bytes
    protocol_at: int
    protocol: int
    payload: bytes


def place(packet: bytes, datagram: Datagram) -> Place:
    """Where the security header of a whole packet goes."""
    at, named_at = (
        (datagram.offset, datagram.protocol_at) if datagram.version == 4 else unfragmentable(packet, datagram)
    )
    return Place(packet[:at], named_at, packet[named_at], packet[at : datagram.length])


def closed(packet: bytes, datagram: Datagram, protocol: int, payload: bytes) -> bytes:
    """The packet without its security header, which is what `datagram` says stands at its offset."""
    header = packet[: datagram.offset]
    return ip.with_length(header, datagram.protocol_at, protocol, len(payload)) + payload

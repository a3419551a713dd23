"""The outer header of a tunnel: how it is made from the inner one, and what it says back (RFC 4301 section 5.1.2).

| field           | outer header when sealing                      | inner header when opening          |
|-----------------|------------------------------------------------|------------------------------------|
| DSCP            | copied                                         | kept                               |
| ECN             | copied (RFC 6040 section 4.1, normal mode)     | RFC 6040 section 4.2, table below  |
| TTL / hop limit | 64                                             | kept (who forwards it decrements)  |
| DF              | copied; set where the inner packet is IPv6     | kept                               |
| identification  | random, or 0 where DF is set (RFC 6864)        | kept                               |
| flow label      | 0                                              | kept                               |
"""

import struct

from culvert.ipsec import ip
from culvert.ipsec.algorithms import Random
from culvert.ipsec.sa import IPAddress

OUTER_HOPS = 64

NOT_ECT, ECT1, ECT0, CE = range(4)

# Row: inner ECN, column: outer ECN, in the order above. None: drop.
ECN_ON_OPENING: tuple[tuple[int | None, ...], ...] = (
    (NOT_ECT, NOT_ECT, NOT_ECT, None),
    (ECT1, ECT1, ECT1, CE),
    (ECT0, ECT1, ECT0, CE),
    (CE, CE, CE, CE),
)

_IPV4_START = struct.Struct("!HHHHHH")
_IPV6_START = struct.Struct("!IHBB")


class OuterHeader:
    """The header that every packet of one SA gets: what never changes is worked out once."""

    def __init__(self, source: IPAddress, destination: IPAddress, protocol: int, random: Random) -> None:
        self.octets = ip.IPV4_HEADER_OCTETS if destination.version == 4 else ip.IPV6_HEADER_OCTETS
        self._addresses = source.packed + destination.packed
        self._protocol = protocol
        self._random = random
        self.emit = self._emit_ipv4 if destination.version == 4 else self._emit_ipv6
        self.payload_max = ip.LENGTH_MAX - self.octets if destination.version == 4 else ip.LENGTH_MAX
        self._hops_and_protocol = OUTER_HOPS << 8 | protocol
        self._fixed_sum = 0x4500 + self._hops_and_protocol + int.from_bytes(self._addresses) % 0xFFFF

    def _emit_ipv4(self, inner: ip.Datagram, payload_octets: int) -> bytes:
        length = ip.IPV4_HEADER_OCTETS + payload_octets
        if inner.dont_fragment:
            identification, flags = 0, ip.DONT_FRAGMENT
        else:
            identification, flags = int.from_bytes(self._random(2)), 0
        start = 0x4500 | inner.traffic_class
        checksum = -(self._fixed_sum + inner.traffic_class + length + identification + flags) % 0xFFFF
        return (
            _IPV4_START.pack(start, length, identification, flags, self._hops_and_protocol, checksum) + self._addresses
        )

    def _emit_ipv6(self, inner: ip.Datagram, payload_octets: int) -> bytes:
        word = 6 << 28 | inner.traffic_class << 20
        return _IPV6_START.pack(word, payload_octets, self._protocol, OUTER_HOPS) + self._addresses


def with_ecn(packet: bytes, inner: ip.Datagram, outer: ip.Datagram) -> bytes | None:
    """The inner packet with the ECN mark it must carry from here on, or None where it can't."""
    old = inner.traffic_class & 3
    new = ECN_ON_OPENING[old][outer.traffic_class & 3]
    if new is None or new == old:
        return None if new is None else packet
    if inner.version == 6:
        return bytes((packet[0], packet[1] & 0xCF | new << 4)) + packet[2:]
    traffic_class = inner.traffic_class & 0xFC | new
    # RFC 1624 equation 3: a header that was wrong before stays wrong.
    checksum = int.from_bytes(packet[10:12]) ^ 0xFFFF
    checksum += traffic_class - inner.traffic_class
    checksum = (checksum - 1) % 0xFFFF + 1 ^ 0xFFFF
    return packet[:1] + bytes((traffic_class,)) + packet[2:10] + checksum.to_bytes(2) + packet[12:]

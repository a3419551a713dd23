"""The outer header of a tunnel: how it is made from the inner one, and what it says back (RFC 4301 section 5.1.2).

| field           | outer header when sealing, by `HeaderRules`           | inner header when opening          |
|-----------------|-------------------------------------------------------|------------------------------------|
| DSCP            | copied, or a fixed value                              | kept                               |
| ECN             | copied (RFC 6040 section 4.1, normal mode), or 0      | RFC 6040 section 4.2, table below  |
| TTL / hop limit | 64, another fixed value, or copied                    | kept (who forwards it decrements)  |
| DF              | copied (IPv6 counts as set), set or clear             | kept                               |
| identification  | random, or 0 where DF is set (RFC 6864)               | kept                               |
| flow label      | 0, or copied from IPv6 into IPv6                      | kept                               |
"""

import struct

from culvert.ipsec import ip
from culvert.ipsec.algorithms import Random
from culvert.ipsec.ip import Datagram
from culvert.ipsec.sa import Copy, HeaderRules, IPAddress

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

    def __init__(self, source: IPAddress, destination: IPAddress, rules: HeaderRules, random: Random) -> None:
        self.octets = ip.IPV4_HEADER_OCTETS if destination.version == 4 else ip.IPV6_HEADER_OCTETS
        self.payload_max = ip.LENGTH_MAX - self.octets if destination.version == 4 else ip.LENGTH_MAX
        self.emit = self._emit_ipv4 if destination.version == 4 else self._emit_ipv6
        self._addresses = source.packed + destination.packed
        self._rules = rules
        self._random = random
        self._fixed_sum = 0x4500 + int.from_bytes(self._addresses) % 0xFFFF

    def may_not_fragment(self, inner: Datagram) -> bool:
        """The DF bit of the outer header; for IPv6 outside, whether this system may cut it."""
        rule = self._rules.dont_fragment
        return inner.dont_fragment if rule is Copy.COPY else rule is Copy.SET

    def _traffic_class(self, inner: Datagram) -> int:
        rules = self._rules
        dscp = inner.traffic_class & 0xFC if rules.dscp is None else rules.dscp << 2
        return dscp | (inner.traffic_class & 3 if rules.ecn else NOT_ECT)

    def _hops(self, inner: Datagram) -> int:
        return inner.hops if self._rules.hops is None else self._rules.hops

    def _emit_ipv4(self, inner: Datagram, protocol: int, payload_octets: int) -> bytes:
        length = ip.IPV4_HEADER_OCTETS + payload_octets
        if self.may_not_fragment(inner):
            identification, flags = 0, ip.DONT_FRAGMENT
        else:
            # Never 0: Linux would put another one in its place, and AH has signed ours.
            identification, flags = int.from_bytes(self._random(2)) or 1, 0
        traffic_class = self._traffic_class(inner)
        hops_and_protocol = self._hops(inner) << 8 | protocol
        total = self._fixed_sum + traffic_class + hops_and_protocol + length + identification + flags
        return (
            _IPV4_START.pack(0x4500 | traffic_class, length, identification, flags, hops_and_protocol, -total % 0xFFFF)
            + self._addresses
        )

    def _emit_ipv6(self, inner: Datagram, protocol: int, payload_octets: int) -> bytes:
        label = inner.flow_label if self._rules.flow_label else 0
        word = 6 << 28 | self._traffic_class(inner) << 20 | label
        return _IPV6_START.pack(word, payload_octets, protocol, self._hops(inner)) + self._addresses


def with_ecn(packet: bytes, inner: Datagram, outer_traffic_class: int) -> bytes | None:
    """The inner packet with the ECN mark it must carry from here on, or None where it can't."""
    old = inner.traffic_class & 3
    new = ECN_ON_OPENING[old][outer_traffic_class & 3]
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

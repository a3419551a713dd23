"""Fragments (RFC 791 section 3.2, RFC 8200 section 4.5): packets cut for a path, put together again, and followed.

IPsec protects and opens whole packets only (RFC 4303 section 3.3.4). So what arrives in fragments for an SA is put
together first, by a `Reassembler` with limits on everything that a stranger could make grow: how many packets wait,
how many octets they hold, how many pieces one has and how long it waits. Fragments that overlap kill their packet
(RFC 5722, for both families), since two readers could put them together in two ways.

A later fragment shows no ports. `Trail` remembers what became of the first one (RFC 4301 section 7.3).
"""

import struct
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from culvert.ipsec import ip
from culvert.ipsec.drops import Reason
from culvert.ipsec.ip import Datagram, NextHeader

WAIT_SECONDS = 30.0
PACKETS_MAX = 256
PIECES_MAX = 64
OCTETS_MAX = 4 * 1024 * 1024
TRAIL_MAX = 1024

CE = 3
"""Congestion experienced: both bits of the ECN field (RFC 3168 section 5)."""
IPV6_FRAGMENT_OCTETS = 8
_IPV6_FRAGMENT = struct.Struct("!BBHI")
_COPIED = 0x80
"""RFC 791: options with this bit stand in every fragment, others only in the first."""
_END_OF_OPTIONS, _NO_OPERATION = 0, 1

Key = tuple[bytes, bytes, int, int]
"""What fragments of one packet share: addresses, protocol, identification."""
T = TypeVar("T")


def key_of(datagram: Datagram) -> Key:
    """Of a fragment."""
    assert datagram.fragment is not None
    source, destination, *_ = datagram.key
    # RFC 8200 section 4.5: later fragments of IPv6 may name another protocol.
    protocol = datagram.protocol if datagram.version == 4 else 0
    return source, destination, protocol, datagram.fragment.identification


# Cutting


def split(packet: bytes, datagram: Datagram, mtu: int, identification: int) -> list[bytes]:
    """The packet in pieces of at most `mtu` octets each; `identification` is for IPv6, IPv4 has its own.

    A piece always carries at least eight octets, so an absurd `mtu` gives pieces that are larger. What has nothing
    behind the part that every piece needs can't be cut, and is one piece, however large it is.
    """
    front = datagram.offset if datagram.version == 4 else unfragmentable(packet, datagram)[0]
    if datagram.length <= mtu or datagram.length == front:
        return [packet[: datagram.length]]
    return (
        _split_ipv4(packet, datagram, mtu)
        if datagram.version == 4
        else _split_ipv6(packet, datagram, mtu, identification)
    )


def _split_ipv4(packet: bytes, datagram: Datagram, mtu: int) -> list[bytes]:
    first_header = packet[: datagram.offset]
    later_header = _copied_options(first_header)
    begin, more_after = (datagram.fragment.offset, datagram.fragment.more) if datagram.fragment else (0, False)
    body = packet[datagram.offset : datagram.length]
    pieces = []
    header, at = first_header, 0
    while at < len(body):
        room = max(8, (mtu - len(header)) // 8 * 8)
        part = body[at : at + room]
        more = more_after or at + len(part) < len(body)
        place = (begin + at) // 8 | (ip.MORE_FRAGMENTS if more else 0)
        placed = header[:6] + place.to_bytes(2) + header[8:]
        pieces.append(ip.with_length(placed, 9, datagram.protocol, len(part)) + part)
        header, at = later_header, at + len(part)
    return pieces


def _copied_options(header: bytes) -> bytes:
    """The header of a later fragment: only with the options that are copied into every one."""
    kept = bytearray()
    at = ip.IPV4_HEADER_OCTETS
    while at < len(header) and header[at] != _END_OF_OPTIONS:
        octets = 1 if header[at] == _NO_OPERATION else header[at + 1] if at + 1 < len(header) else 0
        if header[at] == _NO_OPERATION:
            at += 1
            continue
        if octets < 2 or at + octets > len(header):
            break
        if header[at] & _COPIED:
            kept += header[at : at + octets]
        at += octets
    kept += bytes(-len(kept) % 4)
    size = (ip.IPV4_HEADER_OCTETS + len(kept)) // 4
    return bytes((0x40 | size,)) + header[1 : ip.IPV4_HEADER_OCTETS] + bytes(kept)


def _split_ipv6(packet: bytes, datagram: Datagram, mtu: int, identification: int) -> list[bytes]:
    at, named_at = unfragmentable(packet, datagram)
    next_header = packet[named_at]
    head = packet[:at]
    body = packet[at : datagram.length]
    room = max(8, (mtu - at - IPV6_FRAGMENT_OCTETS) // 8 * 8)
    pieces = []
    for offset in range(0, len(body), room):
        part = body[offset : offset + room]
        more = offset + len(part) < len(body)
        fragment = _IPV6_FRAGMENT.pack(next_header, 0, offset | more, identification)
        header = ip.with_length(head, named_at, NextHeader.FRAGMENT, IPV6_FRAGMENT_OCTETS + len(part))
        pieces.append(header + fragment + part)
    return pieces


def unfragmentable(packet: bytes, datagram: Datagram) -> tuple[int, int]:
    """Where the part ends that every router reads, and which octet names what follows (RFC 8200 section 4.5)."""
    at, named_at = ip.IPV6_HEADER_OCTETS, 6
    end, end_named_at = at, named_at
    while at < datagram.offset and packet[named_at] in ip.ROUTER_READS:
        routing = packet[named_at] != NextHeader.DESTINATION_OPTIONS
        named_at, at = at, at + 8 * (packet[at + 1] + 1)
        # Destination options belong to it only where a routing header follows.
        if routing:
            end, end_named_at = at, named_at
    return end, end_named_at


# Putting together


@dataclass(slots=True)
class _Waiting:
    since: float
    parts: dict[int, bytes] = field(default_factory=dict)
    header: bytes = b""
    named_at: int = 0
    protocol: int = 0
    end: int = -1
    """Where the last piece ends; -1 before it came."""
    octets: int = 0
    congested: bool = False
    capable: bool = True
    """Of carrying a mark of congestion: no piece says that it isn't."""
    last: bytes = b""
    """A piece as it came, for the report of its death."""


class Reassembler:
    """Packets whose fragments are still coming in."""

    def __init__(self) -> None:
        self._waiting: OrderedDict[Key, _Waiting] = OrderedDict()
        self._octets = 0

    def __len__(self) -> int:
        return len(self._waiting)

    def add(self, packet: bytes, datagram: Datagram, now: float) -> bytes | Reason | None:
        """The whole packet once this was the piece that it lacked; None while it lacks others; a Reason to drop."""
        fragment = datagram.fragment
        assert fragment is not None
        start = datagram.offset if fragment.header_at == 0 else fragment.header_at + IPV6_FRAGMENT_OCTETS
        part = packet[start : datagram.length]
        if (fragment.more and len(part) % 8) or not part or fragment.offset + len(part) > ip.LENGTH_MAX:
            return Reason.FRAGMENT
        key = key_of(datagram)
        waiting = self._waiting.get(key)
        if waiting is None:
            if len(self._waiting) >= PACKETS_MAX:
                return Reason.REASSEMBLY
            waiting = self._waiting[key] = _Waiting(now)
        if waiting.parts.get(fragment.offset) == part:
            # The network may say things twice (RFC 8200 section 4.5).
            return None
        if self._octets + len(part) > OCTETS_MAX or not _fits(waiting, fragment, len(part)):
            self._forget(key)
            return Reason.REASSEMBLY
        self._keep(waiting, packet, datagram, part)
        if waiting.octets != waiting.end:
            return None
        self._forget(key)
        return _whole(waiting)

    def _keep(self, waiting: _Waiting, packet: bytes, datagram: Datagram, part: bytes) -> None:
        fragment = datagram.fragment
        assert fragment is not None
        waiting.parts[fragment.offset] = part
        waiting.octets += len(part)
        waiting.last = packet
        mark = datagram.traffic_class & CE
        waiting.congested |= mark == CE
        waiting.capable &= mark != 0
        self._octets += len(part)
        if not fragment.more:
            waiting.end = fragment.offset + len(part)
        if not fragment.offset:
            waiting.header, waiting.named_at, waiting.protocol = _first_header(packet, datagram)

    def _forget(self, key: Key) -> _Waiting:
        waiting = self._waiting.pop(key)
        self._octets -= waiting.octets
        return waiting

    def expire(self, now: float) -> Iterator[bytes]:
        """Give up what waited too long; the last piece of each."""
        while self._waiting:
            key, waiting = next(iter(self._waiting.items()))
            if now - waiting.since < WAIT_SECONDS:
                return
            yield self._forget(key).last


def _fits(waiting: _Waiting, fragment: ip.Fragment, octets: int) -> bool:
    """Whether a piece overlaps no other, ends where it may, and is not one too many."""
    first, last = fragment.offset, fragment.offset + octets
    if len(waiting.parts) >= PIECES_MAX:
        return False
    if waiting.end >= 0 and (last > waiting.end or not fragment.more):
        return False
    farthest = max((at + len(part) for at, part in waiting.parts.items()), default=0)
    if not fragment.more and last < farthest:
        return False
    return all(last <= at or first >= at + len(part) for at, part in waiting.parts.items())


def _first_header(packet: bytes, datagram: Datagram) -> tuple[bytes, int, int]:
    """The header of the whole packet, the octet in it that names what follows, and what that is."""
    fragment = datagram.fragment
    assert fragment is not None
    if not fragment.header_at:
        header = packet[:6] + bytes(2) + packet[8 : datagram.offset]
        return header, 9, datagram.protocol
    at, named_at = ip.IPV6_HEADER_OCTETS, 6
    while at < fragment.header_at:
        named_at, at = at, at + ip.extension_octets(packet, at, packet[named_at])
    return packet[: fragment.header_at], named_at, packet[fragment.header_at]


def _whole(waiting: _Waiting) -> bytes | Reason:
    body = b"".join(part for _, part in sorted(waiting.parts.items()))
    header, version = waiting.header, waiting.header[0] >> 4
    if len(body) > ip.payload_max(header):
        return Reason.FRAGMENT
    if waiting.congested:
        # RFC 3168 section 5.3: no mark of congestion may be lost.
        if not waiting.capable:
            return Reason.CONGESTION
        header = header[:1] + bytes((header[1] | (CE if version == 4 else CE << 4),)) + header[2:]
    return ip.with_length(header, waiting.named_at, waiting.protocol, len(body)) + body


# Following


class Trail(Generic[T]):
    """What became of first fragments, for the later ones of the same packets; bounded in number and time."""

    def __init__(self) -> None:
        self._seen: OrderedDict[object, tuple[float, T]] = OrderedDict()

    def lay(self, key: object, what: T, now: float) -> None:
        self._seen.pop(key, None)
        self._seen[key] = now, what
        if len(self._seen) > TRAIL_MAX:
            self._seen.popitem(last=False)

    def follow(self, key: object, now: float) -> T | None:
        """What the first fragment came to, unless that was too long ago."""
        found = self._seen.get(key)
        return found[1] if found and now - found[0] < WAIT_SECONDS else None

    def clear(self) -> None:
        self._seen.clear()

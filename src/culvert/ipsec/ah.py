"""The Authentication Header (RFC 4302): one packet signed, one packet verified.

      next header (1) | length (1) | reserved = 0 (2) | SPI (4) | sequence number (4) | ICV, padded

The ICV covers the whole packet, as the receiver will see it: what routers may change on the way counts as zeros, and
what they change in a way that can be foretold counts as it will be (section 3.3.3.1). Which is which stands in tables.
With extended sequence numbers the upper 32 bits are behind the packet in the calculation, and nowhere on the wire.

The header's length is a multiple of four octets in IPv4 and of eight in IPv6 (section 2.6). Linux pads to eight in
IPv4 too unless it is told otherwise; so the receiver takes both.
"""

import struct
from typing import NamedTuple, NoReturn

from culvert.ipsec import ip
from culvert.ipsec.algorithms import NONE, Random, auth_row, check_key_length
from culvert.ipsec.drops import Reason
from culvert.ipsec.esp import Payload, Unauthenticated
from culvert.ipsec.ip import NextHeader
from culvert.ipsec.replay import Window
from culvert.ipsec.sa import SecurityAssociation

FIXED_OCTETS = 12
ALIGNMENT = {4: 4, 6: 8}
_FIXED = struct.Struct("!BBHII")

IMMUTABLE_OPTIONS = frozenset((0, 1, 130, 133, 134, 148, 149))
"""RFC 4302 appendix A1: end, no operation, three kinds of security, router alert, multi-destination delivery."""
SOURCE_ROUTES = frozenset((131, 137))
_SINGLE_OCTET_OPTIONS = frozenset((0, 1))
_CHANGES_EN_ROUTE = 0x20
"""RFC 8200 section 4.2: of an option type."""
_PAD1 = 0
_ADDRESS_LIST_ROUTES = frozenset((0, 2))
"""Routing headers that are lists of addresses (RFC 2460, RFC 6275): foretold by turning them round."""


class Layout(NamedTuple):
    """What the header adds to a packet, in octets."""

    header: int
    icv: int

    def sealed(self, payload: int) -> int:
        return self.header + payload

    def largest_payload(self, sealed: int) -> int:
        return sealed - self.header


def layout(sa: SecurityAssociation) -> Layout:
    """The sizes that this SA's algorithm brings."""
    icv = auth_row(sa.auth).icv_octets
    return Layout(_aligned(icv, ALIGNMENT[sa.destination.version]), icv)


def _aligned(icv_octets: int, alignment: int) -> int:
    return -(-(FIXED_OCTETS + icv_octets) // alignment) * alignment


def check(sa: SecurityAssociation) -> None:
    """Raises for a missing algorithm, a cipher, or a key of another length."""
    if sa.auth == NONE or sa.cipher != "null":
        raise Unauthenticated(f"AH takes an integrity algorithm and no cipher, not {sa.auth} and {sa.cipher}")
    if sa.encapsulation is not None:
        raise Unauthenticated("AH covers the addresses that a NAT changes: it can't go in UDP (RFC 3948 section 1)")
    check_key_length(auth_row(sa.auth), len(sa.auth_key))


class _Keyed:
    """Holds prepared keys: nothing to print, nothing to pickle."""

    def __init__(self, sa: SecurityAssociation) -> None:
        check(sa)
        row = auth_row(sa.auth)
        self._spi, self._esn, self._iv_octets = sa.spi, sa.esn, row.iv_octets
        self._sign, self._verify = row.prepare(sa.auth_key.reveal())
        self.layout = layout(sa)

    def _tail(self, number: int) -> bytes:
        return (number >> 32).to_bytes(4) if self._esn else b""

    def __repr__(self) -> str:
        return f"{type(self).__name__}(SPI {self._spi:#x})"

    def __reduce__(self) -> NoReturn:
        raise TypeError("prepared keys can't be pickled or copied")


class Sealer(_Keyed):
    """An outbound SA, ready for packets."""

    def __init__(self, sa: SecurityAssociation, random: Random) -> None:
        del random
        super().__init__(sa)

    def seal(self, header: bytes, sequence: int, next_header: int, payload: bytes) -> bytes | Reason:
        """What stands behind `header`: AH and payload. The caller never uses a sequence number twice.

        `header` is the finished IP header, with its options or extension headers, that names AH and the length.
        """
        still = immutable(header, foretell=True)
        if still is None:
            return Reason.MALFORMED_HEADER
        octets = self.layout.header
        fixed = _FIXED.pack(next_header, octets // 4 - 2, 0, self._spi, sequence & 0xFFFFFFFF)
        rest = octets - FIXED_OCTETS
        initial = sequence.to_bytes(8)[: self._iv_octets]
        blank = initial.ljust(rest, b"\0")
        icv = self._sign(sequence, still + fixed + blank + payload + self._tail(sequence))
        return fixed + icv.ljust(rest, b"\0") + payload


class Opener(_Keyed):
    """An inbound SA, ready for packets."""

    def open(self, window: Window, packet: bytes, start: int, end: int) -> Payload | Reason:
        """The payload behind the AH of this SA that stands at `start`, or why not."""
        octets = self._header_octets(packet, start, end)
        if octets is None:
            return Reason.RUNT
        number = window.number_of(int.from_bytes(packet[start + 8 : start + 12]))
        if not window.check(number):
            return Reason.REPLAY
        if not self._is_authentic(packet, start, end, octets, number):
            return Reason.INTEGRITY
        window.mark(number)
        if packet[start] == NextHeader.NONE:
            return Reason.DUMMY
        return Payload(packet[start], packet[start + octets : end])

    def _header_octets(self, packet: bytes, start: int, end: int) -> int | None:
        """Of this packet's AH, with its padding; None for lengths that our algorithm can't have."""
        if end - start < FIXED_OCTETS + self.layout.icv:
            return None
        octets = (packet[start + 1] + 2) * 4
        allowed = (self.layout.header, _aligned(self.layout.icv, 8))
        return octets if octets in allowed and start + octets <= end else None

    def _is_authentic(self, packet: bytes, start: int, end: int, octets: int, number: int) -> bool:
        still = immutable(packet[:start], foretell=False)
        if still is None:
            return False
        icv_at, icv_end = start + FIXED_OCTETS, start + FIXED_OCTETS + self.layout.icv
        icv = packet[icv_at:icv_end]
        blank = icv[: self._iv_octets].ljust(self.layout.icv, b"\0")
        covered = still + packet[start:icv_at] + blank + packet[icv_end:end] + self._tail(number)
        return self._verify(covered, icv)


def immutable(header: bytes, *, foretell: bool) -> bytes | None:
    """The header as it counts in the ICV; None where its options or extension headers are damaged.

    `foretell`: we are the sender, and what the way will change is to count as the receiver will see it.
    """
    return _immutable_ipv4(header, foretell) if header[0] >> 4 == 4 else _immutable_ipv6(header, foretell)


def _immutable_ipv4(header: bytes, foretell: bool) -> bytes | None:
    still = bytearray(header)
    # Type of service; flags and fragment offset; time to live; checksum.
    still[1] = still[8] = 0
    still[6:8] = still[10:12] = b"\0\0"
    at = ip.IPV4_HEADER_OCTETS
    while at < len(header):
        kind = header[at]
        if kind == 0:
            break
        octets = 1 if kind in _SINGLE_OCTET_OPTIONS else header[at + 1] if at + 1 < len(header) else 0
        if not octets or (octets < 2 and kind != 1) or at + octets > len(header):
            return None
        # A pointer behind the last address says that all have been visited.
        if kind in SOURCE_ROUTES and foretell and octets >= 7 and header[at + 2] <= octets:
            still[16:20] = header[at + octets - 4 : at + octets]
        if kind not in IMMUTABLE_OPTIONS:
            still[at : at + octets] = bytes(octets)
        at += octets
    return bytes(still)


def _immutable_ipv6(header: bytes, foretell: bool) -> bytes | None:
    still = bytearray(header)
    # Traffic class and flow label; hop limit.
    still[0:4] = b"\x60\0\0\0"
    still[7] = 0
    next_header, at = header[6], ip.IPV6_HEADER_OCTETS
    while at < len(header):
        if at + 8 > len(header):
            return None
        end = at + ip.extension_octets(header, at, next_header)
        if end > len(header) or not _still_extension(still, next_header, at, end, foretell):
            return None
        next_header, at = header[at], end
    return bytes(still)


def _still_extension(still: bytearray, kind: int, at: int, end: int, foretell: bool) -> bool:
    if kind in (NextHeader.HOP_BY_HOP, NextHeader.DESTINATION_OPTIONS):
        return _still_options(still, at + 2, end)
    if kind == NextHeader.ROUTING:
        return not foretell or _foretell_route(still, at, end)
    # A fragment header of a whole packet (RFC 6946) is as the sender made it.
    return kind == NextHeader.FRAGMENT


def _still_options(still: bytearray, at: int, end: int) -> bool:
    while at < end:
        if still[at] == _PAD1:
            at += 1
            continue
        stop = at + 2 + still[at + 1] if at + 1 < end else end + 1
        if stop > end:
            return False
        if still[at] & _CHANGES_EN_ROUTE:
            still[at + 2 : stop] = bytes(stop - at - 2)
        at = stop
    return True


def _foretell_route(still: bytearray, at: int, end: int) -> bool:
    """RFC 4302 section 3.3.3.1.2.2: as at the last system, where the list has been worked through."""
    left = still[at + 3]
    if not left:
        return True
    addresses = [bytes(still[start : start + 16]) for start in range(at + 8, end, 16)]
    if still[at + 2] not in _ADDRESS_LIST_ROUTES or (end - at) % 16 != 8 or left > len(addresses):
        return False
    # Every stop swaps the destination with the next address of the list.
    visited = [bytes(still[24:40]), *addresses[len(addresses) - left :]]
    addresses[len(addresses) - left :] = visited[:-1]
    still[24:40] = visited[-1]
    still[at + 8 : end] = b"".join(addresses)
    still[at + 3] = 0
    return True

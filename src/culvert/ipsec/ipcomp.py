"""IP payload compression (RFC 3173) with DEFLATE (RFC 2394): smaller before it is encrypted, or left alone.

      next header (1) | flags = 0 (1) | compression parameter index (2) | compressed payload

* Never larger (RFC 3173 section 2.2): a payload that doesn't shrink by more than the header goes as it is, without
  a header, and the receiver takes both.
* Adaptive (the same section): after a run of payloads that didn't shrink, the next ones aren't even tried.
* One level, one packet: the output of decompression is at most what an IP packet can hold, and is final.
"""

import struct
import zlib

from culvert.ipsec.drops import Reason
from culvert.ipsec.ip import LENGTH_MAX, NextHeader

HEADER_OCTETS = 4
CPI_DEFLATE = 2
"""RFC 3173 section 3.3: below 64 stand the well-known algorithms, for use without negotiation."""
CPI_MAX = 0xFFFF

WORTH_OCTETS = 90
"""What is shorter rarely shrinks (RFC 2394 section 2.3 advises a threshold)."""
FAILURES_BEFORE_REST = 4
REST_PACKETS_MAX = 64

_HEADER = struct.Struct("!BBH")
_RAW_DEFLATE = -zlib.MAX_WBITS


class Compressor:
    """The compression of one outbound SA; what it remembers is only how well it went."""

    def __init__(self, cpi: int) -> None:
        self._cpi = cpi
        self._failures = 0
        self._resting = 0

    def compress(self, next_header: int, payload: bytes) -> tuple[int, bytes]:
        """Next header and payload as they go on."""
        if len(payload) < WORTH_OCTETS or self._is_resting():
            return next_header, payload
        state = zlib.compressobj(zlib.Z_DEFAULT_COMPRESSION, zlib.DEFLATED, _RAW_DEFLATE)
        compressed = state.compress(payload) + state.flush()
        if HEADER_OCTETS + len(compressed) >= len(payload):
            self._failed()
            return next_header, payload
        self._failures = 0
        return NextHeader.IPCOMP, _HEADER.pack(next_header, 0, self._cpi) + compressed

    def _is_resting(self) -> bool:
        self._resting = max(0, self._resting - 1)
        return self._resting > 0

    def _failed(self) -> None:
        self._failures += 1
        if self._failures >= FAILURES_BEFORE_REST:
            self._resting = min(2 ** (self._failures - FAILURES_BEFORE_REST + 2), REST_PACKETS_MAX) + 1


def decompress(cpi: int, payload: bytes) -> tuple[int, bytes] | Reason:
    """Next header and octets of an IPComp payload. `cpi` 0: the SA knows no compression."""
    if len(payload) < HEADER_OCTETS:
        return Reason.DECOMPRESSION
    next_header, _flags, index = _HEADER.unpack_from(payload)
    if not cpi or index != cpi:
        return Reason.UNSUPPORTED_PAYLOAD
    state = zlib.decompressobj(_RAW_DEFLATE)
    try:
        octets = state.decompress(payload[HEADER_OCTETS:], LENGTH_MAX)
    except zlib.error:
        return Reason.DECOMPRESSION
    if next_header == NextHeader.IPCOMP:
        return Reason.NESTING
    return (next_header, octets) if state.eof else Reason.DECOMPRESSION

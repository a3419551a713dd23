"""The Encapsulating Security Payload (RFC 4303): one packet sealed, one packet opened.

      SPI (4) | sequence number (4) | IV | payload | padding | pad length (1) | next header (1) | ICV
                                         |<--------------- encrypted ------------------------->|
    |<------------------------- authenticated ------------------------------------------------>|

Opening goes in the order of RFC 4303 section 3.4: replay check, integrity check, window, decryption,
padding. Nothing is decrypted, and no window moved, before the ICV was found right; so a forger learns
nothing from how a packet fails, and padding that is wrong means a wrong key and never an oracle.
"""

import struct
from hmac import compare_digest
from typing import NamedTuple, NoReturn

from culvert.ipsec.algorithms import Random, auth_row, check_key_length, cipher_row
from culvert.ipsec.drops import Reason
from culvert.ipsec.ip import NextHeader
from culvert.ipsec.replay import Window
from culvert.ipsec.sa import SecurityAssociation

HEADER_OCTETS = 8
TRAILER_OCTETS = 2
ALIGNMENT = 4
"""RFC 4303 section 2.4: the ICV begins at a multiple of four octets, even where the cipher has no blocks."""

_PADDING = bytes(range(1, 256))
_HEADER = struct.Struct("!II")


class Layout(NamedTuple):
    """What the algorithms of an SA do to the size of a packet, in octets."""

    iv: int
    alignment: int
    icv: int

    def sealed(self, payload: int) -> int:
        """From the SPI to the end of the ICV."""
        padded = -(-(payload + TRAILER_OCTETS) // self.alignment) * self.alignment
        return HEADER_OCTETS + self.iv + padded + self.icv

    def largest_payload(self, sealed: int) -> int:
        """The largest payload that is at most `sealed` octets afterwards; below 0 where none fits."""
        room = sealed - HEADER_OCTETS - self.iv - self.icv
        return room // self.alignment * self.alignment - TRAILER_OCTETS


def layout(sa: SecurityAssociation) -> Layout:
    """The sizes that this SA's algorithms bring."""
    cipher, auth = cipher_row(sa.cipher), auth_row(sa.auth)
    return Layout(cipher.iv_octets, max(cipher.block_octets, ALIGNMENT), auth.icv_octets)


class Payload(NamedTuple):
    """What was inside an authentic ESP packet, without padding."""

    next_header: int
    octets: bytes


class _Keyed:
    """Holds prepared keys: nothing to print, nothing to pickle."""

    def __init__(self, sa: SecurityAssociation) -> None:
        cipher, auth = cipher_row(sa.cipher), auth_row(sa.auth)
        check_key_length(cipher, len(sa.cipher_key))
        check_key_length(auth, len(sa.auth_key))
        self._spi = sa.spi
        self._sign = auth.prepare_sign(sa.auth_key.reveal())
        self.layout = layout(sa)

    def __repr__(self) -> str:
        return f"{type(self).__name__}(SPI {self._spi:#x})"

    def __reduce__(self) -> NoReturn:
        raise TypeError("prepared keys can't be pickled or copied")


class Sealer(_Keyed):
    """An outbound SA, ready for packets."""

    def __init__(self, sa: SecurityAssociation, random: Random) -> None:
        super().__init__(sa)
        self._encrypt = cipher_row(sa.cipher).prepare_encrypt(sa.cipher_key.reveal(), random)

    def seal(self, sequence: int, next_header: int, payload: bytes) -> bytes:
        """The ESP packet, from SPI to ICV. The caller never uses a sequence number twice."""
        pad_octets = -(len(payload) + TRAILER_OCTETS) % self.layout.alignment
        clear = payload + _PADDING[:pad_octets] + bytes((pad_octets, next_header))
        authenticated = _HEADER.pack(self._spi, sequence) + self._encrypt(clear)
        return authenticated + self._sign(authenticated)


class Opener(_Keyed):
    """An inbound SA, ready for packets."""

    def __init__(self, sa: SecurityAssociation) -> None:
        super().__init__(sa)
        self._decrypt = cipher_row(sa.cipher).prepare_decrypt(sa.cipher_key.reveal())
        self._runt_below = self.layout.sealed(0)

    def open(self, window: Window, packet: bytes) -> Payload | Reason:
        """The payload of an ESP packet (from SPI to ICV) of this SA, or why not."""
        layout = self.layout
        if len(packet) < self._runt_below or (len(packet) - self._runt_below) % layout.alignment:
            return Reason.RUNT
        sequence = int.from_bytes(packet[4:8])
        if not window.check(sequence):
            return Reason.REPLAY
        authenticated, icv = packet[: -layout.icv], packet[-layout.icv :]
        if not compare_digest(self._sign(authenticated), icv):
            return Reason.INTEGRITY
        window.mark(sequence)
        return _without_trailer(self._decrypt(authenticated[HEADER_OCTETS:]))


def _without_trailer(clear: bytes) -> Payload | Reason:
    pad_octets, next_header = clear[-2:]
    end = len(clear) - TRAILER_OCTETS - pad_octets
    # RFC 4303 section 2.4: the receiver should look at the padding.
    if end < 0 or clear[end:-TRAILER_OCTETS] != _PADDING[:pad_octets]:
        return Reason.PADDING
    if next_header == NextHeader.NONE:
        return Reason.DUMMY
    return Payload(next_header, clear[:end])

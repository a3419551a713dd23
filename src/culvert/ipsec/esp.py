"""The Encapsulating Security Payload (RFC 4303): one packet sealed, one packet opened.

      SPI (4) | sequence number (4) | IV | payload | padding | pad length (1) | next header (1) | ICV
                                         |<--------------- encrypted ------------------------->|
    |<------------------------- authenticated ------------------------------------------------>|

Opening goes in the order of RFC 4303 section 3.4: replay check, integrity check, window, decryption,
padding. Nothing is decrypted, and no window moved, before the ICV was found right; so a forger learns
nothing from how a packet fails, and padding that is wrong means a wrong key and never an oracle.

With extended sequence numbers the upper 32 bits of the number are authenticated without being sent: behind the
trailer for an integrity algorithm of its own (section 2.2.1), between SPI and sequence number of the associated data
for a combined one (RFC 4106 section 5).
"""

import struct
from typing import NamedTuple, NoReturn, Protocol

from culvert.ipsec.algorithms import NONE, Random, auth_row, check_key_length, cipher_row
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
_EXTENDED_HEADER = struct.Struct("!III")


class Unauthenticated(ValueError):
    """Encryption without integrity, or integrity twice (RFC 8221 section 4)."""


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
    return Layout(cipher.iv_octets, max(cipher.block_octets, ALIGNMENT), cipher.icv_octets + auth.icv_octets)


class Payload(NamedTuple):
    """What was inside an authentic packet, without padding."""

    next_header: int
    octets: bytes


class _Suite(Protocol):
    """Both algorithms of an SA at work on one packet: from the SPI to the ICV, or back to clear text."""

    def seal(self, sequence: int, clear: bytes) -> bytes: ...

    def open(self, number: int, packet: bytes) -> bytes | None: ...


class _Separate:
    """A cipher, and an integrity algorithm over what it made."""

    def __init__(self, sa: SecurityAssociation, random: Random) -> None:
        auth = auth_row(sa.auth)
        prepare = cipher_row(sa.cipher).prepare
        assert prepare is not None
        self._spi, self._esn, self._icv_octets = sa.spi, sa.esn, auth.icv_octets
        self._encrypt, self._decrypt = prepare(sa.cipher_key.reveal(), random)
        self._sign, self._verify = auth.prepare(sa.auth_key.reveal())

    def seal(self, sequence: int, clear: bytes) -> bytes:
        authenticated = _HEADER.pack(self._spi, sequence & 0xFFFFFFFF) + self._encrypt(sequence, clear)
        return authenticated + self._sign(sequence, self._covered(sequence, authenticated))

    def open(self, number: int, packet: bytes) -> bytes | None:
        authenticated, icv = packet[: -self._icv_octets], packet[-self._icv_octets :]
        if not self._verify(self._covered(number, authenticated), icv):
            return None
        return self._decrypt(authenticated[HEADER_OCTETS:])

    def _covered(self, number: int, authenticated: bytes) -> bytes:
        return authenticated + (number >> 32).to_bytes(4) if self._esn else authenticated


class _Combined:
    """One algorithm for both."""

    def __init__(self, sa: SecurityAssociation) -> None:
        prepare = cipher_row(sa.cipher).prepare_combined
        assert prepare is not None
        self._spi, self._esn = sa.spi, sa.esn
        self._seal, self._unseal = prepare(sa.cipher_key.reveal())

    def seal(self, sequence: int, clear: bytes) -> bytes:
        header = _HEADER.pack(self._spi, sequence & 0xFFFFFFFF)
        return header + self._seal(sequence, self._associated(sequence), clear)

    def open(self, number: int, packet: bytes) -> bytes | None:
        return self._unseal(self._associated(number), packet[HEADER_OCTETS:])

    def _associated(self, number: int) -> bytes:
        if self._esn:
            return _EXTENDED_HEADER.pack(self._spi, number >> 32, number & 0xFFFFFFFF)
        return _HEADER.pack(self._spi, number)


class _Keyed:
    """Holds prepared keys: nothing to print, nothing to pickle."""

    def __init__(self, sa: SecurityAssociation, random: Random) -> None:
        check(sa)
        self._spi = sa.spi
        self.layout = layout(sa)
        combined = cipher_row(sa.cipher).combined
        self._suite: _Suite = _Combined(sa) if combined else _Separate(sa, random)

    def __repr__(self) -> str:
        return f"{type(self).__name__}(SPI {self._spi:#x})"

    def __reduce__(self) -> NoReturn:
        raise TypeError("prepared keys can't be pickled or copied")


def check(sa: SecurityAssociation) -> None:
    """Raises for algorithms that don't go together, or keys of another length."""
    cipher, auth = cipher_row(sa.cipher), auth_row(sa.auth)
    if cipher.combined and sa.auth != NONE:
        raise Unauthenticated(f"{cipher.name} authenticates by itself; beside it goes {NONE}, not {sa.auth}")
    if not cipher.combined and (sa.auth == NONE or auth.only_ah):
        raise Unauthenticated(f"{cipher.name} does not authenticate, and {sa.auth} beside it does not either")
    check_key_length(cipher, len(sa.cipher_key))
    check_key_length(auth, len(sa.auth_key))


class Sealer(_Keyed):
    """An outbound SA, ready for packets."""

    def seal(self, header: bytes, sequence: int, next_header: int, payload: bytes) -> bytes:
        """The ESP packet, from SPI to ICV. The caller never uses a sequence number twice.

        `header` is what stands in front, of which ESP takes no notice.
        """
        pad_octets = -(len(payload) + TRAILER_OCTETS) % self.layout.alignment
        clear = payload + _PADDING[:pad_octets] + bytes((pad_octets, next_header))
        return self._suite.seal(sequence, clear)


class Opener(_Keyed):
    """An inbound SA, ready for packets."""

    def __init__(self, sa: SecurityAssociation) -> None:
        super().__init__(sa, bytes)
        self._runt_below = self.layout.sealed(0)

    def open(self, window: Window, packet: bytes, start: int, end: int) -> Payload | Reason:
        """The payload of the ESP packet of this SA that stands at `start`..`end` of `packet`, or why not."""
        esp = packet[start:end]
        if len(esp) < self._runt_below or (len(esp) - self._runt_below) % self.layout.alignment:
            return Reason.RUNT
        number = window.number_of(int.from_bytes(esp[4:8]))
        if not window.check(number):
            return Reason.REPLAY
        clear = self._suite.open(number, esp)
        if clear is None:
            return Reason.INTEGRITY
        window.mark(number)
        return _without_trailer(clear)


def _without_trailer(clear: bytes) -> Payload | Reason:
    pad_octets, next_header = clear[-2:]
    end = len(clear) - TRAILER_OCTETS - pad_octets
    # RFC 4303 section 2.4: the receiver should look at the padding.
    if end < 0 or clear[end:-TRAILER_OCTETS] != _PADDING[:pad_octets]:
        return Reason.PADDING
    if next_header == NextHeader.NONE:
        return Reason.DUMMY
    return Payload(next_header, clear[:end])

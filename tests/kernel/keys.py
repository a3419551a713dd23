"""What both sides agree on: numbers, keys, addresses and the order in which a packet is wrapped."""

import hashlib
from typing import NamedTuple

from culvert.ipsec.algorithms import auth_row, cipher_row
from tests.dataplane.sites import NET4, NET6, WAN4, WAN6
from tests.kernel.rows import AH, ROWS, TRANSPORT, Row

OURS, THEIRS = "a", "b"
"""Culvert's side and the kernel's, as `tests.dataplane.sites` calls them."""
END4 = {OURS: "10.1.0.5", THEIRS: "10.2.0.5"}
END6 = {OURS: "fd01::5", THEIRS: "fd02::5"}
FOREIGN4 = {OURS: "10.1.0.99", THEIRS: "10.2.0.99"}
FOREIGN6 = {OURS: "fd01::99", THEIRS: "fd02::99"}
FOREIGN_WAN4 = {OURS: "2.2.2.99", THEIRS: "3.3.3.99"}
FOREIGN_WAN6 = {OURS: "fd0f::2:99", THEIRS: "fd0f::3:99"}
COMPRESSION_INDEX = 2
"""DEFLATE, well known (RFC 2394)."""
WRAP_AT = 2**32
BEFORE_WRAP = 150
"""Packets until the low half of an extended number starts again, in rows with the fault `wrap`."""
WINDOW = 64


class Ring(NamedTuple):
    """One SA's part of a packet: `number` 0 is the ESP or AH, 1 the AH of a bundle."""

    protocol: str
    mode: str
    cipher: str
    auth: str
    number: int


def rings(row: Row) -> list[Ring]:
    """From the inside to the outside, without IPComp."""
    cipher = "null" if row.protocol == AH else row.cipher
    found = [Ring(row.protocol, row.mode, cipher, row.auth, 0)]
    if row.bundle:
        auth = "sha256" if row.auth == "none" else row.auth
        found.append(Ring(AH, TRANSPORT, "null", auth, 1))
    return found


def number(row: Row) -> int:
    """Of the row; no two have the same SPI, so nothing is left over from one to the next."""
    return ROWS.index(row) + 1


def spi(row: Row, ring: Ring, sender: str) -> int:
    return 0x10000 + number(row) * 16 + ring.number * 2 + (sender == THEIRS)


def key(row: Row, ring: Ring, sender: str, purpose: str) -> bytes:
    """Of the length that the algorithm wants; `purpose` is "auth" or "cipher"."""
    table = auth_row(ring.auth) if purpose == "auth" else cipher_row(ring.cipher)
    text = f"{row.name} {ring.number} {sender} {purpose}".encode()
    return hashlib.shake_256(text).digest(table.key_octets)


def wan(row: Row) -> dict[str, str]:
    return WAN4 if row.outer == 4 else WAN6


def ends(row: Row) -> dict[str, str]:
    """Whom the packets are between."""
    if row.mode == TRANSPORT:
        return wan(row)
    return END4 if row.inner == 4 else END6


def protected(row: Row, *, inbound: bool) -> dict[str, str]:
    """Each side's networks in the selectors; with the fault `selector` what is let in is somebody else's."""
    if row.fault == "selector" and inbound:
        if row.mode == TRANSPORT:
            return FOREIGN_WAN4 if row.outer == 4 else FOREIGN_WAN6
        return FOREIGN4 if row.inner == 4 else FOREIGN6
    if row.mode == TRANSPORT:
        return wan(row)
    return NET4 if row.inner == 4 else NET6

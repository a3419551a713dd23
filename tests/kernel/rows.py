# house: table
"""What is tried against a real Linux kernel: one row is one pair of SAs, or a fault that both sides have to notice."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import product

from culvert.ipsec.algorithms import AUTHS, CIPHERS, NONE

ESP, AH = "esp", "ah"
TUNNEL, TRANSPORT = "tunnel", "transport"


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """`inner` and `outer` are IP versions. `bundle`: AH around the ESP. `fault`: a name of `faults.CHECKS`."""

    protocol: str = ESP
    mode: str = TUNNEL
    cipher: str = "aes128"
    auth: str = "sha1"
    inner: int = 4
    outer: int = 4
    esn: bool = False
    udp: bool = False
    ipcomp: bool = False
    bundle: bool = False
    fault: str = ""

    @property
    def name(self) -> str:
        """Says all of it, so it is unique."""
        algorithms = (self.auth,) if self.protocol == AH else (self.cipher, self.auth)
        families = f"{self.inner}in{self.outer}" if self.mode == TUNNEL else f"ip{self.outer}"
        marks = [word for word in ("esn", "udp", "ipcomp", "bundle") if getattr(self, word)]
        parts = (self.protocol, self.mode, families, *(each for each in algorithms if each != NONE), *marks, self.fault)
        return "-".join(part for part in parts if part)


FAMILIES = tuple(product((4, 6), (4, 6)))
"""Inner and outer."""
VENDOR_CIPHERS = ("null", "3des", "aes128", "aes192", "aes256")
KERNEL_AUTHS = tuple(name for name, row in AUTHS.items() if row.kernel_name)
"""Linux has no GMAC in AH."""


def auth_for(cipher: str, auth: str = "sha256") -> str:
    return NONE if CIPHERS[cipher].combined else auth


def places() -> Iterator[Row]:
    """Every mode and combination of families."""
    for inner, outer in FAMILIES:
        yield Row(inner=inner, outer=outer)
    for version in (4, 6):
        yield Row(mode=TRANSPORT, inner=version, outer=version)


def ciphers() -> Iterator[Row]:
    """Every cipher in a tunnel of each of the vendor's families, and what else there is in one."""
    for (inner, outer), cipher in product(FAMILIES, VENDOR_CIPHERS):
        yield Row(cipher=cipher, inner=inner, outer=outer)
    for cipher in CIPHERS:
        yield Row(cipher=cipher, auth=auth_for(cipher))
        yield Row(cipher=cipher, auth=auth_for(cipher), esn=True, inner=6)


def auths() -> Iterator[Row]:
    """Every authentication in ESP and in AH; AH's padding depends on the family and on the value's length."""
    for auth in KERNEL_AUTHS:
        yield Row(auth=auth)
        yield Row(auth=auth, cipher="null", mode=TRANSPORT)
        for version in (4, 6):
            yield Row(protocol=AH, auth=auth, inner=version, outer=version)
            yield Row(protocol=AH, auth=auth, inner=version, outer=version, mode=TRANSPORT)
    for inner, outer in FAMILIES:
        yield Row(protocol=AH, auth="sha256", inner=inner, outer=outer, esn=True)


def options() -> Iterator[Row]:
    """Each option in every mode and combination of families, with and without extended sequence numbers."""
    shapes = ({"esn": True}, {"ipcomp": True}, {"bundle": True}, {"udp": True})
    for shape, place in product(shapes, places()):
        yield replace(place, auth="sha256", **shape)
        yield replace(place, cipher="aes-gcm128", auth=NONE, **shape)
    for place in places():
        yield replace(place, auth="sha512", cipher="aes256", bundle=True, esn=True)
        yield replace(place, protocol=AH, auth="sha256", ipcomp=True)
        yield replace(place, bundle=True, ipcomp=True, auth="sha256")
        yield replace(place, udp=True, esn=True, ipcomp=True, cipher="chacha20-poly1305", auth=NONE)


FAULTS = ("wrong-key", "wrong-spi", "selector", "replay", "tampered")
AH_ROW = Row(protocol=AH, auth="sha256")
GCM_ROW = Row(cipher="aes-gcm128", auth=NONE, inner=6, outer=6, esn=True)


def faults() -> Iterator[Row]:
    for row, fault in product((Row(), AH_ROW, GCM_ROW, Row(mode=TRANSPORT), Row(bundle=True)), FAULTS):
        yield replace(row, fault=fault)
    for inner, outer in FAMILIES:
        yield Row(inner=inner, outer=outer, fault="path-mtu")
    yield Row(udp=True, inner=6, fault="path-mtu")
    yield replace(AH_ROW, fault="path-mtu")
    for row in (Row(esn=True), replace(AH_ROW, esn=True), GCM_ROW, Row(bundle=True, esn=True)):
        yield replace(row, fault="wrap")


SHORT = (
    Row(),
    Row(cipher="3des", inner=6),
    Row(cipher="aes256", outer=6),
    Row(cipher="null", inner=6, outer=6),
    GCM_ROW,
    Row(protocol=AH, auth="sha256", esn=True),
    Row(protocol=AH, auth="sha512", mode=TRANSPORT, inner=6, outer=6),
    Row(cipher="aes-ccm256", auth=NONE, mode=TRANSPORT),
    Row(bundle=True, auth="sha256", ipcomp=True),
    Row(fault="wrong-key"),
    Row(fault="replay"),
    Row(fault="path-mtu"),
    Row(esn=True, fault="wrap"),
    Row(cipher="chacha20-poly1305", auth=NONE, udp=True, esn=True, ipcomp=True, inner=6),
)
"""Something of everything, for continuous integration."""


def every_row() -> tuple[Row, ...]:
    """All, each once. Those in UDP are last: to open the port starts the packet process anew, which takes a while."""
    found = dict.fromkeys([*places(), *ciphers(), *auths(), *options(), *faults(), *SHORT])
    return tuple(sorted(found, key=lambda row: row.udp))


ROWS = every_row()

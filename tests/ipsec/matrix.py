"""Every way of protecting a packet, and every sort of packet: what an independent implementation is asked about.

A `Shape` is a way of protecting, a *kind* a sort of packet; a case is one of each. `cases()` is all that make sense,
`thinned()` so many of them that every two values of two factors come together in one (a covering array of strength 2).
CULVERT_MATRIX=full in the environment asks for all.
"""

import os
import random as seeded
from collections.abc import Callable, Iterator
from functools import cache
from itertools import combinations, product
from typing import Any, NamedTuple

from culvert.ipsec.algorithms import AUTHS, CIPHERS, NONE
from culvert.ipsec.gateway import Gateway
from culvert.ipsec.ipcomp import CPI_DEFLATE
from culvert.ipsec.sa import Direction, Mode, Protocol, SecurityAssociation, UdpPorts
from tests.ipsec.building import INNER, OUTER, around_it, gateway_of, ipv4, ipv6, make_policy, make_sa
from tests.ipsec.building import udp as any_udp

FULL = os.environ.get("CULVERT_MATRIX") == "full"

HIGH = 7
"""Upper half of the sequence numbers of SAs that have them extended."""
LOW = 41
"""Numbers up to here count as used and seen."""

PLAIN, COMPRESSED, IN_UDP, COMPRESSED_IN_UDP = "plain", "ipcomp", "udp", "ipcomp-udp"


class Shape(NamedTuple):
    """A way of protecting. `around`: the integrity algorithm of an AH around the ESP, or empty. `inner`: the family."""

    protocol: Protocol
    mode: Mode
    cipher: str
    auth: str
    outer: int
    inner: int
    esn: bool
    wrapping: str
    around: str = ""

    @property
    def algorithms(self) -> str:
        """In one word."""
        cipher = "" if self.protocol is Protocol.AH else f"-{self.cipher}"
        auth = "" if self.auth == NONE else f"-{self.auth}"
        return f"{self.protocol.name.lower()}{cipher}{auth}"

    @property
    def compressed(self) -> bool:
        return self.wrapping in (COMPRESSED, COMPRESSED_IN_UDP)

    @property
    def in_udp(self) -> bool:
        return self.wrapping in (IN_UDP, COMPRESSED_IN_UDP)

    @property
    def last(self) -> int:
        """The last sequence number that was used before."""
        return (HIGH << 32 if self.esn else 0) + LOW

    def sa(self, direction: Direction, **more: Any) -> SecurityAssociation:
        return make_sa(
            direction,
            protocol=self.protocol,
            mode=self.mode,
            cipher=self.cipher,
            auth=self.auth,
            outer=self.outer,
            esn=self.esn,
            compression=CPI_DEFLATE if self.compressed else 0,
            encapsulation=UdpPorts() if self.in_udp else None,
            **more,
        )

    def gateway(self, direction: Direction) -> Gateway:
        """One that has just these SAs, and policies for them."""
        sa = self.sa(direction)
        bundled = [around_it(sa, auth=self.around, esn=self.esn)] if self.around else []
        made = gateway_of(sa, *bundled, sequence=self.last, policies=False)
        for version in (4, 6):
            policy = make_policy(
                direction, inner=version, protocol=self.protocol, mode=self.mode, bundle_ah=bool(self.around)
            )
            made.add_policy(policy)
        return made


# Packets

Make = Callable[[int, Any, Any], bytes]
"""Family, source and destination -> a packet."""


def udp(data: bytes = b"data") -> bytes:
    """Between ports that no dissector claims to know."""
    return any_udp(40001, 40002, data)


def _packet(payload: bytes, protocol: int, **fields: Any) -> Make:
    def make(version: int, source: Any, destination: Any) -> bytes:
        build = ipv4 if version == 4 else ipv6
        return build(payload, protocol=protocol, source=source, destination=destination, **fields)

    return make


def _icmp(version: int, source: Any, destination: Any) -> bytes:
    kind, protocol = (8, 1) if version == 4 else (128, 58)
    return _packet(bytes((kind, 0, 0, 0, 0, 1, 0, 2)) + bytes(56), protocol)(version, source, destination)


def _extended(header: bytes, number: int) -> Make:
    """In IPv6, behind one extension header; its first octet is put in here."""
    return _packet(bytes((17,)) + header[1:] + udp(data=b"behind"), number)


_TCP = bytes.fromhex("04000050 00000001 00000002 5010ffff 00000000") + b"GET / HTTP/1.1\r\n" * 20
_FRAGMENT_FIRST, _FRAGMENT_LATER = bytes.fromhex("1100000100000007"), bytes.fromhex("1100003000000007")
ROUTE_AHEAD = "route-ahead"
_ADDRESS = bytes.fromhex("20010db8000000000000000000000009")

_ANY_FAMILY: dict[str, Make] = {
    "tcp": _packet(_TCP, 6, traffic_class=0xB8),
    "udp": _packet(udp(data=b"question"), 17, hops=3),
    "icmp": _icmp,
    "empty": _packet(b"", 253),
    "one": _packet(b"x", 253),
    "two": _packet(b"xy", 253),
}
KINDS: dict[int, dict[str, Make]] = {
    4: _ANY_FAMILY
    | {
        "jumbo": _packet(udp(data=bytes(8972)), 17),
        "first": _packet(udp(data=bytes(40)), 17, flags=0x2000, identification=7),
        "later": _packet(bytes(52), 17, flags=6, identification=7),
        "dont-fragment": _packet(udp(), 17, flags=0x4000),
        "router-alert": _packet(udp(), 17, options=bytes.fromhex("94040000")),
        "security": _packet(udp(), 17, options=bytes.fromhex("820b0000000000000000000001")[:11] + b"\1"),
        "record-route": _packet(udp(), 17, options=bytes.fromhex("070704") + OUTER[4][0].packed + b"\0"),
        "timestamp": _packet(udp(), 17, options=bytes.fromhex("44080500") + bytes(4)),
    },
    6: _ANY_FAMILY
    | {
        "jumbo": _packet(udp(data=bytes(8952)), 17),
        "first": _packet(_FRAGMENT_FIRST + udp(data=bytes(40)), 44),
        "later": _packet(_FRAGMENT_LATER + bytes(52), 44),
        "flow-label": _packet(udp(), 17, flow_label=0xABCDE),
        "router-alert": _extended(bytes.fromhex("0000 0502 0000 0100"), 0),
        "changing-option": _extended(bytes.fromhex("0000 3e04 01020304"), 0),
        "destination-options": _extended(bytes.fromhex("0000 1e04 01020304"), 60),
        "route-done": _extended(bytes.fromhex("0002 0000 00000000") + _ADDRESS, 43),
        ROUTE_AHEAD: _extended(bytes.fromhex("0002 0001 00000000") + _ADDRESS, 43),
    },
}
FRAGMENTS = frozenset(("first", "later"))
IN_FRONT = frozenset(("router-alert", "changing-option", "route-done", ROUTE_AHEAD))
"""Kinds whose IPv6 extension header stays in front of ESP in transport mode."""


class Case(NamedTuple):
    shape: Shape
    kind: str

    @property
    def packet(self) -> bytes:
        inside = self.shape.mode is Mode.TUNNEL
        source, destination = (INNER if inside else OUTER)[self.shape.inner]
        return KINDS[self.shape.inner][self.kind](self.shape.inner, source, destination)

    def __str__(self) -> str:
        shape = self.shape
        around = f"+ah-{shape.around}" if shape.around else ""
        numbers = " esn" if shape.esn else ""
        place = f"{shape.mode.value} {shape.inner} in {shape.outer}"
        return f"{shape.algorithms}{around} {place}{numbers} {shape.wrapping} {self.kind}"


# Which there are

_PLACES = [
    (mode, outer, inner)
    for mode, outer, inner in product(Mode, (4, 6), (4, 6))
    if mode is Mode.TUNNEL or outer == inner
]
_ESP = [
    (cipher, auth)
    for cipher, row in CIPHERS.items()
    for auth in ([NONE] if row.combined else [name for name in AUTHS if not AUTHS[name].only_ah])
]
_BUNDLES = [(cipher, auth, "sha1") for cipher, auth in _ESP if auth in (NONE, "sha256")]
_BUNDLES += [("aes128", "sha1", around) for around in AUTHS if around != "sha1"]


def shapes() -> Iterator[Shape]:
    """All that make sense."""
    for (mode, outer, inner), esn in product(_PLACES, (False, True)):
        for (cipher, auth), wrapping in product(_ESP, (PLAIN, COMPRESSED, IN_UDP, COMPRESSED_IN_UDP)):
            yield Shape(Protocol.ESP, mode, cipher, auth, outer, inner, esn, wrapping)
        for auth, wrapping in product(AUTHS, (PLAIN, COMPRESSED)):
            yield Shape(Protocol.AH, mode, "null", auth, outer, inner, esn, wrapping)
        for (cipher, auth, around), wrapping in product(_BUNDLES, (PLAIN, COMPRESSED)):
            yield Shape(Protocol.ESP, mode, cipher, auth, outer, inner, esn, wrapping, around)


def _is_sensible(shape: Shape, kind: str) -> bool:
    """In transport mode fragments are put together first, and AH is right only once a route has been travelled."""
    if shape.mode is Mode.TUNNEL:
        return True
    signed = shape.protocol is Protocol.AH or shape.around
    return kind not in FRAGMENTS and not (kind == ROUTE_AHEAD and signed)


def cases() -> Iterator[Case]:
    """All that make sense."""
    for shape in shapes():
        yield from (Case(shape, kind) for kind in KINDS[shape.inner] if _is_sensible(shape, kind))


def _factors(case: Case) -> tuple[str, ...]:
    shape = case.shape
    return (
        f"algorithms {shape.algorithms}",
        f"around {shape.around or shape.protocol.name}",
        f"place {shape.mode.value} {shape.outer} {shape.inner}",
        f"esn {shape.esn}",
        f"wrapping {shape.wrapping}",
        f"kind {shape.inner} {case.kind}",
    )


def thinned() -> Iterator[Case]:
    """So many that every two values that can come together do."""
    mixed = list(cases())
    seeded.Random(1).shuffle(mixed)
    seen: set[tuple[str, str]] = set()
    for case in mixed:
        pairs = set(combinations(_factors(case), 2))
        if not pairs <= seen:
            seen |= pairs
            yield case


@cache
def chosen() -> dict[str, list[Case]]:
    """By the word for their algorithms: all, or thinned."""
    found: dict[str, list[Case]] = {}
    for case in cases() if FULL else thinned():
        found.setdefault(case.shape.algorithms, []).append(case)
    return dict(sorted(found.items()))

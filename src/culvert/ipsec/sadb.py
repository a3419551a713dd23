"""The security association database: SAs in service, each with what changes from packet to packet.

A record is compiled from a `SecurityAssociation` once, when it is added: ciphers prepared, header laid out.
Inbound records are found by what the packet shows (SPI, destination, protocol), outbound ones by the
`reqid` of the SPD entry that sent the packet here (RFC 4301 sections 4.4.2 and 5).
"""

import bisect
from collections.abc import Iterator
from dataclasses import dataclass, field

from culvert.ipsec import esp
from culvert.ipsec.algorithms import Random
from culvert.ipsec.drops import Reason
from culvert.ipsec.replay import Window
from culvert.ipsec.sa import (
    REPLAY_WINDOW_MAX,
    Direction,
    Mode,
    Protocol,
    SaKey,
    SecurityAssociation,
)
from culvert.ipsec.tunnel import OuterHeader

SPI_MIN = 256
SPI_MAX = SEQUENCE_MAX = 2**32 - 1


class DuplicateSa(ValueError):
    """An SA of this direction, SPI, destination and protocol is in service already."""


class UnknownSa(ValueError):
    """No such SA is in service."""


class BadSa(ValueError):
    """An SA that can't be put into service whatever the packets."""


@dataclass(slots=True)
class Usage:
    """What one SA did. `octets` counts inner octets; `last_use` 0.0 is never."""

    created: float
    packets: int = 0
    octets: int = 0
    last_use: float = 0.0
    drops: dict[Reason, int] = field(default_factory=dict)

    def count(self, octets: int, now: float) -> None:
        self.packets += 1
        self.octets += octets
        self.last_use = now

    def count_drop(self, reason: Reason) -> None:
        self.drops[reason] = self.drops.get(reason, 0) + 1


class Outbound:
    """An outbound SA in service. `sequence` is the last number used; `sealer` None: no way to seal for it."""

    __slots__ = ("header", "sa", "sealer", "sequence", "usage")

    def __init__(self, sa: SecurityAssociation, sequence: int, now: float, random: Random) -> None:
        self.sa = sa
        self.sequence = sequence
        self.usage = Usage(now)
        self.header = OuterHeader(sa.source, sa.destination, sa.protocol, random)
        self.sealer = esp.Sealer(sa, random) if _is_supported(sa) else None


class Inbound:
    """An inbound SA in service. `source` is the packed address that its packets must come from."""

    __slots__ = ("opener", "replay", "sa", "source", "usage")

    def __init__(self, sa: SecurityAssociation, sequence: int, now: float) -> None:
        self.sa = sa
        self.source = sa.source.packed
        self.usage = Usage(now)
        self.replay = Window(sa.replay_window, sequence)
        self.opener = esp.Opener(sa) if _is_supported(sa) else None

    @property
    def sequence(self) -> int:
        """The right edge of the replay window."""
        return self.replay.top


Record = Inbound | Outbound


def _is_supported(sa: SecurityAssociation) -> bool:
    return sa.protocol is Protocol.ESP and sa.mode is Mode.TUNNEL


def _check(sa: SecurityAssociation, sequence: int) -> None:
    if not SPI_MIN <= sa.spi <= SPI_MAX:
        raise BadSa(f"SPI {sa.spi} is not in {SPI_MIN}..{SPI_MAX}")
    if sa.source.version != sa.destination.version:
        raise BadSa(f"source {sa.source} and destination {sa.destination} are of different families")
    if not 0 <= sa.replay_window <= REPLAY_WINDOW_MAX:
        raise BadSa(f"replay window {sa.replay_window} is not in 0..{REPLAY_WINDOW_MAX}")
    if not 0 <= sequence <= SEQUENCE_MAX:
        raise BadSa(f"sequence number {sequence} does not fit 32 bits")


class Sadb:
    """All SAs in service."""

    def __init__(self, random: Random) -> None:
        self._random = random
        self._inbound: dict[tuple[int, bytes, int], Inbound] = {}
        self._outbound: dict[SaKey, Outbound] = {}
        self._by_reqid: dict[int, list[Outbound]] = {}

    def add(self, sa: SecurityAssociation, sequence: int, now: float) -> Record:
        """Put an SA into service. `sequence`: the last number sent, or the highest seen."""
        _check(sa, sequence)
        if self.find(sa.direction, sa.key):
            raise DuplicateSa(f"{sa.direction.value}bound SPI {sa.spi:#x} to {sa.destination} is in use already")
        if sa.direction is Direction.IN:
            inbound = self._inbound[_wire_key(sa.key)] = Inbound(sa, sequence, now)
            return inbound
        outbound = self._outbound[sa.key] = Outbound(sa, sequence, now, self._random)
        bisect.insort(self._by_reqid.setdefault(sa.reqid, []), outbound, key=_label)
        return outbound

    def remove(self, sa: SecurityAssociation) -> Record:
        """Take an SA out of service; its record is the caller's last look at the counters."""
        record = self.find(sa.direction, sa.key)
        if record is None:
            raise UnknownSa(f"no {sa.direction.value}bound SPI {sa.spi:#x} to {sa.destination}")
        if isinstance(record, Inbound):
            del self._inbound[_wire_key(sa.key)]
            return record
        del self._outbound[sa.key]
        serving = self._by_reqid[record.sa.reqid]
        serving.remove(record)
        if not serving:
            del self._by_reqid[record.sa.reqid]
        return record

    def find(self, direction: Direction, key: SaKey) -> Record | None:
        """The record of this direction and name."""
        return self._inbound.get(_wire_key(key)) if direction is Direction.IN else self._outbound.get(key)

    def inbound(self, spi: int, destination: bytes, protocol: int) -> Inbound | None:
        """The SA that a packet names (`destination` packed)."""
        return self._inbound.get((spi, destination, protocol))

    def outbound(self, reqid: int) -> Outbound | None:
        """The SA that serves an SPD entry; of several the one with the lowest label."""
        serving = self._by_reqid.get(reqid)
        return serving[0] if serving else None

    def __iter__(self) -> Iterator[Record]:
        yield from self._inbound.values()
        yield from self._outbound.values()

    def __len__(self) -> int:
        return len(self._inbound) + len(self._outbound)


def _wire_key(key: SaKey) -> tuple[int, bytes, int]:
    return key.spi, key.destination.packed, key.protocol


def _label(record: Outbound) -> str:
    return record.sa.label

"""The security association database: SAs in service, each with what changes from packet to packet.

A record is compiled from a `SecurityAssociation` once, when it is added: ciphers prepared, header laid out.
Inbound records are found by what the packet shows (SPI, destination, protocol), outbound ones by the
`reqid` and protocol of the SPD entry that sent the packet here (RFC 4301 sections 4.4.2 and 5).
"""

import bisect
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

from culvert.ipsec import ah, esp, ipcomp
from culvert.ipsec.algorithms import Random
from culvert.ipsec.drops import Reason
from culvert.ipsec.icmp import FLOORS, PATH_SECONDS
from culvert.ipsec.lifetime import State
from culvert.ipsec.overhead import around
from culvert.ipsec.replay import Window
from culvert.ipsec.sa import (
    REPLAY_WINDOW_MAX,
    Direction,
    Protocol,
    SaKey,
    SecurityAssociation,
)
from culvert.ipsec.tunnel import OuterHeader

SPI_MIN = 256
SPI_MAX = 2**32 - 1


class DuplicateSa(ValueError):
    """An SA of this direction, SPI, destination and protocol is in service already."""


class UnknownSa(ValueError):
    """No such SA is in service."""


class BadSa(ValueError):
    """An SA that can't be put into service whatever the packets."""


@dataclass(slots=True)
class Usage:
    """What one SA did. `octets` counts inner octets; `last_use` 0.0 is never.

    `packets`, `octets` and `drops` are statistics, which may be reset. `life_packets` and `life_octets` belong to
    the key: they are what the limits of its life are compared with, and only grow.
    """

    created: float
    packets: int = 0
    octets: int = 0
    last_use: float = 0.0
    life_packets: int = 0
    life_octets: int = 0
    drops: dict[Reason, int] = field(default_factory=dict)

    def count(self, octets: int, now: float) -> None:
        self.packets += 1
        self.octets += octets
        self.life_packets += 1
        self.life_octets += octets
        self.last_use = now

    def count_drop(self, reason: Reason) -> None:
        self.drops[reason] = self.drops.get(reason, 0) + 1

    def state(self, sa: SecurityAssociation, now: float) -> State:
        """Where in its life the SA is."""
        return sa.lifetime.state(now - self.created, self.life_octets, self.life_packets)


class Outbound:
    """An outbound SA in service. `sequence` is the last number used.

    `around`: octets in front of what the sealer makes, in tunnel mode. `kept_alive`: when the last keep-alive left.
    `leased`: the last number that may be used, for now; at most the last one that there is.
    """

    __slots__ = (
        "_mortal", "_most", "_path_mtu", "_path_until", "around", "compressor", "header", "kept_alive", "leased", "sa",
        "sealer", "sequence", "usage",
    )  # fmt: skip

    def __init__(self, sa: SecurityAssociation, sequence: int, now: float, random: Random) -> None:
        self.sa = sa
        self.sequence = sequence
        self.usage = Usage(now)
        self.header = OuterHeader(sa.source, sa.destination, sa.header, random)
        self.sealer = esp.Sealer(sa, random) if sa.protocol is Protocol.ESP else ah.Sealer(sa, random)
        self.compressor = ipcomp.Compressor(sa.compression) if sa.compression else None
        self.around = around(sa)
        self.kept_alive = now
        self.leased = sa.sequence_max
        self._mortal = bool(sa.lifetime.hard)
        largest = self.header.octets + self.header.payload_max
        self._most = min(largest, sa.path_mtu or largest)
        self._path_mtu = 0
        self._path_until = 0.0

    def is_dead(self, now: float) -> bool:
        """Past a hard limit of its life."""
        return self._mortal and self.usage.state(self.sa, now) is State.DEAD

    def out_of_numbers(self) -> Reason | None:
        """Why no packet can be sealed: none is left at all, or none that is leased."""
        if self.sequence < self.leased:
            return None
        return Reason.SEQUENCE_EXHAUSTED if self.sequence >= self.sa.sequence_max else Reason.COUNTER_JOURNAL

    def mtu(self, now: float) -> int:
        """Octets of the largest outer packet that gets through, as far as is known."""
        return min(self._most, self._path_mtu) if self._path_mtu and now < self._path_until else self._most

    def learn_mtu(self, mtu: int, now: float) -> int:
        """Believe for a while that no more than `mtu` octets get through; what is believed then."""
        self._path_mtu = max(mtu, FLOORS[self.sa.destination.version])
        self._path_until = now + PATH_SECONDS
        return self.mtu(now)


class Inbound:
    """An inbound SA in service. `source` is the packed address that its packets must come from."""

    __slots__ = ("_mortal", "opener", "replay", "sa", "source", "usage")

    def __init__(self, sa: SecurityAssociation, sequence: int, now: float) -> None:
        self.sa = sa
        self.source = sa.source.packed
        self.usage = Usage(now)
        self.replay = Window(sa.replay_window, sequence, extended=sa.esn)
        self.opener = esp.Opener(sa) if sa.protocol is Protocol.ESP else ah.Opener(sa)
        self._mortal = bool(sa.lifetime.hard)

    @property
    def sequence(self) -> int:
        """The right edge of the replay window."""
        return self.replay.top

    def is_dead(self, now: float) -> bool:
        """Past a hard limit of its life."""
        return self._mortal and self.usage.state(self.sa, now) is State.DEAD


Record = Inbound | Outbound


def _check(sa: SecurityAssociation, sequence: int) -> None:
    if not SPI_MIN <= sa.spi <= SPI_MAX:
        raise BadSa(f"SPI {sa.spi} is not in {SPI_MIN}..{SPI_MAX}")
    if sa.source.version != sa.destination.version:
        raise BadSa(f"source {sa.source} and destination {sa.destination} are of different families")
    if not 0 <= sa.replay_window <= REPLAY_WINDOW_MAX:
        raise BadSa(f"replay window {sa.replay_window} is not in 0..{REPLAY_WINDOW_MAX}")
    if sa.esn and not sa.replay_window:
        raise BadSa("extended sequence numbers need a replay window to be found by (RFC 4303 section 2.2.1)")
    if sa.keep_alive_seconds and sa.encapsulation is None:
        raise BadSa("keep-alives are for an SA that goes in UDP (RFC 3948 section 2.3)")
    if not 0 <= sequence <= sa.sequence_max:
        raise BadSa(f"sequence number {sequence} is not in 0..{sa.sequence_max}")


class Sadb:
    """All SAs in service."""

    def __init__(self, random: Random) -> None:
        self._random = random
        self._inbound: dict[tuple[int, bytes, int], Inbound] = {}
        self._outbound: dict[SaKey, Outbound] = {}
        self._by_reqid: dict[tuple[int, Protocol], list[Outbound]] = {}
        self._ends: Counter[tuple[bytes, bytes]] = Counter()

    def add(self, sa: SecurityAssociation, sequence: int, now: float) -> Record:
        """Put an SA into service. `sequence`: the last number sent, or the highest seen."""
        _check(sa, sequence)
        if self.find(sa.direction, sa.key):
            raise DuplicateSa(f"{sa.direction.value}bound SPI {sa.spi:#x} to {sa.destination} is in use already")
        if sa.direction is Direction.IN:
            inbound = self._inbound[_wire_key(sa.key)] = Inbound(sa, sequence, now)
            self._ends[inbound.source, sa.destination.packed] += 1
            return inbound
        outbound = self._outbound[sa.key] = Outbound(sa, sequence, now, self._random)
        bisect.insort(self._by_reqid.setdefault((sa.reqid, sa.protocol), []), outbound, key=_label)
        return outbound

    def remove(self, sa: SecurityAssociation) -> Record:
        """Take an SA out of service; its record is the caller's last look at the counters."""
        record = self.find(sa.direction, sa.key)
        if record is None:
            raise UnknownSa(f"no {sa.direction.value}bound SPI {sa.spi:#x} to {sa.destination}")
        if isinstance(record, Inbound):
            del self._inbound[_wire_key(sa.key)]
            self._ends[record.source, sa.destination.packed] -= 1
            return record
        del self._outbound[sa.key]
        served = record.sa.reqid, record.sa.protocol
        serving = self._by_reqid[served]
        serving.remove(record)
        if not serving:
            del self._by_reqid[served]
        return record

    def find(self, direction: Direction, key: SaKey) -> Record | None:
        """The record of this direction and name."""
        return self._inbound.get(_wire_key(key)) if direction is Direction.IN else self._outbound.get(key)

    def inbound(self, spi: int, destination: bytes, protocol: int) -> Inbound | None:
        """The SA that a packet names (`destination` packed)."""
        return self._inbound.get((spi, destination, protocol))

    def has_inbound_between(self, source: bytes, destination: bytes) -> bool:
        """Whether any inbound SA goes from one packed address to the other."""
        return self._ends[source, destination] > 0

    def outbound(self, reqid: int, protocol: Protocol) -> Outbound | None:
        """The SA that serves an SPD entry; of several the one with the lowest label."""
        serving = self._by_reqid.get((reqid, protocol))
        return serving[0] if serving else None

    def has_outbound(self, key: SaKey) -> bool:
        """Whether an outbound SA has this name on the wire."""
        return key in self._outbound

    def all_outbound(self) -> Iterator[Outbound]:
        yield from self._outbound.values()

    def __iter__(self) -> Iterator[Record]:
        yield from self._inbound.values()
        yield from self._outbound.values()

    def __len__(self) -> int:
        return len(self._inbound) + len(self._outbound)


def _wire_key(key: SaKey) -> tuple[int, bytes, int]:
    return key.spi, key.destination.packed, key.protocol


def _label(record: Outbound) -> str:
    return record.sa.label

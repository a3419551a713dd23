"""What is worth a log line among the counts that every plane keeps: lives that end, and auditable events. Pure.

Everything is told once, or once per look: an attacker's million packets are one sentence with a number in it.
"""

from collections.abc import Iterable
from typing import NamedTuple

from culvert.dataplane.plane import DropCount
from culvert.ipsec.drops import TABLE, Reason
from culvert.ipsec.lifetime import State
from culvert.ipsec.sa import Direction, SaKey, SecurityAssociation

PERCENTS = (50, 80, 95)
"""Of an SA's sequence numbers: there is time to change the key, some time, hardly any."""


class Reading(NamedTuple):
    """The counts of one SA that its life depends on. `created`: seconds since the epoch."""

    sa: SecurityAssociation
    sequence: int
    created: float
    life_octets: int
    life_packets: int

    def state(self, now: float) -> State:
        return self.sa.lifetime.state(self._age(now), self.life_octets, self.life_packets)

    def limit_reached(self, now: float) -> str:
        """Such as `soft lifetime of bytes reached`; empty for none."""
        for name, limits in (("hard", self.sa.lifetime.hard), ("soft", self.sa.lifetime.soft)):
            if word := limits.reached(self._age(now), self.life_octets, self.life_packets):
                return f"{name} lifetime of {word} reached"
        return ""

    def percent(self) -> int:
        """The highest of PERCENTS that the sequence numbers have reached; 0 for none."""
        used = self.sequence * 100
        return max((percent for percent in PERCENTS if used >= percent * self.sa.sequence_max), default=0)

    def _age(self, now: float) -> float:
        return now - self.created if self.created else 0.0


class _Told(NamedTuple):
    state: State = State.MATURE
    percent: int = 0


_NOTHING = _Told()


class Notices:
    """What was told already."""

    def __init__(self) -> None:
        self._told: dict[tuple[Direction, SaKey], tuple[SecurityAssociation, _Told]] = {}
        self._dropped: dict[Reason, int] = {}

    def begin(self, drops: Iterable[DropCount]) -> None:
        """Of these nothing is told: they were there before."""
        self._dropped = {drop.reason: drop.packets for drop in drops}

    def lives(self, readings: Iterable[Reading], now: float) -> list[str]:
        """A sentence for every SA that got closer to its end since the last look."""
        sentences = []
        told: dict[tuple[Direction, SaKey], tuple[SecurityAssociation, _Told]] = {}
        for reading in readings:
            sa = reading.sa
            here = _Told(reading.state(now) if sa.lifetime else State.MATURE, reading.percent())
            if here == _NOTHING:
                continue
            name = sa.direction, sa.key
            known, before = self._told.get(name, (sa, _NOTHING))
            sentences += _news(reading, before if known is sa or known == sa else _NOTHING, here, now)
            told[name] = sa, here
        self._told = told
        return sentences

    def audit(self, drops: Iterable[DropCount]) -> list[str]:
        """A sentence for every auditable reason that packets died for since the last look."""
        sentences = []
        dropped = {}
        for drop in drops:
            dropped[drop.reason] = drop.packets
            before = self._dropped.get(drop.reason, 0)
            # Fewer than before: the counts were reset in between.
            more = drop.packets - before if drop.packets >= before else drop.packets
            if more and TABLE[drop.reason].audit:
                sentences.append(_audit(drop, more))
        self._dropped = dropped
        return sentences


def _news(reading: Reading, before: _Told, here: _Told, now: float) -> list[str]:
    sa = reading.sa
    name = f"IPsec-SA {sa.label} spi={sa.spi}({sa.spi:#x})"
    sentences = []
    if here.state is not before.state and here.state is not State.MATURE:
        sentences.append(f"{name}: {reading.limit_reached(now)}")
    if here.percent > before.percent:
        sentences.append(f"{name}: {here.percent} % of the sequence numbers are used")
    return sentences


def _audit(drop: DropCount, more: int) -> str:
    row = TABLE[drop.reason]
    packets = "1 packet" if more == 1 else f"{more:,} packets"
    last = f"; the last: {drop.last}" if drop.last else ""
    return f"audit: {packets} dropped: {row.word} ({row.audit}){last}"

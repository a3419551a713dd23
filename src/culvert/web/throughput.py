"""Rates out of counters: what one session saw of them, look by look, for the last minutes.

A counter that is smaller than before began anew, so all that it says is new. Where nobody looked for a while there is a
gap: a rate over it would be true of no moment.
"""

import threading
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

Record = Mapping[str, Any]
SPAN_SECONDS = 300.0
NEAR_SECONDS = 0.8
"""Two looks that are nearer are one: a rate over less is noise."""
GAP_SECONDS = 60.0
POINTS_MOST = 400
FOLLOWED_MOST = 24
OUT = "out"


@dataclass(frozen=True, slots=True)
class Rate:
    """Per second."""

    packets: float = 0.0
    bits: float = 0.0


@dataclass(frozen=True, slots=True)
class Point:
    """A moment. `into` and `out` are None where a gap ends."""

    at: float
    into: Rate | None
    out: Rate | None


@dataclass(frozen=True, slots=True)
class Look:
    """The counters of one moment: packets and octets in and out, by what they are of."""

    at: float
    counts: Mapping[Any, tuple[int, ...]]

    def since(self, before: "Look", key: Any) -> tuple[float, ...]:
        """What was added each second; nothing for what wasn't there before."""
        now, then = self.counts.get(key, ()), before.counts.get(key)
        if then is None:
            return (0.0,) * len(now)
        seconds = self.at - before.at
        return tuple((new - old if new >= old else new) / seconds for new, old in zip(now, then, strict=True))


@dataclass(slots=True)
class Watch:
    """What one session saw. Several requests of it may come at once."""

    points: deque[Point] = field(default_factory=lambda: deque(maxlen=POINTS_MOST))
    rates: dict[Any, tuple[float, ...]] = field(default_factory=dict)
    windows: dict[str, tuple[int, int, frozenset[int]]] = field(default_factory=dict)
    """By inbound SA: edge and newest numbers of the last look, and which numbers came late since the one before."""
    _followed: dict[str, deque[Point]] = field(default_factory=dict)
    _last: Look | None = None
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def note(self, at: float, associations: Sequence[Record], others: Mapping[Any, tuple[int, ...]]) -> None:
        """A look at the SAs, by the records of `show net ipsec ipsec-sa`, and at whatever else is counted."""
        counts: dict[Any, tuple[int, ...]] = {own["name"]: (own["packets"], own["bytes"]) for own in associations}
        look = Look(at, {**counts, **others})
        with self._lock:
            before = self._last
            if before is not None and look.at - before.at < NEAR_SECONDS:
                return
            self._last = look
            if before is None or look.at - before.at > GAP_SECONDS:
                self.rates = {}
                self._add(Point(at, None, None), {})
                return
            self.rates = {key: look.since(before, key) for key in look.counts}
            ways = {own["name"]: own["direction"] for own in associations}
            self._add(Point(at, self._sum(ways, OUT, False), self._sum(ways, OUT, True)), ways)

    def rate(self, key: Any) -> Rate:
        """Packets and bits a second, of an SA by its name."""
        found = self.rates.get(key, (0.0, 0.0))
        return Rate(found[0], found[1] * 8)

    def follow(self, names: Iterable[str]) -> None:
        """Keep the points of these from now on, and no longer those that were followed longest ago."""
        with self._lock:
            for name in names:
                self._followed[name] = self._followed.pop(name, deque(maxlen=POINTS_MOST))
            for name in list(self._followed)[: max(0, len(self._followed) - FOLLOWED_MOST)]:
                del self._followed[name]

    def of(self, name: str) -> list[Point]:
        """The points of an SA that is followed."""
        with self._lock:
            return list(self._followed.get(name, ()))

    def all(self) -> list[Point]:
        """The points of all SAs together."""
        with self._lock:
            return list(self.points)

    def _sum(self, ways: Mapping[str, str], direction: str, same: bool) -> Rate:
        rates = [self.rate(name) for name, way in ways.items() if (way == direction) is same]
        return Rate(sum(own.packets for own in rates), sum(own.bits for own in rates))

    def _add(self, point: Point, ways: Mapping[str, str]) -> None:
        _append(self.points, point)
        for name, points in self._followed.items():
            rate = self.rate(name) if name in ways else None
            out = ways.get(name) == OUT
            _append(points, Point(point.at, None if out else rate, rate if out else None))


def _append(points: deque[Point], point: Point) -> None:
    points.append(point)
    while points[0].at < point.at - SPAN_SECONDS:
        points.popleft()

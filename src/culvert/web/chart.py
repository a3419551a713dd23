"""Lines over the last minutes, as the paths of an SVG without any words: those stand beside it, where they can wrap."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from culvert.web.throughput import SPAN_SECONDS, Point, Rate

WIDTH, HEIGHT = 600, 120
SPANS = (60.0, 120.0, SPAN_SECONDS)
"""Seconds that a chart shows: who just came isn't shown minutes of nothing."""
SMALL_WIDTH, SMALL_HEIGHT = 120, 26

Value = Callable[[Rate], float]


@dataclass(frozen=True, slots=True)
class Side:
    """One direction of a chart: `lines` and the `areas` below them, in pieces where there are gaps."""

    lines: tuple[str, ...]
    areas: tuple[str, ...]
    now: float
    highest: float


@dataclass(frozen=True, slots=True)
class Chart:
    """What came in goes up from the middle, what went out goes down. `top` is what both edges stand for."""

    into: Side
    out: Side
    top: float
    minutes: int


def span(points: Sequence[Point], now: float) -> float:
    """The seconds to show of these points."""
    first = points[0].at if points else now
    return next((own for own in SPANS if now - first <= own), SPAN_SECONDS)


def chart(points: Sequence[Point], now: float, seconds: float, value: Value) -> Chart:
    """Of the rates that `value` takes out of the points, over the last `seconds`."""
    into = [(own.at, None if own.into is None else value(own.into)) for own in points]
    out = [(own.at, None if own.out is None else value(own.out)) for own in points]
    top = nice(max((number for _, number in (*into, *out) if number is not None), default=0.0))
    middle = HEIGHT / 2
    return Chart(
        _side(into, now, seconds, (WIDTH, middle, -middle / top)),
        _side(out, now, seconds, (WIDTH, middle, middle / top)),
        top,
        int(seconds / 60),
    )


def small(points: Sequence[Point], now: float, seconds: float) -> Side:
    """Packets each second of one SA, whichever way it goes."""
    rates = [(own.at, own.into if own.into is not None else own.out) for own in points]
    numbers = [(at, None if rate is None else rate.packets) for at, rate in rates]
    top = nice(max((number for _, number in numbers if number is not None), default=0.0))
    return _side(numbers, now, seconds, (SMALL_WIDTH, SMALL_HEIGHT - 1, -(SMALL_HEIGHT - 3) / top))


def nice(number: float) -> float:
    """The next of 1, 2, 5, 10, 20... that isn't smaller."""
    if number <= 1:
        return 1.0
    size: float = 10.0 ** math.floor(math.log10(number))
    return next(step * size for step in (1, 2, 5, 10) if number <= step * size)


def _side(
    numbers: Sequence[tuple[float, float | None]], now: float, seconds: float, frame: tuple[float, float, float]
) -> Side:
    """`frame`: the width, where nought is, and the height of one."""
    width, ground, scale = frame
    lines, areas = [], []
    for piece in _pieces(numbers):
        places = [(width * (1 - (now - at) / seconds), ground + number * scale) for at, number in piece]
        line = " L ".join(f"{x:.1f} {y:.1f}" for x, y in places)
        lines.append(f"M {line}")
        areas.append(f"M {places[0][0]:.1f} {ground:g} L {line} L {places[-1][0]:.1f} {ground:g} Z")
    known = [number for _, number in numbers if number is not None]
    last = numbers[-1][1] if numbers else None
    return Side(tuple(lines), tuple(areas), last or 0.0, max(known, default=0.0))


def _pieces(numbers: Sequence[tuple[float, float | None]]) -> list[list[tuple[float, float]]]:
    found: list[list[tuple[float, float]]] = [[]]
    for at, number in numbers:
        if number is None:
            found.append([])
        else:
            found[-1].append((at, number))
    return [piece for piece in found if piece]

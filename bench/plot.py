"""The plot about a run, as SVG of our own: dots at medians of ratios, lines from the least to the most, on a log scale.

Colours follow the reader's light or dark setting.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from html import escape
from math import ceil, floor, log10

from bench.measures import QUANTITIES, Quantity
from bench.page import figure
from bench.results import BASE, Results, Row, Spread
from bench.stage import Links

_LABELS_WIDTH, _PANEL_WIDTH, _GAP, _RIGHT = 388, 192, 26, 16
_TOP, _ROW_HEIGHT, _BOTTOM = 88, 25, 42
_LOWEST = -3
"""The power of ten below which a dot stands at the edge."""
_KEYS = ("tcp", "udp64", "udp1400", "rtt50")
_LINKS_WORDS = {Links.WHOLE: "", Links.SEGMENTED: " ✂", Links.SINGLE: ", no offloads"}

_STYLE = """
 text { font: 12.5px system-ui, sans-serif; fill: #24292f }
 .small { font-size: 11px; fill: #57606a }
 .title { font-weight: 600 }
 .ground { fill: #ffffff }
 .grid { stroke: #d0d7de; stroke-width: 1 }
 .one { stroke: #57606a; stroke-width: 1.2; stroke-dasharray: 3 3 }
 .plain { fill: #6e7781; stroke: #6e7781 }
 .ours { fill: #0969da; stroke: #0969da }
 .peer { fill: #bc4c00; stroke: #bc4c00 }
 .range { stroke-width: 2.5; stroke-linecap: round; opacity: .45 }
 @media (prefers-color-scheme: dark) {
  text { fill: #e6edf3 } .small { fill: #9198a1 } .ground { fill: #0d1117 } .grid { stroke: #30363d }
  .one { stroke: #9198a1 } .plain { fill: #9198a1; stroke: #9198a1 } .ours { fill: #58a6ff; stroke: #58a6ff }
  .peer { fill: #f0883e; stroke: #f0883e }
 }
"""


@dataclass(frozen=True, slots=True)
class Scale:
    """Whole decades that hold every value, from `left` on, `_PANEL_WIDTH` wide."""

    left: float
    low: int
    high: int

    def x(self, value: float) -> float:
        return self.left + _PANEL_WIDTH * (log10(value) - self.low) / (self.high - self.low)

    @property
    def ticks(self) -> list[float]:
        return [10.0**power for power in range(self.low, self.high + 1)]


def drawn(found: Results) -> str:
    """The whole SVG."""
    rows = [row for row in found.rows if row.rounds]
    quantities = [own for own in QUANTITIES if own.key in _KEYS]
    width = _LABELS_WIDTH + len(quantities) * (_PANEL_WIDTH + _GAP) + _RIGHT
    height = _TOP + len(rows) * _ROW_HEIGHT + _BOTTOM
    body = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" '
        'role="img" aria-label="Ratios to plain forwarding">',
        f"<style>{_STYLE}</style>", f'<rect class="ground" width="{width}" height="{height}" rx="6"/>',
        _text(16, 24, "Ratio to plain forwarding in the same round", "title"),
        _text(16, 42, f"median and range of {found.rounds} rounds, log scale; ✂ wan links cut in software", "small"),
    ]
    body += [
        _text(16, _y(position) + 4, row.title + _LINKS_WORDS[row.links]) for position, row in enumerate(rows)
    ]
    for position, quantity in enumerate(quantities):
        body += _panel(found, rows, quantity, _LABELS_WIDTH + position * (_PANEL_WIDTH + _GAP))
    return "\n".join([*body, "</svg>"]) + "\n"


def _panel(found: Results, rows: list[Row], quantity: Quantity, left: float) -> Iterator[str]:
    spreads = [found.ratio(row, quantity.key) for row in rows]
    scale = _scale(left, [spread for spread in spreads if spread])
    bottom = _TOP + len(rows) * _ROW_HEIGHT
    better = "right" if quantity.more else "left"
    yield _text(left, _TOP - 18, quantity.title, "title")
    yield _text(left, bottom + 32, f"{better} is better", "small")
    for tick in scale.ticks:
        x = scale.x(tick)
        kind = "one" if tick == 1 else "grid"
        yield f'<line class="{kind}" x1="{x:.1f}" x2="{x:.1f}" y1="{_TOP - 8}" y2="{bottom}"/>'
        yield _text(x, bottom + 16, f"{tick:g}", "small", anchor="middle")
    for position, (row, spread) in enumerate(zip(rows, spreads, strict=True)):
        if spread is not None:
            yield from _mark(row, spread, scale, _y(position))


def _scale(left: float, spreads: list[Spread]) -> Scale:
    least = min([spread.least for spread in spreads if spread.least > 0], default=0.1)
    most = max([spread.most for spread in spreads], default=1.0)
    low, high = min(-1, max(_LOWEST, floor(log10(least)))), max(0, ceil(log10(max(most, 1e-9))))
    return Scale(left, low, high)


def _mark(row: Row, spread: Spread, scale: Scale, y: float) -> Iterator[str]:
    least, middle, most = (scale.x(max(value, scale.ticks[0])) for value in (spread.least, spread.middle, spread.most))
    kind = "plain" if row.name == BASE else "ours" if row.name.startswith("culvert") else "peer"
    yield f'<line class="{kind} range" x1="{least:.1f}" x2="{most:.1f}" y1="{y}" y2="{y}"/>'
    yield f'<circle class="{kind}" cx="{middle:.1f}" cy="{y}" r="4.2"/>'
    # Beside the dot, on the side that has room.
    right = max(most, middle + 4) + 5
    fits = right < scale.left + _PANEL_WIDTH - 16
    x, anchor = (right, "start") if fits else (min(least, middle - 4) - 5, "end")
    yield _text(x, y + 4, figure(spread.middle) if spread.middle >= 0.1 else f"{spread.middle:.3f}", "small", anchor)


def _y(position: int) -> float:
    return _TOP + _ROW_HEIGHT * (position + 0.5)


def _text(x: float, y: float, words: str, kind: str = "", anchor: str = "start") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" class="{kind}" text-anchor="{anchor}">{escape(words)}</text>'

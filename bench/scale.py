"""docs/scale.md and docs/scale.svg: how configuration grows, out of what `bench.configuration` measured."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from math import ceil, floor, log10
from pathlib import Path
from statistics import median

from bench.machine import described, noise

PAGE = Path(__file__).resolve().parents[1] / "docs" / "scale.md"
GOAL_TUNNELS = 10_000


@dataclass(frozen=True, slots=True)
class Measured:
    """One round at one size, in the units of TITLES."""

    tunnels: int
    load: float
    flowing: float
    spent: float
    one_more: float
    one_more_spent: float
    list_open: float
    list_program: float
    show_first: float
    show: float
    meanwhile: float
    memory: float


TITLES = {
    "tunnels": "tunnels",
    "load": "`load sys config`, s",
    "flowing": "until the last tunnel carries a packet, s",
    "spent": "processor time of both, with nft and the packet process, s",
    "one_more": "one SA more, ms",
    "one_more_spent": "processor time of that, ms",
    "list_open": "`list` of one object, open session, ms",
    "list_program": "the same as a program, ms",
    "show_first": "`show net ipsec ipsec-sa`: first records, ms",
    "show": "all of it, s",
    "meanwhile": "another client waits meanwhile, ms at most",
    "memory": "peak memory of daemon and packet process, MiB",
}


@dataclass(frozen=True, slots=True)
class Size:
    """All rounds at one size."""

    tunnels: int
    rounds: tuple[Measured, ...]

    def middle(self, name: str) -> float:
        return float(median(getattr(own, name) for own in self.rounds))

    def spread(self, name: str) -> tuple[float, float]:
        found = [getattr(own, name) for own in self.rounds]
        return min(found), max(found)


def cell(value: float) -> str:
    return f"{value:,}" if isinstance(value, int) else f"{value:,.2f}" if value < 10 else f"{value:,.0f}"


def write(sizes: Sequence[Size]) -> None:
    """Both files."""
    PAGE.write_text(page(sizes))
    PAGE.with_suffix(".svg").write_text(drawn(sizes))


def page(sizes: Sequence[Size]) -> str:
    """docs/scale.md"""
    machine = described()
    names = [own.name for own in fields(Measured) if own.name != "tunnels"]
    head = ["", *(f"{own.tunnels:,} tunnels" for own in sizes)]
    rows = [[TITLES[name], *(_spread(own, name) for own in sizes)] for name in names]
    rows.append(["processor time for each tunnel, ms", *(f"{_each(own):.2f}" for own in sizes)])
    base = min(map(_each, sizes))
    rows.append(["the same, as a ratio to the least", *(f"{_each(own) / base:.2f}" for own in sizes)])
    table = ["| " + " | ".join(row) + " |" for row in (head, *rows)]
    table.insert(1, "|---|" + "---:|" * len(sizes))
    return "\n".join([
        "# Scale",
        "",
        "`make bench-config` measures how long configuration takes as it grows, on one gateway with its real plane: "
        "nftables, TUN and the native packet process. `make bench-config ARGS=--write-docs` writes this page.",
        "",
        "A tunnel is two policies, two manual SAs and two selectors, six IPsec objects; keys stand in clear in the "
        "file, so each is sealed as it is read. `load sys config` begins on a daemon that has nothing, and a ping "
        "knocks at the last tunnel until it gets through.",
        "",
        f"{machine['processor']}, {machine['cores']} cores, Linux {machine['kernel']}, {machine['date']}. Medians, and "
        "the least and the most where a size was measured more than once.",
        *_crowd(int(machine["cores"])),
        "",
        *table,
        "",
        "![How loading grows](scale.svg)",
        "",
        *_goals(sizes),
        PROSE,
    ])


def _goals(sizes: Sequence[Size]) -> list[str]:
    """What was asked for, of the size that it was asked for."""
    own = next((own for own in sizes if own.tunnels == GOAL_TUNNELS), None)
    if own is None:
        return []
    rows = [
        ("the last tunnel carries a packet within 15 s", f"{_spread(own, 'flowing')} s", f"{_spread(own, 'spent')} s"),
        ("one SA more within 50 ms", f"{_spread(own, 'one_more')} ms", f"{_spread(own, 'one_more_spent')} ms"),
        ("`list` of one object within 100 ms", f"{_spread(own, 'list_open')} ms", ""),
        ("the same as a program within 300 ms", f"{_spread(own, 'list_program')} ms", ""),
        ("within 1 GiB", f"{_spread(own, 'memory')} MiB", ""),
    ]
    head = [f"## What was asked of {GOAL_TUNNELS:,} tunnels", "", "| | here | processor time |", "|---|---:|---:|"]
    return [*head, *(f"| {goal} | {clock} | {spent} |" for goal, clock, spent in rows), ""]


def _crowd(cores: int) -> list[str]:
    """What else went on, if that was more than the machine could do at once."""
    load = noise()["load"]
    if load <= cores + 1:
        return []
    return [
        "",
        f"**Others worked on this machine meanwhile: the load average was {load:.0f} on {cores} cores.** What the "
        "clock says is mostly waiting for a core then; what it would say on a machine of its own, this run can't tell. "
        "Processor time says what the work is, and even that is more than alone, since others empty the caches.",
    ]


def _each(size: Size) -> float:
    return 1000 * size.middle("spent") / size.tunnels


def _spread(size: Size, name: str) -> str:
    middle = cell(size.middle(name))
    if len(size.rounds) == 1:
        return middle
    least, most = map(cell, size.spread(name))
    return middle if least == most else f"{middle} ({least} to {most})"


PROSE = """## What a load consists of

By cProfile, at 2,000 tunnels, of the daemon's time (it exaggerates small functions, so take the order and not the
figures):

| | |
|---|---:|
| reading the file | 4 % |
| values of objects: addresses, names, keys with their sealing, defaults | 32 % |
| indexes: who names whom, who has which SPI, address and key | 8 % |
| rules between objects | 17 % |
| what is only unwise, for the warnings | 6 % |
| what should run: SAs, policies, forwarders | 8 % |
| the plane: nftables rendered and loaded, slots, the message to the packet process and its answer | 22 % |
| log lines, differences, the rest | 3 % |

No single thing is left that takes much. Against the state before, both on a busy machine, processor time went from
1.88 s to 1.04 s for 1,000 tunnels and from 5.45 s to 2.94 s for 3,000, a ratio of 0.55; one SA more among 5,000
tunnels from 25 ms to 6 ms in the daemon without its plane. What did it:

* Stanzas in the form that `save` writes are read by the line (`model/regular.py`); the reader of words and blocks has
  all others. A first try, a token of two words in that reader, gained nothing: making tokens is what costs.
* What a key means is worked out once, with its hash; names and addresses that were checked are kept.
* Sets of who names whom grow in place while a file is laid over, and neighbours are looked up only where there are
  any.
* A change among many copies nothing that it doesn't touch: dictionaries of a new snapshot lie over the old ones
  (`config/overlay.py`), and the plane copies the kinds that a batch is about.
* An SA's identity, three digests, is worked out once and not for all SAs at every change.
* Values that most SAs share (header rules, lifetimes) are one object; a message to the packet process is made change
  by change, without a tree of all of them.
* Twenty thousand log lines are written in twenty pieces.

The counters of nftables were read by the `nft` program, every second, and that reads all sets first: at 10,000
tunnels 0.17 s of processor time each time. They are asked of the kernel now (`dataplane/userspace/nft_counters.py`).
`tmsh` as a program takes 0.18 s of processor time to start and answer.

`gc` is off during a load and what it made is frozen behind it; that was so before. What would be next is to make the
values of an object by code compiled for its kind in place of a loop over its properties, or a second core: both cost
more in clarity than they bring as long as a load is rarer than a change.

`show net ipsec ipsec-sa` comes in parts of 100 SAs, worked out when the client has read the one before: memory stays
where it is in daemon and client, and whoever asks something else waits for one part at most, and for its turn.
"""

_LEFT, _TOP, _WIDTH, _HEIGHT, _GAP = 64, 64, 330, 230, 96
_STYLE = """
 text { font: 12.5px system-ui, sans-serif; fill: #24292f }
 .small { font-size: 11px; fill: #57606a }
 .title { font-weight: 600 }
 .ground { fill: #ffffff }
 .grid { stroke: #d0d7de; stroke-width: 1 }
 .linear { stroke: #57606a; stroke-width: 1.2; stroke-dasharray: 4 4; fill: none }
 .flowing { stroke: #0969da; fill: none; stroke-width: 2 } .flowing-dot { fill: #0969da }
 .spent { stroke: #bc4c00; fill: none; stroke-width: 2 } .spent-dot { fill: #bc4c00 }
 @media (prefers-color-scheme: dark) {
  text { fill: #e6edf3 } .small { fill: #9198a1 } .ground { fill: #0d1117 } .grid { stroke: #30363d }
  .linear { stroke: #9198a1 } .flowing { stroke: #58a6ff } .flowing-dot { fill: #58a6ff }
  .spent { stroke: #f0883e } .spent-dot { fill: #f0883e }
 }
"""
_SERIES = (("flowing", "until the last tunnel carries a packet"), ("spent", "processor time of that"))


@dataclass(frozen=True, slots=True)
class _Axis:
    """A scale by powers of ten, over `length` from `start` on; downwards a negative length."""

    start: float
    length: float
    low: int
    high: int

    @classmethod
    def over(cls, values: Sequence[float], start: float, length: float) -> "_Axis":
        low, high = floor(log10(min(values)) + 0.01), ceil(log10(max(values)) - 0.01)
        return cls(start, length, low, max(high, low + 1))

    def at(self, value: float) -> float:
        return self.start + self.length * (log10(value) - self.low) / (self.high - self.low)

    @property
    def ticks(self) -> list[float]:
        return [10.0**power for power in range(self.low, self.high + 1)]


def drawn(sizes: Sequence[Size]) -> str:
    """The whole SVG: seconds by tunnels, and milliseconds for each tunnel."""
    width, height = _LEFT + 2 * _WIDTH + _GAP + 30, _TOP + _HEIGHT + 76
    seconds = {name: [own.middle(name) for own in sizes] for name, _ in _SERIES}
    each = {name: [1000 * value / own.tunnels for value, own in zip(seconds[name], sizes, strict=True)]
            for name, _ in _SERIES}
    body = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" '
        'role="img" aria-label="How loading grows with the number of tunnels">',
        f"<style>{_STYLE}</style>", f'<rect class="ground" width="{width}" height="{height}" rx="6"/>',
        *_panel(_LEFT, "Seconds", sizes, seconds, grows=True),
        *_panel(_LEFT + _WIDTH + _GAP, "Milliseconds for each tunnel", sizes, each, grows=False),
    ]
    for number, (name, title) in enumerate(_SERIES):
        x = _LEFT + 270 * number
        body += [f'<circle class="{name}-dot" cx="{x}" cy="{height - 16}" r="4"/>', _text(x + 10, height - 12, title)]
    x = _LEFT + 270 * len(_SERIES)
    body += [f'<line class="linear" x1="{x}" x2="{x + 24}" y1="{height - 16}" y2="{height - 16}"/>',
             _text(x + 30, height - 12, "linear growth")]
    return "\n".join([*body, "</svg>"]) + "\n"


def _panel(
    left: float, title: str, sizes: Sequence[Size], lines: dict[str, list[float]], *, grows: bool
) -> Iterator[str]:
    across = _Axis.over([own.tunnels for own in sizes], left, _WIDTH)
    up = _Axis.over([value for values in lines.values() for value in values], _TOP + _HEIGHT, -_HEIGHT)
    yield _text(left, _TOP - 22, title, "title")
    for tick in across.ticks:
        x = across.at(tick)
        yield f'<line class="grid" x1="{x:.1f}" x2="{x:.1f}" y1="{_TOP}" y2="{_TOP + _HEIGHT}"/>'
        yield _text(x, _TOP + _HEIGHT + 18, f"{tick:,.0f}", "small", "middle")
    for tick in up.ticks:
        y = up.at(tick)
        yield f'<line class="grid" x1="{left}" x2="{left + _WIDTH}" y1="{y:.1f}" y2="{y:.1f}"/>'
        yield _text(left - 8, y + 4, f"{tick:g}", "small", "end")
    yield _text(left + _WIDTH / 2, _TOP + _HEIGHT + 34, "tunnels", "small", "middle")
    first, last = sizes[0].tunnels, sizes[-1].tunnels
    start = lines["spent"][0]
    end = start * last / first if grows else start
    points = [(across.at(first), up.at(start)), (across.at(last), max(up.at(end), _TOP))]
    yield _line("linear", points)
    for name, values in lines.items():
        points = [(across.at(own.tunnels), up.at(value)) for own, value in zip(sizes, values, strict=True)]
        yield _line(name, points)
        yield from (f'<circle class="{name}-dot" cx="{x:.1f}" cy="{y:.1f}" r="4"/>' for x, y in points)
        for (x, y), value in zip(points, values, strict=True):
            yield _text(x, y - 10 if name == "flowing" else y + 18, cell(value), "small", "middle")


def _line(kind: str, points: Sequence[tuple[float, float]]) -> str:
    return f'<polyline class="{kind}" points="{" ".join(f"{x:.1f},{y:.1f}" for x, y in points)}"/>'


def _text(x: float, y: float, words: str, kind: str = "", anchor: str = "start") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" class="{kind}" text-anchor="{anchor}">{words}</text>'

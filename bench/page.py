"""The page about a run: tables for readers, a short one for the terminal."""

from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median

from bench import probe, proof
from bench.machine import BUSY_SHARE
from bench.measures import QUANTITIES, Quantity
from bench.results import Results, Row, Spread
from bench.stage import Links

BY_HAND = "<!-- from here on written by hand -->"
_LINKS_WORDS = {
    Links.WHOLE: "",
    Links.SEGMENTED: "wan links segment in software",
    Links.SINGLE: "no offloads anywhere",
}
_QUANTITY = {quantity.key: quantity for quantity in QUANTITIES}
_MAIN = ("tcp", "udp64", "udp1400", "rtt50", "rtt99")
_BULK = ("bulk64", "bulk1400")

_HEAD = """# Performance

`make bench` measures Culvert and its peers end to end, all in one run on one machine.
`make bench ARGS=--write-docs` writes this page. `make bench-twin` measures the readable gateway alone, in memory.

![ratios to plain forwarding](performance.svg)

{conditions}

Numbers are medians of the rounds, with the least and the most in brackets. "of plain" is the ratio to plain
forwarding **in the same round**, again as a median, so what slows the whole machine for a while doesn't count.
"added" is the round trip beyond that of plain forwarding in the same round.
"""

_FIRST_VERSION = (
    "**A first version, from a machine with other work to do or from few rounds: these values are noise, and the "
    "ratios rough.**"
)

_METHOD = """## How it is measured

Client, gateway, wan, gateway and server are five network namespaces of this machine, joined by veth links of MTU
1500 (the lab's own topology, `src/culvert/lab/topology.py`), so all of them share its cores: senders, both gateways
and receivers. Every round has every contestant once, one at a time, in an order that turns from round to round,
each in namespaces made afresh. Nothing is pinned or tuned.

* **Proof first.** Before anything is timed, {octets} random octets cross from server to client over TCP and must
  arrive with the same SHA-256, while a witness on both wan links reads every frame: there may be nothing but what
  the contestant is to send, and nowhere a text that the client sends meanwhile (which in plain forwarding the
  witness must find).
* **One TCP stream**: iperf3 from client to server, what the receiver got, without the first second.
* **UDP**: the client sends IP packets of 64 or 1400 octets as fast as it can, by sendmmsg; counted is what arrives
  at the server's program, from {warm_up} s after the first one. The sender takes what share of the processor it can
  get, so this is what survives a flood, not the highest rate without loss. Before the next flood a ping has to come
  through; who still works off the last one after 3 s is set up anew.
* **UDP in bulk**: the same packets handed over and received as super-packets (UDP_SEGMENT, UDP_GRO), as QUIC does.
  Links that pass super-packets on whole make this far more than a wire would carry: it shows what a gateway costs
  beside it.
* **Round trip**: UDP packets of 64 octets, one at a time with pauses of 2 ms, through Python programs at both ends.
* **Links**: veth passes super-packets whole, as a network card does that segments in hardware. "{segmented}" has
  the four ends of both wan links set to `tso off gso off tx-udp-segmentation off`; "{single}" has it on every link.
"""


def one_line(values: dict[str, float]) -> str:
    """The values of one round."""
    found = [(quantity, values[quantity.key]) for quantity in QUANTITIES if quantity.key in values]
    return ", ".join(f"{quantity.key} {value / quantity.scale:.4g} {quantity.unit}" for quantity, value in found)


def summary(found: Results) -> str:
    """For the terminal: medians, and ratios to plain forwarding."""
    lines = [f"  {'':34}" + "".join(f"{key:>16}" for key in _QUANTITY)]
    for row in found.rows:
        if row.absent:
            lines.append(f"  {_label(row):34}  {row.absent}")
            continue
        cells = [_terminal_cell(found, row, quantity) for quantity in QUANTITIES]
        lines.append(f"  {_label(row):34}" + "".join(f"{cell:>16}" for cell in cells))
    units = ", ".join(f"{quantity.key} {quantity.unit}" for quantity in QUANTITIES)
    return "\n".join([*lines, "", f"  {units}; medians, x: of plain forwarding in the same round"])


def _label(row: Row) -> str:
    return row.name + ("" if row.links is Links.WHOLE else f"@{row.links}")


def _terminal_cell(found: Results, row: Row, quantity: Quantity) -> str:
    value, ratio = found.value(row, quantity.key), found.ratio(row, quantity.key)
    if value is None:
        return "-"
    return f"{figure(value.middle / quantity.scale)}" + (f" x{ratio.middle:.2f}" if ratio else "")


def written(found: Results, path: Path) -> str:
    """The whole page; what was written by hand below the mark in the page at `path` stays."""
    before = path.read_text() if path.exists() else ""
    by_hand = before.partition(BY_HAND)[2]
    method = _METHOD.format(
        octets=f"{proof.TRANSFER_OCTETS:,}", warm_up=probe.WARM_UP_SECONDS,
        segmented=_LINKS_WORDS[Links.SEGMENTED], single=_LINKS_WORDS[Links.SINGLE],
    )
    parts = [
        _HEAD.format(conditions=_conditions(found)),
        "## Links that pass super-packets\n", _table(found, _whole(found), _MAIN),
        "## The same, in bulk\n", _table(found, _whole(found), _BULK),
        f"## {_capital(_LINKS_WORDS[Links.SEGMENTED])}\n", _table(found, _cut(found), (*_MAIN[:1], *_BULK, "rtt50")),
        "## Who performed\n", _contestants(found), method,
    ]
    return "\n".join(parts) + (f"\n{BY_HAND}{by_hand}" if by_hand.strip() else "")


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def _conditions(found: Results) -> str:
    own = found.machine
    others = [look["others"] for look in found.noise] or [0.0]
    minutes = own.get("minutes", "?")
    text = (
        f"{own['date']}: {own['cores']} cores ({own['processor']}), {own['system']}, Linux {own['kernel']}; "
        f"{found.rounds} round{'s' * (found.rounds > 1)}, {found.seconds:g} s for each measurement, "
        f"{minutes} minutes in all. "
        f"Between the rounds others used {median(others):.0%} of the processor (most: {max(others):.0%})."
    )
    if median(others) > BUSY_SHARE or found.rounds < 5:
        text += f"\n\n{_FIRST_VERSION}"
    return "\n\n".join([text, *found.notes])


def _whole(found: Results) -> list[Row]:
    return [row for row in found.rows if row.rounds and row.links in (Links.WHOLE, Links.SINGLE)]


def _cut(found: Results) -> list[Row]:
    return [row for row in found.rows if row.rounds and row.links is Links.SEGMENTED]


def _table(found: Results, rows: Sequence[Row], keys: Sequence[str]) -> str:
    if not rows:
        return "Nobody performed on such links in this run.\n"
    header, columns = ["contestant"], list[Callable[[Row], str]]()
    for key in keys:
        quantity = _QUANTITY[key]
        header += [f"{quantity.title}, {quantity.unit}", "of plain" if quantity.more else "added"]
        columns += [_value_column(found, quantity), _beside_column(found, quantity)]
    lines = [f"| {' | '.join(header)} |", "|---|" + "---:|" * len(columns)]
    for row in rows:
        words = [titled(row), *(column(row) for column in columns)]
        lines.append(f"| {' | '.join(words)} |")
    return "\n".join(lines) + "\n"


def titled(row: Row) -> str:
    """Title, and links unless the table is about them."""
    return row.title + (f", {_LINKS_WORDS[row.links]}" if row.links is Links.SINGLE else "")


def _value_column(found: Results, quantity: Quantity) -> Callable[[Row], str]:
    return lambda row: _spread_words(found.value(row, quantity.key), quantity.scale)


def _beside_column(found: Results, quantity: Quantity) -> Callable[[Row], str]:
    if quantity.more:
        return lambda row: _ratio_words(found.ratio(row, quantity.key))
    return lambda row: _spread_words(found.added(row, quantity.key), quantity.scale)


def _spread_words(spread: Spread | None, scale: float) -> str:
    if spread is None:
        return "-"
    middle, least, most = (figure(value / scale) for value in (spread.middle, spread.least, spread.most))
    return f"{middle}{_between(least, most)}"


def _ratio_words(spread: Spread | None) -> str:
    if spread is None:
        return "-"
    return f"**{spread.middle:.3f}**{_between(f'{spread.least:.3f}', f'{spread.most:.3f}')}"


def _between(least: str, most: str) -> str:
    return f" ({least}..{most})" if least != most else ""


def figure(value: float) -> str:
    """Three digits that mean something."""
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"


def _contestants(found: Results) -> str:
    lines = ["| contestant | links | version | seen on the wan | |", "|---|---|---|---|---|"]
    for row in found.rows:
        fate = row.absent or "; ".join(failure.splitlines()[0] for failure in row.failures)
        links = _LINKS_WORDS[row.links] or "as they come"
        lines.append(f"| {row.title} | {links} | {row.version} | {row.seen} | {fate.replace('|', '/')} |")
    return "\n".join(lines) + "\n"

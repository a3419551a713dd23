"""The replay window of an inbound SA as a row of cells, oldest number first (RFC 4303 section 3.4.3)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Record = Mapping[str, Any]
CELLS_MOST = 64
"""So many of the newest numbers the packet process tells about."""
ROW = 32
RANGES_MOST = 12
RECEIVED, LATE, MISSING, NONE = "received", "late", "missing", "none"


@dataclass(frozen=True, slots=True)
class Cell:
    """One sequence number: whether it was received, came late, is missing, or never was sent."""

    number: int
    state: str
    is_edge: bool


@dataclass(frozen=True, slots=True)
class ReplayWindow:
    """`rows`: the cells that are drawn, of `size`. `known`: whether the plane tells which numbers came."""

    edge: int
    size: int
    rows: tuple[tuple[Cell, ...], ...]
    known: bool
    lost: int
    refused: int

    @property
    def bottom(self) -> int:
        """The lowest number that is accepted still."""
        return max(1, self.edge - self.size + 1)

    @property
    def drawn(self) -> int:
        return sum(map(len, self.rows))

    def count(self, state: str) -> int:
        return sum(cell.state == state for row in self.rows for cell in row)

    def numbers(self, state: str) -> str:
        """The numbers of the cells in a state, in words."""
        found = [cell.number for row in self.rows for cell in row if cell.state == state]
        return ranges(found)


def replay_window(record: Record, late: frozenset[int]) -> ReplayWindow:
    """Of an inbound SA, by its record in `show net ipsec ipsec-sa`. `late`: numbers that came behind newer ones."""
    edge, size = record["sequence"], record["replay_window"]
    seen = record.get("window_seen")
    count = min(size, CELLS_MOST) if seen is not None else 0
    bits = newest(record)
    cells = [_cell(edge - behind, behind, bits, late) for behind in reversed(range(count))]
    rows = tuple(tuple(cells[at : at + ROW]) for at in range(0, len(cells), ROW))
    return ReplayWindow(edge, size, rows, seen is not None, record["lost"], record["drops"].get("replay", 0))


def newest(record: Record) -> int:
    """Bit i: the number that lies i behind the edge was received."""
    return int(record.get("window_seen") or "0", 16)


def came_late(before: tuple[int, int], now: tuple[int, int]) -> frozenset[int]:
    """The numbers that were missing at one look and aren't at the next, each given as edge and newest bits."""
    (old_edge, old_bits), (edge, bits) = before, now
    found = set()
    for behind in range(CELLS_MOST):
        number = edge - behind
        was_behind = old_edge - number
        if 0 <= was_behind < CELLS_MOST and bits >> behind & 1 and not old_bits >> was_behind & 1:
            found.add(number)
    return frozenset(found)


def _cell(number: int, behind: int, bits: int, late: frozenset[int]) -> Cell:
    if number < 1:
        return Cell(number, NONE, False)
    state = MISSING if not bits >> behind & 1 else LATE if number in late else RECEIVED
    return Cell(number, state, behind == 0)


def ranges(numbers: Sequence[int]) -> str:
    """7, 9 to 12, 20: at most RANGES_MOST of them."""
    pieces: list[list[int]] = []
    for number in sorted(numbers):
        if pieces and number == pieces[-1][1] + 1:
            pieces[-1][1] = number
        else:
            pieces.append([number, number])
    told = [str(first) if first == last else f"{first} to {last}" for first, last in pieces[:RANGES_MOST]]
    more = len(pieces) - RANGES_MOST
    return ", ".join(told) + (f" and {more} more" if more > 0 else "")

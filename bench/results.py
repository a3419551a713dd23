"""What was found: every value of every round, and what follows from them."""

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

from bench.stage import Links

BASE = "plain"


@dataclass(frozen=True, slots=True)
class Spread:
    """A median and between what it lies."""

    middle: float
    least: float
    most: float


@dataclass(slots=True)
class Row:
    """One contestant on one kind of links: for each round its values, or why there are none."""

    name: str
    title: str
    links: Links
    version: str = ""
    rounds: dict[int, dict[str, float]] = field(default_factory=dict)
    seen: str = ""
    absent: str = ""
    failures: list[str] = field(default_factory=list)


@dataclass(slots=True)
class Results:
    """One run."""

    machine: dict[str, str]
    rounds: int
    seconds: float
    rows: list[Row] = field(default_factory=list)
    noise: list[dict[str, float]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def row(self, name: str, links: Links) -> Row | None:
        return next((row for row in self.rows if (row.name, row.links) == (name, links)), None)

    def value(self, row: Row, key: str) -> Spread | None:
        return _spread([values[key] for values in row.rounds.values() if key in values])

    def ratio(self, row: Row, key: str) -> Spread | None:
        """To plain forwarding in the same round, on links as they come."""
        return _spread([mine / base for mine, base in self._pairs(row, key) if base])

    def added(self, row: Row, key: str) -> Spread | None:
        """Beyond plain forwarding in the same round."""
        return _spread([mine - base for mine, base in self._pairs(row, key)])

    def _pairs(self, row: Row, key: str) -> list[tuple[float, float]]:
        base = self.row(BASE, Links.WHOLE)
        rounds = base.rounds if base else {}
        pairs = [(values, rounds.get(number, {})) for number, values in row.rounds.items()]
        return [(mine[key], theirs[key]) for mine, theirs in pairs if key in mine and key in theirs]

    def save(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(asdict(self), indent=1))


def load(path: Path) -> Results:
    document: dict[str, Any] = json.loads(path.read_text())
    rows = [
        Row(**{**row, "links": Links(row["links"]), "rounds": {int(n): own for n, own in row["rounds"].items()}})
        for row in document.pop("rows")
    ]
    return Results(**document, rows=rows)


def _spread(values: list[float]) -> Spread | None:
    return Spread(median(values), min(values), max(values)) if values else None

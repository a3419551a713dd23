"""What was compared already: a line of JSON for each piece, so that a run that was stopped goes on where it was.

A line counts as long as the sources of the readable gateway and of the engine are those that it was written for.
"""

import hashlib
import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import culvert_native

from tests.engine.piece import Outcome

ROOT = Path(__file__).parents[2]
LEDGER = ROOT / ".build" / "same" / "ledger.jsonl"
KINDS = (".py", ".rs", ".c", ".h", ".toml", ".lock")


def sources() -> str:
    """A digest of the readable gateway, of the engine and what was built of it, and of what makes the packets."""
    digest = hashlib.sha256()
    for name in ("src/culvert/ipsec", "engine", "tests/engine", "tests/fuzz"):
        for path in sorted((ROOT / name).rglob("*")):
            # The lock that cargo writes for itself says where this machine has its packages from.
            if path.suffix in KINDS and ROOT / "engine" / "fuzz" not in path.parents and path.name != "Cargo.lock":
                digest.update(f"{path.relative_to(ROOT)}\0".encode() + path.read_bytes())
    digest.update(Path(culvert_native.__file__).read_bytes())
    return digest.hexdigest()[:16]


class Ledger:
    """`done`: what counts. Pieces with a difference are never written down, so that they are met again."""

    def __init__(self, path: Path = LEDGER, *, fresh: bool = False) -> None:
        self.path = path
        self._sources = sources()
        self.done: dict[str, dict[int, Outcome]] = {}
        path.parent.mkdir(parents=True, exist_ok=True)
        if fresh:
            path.unlink(missing_ok=True)
        for outcome in self._read():
            self.done.setdefault(outcome.pair, {})[outcome.seed] = outcome

    def _read(self) -> Iterator[Outcome]:
        lines = self.path.read_text().splitlines() if self.path.exists() else []
        for line in lines:
            try:
                said = json.loads(line)
            except ValueError:
                # The last one of a run that was killed.
                continue
            if said.pop("sources") == self._sources:
                yield Outcome(**said)

    def write(self, outcome: Outcome) -> None:
        said = {
            "pair": outcome.pair,
            "seed": outcome.seed,
            "packets": outcome.packets,
            "words": outcome.words,
            "sources": self._sources,
        }
        with self.path.open("a") as file:
            file.write(json.dumps(said) + "\n")
        self.done.setdefault(outcome.pair, {})[outcome.seed] = outcome

    def packets(self, pair: str) -> int:
        return sum(outcome.packets for outcome in self.done.get(pair, {}).values())

    def words(self, pair: str) -> Counter[str]:
        words: Counter[str] = Counter()
        for outcome in self.done.get(pair, {}).values():
            words.update(outcome.words)
        return words

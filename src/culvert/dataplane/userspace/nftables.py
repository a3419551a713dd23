"""The `nft` program: our table in and out of the kernel.

Theory of operation. A transaction of nftables is not as atomic for packets as one would like. Rules change for all
of them at once; but a packet that is between two rules at that moment doesn't find the elements of a set that is
going, and nobody finds those of a set that is coming before its commit is through. A table that is replaced as a whole
so lets some packets pass by every rule: in clear. Hence three transactions:

1. what sets there have to be come, under names that nobody uses yet;
2. all rules change, from those that look into the old sets to those that look into the new ones;
3. the old sets go.

What stands in the rules themselves changes with them: a set `{ 50, 51 }` is looked into as long as its rule is. A map
with verdicts isn't: its elements go when its rule does, while packets are in front of it. So there are none.

A set's name ends with a hash of what is in it, so what stays the same isn't loaded again. Counters stay. Where another
program had its hands in, or before us somebody else, nothing that is there is trusted: all sets come anew.
"""

import hashlib
import json
import os
import re
import shutil
import subprocess
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass

from culvert.dataplane.userspace import marks, nft_counters

SEARCH_PATH = os.pathsep.join((os.environ.get("PATH", os.defpath), "/usr/local/sbin", "/usr/sbin", "/sbin"))
TIMEOUT_SECONDS = 60
CHARACTERS_EACH_SECOND = 1 << 16
"""How fast nft and the kernel take a transaction at the least, on a busy machine."""
SENTENCE_LENGTH_MAX = 300
OURS = f"inet {marks.NFT_TABLE}"

Counts = Mapping[str, tuple[int, int]]
"""Counter name to (packets, octets)."""


class NftError(OSError):
    """nft is missing, or refused."""


@dataclass(frozen=True, slots=True)
class Ruleset:
    """What the table has to hold, each thing as lines of nft's language.

    Rules look into a set by `@` and its name here, which is letters and then a number. A chain's first line is its
    hook, where it has one; with another hook it has to have another name.
    """

    sets: Mapping[str, Sequence[str]]
    counters: Sequence[str]
    chains: Mapping[str, Sequence[str]]

    def named(self, salt: str) -> "Ruleset":
        """The same, with the names of sets that are used in the kernel."""
        names = {name: f"{name}-{_digest(salt, *lines)}" for name, lines in self.sets.items()}

        def rename(rule: str) -> str:
            return re.sub(r"@([a-z]+[0-9]+)", lambda found: "@" + names[found[1]], rule)

        return Ruleset(
            sets={names[name]: lines for name, lines in self.sets.items()},
            counters=self.counters,
            chains={name: [rename(rule) for rule in rules] for name, rules in self.chains.items()},
        )

    def set_lines(self, names: Iterable[str]) -> Iterator[str]:
        """These sets."""
        for name in names:
            yield from _block(f"set {name}", self.sets[name])

    def counter_lines(self, names: Iterable[str], counts: Counts) -> Iterator[str]:
        """These counters, which start at `counts`."""
        for name in names:
            packets, octets = counts.get(name, (0, 0))
            yield from _block(f"counter {name}", [f"packets {packets} bytes {octets}"])

    def chain_lines(self) -> Iterator[str]:
        """All chains with their rules."""
        for name, rules in self.chains.items():
            yield from _block(f"chain {name}", rules)


@dataclass(slots=True)
class _There:
    """The names of what the table holds."""

    salt: str
    exists: bool
    sets: set[str]
    counters: set[str]
    chains: set[str]


class Table:
    """Ours in the kernel."""

    def __init__(self, loaded: Callable[[int], object]) -> None:
        """`loaded` is told the process id that the kernel reports a transaction under."""
        self._loaded = loaded
        self._there: _There | None = None

    def distrust(self) -> None:
        """Another program has changed something: look again, and renew everything."""
        self._there = None

    def replace(self, ruleset: Ruleset, counts: Counts) -> None:
        """Have the table hold this. Counters that aren't there start at `counts`. On NftError the rules are the old."""
        there, self._there = self._there or _look(), None
        named = ruleset.named(there.salt)
        added = [name for name in named.sets if name not in there.sets]
        if added:
            self._load(_block(f"table {OURS}", [*named.set_lines(added)]))
        try:
            self._load(_rules(named, there, counts))
        except NftError:
            with suppress(NftError):
                self._load(_deleted("set", added))
            raise
        stale = [*_deleted("set", there.sets - named.sets.keys())]
        stale += _deleted("counter", there.counters - set(ruleset.counters))
        if stale:
            self._load(stale)
        names = set(named.sets), set(ruleset.counters), set(ruleset.chains)
        self._there = _There(there.salt, True, *names)

    def _load(self, lines: Iterable[str]) -> None:
        self._loaded(load("\n".join([*lines, ""])))


def _rules(named: Ruleset, there: _There, counts: Counts) -> Iterator[str]:
    if there.exists:
        yield f"flush table {OURS}"
        yield from _deleted("chain", there.chains - named.chains.keys())
    added = [name for name in named.counters if name not in there.counters]
    yield from _block(f"table {OURS}", [*named.counter_lines(added, counts), *named.chain_lines()])


def _deleted(kind: str, names: Iterable[str]) -> Iterator[str]:
    for name in sorted(names):
        yield f"delete {kind} {OURS} {name}"


def _block(head: str, lines: Iterable[str]) -> Iterator[str]:
    yield f"{head} {{"
    yield from lines
    yield "}"


def _digest(*words: str) -> str:
    return hashlib.sha256("\n".join(words).encode()).hexdigest()[:12]


def _look() -> _There:
    """What is there, and a salt with which no set gets a name that is there."""
    try:
        output = _run("-j", "-t", "list", "table", "inet", marks.NFT_TABLE)[1]
    except NftError:
        return _There("", False, set(), set(), set())
    things = json.loads(output)["nftables"]
    sets, counters, chains = (
        {each[kind]["name"] for each in things if kind in each} for kind in ("set", "counter", "chain")
    )
    return _There(_digest(*sorted(sets)), True, sets, counters, chains)


def load(text: str) -> int:
    """Commit a whole transaction, or nothing of it. Returns the process id that the kernel reports it under."""
    return _run("-f", "-", text=text)[0]


def counters() -> dict[str, tuple[int, int]] | None:
    """Our named counters (packets, octets); None if the table isn't there, which always has some."""
    try:
        return nft_counters.read() or None
    except OSError:
        return None


def reset_counters() -> None:
    """Zero our named counters."""
    _run("reset", "counters", "table", "inet", marks.NFT_TABLE)


def reset_some(counts: Mapping[str, tuple[int, int]], names: Iterable[str]) -> dict[str, tuple[int, int]]:
    """Zero those of our named counters; `counts`, what was read of all last, without them."""
    chosen = frozenset(names)
    if chosen:
        load("".join(f"reset counter {OURS} {name}\n" for name in sorted(chosen)))
    return {name: count for name, count in counts.items() if name not in chosen}


def delete() -> None:
    """Remove our table, if it is there."""
    load(f"table {OURS} {{\n}}\ndelete table {OURS}\n")


def _run(*arguments: str, text: str | None = None) -> tuple[int, str]:
    program = shutil.which("nft", path=SEARCH_PATH)
    if program is None:
        raise NftError("the program nft is missing: install the nftables package")
    seconds = TIMEOUT_SECONDS + len(text or "") / CHARACTERS_EACH_SECOND
    with subprocess.Popen(
        [program, *arguments],
        stdin=subprocess.DEVNULL if text is None else subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            output, complaint = process.communicate(text, timeout=seconds)
        except subprocess.TimeoutExpired as error:
            process.kill()
            raise NftError(f"nft did not finish within {seconds:.0f} seconds") from error
    if process.returncode:
        raise NftError(f"nft refused: {' '.join(complaint.split())[:SENTENCE_LENGTH_MAX]}")
    return process.pid, output

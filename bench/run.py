"""`make bench`: plain forwarding, Culvert and its peers between the same two sites, in interleaved rounds.

Every round has every contestant once, each on a fresh stage, proven before it is timed. The order is turned by one from
round to round, so that no contestant always follows the same one.
"""

import argparse
import contextlib
import fcntl
import os
import shutil
import signal
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

from bench import machine, measures, page, plot, proof, results
from bench.contestants import CONTESTANTS
from bench.contestants.contestant import Contestant, Unavailable
from bench.results import BASE, Results, Row
from bench.stage import Links, Stage
from culvert.lab.errors import LabError
from culvert.lab.lab import Lab
from culvert.lab.screen import Screen

ROOT = Path(__file__).resolve().parents[1]
SAVED = ROOT / ".build" / "bench" / "results.json"
PAGE, PLOT = ROOT / "docs" / "performance.md", ROOT / "docs" / "performance.svg"
SHORT = ("culvert-udp", "culvert-raw", "culvert-udp-cbc", "culvert-raw-cbc", "culvert-python")


@dataclass(frozen=True, slots=True)
class Entry:
    """One performance of each round."""

    contestant: Contestant
    links: Links

    @property
    def name(self) -> str:
        return self.contestant.name + ("" if self.links is Links.WHOLE else f"@{self.links}")

    def lacks(self) -> str:
        if self.links is not Links.WHOLE and shutil.which("ethtool") is None:
            return "ethtool is not installed"
        return self.contestant.lacks()


class Bench:
    """One run, on stages of one lab."""

    def __init__(self, lab: Lab, screen: Screen, entries: list[Entry], found: Results) -> None:
        self._lab, self._screen, self._found = lab, screen, found
        self._entries = [entry for entry in entries if self._enlist(entry)]

    def _enlist(self, entry: Entry) -> bool:
        contestant = entry.contestant
        row = Row(contestant.name, contestant.title, entry.links, absent=entry.lacks())
        self._found.rows.append(row)
        if row.absent:
            self._screen.check(False, entry.name, row.absent)
            return False
        row.version = contestant.version()
        return True

    def run(self) -> None:
        for number in range(self._found.rounds):
            noise = machine.noise()
            self._found.noise.append(noise)
            self._screen.title(f"Round {number + 1} of {self._found.rounds}")
            self._screen.write(f"  load {noise['load']:.2f}, others use {noise['others']:.0%} of the processor")
            turned = number % len(self._entries)
            for entry in self._entries[turned:] + self._entries[:turned]:
                self._perform(entry, number)

    def _perform(self, entry: Entry, number: int) -> None:
        row = self._found.row(entry.contestant.name, entry.links)
        assert row is not None
        if row.absent:
            return
        stage = Stage(self._lab)
        try:
            self._measure(entry, stage, row, number)
        except Unavailable as reason:
            row.absent = str(reason)
            self._screen.check(False, entry.name, row.absent)
        except (LabError, OSError, ValueError, KeyError) as failure:
            row.failures.append(f"round {number + 1}: {_shortened(failure)}")
            self._screen.check(False, entry.name, _shortened(failure))
        finally:
            stage.down()

    def _measure(self, entry: Entry, stage: Stage, row: Row, number: int) -> None:
        def renew() -> None:
            stage.down()
            stage.up(entry.links)
            entry.contestant.up(stage)

        renew()
        row.seen = proof.prove(stage, entry.contestant.wire)
        values = row.rounds[number] = {}
        measures.take(stage, self._found.seconds, values, renew)
        self._screen.check(True, f"{entry.name:28}", page.one_line(values))


def _shortened(failure: Exception) -> str:
    """What failed, and the last line of what a program said about it."""
    lines = str(failure).splitlines() or [type(failure).__name__]
    return lines[0] if len(lines) == 1 else f"{lines[0]}: {lines[-1].strip()}"


def chosen(names: list[str]) -> list[Entry]:
    """The performances that --only leaves; plain forwarding is always among them."""
    entries = [Entry(contestant, links) for contestant in CONTESTANTS for links in contestant.links]
    if not names:
        return entries
    picked = [entry for entry in entries if any(Path(entry.name).match(name) for name in names)]
    if not picked:
        sys.exit(f"no contestant is called so; there are: {', '.join(entry.name for entry in entries)}")
    wanted = {BASE, *(entry.name for entry in picked)}
    wanted |= {f"{BASE}@{entry.links}" for entry in picked if entry.links is not Links.WHOLE}
    return [entry for entry in entries if entry.name in wanted]


@contextlib.contextmanager
def alone(lab: Lab) -> Iterator[None]:
    """Two benchmarks at the same time would measure each other. Whatever happens, the stage is taken down."""
    with Path(f"/run/{lab.prefix}.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            sys.exit("another benchmark runs on this machine")
        signal.signal(signal.SIGTERM, _leave)
        try:
            yield
        finally:
            lab.down()


def _leave(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def check_quiet(screen: Screen, *, must_be: bool) -> None:
    """Say when others use the machine; figures for the documentation are not taken then."""
    noise = machine.noise()
    if noise["others"] < machine.BUSY_SHARE:
        return
    busy = f"others use {noise['others']:.0%} of the processor (load {noise['load']:.2f})"
    if must_be:
        sys.exit(f"{busy}: no time for figures that are to be written down; --although-busy takes them all the same")
    screen.write(f"  {screen.paint('yellow', busy)}: the figures will be noise")


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=3.0, help="for each measurement")
    parser.add_argument("--only", action="append", default=[], metavar="NAME", help="or NAME* for several; see --list")
    parser.add_argument("--list", action="store_true", help="who performs, and who can't and why")
    parser.add_argument("--short", action="store_true", help="one round of a second, plain forwarding and Culvert only")
    parser.add_argument("--write-docs", action="store_true", help="write docs/performance.md and .svg")
    parser.add_argument("--again", action="store_true", help="measure nothing: lay out the last run's figures again")
    parser.add_argument("--although-busy", action="store_true", help="write the page on a busy machine too")
    parser.add_argument("--prefix", default="culvert-bench", help="what the namespaces' names begin with")
    return parser.parse_args()


def list_all(screen: Screen) -> None:
    for entry in chosen([]):
        lacking = entry.lacks()
        screen.check(not lacking, f"{entry.name:28}", lacking or entry.contestant.title)


def measure(options: argparse.Namespace, screen: Screen) -> Results:
    """Run it all. What was found until then is saved after an interruption too."""
    if options.short:
        options.rounds, options.seconds = 1, 1.0
        options.only = options.only or list(SHORT)
    check_quiet(screen, must_be=options.write_docs and not options.although_busy)
    found = Results(machine.described(), options.rounds, options.seconds)
    found.notes += [note for note in (measures.lacks_tcp(),) if note]
    lab, started = Lab(options.prefix), time.monotonic()
    with alone(lab):
        lab.down()
        try:
            Bench(lab, screen, chosen(options.only), found).run()
        finally:
            found.machine["minutes"] = f"{(time.monotonic() - started) / 60:.0f}"
            found.save(SAVED)
    return found


def main() -> int:
    options, screen = parse_arguments(), Screen()
    if options.list:
        list_all(screen)
        return 0
    if not options.again and os.geteuid() != 0:
        sys.exit("the benchmark makes network namespaces: run it as root (or with sudo)")
    try:
        found = results.load(SAVED) if options.again else measure(options, screen)
    except KeyboardInterrupt:
        screen.write("\n  interrupted; everything was taken down")
        return 130
    screen.write()
    screen.write(page.summary(found))
    if options.write_docs:
        PAGE.write_text(page.written(found, PAGE))
        PLOT.write_text(plot.drawn(found))
        screen.write(f"  wrote {PAGE.relative_to(ROOT)} and {PLOT.relative_to(ROOT)}")
    return int(any(row.failures for row in found.rows))


if __name__ == "__main__":
    sys.exit(main())

"""`make fuzz`: every target under the fuzzer, some at a time, and in the last line how many came through.

What a run learns stays in .build/fuzz/, so that the next one begins there; what is worth keeping goes into the corpus
that is committed with `--keep`. A finding is an input file in .build/fuzz/findings/.
"""

import argparse
import hashlib
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

from culvert.model.registry import KINDS
from culvert.model.shows import FILTER_WORDS
from culvert.racoonctl.main import PROTOCOLS, SHORT
from culvert.tmsh.command import VERBS
from culvert.tmsh.files import LOAD_OPTIONS, SAVE_OPTIONS
from culvert.tmsh.format import LAYOUTS
from culvert.tmsh.listing import OPTIONS
from tests.fuzz.keep import worth_keeping
from tests.fuzz.targets import TARGETS, Target
from tests.fuzz.typed import KEY

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
CORPUS = HERE / "corpus"
LEARNT = ROOT / ".build" / "fuzz"
FINDINGS = LEARNT / "findings"
SHORT_SECONDS = 5
KEPT_MAX = 80
INPUT_SECONDS_MAX = 20
MEMORY_MEGABYTES_MAX = 1024


class Outcome(NamedTuple):
    name: str
    executions: int
    seconds: float
    corpus: int
    output: str
    passed: bool

    def __str__(self) -> str:
        rate = self.executions / max(self.seconds, 0.001)
        verdict = "ok" if self.passed else "FAILED"
        return f"  {self.name:<12}{self.executions:>12,} executions {rate:>9,.0f}/s {self.corpus:>6} inputs  {verdict}"


def words_file() -> Path:
    """The words of the configuration, for the fuzzer of texts to play with."""
    path = LEARNT / "words.dict"
    path.parent.mkdir(parents=True, exist_ok=True)
    words = {word for kind_path in KINDS for word in kind_path}
    words |= {word for kind in KINDS.values() for own in kind.fields for word in own.input_words}
    words |= {"/Common/", "{ ", " }", "0x", "10.0.0.0/8", "::/0", "apply", "slots", "kind", "content", "null"}
    words |= {*VERBS, *LAYOUTS, *SAVE_OPTIONS, *LOAD_OPTIONS, *OPTIONS, *FILTER_WORDS}
    words |= {*PROTOCOLS, *SHORT, *SHORT.values()}
    words |= {"cli transaction", "validate-only", "to-folder", "add { ", "replace-all-with { ", "all", "@^", "*"}
    words |= {"recursive", f"{KEY} ", "--from ", "--to ", "--in ", "--protocol ", "--port ", "--size ", "-ll ", "inet "}
    path.write_text("".join(f'"{word}"\n' for word in sorted(words)))
    return path


def run(name: str, target: Target, limits: list[str]) -> Outcome:
    """One target, in a process of its own."""
    learnt = LEARNT / name
    for directory in (learnt, FINDINGS, CORPUS / name):
        directory.mkdir(parents=True, exist_ok=True)
    arguments = [
        *limits, "-print_final_stats=1", f"-timeout={INPUT_SECONDS_MAX}", f"-rss_limit_mb={MEMORY_MEGABYTES_MAX}",
        f"-artifact_prefix={FINDINGS}/{name}-", *([f"-dict={words_file()}"] if target.words else []),
        str(learnt), str(CORPUS / name),
    ]  # fmt: skip
    started = time.monotonic()
    done = engine(name, arguments)
    output = done.stderr + done.stdout
    executed = re.search(r"number_of_executed_units: (\d+)", output)
    corpus = re.findall(r"corp: (\d+)", output)
    return Outcome(
        name,
        int(executed.group(1)) if executed else 0,
        time.monotonic() - started,
        int(corpus[-1]) if corpus else 0,
        output,
        done.returncode == 0 and executed is not None,
    )


def engine(name: str, arguments: list[str]) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "tests.fuzz.engine", name, *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
    )


def keep(name: str) -> None:
    """Take what was learnt into the committed corpus, and leave out what became superfluous."""
    files = [path for directory in (CORPUS / name, LEARNT / name) for path in directory.iterdir()]
    kept = worth_keeping(TARGETS[name].judge, [path.read_bytes() for path in files], KEPT_MAX)
    for old in (CORPUS / name).iterdir():
        old.unlink()
    for octets in kept:
        (CORPUS / name / hashlib.sha256(octets).hexdigest()[:12]).write_bytes(octets)


def limits_of(options: argparse.Namespace) -> list[str]:
    seconds = options.seconds or (SHORT_SECONDS if options.short or not options.runs else 0)
    return [f"-max_total_time={seconds}"] * bool(seconds) + [f"-runs={options.runs}"] * bool(options.runs)


def outcomes(names: list[str], options: argparse.Namespace) -> Iterator[Outcome]:
    with ThreadPoolExecutor(options.jobs) as pool:
        yield from pool.map(lambda name: run(name, TARGETS[name], limits_of(options)), names)


def main() -> int:
    parser = argparse.ArgumentParser(prog="make fuzz ARGS=...", description="hostile octets at every parser")
    parser.add_argument("--target", action="append", choices=TARGETS, help="only this one; may be given again")
    parser.add_argument("--runs", type=int, default=0, help="executions of each target")
    parser.add_argument("--seconds", type=int, default=0, help="of each target")
    parser.add_argument("--short", action="store_true", help=f"{SHORT_SECONDS} seconds of each target, for CI")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="targets at a time")
    parser.add_argument("--keep", action="store_true", help="afterwards, take what is new into the committed corpus")
    options = parser.parse_args()
    names = options.target or list(TARGETS)
    failed = 0
    for outcome in outcomes(names, options):
        print(outcome, flush=True)
        if not outcome.passed:
            failed += 1
            print("\n".join(outcome.output.splitlines()[-40:]), flush=True)
    if options.keep:
        for name in names:
            keep(name)
    print(f"{len(names) - failed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())

"""`make mutants`: every small mistake in turn, and whether a test notices it.

Each mutant lives in a child of its own, which loads the changed module in place of the real one and runs the tests
until the first failure. One that survives has to be explained in docs/mutation.md, or is a finding.
"""

import argparse
import importlib.abc
import importlib.util
import os
import re
import resource
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from types import CodeType, ModuleType
from typing import NamedTuple

import hypothesis
import pytest

from tests.mutation.mutants import Mutant, mutants

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "mutation.md"
SECONDS_MAX = 300
OCTETS_MAX = 2 << 30
"""Of memory: a shift in the wrong direction asks for more."""
OWN = "tests/mutation/test_survivors.py"
MODULES = {
    "replay": (OWN, "tests/ipsec/test_replay.py"),
    "selector": (OWN, "tests/ipsec/test_selector.py", "tests/ipsec/test_spd.py"),
    "esp": (OWN, "tests/ipsec/test_esp.py", "tests/ipsec/test_vectors.py", "tests/ipsec/test_hygiene.py"),
}


class _Changed(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Finds one module, and gives other code for it."""

    def __init__(self, name: str, code: CodeType) -> None:
        self._name, self._code = name, code

    def find_spec(self, fullname: str, *_: object) -> "importlib.machinery.ModuleSpec | None":
        return importlib.util.spec_from_loader(fullname, self) if fullname == self._name else None

    def exec_module(self, module: ModuleType) -> None:
        exec(self._code, module.__dict__)


def judge(module: str, mutant: Mutant | None, tests: tuple[str, ...]) -> None:
    """In a child: ends 0 if no test noticed."""
    sink = os.open(os.devnull, os.O_WRONLY)
    for descriptor in (1, 2):
        os.dup2(sink, descriptor)
    resource.setrlimit(resource.RLIMIT_AS, (OCTETS_MAX, OCTETS_MAX))
    assert not any(name.startswith("culvert") for name in sys.modules), "too late to change it"
    if mutant is not None:
        name = f"culvert.ipsec.{module}"
        sys.meta_path.insert(0, _Changed(name, compile(mutant.tree, f"<mutant of {name}>", "exec")))
    # The same examples every time, and none made smaller: it is enough that one fails.
    hypothesis.settings.register_profile(
        "mutants",
        database=None,
        derandomize=True,
        deadline=None,
        phases=(hypothesis.Phase.explicit, hypothesis.Phase.generate),
    )
    hypothesis.settings.load_profile("mutants")
    # Tests by examples of chance cost most, and are only asked about what the others don't see.
    for chosen in ("not hypothesis", "hypothesis"):
        status = pytest.main(["-x", "-q", "-p", "no:cacheprovider", "-W", "ignore", "-m", chosen, *tests])
        if status not in (pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED):
            os._exit(1)
    os._exit(0)


def survives(module: str, mutant: Mutant | None) -> bool:
    child = get_context("fork").Process(target=judge, args=(module, mutant, MODULES[module]))
    child.start()
    child.join(SECONDS_MAX)
    if child.is_alive():
        # It went round in circles, which is noticed too.
        child.kill()
        child.join()
    return child.exitcode == 0


class Result(NamedTuple):
    module: str
    mutant: Mutant
    survived: bool

    @property
    def name(self) -> str:
        return f"{self.module} {self.mutant.where}: {self.mutant.now}"


def explained() -> set[str]:
    """The mutants that the page speaks of, each in the first code of a list item."""
    return set(re.findall(r"^\* `([^`]+)`", PAGE.read_text(), re.MULTILINE)) if PAGE.exists() else set()


def results(module: str, jobs: int) -> list[Result]:
    if not survives(module, None):
        raise SystemExit(f"the tests of {module} fail without any mutant: {' '.join(MODULES[module])}")
    found = list(mutants((ROOT / "src" / "culvert" / "ipsec" / f"{module}.py").read_text()))
    with ThreadPoolExecutor(jobs) as pool:
        return [
            Result(module, mutant, survived)
            for mutant, survived in zip(found, pool.map(lambda each: survives(module, each), found), strict=True)
        ]


def main() -> int:
    parser = argparse.ArgumentParser(prog="make mutants ARGS=...", description="do the tests notice small mistakes?")
    parser.add_argument("--module", action="append", choices=MODULES, help="only this one; may be given again")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="mutants at a time")
    options = parser.parse_args()
    os.chdir(ROOT)
    known, failed, passed = explained(), 0, 0
    for module in options.module or MODULES:
        started, all_of_it = time.monotonic(), results(module, options.jobs)
        survivors = [result for result in all_of_it if result.survived]
        new = [result for result in survivors if result.name not in known]
        killed, seconds = len(all_of_it) - len(survivors), time.monotonic() - started
        print(f"  {module:<10}{len(all_of_it):>4} mutants {killed:>4} killed {len(survivors):>3} survived", end="")
        print(f", {len(survivors) - len(new)} of them explained ({seconds:.0f} s)", flush=True)
        for result in new:
            print(f"    survived: line {result.mutant.line}: {result.name}", flush=True)
        failed += len(new)
        passed += len(all_of_it) - len(new)
    print(f"{passed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())

"""What must not be written down anywhere in this repository, and what must."""

import ast
import re

import pytest

from tests.house.tree import PACKAGE, ROOT, committed, python_files, shown, syntax, text

# Put together here, so that this file does not find itself.
LATER = re.compile(r"\b(" + "|".join(("TO" + "DO", "FIX" + "ME", "XX" + "X", "HA" + "CK")) + r")\b")
WORKPLACE = re.compile(r"(?<![\w.])/(wor[k]|hom[e]|roo[t]|User[s])/")
REGISTRY = re.compile("index[-_]ur[l]|pypi[.]or[g]|pythonhoste[d]|crates[.]i[o]|npmj[s]", re.IGNORECASE)
MERGE = re.compile(r"^(<{7}|>{7}) ", re.MULTILINE)
BAD_NAMES = {"utils", "util", "helpers", "helper", "common", "manager", "base", "misc"}


def found(pattern: re.Pattern[str]) -> list[str]:
    hits = []
    for path in committed():
        content = text(path)
        for number, line in enumerate(content.splitlines() if content else (), start=1):
            if pattern.search(line):
                hits.append(f"{shown(path)}:{number}: {line.strip()[:100]}")
    return hits


@pytest.mark.parametrize(
    ("pattern", "sample"),
    [(LATER, "# TO" + "DO: x"), (WORKPLACE, "cd /hom" + "e/ann/x"), (REGISTRY, "https://pypi." + "org/simple")],
    ids=["put off", "somebody's workplace", "a registry's address"],
)
def test_nothing_of_this_is_written_anywhere(pattern: re.Pattern[str], sample: str) -> None:
    assert pattern.search(sample)
    assert not found(pattern), found(pattern)


def test_this_clones_own_place_is_written_nowhere() -> None:
    place = str(ROOT)
    assert not found(re.compile(re.escape(place) + r"(/|\b)")) or len(ROOT.parts) < 3


def test_no_merge_was_left_half_done() -> None:
    assert not found(MERGE)


def test_every_module_says_what_it_is() -> None:
    silent = [shown(path) for path in python_files() if not ast.get_docstring(syntax(path)) and path.stat().st_size]
    assert not silent, silent


def test_files_are_named_by_a_noun_of_the_matter() -> None:
    vague = [shown(path) for path in python_files(PACKAGE) if path.stem in BAD_NAMES]
    assert not vague, vague


def test_the_locks_pin_every_package() -> None:
    for path in ROOT.glob("requirements*.txt"):
        for line in path.read_text().splitlines():
            if line and not line.startswith(("#", "-r ")):
                assert re.fullmatch(r"[A-Za-z0-9_.-]+==[0-9][0-9A-Za-z.]*", line), f"{shown(path)}: {line}"


def test_the_run_lock_holds_no_test_tool() -> None:
    lock = (ROOT / "requirements.txt").read_text().lower()
    assert not any(name in lock for name in ("scapy", "pytest", "hypothesis", "mypy"))

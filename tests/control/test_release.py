"""Which Culvert this is."""

import re
import subprocess
from datetime import UTC, datetime
from pathlib import Path

import pytest

import culvert
from culvert.control.release import RELEASED, release, running
from tests.control.live import Site
from tests.house.tree import ROOT

COMMIT = "0123456789abcdef" * 2 + "01234567"


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    (tmp_path / "src" / "culvert").mkdir(parents=True)
    (tmp_path / "src" / "culvert" / "__init__.py").touch()
    (tmp_path / ".git" / "refs" / "heads").mkdir(parents=True)
    (tmp_path / ".git" / "HEAD").write_text("ref: refs/heads/main\n")
    return tmp_path


def build(clone: Path) -> str:
    return release(clone / "src" / "culvert").build


def test_the_build_is_the_commit_of_a_clone(clone: Path) -> None:
    assert build(clone) == "0.0.0"
    (clone / ".git" / "packed-refs").write_text(f"# pack-refs\n{COMMIT} refs/heads/main\n")
    assert build(clone) == COMMIT[:12]
    (clone / ".git" / "refs" / "heads" / "main").write_text(f"{COMMIT[::-1]}\n")
    assert build(clone) == COMMIT[::-1][:12]
    (clone / ".git" / "HEAD").write_text(f"{COMMIT}\n")
    assert build(clone) == COMMIT[:12]
    (clone / ".git" / "HEAD").write_text("something else\n")
    assert build(clone) == "0.0.0"


def test_git_says_the_same() -> None:
    told = subprocess.run(["git", "-C", ROOT, "rev-parse", "HEAD"], capture_output=True, text=True, check=False)
    if told.returncode == 0:
        assert told.stdout.startswith(release().build)


def test_edition_and_date(clone: Path) -> None:
    before = release(clone / "src" / "culvert", "")
    assert before.edition == "Development"
    assert datetime.strptime(before.date, "%a %b %d %H:%M:%S UTC %Y").year >= datetime.now(UTC).year - 1
    after = release(clone / "src" / "culvert", "2026-12-24")
    assert (after.edition, after.date) == ("Final", "Thu Dec 24 00:00:00 UTC 2026")


def test_the_changelog_tells_the_same_day() -> None:
    newest = re.search(r"^## (\S+), (.+)$", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert newest is not None
    assert newest[1] == culvert.__version__
    assert newest[2] == (RELEASED or "not yet released")


def test_show_sys_version_has_the_rows_of_the_vendor(tmp_path: Path) -> None:
    site = Site(tmp_path)
    lines = site.tmsh("show sys version").splitlines()
    assert lines[:4] == ["------------", "Sys::Version", "------------", "Main Package"]
    assert [line.split()[0] for line in lines[4:9]] == ["Product", "Version", "Build", "Edition", "Date"]
    assert lines[6] == f"  Build    {running().build}"
    site.close()

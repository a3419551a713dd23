"""Which Culvert this is: version, build, edition and date, as the vendor's systems tell theirs."""

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from pathlib import Path

import culvert

RELEASED = ""
"""The day of this version's release as YYYY-MM-DD; "" until then. CHANGELOG.md says the same."""
PACKAGE = Path(culvert.__file__).parent
UNBUILT = "0.0.0"
_COMMIT = re.compile(r"[0-9a-f]{40,64}")
_COMMIT_DIGITS = 12


@dataclass(frozen=True, slots=True)
class Release:
    """`build`: the commit of a clone, 0.0.0 without one. `date`: of the release; before that, of the newest code."""

    version: str
    build: str
    edition: str
    date: str


def release(package: Path = PACKAGE, released: str = RELEASED) -> Release:
    """What stands at `package`, which may be in a clone: PACKAGE is then src/culvert of it."""
    newest = datetime.fromtimestamp(max(path.stat().st_mtime for path in package.rglob("*.py")), UTC)
    day = datetime.fromisoformat(released).replace(tzinfo=UTC) if released else newest
    edition = "Final" if released else "Development"
    build = _commit(package.parents[1])[:_COMMIT_DIGITS] or UNBUILT
    return Release(culvert.__version__, build, edition, day.strftime("%a %b %d %H:%M:%S UTC %Y"))


@cache
def running() -> Release:
    """That of this process, whatever has been put in the place of its files since it began."""
    return release()


def _commit(clone: Path) -> str:
    """The commit that a clone stands at, "" where there is none.

    Read, not asked of git, which refuses to answer root about the clone of another user.
    """
    git = clone / ".git"
    # A worktree has a file in place of the directory, and shares the references of its clone.
    if git.is_file():
        git = clone / _text(git).removeprefix("gitdir: ")
    shared = git / (_text(git / "commondir") or ".")
    head = _text(git / "HEAD")
    name = head.removeprefix("ref: ")
    packed = re.search(rf"^(\S+) {re.escape(name)}$", _text(shared / "packed-refs"), re.MULTILINE)
    found = head if name == head else _text(shared / name) or (packed[1] if packed else "")
    return found if _COMMIT.fullmatch(found) else ""


def _text(path: Path) -> str:
    try:
        return path.read_text(errors="replace").strip()
    except OSError:
        return ""

"""The files of this repository, as the house tests see them."""

import ast
import subprocess
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "src" / "culvert"


@cache
def committed() -> list[Path]:
    """Every file that git knows, and those that it would take in; without git, everything that looks like ours."""
    command = ["git", "-C", str(ROOT), "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listing = subprocess.run(command, capture_output=True, check=True).stdout.decode()
    return [ROOT / name for name in listing.split("\0") if name and (ROOT / name).is_file()]


def python_files(under: Path = ROOT) -> list[Path]:
    return [path for path in committed() if path.suffix == ".py" and path.is_relative_to(under)]


@cache
def syntax(path: Path) -> ast.Module:
    return ast.parse(path.read_text(), str(path))


def text(path: Path) -> str | None:
    """The text of a file; None if it is no text."""
    try:
        return path.read_bytes().decode()
    except UnicodeDecodeError:
        return None


def shown(path: Path) -> str:
    return str(path.relative_to(ROOT))

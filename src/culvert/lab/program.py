"""Running other programs, and finding ours."""

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from culvert.lab.errors import LabError


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a program ended and what it wrote."""

    status: int
    output: str
    errors: str


def run(command: Sequence[str], *, text: str | None = None, env: Mapping[str, str] | None = None,
        timeout_seconds: float = 60) -> Outcome:
    """Run `command` to its end with `text` as its standard input; `env` is added to ours."""
    try:
        done = subprocess.run(
            command, input=text if text is not None else "", capture_output=True, text=True, errors="replace",
            env={**os.environ, **(env or {})}, timeout=timeout_seconds, check=False,
        )
    except FileNotFoundError:
        raise LabError(f"the program {command[0]} is not installed") from None
    except subprocess.TimeoutExpired:
        raise LabError(f"{' '.join(command)}: no end after {timeout_seconds:.0f} s") from None
    return Outcome(done.returncode, done.stdout, done.stderr)


def require(command: Sequence[str], *, text: str | None = None, env: Mapping[str, str] | None = None) -> str:
    """Run `command`, which must end with 0, and give what it wrote."""
    outcome = run(command, text=text, env=env)
    if outcome.status != 0:
        raise LabError(f"{' '.join(command)}: exit status {outcome.status}", outcome.errors or outcome.output)
    return outcome.output


def ours(name: str) -> str:
    """The path of one of Culvert's own programs: the one installed next to the Python that runs us comes first."""
    beside = Path(sys.executable).with_name(name)
    found = str(beside) if beside.exists() else shutil.which(name)
    if found is None:
        raise LabError(f"the program {name} is not installed", "make lab installs it")
    return found

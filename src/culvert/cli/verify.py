"""`culvert verify`: the manual's verification list as a checklist that runs."""

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from culvert.control.client import Client
from culvert.control.errors import ControlError

MARKS = {"pass": "ok  ", "warn": "warn", "fail": "FAIL"}


def run(arguments: Sequence[str]) -> int:
    """0 when nothing fails, 1 when something does or the gateway doesn't answer."""
    parser = argparse.ArgumentParser(
        prog="culvert verify",
        description="Walks the verification list on the running gateway: what is missing, what helps.",
    )
    parser.add_argument("--json", action="store_true", help="the findings as records")
    parser.add_argument("--socket", type=Path, help="the daemon's control socket (default: $CULVERT_SOCKET)")
    options = parser.parse_args(arguments)
    try:
        with Client(options.socket) as client:
            findings: Any = client.call("verify")
    except ControlError as error:
        print(error.text, file=sys.stderr)
        return 1
    print(json.dumps(findings, indent=2) if options.json else text(findings))
    return int(any(own["verdict"] == "fail" for own in findings))


def text(findings: Sequence[Mapping[str, Any]]) -> str:
    """A line for each finding, and below it what repairs it; a count at the end."""
    width = max((len(own["check"]) for own in findings), default=0)
    lines = []
    for own in findings:
        lines.append(f"{MARKS[own['verdict']]}  {own['check']:<{width}}  {own['sentence']}".rstrip())
        if own["repair"]:
            lines.append(f"      {'':<{width}}  try: {own['repair']}")
    counts = {verdict: sum(own["verdict"] == verdict for own in findings) for verdict in MARKS}
    return "\n".join([*lines, f"{counts['pass']} passed, {counts['warn']} warnings, {counts['fail']} failed"])

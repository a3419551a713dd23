"""`culvert config`: what was saved and when, how it differs from what runs, and the way back."""

import argparse
import difflib
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from culvert.control.client import Client
from culvert.control.errors import ControlError


def run(arguments: Sequence[str]) -> int:
    """0 when it worked (for diff: when there is none), 1 when not."""
    options = _options(arguments)
    try:
        with Client(options.socket) as client:
            return int(options.act(client, options))
    except ControlError as error:
        print(error.text, file=sys.stderr)
        return 1


def _options(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="culvert config", description="Saved configurations of the running gateway.")
    parser.add_argument("--socket", type=Path, help="the daemon's control socket (default: $CULVERT_SOCKET)")
    words = parser.add_subparsers(required=True, metavar="COMMAND")
    history = words.add_parser("history", help="the generations that were saved, newest first")
    history.set_defaults(act=_history)
    difference = words.add_parser("diff", help="what runs against what was saved")
    difference.add_argument("old", nargs="?", type=int, help="a generation (default: what was saved)")
    difference.add_argument("new", nargs="?", type=int, help="another one (default: what runs)")
    difference.set_defaults(act=_diff)
    rollback = words.add_parser("rollback", help="run an earlier generation; what runs now is kept as one")
    rollback.add_argument("generation", type=int)
    rollback.add_argument("--save", action="store_true", help="and save it")
    rollback.set_defaults(act=_rollback)
    return parser.parse_args(arguments)


def _history(client: Client, options: argparse.Namespace) -> int:
    generations: Any = client.call("generations")
    for own in reversed(generations):
        when = datetime.fromtimestamp(own["saved_at"], UTC).strftime("%Y-%m-%d %H:%M:%S")
        print(f"{own['number']:>6}  {when}  {own['who']:<16}  {own['octets']:>9} bytes  {own['sha256'][:12]}")
    return 0


def _diff(client: Client, options: argparse.Namespace) -> int:
    old, new = options.old, options.new
    before: Any = client.call("text", generation=old) if old else client.call("text", saved=True)
    after: Any = client.call("text", generation=new) if new else client.call("text")
    lines = list(
        difflib.unified_diff(
            before.splitlines(),
            after.splitlines(),
            f"generation {old}" if old else "saved",
            f"generation {new}" if new else "running",
            lineterm="",
        )
    )
    print("\n".join(lines) or "no difference")
    return int(bool(lines))


def _rollback(client: Client, options: argparse.Namespace) -> int:
    content: Any = client.call("text", generation=options.generation)
    answer: Any = client.call("load", text=content, merge=False, verify=False)
    for warning in answer["warnings"]:
        print(f"Warning: {warning}", file=sys.stderr)
    kept = f"; what ran before is generation {answer['backup']}" if answer["backup"] else ""
    print(f"generation {options.generation} runs now{kept}")
    if options.save:
        client.call("save")
        print("and is saved")
    return 0

"""`culvert audit verify`: whether a line of the audit log was changed, taken out or put in. Needs no daemon."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from culvert.config import chain


def run(arguments: Sequence[str]) -> int:
    """0 when the log is whole, 1 when it is not or can't be read."""
    options = _options(arguments)
    try:
        found = chain.examine(options.state / "log", options.state / chain.NEWEST)
    except OSError as error:
        print(f"culvert audit: {error.filename}: {error.strerror}", file=sys.stderr)
        return 1
    if found.fault:
        print(f"culvert audit: {found.fault}")
        return 1
    if not found.head.number:
        print("the audit log is empty")
        return 0
    older = f"; those before {found.first} were in files that are not kept any more" if found.first > 1 else ""
    if found.counted < found.head.number:
        print(f"those behind {found.counted} are not counted yet: just written, or left by a culvertd that was killed")
    print(f"lines {found.first} to {found.head.number} are whole{older}\nthe last one has the hash {found.head.hash}")
    return 0


def _options(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="culvert audit", description=__doc__)
    commands = parser.add_subparsers(metavar="verify", required=True)
    verify = commands.add_parser("verify", help="read the whole log and say the first line that is wrong")
    verify.add_argument(
        "--state", type=Path, default=Path("/var/lib/culvert"), help="the daemon's state directory (%(default)s)"
    )
    return parser.parse_args(arguments)

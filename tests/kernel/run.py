"""`make test-kernel`: the rows in a virtual machine whose Linux kernel is the peer, and the page about them."""

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path

from tests.kernel import page
from tests.kernel.guest import chosen

ROOT = Path(__file__).resolve().parents[2]
SHARED = ROOT / ".build" / "kernel-vm" / "shared"
PAGE = ROOT / "docs" / "kernel-interop.md"
SECONDS, SHORT_SECONDS = 5400, 1800
"""Until it is given up. A machine with other things to do emulates another one slowly."""


def main() -> int:
    arguments = _arguments()
    results = SHARED / "results.json"
    results.unlink(missing_ok=True)
    seconds = SHORT_SECONDS if arguments.short else SECONDS
    command = [ROOT / "tools" / "kernel-vm", "--timeout", str(seconds), ".venv/bin/python", "-m", "tests.kernel.guest"]
    options = ["--short"] * arguments.short + [f"--row={name}" for name in arguments.row]
    status = subprocess.run([*command, *options], check=False).returncode
    found = json.loads(results.read_text()) if results.exists() else []
    wanted = len(chosen(short=arguments.short, names=arguments.row))
    failed = sum(bool(result["complaint"]) for result in found)
    if len(found) < wanted:
        print(f"the virtual machine ended early: {wanted - len(found)} of {wanted} rows were not tried")
    elif arguments.write_docs:
        PAGE.write_text(page.written(found, *(SHARED / "release").read_text().splitlines()))
        print(f"wrote {PAGE.relative_to(ROOT)}")
    print(f"{len(found) - failed} passed, {failed} failed")
    return status or failed > 0 or len(found) < wanted


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make test-kernel", description=__doc__)
    parser.add_argument("--short", action="store_true", default=bool(os.environ.get("KERNEL_SHORT")))
    parser.add_argument(
        "--row", action="append", default=[], metavar="NAME", help="only this one, or NAME* for several"
    )
    parser.add_argument("--write-docs", action="store_true", help=f"write {PAGE.relative_to(ROOT)}")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())

"""Inside the virtual machine: every row in turn, a line for each as it goes, and all of them as JSON at the end."""

import argparse
import json
import os
import platform
import sys
import tempfile
import time
import traceback
from dataclasses import asdict
from pathlib import Path

from tests.kernel import traffic
from tests.kernel.faults import CHECKS, Notice
from tests.kernel.ground import Ground
from tests.kernel.rows import ROWS, SHORT, Row
from tests.kernel.wire import Frame, Wire, foreign

SETTLE_SECONDS = 0.2
COMPRESSIBLE = 1200
SHOWN_FRAMES = 12
SHARED = Path(os.environ.get("KERNEL_SHARED", "."))
"""What the host sees of what is written here."""


def chosen(*, short: bool, names: list[str]) -> list[Row]:
    """In the order of ROWS. A name may end in `*`."""
    rows = [row for row in ROWS if row in SHORT] if short else list(ROWS)
    if not names:
        return rows
    found = [row for row in rows if any(_fits(row.name, name) for name in names)]
    if not found:
        raise SystemExit(f"no row is called {' or '.join(names)}")
    return found


def _fits(name: str, wanted: str) -> bool:
    return name.startswith(wanted.removesuffix("*")) if wanted.endswith("*") else name == wanted


def intact(ground: Ground, wire: Wire, row: Row) -> None:
    """Everything arrives, only protected packets are on the wire, and neither side complains."""
    notice = Notice(ground)
    wire.frames()
    if row.ipcomp:
        # First, because Culvert rests for a while after what can't be compressed.
        _check_compression(ground, wire, row)
    traffic.pings(ground, row)
    traffic.datagrams(ground, row)
    traffic.stream(ground, row)
    frames = wire.frames(SETTLE_SECONDS)
    _check_wire(row, frames)
    notice.expect({}, {})


def _check_wire(row: Row, frames: list[Frame]) -> None:
    assert not (odd := foreign(row, frames)), f"{len(odd)} packets on the wire are no {row.protocol}: {odd[0]}"
    for by_kernel in (False, True):
        count = sum(frame.by_kernel is by_kernel for frame in frames)
        assert count > len(traffic.DATAGRAM_SIZES), f"only {count} packets on the wire"


def _check_compression(ground: Ground, wire: Wire, row: Row) -> None:
    traffic.datagrams(ground, row, sizes=(COMPRESSIBLE, COMPRESSIBLE, COMPRESSIBLE))
    frames = wire.frames(SETTLE_SECONDS)
    for by_kernel in (False, True):
        sizes = sorted(len(frame.packet) for frame in frames if frame.by_kernel is by_kernel)
        assert len(sizes) == 3, f"{sizes} on the wire for three datagrams"
        who = "the kernel" if by_kernel else "Culvert"
        assert sizes[0] < COMPRESSIBLE / 2 < COMPRESSIBLE < sizes[-1], f"{who} compressed to {sizes}"


def tried(ground: Ground, wire: Wire, row: Row) -> str:
    """The reason why it failed, or nothing."""
    try:
        ground.turn(row)
        (CHECKS[row.fault] if row.fault else intact)(ground, wire, row)
    except AssertionError as error:
        return f"{error}\n    {_blame(ground, wire)}"
    except Exception:
        return f"{traceback.format_exc()}    {_blame(ground, wire)}"
    return ""


def _blame(ground: Ground, wire: Wire) -> str:
    """What may explain it: counts of both sides since the start, and the last packets on the wire."""
    last = wire.frames()[-SHOWN_FRAMES:]
    shown = [f"{'<' if each.by_kernel else '>'} {each.protocol} {len(each.packet)}" for each in last]
    return f"{ground.blame()} wire: {', '.join(shown)}"


def main() -> int:
    arguments = _arguments()
    rows = chosen(short=arguments.short, names=arguments.row)
    say(f"setting up; {len(rows)} rows")
    results = []
    with tempfile.TemporaryDirectory() as state:
        ground = Ground(Path(state))
        engine = ground.ours.do("plane.features.engine")
        say(f"Culvert's engine: {engine}; the kernel: Linux {platform.release()}")
        (SHARED / "release").write_text(f"{platform.release()}\n{engine}\n")
        wire = Wire(ground.ours, ground.kernel)
        for place, row in enumerate(rows, start=1):
            started = time.monotonic()
            complaint = tried(ground, wire, row)
            seconds = time.monotonic() - started
            say(f"{place:3}/{len(rows)} {'FAILED' if complaint else 'ok':6} {seconds:5.1f} s  {row.name}")
            if complaint:
                say(f"    {complaint}")
            results.append({"name": row.name, "complaint": complaint, "seconds": seconds, "row": asdict(row)})
            (SHARED / "results.json").write_text(json.dumps(results))
        wire.close()
        ground.delete()
    return any(result["complaint"] for result in results)


def say(text: str) -> None:
    print(text, flush=True)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--short", action="store_true")
    parser.add_argument("--row", action="append", default=[])
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())

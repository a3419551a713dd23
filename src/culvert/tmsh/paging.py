"""A pager, fed while it shows: the first page is there before the last is known."""

import contextlib
import signal
import subprocess
from collections.abc import Iterable, Sequence


def show(pager: Sequence[str], pieces: Iterable[str]) -> None:
    """Until the user leaves it. Ctrl-C, and leaving early, end the feeding and not the pager; neither is an error."""
    process = subprocess.Popen(pager, stdin=subprocess.PIPE)
    assert process.stdin is not None
    try:
        with contextlib.suppress(BrokenPipeError, KeyboardInterrupt):
            for piece in pieces:
                process.stdin.write(piece.encode(errors="backslashreplace") + b"\n")
                process.stdin.flush()
    finally:
        # Ctrl-C at its prompt is the pager's; without a pager that has put it back, the terminal would echo nothing.
        before = signal.signal(signal.SIGINT, signal.SIG_IGN)
        try:
            with contextlib.suppress(BrokenPipeError):
                process.stdin.close()
            process.wait()
        finally:
            signal.signal(signal.SIGINT, before)

"""A doubt that outlives a restart: whether the counter journal is of an earlier state of this machine.

Who sets a virtual machine back to a snapshot sets its disk back too, so nothing on it can tell; only a clock that is
behind the journal gives it away, and only once, for the journal is then written anew with the time of now. So the doubt
is a file of its own, until somebody who knows settles it.
"""

import contextlib
import os
from pathlib import Path


class Doubt:
    """`sentence`: why, or "" where there is no doubt."""

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            self.sentence = path.read_text(errors="replace").strip() or "it was in doubt before"
        except FileNotFoundError:
            self.sentence = ""

    def begin(self, sentence: str) -> None:
        """On a full disk it lasts as long as this process."""
        self.sentence = sentence
        with contextlib.suppress(OSError):
            self._path.write_text(f"{sentence}\n")
            self._sync()

    def settle(self) -> None:
        """OSError where it would come back."""
        self._path.unlink(missing_ok=True)
        self._sync()
        self.sentence = ""

    def _sync(self) -> None:
        for path in (self._path, self._path.parent):
            if path.exists():
                fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
                try:
                    os.fsync(fd)
                finally:
                    os.close(fd)

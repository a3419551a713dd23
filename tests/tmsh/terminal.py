"""A tmsh on a terminal of its own: a pty."""

import os
import pty
import re
import select
import signal
import sys
import time
from pathlib import Path

PROMPT = r"\(tmos[a-z.-]*\)# $"
SECONDS = 20.0


class Terminal:
    """A tmsh, and what it has written since the last look."""

    def __init__(self, socket: Path, home: Path) -> None:
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            environment = {
                "CULVERT_SOCKET": str(socket),
                "HOME": str(home),
                "TERM": "vt100",
                "PATH": os.environ["PATH"],
            }
            # A test run in the background ignores interrupts, and so would all that it starts.
            signal.signal(signal.SIGINT, signal.SIG_DFL)
            os.execve(sys.executable, [sys.executable, "-m", "culvert.tmsh"], environment)
        self.all = ""

    def until(self, pattern: str) -> str:
        """What comes until `pattern` stands at its end."""
        seen, deadline = "", time.monotonic() + SECONDS
        while not re.search(pattern, seen):
            assert time.monotonic() < deadline, f"no {pattern!r} in {seen!r}"
            if select.select([self.fd], [], [], 0.1)[0]:
                try:
                    seen += os.read(self.fd, 65536).decode()
                except OSError:
                    break
        self.all += seen
        return seen.replace("\r", "")

    def type(self, text: str, pattern: str = PROMPT) -> str:
        os.write(self.fd, text.encode())
        return self.until(pattern)

    def close(self) -> None:
        os.close(self.fd)
        os.waitpid(self.pid, 0)

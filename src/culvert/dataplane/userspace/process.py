"""The packet process seen from its parent: started, spoken to, missed and ended."""

import contextlib
import os
import select
import signal
import socket
import subprocess
import time
from collections.abc import Mapping

from culvert.dataplane.userspace import wire
from culvert.dataplane.userspace.program import IN_PYTHON, Program

REPLY_SECONDS = 20.0
OCTETS_EACH_SECOND = 1 << 20
"""How fast it reads and obeys at the least, on a busy machine."""
END_SECONDS = 2.0
LARGE_PAGES = {"GLIBC_TUNABLES": "glibc.malloc.hugetlb=1"}
"""With 100,000 SAs a packet's is mostly in no cache, and with pages of 4 KiB the page tables aren't either."""
BACKOFF_SECONDS = (0.0, 0.0, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 15.0)
STEADY_SECONDS = 30.0
"""A process that lived so long has earned an instant restart."""


class ProcessDown(Exception):
    """The packet process ended, or doesn't answer."""


class PacketProcess:
    """One run of `culvert-tmm`, as its parent sees it; it goes on without one, until it is told to end."""

    def __init__(self, control: socket.socket, pid: int) -> None:
        self._control = control
        self._control.settimeout(REPLY_SECONDS)
        self._pending = b""
        self._child: subprocess.Popen[bytes] | None = None
        self.pid = pid
        self.pidfd = os.pidfd_open(pid)

    @classmethod
    def start(cls, fds: Mapping[str, int], program: Program = IN_PYTHON, version: str = "") -> "PacketProcess":
        """`fds`: the descriptors that it inherits, by the names that it knows them by. With `listen` among them, where
        it hears a later parent, it outlives this one. `version`: what it says to a later parent."""
        control, theirs = socket.socketpair()
        inherited = {**fds, "control": theirs.fileno()}
        words = [f"version={version}"] if version else []
        with theirs:
            child = subprocess.Popen(
                [*program.arguments, *words, *(f"{name}={fd}" for name, fd in inherited.items())],
                pass_fds=tuple(inherited.values()),
                env={**(LARGE_PAGES if program.is_native else {}), **os.environ},
                stdin=subprocess.DEVNULL,
                # Ctrl-C at culvertd's terminal is culvertd's to answer.
                start_new_session=True,
            )
        made = cls(control, child.pid)
        made._child = child
        return made

    @property
    def alive(self) -> bool:
        if self._child is not None:
            return self._child.poll() is None
        return not select.select([self.pidfd], [], [], 0)[0]

    def ask(self, message: wire.Apply | wire.Reset) -> wire.Reply:
        """Send a message and wait for its reply."""
        line = wire.emit(message)
        self._control.settimeout(REPLY_SECONDS + len(line) / OCTETS_EACH_SECOND)
        try:
            self._control.sendall(line)
            reply = wire.parse(self._line())
        except (OSError, ValueError) as error:
            raise ProcessDown(f"the packet process doesn't answer: {error}") from error
        if not isinstance(reply, wire.Reply):
            raise ProcessDown("the packet process talks nonsense")
        return reply

    def _line(self) -> bytes:
        while b"\n" not in self._pending:
            octets = self._control.recv(65536)
            if not octets:
                raise ConnectionError("it ended")
            self._pending += octets
        line, _, self._pending = self._pending.partition(b"\n")
        return line

    def end(self) -> None:
        """End it: politely, then not."""
        with contextlib.suppress(OSError):
            self._control.sendall(wire.emit(wire.End()))
        self._control.close()
        if not self._ended_within(END_SECONDS):
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(self.pidfd, signal.SIGKILL)
            self._ended_within(END_SECONDS)
        with contextlib.suppress(OSError):
            os.close(self.pidfd)

    def _ended_within(self, seconds: float) -> bool:
        ended = bool(select.select([self.pidfd], [], [], seconds)[0])
        if ended and self._child is not None:
            self._child.wait()
        return ended

    def epitaph(self) -> str:
        """How it ended, in words."""
        if self._child is None:
            return "ended" if not self.alive else "stopped answering"
        code = self._child.poll()
        if code is None:
            return "stopped answering"
        if code == -signal.SIGSYS:
            return "was ended by the kernel for a system call that moving packets doesn't need (seccomp, SIGSYS)"
        return f"was ended by signal {-code}" if code < 0 else f"ended with exit status {code}"


class Backoff:
    """When the next start may be tried: at once at first, later and later in a crash loop."""

    def __init__(self) -> None:
        self._failures = 0
        self._started = 0.0

    def started(self) -> None:
        self._started = time.monotonic()

    def ended(self) -> float:
        """Count an end; seconds to wait before the next start."""
        if time.monotonic() - self._started > STEADY_SECONDS:
            self._failures = 0
        seconds = BACKOFF_SECONDS[min(self._failures, len(BACKOFF_SECONDS) - 1)]
        self._failures += 1
        return seconds

"""One culvertd of the lab: started in its namespace, found again by its pid file, stopped."""

import contextlib
import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from culvert.lab import program
from culvert.lab.errors import LabError
from culvert.lab.namespace import Namespace

_READY_SECONDS = 30.0
_STOP_SECONDS = 15.0


@dataclass(frozen=True, slots=True)
class Daemon:
    """Where one system keeps its things below `directory`: NAME.conf, NAME.sock, NAME/, NAME.log, NAME.pid."""

    name: str
    namespace: Namespace
    directory: Path

    @property
    def socket_path(self) -> Path:
        return self.directory / f"{self.name}.sock"

    @property
    def log_path(self) -> Path:
        return self.directory / f"{self.name}.log"

    @property
    def pid_path(self) -> Path:
        return self.directory / f"{self.name}.pid"

    def start(self, *options: str) -> None:
        """Start it so that it outlives us. Its life is its own: no terminal, no standard input."""
        command = self.namespace.command([
            program.ours("culvertd"), "--config", str(self.directory / f"{self.name}.conf"),
            "--socket", str(self.socket_path), "--state", str(self.directory / self.name), *options,
        ])
        with self.log_path.open("ab") as log:
            process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True, cwd="/",
            )
        self.pid_path.write_text(f"{process.pid} {_start_time(process.pid)}\n")
        self._wait_until_ready(process)

    def _wait_until_ready(self, process: "subprocess.Popen[bytes]") -> None:
        deadline = time.monotonic() + _READY_SECONDS
        while time.monotonic() < deadline:
            if process.poll() is not None:
                raise LabError(f"culvertd of {self.namespace.name} ended with {process.returncode}", self.log_tail())
            if _answers(self.socket_path):
                return
            time.sleep(0.05)
        raise LabError(f"culvertd of {self.namespace.name} is not ready after {_READY_SECONDS:.0f} s", self.log_tail())

    def log_tail(self, lines: int = 15) -> str:
        try:
            return "\n".join(self.log_path.read_text(errors="replace").splitlines()[-lines:])
        except OSError:
            return ""

    @property
    def pid(self) -> int | None:
        """Its process, if the one that was started still runs. A number that was given out again does not count."""
        try:
            pid, started = self.pid_path.read_text().split()
        except (OSError, ValueError):
            return None
        return int(pid) if _runs(int(pid)) and _start_time(int(pid)) == started else None

    def stop(self) -> None:
        pid = self.pid
        if pid is not None:
            end([pid])
        self.pid_path.unlink(missing_ok=True)


def end(pids: Iterable[int]) -> None:
    """Ask these processes to end; those that won't in time are killed."""
    waiting = list(pids)
    for number, patience_seconds in ((signal.SIGTERM, _STOP_SECONDS), (signal.SIGKILL, 5.0)):
        for pid in waiting:
            _signal(pid, number)
        deadline = time.monotonic() + patience_seconds
        while waiting and time.monotonic() < deadline:
            waiting = [pid for pid in waiting if _runs(pid)]
            time.sleep(0.02)


def _signal(pid: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)


def _runs(pid: int) -> bool:
    """A process that ended but was not yet waited for does not run; if it is our own child, it is waited for.

    It is a zombie as soon as its first thread has ended. While others still end, its sockets and locks are held.
    """
    fields = _stat(pid)
    runs = bool(fields) and (fields[0] != "Z" or int(fields[17]) > 1)
    if not runs:
        with contextlib.suppress(ChildProcessError):
            os.waitpid(pid, os.WNOHANG)
    return runs


def parent(pid: int) -> int:
    fields = _stat(pid)
    return int(fields[1]) if fields else 0


def _start_time(pid: int) -> str:
    """When the process began, in the kernel's ticks; "0" if it doesn't run."""
    fields = _stat(pid)
    return fields[19] if fields else "0"


def _stat(pid: int) -> list[str]:
    try:
        # The second field is the program's name in brackets and may hold anything.
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return []


def _answers(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        try:
            connection.connect(str(path))
        except OSError:
            return False
    return True

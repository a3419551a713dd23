"""A network namespace: made, entered, emptied and removed."""

import ctypes
import os
import socket
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from culvert.lab import program
from culvert.lab.errors import LabError

_CLONE_NEWNET = 0x40000000
_DIRECTORY = Path("/run/netns")

Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class Namespace:
    """A namespace that `ip netns` knows by `name`."""

    name: str

    @property
    def exists(self) -> bool:
        return (_DIRECTORY / self.name).exists()

    def add(self) -> None:
        program.require(["ip", "netns", "add", self.name])
        self.ip("link", "set", "lo", "up")

    def remove(self) -> None:
        if self.exists:
            program.require(["ip", "netns", "delete", self.name])

    def command(self, words: Sequence[str]) -> list[str]:
        """The command that runs `words` in here."""
        return ["ip", "netns", "exec", self.name, *words]

    def ip(self, *words: str) -> str:
        return program.require(["ip", "-netns", self.name, *words])

    def sysctl(self, key: str, value: str) -> None:
        """`key` with slashes: net/ipv4/ip_forward."""
        program.require(self.command(["sh", "-c", f"echo {value} >/proc/sys/{key}"]))

    def pids(self) -> list[int]:
        """The processes that live in here."""
        if not self.exists:
            return []
        return [int(word) for word in program.require(["ip", "netns", "pids", self.name]).split()]

    def inside(self, work: Callable[[], Result]) -> Result:
        """Do `work` in a thread that has entered the namespace.

        A socket belongs for good to the namespace it was made in, so what `work` returns can be used from
        anywhere. The thread ends here: no other thread ever sees the foreign namespace.
        """
        results: list[Result] = []
        failures: list[BaseException] = []

        def enter_and_work() -> None:
            try:
                _enter(_DIRECTORY / self.name)
                results.append(work())
            except BaseException as failure:
                failures.append(failure)

        thread = threading.Thread(target=enter_and_work)
        thread.start()
        thread.join()
        if failures:
            raise LabError(f"in {self.name}: {failures[0]}") from failures[0]
        return results[0]

    def socket(self, family: int, kind: int, protocol: int = 0) -> socket.socket:
        return self.inside(lambda: socket.socket(family, kind, protocol))


def _enter(path: Path) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    with path.open() as handle:
        if libc.setns(handle.fileno(), _CLONE_NEWNET) != 0:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number), str(path))

"""The packet process that a predecessor left, with all that it holds: so that a daemon may crash, or be replaced by a
newer one, and packets go on.

`culvertd` gives its packet process a listening socket with a name in the state directory, which only root can reach. A
successor connects to it, says hello, and is given every descriptor: the TUN, the sockets, the counters file with its
lock, the counter journal. It goes on with them if both speak the same words; else it ends the old process and starts
one of its own.
"""

import contextlib
import os
import select
import signal
import socket
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from culvert import __version__
from culvert.dataplane.userspace import wire
from culvert.dataplane.userspace.process import END_SECONDS, PacketProcess

ANSWER_SECONDS = 2.0
DESCRIPTORS_MAX = 253
"""That the kernel gives at once."""
WORDS_VERSION = 1
"""Of `wire`: grows when a message changes its meaning."""
NATIVE_PROGRAM, PYTHON_MODULE = b"culvert-tmm", b"culvert.dataplane.userspace.tmm"
NAMESPACE = Path("/proc/self/ns/net")


def version_of(engine: str) -> str:
    """What parent and packet process have to share: words, program, and the network namespace."""
    namespace = NAMESPACE.stat().st_ino
    return "/".join((str(WORDS_VERSION), __version__, str(namespace), *engine.split()))


@dataclass(frozen=True, slots=True)
class Inheritance:
    """`fds`: by the names that the packet process knows them by; they are ours to close now."""

    process: PacketProcess
    version: str
    fds: Mapping[str, int]

    def refuse(self) -> None:
        """End the process, and let go of everything."""
        self.process.end()
        for fd in self.fds.values():
            os.close(fd)


class Meeting:
    """The place where a successor finds the packet process: a socket, and the process's number beside it."""

    def __init__(self, state: Path) -> None:
        self._state = state
        self._path = state / "tmm.sock"
        self._pid_path = state / "tmm.pid"
        self._listener: socket.socket | None = None

    def find(self) -> Inheritance | None:
        """What a predecessor left; a process that doesn't answer is ended."""
        with contextlib.ExitStack() as undo:
            control = undo.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM))
            control.settimeout(ANSWER_SECONDS)
            fds: list[int] = []
            welcome: wire.Message | None
            try:
                with self._short_path() as path:
                    control.connect(path)
                control.sendall(wire.emit(wire.Hello()))
                welcome = wire.parse(_received(control, fds, undo))
            except (OSError, ValueError):
                welcome = None
            if not isinstance(welcome, wire.Welcome) or len(welcome.names) != len(fds):
                self._end_the_deaf()
                return None
            undo.pop_all()
        process = PacketProcess(control, welcome.pid)
        return Inheritance(process, welcome.version, dict(zip(welcome.names, fds, strict=True)))

    @contextlib.contextmanager
    def _short_path(self) -> Iterator[str]:
        """Of the socket: a name of one may have 107 octets only, and a state directory may lie deep."""
        fd = os.open(self._state, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            yield f"/proc/self/fd/{fd}/{self._path.name}"
        finally:
            os.close(fd)

    def _end_the_deaf(self) -> None:
        """By the number that was left, if that is a packet process still. What it writes is read when it is gone."""
        with contextlib.suppress(OSError, ValueError):
            pid = int(self._pid_path.read_text())
            pidfd = os.pidfd_open(pid)
            try:
                if _is_packet_process(pid):
                    signal.pidfd_send_signal(pidfd, signal.SIGKILL)
                    select.select([pidfd], [], [], END_SECONDS)
            finally:
                os.close(pidfd)

    def inherit(self, fd: int) -> None:
        """Go on with the socket that the packet process listens on already."""
        self._listener = socket.socket(fileno=fd)

    def listener(self) -> int:
        """The descriptor that a new packet process listens on."""
        if self._listener is None:
            self._path.unlink(missing_ok=True)
            self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
            with self._short_path() as path:
                self._listener.bind(path)
            self._path.chmod(0o600)
            self._listener.listen(1)
        return self._listener.fileno()

    def note(self, pid: int) -> None:
        """This is the packet process now."""
        with contextlib.suppress(OSError):
            self._pid_path.write_text(f"{pid}\n")

    def close(self) -> None:
        """Nobody is to be found any more."""
        if self._listener is not None:
            self._listener.close()
        for path in (self._path, self._pid_path):
            path.unlink(missing_ok=True)


def _is_packet_process(pid: int) -> bool:
    """By its words: the number may be somebody else's by now."""
    words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    return words[0].rpartition(b"/")[2] == NATIVE_PROGRAM or PYTHON_MODULE in words


def _received(control: socket.socket, fds: list[int], undo: contextlib.ExitStack) -> bytes:
    """One line. `fds`: gets the descriptors that came with it, which `undo` closes."""
    octets, received, _, _ = socket.recv_fds(control, 65536, DESCRIPTORS_MAX)
    for fd in received:
        undo.callback(os.close, fd)
    fds += received
    while octets and not octets.endswith(b"\n"):
        more = control.recv(65536)
        if not more:
            break
        octets += more
    return octets

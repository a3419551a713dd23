"""The door: a Unix stream socket, one JSON request per line, one JSON answer per line.

    {"id": 1, "call": "create", "args": {...}}
    {"id": 1, "result": ...}    or    {"id": 1, "error": {"kind", "code", "severity", "message", "http"}}

Requests of one connection are answered in order. `handle` runs in the loop's thread, one request at a time,
because the live object is single-threaded; everything that waits for a client (a line that comes slowly, an
answer that isn't read) waits in that client's own task. What a client can make the daemon hold is bounded:
one line of LINE_LIMIT octets and one answer, for CONNECTIONS_MAX connections.

Who may talk is decided by the kernel's word on the peer (SO_PEERCRED): root, the daemon's own user, and
members of the group `culvert`. The file mode 0660 says the same, but doesn't decide.
"""

import asyncio
import contextlib
import fcntl
import grp
import json
import os
import pwd
import socket
import stat
import struct
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from culvert.control.errors import ControlError, Internal, Refused, SyntaxProblem, Unavailable
from culvert.observe.log import EventLog

GROUP = "culvert"
LINE_LIMIT = 64 * 1024 * 1024
CONNECTIONS_MAX = 256
SEND_SECONDS = 60.0

LOG = EventLog("culvert.control.server")


@dataclass(frozen=True, slots=True)
class Peer:
    """Who asks, by the kernel's word. `user` is the login name, or the number when the uid has none."""

    pid: int
    uid: int
    gid: int
    user: str


Handle = Callable[[str, dict[str, object], Peer], object]


class Lock:
    """A claim on a file that ends with the process, however that ends. The file says whose it is and stays."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._fd = -1

    def take(self) -> None:
        """Raises Unavailable when another process holds it ("another culvertd is running, pid 12")."""
        try:
            fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        except OSError as error:
            raise Unavailable(f"cannot open {self._path}: {error.strerror}") from None
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            holder = os.read(fd, 32).decode("ascii", "replace").strip()
            os.close(fd)
            raise _running(holder, self._path) from None
        os.ftruncate(fd, 0)
        os.pwrite(fd, f"{os.getpid()}\n".encode(), 0)
        self._fd = fd

    def release(self) -> None:
        """Give it up; harmless when not held. The file stays: removing it would race with the next holder."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


class Server:
    """Serves `handle(call, args, peer)` at `path`.

    What `handle` returns must be JSON-able; a ControlError that it raises is the answer; anything else it
    raises is logged with its traceback and answered as Internal. `line_limit` is in octets, `send_seconds`
    how long an unread answer is kept before its client is dropped.
    """

    def __init__(
        self,
        path: Path,
        handle: Handle,
        *,
        group: str = GROUP,
        line_limit: int = LINE_LIMIT,
        connections_max: int = CONNECTIONS_MAX,
        send_seconds: float = SEND_SECONDS,
    ) -> None:
        self._path = path
        self._handle = handle
        self._group = group
        self._line_limit = line_limit
        self._connections_max = connections_max
        self._send_seconds = send_seconds
        self._lock = Lock(path.with_name(path.name + ".lock"))
        self._server: asyncio.Server | None = None
        self._inode: tuple[int, int] | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def connections(self) -> int:
        """How many clients are connected now."""
        return len(self._tasks)

    async def start(self) -> None:
        """Listen. Raises Unavailable: another daemon is there, or the socket can't be made."""
        self._lock.take()
        try:
            listener = self._bind()
            self._server = await asyncio.start_unix_server(self._connected, sock=listener, limit=self._line_limit)
        except BaseException:
            self._lock.release()
            raise

    async def close(self) -> None:
        """Stop listening, drop every client, remove the socket. Harmless when not started."""
        if self._server is None:
            return
        self._server.close()
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._server.wait_closed()
        self._server = None
        with contextlib.suppress(OSError):
            found = self._path.lstat()
            if (found.st_dev, found.st_ino) == self._inode:
                self._path.unlink()
        self._lock.release()

    def _bind(self) -> socket.socket:
        _remove_stale(self._path)
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            listener.bind(str(self._path))
            self._path.chmod(0o660)
            gid = _group_id(self._group)
            if gid is not None:
                os.chown(self._path, -1, gid)
            found = self._path.lstat()
        except OSError as error:
            listener.close()
            raise Unavailable(f"cannot listen at {self._path}: {error.strerror or error}") from None
        self._inode = (found.st_dev, found.st_ino)
        return listener

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            await self._serve(reader, writer)
        except (ConnectionError, TimeoutError) as error:
            LOG.debug("client-dropped", reason=type(error).__name__)
        except asyncio.CancelledError:
            pass
        finally:
            self._tasks.discard(task)
            # abort, not close: close would keep an unread answer for as long as the client likes.
            if writer.transport.get_write_buffer_size():
                writer.transport.abort()
            writer.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        peer = _peer(writer.get_extra_info("socket"))
        refusal = self._refusal(peer)
        if refusal is not None:
            LOG.warning("client-refused", pid=peer.pid, user=peer.user, reason=refusal.message)
            await self._send(writer, _failure(None, refusal))
            return
        while True:
            try:
                line = await reader.readline()
            except ValueError:
                problem = SyntaxProblem(f"a request is longer than {self._line_limit} octets")
                await self._send(writer, _failure(None, problem))
                return
            if not line.endswith(b"\n"):
                return
            await self._send(writer, self._answer(line, peer))
            # A client that sends many lines at once would otherwise be served to its end first.
            await asyncio.sleep(0)

    async def _send(self, writer: asyncio.StreamWriter, answer: bytes) -> None:
        writer.write(answer)
        # Not wait_for: in Python 3.11 it swallows a cancellation that comes as the drain ends, and close() hangs.
        async with asyncio.timeout(self._send_seconds):
            await writer.drain()

    def _refusal(self, peer: Peer) -> ControlError | None:
        if not may_enter(peer, self._group):
            return Refused(
                f"user {peer.user} may not talk to culvertd: only root and members of group {self._group} may"
            )
        if len(self._tasks) > self._connections_max:
            return Unavailable(f"culvertd serves {self._connections_max} connections already; try again")
        return None

    def _answer(self, line: bytes, peer: Peer) -> bytes:
        number: object = None
        try:
            request = _parse(line)
            number = request.get("id")
            call, args = _call(request)
        except ControlError as error:
            return _failure(number, error)
        try:
            result = self._handle(call, args, peer)
            return json.dumps({"id": number, "result": result}, allow_nan=False).encode() + b"\n"
        except ControlError as error:
            return _failure(number, error)
        except Exception:
            LOG.exception("request-failed", call=call, pid=peer.pid, user=peer.user)
            return _failure(number, Internal(call))


def may_enter(peer: Peer, group: str = GROUP) -> bool:
    """Whether the peer is root, the daemon's own user, or in `group` (which need not exist)."""
    if peer.uid in (0, os.geteuid()):
        return True
    gid = _group_id(group)
    if gid is None:
        return False
    return peer.gid == gid or gid in os.getgrouplist(peer.user, peer.gid)


def _group_id(name: str) -> int | None:
    try:
        return grp.getgrnam(name).gr_gid
    except KeyError:
        return None


def _peer(connection: socket.socket) -> Peer:
    size = struct.calcsize("3i")
    # The uid is unsigned: -2 in a container's map would otherwise compare unlike anything in the password file.
    pid, uid, gid = struct.unpack("iII", connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, size))
    try:
        user = pwd.getpwuid(uid).pw_name
    except KeyError:
        user = str(uid)
    return Peer(pid, uid, gid, user)


def _running(holder: str, path: Path) -> Unavailable:
    pid = f", pid {holder}" if holder.isdigit() and holder != "0" else ""
    return Unavailable(f"another culvertd is running{pid} (it holds {path})")


def _remove_stale(path: Path) -> None:
    """Remove the socket of a daemon that died. Raises Unavailable when one answers, or it isn't a socket."""
    try:
        mode = path.lstat().st_mode
    except OSError:
        return
    if not stat.S_ISSOCK(mode):
        raise Unavailable(f"cannot listen at {path}: something that is not a socket is there")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)
        try:
            probe.connect(str(path))
        except ConnectionRefusedError:
            _unlink(path)
            return
        except OSError as error:
            raise _running("", path) from error
        raise _running(str(_peer(probe).pid), path)


def _unlink(path: Path) -> None:
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        raise Unavailable(f"cannot remove the socket of a dead culvertd at {path}: {error.strerror}") from None


def _parse(line: bytes) -> dict[str, object]:
    try:
        request = json.loads(line, parse_constant=_refuse_constant)
    except (ValueError, RecursionError):
        raise SyntaxProblem("the request is not JSON") from None
    if not isinstance(request, dict):
        raise SyntaxProblem("the request is not a JSON object")
    return request


def _refuse_constant(word: str) -> NoReturn:
    raise ValueError(word)


def _call(request: dict[str, object]) -> tuple[str, dict[str, object]]:
    call, args = request.get("call"), request.get("args", {})
    if not isinstance(call, str):
        raise SyntaxProblem('the request has no "call", a string')
    if not isinstance(args, dict):
        raise SyntaxProblem('"args" of the request is not an object')
    return call, args


def _failure(number: object, error: ControlError) -> bytes:
    return json.dumps({"id": number, "error": error.to_json()}).encode() + b"\n"

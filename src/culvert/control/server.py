"""The door: a Unix stream socket, one JSON request per line, one JSON answer per line.

    {"id": 1, "call": "create", "args": {...}, "as": {...}}
    {"id": 1, "result": ...}    or    {"id": 1, "error": {"kind", "code", "severity", "message", "http"}}

A list that was asked for with "stream": true among `args` may come in parts, each in a line of its own, and `result`
is then what is left of it. Who doesn't ask gets no such lines, and a daemon that has none gives the result alone.

    {"id": 1, "part": [...], "of": 20000}

`as` is what proves another user: {token, address} or {username, password, address}. It may be missing.

Requests of one connection are answered in order. `handle` runs in the loop's thread, one request at a time,
because the live object is single-threaded; everything that waits for a client (a line that comes slowly, an
answer that isn't read) waits in that client's own task. What a client can make the daemon hold is bounded:
one line of LINE_LIMIT octets and one answer, or one part of it, for CONNECTIONS_MAX connections.

Who may talk is decided by the kernel's word on the peer (SO_PEERCRED): root, the daemon's own user, and
members of the group `culvert`. The file mode 0660 says the same, but doesn't decide. The user of the web process, if
there is one, has a socket of its own beside it, `<path>.web`, and no other user may talk there.
"""

import asyncio
import json
import os
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import aclosing
from pathlib import Path
from typing import NoReturn, Protocol

from culvert.control.errors import ControlError, Internal, Refused, SyntaxProblem, Unavailable
from culvert.control.listener import Listener, Lock, Peer, group_id, peer_of
from culvert.control.stream import Stream
from culvert.observe.log import EventLog

GROUP = "culvert"
WEB_SUFFIX = ".web"
LINE_LIMIT = 64 * 1024 * 1024
CONNECTIONS_MAX = 256
SEND_SECONDS = 60.0

LOG = EventLog("culvert.control.server")


Handle = Callable[[str, dict[str, object], Peer], object]


class Door(Protocol):
    """Answers instead of `handle`, and may take its time: passwords are slow to verify."""

    async def answer(
        self, call: str, args: dict[str, object], peer: Peer, credentials: Mapping[str, object] | None
    ) -> object: ...


class Server:
    """Serves `handle(call, args, peer)` at `path`; with `door`, that instead, for the user with the uid `web` too.

    What `handle` returns must be JSON-able; a ControlError that it raises is the answer; anything else it
    raises is logged with its traceback and answered as Internal. `line_limit` is in octets, `send_seconds`
    how long an unread answer is kept before its client is dropped.
    """

    def __init__(
        self,
        path: Path,
        handle: Handle,
        *,
        door: Door | None = None,
        web: int | None = None,
        group: str = GROUP,
        line_limit: int = LINE_LIMIT,
        connections_max: int = CONNECTIONS_MAX,
        send_seconds: float = SEND_SECONDS,
    ) -> None:
        self._handle = handle
        self._door = door
        self._web = web
        self._group = group
        self._line_limit = line_limit
        self._connections_max = connections_max
        self._send_seconds = send_seconds
        self._lock = Lock(path.with_name(path.name + ".lock"))
        self._listeners = [Listener(path, gid=group_id(group))]
        if web is not None:
            self._listeners.append(Listener(path.with_name(path.name + WEB_SUFFIX), owner=web))
        self._servers: list[asyncio.Server] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._web_tasks = 0

    @property
    def connections(self) -> int:
        """How many clients are connected now."""
        return len(self._tasks)

    async def start(self) -> None:
        """Listen. Raises Unavailable: another daemon is there, or the socket can't be made."""
        self._lock.take()
        try:
            for number, listener in enumerate(self._listeners):
                take = self._connected if number == 0 else self._connected_web
                server = await asyncio.start_unix_server(take, sock=listener.open(), limit=self._line_limit)
                self._servers.append(server)
        except BaseException:
            await self._stop_listening()
            self._lock.release()
            raise

    async def close(self) -> None:
        """Stop listening, drop every client, remove the socket. Harmless when not started."""
        if not self._servers:
            return
        for server in self._servers:
            server.close()
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._stop_listening()
        self._lock.release()

    async def _stop_listening(self) -> None:
        for server in self._servers:
            server.close()
            await server.wait_closed()
        self._servers.clear()
        for listener in self._listeners:
            listener.remove()

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await self._kept(reader, writer, web_only=False)

    async def _connected_web(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await self._kept(reader, writer, web_only=True)

    async def _kept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, web_only: bool) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self._web_tasks += web_only
        try:
            await self._serve(reader, writer, web_only)
        except (ConnectionError, TimeoutError) as error:
            LOG.debug("client-dropped", reason=type(error).__name__)
        except asyncio.CancelledError:
            pass
        finally:
            self._tasks.discard(task)
            self._web_tasks -= web_only
            # abort, not close: close would keep an unread answer for as long as the client likes.
            if writer.transport.get_write_buffer_size():
                writer.transport.abort()
            writer.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, web_only: bool) -> None:
        peer = peer_of(writer.get_extra_info("socket"))
        refusal = self._refusal(peer, web_only)
        if refusal is not None:
            LOG.warning("client-refused", pid=peer.pid, user=peer.user, reason=refusal.message)
            await self._send(writer, _failure(None, refusal), self._send_seconds)
            return
        while True:
            try:
                line = await reader.readline()
            except ValueError:
                problem = SyntaxProblem(f"a request is longer than {self._line_limit} octets")
                await self._send(writer, _failure(None, problem), self._send_seconds)
                return
            if not line.endswith(b"\n"):
                return
            async with aclosing(self._answers(line, peer)) as answers:
                async for answer, is_whole in answers:
                    await self._send(writer, answer, self._send_seconds if is_whole else None)
                    # A client that sends many lines at once would otherwise be served to its end first, and one that
                    # reads many parts too.
                    await asyncio.sleep(0)

    async def _send(self, writer: asyncio.StreamWriter, answer: bytes, seconds: float | None) -> None:
        """`seconds` None: no matter how long it isn't read. Behind a part is somebody who looks at it in a pager."""
        writer.write(answer)
        # Not wait_for: in Python 3.11 it swallows a cancellation that comes as the drain ends, and close() hangs.
        async with asyncio.timeout(seconds):
            await writer.drain()

    def _refusal(self, peer: Peer, web_only: bool) -> ControlError | None:
        if web_only and peer.uid != self._web:
            return Refused(f"user {peer.user} may not talk to culvertd here: this socket is for the web process alone")
        if peer.uid != self._web and not may_enter(peer, self._group):
            return Refused(
                f"user {peer.user} may not talk to culvertd: only root and members of group {self._group} may"
            )
        if len(self._tasks) > self._connections_max or (web_only and self._web_tasks > self._connections_max // 2):
            return Unavailable(f"culvertd serves {self._connections_max} connections already; try again")
        return None

    async def _answers(self, line: bytes, peer: Peer) -> AsyncGenerator[tuple[bytes, bool]]:
        """The lines of an answer, the last of which makes it whole."""
        number: object = None
        try:
            request = _parse(line)
            number = request.get("id")
            call, args, credentials = _call(request)
        except ControlError as error:
            yield _failure(number, error), True
            return
        try:
            result = await self._result(call, args, peer, credentials)
            if isinstance(result, Stream):
                for part in result.parts:
                    yield _line({"id": number, "part": part, "of": result.total}), False
                result = []
            last = _line({"id": number, "result": result})
        except ControlError as error:
            last = _failure(number, error)
        except Exception:
            LOG.exception("request-failed", call=call, pid=peer.pid, user=peer.user)
            last = _failure(number, Internal(call))
        yield last, True

    async def _result(
        self, call: str, args: dict[str, object], peer: Peer, credentials: dict[str, object] | None
    ) -> object:
        if self._door is not None:
            return await self._door.answer(call, args, peer, credentials)
        if credentials is not None:
            raise SyntaxProblem('"as" is not taken here')
        return self._handle(call, args, peer)


def may_enter(peer: Peer, group: str = GROUP) -> bool:
    """Whether the peer is root, the daemon's own user, or in `group` (which need not exist)."""
    if peer.uid in (0, os.geteuid()):
        return True
    gid = group_id(group)
    if gid is None:
        return False
    return peer.gid == gid or gid in os.getgrouplist(peer.user, peer.gid)


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


def _call(request: dict[str, object]) -> tuple[str, dict[str, object], dict[str, object] | None]:
    call, args, credentials = request.get("call"), request.get("args", {}), request.get("as")
    if not isinstance(call, str):
        raise SyntaxProblem('the request has no "call", a string')
    if not isinstance(args, dict):
        raise SyntaxProblem('"args" of the request is not an object')
    if "as" in request and not isinstance(credentials, dict):
        raise SyntaxProblem('"as" of the request is not an object')
    return call, args, credentials if isinstance(credentials, dict) else None


def _failure(number: object, error: ControlError) -> bytes:
    return _line({"id": number, "error": error.to_json()})


def _line(answer: dict[str, object]) -> bytes:
    return json.dumps(answer, allow_nan=False).encode() + b"\n"

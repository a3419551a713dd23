"""HTTP: connections with limits, TLS, and the way from octets to a Request and back.

What a client can hold is bounded: connections in all and by address, the time for a handshake, a head and a body, and
the octets of a head and a body. Handlers run in threads; their number bounds what is in work.
"""

import asyncio
import contextlib
import logging
import re
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, MutableMapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import parse_qsl, unquote

import h11
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.server import ServerState

from culvert.control.errors import Internal
from culvert.rest.events import EVENTS, Events
from culvert.rest.exchange import (
    API,
    COORDINATION_HEADER,
    SECURITY,
    TOKEN_HEADER,
    Answer,
    BadRequest,
    Request,
    failure,
)
from culvert.rest.joined import Joined
from culvert.rest.listening import Listening

THREADS = 32
SEGMENTS_MAX = 16
PARAMETERS_MAX = 64
LOG = logging.getLogger("culvert.rest")

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

SINGLE = frozenset(
    {"authorization", "content-length", "content-range", "content-type", "origin", TOKEN_HEADER, COORDINATION_HEADER}
)
"""Headers of which a second one is a trick: two readers of it could believe different ones."""

_DOUBTFUL = re.compile(rb"(?<!\r)\n|\n[ \t]")


@dataclass(frozen=True, slots=True)
class Limits:
    """What a client can hold, and for how long. `bodies_octets`: of all that are being read or answered."""

    head_octets: int = 64 * 1024
    body_octets: int = 4 * 1024 * 1024
    upload_octets: int = 8 * 1024 * 1024
    bodies_octets: int = 128 * 1024 * 1024
    connections: int = 1024
    connections_of_address: int = 512
    handshake_seconds: float = 10.0
    head_seconds: float = 10.0
    body_seconds: float = 30.0
    send_seconds: float = 30.0
    idle_seconds: int = 60
    close_seconds: float = 5.0


class Connection(H11Protocol):
    """A client that is shed when it takes too long to say what it wants, or to take what it is told."""

    limits = Limits()
    _deadline: asyncio.TimerHandle | None = None
    _unread: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(Joined(transport, self.loop))  # type: ignore[arg-type]
        self._expect()

    def data_received(self, data: bytes) -> None:
        """Octets of a head or a body. The clock runs from the first octet of a head to its last."""
        if self.cycle is None or self.cycle.response_complete:
            self._expect()
        before = self.cycle
        super().data_received(data)
        if self.cycle is not before:
            self._relax()

    def handle_events(self) -> None:
        """What was received so far. A head that another reader could take for two, or for other lines, is refused."""
        if self.conn.their_state is h11.IDLE:
            head, _, _ = self.conn.trailing_data[0].partition(b"\r\n\r\n")
            if _DOUBTFUL.search(head):
                self.send_400_response("lines of a head end with CR LF and are not folded")
                return
        super().handle_events()

    def send_400_response(self, msg: str) -> None:
        """The answer to what isn't HTTP, and the end. In the midst of another answer it is the end alone."""
        answer = failure(BadRequest(400, msg, 1))
        try:
            lines = [*_lines(answer, answer.octets), (b"connection", b"close")]
            sent = self.conn.send(h11.Response(status_code=400, headers=lines, reason=b"Bad Request"))
            sent += self.conn.send(h11.Data(data=answer.octets)) + self.conn.send(h11.EndOfMessage())
        except h11.LocalProtocolError:
            self.transport.abort()
            return
        self.transport.write(sent)
        self.transport.close()

    def pause_writing(self) -> None:
        """The client doesn't read what it asked for."""
        super().pause_writing()
        if self._unread is None:
            self._unread = self.loop.call_later(self.limits.send_seconds, self._shed)

    def resume_writing(self) -> None:
        """It does again."""
        super().resume_writing()
        self._read()

    def connection_lost(self, exc: Exception | None) -> None:
        """The client went away."""
        self._relax()
        self._read()
        super().connection_lost(exc)

    def _expect(self) -> None:
        if self._deadline is None:
            self._deadline = self.loop.call_later(self.limits.head_seconds, self._shed)

    def _relax(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _read(self) -> None:
        if self._unread is not None:
            self._unread.cancel()
            self._unread = None

    def _shed(self) -> None:
        # Also one that is closing: a client that reads nothing could otherwise be closing for ever.
        self.transport.abort()


@dataclass(slots=True)
class Site:
    """The ASGI application: `answer` runs in a thread for each request, `events` streams in the loop."""

    answer: Callable[[Request], Answer]
    events: Events
    threads: ThreadPoolExecutor
    limits: Limits = Limits()
    _held: int = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request of HTTP."""
        if scope["type"] != "http":
            return
        own: list[int] = []
        try:
            await self._serve(scope, receive, send, own)
        except BadRequest as error:
            # Whether its body came to an end isn't known, so nothing can follow it.
            await _send(send, failure(error), scope["method"], close=True)
        except Exception:
            LOG.exception("request-failed")
            await _send(send, failure(Internal("culvert-rest")), scope["method"], close=True)
        finally:
            self._held -= sum(own)

    async def _serve(self, scope: Scope, receive: Receive, send: Send, own: list[int]) -> None:
        request = _request(scope)
        request = replace(request, content=await self._body(request, receive, own))
        if request.segments == EVENTS and request.method == "GET":
            await self.events.serve(request, receive, send, self.threads)
            return
        loop = asyncio.get_running_loop()
        answer = await loop.run_in_executor(self.threads, self.answer, request)
        await _send(send, answer, request.method)

    async def _body(self, request: Request, receive: Receive, own: list[int]) -> bytes:
        """The whole body; what it takes of the room for all of them is told in `own`. Raises BadRequest."""
        limit = self.limits.upload_octets if "file-transfer" in request.segments else self.limits.body_octets
        declared = request.headers.get("content-length", "0")
        found = bytearray()
        try:
            async with asyncio.timeout(self.limits.body_seconds):
                while True:
                    if len(found) > limit or (declared.isdigit() and int(declared) > limit):
                        raise BadRequest(413, f"a body has at most {limit} octets")
                    message = await receive()
                    if message["type"] == "http.disconnect":
                        raise BadRequest(400, "the body did not come to its end")
                    piece = message.get("body", b"")
                    if self._held + len(piece) > self.limits.bodies_octets:
                        raise BadRequest(503, "too many bodies at once", headers={"Retry-After": "1"})
                    own.append(len(piece))
                    self._held += len(piece)
                    found += piece
                    if not message.get("more_body", False) and len(found) <= limit:
                        return bytes(found)
        except TimeoutError:
            raise BadRequest(408, "the body took too long") from None


def _request(scope: Scope) -> Request:
    """A head, read with suspicion. Raises BadRequest."""
    lines = [(name.decode("latin-1").lower(), value.decode("latin-1")) for name, value in scope["headers"]]
    headers = dict(lines)
    names = [name for name, _ in lines]
    if any(names.count(name) > 1 for name in SINGLE) or {"content-length", "transfer-encoding"} <= headers.keys():
        raise BadRequest(400, "a header that may be there once is there twice", 1)
    path = scope["raw_path"].decode("latin-1").partition("?")[0]
    segments = tuple(each for each in path.split("/") if each)
    if len(segments) > SEGMENTS_MAX or any(unquote(each) in (".", "..") for each in segments):
        raise BadRequest(404, "Public URI path not registered")
    if not _is_followed_link(scope["method"], segments, headers):
        _refuse_other_sites(headers)
    try:
        given = scope["query_string"].decode("latin-1")
        query = dict(parse_qsl(given, keep_blank_values=True, max_num_fields=PARAMETERS_MAX))
    except ValueError:
        raise BadRequest(400, f"an address has at most {PARAMETERS_MAX} parameters") from None
    address = scope["client"][0] if scope.get("client") else ""
    return Request(scope["method"], segments, query, headers, b"", address)


def _is_followed_link(method: str, segments: tuple[str, ...], headers: dict[str, str]) -> bool:
    """Whether somebody follows a link to a page, maybe from a wiki: it shows what it shows, to nobody but them."""
    navigates = method == "GET" and headers.get("sec-fetch-mode") == "navigate" and "origin" not in headers
    return navigates and segments[:1] not in API


def _refuse_other_sites(headers: dict[str, str]) -> None:
    """A browser says from which site a request comes; another one's may not use what the browser knows of ours."""
    origin = headers.get("origin")
    own = headers.get("host", "")
    if origin is not None and origin.lower() not in (f"https://{own.lower()}", f"https://{own.lower()}:443"):
        raise BadRequest(403, "requests of other sites are refused")
    if headers.get("sec-fetch-site", "none") not in ("none", "same-origin"):
        raise BadRequest(403, "requests of other sites are refused")


def _lines(answer: Answer, octets: bytes) -> list[tuple[bytes, bytes]]:
    headers = {**SECURITY, "Content-Length": str(len(octets)), **answer.headers}
    if octets:
        headers["Content-Type"] = answer.media
    return [(name.lower().encode(), value.encode("latin-1", "replace")) for name, value in headers.items()]


async def _send(send: Send, answer: Answer, method: str, *, close: bool = False) -> None:
    octets = answer.octets
    lines = _lines(answer, octets)
    if close:
        lines.append((b"connection", b"close"))
    await send({"type": "http.response.start", "status": answer.status, "headers": lines})
    await send({"type": "http.response.body", "body": b"" if method == "HEAD" else octets})


@contextlib.asynccontextmanager
async def serving(site: Site, listening: socket.socket, context: ssl.SSLContext) -> AsyncIterator[int]:
    """Serve on a bound socket until the end of the block; gives the port. Raises OSError when it can't listen."""
    limits = site.limits
    config = uvicorn.Config(
        site,
        http=Connection,
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        date_header=False,
        h11_max_incomplete_event_size=limits.head_octets,
        timeout_keep_alive=limits.idle_seconds,
    )
    config.load()
    state = ServerState()
    loop = asyncio.get_running_loop()

    def made() -> Connection:
        connection = Connection(config, state, {}, loop)
        connection.limits = limits
        return connection

    counted = Listening.of(listening, limits.connections, limits.connections_of_address)
    server = await loop.create_server(
        made,
        sock=counted,
        ssl=context,
        ssl_handshake_timeout=limits.handshake_seconds,
        ssl_shutdown_timeout=limits.close_seconds,
        backlog=limits.connections,
    )
    try:
        yield int(counted.getsockname()[1])
    finally:
        server.close()
        for connection in list(state.connections):
            connection.shutdown()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(limits.close_seconds):
                while state.tasks:
                    await asyncio.sleep(0.05)
        for task in list(state.tasks):
            task.cancel()

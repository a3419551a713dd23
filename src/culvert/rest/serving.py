"""HTTP: connections with limits, TLS, and the way from octets to a Request and back.

What a client can hold is bounded: connections in all and by address, the time for a handshake, a head and a body, and
the octets of a head and a body. Handlers run in threads; their number bounds what is in work.
"""

import asyncio
import contextlib
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, MutableMapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.server import ServerState

from culvert.rest.events import EVENTS, Events
from culvert.rest.exchange import Answer, BadRequest, Request, failure

HEAD_OCTETS = 64 * 1024
BODY_OCTETS = 4 * 1024 * 1024
UPLOAD_OCTETS = 8 * 1024 * 1024
CONNECTIONS_MAX = 1024
CONNECTIONS_OF_ADDRESS = 512
HANDSHAKE_SECONDS = 10.0
HEAD_SECONDS = 10.0
BODY_SECONDS = 30.0
IDLE_SECONDS = 60
CLOSE_SECONDS = 5.0
THREADS = 32
SEGMENTS_MAX = 16

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

SECURITY = {
    "Cache-Control": "no-store, no-cache, must-revalidate",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Pragma": "no-cache",
    "Strict-Transport-Security": "max-age=16070400; includeSubDomains",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}


class Connection(H11Protocol):
    """A client that is shed when it takes too long to say what it wants."""

    _deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        others = [each for each in self.connections if each is not self]
        same = sum(1 for each in others if isinstance(each, Connection) and each.host == self.host)
        if len(others) >= CONNECTIONS_MAX or same >= CONNECTIONS_OF_ADDRESS:
            transport.abort()
            return
        self._expect()

    def data_received(self, data: bytes) -> None:
        """Octets of a head or a body. The clock runs from the first octet of a head to its last."""
        if self.cycle is None or self.cycle.response_complete:
            self._expect()
        before = self.cycle
        super().data_received(data)
        if self.cycle is not before:
            self._relax()

    def connection_lost(self, exc: Exception | None) -> None:
        """The client went away."""
        self._relax()
        super().connection_lost(exc)

    @property
    def host(self) -> str:
        """The client's address."""
        return self.client[0] if self.client else ""

    def _expect(self) -> None:
        if self._deadline is None:
            self._deadline = self.loop.call_later(HEAD_SECONDS, self._shed)

    def _relax(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _shed(self) -> None:
        self._deadline = None
        if not self.transport.is_closing():
            self.transport.abort()


@dataclass(slots=True)
class Site:
    """The ASGI application: `answer` runs in a thread for each request, `events` streams in the loop."""

    answer: Callable[[Request], Answer]
    events: Events
    threads: ThreadPoolExecutor

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request of HTTP."""
        if scope["type"] != "http":
            return
        try:
            request = await _request(scope, receive)
        except BadRequest as error:
            await _send(send, failure(error), scope["method"])
            return
        if request.segments == EVENTS and request.method == "GET":
            await self.events.serve(request, receive, send, self.threads)
            return
        loop = asyncio.get_running_loop()
        answer = await loop.run_in_executor(self.threads, self.answer, request)
        await _send(send, answer, request.method)


async def _request(scope: Scope, receive: Receive) -> Request:
    headers: dict[str, str] = {}
    for name, value in scope["headers"]:
        headers[name.decode("latin-1").lower()] = value.decode("latin-1")
    path = scope["raw_path"].decode("latin-1").partition("?")[0]
    segments = tuple(each for each in path.split("/") if each)
    address = scope["client"][0] if scope.get("client") else ""
    query = dict(parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True, max_num_fields=64))
    request = Request(scope["method"], segments, query, headers, b"", address)
    if len(segments) > SEGMENTS_MAX or any(each.lower() in (".", "..", "%2e", "%2e%2e") for each in segments):
        raise BadRequest(404, "Public URI path not registered")
    _refuse_other_sites(headers)
    limit = UPLOAD_OCTETS if "file-transfer" in segments else BODY_OCTETS
    declared = headers.get("content-length", "0")
    if declared.isdigit() and int(declared) > limit:
        raise BadRequest(413, f"a body has at most {limit} octets", headers={"Connection": "close"})
    return Request(request.method, segments, query, headers, await _body(receive, limit), address)


def _refuse_other_sites(headers: dict[str, str]) -> None:
    """A browser says from which site a request comes; another one's may not use what the browser knows of ours."""
    origin = headers.get("origin")
    if origin is not None and urlsplit(origin).netloc != headers.get("host", ""):
        raise BadRequest(403, "requests of other sites are refused")
    if headers.get("sec-fetch-site", "none") not in ("none", "same-origin"):
        raise BadRequest(403, "requests of other sites are refused")


async def _body(receive: Receive, limit: int) -> bytes:
    found = bytearray()
    try:
        async with asyncio.timeout(BODY_SECONDS):
            while True:
                message = await receive()
                if message["type"] == "http.disconnect":
                    raise BadRequest(400, "the body did not come to its end")
                found += message.get("body", b"")
                if len(found) > limit:
                    raise BadRequest(413, f"a body has at most {limit} octets", headers={"Connection": "close"})
                if not message.get("more_body", False):
                    return bytes(found)
    except TimeoutError:
        raise BadRequest(408, "the body took too long", headers={"Connection": "close"}) from None


async def _send(send: Send, answer: Answer, method: str) -> None:
    octets = answer.octets
    headers = {**SECURITY, "Content-Length": str(len(octets)), **answer.headers}
    if octets:
        headers["Content-Type"] = answer.media
    lines = [(name.lower().encode(), value.encode("latin-1", "replace")) for name, value in headers.items()]
    await send({"type": "http.response.start", "status": answer.status, "headers": lines})
    await send({"type": "http.response.body", "body": b"" if method == "HEAD" else octets})


@contextlib.asynccontextmanager
async def serving(site: Site, listening: socket.socket, context: ssl.SSLContext) -> AsyncIterator[int]:
    """Serve on a bound socket until the end of the block; gives the port. Raises OSError when it can't listen."""
    config = uvicorn.Config(
        site,
        http=Connection,
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        date_header=False,
        h11_max_incomplete_event_size=HEAD_OCTETS,
        timeout_keep_alive=IDLE_SECONDS,
    )
    config.load()
    state = ServerState()
    loop = asyncio.get_running_loop()
    server = await loop.create_server(
        lambda: Connection(config, state, {}, loop),
        sock=listening,
        ssl=context,
        ssl_handshake_timeout=HANDSHAKE_SECONDS,
        backlog=CONNECTIONS_MAX,
    )
    try:
        yield int(listening.getsockname()[1])
    finally:
        server.close()
        for connection in list(state.connections):
            connection.shutdown()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(CLOSE_SECONDS):
                while state.tasks:
                    await asyncio.sleep(0.05)
        for task in list(state.tasks):
            task.cancel()

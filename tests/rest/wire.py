"""A client that says what it likes: octets over TLS, and what comes back."""

import contextlib
import json
import socket
import ssl
import time
from base64 import b64encode
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from culvert.lab.lab import Lab
from tests.rest.gateways import Gateway, prefix, web

SECONDS = 15.0


@contextlib.contextmanager
def alone(name: str) -> Iterator[Gateway]:
    """One gateway of a lab of its own, with its REST process."""
    lab = Lab(prefix(name))
    try:
        lab.add_topology()
        with web(lab, "a") as gateway:
            yield gateway
    finally:
        lab.down()


@dataclass(frozen=True, slots=True)
class Reply:
    """What a server said; status 0 when it closed without a word."""

    status: int
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""

    @property
    def json(self) -> Any:
        return json.loads(self.body)


def basic(user: str, password: str) -> str:
    return f"Authorization: Basic {b64encode(f'{user}:{password}'.encode()).decode()}"


def plain(gateway: Gateway | None, port: int, address: str = "127.0.0.1", source: str = "") -> socket.socket:
    """A TCP connection to a port of the gateway's namespace, or of our own."""
    place = gateway.lab.namespace(gateway.node) if gateway else None
    made = place.socket(socket.AF_INET, socket.SOCK_STREAM) if place else socket.socket()
    made.settimeout(SECONDS)
    if source:
        made.bind((source, 0))
    made.connect((address, port))
    return made


def secure(made: socket.socket, newest: ssl.TLSVersion | None = None) -> ssl.SSLSocket:
    """TLS on it, believing any certificate."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    if newest is not None:
        context.minimum_version, context.maximum_version = ssl.TLSVersion.TLSv1, newest
        context.set_ciphers("DEFAULT:@SECLEVEL=0")
    return context.wrap_socket(made)


class Wire:
    """One connection, used as a context manager."""

    def __init__(self, gateway: Gateway | None, port: int = 8443, source: str = "") -> None:
        self.socket = secure(plain(gateway, port, source=source))
        self._left = b""

    def __enter__(self) -> "Wire":
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def say(self, octets: bytes) -> None:
        self.socket.sendall(octets)

    def ask(self, method: str, target: str, *headers: str, body: Any = None) -> Reply:
        """One request and its answer."""
        octets = body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
        lines = [f"{method} {target} HTTP/1.1", "Host: 127.0.0.1:8443", *headers]
        if body is not None:
            lines.append(f"Content-Length: {len(octets)}")
        self.say("\r\n".join([*lines, "", ""]).encode("latin-1") + octets)
        return self.reply(method)

    def reply(self, method: str = "GET") -> Reply:
        """The next answer."""
        head = self._until(b"\r\n\r\n")
        if not head:
            return Reply(0)
        first, *lines = head.decode("latin-1").split("\r\n")
        headers = {name.lower(): text.strip() for name, _, text in (line.partition(":") for line in lines if line)}
        status = int(first.split()[1])
        if status == 100:
            return self.reply(method)
        count = 0 if method == "HEAD" else int(headers.get("content-length", "0"))
        while len(self._left) < count and (piece := self._piece()):
            self._left += piece
        body, self._left = self._left[:count], self._left[count:]
        return Reply(status, headers, body)

    def gone(self) -> float:
        """In how many seconds the server closes. Raises TimeoutError when it doesn't."""
        begun = time.monotonic()
        while self._piece():
            pass
        return time.monotonic() - begun

    def _until(self, mark: bytes) -> bytes:
        while mark not in self._left:
            piece = self._piece()
            if not piece:
                return b""
            self._left += piece
        head, _, self._left = self._left.partition(mark)
        return head

    def _piece(self) -> bytes:
        try:
            return self.socket.recv(65536)
        except (ConnectionError, ssl.SSLError):
            return b""

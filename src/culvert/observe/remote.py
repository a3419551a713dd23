"""A syslog far away: UDP datagrams (RFC 5426) or a TCP stream (RFC 6587), in the words of RFC 5424 or RFC 3164.

Nothing here waits: a datagram that the socket doesn't take is lost, and a stream has a thread and a bounded queue of
its own. What was lost is counted.
"""

import contextlib
import queue
import socket
import threading
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from logging.handlers import SysLogHandler

from culvert.observe.syslog import SEVERITIES

QUEUE_MAX = 1000
CONNECT_SECONDS = 5.0
AGAIN_SECONDS = 5.0
_MONTHS = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"]


@dataclass(frozen=True, slots=True)
class Address:
    """Where a remote syslog listens. `host` is an IP address; `stream`: TCP; `rfc5424`: the newer shape of a line."""

    host: str
    port: int
    stream: bool = False
    rfc5424: bool = True


def line(shape: Address, facility: str, severity: str, text: str, now: float, hostname: str) -> bytes:
    """One event as it goes out, without framing."""
    priority = SysLogHandler.facility_names[facility] << 3 | SEVERITIES.index(severity)
    moment = datetime.fromtimestamp(now, UTC)
    if shape.rfc5424:
        stamp = moment.strftime("%Y-%m-%dT%H:%M:%S.") + f"{moment.microsecond // 1000:03d}Z"
        return f"<{priority}>1 {stamp} {hostname} culvert - - - {text}".encode("utf-8", "replace")
    stamp = f"{_MONTHS[moment.month - 1]} {moment.day:2d} {moment:%H:%M:%S}"
    return f"<{priority}>{stamp} {hostname} culvert: {text}".encode("utf-8", "replace")


class RemoteSyslog:
    """Sends events to one address until it is closed. `lost` counts those that could not go out."""

    def __init__(self, address: Address, now: Callable[[], float]) -> None:
        self.address = address
        self.lost = 0
        self._now = now
        self._hostname = socket.gethostname()
        self._stream = _Stream(address, self._lose) if address.stream else None
        family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
        self._datagrams = None if address.stream else socket.socket(family, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)

    def send(self, facility: str, severity: str, *texts: str) -> None:
        """Events. Never waits and never raises."""
        for text in texts:
            self._send(line(self.address, facility, severity, text, self._now(), self._hostname))

    def _send(self, octets: bytes) -> None:
        if self._stream is not None:
            self._stream.put(octets)
        elif self._datagrams is not None:
            try:
                self._datagrams.sendto(octets, (self.address.host, self.address.port))
            except OSError:
                self._lose()

    def close(self) -> None:
        """Let go; what a stream still had to send gets a moment for it."""
        if self._stream is not None:
            self._stream.close()
        if self._datagrams is not None:
            self._datagrams.close()

    def _lose(self) -> None:
        self.lost += 1


class _Stream:
    """A connection that is made again after it broke, fed from a queue by a thread of its own."""

    def __init__(self, address: Address, lose: Callable[[], None]) -> None:
        self._address = address
        self._lose = lose
        self._waiting: queue.Queue[bytes | None] = queue.Queue(QUEUE_MAX)
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="remote-syslog", daemon=True)
        self._thread.start()

    def put(self, octets: bytes) -> None:
        try:
            # Octet counting (RFC 6587 section 3.4.1).
            self._waiting.put_nowait(f"{len(octets)} ".encode() + octets)
        except queue.Full:
            self._lose()

    def close(self) -> None:
        with contextlib.suppress(queue.Full):
            self._waiting.put_nowait(None)
        self._thread.join(1.0)
        self._ended.set()

    def _run(self) -> None:
        connection: socket.socket | None = None
        while (octets := self._waiting.get()) is not None and not self._ended.is_set():
            connection = self._sent(connection, octets)
        if connection is not None:
            connection.close()

    def _sent(self, connection: socket.socket | None, octets: bytes) -> socket.socket | None:
        """Send; the connection to go on with, None when there is none. A line that breaks it is lost."""
        try:
            if connection is None:
                connection = socket.create_connection((self._address.host, self._address.port), CONNECT_SECONDS)
            connection.sendall(octets)
        except OSError:
            self._lose()
            if connection is not None:
                connection.close()
            self._ended.wait(AGAIN_SECONDS if connection is None else 0.0)
            return None
        return connection

"""Traffic between the client and the server: pings, and a file."""

import contextlib
import hashlib
import os
import re
import socket
import threading
from collections.abc import Callable
from dataclasses import dataclass

from culvert.lab import program
from culvert.lab.errors import LabError
from culvert.lab.lab import Lab
from culvert.lab.topology import CLIENT, SERVER, SERVER_ADDRESSES

_SUMMARY = re.compile(r"(\d+) packets transmitted, (\d+) received.*?([\d.]+)% packet loss")
_PORT = 8000
_CHUNK_OCTETS = 1 << 18
_SILENCE_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class Pings:
    """What ping counted. `summary` is its own closing line."""

    sent: int
    received: int
    summary: str

    @property
    def lost(self) -> int:
        return self.sent - self.received


def ping(lab: Lab, address: str, count: int, octets: int = 56, interval_seconds: float = 0.05,
         wait_seconds: int = 2) -> Pings:
    """Send `count` pings with `octets` of data from the client."""
    command = [
        "ping", "-n", "-q", "-c", str(count), "-i", str(interval_seconds), "-W", str(wait_seconds), "-s", str(octets),
        address,
    ]
    outcome = program.run(lab.namespace(CLIENT).command(command), env={"LC_ALL": "C"})
    found = _SUMMARY.search(outcome.output)
    if found is None:
        raise LabError(f"ping {address} said nothing that we understand", outcome.errors or outcome.output)
    return Pings(int(found[1]), int(found[2]), found[0])


@dataclass(frozen=True, slots=True)
class Transfer:
    """A file that arrived. `intact`: what was received is what was sent, octet for octet."""

    octets: int
    seconds: float
    intact: bool


class _Sender:
    """The server's side: sends `octets` random octets to the first who connects."""

    def __init__(self, lab: Lab, octets: int) -> None:
        self.digest = hashlib.sha256()
        self._octets = octets
        self._listener = lab.namespace(SERVER).socket(socket.AF_INET, socket.SOCK_STREAM)
        self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._listener.settimeout(_SILENCE_SECONDS)
        self._listener.bind((SERVER_ADDRESSES[0], _PORT))
        self._listener.listen(1)
        self._thread = threading.Thread(target=self._send, daemon=True)
        self._thread.start()

    def _send(self) -> None:
        # A connection that breaks shows on the receiving side, as too few octets.
        with contextlib.suppress(OSError):
            connection, _peer = self._listener.accept()
            with connection:
                connection.settimeout(_SILENCE_SECONDS)
                self._send_all(connection)

    def _send_all(self, connection: socket.socket) -> None:
        left = self._octets
        while left:
            chunk = os.urandom(min(left, _CHUNK_OCTETS))
            self.digest.update(chunk)
            connection.sendall(chunk)
            left -= len(chunk)

    def close(self) -> None:
        self._thread.join(_SILENCE_SECONDS)
        self._listener.close()


def transfer(lab: Lab, octets: int, reached: Callable[[int], None], clock: Callable[[], float]) -> Transfer:
    """Fetch `octets` over one TCP connection from the server to the client; `reached` hears how many arrived."""
    sender = _Sender(lab, octets)
    digest, received, started = hashlib.sha256(), 0, clock()
    try:
        with lab.namespace(CLIENT).socket(socket.AF_INET, socket.SOCK_STREAM) as connection:
            connection.settimeout(_SILENCE_SECONDS)
            connection.connect((SERVER_ADDRESSES[0], _PORT))
            while chunk := connection.recv(_CHUNK_OCTETS):
                digest.update(chunk)
                received += len(chunk)
                reached(received)
    except OSError as failure:
        raise LabError(f"the transfer broke off after {received:,} of {octets:,} octets: {failure}") from None
    finally:
        sender.close()
    return Transfer(received, clock() - started, digest.digest() == sender.digest.digest())

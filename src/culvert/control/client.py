"""The other side of the door: a synchronous client of culvertd's socket, for every face."""

import json
import os
import socket
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self

from culvert.control.errors import ControlError, Refused, Unavailable

DEFAULT_PATH = Path("/run/culvert/culvertd.sock")
TIMEOUT_SECONDS = 60.0
LOAD_SECONDS = 900.0
"""A file of many thousand tunnels takes a busy machine minutes; who gave it up would not know what runs."""
_CHUNK = 256 * 1024


def default_path() -> Path:
    """The socket that CULVERT_SOCKET names, else /run/culvert/culvertd.sock."""
    return Path(os.environ.get("CULVERT_SOCKET") or DEFAULT_PATH)


class Part(NamedTuple):
    """Some records, of so many in all."""

    records: list[Any]
    of: int


class Client:
    """One connection to culvertd, made at the first call and again after it broke. For one thread.

    `timeout` is in seconds and holds for a whole call; a `load` has LOAD_SECONDS if that is more. Use as a context
    manager, or `close()` it.
    """

    def __init__(self, path: Path | None = None, timeout: float = TIMEOUT_SECONDS) -> None:
        self._path = default_path() if path is None else path
        self._timeout = timeout
        self._socket: socket.socket | None = None
        self._received = bytearray()
        self._number = 0
        self._is_streaming = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Drop the connection; a later call makes a new one."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None
        self._received.clear()
        self._is_streaming = False

    def call(self, name: str, /, **args: object) -> object:
        """Ask the daemon and give its result, JSON values only.

        Raises the ControlError that the daemon answered; Unavailable when it doesn't answer, and then the
        request may have been carried out unless the sentence says that the daemon wasn't reached; Refused
        when this user may not connect. `args` must be JSON-able (TypeError, ValueError).
        """
        return self._ask({"call": name, "args": args}, LOAD_SECONDS if name == "load" else 0.0)

    def stream(self, name: str, /, **args: object) -> Iterator[Part]:
        """As `call`, for a list that comes in parts, each as soon as it is there; `timeout` holds for each.

        Who ends it early drops the connection. A daemon that has no parts gives all of it as one.
        """
        request: dict[str, object] = {"call": name, "args": {**args, "stream": True}}
        found = self._answer_to(self._numbered(request))
        own, self._is_streaming = self._socket, True
        while "part" in found and found.get("id") == self._number:
            try:
                yield Part(found["part"], found["of"])
            except BaseException:
                if self._socket is own:
                    self.close()
                raise
            if self._socket is not own:
                # What comes on this one is for somebody else.
                raise self._lost("the connection was used for something else")
            found = self._answer_to(None)
        self._is_streaming = False
        rest = self._result(found)
        if isinstance(rest, list) and rest:
            yield Part(rest, len(rest))

    def call_as(self, credentials: Mapping[str, str], name: str, /, **args: object) -> object:
        """As `call`, for the user whom `credentials` prove: {token, address} or {username, password, address}.

        `address` is where that user is, "" when unknown. Raises Unauthorized and TooMany besides.
        """
        return self._ask({"call": name, "args": args, "as": dict(credentials)})

    def _ask(self, request: dict[str, object], patience: float = 0.0) -> object:
        return self._result(self._answer_to(self._numbered(request), max(self._timeout, patience)))

    def _numbered(self, request: dict[str, object]) -> bytes:
        if self._is_streaming:
            # Parts of another answer would be taken for this one.
            self.close()
        self._number += 1
        request["id"] = self._number
        return json.dumps(request, allow_nan=False).encode() + b"\n"

    def _answer_to(self, line: bytes | None, seconds: float | None = None) -> dict[str, Any]:
        """The next line of the daemon's, after `line` if that is to be asked first. {} for what is no line of its."""
        try:
            answer = self._exchange(line, self._timeout if seconds is None else seconds)
        except BaseException:
            # What comes next on this connection would be the answer to the request that was given up.
            self.close()
            raise
        try:
            found = json.loads(answer)
        except (ValueError, RecursionError):
            found = None
        return found if isinstance(found, dict) else {}

    def _exchange(self, line: bytes | None, seconds: float) -> bytes:
        deadline = time.monotonic() + seconds
        connection = self._socket if line is None else self._connected(deadline)
        if connection is None:
            raise self._lost("there is no connection")
        try:
            if line is not None:
                self._send(connection, line, deadline)
            return self._receive(connection, deadline)
        except TimeoutError:
            raise Unavailable(
                f"culvertd at {self._path} gave no answer within {seconds:g} seconds; "
                "the request may still be carried out"
            ) from None
        except OSError as error:
            raise self._lost(error.strerror or str(error)) from None

    def _connected(self, deadline: float) -> socket.socket:
        if self._socket is not None and _is_dead(self._socket):
            self.close()
        if self._socket is None:
            self._socket = self._connect(deadline)
        return self._socket

    def _connect(self, deadline: float) -> socket.socket:
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            connection.settimeout(_left(deadline))
            connection.connect(str(self._path))
        except PermissionError:
            connection.close()
            raise Refused(
                f"no permission to talk to culvertd at {self._path}: only root and members of group culvert may"
            ) from None
        except OSError as error:
            connection.close()
            reason = "no answer" if isinstance(error, TimeoutError) else error.strerror or str(error)
            raise Unavailable(f"culvertd does not answer at {self._path}: {reason}; is it running?") from None
        return connection

    def _send(self, connection: socket.socket, line: bytes, deadline: float) -> None:
        connection.settimeout(_left(deadline))
        try:
            connection.sendall(line)
        except BrokenPipeError:
            # A daemon that refuses us says why and closes without reading; its sentence is still there.
            return

    def _receive(self, connection: socket.socket, deadline: float) -> bytes:
        searched = 0
        while (end := self._received.find(b"\n", searched)) < 0:
            searched = len(self._received)
            connection.settimeout(_left(deadline))
            chunk = connection.recv(_CHUNK)
            if not chunk:
                raise self._lost("it closed the connection")
            self._received += chunk
        answer = bytes(self._received[:end])
        del self._received[: end + 1]
        return answer

    def _lost(self, reason: str) -> Unavailable:
        return Unavailable(
            f"culvertd at {self._path} went away before it answered ({reason}); the request may have been carried out"
        )

    def _result(self, found: Mapping[str, Any]) -> object:
        if "error" in found:
            if found.get("id") != self._number:
                # Without our number the daemon speaks of the connection, and closes it.
                self.close()
            raise ControlError.from_json(found["error"])
        if found.get("id") != self._number or "result" not in found:
            self.close()
            raise Unavailable(f"what answers at {self._path} is not culvertd")
        return found["result"]


def _left(deadline: float) -> float:
    left = deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError
    return left


def _is_dead(connection: socket.socket) -> bool:
    """Whether the daemon closed this connection while it was idle: then nothing was asked, and asking is safe."""
    connection.setblocking(False)
    try:
        return connection.recv(1, socket.MSG_PEEK) == b""
    except BlockingIOError:
        return False
    except OSError:
        return True

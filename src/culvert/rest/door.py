"""The control socket for many requests at once: a few connections, each used by one thread at a time."""

import queue
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from culvert.control.client import Client
from culvert.control.errors import Unavailable

Json = Any
WAIT_SECONDS = 30.0


class Door:
    """`call` asks culvertd as whoever the credentials are of; nothing is asked as this process itself but a login."""

    def __init__(self, path: Path, connections: int) -> None:
        self._idle: queue.LifoQueue[Client] = queue.LifoQueue()
        for _ in range(connections):
            self._idle.put(Client(path))

    def call(self, credentials: Mapping[str, str] | None, name: str, /, **args: Json) -> Json:
        """The daemon's result. Raises ControlError."""
        try:
            client = self._idle.get(timeout=WAIT_SECONDS)
        except queue.Empty:
            raise Unavailable("culvertd is busy with other requests; try again") from None
        try:
            if credentials is None:
                return client.call(name, **args)
            return client.call_as(credentials, name, **args)
        finally:
            self._idle.put(client)

    def close(self) -> None:
        """Drop the connections that are idle."""
        while True:
            try:
                self._idle.get_nowait().close()
            except queue.Empty:
                return

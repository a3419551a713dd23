"""A server in a thread of its own, for tests that are its clients."""

import asyncio
import json
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from culvert.control.server import Server


@contextmanager
def serving(server: Server) -> Iterator[Callable[[], None]]:
    """Run `server` until the block ends; gives a function that stops it earlier."""
    loop = asyncio.new_event_loop()
    loop.run_until_complete(server.start())
    thread = threading.Thread(target=loop.run_forever)
    thread.start()

    def stop() -> None:
        asyncio.run_coroutine_threadsafe(server.close(), loop).result(10)

    try:
        yield stop
    finally:
        stop()
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


class Raw:
    """A client that sends whatever octets it likes."""

    def __init__(self, path: Path, seconds: float = 10.0) -> None:
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.socket.settimeout(seconds)
        self.socket.connect(str(path))
        self.lines = self.socket.makefile("rb")

    def ask(self, octets: bytes) -> dict:
        self.socket.sendall(octets)
        return self.answer()

    def answer(self) -> dict:
        return json.loads(self.lines.readline())

    def close(self) -> None:
        self.lines.close()
        self.socket.close()

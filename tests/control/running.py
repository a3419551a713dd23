"""A server in a thread of its own, for tests that are its clients."""

import asyncio
import json
import socket
import subprocess
import sys
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


AS_OTHER = """
import os, socket, sys
os.setgroups([]); os.setgid(int(sys.argv[2])); os.setuid(int(sys.argv[3]))
s = socket.socket(socket.AF_UNIX); s.settimeout(10); s.connect(sys.argv[1])
try:
    s.sendall(b'{"id": 5, "call": "who"}\\n')
except BrokenPipeError:
    pass
lines = s.makefile("rb")
print(lines.readline().decode(), end="")
s.settimeout(0.5)
try:
    print("open" if lines.readline() else "closed")
except ConnectionResetError:
    print("closed")
except TimeoutError:
    print("open")
"""


def as_other(path: Path, uid: int, gid: int) -> tuple[dict, str]:
    """What another user is answered, and whether the connection was then closed to him."""
    command = [sys.executable, "-c", AS_OTHER, str(path), str(gid), str(uid)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, timeout=20, check=True)
    first, state = done.stdout.splitlines()
    return json.loads(first), state

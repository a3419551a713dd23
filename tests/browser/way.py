"""A way for a browser to a gateway that lives in a namespace of its own: octets are carried there."""

import contextlib
import socket
import threading
from collections.abc import Iterator

from tests.rest.gateways import Gateway

PIECE = 1 << 16


@contextlib.contextmanager
def way(gateway: Gateway) -> Iterator[str]:
    """The address that leads there, until the end of the block."""
    with socket.create_server(("127.0.0.1", 0), backlog=64) as listening:
        stopped = threading.Event()
        thread = threading.Thread(target=_accept, args=(gateway, listening, stopped))
        thread.start()
        try:
            yield f"https://127.0.0.1:{listening.getsockname()[1]}"
        finally:
            stopped.set()
            with contextlib.suppress(OSError):
                listening.shutdown(socket.SHUT_RDWR)
            thread.join(10)


def _accept(gateway: Gateway, listening: socket.socket, stopped: threading.Event) -> None:
    place = gateway.lab.namespace(gateway.node)
    with contextlib.ExitStack() as stack:
        while not stopped.is_set():
            try:
                here, _ = listening.accept()
            except OSError:
                break
            there = place.socket(socket.AF_INET, socket.SOCK_STREAM)
            with contextlib.suppress(OSError):
                there.connect(("127.0.0.1", gateway.port))
            for own in (here, there):
                stack.callback(_close, own)
            for source, target in ((here, there), (there, here)):
                threading.Thread(target=_carry, args=(source, target), daemon=True).start()


def _carry(source: socket.socket, target: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while piece := source.recv(PIECE):
            target.sendall(piece)
    with contextlib.suppress(OSError):
        target.shutdown(socket.SHUT_WR)


def _close(own: socket.socket) -> None:
    with contextlib.suppress(OSError):
        own.shutdown(socket.SHUT_RDWR)
    own.close()

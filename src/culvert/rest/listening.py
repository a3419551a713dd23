"""A listening socket that counts: connections in all and by address, from the first packet to the last.

TLS comes later, so a client that never says a word of it is counted here, and only here.
"""

import socket
from collections import Counter
from collections.abc import Callable
from typing import Any, Self


class Accepted(socket.socket):
    """A connection that tells when it is closed."""

    on_close: Callable[[], None] | None = None

    def close(self) -> None:
        """Close it, and tell once."""
        tell, self.on_close = self.on_close, None
        super().close()
        if tell is not None:
            tell()


class Listening(socket.socket):
    """Gives connections up to a number in all and a number of each address; what is more is closed at once."""

    most: int
    most_of_address: int
    open: Counter[str]

    @classmethod
    def of(cls, bound: socket.socket, most: int, most_of_address: int) -> Self:
        """Takes over a bound socket."""
        made = cls(bound.family, bound.type, bound.proto, fileno=bound.detach())
        made.most, made.most_of_address = most, most_of_address
        made.open = Counter()
        return made

    def accept(self) -> tuple[socket.socket, Any]:
        """The next connection. Raises ConnectionAbortedError for one too many, as if it had gone by itself."""
        plain, address = super().accept()
        host = str(address[0])
        made = Accepted(plain.family, plain.type, plain.proto, fileno=plain.detach())
        # The loop sets it for sockets that say to be TCP by number, which one made without a number doesn't. A second
        # piece of an answer would wait for the client's acknowledgement, and that for 40 ms (RFC 1122 4.2.3.2).
        made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if self.open.total() >= self.most or self.open[host] >= self.most_of_address:
            made.close()
            raise ConnectionAbortedError
        self.open[host] += 1
        made.on_close = lambda: self._count_off(host)
        return made, address

    def _count_off(self, host: str) -> None:
        self.open[host] -= 1
        if self.open[host] <= 0:
            del self.open[host]

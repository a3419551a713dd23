"""A transport whose writes of one turn of the loop go out together.

The HTTP library writes a head, a body and an end one by one. Each would be a record of TLS and a packet of its own, and
a client would be woken twice for one answer.
"""

import asyncio
from typing import Any

AT_ONCE_OCTETS = 64 * 1024
"""What is as long as this gains nothing by waiting."""


class Joined:
    """Stands in for `transport`; everything but writing and the end is the transport's own."""

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        self._transport = transport
        self._loop = loop
        self._waiting = bytearray()

    def write(self, data: bytes) -> None:
        """Send it before the loop looks at anything else."""
        if data and not self._waiting:
            self._loop.call_soon(self._flush)
        self._waiting += data
        if len(self._waiting) >= AT_ONCE_OCTETS:
            self._flush()

    def close(self) -> None:
        """Close when what was written is sent."""
        self._flush()
        self._transport.close()

    def abort(self) -> None:
        """Close now, and forget what waits."""
        self._waiting.clear()
        self._transport.abort()

    def _flush(self) -> None:
        if self._waiting:
            data, self._waiting = bytes(self._waiting), bytearray()
            self._transport.write(data)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

"""What arrived and found no room: the kernel counts it at each socket, and here it becomes drops with a reason.

The sockets outlive a packet process, and so does what the kernel counts at them. Therefore the counters file says up to
where it is counted already: a successor with the same sockets goes on there, and so counts what was lost while there
was nobody to hear.
"""

import socket
import struct
from collections.abc import Iterable
from zlib import crc32

from culvert.dataplane.userspace.counters import Counters
from culvert.ipsec.drops import Reason

# Constants of Linux that Python's socket module doesn't have.
SO_MEMINFO = 55
SO_COOKIE = 57
_MEMINFO = struct.Struct("=9I")
_LOST = 8
"""SK_MEMINFO_DROPS."""
_ROUND = 1 << 32


class Overflows:
    """Of the sockets that protected packets arrive at."""

    def __init__(self, opened: Iterable[socket.socket], counters: Counters) -> None:
        """Go on where a predecessor stopped that had the same sockets."""
        self._opened = tuple(opened)
        self._counters = counters
        self.is_due = False
        """Something arrived since `count`, so something may have been lost: without, nothing was."""
        self._cookies = crc32(b"".join(map(_cookie, self._opened)))
        sockets, counted = counters.looked
        lost = self._lost()
        # The numbers of sockets begin anew with the machine, and what is counted at them too.
        is_same = sockets == self._cookies and counted <= lost
        self._counted = counted if is_same else lost
        self.is_due = self._counted != lost

    def _lost(self) -> int:
        return sum(_MEMINFO.unpack(each.getsockopt(socket.SOL_SOCKET, SO_MEMINFO, 36))[_LOST] for each in self._opened)

    def count(self, now: float) -> None:
        """What was lost since the last time."""
        self.is_due = False
        lost = self._lost()
        more = (lost - self._counted) % _ROUND
        self._counted = lost
        self._counters.note_looked(self._cookies, lost)
        if more:
            self._counters.count_drop(Reason.BUFFER_FULL, now, words(more), more)


def words(packets: int) -> str:
    """As the last one in words: nobody has seen the packets."""
    return f"{packets} together, at the packet process's sockets"


def _cookie(opened: socket.socket) -> bytes:
    """What the kernel gave to no other socket."""
    return opened.getsockopt(socket.SOL_SOCKET, SO_COOKIE, 8)

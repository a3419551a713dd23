"""One capture: a packet socket at a link, and a thread that writes what arrives to a file without a name.

It runs beside all that is live and touches none of it. What it may take is bounded by time, packets and octets, and the
kernel drops the rest by the filter's program. The file is libpcap's classic format, with times in nanoseconds.
"""

import contextlib
import os
import socket
import struct
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from culvert.control import capture_filter
from culvert.control.capture_filter import ETHERNET_OCTETS, EVERYTHING, Wanted
from culvert.control.sighting import sighting

Json = Any
SECONDS_MAX, PACKETS_MAX, OCTETS_MAX = 60, 10_000, 32 * 1024 * 1024
SNAP_MAX, SNAP_MIN = 65535, 64
SEEN_MOST = 50
KEPT_SECONDS = 600.0
BUFFER_OCTETS = 4 * 1024 * 1024
LOOK_SECONDS = 0.2
_MAGIC_NANOSECONDS = 0xA1B23C4D
_LINKTYPES = {ETHERNET_OCTETS: 1, 0: 101}
_LINK_OCTETS = {1: ETHERNET_OCTETS, 772: ETHERNET_OCTETS, 65534: 0}
"""By the kernel's hardware type (if_arp.h): Ethernet, loopback, none."""
_EVERY_PROTOCOL = 0x0003
_PACKET, _STATISTICS, _AUXDATA = 263, 6, 8
_TIMESTAMP = 35
"""SO_TIMESTAMPNS and its message."""


@dataclass(frozen=True, slots=True)
class Order:
    """What is asked for. `place` is the link in words; `decrypted`: what is there is the tunnels' clear side."""

    link: str
    place: str
    decrypted: bool = False
    wanted: Wanted = EVERYTHING
    seconds: int = 10
    packets: int = 1000
    snap: int = SNAP_MAX

    def __str__(self) -> str:
        clear = ", decrypted" if self.decrypted else ""
        return f"{self.place} (link {self.link}){clear}: {self.wanted}"


class Recording:
    """Begins at once. `ended` is called in the thread that it has, when nothing is taken any more. Raises OSError."""

    def __init__(
        self, order: Order, directory: Path, ended: Callable[[], object], *, kept: float = KEPT_SECONDS
    ) -> None:
        self.order = order
        self.began = time.time()
        self.packets = 0
        self.octets = 0
        self.lost = 0
        self.trouble = ""
        self.seen: list[dict[str, Json]] = []
        self._stop, self._gone, self._lock = threading.Event(), threading.Event(), threading.Lock()
        self._running = True
        self._ended = ended
        self._kept = kept
        self._taker, self._link_octets = _opened(order)
        try:
            self._file = _unnamed(directory)
        except OSError:
            self._taker.close()
            raise
        self._write(_header(self._link_octets, order.snap))
        self._thread = threading.Thread(target=self._run, name="capture", daemon=True)
        self._thread.start()

    @property
    def is_running(self) -> bool:
        return self._running

    @property
    def is_gone(self) -> bool:
        """Whether its file is there no more."""
        return self._file < 0

    def state(self) -> dict[str, Json]:
        """What there is to tell while it runs and afterwards."""
        return {
            "place": self.order.place,
            "link": self.order.link,
            "decrypted": self.order.decrypted,
            "filter": str(self.order.wanted),
            "running": self.is_running,
            "began": self.began,
            "seconds": self.order.seconds,
            "packets_most": self.order.packets,
            "packets": self.packets,
            "octets": self.octets,
            "lost": self.lost,
            "trouble": self.trouble,
            "seen": list(self.seen),
        }

    def read(self, offset: int, count: int) -> bytes:
        """A piece of the file; b"" behind its end, and when it is gone."""
        with self._lock:
            # Asked under the lock: a descriptor that is closed meanwhile may be another file's by then.
            return b"" if self._file < 0 else os.pread(self._file, count, offset)

    def stop(self) -> None:
        """Take nothing any more; what was taken stays."""
        self._stop.set()

    def close(self) -> None:
        """Stop, and let go of the file."""
        self._stop.set()
        self._gone.set()
        self._thread.join(10)

    def _run(self) -> None:
        try:
            with self._taker:
                self._take()
                with contextlib.suppress(OSError):
                    _, self.lost = struct.unpack("=II", self._taker.getsockopt(_PACKET, _STATISTICS, 8))
        except OSError as error:
            self.trouble = error.strerror or str(error)
        self._running = False
        try:
            self._ended()
            self._gone.wait(self._kept)
        finally:
            with self._lock:
                os.close(self._file)
                self._file = -1

    def _take(self) -> None:
        deadline = time.monotonic() + self.order.seconds
        self._taker.settimeout(LOOK_SECONDS)
        while self.packets < self.order.packets and time.monotonic() < deadline and not self._stop.is_set():
            try:
                octets, told, _, _ = self._taker.recvmsg(self.order.snap, 256)
            except TimeoutError:
                continue
            nanoseconds, length = _told(told, len(octets))
            seconds, rest = divmod(nanoseconds, 10**9)
            record = struct.pack("<IIII", seconds, rest, len(octets), length) + octets
            if self.octets + len(record) > OCTETS_MAX:
                return
            self._write(record)
            self.packets += 1
            if len(self.seen) < SEEN_MOST:
                after = max(0.0, round(nanoseconds / 10**9 - self.began, 6))
                self.seen.append({"after": after, "length": length, **sighting(octets, self._link_octets)})

    def _write(self, octets: bytes) -> None:
        view = memoryview(octets)
        while view:
            view = view[os.write(self._file, view) :]
        self.octets += len(octets)


def _unnamed(directory: Path) -> int:
    """A new file that goes with its descriptor."""
    descriptor, name = tempfile.mkstemp(dir=directory, prefix="capture-")
    Path(name).unlink()
    return descriptor


def _opened(order: Order) -> tuple[socket.socket, int]:
    """A socket that gets nothing until its filter is in place, and how long the link's header is."""
    taker = socket.socket(socket.AF_PACKET, socket.SOCK_RAW | socket.SOCK_CLOEXEC, 0)
    try:
        taker.bind((order.link, 0))
        link_octets = _LINK_OCTETS.get(taker.getsockname()[3])
        if link_octets is None:
            raise OSError(0, f"link {order.link} is of a sort that can't be captured")
        taker.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, BUFFER_OCTETS)
        taker.setsockopt(socket.SOL_SOCKET, _TIMESTAMP, 1)
        taker.setsockopt(_PACKET, _AUXDATA, 1)
        capture_filter.attach(taker, capture_filter.program(order.wanted, order.snap, link_octets))
        taker.bind((order.link, _EVERY_PROTOCOL))
    except BaseException:
        taker.close()
        raise
    return taker, link_octets


def _told(messages: list[tuple[int, int, bytes]], length: int) -> tuple[int, int]:
    """When a packet came, in nanoseconds since the epoch, and how long it was before it was cut."""
    nanoseconds = time.time_ns()
    for level, kind, data in messages:
        if (level, kind) == (socket.SOL_SOCKET, _TIMESTAMP):
            seconds, rest = struct.unpack("=qq", data[:16])
            nanoseconds = seconds * 10**9 + rest
        elif (level, kind) == (_PACKET, _AUXDATA):
            length = max(length, struct.unpack("=II", data[:8])[1])
    return nanoseconds, length


def _header(link_octets: int, snap: int) -> bytes:
    return struct.pack("<IHHiIII", _MAGIC_NANOSECONDS, 2, 4, 0, 0, snap, _LINKTYPES[link_octets])

"""A small sniffer: sees what goes through one link of one namespace, in both directions."""

import contextlib
import socket
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator

from culvert.lab import frames
from culvert.lab.frames import EchoId, Sighting, Sort
from culvert.lab.namespace import Namespace

_ETH_P_ALL = 0x0003
_SOL_PACKET, _PACKET_STATISTICS = 263, 6
_SO_RCVBUFFORCE = 33
_BUFFER_OCTETS = 32 << 20
_WHOLE_FRAME = 65_600
_SAMPLES_KEPT = 20


class WanTally:
    """Counts what wan links carry; keeps words about the frames that were in clear. Several taps may share one."""

    snap_octets = 128

    def __init__(self) -> None:
        self.counts: Counter[Sort] = Counter()
        self.spis: Counter[int] = Counter()
        self.clear_samples: list[str] = []
        self._lock = threading.Lock()

    def see(self, frame: bytes) -> None:
        sighting: Sighting = frames.sort(frame)
        with self._lock:
            self.counts[sighting.sort] += 1
            if sighting.spi is not None:
                self.spis[sighting.spi] += 1
            if sighting.sort is Sort.CLEAR and len(self.clear_samples) < _SAMPLES_KEPT:
                self.clear_samples.append(sighting.words)

    @property
    def only_esp(self) -> bool:
        return self.counts[Sort.ESP] > 0 and self.counts[Sort.AH] == self.counts[Sort.CLEAR] == 0


class EchoLog:
    """Keeps every ping that passes, in the form in which it must come out at the other end."""

    snap_octets = _WHOLE_FRAME

    def __init__(self) -> None:
        self.packets: dict[EchoId, bytes] = {}

    def see(self, frame: bytes) -> None:
        found = frames.echo(frame)
        if found is not None:
            self.packets[found[0]] = found[1]


Watcher = WanTally | EchoLog


class Tap:
    """One listening socket and the thread that empties it. `missed` counts frames that came too fast."""

    def __init__(self, namespace: Namespace, link: str, see: Callable[[bytes], None], snap_octets: int) -> None:
        self._see = see
        self._snap_octets = snap_octets
        self._stopping = threading.Event()
        self._socket = namespace.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
        self._socket.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _BUFFER_OCTETS)
        self._socket.settimeout(0.1)
        # From here on the kernel queues frames: nothing that comes after this line is missed.
        self._socket.bind((link, _ETH_P_ALL))
        self._thread = threading.Thread(target=self._listen, name=f"tap {namespace.name} {link}", daemon=True)
        self._thread.start()
        self.missed = 0

    def _listen(self) -> None:
        while True:
            try:
                frame = self._socket.recv(self._snap_octets)
            except TimeoutError:
                if self._stopping.is_set():
                    return
                continue
            self._see(frame)

    def close(self) -> None:
        """Stop once the queue is empty."""
        self._stopping.set()
        self._thread.join()
        statistics = self._socket.getsockopt(_SOL_PACKET, _PACKET_STATISTICS, 8)
        self.missed = int.from_bytes(statistics[4:8], sys.byteorder)
        self._socket.close()


@contextlib.contextmanager
def watch(namespace: Namespace, link: str, watcher: Watcher) -> Iterator[Tap]:
    """Let `watcher` see every frame of the link until the block ends."""
    tap = Tap(namespace, link, watcher.see, watcher.snap_octets)
    try:
        yield tap
    finally:
        tap.close()

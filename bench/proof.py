"""Before anybody is timed: a transfer arrives whole, and the wan carries what it should and no clear text.

A witness looks at both wan links meanwhile. Every packet is sorted by the lab's own reader of frames, and searched
for a text that the client sends; in plain forwarding the witness must find that text, or it would be blind
elsewhere too.
"""

import secrets
import socket
import threading
import time
from collections import Counter
from contextlib import ExitStack
from enum import StrEnum

from bench.stage import Stage
from culvert.lab import frames, traffic
from culvert.lab.errors import LabError
from culvert.lab.frames import Sort
from culvert.lab.tap import Tap
from culvert.lab.topology import CLIENT, SERVER_ADDRESSES, WAN, WAN_LINKS

TRANSFER_OCTETS = 4_000_000
_MARKED_PACKETS = 5
_PORT = 9
_SETTLE_SECONDS = 0.2
_UDP, _IKE_PORTS, WIREGUARD_PORT = 17, (500, 4500), 51820
_WIREGUARD_TYPES = range(1, 5)


class Wire(StrEnum):
    """What a contestant may send over the wan, besides neighbour talk."""

    CLEAR = "packets in clear"
    ESP = "ESP"
    ESP_IN_UDP = "ESP in UDP, IKE"
    WIREGUARD = "WireGuard"


def prove(stage: Stage, wire: Wire) -> str:
    """What was seen, in words; LabError says what was wrong."""
    witness = Witness()
    with ExitStack() as stack:
        taps = [Tap(stage.namespace(WAN), link, witness.see, Witness.snap_octets) for link in WAN_LINKS]
        for tap in taps:
            stack.callback(tap.close)
        done = traffic.transfer(stage.lab, TRANSFER_OCTETS, lambda _: None, time.monotonic)
        _send_marked(stage, witness.mark)
        time.sleep(_SETTLE_SECONDS)
    if not done.intact or done.octets != TRANSFER_OCTETS:
        raise LabError(f"the transfer did not arrive whole: {done.octets:,} of {TRANSFER_OCTETS:,} octets")
    return witness.judge(wire, sum(tap.missed for tap in taps))


def _send_marked(stage: Stage, mark: bytes) -> None:
    with stage.namespace(CLIENT).socket(socket.AF_INET, socket.SOCK_DGRAM) as own:
        for _ in range(_MARKED_PACKETS):
            own.sendto(mark, (SERVER_ADDRESSES[0], _PORT))


class Witness:
    """Sorts what the wan carries; several links may share one."""

    snap_octets = 256

    def __init__(self) -> None:
        self.mark = secrets.token_hex(16).encode()
        self.marked = 0
        self.counts: Counter[Wire] = Counter()
        self._sample = ""
        self._lock = threading.Lock()

    def see(self, frame: bytes) -> None:
        sighting = frames.sort(frame)
        if sighting.sort is Sort.NEIGHBOUR:
            return
        wire = Wire.CLEAR
        if sighting.sort is Sort.ESP:
            wire = Wire.ESP if frame[23] != _UDP else Wire.ESP_IN_UDP
        elif sighting.sort is Sort.CLEAR:
            wire = _peer_talk(frame)
        with self._lock:
            self.counts[wire] += 1
            self.marked += self.mark in frame
            if wire is Wire.CLEAR:
                self._sample = self._sample or sighting.words

    def judge(self, wire: Wire, missed: int) -> str:
        found = ", ".join(f"{count:,} x {kind}" for kind, count in sorted(self.counts.items()))
        if wire is Wire.CLEAR:
            if not self.marked:
                raise LabError("the witness on the wan did not see what was sent in clear")
            return found
        if missed:
            raise LabError(f"the witness on the wan missed {missed} frames")
        if self.marked or set(self.counts) != {wire}:
            raise LabError(f"not only {wire} on the wan: {found}; {self.marked} with clear text; {self._sample}")
        return found


def _peer_talk(frame: bytes) -> Wire:
    """What the lab's reader takes for clear: an IKE message, WireGuard, or really clear."""
    if len(frame) < 43 or frame[12:14] != b"\x08\0" or frame[23] != _UDP:
        return Wire.CLEAR
    start = 14 + (frame[14] & 15) * 4
    source, destination = int.from_bytes(frame[start : start + 2]), int.from_bytes(frame[start + 2 : start + 4])
    if source in _IKE_PORTS and destination in _IKE_PORTS:
        return Wire.ESP_IN_UDP
    kind = frame[start + 8 : start + 12]
    if source == destination == WIREGUARD_PORT and kind[0] in _WIREGUARD_TYPES and kind[1:] == bytes(3):
        return Wire.WIREGUARD
    return Wire.CLEAR

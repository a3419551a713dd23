"""The counters file: what survives when the packet process, or all of Culvert, is killed.

Both processes map the same file. The packet process writes numbers, above all the send sequence of an SA
before the packet that carries it leaves; the parent hands out the slots. Memory that is mapped from a file
belongs to the kernel, so SIGKILL loses nothing. A power cut may lose the last seconds: the boot id tells, and
then the send sequences jump ahead, because to repeat one is worse than to skip a million (RFC 4303 section
3.3.3: the peer drops repeats as replays; with counter modes a repeat gives the key stream away).

Every number is eight octets at a multiple of eight, in the machine's own order: one store each, never torn.
The lock on the file belongs to the open file that both processes share, so a restarted parent waits until
the packet process of its predecessor is gone too, and no two processes count on the same sequence.
"""

import contextlib
import fcntl
import mmap
import os
import struct
import time
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

from culvert.ipsec.drops import Reason
from culvert.ipsec.sa import Direction

MAGIC = b"CULVERT1"
BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
HEADER_OCTETS = 8192
SLOT_OCTETS = 320
SLOTS_GROWTH = 256
SLOTS_MAX = 65536
SEQUENCE_MAX = 2**32 - 1
SEQUENCE_JUMP = 2**20
LOCK_WAIT_SECONDS = 5.0

# Header, in numbers of eight octets: magic, slots in use, boot id (2), MODES rows, one record per reason.
_SLOTS, _BOOT, _MODES, _DROPS = 1, 2, 8, 32
_DROP_NUMBERS, _DROP_REASONS = 24, 32
_LAST_OCTETS = (_DROP_NUMBERS - 2) * 8

# Slot, in numbers of eight octets: identity (2), direction, sequence, packets, octets, last use, created, drops.
IDENTITY, DIRECTION, SEQUENCE, PACKETS, OCTETS, LAST_USE, CREATED, DROPS = 0, 2, 3, 4, 5, 6, 7, 8

_SLOT_NUMBERS = SLOT_OCTETS // 8
_HEADER_NUMBERS = HEADER_OCTETS // 8
_SLOT_START = struct.Struct("=16sQQ")
"""Identity, direction, sequence."""
_OUT = 2
_IN = 1


class CountersBusy(Exception):
    """Another process works with this file."""


class Counters:
    """One mapping of the file. `numbers` and `times` are its eight-octet words as integers and as floats."""

    def __init__(self, fd: int) -> None:
        self.fd = fd
        self._map()

    def _map(self) -> None:
        self._memory = mmap.mmap(self.fd, 0)
        octets = memoryview(self._memory)
        self.numbers = octets.cast("Q")
        self.times = octets.cast("d")

    def refresh(self) -> None:
        """Map again if the file has grown. The views of before stay valid and show the same memory."""
        if os.fstat(self.fd).st_size != len(self._memory):
            self._map()

    def base(self, slot: int) -> int:
        """Where a slot begins, as an index of `numbers` and `times`."""
        return _HEADER_NUMBERS + slot * _SLOT_NUMBERS

    def mode_base(self, row: int) -> int:
        """Where a row of MODES begins: packets in, octets in, packets out, octets out."""
        return _MODES + row * 4

    def count_drop(self, reason: Reason, now: float, last: str) -> None:
        base = _DROPS + reason * _DROP_NUMBERS
        text = last.encode()[:_LAST_OCTETS]
        self.numbers[base] += 1
        self.times[base + 1] = now
        start = (base + 2) * 8
        self._memory[start : start + _LAST_OCTETS] = text.ljust(_LAST_OCTETS, b"\0")

    def drop(self, reason: Reason) -> tuple[int, float, str]:
        """Packets, time of the last one, and that one in words."""
        base = _DROPS + reason * _DROP_NUMBERS
        start = (base + 2) * 8
        text = self._memory[start : start + _LAST_OCTETS].rstrip(b"\0").decode(errors="replace")
        return self.numbers[base], self.times[base + 1], text

    def mode(self, row: int) -> tuple[int, int, int, int]:
        base = self.mode_base(row)
        numbers = self.numbers
        return numbers[base], numbers[base + 1], numbers[base + 2], numbers[base + 3]

    def slot_drops(self, slot: int) -> dict[Reason, int]:
        start = self.base(slot) + DROPS
        return {reason: self.numbers[start + reason] for reason in Reason if self.numbers[start + reason]}

    def zero(self) -> None:
        """Zero all packet, octet and drop counts; sequences and times of creation stay."""
        for index in range(_MODES, _DROPS + _DROP_REASONS * _DROP_NUMBERS):
            self.numbers[index] = 0
        for slot in range(self.numbers[_SLOTS]):
            start = self.base(slot)
            for index in (PACKETS, OCTETS, *range(DROPS, _SLOT_NUMBERS)):
                self.numbers[start + index] = 0

    def close(self) -> None:
        """Write through to the disk and let go of the descriptor. The mapping goes with the last view."""
        self._memory.flush()
        os.close(self.fd)


class CountersFile(Counters):
    """The parent's side: makes the file, checks it, hands out slots. `sentences` tell what was unusual."""

    def __init__(self, path: Path, *, boot_id: bytes | None = None) -> None:
        boot = running_boot_id() if boot_id is None else boot_id
        self._path = path
        self.sentences: list[str] = []
        fd = _open_locked(path)
        try:
            if os.fstat(fd).st_size and not _is_sound(fd):
                fd = self._set_aside(path, fd, boot)
            if not os.fstat(fd).st_size:
                _make(path, fd, boot)
            # A hole would be filled on the first store to it, and on a full disk that store is a SIGBUS.
            _allocate(path, fd, os.fstat(fd).st_size)
        except OSError:
            os.close(fd)
            raise
        super().__init__(fd)
        self._index()
        self._check_boot(boot)

    def _set_aside(self, path: Path, fd: int, boot: bytes) -> int:
        """Put a new file with what can be read of the damaged one in its place."""
        saved = _salvaged(fd)
        fresh, aside = path.with_name(path.name + ".new"), path.with_name(path.name + ".damaged")
        fresh.unlink(missing_ok=True)
        new_fd = _open_locked(fresh)
        try:
            _make(fresh, new_fd, boot, saved)
        except OSError:
            fresh.unlink()
            os.close(new_fd)
            raise
        # Until the new file is whole and on the disk, the damaged one keeps its name: to lose both repeats sequences.
        os.fsync(new_fd)
        aside.unlink(missing_ok=True)
        os.link(path, aside)
        fresh.replace(path)
        os.close(fd)
        sent = sum(direction == _OUT for direction, _ in saved.values())
        self.sentences.append(
            f"{path} was damaged and is now {aside.name}: {sent} send sequence numbers could be read and skip "
            f"{SEQUENCE_JUMP:,}; any other begins again at 1, which peers with replay protection take for replays "
            "until their own security associations are renewed"
        )
        return new_fd

    def _index(self) -> None:
        self._slots: dict[bytes, int] = {}
        for slot in range(self.numbers[_SLOTS]):
            self._slots[self._identity(slot)] = slot

    def close(self) -> None:
        """As above, and give the lock up: Python's mapping has a descriptor of its own, which would keep it."""
        fcntl.flock(self.fd, fcntl.LOCK_UN)
        super().close()

    def _identity(self, slot: int) -> bytes:
        start = self.base(slot) * 8
        return self._memory[start : start + 16]

    def _check_boot(self, boot: bytes) -> None:
        stored = self._memory[_BOOT * 8 : _BOOT * 8 + 16]
        if stored == boot:
            return
        jumped = [slot for slot in self._slots.values() if self.numbers[self.base(slot) + DIRECTION] == _OUT]
        for slot in jumped:
            at = self.base(slot) + SEQUENCE
            self.numbers[at] = min(self.numbers[at] + SEQUENCE_JUMP, SEQUENCE_MAX)
        # The jump reaches the disk before the new boot id does; a crash in between only jumps twice.
        self._memory.flush()
        self._memory[_BOOT * 8 : _BOOT * 8 + 16] = boot
        if jumped:
            self.sentences.append(
                f"the machine was restarted: {len(jumped)} send sequence numbers skip {SEQUENCE_JUMP:,} "
                "in case the last ones did not reach the disk"
            )

    def slot_for(self, identity: bytes, direction: Direction, in_use: set[bytes]) -> int:
        """The slot of this identity: the one that it had before, or a new one."""
        slot = self._slots.get(identity)
        if slot is None:
            slot = self._slots[identity] = self._new_slot(in_use)
            start = self.base(slot)
            for index in range(_SLOT_NUMBERS):
                self.numbers[start + index] = 0
            self._memory[start * 8 : start * 8 + 16] = identity
            self.numbers[start + DIRECTION] = _OUT if direction is Direction.OUT else _IN
        return slot

    def _new_slot(self, in_use: set[bytes]) -> int:
        slot: int = self.numbers[_SLOTS]
        if slot >= SLOTS_MAX:
            return self._oldest_unused(in_use)
        if self.base(slot + 1) * 8 > len(self._memory):
            _allocate(self._path, self.fd, len(self._memory) + SLOTS_GROWTH * SLOT_OCTETS)
            self.refresh()
        self.numbers[_SLOTS] = slot + 1
        return slot

    def _oldest_unused(self, in_use: set[bytes]) -> int:
        idle = [
            (self.times[self.base(slot) + LAST_USE], name) for name, slot in self._slots.items() if name not in in_use
        ]
        return self._slots.pop(min(idle)[1])


def running_boot_id() -> bytes:
    """16 octets that change whenever the kernel starts anew."""
    return bytes.fromhex(BOOT_ID.read_text().strip().replace("-", ""))


def _is_sound(fd: int) -> bool:
    size = os.fstat(fd).st_size
    if size < HEADER_OCTETS or (size - HEADER_OCTETS) % SLOT_OCTETS:
        return False
    magic, slots = struct.unpack("=8sQ", os.pread(fd, 16, 0))
    room = (size - HEADER_OCTETS) // SLOT_OCTETS
    return bool(magic == MAGIC and slots <= min(room, SLOTS_MAX) and _directions_sound(fd, slots))


def _directions_sound(fd: int, slots: int) -> bool:
    octets = os.pread(fd, slots * SLOT_OCTETS, HEADER_OCTETS)
    directions = (octets[start + DIRECTION * 8] for start in range(0, len(octets), SLOT_OCTETS))
    return all(direction in (_IN, _OUT) for direction in directions)


def _salvaged(fd: int) -> dict[bytes, tuple[int, int]]:
    """Direction and the sequence to go on from, by identity, of all slots whose first numbers are there.

    The header may be what is damaged, so it is not asked how many there are. Only what is sent skips ahead: a
    receive window that did would refuse the peer's next million packets.
    """
    octets = os.pread(fd, SLOTS_MAX * SLOT_OCTETS, HEADER_OCTETS)
    saved: dict[bytes, tuple[int, int]] = {}
    for start in range(0, len(octets) - _SLOT_START.size + 1, SLOT_OCTETS):
        identity, stored, sequence = _SLOT_START.unpack_from(octets, start)
        if any(identity):
            direction = _IN if stored == _IN else _OUT
            ahead = SEQUENCE_JUMP if direction == _OUT else 0
            found = (direction, min(sequence + ahead, SEQUENCE_MAX))
            saved[identity] = max(found, saved.get(identity, found))
    return saved


def _allocate(path: Path, fd: int, size: int) -> None:
    """Make the file `size` octets long with room on the disk for all of them, or leave it as long as it was."""
    before = os.fstat(fd).st_size
    try:
        os.posix_fallocate(fd, 0, size)
    except OSError as error:
        os.ftruncate(fd, before)
        raise OSError(error.errno, f"no room for {size:,} octets of counters: {error.strerror}", str(path)) from error


def _make(path: Path, fd: int, boot: bytes, saved: Mapping[bytes, tuple[int, int]] = MappingProxyType({})) -> None:
    """Fill an empty file."""
    growths = len(saved) // SLOTS_GROWTH + 1
    _allocate(path, fd, HEADER_OCTETS + growths * SLOTS_GROWTH * SLOT_OCTETS)
    for slot, (identity, (direction, sequence)) in enumerate(saved.items()):
        os.pwrite(fd, _SLOT_START.pack(identity, direction, sequence), HEADER_OCTETS + slot * SLOT_OCTETS)
    os.pwrite(fd, struct.pack("=8sQ16s", MAGIC, len(saved), boot), 0)


def _open_locked(path: Path) -> int:
    path.parent.mkdir(parents=True, exist_ok=True)
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    deadline = time.monotonic() + LOCK_WAIT_SECONDS
    while True:
        with contextlib.suppress(BlockingIOError):
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return fd
        if time.monotonic() > deadline:
            os.close(fd)
            raise CountersBusy(f"{path} is in use by another process; is Culvert running already?")
        time.sleep(0.02)

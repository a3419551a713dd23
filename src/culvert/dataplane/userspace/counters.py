"""The counters file: what survives when the packet process, or all of Culvert, is killed.

Both processes map the same file. The packet process writes numbers, above all the send sequence of an SA
before the packet that carries it leaves; the parent hands out the slots. Memory that is mapped from a file
belongs to the kernel, so SIGKILL loses nothing. A power cut may lose the last seconds, and so may a file system that
fails: unless the file was closed in order, by the end of this very journal, the send sequences go behind their last
blocks, or jump ahead, because to repeat one is worse than to skip a million (RFC 4303 section 3.3.3: the peer drops
repeats as replays; with counter modes a repeat gives the key stream away).

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
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

from culvert.dataplane.userspace.leases import Journal
from culvert.ipsec.drops import Reason
from culvert.ipsec.sa import Direction

BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
HEADER_OCTETS = 20480
SLOT_OCTETS = 640
SLOTS_GROWTH = 256
SLOTS_MAX = 1 << 19
SEQUENCE_MAX = 2**64 - 1
"""What a number of the file can say; an SA that ends sooner clamps it itself."""
SEQUENCE_JUMP = 2**20
LOCK_WAIT_SECONDS = 5.0

# Header, in numbers of eight octets: magic, slots in use, boot id (2), closed, MODES rows, one record per reason.
_SLOTS, _BOOT, _CLOSED, _MODES, _DROPS = 1, 2, 4, 8, 32
_IN_USE, _NO_RECORDS = -1.0, 1.0
"""What `_CLOSED` says beside the time of the journal's newest record."""
_DROP_NUMBERS, _DROP_REASONS = 32, 64
_LAST_OCTETS = (_DROP_NUMBERS - 2) * 8
_DROPS_END = _DROPS + _DROP_REASONS * _DROP_NUMBERS
_MODE_NUMBERS = 16
"""Of one worker: MODES rows of four. Those of the first are at _MODES, those of the others behind the drops."""
_MODES_END = _DROPS_END + 15 * _MODE_NUMBERS
_LOOKED, _LOOKED_NUMBERS = _MODES_END, 2
"""Of each worker: which sockets it hears, and how much of what the kernel had no room for there is counted."""

# Slot, in numbers of eight octets. Those of a key's life, sequence and creation among them, only grow or stay.
IDENTITY, DIRECTION, SEQUENCE, PACKETS, OCTETS, LAST_USE, CREATED = 0, 2, 3, 4, 5, 6, 7
LIFE_PACKETS, LIFE_OCTETS, LOST, PATH_MTU, PATH_UNTIL, WINDOW, WORKER, DROPS = 8, 9, 10, 11, 12, 13, 14, 16

_SLOT_NUMBERS = SLOT_OCTETS // 8
_HEADER_NUMBERS = HEADER_OCTETS // 8
_SLOT_START = struct.Struct("=16sQQ")
"""Identity, direction, sequence."""
_OUT = 2
_IN = 1


class Layout(NamedTuple):
    """One version of the file. The numbers before DROPS mean the same in every one, as far as it has them."""

    magic: bytes
    header: int
    slot: int
    kept: int
    """Octets at the start of a slot that a later version takes over."""


LAYOUT = Layout(b"CULVERT2", HEADER_OCTETS, SLOT_OCTETS, 80)
FIRST_LAYOUT = Layout(b"CULVERT1", 8192, 320, 64)
LAYOUTS = {layout.magic: layout for layout in (LAYOUT, FIRST_LAYOUT)}


Saved = Mapping[bytes, bytes]
"""What goes into the slots of a new file, by identity."""


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

    def mode_base(self, row: int, worker: int = 0) -> int:
        """Where a worker's row of MODES begins: packets in, octets in, packets out, octets out."""
        start = _DROPS_END + (worker - 1) * _MODE_NUMBERS if worker else _MODES
        return start + row * 4

    @property
    def looked(self) -> tuple[int, int]:
        """What a packet process of one worker has noted with `note_looked`, or its predecessor."""
        return self.numbers[_LOOKED], self.numbers[_LOOKED + 1]

    def note_looked(self, sockets: int, lost: int) -> None:
        """Of these sockets' packets that the kernel had no room for, so many are counted."""
        self.numbers[_LOOKED], self.numbers[_LOOKED + 1] = sockets, lost

    def count_drop(self, reason: Reason, now: float, last: str, packets: int = 1) -> None:
        base = _DROPS + reason * _DROP_NUMBERS
        text = last.encode()[:_LAST_OCTETS]
        self.numbers[base] += packets
        self.times[base + 1] = now
        start = (base + 2) * 8
        self._memory[start : start + _LAST_OCTETS] = text.ljust(_LAST_OCTETS, b"\0")

    def drop(self, reason: Reason) -> tuple[int, float, str]:
        """Packets, time of the last one, and that one in words."""
        base = _DROPS + reason * _DROP_NUMBERS
        start = (base + 2) * 8
        text = self._memory[start : start + _LAST_OCTETS].rstrip(b"\0").decode(errors="replace")
        return self.numbers[base], self.times[base + 1], text

    def mode(self, row: int, worker: int = 0) -> tuple[int, int, int, int]:
        base = self.mode_base(row, worker)
        numbers = self.numbers
        return numbers[base], numbers[base + 1], numbers[base + 2], numbers[base + 3]

    def slot_drops(self, slot: int) -> dict[Reason, int]:
        start = self.base(slot) + DROPS
        return {reason: self.numbers[start + reason] for reason in Reason if self.numbers[start + reason]}

    def zero(self) -> None:
        """Zero all packet, octet and drop counts; sequences and times of creation stay."""
        for index in range(_MODES, _MODES_END):
            self.numbers[index] = 0
        for slot in range(self.numbers[_SLOTS]):
            start = self.base(slot)
            for index in (PACKETS, OCTETS, LOST, *range(DROPS, _SLOT_NUMBERS)):
                self.numbers[start + index] = 0

    def close(self) -> None:
        """Write through to the disk and let go of the descriptor. The mapping goes with the last view."""
        self._memory.flush()
        os.close(self.fd)


class CountersFile(Counters):
    """The parent's side: makes the file, checks it, hands out slots. `sentences` tell what was unusual."""

    def __init__(
        self, path: Path, *, boot_id: bytes | None = None, journal: Journal | None = None, inherited: int = -1
    ) -> None:
        """`journal`: which numbers may have been used that never got into this file. `inherited`: a packet process
        works with it already, by this descriptor, which has the lock."""
        boot = running_boot_id() if boot_id is None else boot_id
        self._path = path
        self._journal = journal
        self.sentences: list[str] = []
        if inherited >= 0:
            super().__init__(inherited)
            self._index()
            return
        fd = _open_locked(path)
        try:
            if os.fstat(fd).st_size:
                fd = self._checked(path, fd, boot)
            if not os.fstat(fd).st_size:
                _make(path, fd, boot)
            # A hole would be filled on the first store to it, and on a full disk that store is a SIGBUS.
            _allocate(path, fd, os.fstat(fd).st_size)
        except OSError:
            os.close(fd)
            raise
        super().__init__(fd)
        self._index()
        closed = _stamp(journal.found if journal else 0.0)
        if self._memory[_BOOT * 8 : _BOOT * 8 + 16] != boot or self.times[_CLOSED] != closed:
            self._go_behind_all()
        self._memory[_BOOT * 8 : _BOOT * 8 + 16] = boot
        # It is closed until a packet process has it.
        self.times[_CLOSED] = _stamp(journal.written if journal else 0.0)

    def _checked(self, path: Path, fd: int, boot: bytes) -> int:
        """The file, or one made of it: of an earlier version's, or of what can be read of a damaged one."""
        layout = _layout(fd)
        if not _is_sound(fd, layout):
            return self._set_aside(path, fd, boot, _salvaged(fd, layout))
        if layout is LAYOUT:
            return fd
        fresh = _make_beside(path, os.pread(fd, 16, _BOOT * 8), _slots(fd, layout))
        path.with_name(path.name + ".new").replace(path)
        os.close(fd)
        return fresh

    def _set_aside(self, path: Path, fd: int, boot: bytes, saved: Saved) -> int:
        """Put a new file with what could be read of the damaged one in its place."""
        new_fd = _make_beside(path, boot, saved)
        aside = path.with_name(path.name + ".damaged")
        aside.unlink(missing_ok=True)
        os.link(path, aside)
        path.with_name(path.name + ".new").replace(path)
        os.close(fd)
        sent = sum(_SLOT_START.unpack_from(start)[1] == _OUT for start in saved.values())
        self.sentences.append(
            f"{path} was damaged and is now {aside.name}: {sent} send sequence numbers could be read and go on behind "
            f"their blocks, or skip {SEQUENCE_JUMP:,}; any other begins again at 1, which peers with replay protection "
            "take for replays until their own security associations are renewed"
        )
        return new_fd

    def _index(self) -> None:
        self._slots: dict[bytes, int] = {}
        for slot in range(self.numbers[_SLOTS]):
            self._slots[self._identity(slot)] = slot

    def close(self) -> None:
        """As above, and give the lock up: Python's mapping has a descriptor of its own, which would keep it."""
        with contextlib.suppress(OSError):
            self._note_closed()
        fcntl.flock(self.fd, fcntl.LOCK_UN)
        super().close()

    def lent(self) -> int:
        """The descriptor, for a packet process: from now on it counts only with an end in order."""
        self.times[_CLOSED] = _IN_USE
        self._memory.flush(0, mmap.PAGESIZE)
        return self.fd

    def _note_closed(self) -> None:
        """In order: all is on the disk, and nothing is written to the journal any more."""
        written = 0.0
        if self._journal is not None:
            self._journal.pay()
            self._journal.refresh()
            written = self._journal.written
        self._memory.flush()
        self.times[_CLOSED] = _stamp(written)

    def _identity(self, slot: int) -> bytes:
        start = self.base(slot) * 8
        return self._memory[start : start + 16]

    def _go_behind_all(self) -> None:
        """What the file says may be older than what was sent and received."""
        known = self._journal.blocks.items() if self._journal else ()
        blocks = {block.owner: (block.last, name) for name, block in known}
        edges = self._journal.edges if self._journal else {}
        jumped = 0
        for identity, slot in self._slots.items():
            at = self.base(slot) + SEQUENCE
            number = self.numbers[at]
            last, name = blocks.get(identity, (0, identity))
            if self.numbers[self.base(slot) + DIRECTION] != _OUT:
                self.numbers[at] = max(number, edges.get(identity, 0))
            elif last > number or name != identity:
                # Counter modes, whose blocks have the names of their keys, never go beyond.
                self.numbers[at] = max(number, last)
            else:
                # Others may have, while the journal could not be written.
                jumped += 1
                self.numbers[at] = min(number + SEQUENCE_JUMP, SEQUENCE_MAX)
        # This reaches the disk before the file is in use; a crash in between only jumps twice.
        self._memory.flush()
        if jumped and not self.sentences:
            self.sentences.append(
                f"the counters were not closed in order: {jumped} send sequence numbers skip {SEQUENCE_JUMP:,} "
                "in case the last ones did not reach the disk"
            )

    def is_new(self, slot: int) -> bool:
        """Whether no SA has been in service with this slot yet."""
        return not self.numbers[self.base(slot) + CREATED]

    def go_behind(self, slot: int, number: int) -> None:
        """Numbers up to this one may have been used."""
        at = self.base(slot) + SEQUENCE
        self.numbers[at] = max(self.numbers[at], number)

    def begin(self, slot: int, now: float) -> None:
        """The SA of this slot goes into service: the age of its key is counted from the first time."""
        at = self.base(slot) + CREATED
        if not self.numbers[at]:
            self.times[at] = now

    def slot_for(self, identity: bytes, direction: Direction, in_use: Iterable[bytes]) -> int:
        """The slot of this identity: the one that it had before, or a new one.

        `in_use` is looked at only when all slots are taken.
        """
        slot = self._slots.get(identity)
        if slot is None:
            slot = self._slots[identity] = self._new_slot(in_use)
            start = self.base(slot)
            self._memory[start * 8 : start * 8 + SLOT_OCTETS] = identity.ljust(SLOT_OCTETS, b"\0")
            self.numbers[start + DIRECTION] = _OUT if direction is Direction.OUT else _IN
        return slot

    def _new_slot(self, in_use: Iterable[bytes]) -> int:
        slot: int = self.numbers[_SLOTS]
        if slot >= SLOTS_MAX:
            return self._oldest_unused(set(in_use))
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


def _stamp(written: float) -> float:
    return written or _NO_RECORDS


def wait_for_lock(path: Path) -> None:
    """CountersBusy if another process works with this file."""
    os.close(_open_locked(path))


def running_boot_id() -> bytes:
    """16 octets that change whenever the kernel starts anew."""
    return bytes.fromhex(BOOT_ID.read_text().strip().replace("-", ""))


def _layout(fd: int) -> Layout:
    """By the magic; a file that has none is read as if it were of today."""
    return LAYOUTS.get(os.pread(fd, 8, 0), LAYOUT)


def _is_sound(fd: int, layout: Layout) -> bool:
    size = os.fstat(fd).st_size
    if size < layout.header or (size - layout.header) % layout.slot:
        return False
    magic, slots = struct.unpack("=8sQ", os.pread(fd, 16, 0))
    room = (size - layout.header) // layout.slot
    return bool(magic == layout.magic and slots <= min(room, SLOTS_MAX) and _directions_sound(fd, layout, slots))


def _directions_sound(fd: int, layout: Layout, slots: int) -> bool:
    octets = os.pread(fd, slots * layout.slot, layout.header)
    directions = (octets[start + DIRECTION * 8] for start in range(0, len(octets), layout.slot))
    return all(direction in (_IN, _OUT) for direction in directions)


def _slots(fd: int, layout: Layout) -> Saved:
    """All slots of a sound file."""
    (count,) = struct.unpack("=Q", os.pread(fd, 8, _SLOTS * 8))
    octets = os.pread(fd, count * layout.slot, layout.header)
    return {
        octets[start : start + 16]: octets[start : start + layout.kept] for start in range(0, len(octets), layout.slot)
    }


def _salvaged(fd: int, layout: Layout) -> Saved:
    """Identity, direction and sequence of all slots whose first numbers are there.

    The header may be what is damaged, so it is not asked how many there are.
    """
    octets = os.pread(fd, SLOTS_MAX * layout.slot, layout.header)
    found: dict[bytes, tuple[int, int]] = {}
    for start in range(0, len(octets) - _SLOT_START.size + 1, layout.slot):
        identity, stored, sequence = _SLOT_START.unpack_from(octets, start)
        if any(identity):
            here = _IN if stored == _IN else _OUT, sequence
            found[identity] = max(here, found.get(identity, here))
    return {identity: _SLOT_START.pack(identity, *here) for identity, here in found.items()}


def _allocate(path: Path, fd: int, size: int) -> None:
    """Make the file `size` octets long with room on the disk for all of them, or leave it as long as it was."""
    before = os.fstat(fd).st_size
    try:
        os.posix_fallocate(fd, 0, size)
    except OSError as error:
        os.ftruncate(fd, before)
        raise OSError(error.errno, f"no room for {size:,} octets of counters: {error.strerror}", str(path)) from error


def _make(path: Path, fd: int, boot: bytes, saved: Saved = MappingProxyType({})) -> None:
    """Fill an empty file."""
    growths = len(saved) // SLOTS_GROWTH + 1
    _allocate(path, fd, HEADER_OCTETS + growths * SLOTS_GROWTH * SLOT_OCTETS)
    for slot, start in enumerate(saved.values()):
        os.pwrite(fd, start, HEADER_OCTETS + slot * SLOT_OCTETS)
    os.pwrite(fd, struct.pack("=8sQ16s", LAYOUT.magic, len(saved), boot), 0)


def _make_beside(path: Path, boot: bytes, saved: Saved) -> int:
    """A new file beside another that is to be replaced, whole and on the disk: to lose both repeats sequences."""
    fresh = path.with_name(path.name + ".new")
    fresh.unlink(missing_ok=True)
    fd = _open_locked(fresh)
    try:
        _make(fresh, fd, boot, saved)
        os.fsync(fd)
    except OSError:
        fresh.unlink()
        os.close(fd)
        raise
    return fd


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

"""The counter journal: which send sequence numbers may have been used, written to the disk before they are.

A packet process takes the numbers of an SA in blocks. A block is on the disk (fdatasync) before its first number is
sent, so whatever happens to the machine, no number beyond the last block was ever used: after a loss of power, or of
the counters file, the SA goes on behind it. After a mere restart of a process the counters file knows the very number.

What a killed process has written may be in the kernel's memory only, and a disk that fails keeps what it had. So a
block that was read in the file says which numbers *may have been* used; which ones *may be* used is said by those only
that this process has seen go to the disk (`Journal.certain`), or the packet process itself.

What a counter mode must never repeat is a number under one *key*, whatever SPI or addresses (RFC 4106 section 3.1, RFC
8221 section 3). So of those the blocks are kept by a digest of the key; and when another SA takes the key over, it
begins behind the last block of the one before. Of other algorithms they are kept by the SA's identity.

The file is a row of records of 64 octets, little endian; written behind the last one, never over one:

    magic "CLJ1" (4) | kind (1) | zeros (3) | name (16) | owner (16) | number (8) | time (8) | zeros (4) | CRC-32 (4)

`kind` 1 is a block: numbers up to `number` may be used, by the SA whose identity is `owner`, for the key `name`. `kind`
2 is an edge: the right edge of the replay window of the inbound SA `name`, as it was a few seconds ago. A record whose
CRC is wrong was torn and says nothing. `time` is in seconds since the epoch, as a float. The file may begin with a
hole: what was there is written once more behind it (`Journal.tidy`).
"""

import contextlib
import errno
import math
import os
import struct
import time
import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from culvert.dataplane.userspace import sparse
from culvert.dataplane.userspace.doubt import Doubt
from culvert.ipsec.algorithms import CIPHERS, auth_row
from culvert.ipsec.sa import Protocol, SecurityAssociation

RECORD_OCTETS = 64
BLOCK, EDGE = 1, 2
BLOCK_NUMBERS_MIN = 1 << 10
BLOCK_NUMBERS_MAX = 1 << 22
TRIED_AGAIN_SECONDS = 1.0
QUICK_SECONDS = 2.0
"""A block that lasted less is followed by a larger one."""
TIDY_SECONDS = 60.0
TIDY_TIMES, TIDY_OCTETS = 4, 1 << 20
"""The file may take so many times the disk of what counts in it, and so much more."""

_MAGIC = b"CLJ1"
_RECORD = struct.Struct("<4sB3x16s16sQd4x")
_CRC = struct.Struct("<I")
_ZEROS = bytes(RECORD_OCTETS)
NOBODY = bytes(16)


class Record(NamedTuple):
    """One record. `owner` is NOBODY for an edge."""

    kind: int
    name: bytes
    owner: bytes
    number: int
    time: float

    def emit(self) -> bytes:
        octets = _RECORD.pack(_MAGIC, *self)
        return octets + _CRC.pack(zlib.crc32(octets))


def parse(octets: bytes) -> Record | None:
    """None for what is torn, or no record."""
    if len(octets) != RECORD_OCTETS or _CRC.unpack_from(octets, _RECORD.size)[0] != zlib.crc32(octets[: _RECORD.size]):
        return None
    magic, kind, *rest = _RECORD.unpack_from(octets)
    return Record(kind, *rest) if magic == _MAGIC and kind in (BLOCK, EDGE) else None


class Block(NamedTuple):
    """The last block of a key: numbers up to `last` may have been used, by the SA `owner`."""

    last: int
    owner: bytes


def key_name(sa: SecurityAssociation, identity: bytes | None = None) -> bytes:
    """What the blocks of an SA are kept by. `identity`: its own, where that is known."""
    if sa.protocol is Protocol.ESP and CIPHERS[sa.cipher].counter:
        return sa.cipher_key.digest(b"counter")[:16]
    if sa.protocol is Protocol.AH and auth_row(sa.auth).counter:
        return sa.auth_key.digest(b"counter")[:16]
    return sa.identity() if identity is None else identity


def is_counter_mode(sa: SecurityAssociation) -> bool:
    """Whether a repeated number gives the key away."""
    return CIPHERS[sa.cipher].counter if sa.protocol is Protocol.ESP else auth_row(sa.auth).counter


class Journal:
    """The file as the parent sees it: read whole, written anew at its start, and lent to the packet process.

    `sentences` tell what was unusual. OSError where it can't be read or written at all.
    """

    def __init__(self, path: Path, now: float, fd: int = -1, *, is_expected: bool = False) -> None:
        """`fd`: a packet process writes into the file already, by this descriptor. `is_expected`: there are counters,
        which should have a journal beside them."""
        self.path = path
        self.sentences: list[str] = []
        self.blocks: dict[bytes, Block] = {}
        self.edges: dict[bytes, int] = {}
        self.written = self.found = 0.0
        """When the newest record was, in seconds since the epoch; and when of those that a start has found."""
        self.doubt = Doubt(path.with_name(path.name + ".doubt"))
        self._certain: dict[bytes, int] = {}
        self._owed: list[Record] = []
        """What could not be written."""
        self._lent = -1
        self._read_octets = 0
        self._tidied_at = self._paid_at = time.monotonic()
        if fd >= 0:
            # By its descriptor: the file may have lost its name, or another one may have it.
            self.fd, self._lent = _opened_again(fd), fd
            self._read(self.fd)
            return
        if is_expected and not path.exists():
            self.doubt.begin("the counter journal was missing")
        torn = self._read_named()
        self.found = self.written
        if self.written > now + 1:
            self.doubt.begin(f"the clock was {self.written - now:,.0f} seconds behind the counter journal")
        if self.doubt.sentence:
            self.sentences.append(
                f"{self.doubt.sentence}: if this machine or its files were set back to an earlier state, counters may "
                "repeat: replace the keys of counter modes, then say: run sys counter-journal trust"
            )
        if torn:
            self.sentences.append(f"{torn} records of {path} were torn or damaged; all others count")
        try:
            self.fd = self._write_anew(now)
        except OSError:
            # On a full disk the old one does: what was torn at its end is cut off.
            self.fd = os.open(self.path, os.O_RDWR | os.O_APPEND | os.O_CLOEXEC)
            _cut(self.fd)
            with contextlib.suppress(OSError):
                self._write_over()

    def _write_over(self) -> None:
        """The same octets once more, which needs no room: whoever wrote them may not have seen them go to the disk."""
        fd = os.open(f"/proc/self/fd/{self.fd}", os.O_RDWR | os.O_CLOEXEC)
        try:
            for at, octets in sparse.pieces(fd, 0):
                if os.pwrite(fd, octets, at) < len(octets):
                    raise OSError(errno.EIO, os.strerror(errno.EIO))
            os.fdatasync(fd)
            self._know_all()
        finally:
            os.close(fd)

    def _read_named(self) -> int:
        try:
            fd = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return 0
        try:
            return self._read(fd)
        finally:
            os.close(fd)

    def _read(self, fd: int) -> int:
        """Learn what was written since the last time. Returns how many records were torn."""
        torn = 0
        self._read_octets = min(self._read_octets, os.fstat(fd).st_size)
        for at, octets in sparse.pieces(fd, self._read_octets):
            whole = len(octets) // RECORD_OCTETS * RECORD_OCTETS
            self._read_octets = at + whole
            torn += self._learn(octets[start : start + RECORD_OCTETS] for start in range(0, whole, RECORD_OCTETS))
            if whole < len(octets):
                return torn + 1
        return torn

    def _learn(self, records: Iterable[bytes]) -> int:
        torn = 0
        for octets in records:
            record = parse(octets)
            if record is None:
                # What is before the first record may be the margin of a hole.
                torn += octets != _ZEROS or self.written > 0
                continue
            self.written = max(record.time, self.written)
            self._note(record)
        return torn

    def _note(self, record: Record) -> None:
        if record.kind == EDGE:
            self.edges[record.name] = max(record.number, self.edges.get(record.name, 0))
        elif record.number >= self.block(record.name).last:
            self.blocks[record.name] = Block(record.number, record.owner)

    def block(self, name: bytes) -> Block:
        """The last block of this key."""
        return self.blocks.get(name, Block(0, NOBODY))

    def certain(self, name: bytes) -> int:
        """Numbers of this key up to this one may be used: that they may be is on the disk, whatever happens to it."""
        return self._certain.get(name, 0)

    def _know_all(self) -> None:
        self._certain = {name: block.last for name, block in self.blocks.items()}

    def add(self, records: Sequence[Record]) -> None:
        """Records of the parent's own. OSError where they are known to this process only; it tries again (`tidy`)."""
        for record in records:
            self._note(record)
        self._owed += records
        self.pay()

    def pay(self) -> None:
        """Write what could not be written before. OSError where it still can't be."""
        if self._owed:
            append(self.fd, self._owed)
            self._certain |= {record.name: max(record.number, self.certain(record.name)) for record in self._owed}
            self._owed = []

    def refresh(self) -> None:
        """Read what the packet process has written since."""
        self._read(self.fd)

    def tidy(self, now: float) -> str:
        """Once a minute: give back the disk under records that others have overtaken. A sentence where it can't be.

        What counts is written once more behind all others, and is on the disk before anything goes: so a loss of power
        at any moment loses nothing, nor do records that the packet process appends meanwhile.
        """
        if time.monotonic() - self._paid_at >= TIDY_SECONDS:
            self._paid_at = time.monotonic()
            with contextlib.suppress(OSError):
                self.pay()
        if time.monotonic() - self._tidied_at < TIDY_SECONDS:
            return ""
        self._tidied_at = time.monotonic()
        try:
            if self._is_untidy():
                self.refresh()
                self._move_behind(now)
        except OSError as error:
            # Not again and again: every try writes.
            self._tidied_at = math.inf
            return f"the counter journal grows until culvertd is started again: {self.path}: {error.strerror}"
        return ""

    def _is_untidy(self) -> bool:
        status = os.fstat(self.fd)
        data = min(status.st_size - sparse.data_from(self.fd, 0), status.st_blocks * 512)
        return data > TIDY_TIMES * (len(self.blocks) + len(self.edges)) * RECORD_OCTETS + TIDY_OCTETS

    def _move_behind(self, now: float) -> None:
        octets = b"".join(record.emit() for record in self._live(max(now, self.written)))
        known = self._read_octets
        if _room(self.fd) < len(octets) + TIDY_OCTETS:
            # The packet process needs it more.
            return
        before = os.fstat(self.fd).st_size
        # One call, so that nobody else's are between them.
        if os.write(self.fd, octets) < len(octets):
            _cut(self.fd)
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        os.fdatasync(self.fd)
        there = os.pread(self.fd, os.fstat(self.fd).st_size - before, before)
        at = there.find(octets)
        if at < 0 or (before + at) % RECORD_OCTETS:
            raise OSError(errno.EIO, "what was written isn't there")
        self._know_all()
        sparse.punch(self.fd, min(known, before))

    def _live(self, now: float) -> list[Record]:
        """All that counts."""
        records = [Record(BLOCK, name, block.owner, block.last, now) for name, block in self.blocks.items()]
        return records + [Record(EDGE, name, NOBODY, edge, now) for name, edge in self.edges.items()]

    def _write_anew(self, now: float) -> int:
        """Only what counts, in a new file that takes the place of the old one when it is on the disk."""
        fresh = self.path.with_name(self.path.name + ".new")
        records = self._live(now)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        fresh.unlink(missing_ok=True)
        fd = os.open(fresh, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        try:
            append(fd, records)
            fresh.replace(self.path)
            _sync_directory(self.path.parent)
        except OSError:
            os.close(fd)
            with contextlib.suppress(OSError):
                fresh.unlink(missing_ok=True)
            raise
        self.written = now if records else 0.0
        self._read_octets = len(records) * RECORD_OCTETS
        self._know_all()
        self._owed = []
        return fd

    @property
    def is_lost(self) -> bool:
        """The file isn't at its place any more: nobody would find it after a restart."""
        try:
            return not os.path.samestat(os.fstat(self.fd), self.path.stat())
        except FileNotFoundError:
            return True
        except OSError:
            # Who can't look doesn't know.
            return False

    def renew(self, now: float, end: Callable[[], None]) -> None:
        """A new file in the place of one that was lost. `end`: ends the packet process, which goes on writing into that
        one. OSError where there can be none."""
        self.refresh()
        lost, read = self.fd, self._read_octets
        self.fd = self._write_anew(max(now, self.written))
        end()
        known, written = dict(self.blocks), self._read_octets
        self._read_octets = read
        self._read(lost)
        self._read_octets = written
        os.close(lost)
        late = {name: block for name, block in self.blocks.items() if known.get(name) != block}
        self.add([Record(BLOCK, name, block.owner, block.last, now) for name, block in late.items()])

    def lent(self) -> int:
        """A descriptor for a new packet process; the last one may have been killed in the middle of a record.

        Of an open file of its own, for of each the kernel tells only once what it could not write. On a full disk the
        process can lease nothing, so what the last one has leased is made certain.
        """
        with contextlib.suppress(OSError):
            _cut(self.fd)
            if _room(self.fd) < TIDY_OCTETS:
                self.refresh()
                self._write_over()
        before, self._lent = self._lent, _opened_again(self.fd)
        if before >= 0:
            os.close(before)
        return self._lent

    def close(self) -> None:
        for fd in (self.fd, self._lent):
            if fd >= 0:
                os.close(fd)


def _room(fd: int) -> int:
    system = os.statvfs(fd)
    return system.f_bavail * system.f_frsize


def _opened_again(fd: int) -> int:
    return os.open(f"/proc/self/fd/{fd}", os.O_RDWR | os.O_APPEND | os.O_CLOEXEC)


def _sync_directory(path: Path) -> None:
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def append(fd: int, records: Iterable[Record]) -> None:
    """All of the records on the disk. Where that fails, those in the file are whole, and say no more than may be."""
    octets = b"".join(record.emit() for record in records)
    try:
        written = 0
        while written < len(octets):
            written += os.write(fd, octets[written:])
        os.fdatasync(fd)
    except OSError:
        with contextlib.suppress(OSError):
            _cut(fd)
        raise


def _cut(fd: int) -> None:
    """What is there only in part would move everything behind it out of step. Whole records may be another's."""
    size = os.fstat(fd).st_size
    if size % RECORD_OCTETS:
        os.ftruncate(fd, size // RECORD_OCTETS * RECORD_OCTETS)


class Lease(NamedTuple):
    """What the parent tells the packet process of an outbound SA's numbers: in JSON, so the name is hex."""

    name: str
    owner: str
    last: int
    strict: bool
    """Without a journal nothing is sent; else the SA goes on."""


class Leased:
    """One outbound SA in the packet process: the block that it uses, and how large the next one is."""

    __slots__ = ("block", "extended", "last", "lease", "limit")

    def __init__(self, lease: Lease, limit: int) -> None:
        """`limit`: the last number that the SA has at all."""
        self.lease = lease
        self.last = min(lease.last, limit)
        self.limit = limit
        self.block = BLOCK_NUMBERS_MIN
        self.extended = 0.0

    def is_short(self, sequence: int) -> bool:
        """Less than half a block is left."""
        return self.last < self.limit and self.last - sequence < self.block // 2

    def next_last(self, sequence: int, now: float) -> int:
        """Where the next block ends: the faster the last one went, the larger it is."""
        if self.extended and now - self.extended < QUICK_SECONDS:
            self.block = min(self.block * 2, BLOCK_NUMBERS_MAX)
        return min(max(self.last, sequence) + self.block, self.limit)

    def may_use(self) -> int:
        """The last number that may be used."""
        return self.last


class Leases:
    """The packet process's side: blocks are extended ahead, many SAs in one write."""

    def __init__(self, fd: int) -> None:
        """`fd` -1: there is no journal."""
        self._fd = fd
        self._failed_at = 0.0
        self.trouble = "there is none" if fd < 0 else ""

    @property
    def is_there(self) -> bool:
        """Whether there is a journal, be it one that can't be written now."""
        return self._fd >= 0

    def extend(self, wanted: Mapping[Leased, int], now: float) -> bool:
        """Give each a further block behind the number it is at. False where the journal can't be written."""
        if not wanted:
            return True
        if self._fd < 0 or time.monotonic() - self._failed_at < TRIED_AGAIN_SECONDS:
            return False
        lasts = {leased: leased.next_last(sequence, now) for leased, sequence in wanted.items()}
        try:
            append(self._fd, (_block(leased.lease, last, now) for leased, last in lasts.items()))
        except OSError as error:
            self._failed_at = time.monotonic()
            self.trouble = error.strerror or "it can't be written"
            return False
        for leased, last in lasts.items():
            leased.last, leased.extended = last, now
        self.trouble = ""
        return True

    def save_edges(self, edges: Mapping[bytes, int], now: float) -> bool:
        """Right edges of replay windows, by the identity of their SAs. False where they have to be saved later."""
        if not edges or self._fd < 0:
            return True
        try:
            append(self._fd, (Record(EDGE, name, NOBODY, edge, now) for name, edge in edges.items()))
        except OSError:
            return False
        return True


def _block(lease: Lease, last: int, now: float) -> Record:
    return Record(BLOCK, bytes.fromhex(lease.name), bytes.fromhex(lease.owner), last, now)

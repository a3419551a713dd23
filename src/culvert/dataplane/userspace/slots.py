"""The parent's side of what the counters file says of each SA."""

import time
from collections.abc import Collection, Iterator, Sequence
from itertools import chain
from typing import NamedTuple

from culvert.change import AddSa, RemoveSa
from culvert.dataplane.notices import Reading
from culvert.dataplane.plane import SaUsage
from culvert.dataplane.userspace import counters as file
from culvert.dataplane.userspace import wire
from culvert.dataplane.userspace.counters import CountersFile
from culvert.dataplane.userspace.leases import (
    BLOCK,
    NOBODY,
    Block,
    Journal,
    Lease,
    Record,
    is_counter_mode,
    key_name,
)
from culvert.ipsec.sa import Direction, SaKey, SecurityAssociation

NO_SLOT = -1


class _Known(NamedTuple):
    sa: SecurityAssociation
    identity: bytes
    slot: int
    watched_from: int
    """The sequence number from which on there may be something to tell of its life."""


class Slots:
    """Which slot each SA has. An SA's identity is a digest of its keys, so it is worked out once and kept."""

    def __init__(self, counters: CountersFile, journal: Journal | None, sentences: list[str] | None = None) -> None:
        """`sentences`: are told what is unusual."""
        self._counters = counters
        self._journal = journal
        self._sentences = [] if sentences is None else sentences
        self._known: dict[tuple[Direction, SaKey], _Known] = {}
        self._names: dict[SaKey, bytes] = {}
        """Which blocks are whose, of outbound SAs."""

    def of(self, changes: Sequence[wire.PacketChange], others: Collection[SecurityAssociation]) -> list[int]:
        """For each change the slot of its SA, or -1. `others`: SAs whose slots nobody else may get."""
        mine: set[bytes] = set()
        slots = []
        for change in changes:
            slot = NO_SLOT
            if isinstance(change, AddSa | RemoveSa):
                identity = self._identity(change.sa)
                # Nobody works the identities of all others out as long as there are slots that were never used.
                in_use = chain(mine, map(self._identity, others))
                slot = self._counters.slot_for(identity, change.sa.direction, in_use)
                mine.add(identity)
                name = change.sa.direction, change.sa.key
                if isinstance(change, AddSa):
                    self._known[name] = _Known(change.sa, identity, slot, _watched_from(change.sa))
                else:
                    self._known.pop(name, None)
            slots.append(slot)
        return slots

    def _identity(self, sa: SecurityAssociation) -> bytes:
        known = self._known.get((sa.direction, sa.key))
        return known.identity if known is not None and known.sa is sa else sa.identity()

    def leases(self, changes: Sequence[wire.PacketChange], slots: Sequence[int]) -> list[Lease]:
        """What is known of the numbers of every outbound SA that is added, before `begin`.

        A slot that nobody had before, or whose key another SA has had in between, goes on behind the last block; a
        replay window where it was, as far as that is known.
        """
        if self._journal is None:
            return []
        self._journal.refresh()
        self._keep_received(self._journal, changes, slots)
        leases = []
        for change, slot in zip(changes, slots, strict=True):
            if isinstance(change, AddSa) and change.sa.direction is Direction.OUT:
                leases.append(self._lease(self._journal, change.sa, slot))
            elif isinstance(change, AddSa) and self._counters.is_new(slot):
                self._counters.go_behind(slot, self._journal.edges.get(self._identity(change.sa), 0))
        return leases

    def _lease(self, journal: Journal, sa: SecurityAssociation, slot: int) -> Lease:
        owner = self._identity(sa)
        name = key_name(sa, owner)
        self._names[sa.key] = name
        block = journal.block(name)
        if self._counters.is_new(slot) or block.owner not in (owner, NOBODY):
            self._counters.go_behind(slot, block.last)
        return Lease(name.hex(), owner.hex(), journal.certain(name), is_counter_mode(sa))

    def _keep_received(self, journal: Journal, changes: Sequence[wire.PacketChange], slots: Sequence[int]) -> None:
        """The peer has used numbers of a key that was received with: who sends by a counter mode's goes on behind them.

        A jump further, for packets come in until the packet process hears of it.
        """
        records = []
        for change, slot in zip(changes, slots, strict=True):
            if isinstance(change, RemoveSa) and change.sa.direction is Direction.IN and is_counter_mode(change.sa):
                edge = self._counters.numbers[self._counters.base(slot) + file.SEQUENCE]
                last, name = min(edge + file.SEQUENCE_JUMP, file.SEQUENCE_MAX), key_name(change.sa)
                block, owner = journal.block(name), self._identity(change.sa)
                # Also where it says nothing new of the numbers: an SA that had the key before isn't the last one.
                if edge and (last > block.last or block.owner != owner):
                    records.append(Record(BLOCK, name, owner, max(last, block.last), time.time()))
        try:
            if records:
                journal.add(records)
        except OSError as error:
            self._sentences.append(
                f"{journal.path}: {error.strerror}: {len(records)} keys of counter modes went that packets came in by, "
                "and their numbers couldn't be written; this is tried again, but after a restart before it is done "
                "nothing may be sent by these keys"
            )

    def begin(self, changes: Sequence[wire.PacketChange], slots: Sequence[int], now: float) -> None:
        """The age of the keys that are new counts from now on."""
        for change, slot in zip(changes, slots, strict=True):
            if isinstance(change, AddSa):
                self._counters.begin(slot, now)

    def granted(self, sa: SecurityAssociation) -> int:
        """The last number of an outbound SA that is in the journal, as it was read last."""
        blocks = self._journal.blocks if self._journal is not None else {}
        return blocks.get(self._names[sa.key], Block(0, NOBODY)).last

    def watched(self) -> Iterator[Reading]:
        """Of the SAs in service those whose life has limits, or whose sequence numbers are half used."""
        numbers, base = self._counters.numbers, self._counters.base
        for sa, _, slot, watched_from in self._known.values():
            if numbers[base(slot) + file.SEQUENCE] >= watched_from:
                yield self.reading(sa)

    def reading(self, sa: SecurityAssociation) -> Reading:
        base = self._base(sa)
        numbers = self._counters.numbers
        return Reading(
            sa,
            numbers[base + file.SEQUENCE],
            self._counters.times[base + file.CREATED],
            numbers[base + file.LIFE_OCTETS],
            numbers[base + file.LIFE_PACKETS],
        )

    def usages(self, sas: Collection[SecurityAssociation], now: float) -> Iterator[SaUsage]:
        """Of those of these SAs that are in service."""
        for sa in sas:
            if (sa.direction, sa.key) in self._known:
                yield self._usage(sa, now)

    def _usage(self, sa: SecurityAssociation, now: float) -> SaUsage:
        known = self._known[sa.direction, sa.key]
        base = self._counters.base(known.slot)
        numbers, times = self._counters.numbers, self._counters.times
        reading = self.reading(sa)
        return SaUsage(
            sa=known.sa,
            worker=numbers[base + file.WORKER],
            packets=numbers[base + file.PACKETS],
            octets=numbers[base + file.OCTETS],
            sequence=reading.sequence,
            created=reading.created,
            last_use=times[base + file.LAST_USE],
            drops=self._counters.slot_drops(known.slot),
            state=reading.state(now),
            life_octets=reading.life_octets,
            life_packets=reading.life_packets,
            lost=numbers[base + file.LOST],
            path_mtu=numbers[base + file.PATH_MTU] if now < times[base + file.PATH_UNTIL] else 0,
            window=numbers[base + file.WINDOW],
        )

    def _base(self, sa: SecurityAssociation) -> int:
        return self._counters.base(self._known[sa.direction, sa.key].slot)


def _watched_from(sa: SecurityAssociation) -> int:
    return 0 if sa.lifetime else (sa.sequence_max + 1) // 2

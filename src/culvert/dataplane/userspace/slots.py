"""The parent's side of what the counters file says of each SA."""

from collections.abc import Iterable, Sequence

from culvert.change import AddSa, RemoveSa
from culvert.dataplane.notices import Reading
from culvert.dataplane.plane import SaUsage
from culvert.dataplane.userspace import counters as file
from culvert.dataplane.userspace import wire
from culvert.dataplane.userspace.counters import CountersFile
from culvert.dataplane.userspace.leases import NOBODY, Block, Journal, Lease, is_counter_mode, key_name
from culvert.ipsec.sa import Direction, SaKey, SecurityAssociation

NO_SLOT = -1


class Slots:
    """Which slot each SA has. An SA's identity is a digest of its keys, so it isn't worked out for every report."""

    def __init__(self, counters: CountersFile, journal: Journal | None) -> None:
        self._counters = counters
        self._journal = journal
        self._known: dict[tuple[Direction, SaKey], int] = {}
        self._names: dict[SaKey, bytes] = {}
        """Which blocks are whose, of outbound SAs."""

    def of(self, changes: Sequence[wire.PacketChange], others: Iterable[SecurityAssociation]) -> list[int]:
        """For each change the slot of its SA, or -1. `others`: SAs whose slots nobody else may get."""
        in_use = {sa.identity() for sa in others}
        slots = []
        for change in changes:
            slot = NO_SLOT
            if isinstance(change, AddSa | RemoveSa):
                sa = change.sa
                slot = self._counters.slot_for(sa.identity(), sa.direction, in_use)
                in_use.add(sa.identity())
                if isinstance(change, AddSa):
                    self._known[sa.direction, sa.key] = slot
            slots.append(slot)
        return slots

    def leases(self, changes: Sequence[wire.PacketChange], slots: Sequence[int]) -> list[Lease]:
        """What is known of the numbers of every outbound SA that is added, before `begin`.

        A slot that nobody had before, or whose key another SA has had in between, goes on behind the last block.
        """
        if self._journal is None:
            return []
        self._journal.refresh()
        leases = []
        for change, slot in zip(changes, slots, strict=True):
            if isinstance(change, AddSa) and change.sa.direction is Direction.OUT:
                leases.append(self._lease(self._journal, change.sa, slot))
        return leases

    def _lease(self, journal: Journal, sa: SecurityAssociation, slot: int) -> Lease:
        name, owner = key_name(sa), sa.identity()
        self._names[sa.key] = name
        block = journal.blocks.get(name, Block(0, NOBODY))
        if self._counters.is_new(slot) or block.owner not in (owner, NOBODY):
            self._counters.go_behind(slot, block.last)
        return Lease(name.hex(), owner.hex(), block.last, is_counter_mode(sa))

    def begin(self, changes: Sequence[wire.PacketChange], slots: Sequence[int], now: float) -> None:
        """The age of the keys that are new counts from now on."""
        for change, slot in zip(changes, slots, strict=True):
            if isinstance(change, AddSa):
                self._counters.begin(slot, now)

    def granted(self, sa: SecurityAssociation) -> int:
        """The last number of an outbound SA that is in the journal, as it was read last."""
        blocks = self._journal.blocks if self._journal is not None else {}
        return blocks.get(self._names[sa.key], Block(0, NOBODY)).last

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

    def usage(self, sa: SecurityAssociation, now: float) -> SaUsage:
        base = self._base(sa)
        numbers, times = self._counters.numbers, self._counters.times
        reading = self.reading(sa)
        return SaUsage(
            sa=sa,
            worker=numbers[base + file.WORKER],
            packets=numbers[base + file.PACKETS],
            octets=numbers[base + file.OCTETS],
            sequence=reading.sequence,
            created=reading.created,
            last_use=times[base + file.LAST_USE],
            drops=self._counters.slot_drops(self._known[sa.direction, sa.key]),
            state=reading.state(now),
            life_octets=reading.life_octets,
            life_packets=reading.life_packets,
            lost=numbers[base + file.LOST],
            path_mtu=numbers[base + file.PATH_MTU] if now < times[base + file.PATH_UNTIL] else 0,
        )

    def _base(self, sa: SecurityAssociation) -> int:
        return self._counters.base(self._known[sa.direction, sa.key])

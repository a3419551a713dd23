"""What the parent of a packet process knows of numbers: counters file, counter journal, and whose slots are whose."""

from pathlib import Path

from culvert.change import AddSa
from culvert.dataplane.userspace import wire
from culvert.dataplane.userspace.counters import SEQUENCE, CountersFile
from culvert.dataplane.userspace.leases import Block, Journal, key_name
from culvert.dataplane.userspace.slots import Slots
from culvert.ipsec.sa import SecurityAssociation


class Parent:
    """Its files are in `state`."""

    def __init__(self, state: Path) -> None:
        self.journal = Journal(state / "leases", 1.0)
        self.counters = CountersFile(state / "counters", journal=self.journal)
        self.slots = Slots(self.counters, self.journal)

    def prepared(self, *changes: wire.PacketChange, whole: bool = False) -> wire.Apply:
        slots = self.slots.of(changes, ())
        leases = self.slots.leases(changes, slots)
        self.slots.begin(changes, slots, 1.0)
        return wire.Apply(changes, tuple(slots), tuple(leases), whole)

    def at(self, sa: SecurityAssociation) -> int:
        (slot,) = self.slots.of([AddSa(sa)], ())
        return int(self.counters.numbers[self.counters.base(slot) + SEQUENCE])

    def last(self, sa: SecurityAssociation) -> Block:
        """The block in the journal."""
        self.journal.refresh()
        return self.journal.blocks[key_name(sa)]

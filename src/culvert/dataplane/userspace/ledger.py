"""The packet process's side of the counters file: each record has its slot, and each packet its account.

What has to be there before a packet leaves, its sequence number, is written at once (`sequence_at`); what may
come a little later, once per burst.
"""

from culvert.dataplane.account import describe, mode_row
from culvert.dataplane.userspace import counters as file
from culvert.dataplane.userspace.counters import Counters
from culvert.ipsec.gateway import Gateway
from culvert.ipsec.icmp import PATH_SECONDS
from culvert.ipsec.sa import SecurityAssociation
from culvert.ipsec.sadb import Inbound, Outbound, Record
from culvert.ipsec.verdict import Drop


class _Entry:
    """One record's place. `row`: where its part of a MODES row begins."""

    __slots__ = ("base", "octets", "packets", "row")

    def __init__(self, base: int, row: int, record: Record) -> None:
        self.base = base
        self.row = row
        self.packets = record.usage.packets
        self.octets = record.usage.octets
        """Of both as much as is written already."""


class Ledger:
    """Counts of records, packets that died, and rows per mode."""

    def __init__(self, counters: Counters) -> None:
        self.counters = counters
        self.touched: set[Record] = set()
        """Records that `write` has to look at."""
        self._entries: dict[Record, _Entry] = {}

    def open(self, gateway: Gateway, sa: SecurityAssociation, slot: int, now: float) -> Record:
        """Put an SA into service where its counts say that it stopped."""
        counters = self.counters
        base = counters.base(slot)
        numbers, times = counters.numbers, counters.times
        numbers[base + file.WORKER] = 0
        sequence = numbers[base + file.SEQUENCE]
        record = gateway.add_sa(sa, sequence=min(sequence, sa.sequence_max), now=times[base + file.CREATED] or now)
        # Beyond its end where extended numbers were switched off: nothing passes, and switched on again they go on.
        if isinstance(record, Outbound):
            record.sequence = sequence
        elif sequence > sa.sequence_max:
            record.replay.restart(sequence)
        usage = record.usage
        usage.packets, usage.octets = numbers[base + file.PACKETS], numbers[base + file.OCTETS]
        usage.life_packets, usage.life_octets = numbers[base + file.LIFE_PACKETS], numbers[base + file.LIFE_OCTETS]
        usage.last_use = times[base + file.LAST_USE]
        usage.drops.update(counters.slot_drops(slot))
        if isinstance(record, Inbound):
            record.replay.lost = numbers[base + file.LOST]
            numbers[base + file.WINDOW] = record.replay.newest()
        else:
            # `kept_alive` is the time of the last keep-alive, which nobody remembers.
            record.kept_alive = now
            if numbers[base + file.PATH_MTU] and now < times[base + file.PATH_UNTIL]:
                record.learn_mtu(numbers[base + file.PATH_MTU], times[base + file.PATH_UNTIL] - PATH_SECONDS)
        row = counters.mode_base(mode_row(sa)) + (2 if isinstance(record, Outbound) else 0)
        self._entries[record] = _Entry(base, row, record)
        return record

    def go_behind(self, slot: int, number: int) -> None:
        """Numbers up to this one may have been used, by another SA of the same key."""
        at = self.counters.base(slot) + file.SEQUENCE
        self.counters.numbers[at] = max(self.counters.numbers[at], number)

    def close(self, record: Record) -> None:
        """Its SA goes out of service."""
        self._write(record, self._entries.pop(record))
        self.touched.discard(record)

    def sequence_at(self, record: Record) -> int:
        """Index of the record's sequence in `Counters.numbers`."""
        return self._entries[record].base + file.SEQUENCE

    def learned(self, record: Record, mtu: int, now: float) -> None:
        """The path of this SA is `mtu` octets wide, for a while."""
        base = self._entries[record].base
        self.counters.numbers[base + file.PATH_MTU] = mtu
        self.counters.times[base + file.PATH_UNTIL] = now + PATH_SECONDS

    def drop(self, packet: bytes, drop: Drop, now: float, why: str = "", *, arrived: bool = False) -> None:
        """Count the end of a packet."""
        self.counters.count_drop(drop.reason, now, describe(packet, drop, arrived=arrived) + why)
        if drop.record is not None:
            self.touched.add(drop.record)

    def write(self) -> None:
        """The counts of all that was touched."""
        for record in self.touched:
            entry = self._entries.get(record)
            if entry is not None:
                self._write(record, entry)
        self.touched.clear()

    def _write(self, record: Record, entry: _Entry) -> None:
        usage, base, numbers = record.usage, entry.base, self.counters.numbers
        numbers[entry.row] += usage.packets - entry.packets
        numbers[entry.row + 1] += usage.octets - entry.octets
        entry.packets = numbers[base + file.PACKETS] = usage.packets
        entry.octets = numbers[base + file.OCTETS] = usage.octets
        numbers[base + file.LIFE_PACKETS] = usage.life_packets
        numbers[base + file.LIFE_OCTETS] = usage.life_octets
        numbers[base + file.SEQUENCE] = record.sequence
        self.counters.times[base + file.LAST_USE] = usage.last_use
        if isinstance(record, Inbound):
            numbers[base + file.LOST] = record.replay.lost
            numbers[base + file.WINDOW] = record.replay.newest()
        for reason, count in usage.drops.items():
            numbers[base + file.DROPS + reason] = count

    def reset(self) -> None:
        """Zero what is statistics; sequences, lives and what was learned stay."""
        self.write()
        self.counters.zero()
        for record, entry in self._entries.items():
            record.usage.packets = record.usage.octets = entry.packets = entry.octets = 0
            record.usage.drops.clear()
            if isinstance(record, Inbound):
                record.replay.lost = 0

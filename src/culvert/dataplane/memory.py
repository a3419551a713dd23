"""A data plane inside this process that touches no host: for tests, and to look at captures."""

import os
from collections.abc import Callable, Collection, Sequence
from typing import NamedTuple

from culvert.change import (
    AddAddress,
    AddForwarder,
    AddLink,
    AddPolicy,
    AddRoute,
    AddSa,
    Change,
    Forwarder,
    Link,
    RemoveAddress,
    RemoveForwarder,
    RemoveLink,
    RemovePolicy,
    RemoveRoute,
    RemoveSa,
)
from culvert.dataplane.account import MODES, describe, mode_row
from culvert.dataplane.batch import apply_all
from culvert.dataplane.notices import Notices, Reading
from culvert.dataplane.plane import DropCount, Features, ForwarderStat, LinkState, PlaneError, SaUsage, WorkerStat
from culvert.ipsec.drops import Reason
from culvert.ipsec.gateway import Gateway, Learned
from culvert.ipsec.icmp import PATH_SECONDS
from culvert.ipsec.sa import SecurityAssociation
from culvert.ipsec.sadb import Inbound, Record
from culvert.ipsec.verdict import Deliver, Drop, Send, Verdict


class _Life(NamedTuple):
    """What belongs to a key. `sequence`: the last number sent, or the highest seen."""

    sequence: int
    created: float
    packets: int
    octets: int


class MemoryPlane:
    """A DataPlane that keeps links, addresses, routes and forwarders only as a list of what was asked for."""

    features = Features(engine="python", workers=1, vlan_tagging=True)

    def __init__(self, *, random: Callable[[int], bytes], clock: Callable[[], float]) -> None:
        self._clock = clock
        self._gateway = Gateway(random=random)
        self._lives: dict[bytes, _Life] = {}
        """By identity, of SAs that were taken away: their keys go on where they stopped."""
        self._paths: dict[Record, tuple[int, float]] = {}
        """Path MTUs that the network told, and until when they are believed."""
        self._drops: dict[Reason, DropCount] = {}
        self._traffic = [[0, 0, 0, 0] for _ in MODES]
        self._things: list[object] = []
        self._notices = Notices()

    @property
    def process_id(self) -> int | None:
        return os.getpid()

    def apply(self, changes: Sequence[Change]) -> None:
        """Make all changes, in order, or none."""
        apply_all(changes, self._step)

    def _step(self, change: Change) -> None:
        match change:
            case AddSa(sa):
                self._add_sa(sa)
            case RemoveSa(sa):
                self._remove_sa(sa)
            case AddPolicy(policy):
                self._gateway.add_policy(policy)
            case RemovePolicy(policy):
                self._gateway.remove_policy(policy)
            case _:
                self._keep(change)

    def _add_sa(self, sa: SecurityAssociation) -> None:
        now = self._clock()
        life = self._lives.get(sa.identity(), _Life(0, now, 0, 0))
        record = self._gateway.add_sa(sa, sequence=min(life.sequence, sa.sequence_max), now=now)
        usage = record.usage
        usage.created, usage.life_packets, usage.life_octets = life.created, life.packets, life.octets

    def _remove_sa(self, sa: SecurityAssociation) -> None:
        record = self._gateway.remove_sa(sa)
        usage = record.usage
        self._lives[sa.identity()] = _Life(record.sequence, usage.created, usage.life_packets, usage.life_octets)
        self._paths.pop(record, None)

    def _keep(self, change: Change) -> None:
        match change:
            case AddLink(thing) | AddAddress(thing) | AddRoute(thing) | AddForwarder(thing):
                if thing in self._things:
                    raise PlaneError(change, f"{thing.label} is there already")
                self._things.append(thing)
            case RemoveLink(thing) | RemoveAddress(thing) | RemoveRoute(thing) | RemoveForwarder(thing):
                if thing not in self._things:
                    raise PlaneError(change, f"{thing.label} is not there")
                self._things.remove(thing)

    def outbound(self, packet: bytes, now: float) -> Verdict:
        """What becomes of a clear packet on its way out. A Bypass is for the caller to judge."""
        return self._account(packet, self._gateway.outbound(packet, now), now)

    def inbound(self, packet: bytes, now: float) -> Verdict:
        """What becomes of a protected packet that arrived."""
        return self._account(packet, self._gateway.inbound(packet, now), now, arrived=True)

    def told_too_big(self, packet: bytes, now: float) -> None:
        """An ICMP packet arrived."""
        learned = self._gateway.told_too_big(packet, now)
        if isinstance(learned, Learned):
            self._paths[learned.record] = learned.mtu, now + PATH_SECONDS
        elif isinstance(learned, Drop):
            self._count_drop(packet, learned, now, arrived=True)

    def chores(self, now: float) -> list[Send]:
        """About once a second: what the gateway sends by itself. Gives up fragments that waited too long."""
        for packet, drop in self._gateway.expire(now):
            self._count_drop(packet, drop, now)
        sent = []
        for verdict in self._gateway.due(now):
            if isinstance(verdict, Send):
                sent.append(verdict)
            else:
                self._count_drop(b"", verdict, now)
        return sent

    def _account(self, packet: bytes, verdict: Verdict, now: float, *, arrived: bool = False) -> Verdict:
        if isinstance(verdict, Drop):
            self._count_drop(packet, verdict, now, arrived=arrived)
        elif isinstance(verdict, Send | Deliver):
            column = 0 if isinstance(verdict, Deliver) else 2
            octets = len(packet) if isinstance(verdict, Send) else len(verdict.packet)
            for record in (verdict.record, verdict.bundled):
                if record is not None:
                    row = self._traffic[mode_row(record.sa)]
                    row[column] += 1
                    row[column + 1] += octets
        return verdict

    def _count_drop(self, packet: bytes, drop: Drop, now: float, *, arrived: bool = False) -> None:
        before = self._drops.get(drop.reason)
        count = before.packets + 1 if before else 1
        last = describe(packet, drop, arrived=arrived)
        self._drops[drop.reason] = DropCount(drop.reason, count, now, last)

    def usage(self, sas: Collection[SecurityAssociation] | None = None) -> list[SaUsage]:
        now = self._clock()
        if sas is None:
            return [self._usage(record, now) for record in self._gateway.sadb]
        records = {(record.sa.direction, record.sa.key): record for record in self._gateway.sadb}
        found = (records.get((sa.direction, sa.key)) for sa in sas)
        return [self._usage(record, now) for record in found if record is not None]

    def _usage(self, record: Record, now: float) -> SaUsage:
        usage = record.usage
        mtu, until = self._paths.get(record, (0, 0.0))
        return SaUsage(
            sa=record.sa,
            worker=0,
            packets=usage.packets,
            octets=usage.octets,
            sequence=record.sequence,
            created=usage.created,
            last_use=usage.last_use,
            drops=dict(usage.drops),
            state=usage.state(record.sa, now),
            life_octets=usage.life_octets,
            life_packets=usage.life_packets,
            lost=record.replay.lost if isinstance(record, Inbound) else 0,
            path_mtu=mtu if now < until else 0,
            window=record.replay.newest() if isinstance(record, Inbound) else 0,
        )

    def drops(self) -> list[DropCount]:
        return [self._drops[reason] for reason in sorted(self._drops)]

    def worker_stats(self) -> list[WorkerStat]:
        return [
            WorkerStat(0, mode.name, protocol.name, *row)
            for (mode, protocol), row in zip(MODES, self._traffic, strict=True)
        ]

    def links(self) -> list[LinkState]:
        wanted = (change for change in self._things if isinstance(change, Link))
        return [LinkState(link.name, "up" if link.enabled else "disabled", "", link.mtu) for link in wanted]

    def forwarder_stats(self) -> list[ForwarderStat]:
        return [ForwarderStat(thing.label, 0, 0) for thing in self._things if isinstance(thing, Forwarder)]

    def counter_journal(self) -> None:
        """What is in memory only has none."""

    def trust_counter_journal(self) -> None:
        """There is none to trust."""

    def reset_stats(self, forwarders: Collection[str] | None = None) -> None:
        if forwarders is not None:
            return  # It forwards nothing, and so it counts nothing of that.
        for record in self._gateway.sadb:
            usage = record.usage
            usage.packets = usage.octets = 0
            usage.drops.clear()
            if isinstance(record, Inbound):
                record.replay.lost = 0
        self._drops.clear()
        self._traffic = [[0, 0, 0, 0] for _ in MODES]

    def tick(self, now: float) -> list[str]:
        readings = (
            Reading(
                record.sa,
                record.sequence,
                record.usage.created,
                record.usage.life_octets,
                record.usage.life_packets,
            )
            for record in self._gateway.sadb
        )
        return [*self._notices.lives(readings, now), *self._notices.audit(self.drops())]

    def close(self) -> None:
        self._things.clear()

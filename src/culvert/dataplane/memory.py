"""A data plane inside this process that touches no host: for tests, and to look at captures."""

import os
from collections.abc import Callable, Sequence

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
from culvert.dataplane.plane import DropCount, Features, ForwarderStat, LinkState, PlaneError, SaUsage, WorkerStat
from culvert.ipsec.drops import Reason
from culvert.ipsec.gateway import Gateway
from culvert.ipsec.sa import SecurityAssociation
from culvert.ipsec.verdict import Deliver, Drop, Send, Verdict


class MemoryPlane:
    """A DataPlane that keeps links, addresses, routes and forwarders only as a list of what was asked for."""

    features = Features(engine="python", workers=1, vlan_tagging=True)

    def __init__(self, *, random: Callable[[int], bytes], clock: Callable[[], float]) -> None:
        self._clock = clock
        self._gateway = Gateway(random=random)
        self._sequences: dict[bytes, int] = {}
        self._drops: dict[Reason, DropCount] = {}
        self._traffic = [[0, 0, 0, 0] for _ in MODES]
        self._things: list[object] = []

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
                self._sequences[sa.identity()] = self._gateway.remove_sa(sa).sequence
            case AddPolicy(policy):
                self._gateway.add_policy(policy)
            case RemovePolicy(policy):
                self._gateway.remove_policy(policy)
            case _:
                self._keep(change)

    def _add_sa(self, sa: SecurityAssociation) -> None:
        sequence = self._sequences.get(sa.identity(), 0)
        self._gateway.add_sa(sa, sequence=sequence, now=self._clock())

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
        return self._account(packet, self._gateway.inbound(packet, now), now)

    def _account(self, packet: bytes, verdict: Verdict, now: float) -> Verdict:
        if isinstance(verdict, Drop):
            before = self._drops.get(verdict.reason)
            count = before.packets + 1 if before else 1
            self._drops[verdict.reason] = DropCount(verdict.reason, count, now, describe(packet, verdict))
        elif isinstance(verdict, Send | Deliver):
            column = 0 if isinstance(verdict, Deliver) else 2
            octets = len(packet) if isinstance(verdict, Send) else len(verdict.packet)
            row = self._traffic[mode_row(verdict.sa)]
            row[column] += 1
            row[column + 1] += octets
        return verdict

    def usage(self) -> list[SaUsage]:
        return [
            SaUsage(
                sa=record.sa,
                worker=0,
                packets=record.usage.packets,
                octets=record.usage.octets,
                sequence=record.sequence,
                created=record.usage.created,
                last_use=record.usage.last_use,
                drops=dict(record.usage.drops),
            )
            for record in self._gateway.sadb
        ]

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

    def reset_stats(self) -> None:
        for record in self._gateway.sadb:
            usage = record.usage
            usage.packets = usage.octets = 0
            usage.drops.clear()
        self._drops.clear()
        self._traffic = [[0, 0, 0, 0] for _ in MODES]

    def tick(self, now: float) -> list[str]:
        return []

    def close(self) -> None:
        self._things.clear()

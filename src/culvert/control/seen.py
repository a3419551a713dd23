"""What runs, as far as one user may see it: as if the partitions that he may not look into were not there.

It is cut before anything is worked out from it, and not afterwards: who may ask what becomes of a packet would
otherwise learn by trying which addresses the others have.
"""

import re
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import replace
from typing import TypeVar

from culvert.config.snapshot import Snapshot
from culvert.control.shows import Sight
from culvert.dataplane.plane import (
    DropCount,
    Features,
    ForwarderStat,
    JournalState,
    LinkState,
    Observed,
    SaUsage,
    WorkerStat,
)
from culvert.ipsec.sa import SecurityAssociation
from culvert.model.kind import Naming
from culvert.model.registry import KINDS
from culvert.plan.intent import Intent

Sees = Callable[[str], bool]
"""Whether what has this full path is for this user's eyes."""

LEFT_OUT = "what other partitions have is left out: it may decide otherwise about the same packets"
TROUBLE = "the configuration doesn't run as it is; who sees all partitions is told why"
_FULL_PATH = re.compile(r"/[^\s,;:()]+")

T = TypeVar("T")


def cut(view: Sight, sees: Sees) -> Sight:
    """The part of it that a user sees who doesn't see all."""
    return replace(
        view,
        snapshot=_snapshot(view.snapshot, sees),
        intent=_intent(view.intent, sees),
        plane=_Plane(view.plane, sees),
        events=(),  # They quote packets of all partitions.
        trouble=TROUBLE if view.trouble else "",
        is_whole=False,
    )


def _snapshot(whole: Snapshot, sees: Sees) -> Snapshot:
    placed = (Naming.FOLDER, Naming.LOOSE)
    return Snapshot(
        {
            path: {name: own for name, own in objects.items() if KINDS[path].naming not in placed or sees(name)}
            for path, objects in whole.objects.items()
        }
    )


def _intent(whole: Intent, sees: Sees) -> Intent:
    def seen(things: Iterable[T]) -> tuple[T, ...]:
        return tuple(own for own in things if sees(own.label))  # type: ignore[attr-defined]

    return replace(
        whole,
        links=seen(whole.links),
        addresses=seen(whole.addresses),
        routes=seen(whole.routes),
        forwarders=seen(whole.forwarders),
        policies=seen(whole.policies),
        sas=seen(whole.sas),
        notes=tuple(note for note in whole.notes if all(map(sees, _FULL_PATH.findall(note)))),
        reqids={name: number for name, number in whole.reqids.items() if sees(name)},
    )


class _Plane:
    """The reports of a plane without those of others' objects; no packet of theirs is quoted."""

    def __init__(self, whole: Observed, sees: Sees) -> None:
        self._whole = whole
        self._sees = sees

    @property
    def features(self) -> Features:
        return self._whole.features

    @property
    def process_id(self) -> int | None:
        return self._whole.process_id

    def usage(self, sas: Collection[SecurityAssociation] | None = None) -> list[SaUsage]:
        return [own for own in self._whole.usage(sas) if self._sees(own.sa.label)]

    def drops(self) -> list[DropCount]:
        return [replace(own, last="") for own in self._whole.drops()]

    def worker_stats(self) -> Sequence[WorkerStat]:
        return self._whole.worker_stats()

    def links(self) -> Sequence[LinkState]:
        return self._whole.links()

    def forwarder_stats(self) -> list[ForwarderStat]:
        return [own for own in self._whole.forwarder_stats() if self._sees(own.label)]

    def counter_journal(self) -> JournalState | None:
        state = self._whole.counter_journal()
        return None if state is None else replace(state, short=tuple(filter(self._sees, state.short)))

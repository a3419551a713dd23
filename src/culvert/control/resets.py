"""Counters that count from a reset on, though what they are counted by goes on.

The packet process has one word that sets all its counters to zero. A reset of one show's alone is therefore a note here
of how far they were, which is taken off whatever is shown from then on. Nothing of the plane is touched by it: neither
sequence numbers nor the journal nor what of a key's life is used up, and no other show. It is forgotten when all
counters are set to zero, and with the daemon.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from culvert.model.shows import IPSEC_SA

Record = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Counted:
    """The words of a show's records that say which one it is, and those that are counters."""

    name: tuple[str, ...]
    counters: tuple[str, ...]


COUNTED: Mapping[str, Counted] = {
    # The time tells the key from a later one under the same name and SPI.
    IPSEC_SA: Counted(("name", "spi", "created"), ("bytes", "packets", "lost", "drops")),
    "net ipsec traffic-selector": Counted(("name",), ("packets", "bytes")),
    "net ipsec-stat": Counted(
        ("worker", "mode", "protocol"), ("packets_in", "bytes_in", "packets_out", "bytes_out")
    ),
    "net ipsec drops": Counted(("reason",), ("packets",)),
}

_Key = tuple[str, tuple[object, ...]]


class Resets:
    """How far the counters of each record were when they were reset, of those that were."""

    def __init__(self) -> None:
        self._before: dict[_Key, Record] = {}

    def note(self, what: str, records: Iterable[Record]) -> None:
        """These, as they are without any reset, begin at zero now."""
        for own in records:
            self._before[_key(what, own)] = {word: own[word] for word in COUNTED[what].counters}

    def clear(self) -> None:
        """All counters were set to zero."""
        self._before.clear()

    def since(self, what: str, records: Iterable[Record]) -> list[Record]:
        """The records of a show, counted since the last reset of each."""
        if what not in COUNTED or not self._before:
            return list(records)
        return [self._since(_key(what, own), own) for own in records]

    def _since(self, key: _Key, own: Record) -> Record:
        before = self._before.get(key)
        if before is None:
            return own
        left = {word: _less(own[word], count) for word, count in before.items()}
        if any(_is_below(count) for count in left.values()):
            # Something else has set it to zero meanwhile: all of it was counted since then.
            del self._before[key]
            return own
        return own | left


def _key(what: str, own: Record) -> _Key:
    return what, tuple(own[word] for word in COUNTED[what].name)


def _less(now: Any, before: Any) -> Any:
    """A count, or counts by reason, of which those that are zero are left out."""
    if not isinstance(now, Mapping):
        return now - before
    left = {reason: now.get(reason, 0) - before.get(reason, 0) for reason in (*now, *before)}
    return {reason: count for reason, count in left.items() if count}


def _is_below(left: Any) -> bool:
    return any(count < 0 for count in left.values()) if isinstance(left, Mapping) else bool(left < 0)

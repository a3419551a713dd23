"""What to do to the host for a batch: a thing that is removed and added again in the same place is left standing.

A changed property of a configured object arrives as a removal and an addition. Taken literally, a new list of
services would take an address off its link for a moment, and the kernel would take the routes along.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from culvert.change import (
    AddAddress,
    AddLink,
    Address,
    AddRoute,
    Change,
    Link,
    RemoveAddress,
    RemoveLink,
    RemoveRoute,
    Route,
)

Thing = Link | Address | Route


@dataclass(frozen=True, slots=True)
class Replace:
    """`new` in the place of `old`, which differs in nothing that would mean to make it anew."""

    old: Thing
    new: Thing

    def inverse(self) -> "Replace":
        return Replace(self.new, self.old)


HostChange = Change | Replace
_Place = tuple[object, ...]


def host_changes(changes: Sequence[Change]) -> list[HostChange]:
    """The changes that concern the host, each pair of removal and addition in one place as a Replace."""
    removed: dict[_Place, tuple[int, Thing]] = {}
    found: list[HostChange | None] = []
    for change in changes:
        match change:
            case RemoveLink(thing) | RemoveAddress(thing) | RemoveRoute(thing):
                removed[_place(thing)] = len(found), thing
                found.append(change)
            case AddLink(thing) | AddAddress(thing) | AddRoute(thing):
                at, old = removed.pop(_place(thing), (-1, thing))
                if at >= 0:
                    found[at] = None
                found.append(change if at < 0 else Replace(old, thing))
    return [change for change in found if change is not None]


def _place(thing: Thing) -> _Place:
    match thing:
        case Link():
            return ("link", thing.name, thing.parent, thing.tag)
        case Address():
            return ("address", thing.link, thing.interface)
        case Route():
            return ("route", thing.destination, thing.gateway, thing.link, thing.mtu)

"""The configuration as one immutable value, with the indexes that rules ask for."""

from collections.abc import Iterable, Iterator, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from culvert.config.overlay import copied
from culvert.model.kind import Object, Path

Key = tuple[Path, str]
K = TypeVar("K")
V = TypeVar("V")


@dataclass(frozen=True, eq=False, slots=True)
class Snapshot:
    """Every object by kind and name. `with_changes` makes the next one; this one never changes.

    `referrers_of` holds, for each object named by another, who names it; `owners` holds, for each
    value that must be unique within a kind, who has it (more than one: a problem).
    """

    objects: Mapping[Path, Mapping[str, Object]] = field(default_factory=dict)
    referrers_of: Mapping[Key, AbstractSet[Key]] = field(default_factory=dict)
    owners: Mapping[tuple[Path, int, object], AbstractSet[str]] = field(default_factory=dict)

    def get(self, path: Path, name: str) -> Object | None:
        return self.objects.get(path, {}).get(name)

    def all(self, path: Path) -> Iterable[Object]:
        """The objects of one kind, by name."""
        return [own for _, own in sorted(self.objects.get(path, {}).items())]

    def some(self, path: Path, names: Iterable[str] | None) -> Iterable[Object]:
        """Those objects of one kind that are called `names`, in that order; all for None."""
        if names is None:
            return self.all(path)
        return [own for name in names if (own := self.get(path, name)) is not None]

    def part(self, names: Mapping[Path, Iterable[str]]) -> "Snapshot":
        """A snapshot of some objects alone, without indexes."""
        return Snapshot({path: {own.name: own for own in self.some(path, chosen)} for path, chosen in names.items()})

    def every(self) -> Iterator[Object]:
        """All objects, by kind and name."""
        for path in sorted(self.objects):
            yield from self.all(path)

    def referrers(self, path: Path, name: str) -> Iterable[Object]:
        """The objects that name this one, by kind and name."""
        found = (self.get(*key) for key in self.referrer_keys(path, name))
        return [other for other in found if other is not None]

    def referrer_keys(self, path: Path, name: str) -> Iterable[Key]:
        """As `referrers`, by their keys."""
        return sorted(self.referrers_of.get((path, name), ()))

    def holders(self, path: Path, number: int, value: object) -> AbstractSet[str]:
        """Who of a kind has `value` for its unique key `number`."""
        return self.owners.get((path, number, value), frozenset())

    def with_changes(self, changes: Mapping[Key, Object | None]) -> "Snapshot":
        """This snapshot with objects put in place (or, for None, taken out)."""
        builder = Builder(self)
        for key, new in changes.items():
            builder.put(key, new)
        return builder.snapshot

    def differences(self, other: "Snapshot") -> list[Key]:
        """What is not the same in both."""
        return [
            (path, name)
            for path in self.objects.keys() | other.objects.keys()
            for name in self.objects.get(path, {}).keys() | other.objects.get(path, {}).keys()
            if self.get(path, name) != other.get(path, name)
        ]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Snapshot) and list(self.every()) == list(other.every())

    def __hash__(self) -> int:
        return id(self)


class Builder:
    """A snapshot in the making: one copy of the base, changed in place by its only owner."""

    def __init__(self, base: Snapshot) -> None:
        self._objects = {path: copied(own) for path, own in base.objects.items()}
        self._referrers_of = _Index(base.referrers_of)
        self._owners = _Index(base.owners)
        self.snapshot = Snapshot(self._objects, self._referrers_of.sets, self._owners.sets)

    def put(self, key: Key, new: Object | None) -> None:
        """Put `new` in place of what `key` names, or take that out."""
        own = self._objects.setdefault(key[0], {})
        if (old := own.pop(key[1], None)) is not None:
            for _, path, name in old.references():
                self._referrers_of.take((path, name), key)
            for mark in _marks(old):
                self._owners.take(mark, old.name)
        if new is not None:
            own[key[1]] = new
            for _, path, name in new.references():
                self._referrers_of.add((path, name), key)
            for mark in _marks(new):
                self._owners.add(mark, new.name)


def _marks(own: Object) -> Iterator[tuple[Path, int, object]]:
    for number, unique in enumerate(own.kind.unique):
        for value in unique.keys(own):
            yield own.kind.path, number, value


class _Index(Generic[K, V]):
    """Sets by key. Those of the base are shared with it and never changed; each that changes is copied once.

    Copied for every change, the set of those who name one VLAN would make a file's time grow with their square.
    """

    def __init__(self, base: Mapping[K, AbstractSet[V]]) -> None:
        self.sets = copied(base)
        self._own: dict[K, set[V]] = {}

    def add(self, key: K, value: V) -> None:
        self._writable(key).add(value)

    def take(self, key: K, value: V) -> None:
        left = self._writable(key)
        left.discard(value)
        if not left:
            del self.sets[key], self._own[key]

    def _writable(self, key: K) -> set[V]:
        found = self._own.get(key)
        if found is None:
            found = self.sets[key] = self._own[key] = set(self.sets.get(key, ()))
        return found

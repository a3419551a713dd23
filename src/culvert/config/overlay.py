"""Copies of large dictionaries that cost what is changed in them, and not what is in them."""

from collections.abc import Iterator, Mapping, MutableMapping
from typing import Any, TypeVar

K = TypeVar("K")
V = TypeVar("V")

SMALL = 2048
"""Entries up to which a dictionary is simply copied."""
CHANGES_MAX = 2048
"""Changes behind which the next copy is a whole one again."""

_GONE: Any = object()
_SAME: Any = object()
"""As in the base."""


def copied(base: Mapping[K, V]) -> MutableMapping[K, V]:
    """A copy to change. `base` must not change any more."""
    if isinstance(base, Overlay):
        return base.copy() if base.changes <= CHANGES_MAX else dict(base.items())
    return dict(base) if len(base) <= SMALL else Overlay(base, {}, len(base))


class Overlay(MutableMapping[K, V]):
    """A dictionary that nobody changes any more, and what is otherwise than there."""

    __slots__ = ("_base", "_changed", "_size")

    def __init__(self, base: Mapping[K, V], changed: dict[K, V], size: int) -> None:
        """Made by `copied`."""
        self._base = base
        self._changed = changed
        self._size = size

    def copy(self) -> "Overlay[K, V]":
        return Overlay(self._base, dict(self._changed), self._size)

    @property
    def changes(self) -> int:
        """In how many entries it may differ from its base."""
        return len(self._changed)

    def __getitem__(self, key: K) -> V:
        found = self._changed.get(key, _SAME)
        if found is _SAME:
            return self._base[key]
        if found is _GONE:
            raise KeyError(key)
        value: V = found
        return value

    def __contains__(self, key: Any) -> bool:
        found = self._changed.get(key, _SAME)
        return key in self._base if found is _SAME else found is not _GONE

    def __setitem__(self, key: K, value: V) -> None:
        self._size += key not in self
        self._changed[key] = value

    def __delitem__(self, key: K) -> None:
        if key not in self:
            raise KeyError(key)
        self._size -= 1
        self._changed[key] = _GONE

    def __iter__(self) -> Iterator[K]:
        yield from (key for key in self._base if key not in self._changed)
        yield from (key for key, value in self._changed.items() if value is not _GONE)

    def __len__(self) -> int:
        return self._size

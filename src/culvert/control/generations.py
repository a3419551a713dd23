"""Which change of the configuration an object is of: the number that iControl REST calls generation."""

from collections.abc import Iterable

from culvert.config.snapshot import Key, Snapshot

FIRST = 1
"""What a system comes with, and what it has since it was started."""


class Generations:
    """The configuration's changes, counted, and by object the last one that it was part of."""

    def __init__(self) -> None:
        self.newest = FIRST
        self._of: dict[Key, int] = {}

    def note(self, changed: Iterable[Key], snapshot: Snapshot) -> None:
        """One more change, which led to `snapshot`."""
        self.newest += 1
        for key in changed:
            if snapshot.get(*key) is None:
                self._of.pop(key, None)
            else:
                self._of[key] = self.newest

    def __getitem__(self, key: Key) -> int:
        return self._of.get(key, FIRST)

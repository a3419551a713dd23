"""What a file has but nobody could read: what only follows from that is not worth telling."""

import re
from collections.abc import Iterable
from dataclasses import dataclass, field

from culvert.model.names import full
from culvert.model.problems import Problem

_NOT_FOUND = re.compile(r"\(([^()]*)\) was not found|^there is no route domain (\d+)$")


@dataclass(slots=True)
class Unread:
    """Names of objects that can't be made; `everything`: the file wasn't read to its end."""

    names: set[str] = field(default_factory=set)
    everything: bool = False

    def add(self, given: Iterable[str], folder: str) -> None:
        """Names as they were written."""
        for name in given:
            self.names |= {name, full(name, folder)}

    def covers(self, name: str) -> bool:
        """Whether an object of this name may be what couldn't be read; a partition may be called by its folder."""
        return self.everything or name in self.names or (name.count("/") == 1 and name.lstrip("/") in self.names)

    def explains(self, problem: Problem) -> bool:
        """Whether the problem is only that something is missing which the file may have."""
        missing = _NOT_FOUND.search(problem.sentence)
        return missing is not None and self.covers(full(missing[2]) if missing[2] else missing[1])

"""What every contestant has in common."""

from abc import ABC, abstractmethod
from dataclasses import dataclass

from bench.proof import Wire
from bench.stage import Links, Stage


class Unavailable(Exception):
    """This contestant can't perform here; the sentence says why. That is no failure of the benchmark."""


@dataclass(frozen=True)
class Contestant(ABC):
    """`name` is for --only, `title` for readers; `links`: the kinds of cables that it performs on."""

    name: str
    title: str
    wire: Wire
    links: tuple[Links, ...] = (Links.WHOLE,)

    def lacks(self) -> str:
        """Why it can't run here, as far as can be told beforehand; empty if it can."""
        return ""

    def version(self) -> str:
        """Which one exactly."""
        return ""

    @abstractmethod
    def up(self, stage: Stage) -> None:
        """Be ready to carry packets, or raise: Unavailable, or LabError for what should have worked."""

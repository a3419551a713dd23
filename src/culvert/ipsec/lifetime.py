"""How long an SA may be used (RFC 4301 section 4.4.2.1): by time, octets and packets, with a warning before the end.

Behind a soft limit an SA goes on and its owner is warned; behind a hard limit it carries nothing any more. What is
counted is the life of the *key*: it goes on through restarts and isn't reset with the statistics.
"""

from dataclasses import dataclass
from enum import Enum


class State(Enum):
    """The words of PF_KEY (RFC 2367 section 2.4)."""

    MATURE = "mature"
    DYING = "dying"
    DEAD = "dead"


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """0 is no limit."""

    seconds: int = 0
    octets: int = 0
    packets: int = 0

    def reached(self, seconds: float, octets: int, packets: int) -> str:
        """Which limit is reached, in a word; empty for none."""
        for word, limit, used in (
            ("seconds", self.seconds, seconds),
            ("bytes", self.octets, octets),
            ("packets", self.packets, packets),
        ):
            if limit and used >= limit:
                return word
        return ""

    def __bool__(self) -> bool:
        return bool(self.seconds or self.octets or self.packets)


@dataclass(frozen=True, slots=True)
class Lifetime:
    """The limits of one SA."""

    soft: Limits = Limits()
    hard: Limits = Limits()

    def state(self, seconds: float, octets: int, packets: int) -> State:
        if self.hard.reached(seconds, octets, packets):
            return State.DEAD
        return State.DYING if self.soft.reached(seconds, octets, packets) else State.MATURE

    def __bool__(self) -> bool:
        return bool(self.soft or self.hard)


UNLIMITED = Lifetime()

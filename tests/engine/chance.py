"""Chance that costs little: a run of a billion packets throws dice for each of them more than once."""

import random as seeded
from collections.abc import Sequence
from typing import TypeVar

T = TypeVar("T")
NOISE_OCTETS = 1 << 18


class Chance:
    """The same in every run of one seed. Octets are cut from anywhere in one block of noise."""

    def __init__(self, seed: str) -> None:
        source = seeded.Random(seed)
        self.fraction = source.random
        self._noise = source.randbytes(NOISE_OCTETS)

    def below(self, limit: int) -> int:
        return int(self.fraction() * limit)

    def once_in(self, times: int) -> bool:
        return self.fraction() * times < 1

    def pick(self, things: Sequence[T]) -> T:
        return things[int(self.fraction() * len(things))]

    def octets(self, count: int) -> bytes:
        start = int(self.fraction() * (NOISE_OCTETS - count))
        return self._noise[start : start + count]

    def size(self) -> int:
        """Of a payload: mostly small, since what is large is slow and shows little more; rarely as large as can be."""
        kind = self.fraction()
        if kind < 0.7:
            return self.below(100)
        if kind < 0.999:
            return self.below(600 if kind < 0.92 else 1500 if kind < 0.995 else 9000)
        return self.below(65400)

    def shuffled(self, things: Sequence[T]) -> list[T]:
        return sorted(things, key=lambda _: self.fraction())

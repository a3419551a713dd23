"""An answer in parts: what is too much to be worked out, held and sent in one piece.

A call that is asked for it (the argument `stream`) may return a Stream instead of a list. The server sends each part as
soon as it is worked out, answers others in between, and goes on when the client has read it.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

PART_RECORDS = 100
"""Some milliseconds of work: so long others wait."""


@dataclass(frozen=True, slots=True)
class Stream:
    """`total`: how many records there are when it begins; of those that go meanwhile nothing comes."""

    total: int
    parts: Iterator[list[Any]]

"""What a page keeps between the looks of one session: a few sessions at a time, each for a while.

What is kept was answered to this very session, and is given to no other. The token isn't kept: what follows from it is.
"""

import threading
from collections import OrderedDict
from collections.abc import Callable
from typing import Generic, TypeVar

from culvert.web.session import Session

T = TypeVar("T")


class Remembered(Generic[T]):
    """One thing for each session, at most `most` of them, and none that nobody asked for since `seconds`."""

    def __init__(self, make: Callable[[], T], clock: Callable[[], float], most: int, seconds: float) -> None:
        self._make = make
        self._clock = clock
        self._most = most
        self._seconds = seconds
        self._kept: OrderedDict[str, tuple[float, T]] = OrderedDict()
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._kept)

    def of(self, session: Session) -> T:
        """What is kept for this session; a new one where there is none."""
        now, key = self._clock(), session.sign("what pages keep between looks")
        with self._lock:
            found = self._kept.pop(key, None)
            own = found[1] if found is not None and now - found[0] < self._seconds else self._make()
            self._kept[key] = now, own
            self._forget(now)
            return own

    def _forget(self, now: float) -> None:
        for key in [key for key, (asked, _) in self._kept.items() if now - asked >= self._seconds]:
            del self._kept[key]
        while len(self._kept) > self._most:
            self._kept.popitem(last=False)

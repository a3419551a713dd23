"""Who has failed too often waits: a user at an address, and an address whatever the user.

So one attacker doesn't lock the real user out, who comes from another address. An attempt that isn't decided yet
counts as a failed one: many at once are no way around.
"""

import hashlib
from collections import OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from ipaddress import IPv6Address, IPv6Network, ip_address

from culvert.control.errors import TooMany

WINDOW_SECONDS = 300.0
PAIR_FAILURES = 5
ADDRESS_FAILURES = 50
WAIT_MAX = 300.0
RECORDS_MAX = 10_000


@dataclass(slots=True)
class Record:
    """The failures of one pair or address: the newest of them, and until when it waits."""

    times: deque[float]
    waits: int = 0
    until: float = 0.0
    pending: int = field(default=0)


class Book:
    """Records of one sort, at most RECORDS_MAX: the one that was longest untouched makes room."""

    def __init__(self, most: int, clock: Callable[[], float], records: int = RECORDS_MAX) -> None:
        self._most = most
        self._clock = clock
        self._limit = records
        self._records: OrderedDict[bytes, Record] = OrderedDict()

    def __len__(self) -> int:
        return len(self._records)

    def left(self, key: bytes) -> float:
        """Seconds until an attempt may be made; 0 when it may now."""
        found = self._current(key)
        if found is None:
            return 0.0
        now = self._clock()
        recent = sum(now - when < WINDOW_SECONDS for when in found.times)
        # Behind a wait there is one attempt, not as many as at first.
        room = 1 if found.waits else self._most - recent
        return max(found.until - now, 0.0 if found.pending < room else 1.0)

    def begin(self, key: bytes) -> None:
        found = self._current(key)
        if found is None:
            self._make_room()
            found = self._records[key] = Record(deque(maxlen=self._most))
        found.pending += 1
        self._records.move_to_end(key)

    def end(self, key: bytes, *, failed: bool) -> float:
        """The attempt is decided. Returns for how long the next one has to wait."""
        found = self._records.get(key)
        if found is None:
            return 0.0
        found.pending = max(0, found.pending - 1)
        if not failed:
            if not found.times and not found.pending:
                del self._records[key]
            return 0.0
        now = self._clock()
        found.times.append(now)
        recent = sum(now - when < WINDOW_SECONDS for when in found.times)
        if recent < self._most and not found.waits:
            return 0.0
        wait = min(WAIT_MAX, 2.0**found.waits)
        found.waits = min(found.waits + 1, 10)
        found.until = now + wait
        return wait

    def forget(self, key: bytes) -> None:
        """The right password came: what failed before was the user's own mistake."""
        found = self._records.get(key)
        if found is not None:
            found.times.clear()
            found.waits, found.until = 0, 0.0

    def _current(self, key: bytes) -> Record | None:
        found = self._records.get(key)
        if found is None or found.pending:
            return found
        last = found.times[-1] if found.times else 0.0
        if self._clock() - max(last, found.until) >= WINDOW_SECONDS:
            del self._records[key]
            return None
        return found

    def _make_room(self) -> None:
        if len(self._records) >= self._limit:
            idle = next((key for key, own in self._records.items() if not own.pending), None)
            del self._records[idle if idle is not None else next(iter(self._records))]


class Lockout:
    """Both books. Raises TooMany; `clock` is monotonic, in seconds."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._pairs = Book(PAIR_FAILURES, clock)
        self._addresses = Book(ADDRESS_FAILURES, clock)

    def check(self, user: str, address: str) -> None:
        """Whether an attempt may be made now."""
        pair, place = _keys(user, address)
        left = max(self._pairs.left(pair), self._addresses.left(place))
        if left > 0:
            raise TooMany("too many failed logins", left)

    def begin(self, user: str, address: str) -> None:
        pair, place = _keys(user, address)
        self._pairs.begin(pair)
        self._addresses.begin(place)

    def end(self, user: str, address: str, *, failed: bool) -> float:
        """The attempt that `begin` told of is decided. Returns for how many seconds the next one has to wait."""
        pair, place = _keys(user, address)
        waits = self._pairs.end(pair, failed=failed), self._addresses.end(place, failed=failed)
        if not failed:
            self._pairs.forget(pair)
        return max(waits)

    def drop(self, user: str, address: str) -> None:
        """The attempt came to nothing, for no fault of whoever made it."""
        for book, key in zip((self._pairs, self._addresses), _keys(user, address), strict=True):
            book.end(key, failed=False)


def _keys(user: str, address: str) -> tuple[bytes, bytes]:
    place = network(address)
    pair = hashlib.sha256(f"{place}\0{user}".encode("utf-8", "surrogatepass")).digest()
    return pair, hashlib.sha256(place.encode("utf-8", "surrogatepass")).digest()


def network(address: str) -> str:
    """What counts as one address: of IPv6 a /64, since every host of it has as many addresses as it likes."""
    try:
        found = ip_address(address)
    except ValueError:
        return address
    if not isinstance(found, IPv6Address):
        return str(found)
    return str(found.ipv4_mapped or IPv6Network((int(found) >> 64 << 64, 64)))

"""Hashes of passwords, made and held against passwords: slow on purpose, so in threads of its own.

Neither the loop nor the thread of what is live waits for it. As many may queue as WAITING_MAX says; whoever comes then
is told to come again.
"""

import asyncio
import hashlib
import hmac
import secrets
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from argon2 import PasswordHasher
from argon2.exceptions import Argon2Error, InvalidHashError

from culvert.control.errors import TooMany
from culvert.ipsec.secret import Secret

T = TypeVar("T")

WORKERS = 2
WAITING_MAX = 32
REMEMBERED_SECONDS = 60.0
REMEMBERED_MAX = 1000
# Of no password: what a try for a user who isn't there is held against, so that it takes as long as any other.
NOBODY = "$argon2id$v=19$m=65536,t=3,p=4$AAAAAAAAAAAAAAAAAAAAAA$" + "A" * 43


class Verifier:
    """Two threads that do nothing but argon2. `close` it."""

    def __init__(self, workers: int = WORKERS, waiting_max: int = WAITING_MAX) -> None:
        self._pool = ThreadPoolExecutor(workers, thread_name_prefix="password")
        self._room = workers + waiting_max
        self._under_way = 0
        self.tried = 0

    async def matches(self, password: str, text: str | None) -> bool:
        """Whether the hash `text` is of this password; False for None, after the same time. Raises TooMany."""
        self._check_room()
        self.tried += 1
        octets = password.encode("utf-8", "surrogatepass")
        return await self._apart(lambda: _matches(octets, text or NOBODY)) and text is not None

    async def hashed(self, password: str, make: Callable[[Secret], str]) -> str:
        """What `make` makes of a password. Raises TooMany."""
        self._check_room()
        return await self._apart(lambda: make(Secret(password.encode())))

    def _check_room(self) -> None:
        if self._under_way >= self._room:
            raise TooMany("too many logins at once", 1)

    async def _apart(self, work: Callable[[], T]) -> T:
        self._under_way += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._pool, work)
        finally:
            self._under_way -= 1

    def close(self) -> None:
        self._pool.shutdown(wait=True, cancel_futures=True)


def _matches(password: bytes, text: str) -> bool:
    try:
        return PasswordHasher().verify(text, password)
    except (Argon2Error, InvalidHashError):
        return False


class Remembered:
    """What was right a moment ago, as HMACs under a key that ends with the process: Basic asks on every request."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._key = secrets.token_bytes(32)
        self._until: OrderedDict[bytes, tuple[float, str]] = OrderedDict()

    def sign(self, *words: str) -> bytes:
        """What stands for these words, whatever is in them."""
        parts = [word.encode("utf-8", "surrogatepass") for word in words]
        told = b"".join(len(part).to_bytes(4, "big") + part for part in parts)
        return hmac.digest(self._key, told, hashlib.sha256)

    def has(self, sign: bytes) -> bool:
        until, _ = self._until.get(sign, (0.0, ""))
        return self._clock() < until

    def add(self, sign: bytes, user: str) -> None:
        self._until.pop(sign, None)
        if len(self._until) >= REMEMBERED_MAX:
            self._until.popitem(last=False)
        self._until[sign] = self._clock() + REMEMBERED_SECONDS, user

    def forget(self, lives: Callable[[str], bool]) -> None:
        """Forget what belongs to users of whom `lives` says no, and what is old."""
        now = self._clock()
        old = [own for own, (until, user) in self._until.items() if now >= until or not lives(user)]
        for sign in old:
            del self._until[sign]

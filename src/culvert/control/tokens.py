"""Tokens: who logged in, for how long. In memory only, and by their digests, so that none can be read out of it."""

import base64
import hashlib
import secrets
import string
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

LETTERS = string.ascii_uppercase + string.digits
LENGTH = 26
HANDLE_OCTETS = 16
TIMEOUT = 1200
TIMEOUT_MAX = 36_000
PER_USER = 100
OVERALL = 10_000


@dataclass(frozen=True, slots=True)
class Token:
    """What a login left. `started` in seconds since the epoch; `begun` and `deadline` by the monotonic clock.

    `mark` and `roles` are those of the user's entry at the login: the token lives no longer than they do.
    """

    user: str
    address: str
    mark: str
    roles: Mapping[str, str]
    started: float
    begun: float
    deadline: float
    timeout: int = TIMEOUT

    @property
    def expires(self) -> float:
        """Seconds since the epoch."""
        return self.started + self.deadline - self.begun


class Tokens:
    """All that live. `clock` is monotonic, `now` the time of day, both in seconds."""

    def __init__(
        self,
        clock: Callable[[], float],
        now: Callable[[], float],
        *,
        per_user: int = PER_USER,
        overall: int = OVERALL,
    ) -> None:
        self._clock = clock
        self._now = now
        self._per_user = per_user
        self._overall = overall
        self._held: OrderedDict[bytes, Token] = OrderedDict()

    def __len__(self) -> int:
        return len(self._held)

    def issue(self, user: str, address: str, mark: str, roles: Mapping[str, str]) -> str:
        """A new token. The user's oldest makes room for it, or that of whoever has most."""
        self._make_room(user)
        text = "".join(secrets.choice(LETTERS) for _ in range(LENGTH))
        begun = self._clock()
        self._held[_digest(text)] = Token(user, address, mark, roles, self._now(), begun, begun + TIMEOUT)
        return text

    def find(self, text: str) -> Token | None:
        """The token, while it lives."""
        return self._alive(_digest(text))

    def known(self, text: str) -> Token | None:
        """The token with this text or handle, while it lives. For whoever is in already: a handle lets nobody in."""
        return self.find(text) or self._alive(self._digest_of(text))

    def of(self, user: str) -> dict[str, Token]:
        """A user's tokens that live, by handle, the oldest first."""
        own = [digest for digest, token in self._held.items() if token.user == user]
        return {_handle(digest): token for digest in own if (token := self._alive(digest)) is not None}

    def extend(self, text: str, timeout: int) -> Token:
        """Let a living token live for `timeout` seconds from now, but for TIMEOUT_MAX since its login at most."""
        digest = self._digest_of(text)
        found = self._held[digest]
        deadline = min(self._clock() + timeout, found.begun + TIMEOUT_MAX)
        changed = replace(found, deadline=deadline, timeout=timeout)
        self._held[digest] = changed
        return changed

    def drop(self, text: str) -> None:
        """End the token with this text or this handle, if there is one."""
        self._held.pop(self._digest_of(text), None)

    def _digest_of(self, text: str) -> bytes:
        own, begin = _digest(text), _begin(text)
        if own in self._held or not begin:
            return own
        return next((each for each in self._held if each.startswith(begin)), own)

    def _alive(self, digest: bytes) -> Token | None:
        found = self._held.get(digest)
        if found is not None and self._clock() >= found.deadline:
            del self._held[digest]
            return None
        return found

    def keep(self, lives: Callable[[Token], bool]) -> None:
        """Drop every token that is over, or of which `lives` says no."""
        now = self._clock()
        for digest in [own for own, token in self._held.items() if now >= token.deadline or not lives(token)]:
            del self._held[digest]

    def _make_room(self, user: str) -> None:
        own = [digest for digest, token in self._held.items() if token.user == user]
        if len(own) >= self._per_user:
            del self._held[own[0]]
        elif len(self._held) >= self._overall:
            self.keep(lambda token: True)
            if len(self._held) >= self._overall:
                del self._held[self._oldest_of_most()]

    def _oldest_of_most(self) -> bytes:
        counts: dict[str, int] = {}
        for token in self._held.values():
            counts[token.user] = counts.get(token.user, 0) + 1
        most = max(counts, key=lambda user: counts[user])
        return next(digest for digest, token in self._held.items() if token.user == most)


def _handle(digest: bytes) -> str:
    """What names a token to its user when its text is gone: as long as one, and no way back to it."""
    return base64.b32encode(digest[:HANDLE_OCTETS]).decode().rstrip("=")


def _begin(handle: str) -> bytes:
    """What a handle says of a digest; nothing for what is none."""
    try:
        return base64.b32decode(handle + "======") if len(handle) == LENGTH else b""
    except ValueError:
        return b""


def _digest(text: str) -> bytes:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()

"""Who somebody is who comes by a password or a token, and the calls about both: login, token, extend, logout.

Everything here runs in the loop's thread, and so is single threaded; only the verifier's work is elsewhere. Whoever
is let in here has the roles of an `auth user` entry and nothing else, whatever process brought the request.
"""

import asyncio
import hashlib
import os
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, Protocol

from culvert.config.snapshot import Snapshot
from culvert.control import access
from culvert.control.errors import ControlError, NotFound, Refused, SyntaxProblem, Unauthorized
from culvert.control.listener import Peer
from culvert.control.lockout import Lockout
from culvert.control.tokens import TIMEOUT_MAX, Token, Tokens
from culvert.control.verifier import Remembered, Verifier
from culvert.model import auth
from culvert.model.kind import Object
from culvert.model.passwords import MOST

Json = Any
NO_TOKEN = "X-F5-Auth-Token does not exist."
FAILED = "Authentication failed"
ADDRESS_MOST = 64
UNKNOWN = "(unknown)"
"""Stands in the audit log for a name that no user has: somebody may have typed a password there."""


class Record(Protocol):
    """Who is told about logins: the audit log."""

    def note(self, call: str, user: str, origin: str, what: str, result: str) -> None: ...


class Accounts:
    """`users` gives the running configuration; `clock` is monotonic, `now` the time of day, both in seconds."""

    def __init__(
        self,
        users: Callable[[], Snapshot],
        verifier: Verifier,
        record: Record,
        clock: Callable[[], float],
        now: Callable[[], float],
        web: int | None = None,
    ) -> None:
        self._snapshot = users
        self._verifier = verifier
        self._record = record
        self._tokens = Tokens(clock, now)
        self._lockout = Lockout(clock)
        self._remembered = Remembered(clock)
        self._trusted = {0, os.geteuid(), web}
        self._under_way: dict[bytes, asyncio.Task[str]] = {}
        self._seen: dict[str, Object] = {}
        self.calls: dict[str, Callable[[Mapping[str, Json], Peer, str], Json]] = {
            "token": self._token,
            "tokens": self._own_tokens,
            "extend": self._extend,
            "logout": self._logout,
        }

    async def admit(self, credentials: Mapping[str, Json], peer: Peer) -> tuple[Peer, str]:
        """The user whom the credentials prove, and the token if it was one. Raises Unauthorized, TooMany."""
        address = self._address(credentials, peer)
        token = credentials.get("token")
        if isinstance(token, str):
            found = self._living(token)
            # A token that somebody stole is of no use elsewhere.
            if found is None or found.address != address:
                raise Unauthorized(NO_TOKEN)
            return replace(peer, user=found.user, address=address, by_password=True), token
        user = await self._proved(credentials, address, peer, "basic")
        return replace(peer, user=user.name, address=address, by_password=True), ""

    async def login(self, args: Mapping[str, Json], peer: Peer) -> Json:
        """A new token for {username, password, address}."""
        address = self._address(args, peer)
        user = await self._proved(args, address, peer, "token")
        token = self._tokens.issue(user.name, address, _mark(user), _roles(user))
        self._record.note("login", user.name, origin(peer, address), "token", "ok")
        found = self._tokens.find(token)
        assert found is not None
        return _described(token, found)

    async def confirm(self, password: str, peer: Peer) -> None:
        """Raises Refused unless this is the user's password; a try counts as one to log in. Raises TooMany."""
        words = {"username": peer.user, "password": password}
        try:
            await self._proved(words, peer.address or f"uid {peer.uid}", peer, "old password")
        except Unauthorized:
            raise Refused("that is not the old password") from None

    def settle(self) -> None:
        """After whatever may have changed users: what is of others than are there now is over."""
        users = {own.name: own for own in self._snapshot().all(auth.USER)}
        if users == self._seen:
            return
        same = {name for name, own in users.items() if self._seen.get(name) == own}
        self._seen = users
        self._remembered.forget(same.__contains__)
        self._tokens.keep(self._lives)

    def _address(self, words: Mapping[str, Json], peer: Peer) -> str:
        """Where a user says to be; only a process that is trusted with it may say so for others."""
        if peer.uid not in self._trusted:
            return f"uid {peer.uid}"
        return str(words.get("address", ""))[:ADDRESS_MOST]

    # passwords

    async def _proved(self, words: Mapping[str, Json], address: str, peer: Peer, what: str) -> Object:
        name, password = words.get("username"), words.get("password")
        if not isinstance(name, str) or not isinstance(password, str):
            raise SyntaxProblem("username and password are expected, or a token")
        text = _hash(self._user(name))
        sign = self._remembered.sign(name, address, text or "", password)
        task = self._under_way.get(sign)
        if task is None:
            self._lockout.check(name, address)
            if self._remembered.has(sign):
                return self._entry(name, text)
            self._lockout.begin(name, address)
            task = asyncio.create_task(self._tried(name, password, address, text))
            self._under_way[sign] = task
            task.add_done_callback(lambda _: self._under_way.pop(sign, None))
            self._note_when_done(task, name, origin(peer, address), what)
        if await asyncio.shield(task):
            raise Unauthorized(f"{FAILED}.")
        user = self._entry(name, text)
        self._remembered.add(sign, name)
        return user

    async def _tried(self, name: str, password: str, address: str, text: str | None) -> str:
        """Why it failed, for the audit log; "" when it didn't."""
        try:
            # Of a longer one no hash was ever made.
            found = await self._verifier.matches(password[: MOST + 1], text)
        except BaseException:
            self._lockout.drop(name, address)
            raise
        wait = self._lockout.end(name, address, failed=not found)
        if found:
            return ""
        return f"{FAILED}; the next attempt waits {wait:g} seconds" if wait else FAILED

    def _note_when_done(self, task: asyncio.Task[str], name: str, where: str, what: str) -> None:
        known = name if self._user(name) else UNKNOWN

        def note(done: asyncio.Task[str]) -> None:
            if done.cancelled():
                return
            error = done.exception()
            failure = done.result() if error is None else error.message if isinstance(error, ControlError) else "failed"
            if failure or what == "basic":  # A login that went well is told when its token is there.
                self._record.note("login", known, where, what, failure or "ok")

        task.add_done_callback(note)

    def _entry(self, name: str, text: str | None) -> Object:
        """The user, if the entry is still the one whose password was tried, and gives any role."""
        user = self._user(name)
        if user is None or _hash(user) != text or not set(_roles(user).values()) - {"no-access"}:
            raise Unauthorized(f"{FAILED}.")
        return user

    def _user(self, name: str) -> Object | None:
        return self._snapshot().get(auth.USER, name)

    # tokens

    def _living(self, text: str, *, by_handle: bool = False) -> Token | None:
        found = self._tokens.known(text) if by_handle else self._tokens.find(text)
        if found is not None and not self._lives(found):
            self._tokens.drop(text)
            return None
        return found

    def _lives(self, token: Token) -> bool:
        """Whether the user is still there, with the same password and every role of then."""
        user = self._user(token.user)
        return user is not None and _mark(user) == token.mark and token.roles.items() <= _roles(user).items()

    def _asked(self, args: Mapping[str, Json], peer: Peer, own: str) -> tuple[str, Token]:
        """The token that a call is about: the caller's own, or one of the same user; any for an administrator."""
        text = args.get("token") or own
        if not isinstance(text, str) or not text:
            raise SyntaxProblem("a token is expected")
        found = self._living(text, by_handle=True)
        if found is not None and text == own:
            return text, found
        allowed = access.of(peer, self._snapshot())
        mine = found is not None and peer.by_password and found.user == peer.user
        if not (mine or allowed.may_everything):
            raise Refused(f"{peer.user} may not ask for tokens of others")
        if found is None:
            raise NotFound("token", f"{text[:4]}...")
        return text, found

    def _token(self, args: Mapping[str, Json], peer: Peer, own: str) -> Json:
        return _described(*self._asked(args, peer, own))

    def _own_tokens(self, args: Mapping[str, Json], peer: Peer, own: str) -> Json:
        """Those of whoever asks, each named by its handle: their texts aren't kept."""
        found = self._tokens.of(peer.user) if peer.by_password else {}
        return [_described(handle, token) for handle, token in found.items() if self._lives(token)]

    def _extend(self, args: Mapping[str, Json], peer: Peer, own: str) -> Json:
        timeout = args.get("timeout")
        if not isinstance(timeout, int) or isinstance(timeout, bool) or not 1 <= timeout <= TIMEOUT_MAX:
            raise SyntaxProblem(f"timeout is a number of seconds from 1 to {TIMEOUT_MAX}")
        text, _ = self._asked(args, peer, own)
        return _described(text, self._tokens.extend(text, timeout))

    def _logout(self, args: Mapping[str, Json], peer: Peer, own: str) -> Json:
        text, found = self._asked(args, peer, own)
        self._tokens.drop(text)
        self._record.note("logout", peer.user, origin(peer, peer.address), f"token of {found.user}", "ok")
        return None


def origin(peer: Peer, address: str) -> str:
    """Where somebody came from, for the audit log."""
    return address if address and not address.startswith("uid ") else f"socket pid {peer.pid}"


def _roles(user: Object) -> dict[str, str]:
    return {place: inner["role"] for place, inner in user["partition-access"].items()}


def _hash(user: Object | None) -> str | None:
    """The hash that a password is held against; None when there is none that lets anybody in."""
    found = user["password"] if user else None
    return found.text if found is not None and found.lets_in else None


def _mark(user: Object) -> str:
    return hashlib.sha256((_hash(user) or "").encode()).hexdigest()


def _described(text: str, token: Token) -> Json:
    places = sorted(token.roles)
    return {
        "token": text,
        "user": token.user,
        "address": token.address,
        "timeout": token.timeout,
        "started": token.started,
        "expires": token.expires,
        "partition": "[All]" if auth.ALL_PARTITIONS in places else places[0],
    }

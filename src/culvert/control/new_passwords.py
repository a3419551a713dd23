"""New passwords on their way to the gateway: hashed before they enter the live thread, and the old one asked for.

argon2 takes its time on purpose; in the live thread it would hold up everything else that the daemon does. What can't
be a password goes on as it came: the gateway says what is wrong with it.

Whoever may change users needs no old password. Everybody else changes the own one alone, and proves to know it: by
Basic, which has just proved it, or by `old_password` beside the operation's properties. A token or an open terminal may
be in somebody else's hands.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from culvert.config.snapshot import Snapshot
from culvert.control import access, requests
from culvert.control.accounts import Accounts
from culvert.control.errors import ControlError, Refused
from culvert.control.listener import Peer
from culvert.control.verifier import Verifier
from culvert.ipsec.secret import Secret
from culvert.model import auth
from culvert.model.fields import NONE
from culvert.model.passwords import LOCKED, MASK, is_typed

Json = Any
CALLS = ("create", "modify", "transaction")
KIND = auth.USER_KIND.word
OLD = "old_password"


class NewPasswords:
    """`make` makes a hash of a password; `users` gives the running configuration."""

    def __init__(
        self, users: Callable[[], Snapshot], accounts: Accounts, verifier: Verifier, make: Callable[[Secret], str]
    ) -> None:
        self._snapshot = users
        self._accounts = accounts
        self._verifier = verifier
        self._make = make

    async def ready(self, call: str, args: dict[str, Json], peer: Peer, *, proved: bool) -> dict[str, Json]:
        """The arguments with hashes in place of passwords. `proved`: the request itself came with the password.

        Raises Refused for an old password that is missing or wrong, TooMany.
        """
        if call not in CALLS or not any(map(_is_of_users, _operations(call, args))):
            return args
        allowed = access.of(peer, self._snapshot())
        try:
            requests.check(call, args)
            allowed.check(call, args)
        except ControlError:
            return args  # The gateway refuses it, in the same words, and that is recorded.
        made = [await self._hashed(own) for own in _operations(call, args)]
        if not allowed.may_users:
            await self._check_own(_operations(call, args), peer, proved=proved)
        return {**args, "operations": made} if call == "transaction" else made[0]

    async def _hashed(self, operation: Mapping[str, Json]) -> dict[str, Json]:
        bare = {word: value for word, value in operation.items() if word != OLD}
        if not _sets_one(operation):
            return bare
        password, names = operation["properties"]["password"], operation.get("names", [operation.get("name", "")])
        # With its hash alone nobody could tell any more that it is the user's own name.
        if not all(_is_plain(name) and name.casefold() != password.casefold() for name in names):
            return bare
        text = await self._verifier.hashed(password, self._make)
        return bare | {"properties": {**operation["properties"], "password": text}}

    async def _check_own(self, operations: Sequence[Mapping[str, Json]], peer: Peer, *, proved: bool) -> None:
        for own in filter(_is_of_users, operations):
            given = own["properties"]["password"]
            if given == MASK:
                continue
            if given in ("", NONE, *LOCKED) or str(given).startswith("$"):
                raise Refused(f"{peer.user} may change the own password to another one in clear, and to nothing else")
            if not proved:
                await self._prove(str(own.get(OLD, "")), peer)

    async def _prove(self, old: str, peer: Peer) -> None:
        user = self._snapshot().get(auth.USER, peer.user)
        if user is None or user["password"] is None or not user["password"].lets_in:
            return
        if not old:
            raise Refused("needed beside the new one: the old password")
        await self._accounts.confirm(old, peer)


def _operations(call: str, args: Mapping[str, Json]) -> Sequence[Mapping[str, Json]]:
    if call != "transaction":
        return [args]
    given = args.get("operations")
    return [own for own in given if isinstance(own, dict)] if isinstance(given, list) else []


def _is_of_users(operation: Mapping[str, Json]) -> bool:
    properties = operation.get("properties")
    return operation.get("kind") == KIND and isinstance(properties, dict) and "password" in properties


def _sets_one(operation: Mapping[str, Json]) -> bool:
    return _is_of_users(operation) and is_typed(operation["properties"]["password"])


def _is_plain(name: str) -> bool:
    """Whether a name stands for one user, and isn't a pattern that any may fit."""
    return name != "all" and not set(name) & set("*?[")

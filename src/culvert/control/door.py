"""What stands between the socket and the gateway: who asks, whether the web process may, and the record of it."""

from collections.abc import Callable, Mapping
from typing import Any, Protocol

from culvert.control.accounts import Accounts
from culvert.control.audit import Audit
from culvert.control.errors import ControlError, Refused
from culvert.control.listener import Peer
from culvert.control.new_passwords import NewPasswords

Json = Any


class Calls(Protocol):
    """Who answers all calls but those about logins."""

    def call(self, name: str, args: dict[str, Json], peer: Peer) -> Json: ...


class Door:
    """Answers requests for the server.

    `settle` is called after whatever may have changed users. `web` is the uid of the web process, if there is one.
    """

    def __init__(
        self,
        accounts: Accounts,
        gateway: Calls,
        audit: Audit,
        passwords: NewPasswords,
        settle: Callable[[], None],
        web: int | None = None,
    ) -> None:
        self._audit = audit
        self._passwords = passwords
        self._settle = settle
        self._accounts = accounts
        self._gateway = gateway
        self._web = web

    async def answer(
        self, call: str, args: dict[str, Json], peer: Peer, credentials: Mapping[str, Json] | None
    ) -> Json:
        """One request, `credentials` being what stood under "as". Raises ControlError."""
        before = self._audit.written
        try:
            return await self._answered(call, args, peer, credentials)
        finally:
            if self._audit.written != before:
                await self._audit.flush()

    async def _answered(
        self, call: str, args: dict[str, Json], peer: Peer, credentials: Mapping[str, Json] | None
    ) -> Json:
        who, token = peer, ""
        if credentials is not None:
            who, token = await self._accounts.admit(credentials, peer)
        elif peer.uid == self._web and call != "login":
            raise Refused("the web process may ask for nothing but login without naming a user")
        if call == "login":
            return await self._accounts.login(args, peer)
        if call in self._accounts.calls:
            return self._accounts.calls[call](args, who, token)
        try:
            args = await self._passwords.ready(call, args, who, proved=who.by_password and not token)
        except ControlError as error:
            self._audit.refused(call, args, who, error)
            raise
        try:
            return self._gateway.call(call, args, who)
        finally:
            self._accounts.settle()
            self._settle()

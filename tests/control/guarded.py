"""A gateway behind its door: accounts, audit log and all, with a clock that tests move."""

import asyncio
from collections.abc import Coroutine, Mapping
from pathlib import Path
from typing import Any

import pytest
from argon2 import PasswordHasher

from culvert.control.accounts import Accounts
from culvert.control.audit import Audit, Audited
from culvert.control.captures import Captures
from culvert.control.door import Door
from culvert.control.errors import ControlError
from culvert.control.first_password import FirstPassword
from culvert.control.listener import Peer
from culvert.control.new_passwords import NewPasswords
from culvert.control.verifier import Verifier
from culvert.dataplane.userspace.marks import TUN_NAME
from tests.control.live import ME, NOW, Site

WEB_UID = 4242
WEB = Peer(pid=77, uid=WEB_UID, gid=WEB_UID, user="culvert-web")
PASSWORD = "correct horse"
HOME = "192.0.2.7"
CHEAP = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)
"""Of argon2's parameters a hash brings its own: what is verified is the real thing, only sooner."""


def basic(user: str, password: str = PASSWORD, address: str = HOME) -> dict[str, str]:
    return {"username": user, "password": password, "address": address}


class Guarded:
    """A site, and what stands before it. `ask` is a request of the web process."""

    def __init__(self, directory: Path, tun: str = TUN_NAME) -> None:
        self.directory = directory
        self.site = Site(directory)
        self.seconds = 1000.0
        self.loop = asyncio.new_event_loop()
        self.audit = Audit(directory, lambda: NOW + self.seconds)
        self.verifier = Verifier()
        self.audited = Audited(self.site.gateway.call, self.audit)
        self.accounts = Accounts(
            lambda: self.site.gateway.snapshot,
            self.verifier,
            self.audit,
            lambda: self.seconds,
            lambda: NOW + self.seconds,
            WEB_UID,
        )
        self.first = FirstPassword(directory)
        self.passwords = NewPasswords(
            lambda: self.site.gateway.snapshot, self.accounts, self.verifier, lambda own: CHEAP.hash(own.reveal())
        )
        self.captures = Captures(
            self.audited.call, self.audit, lambda: self.site.gateway.snapshot, directory, lambda work: None, tun=tun
        )
        self.door = Door(
            *(self.accounts, self.captures, self.audit, self.passwords),
            lambda: self.first.settle(self.site.gateway.snapshot),
            WEB_UID,
        )

    def user(self, name: str, role: str = "admin", place: str = "all-partitions", password: str = PASSWORD) -> None:
        properties = {"password": CHEAP.hash(password), "partition-access": [{"name": place, "role": role}]}
        self.root("create", kind="auth user", name=name, properties=properties)

    def ask(self, call: str, credentials: Mapping[str, str] | None = None, peer: Peer = WEB, **args: Any) -> Any:
        return self.loop.run_until_complete(self.door.answer(call, args, peer, credentials))

    def refused(self, call: str, credentials: Mapping[str, str] | None = None, peer: Peer = WEB, **args: Any) -> Any:
        with pytest.raises(ControlError) as caught:
            self.ask(call, credentials, peer, **args)
        return caught.value

    def root(self, call: str, **args: Any) -> Any:
        return self.ask(call, None, ME, **args)

    def token(self, user: str, address: str = HOME) -> dict[str, str]:
        return {"token": self.ask("login", **basic(user, address=address))["token"], "address": address}

    def together(self, *asked: Coroutine[Any, Any, Any]) -> list[Any]:
        async def gathered() -> list[Any]:
            return await asyncio.gather(*asked, return_exceptions=True)

        return self.loop.run_until_complete(gathered())

    @property
    def audit_text(self) -> str:
        return (self.directory / "log" / "audit.log").read_text()

    def close(self) -> None:
        self.captures.close()
        self.site.close()
        self.verifier.close()
        self.audit.close()
        self.loop.close()

"""A whole gateway over the plane in memory, with a user who types at it."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from culvert.config.store import Store
from culvert.config.vault import Vault
from culvert.control.client import Part
from culvert.control.errors import ControlError
from culvert.control.gateway import Gateway
from culvert.control.listener import Peer
from culvert.control.stream import Stream
from culvert.dataplane.memory import MemoryPlane
from culvert.observe.publisher import Publisher
from culvert.tmsh import command
from culvert.tmsh.session import Session

ME = Peer(pid=os.getpid(), uid=0, gid=0, user="root")
NOW = 1_700_000_000.0


class Site:
    """A gateway with a real store, vault and publisher in a directory of its own."""

    def __init__(self, directory: Path, plane: MemoryPlane | None = None) -> None:
        self.directory = directory
        self.peer = ME
        self.plane = plane or MemoryPlane(random=os.urandom, clock=lambda: NOW)
        self.publisher = Publisher(directory / "log" / "ipsec.log", lambda: NOW, syslog=str(directory / "no-syslog"))
        store = Store(directory / "culvert.conf", directory / "history")
        self.gateway = Gateway(store, Vault.open(directory / "master.key"), self.plane, self.publisher, lambda: NOW)
        self.trouble = self.gateway.start()

    def call(self, name: str, /, **args: Any) -> Any:
        return self.gateway.call(name, args, self.peer)

    def stream(self, name: str, /, **args: Any) -> Iterator[Part]:
        """As the client does it, without the socket in between."""
        found = self.call(name, **args, stream=True)
        if isinstance(found, Stream):
            yield from (Part(records, found.total) for records in found.parts)
        elif found:
            yield Part(found, len(found))

    def refused(self, name: str, /, **args: Any) -> ControlError:
        with pytest.raises(ControlError) as caught:
            self.call(name, **args)
        return caught.value

    def tmsh(self, line: str) -> str:
        return command.run(line, Session(self))

    @property
    def log(self) -> str:
        return (self.directory / "log" / "ipsec.log").read_text()

    def type(self, *typed: str) -> list[str]:
        """What each of several commands of one session answers; an error's text where there is one."""
        session, answers = Session(self), []
        for line in typed:
            try:
                answers.append(command.run(line, session))
            except ControlError as error:
                answers.append(error.text)
        return answers

    def close(self) -> None:
        self.gateway.close()
        self.publisher.close()

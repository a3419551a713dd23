"""Transactions over several requests: begun by one, filled by those that name it, carried out by a last one."""

import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from culvert.control.errors import ControlError
from culvert.rest import naming
from culvert.rest.door import Door
from culvert.rest.exchange import Answer, BadRequest, Request, not_allowed, not_found

Json = Any
SECONDS = 120.0
OPEN_MAX = 256
COMMANDS_MAX = 10_000
PATH = "/mgmt/tm/transaction"


@dataclass(slots=True)
class Open:
    """One that is being filled by `owner`, until `until` (monotonic). Commands: method, path and operation."""

    number: int
    owner: str
    until: float
    commands: list[tuple[str, str, Mapping[str, Json]]] = field(default_factory=list)


class Transactions:
    """Those that are open, for a while after they were last touched. Safe for several threads."""

    def __init__(self, door: Door) -> None:
        self._door = door
        self._lock = threading.Lock()
        self._open: dict[int, Open] = {}
        self._next = int(time.time() * 1000)

    def answer(self, request: Request, rest: tuple[str, ...]) -> Answer:
        """Requests under /mgmt/tm/transaction. Raises ControlError or BadRequest."""
        owner = self._owner(request)
        if not rest:
            return self._collection(request, owner)
        found = self._find(rest[0], owner)
        if len(rest) > 1 and rest[1:] != ("commands",):
            raise not_found(request)
        if len(rest) > 1:
            if request.method != "GET":
                raise not_allowed(request, "GET")
            items = [_command(found, index) for index in range(len(found.commands))]
            kind = "tm:transaction:commandscollectionstate"
            return Answer({"kind": kind, "selfLink": naming.link(f"{PATH}/{found.number}/commands"), "items": items})
        if request.method == "GET":
            return Answer(_state(found))
        if request.method == "DELETE":
            with self._lock:
                self._open.pop(found.number, None)
            return Answer()
        if request.method in ("PATCH", "PUT"):
            return self._commit(request, found)
        raise not_allowed(request, "GET", "PATCH", "PUT", "DELETE")

    def add(self, request: Request, coordination: str, operation: Mapping[str, Json]) -> Answer:
        """A command for later."""
        found = self._find(coordination, self._owner(request))
        with self._lock:
            if len(found.commands) >= COMMANDS_MAX:
                raise BadRequest(400, f"a transaction has at most {COMMANDS_MAX} commands")
            found.commands.append((request.method, request.path, operation))
            found.until = time.monotonic() + SECONDS
            return Answer(_command(found, len(found.commands) - 1))

    def _owner(self, request: Request) -> str:
        return str(self._door.call(request.credentials(), "describe")["user"])

    def _collection(self, request: Request, owner: str) -> Answer:
        if request.method == "GET":
            with self._lock:
                items = [_state(own) for own in self._open.values() if own.owner == owner]
            kind = "tm:transactioncollectionstate"
            return Answer({"kind": kind, "selfLink": naming.link(PATH), "items": items})
        if request.method != "POST":
            raise not_allowed(request, "GET", "POST")
        now = time.monotonic()
        with self._lock:
            self._open = {number: own for number, own in self._open.items() if own.until > now}
            if len(self._open) >= OPEN_MAX:
                raise BadRequest(503, f"{OPEN_MAX} transactions are open already")
            self._next += 1
            begun = self._open[self._next] = Open(self._next, owner, now + SECONDS)
        return Answer(_state(begun))

    def _find(self, number: str, owner: str) -> Open:
        with self._lock:
            found = self._open.get(int(number)) if number.isascii() and number.isdigit() and len(number) < 20 else None
            if found is None or found.owner != owner or found.until <= time.monotonic():
                raise BadRequest(404, f"there is no transaction {number[:20]} (anymore)", 3)
            return found

    def _commit(self, request: Request, found: Open) -> Answer:
        body = request.body()
        if body.get("state") not in ("VALIDATING", "COMMITTING"):
            raise BadRequest(400, 'a transaction is carried out by {"state":"VALIDATING"}')
        dry = body.get("validateOnly") is True
        operations = [operation for _, _, operation in found.commands]
        if not operations:
            raise BadRequest(400, "there is no command to commit in the transaction", 3)
        if not dry:
            # One that was only tried stays open: clients try it first, and then carry it out.
            with self._lock:
                self._open.pop(found.number, None)
        try:
            self._door.call(request.credentials(), "transaction", operations=operations, validate_only=dry)
        except ControlError as error:
            raise BadRequest(error.http, f"transaction failed:{error.text}", 3) from None
        return Answer(_state(found) | {"state": "COMPLETED", "validateOnly": dry})


def _state(own: Open) -> dict[str, Json]:
    return {
        "transId": own.number,
        "state": "STARTED",
        "timeoutSeconds": int(SECONDS),
        "asyncExecution": False,
        "validateOnly": False,
        "executionTimeout": 300,
        "executionTime": 0,
        "failureReason": "",
        "kind": "tm:transactionstate",
        "selfLink": naming.link(f"{PATH}/{own.number}"),
    }


def _command(own: Open, index: int) -> dict[str, Json]:
    method, path, operation = own.commands[index]
    return {
        "method": method,
        "uri": f"{naming.LOCALHOST}{path}",
        "body": {"name": operation["names"][0], "properties": sorted(operation.get("properties", {}))},
        "evalOrder": index + 1,
        "commandId": index + 1,
        "kind": "tm:transaction:commandsstate",
        "selfLink": naming.link(f"{PATH}/{own.number}/commands/{index + 1}"),
    }

"""Whether the gateway is well, and what is wrong when it isn't."""

from typing import Any

from culvert.control.errors import ControlError, Unauthorized
from culvert.rest.door import Door
from culvert.rest.exchange import Answer, Request, not_allowed

Json = Any


class Health:
    """`GET /health`: without credentials whether culvertd answers at all, with them what it says is wrong."""

    def __init__(self, door: Door) -> None:
        self._door = door

    def answer(self, request: Request) -> Answer:
        """200 when all is well, 503 when something is wrong; the body says what. Raises ControlError."""
        if request.method != "GET":
            raise not_allowed(request, "GET")
        if not any(request.headers.get(name) for name in ("authorization", "x-f5-auth-token")):
            return self._alive()
        who = request.credentials()
        version = self._door.call(who, "show", what="sys version", filters={})[0]
        process = self._door.call(who, "show", what="sys tmm-info", filters={})
        checks = self._door.call(who, "verify")
        wrong = [{"what": "gateway", "why": note} for note in version["notes"]]
        wrong += [{"what": "packet process", "why": own["state"]} for own in process if own["state"] != "running"]
        wrong += [{"what": own["check"], "why": own["sentence"]} for own in checks if own["verdict"] == "fail"]
        return Answer({"status": "ok" if not wrong else "trouble", "wrong": wrong}, 503 if wrong else 200)

    def _alive(self) -> Answer:
        try:
            self._door.call({"token": "none", "address": ""}, "describe")
        except Unauthorized:
            return Answer({"status": "alive"})
        except ControlError as error:
            return Answer({"status": "dead", "wrong": [{"what": "culvertd", "why": error.text}]}, 503)
        return Answer({"status": "alive"})

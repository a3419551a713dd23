"""The vendor's extensions (AS3, DO, TS): there are none here, and clients that look for them learn so."""

from typing import Any

from culvert.control.errors import Refused
from culvert.rest import naming
from culvert.rest.door import Door
from culvert.rest.exchange import Answer, BadRequest, Request, not_allowed, not_found

Json = Any
IAPP = ("mgmt", "shared", "iapp")
INSTALLED, TASKS = "global-installed-packages", "package-management-tasks"
TASK = "00000000-0000-4000-8000-000000000000"
"""The one task that there is: asking what is installed, which is over before it began."""


class Packages:
    """Answers requests under /mgmt/shared/iapp."""

    def __init__(self, door: Door) -> None:
        self._door = door

    def answer(self, request: Request, rest: tuple[str, ...]) -> Answer:
        """One request. Raises ControlError or BadRequest."""
        self._door.call(request.credentials(), "describe")
        if rest == (TASKS,) and request.method == "POST":
            return self._begun(request)
        if rest not in ((INSTALLED,), (TASKS,), (TASKS, TASK)):
            raise not_found(request)
        if request.method != "GET":
            raise not_allowed(request, *(("GET", "POST") if rest == (TASKS,) else ("GET",)))
        if len(rest) == 2:
            return Answer(_task())
        kind = f"shared:iapp:{rest[0]}:{'packagecollectionstate' if rest[0] == INSTALLED else 'taskcollectionstate'}"
        return Answer({"items": [], "generation": 0, "kind": kind, "selfLink": f"{naming.LOCALHOST}{request.path}"})

    def _begun(self, request: Request) -> Answer:
        operation = request.body().get("operation")
        if operation in ("INSTALL", "UNINSTALL"):
            raise Refused("extensions can't be installed here, nor taken away; the one operation is QUERY")
        if operation != "QUERY":
            raise BadRequest(400, "the one operation here is QUERY")
        return Answer(_task())


def _task() -> dict[str, Json]:
    return {
        "id": TASK,
        "operation": "QUERY",
        "status": "FINISHED",
        "queryResponse": [],
        "generation": 1,
        "kind": "shared:iapp:package-management-tasks:iapppackagemanagementtaskstate",
        "selfLink": f"{naming.LOCALHOST}/{'/'.join(IAPP)}/{TASKS}/{TASK}",
    }

"""Every address, and who answers there."""

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from culvert.control.errors import ControlError
from culvert.model.registry import KINDS
from culvert.rest import defaults, login, naming, openapi
from culvert.rest.commands import Commands
from culvert.rest.door import Door
from culvert.rest.events import EVENTS
from culvert.rest.exchange import API, Answer, BadRequest, Request, failure, not_allowed, not_found
from culvert.rest.files import UPLOADS, Files
from culvert.rest.health import Health
from culvert.rest.identity import Identity
from culvert.rest.login import Login
from culvert.rest.metrics import Metrics
from culvert.rest.packages import IAPP, Packages
from culvert.rest.resources import HIDDEN, Resources, place
from culvert.rest.statistics import Statistics
from culvert.rest.terminal import Terminal
from culvert.rest.transactions import Transactions
from culvert.rest.users import USERS, Users

Json = Any
TM = ("mgmt", "tm")


class App:
    """Answers requests one at a time; many threads may ask at once."""

    def __init__(self, uploads: Path, door: Door, pages: Callable[[Request], Answer] | None = None) -> None:
        self._door = door
        self._pages = pages
        terminal = Terminal(door)
        files = Files(uploads, door)
        self._files = files
        self._login = Login(door)
        self._identity = Identity(door)
        self._transactions = Transactions(door)
        self._commands = Commands(door, terminal, files)
        self._statistics = Statistics(door, terminal)
        self._resources = Resources(door, self._transactions)
        self._metrics = Metrics(door)
        self._health = Health(door)
        self._users = Users(door)
        self._packages = Packages(door)

    def answer(self, request: Request) -> Answer:
        """Never raises for what a client can do."""
        if self._pages is not None and request.segments[:1] not in API:
            return self._pages(request)
        try:
            return self._answer(request)
        except (ControlError, BadRequest) as error:
            return failure(error)

    def _answer(self, request: Request) -> Answer:
        segments = request.segments
        if segments == login.LOGIN:
            return self._login.login(request)
        if segments == ("health",):
            return self._health.answer(request)
        request.credentials()
        try:
            return self._private(request)
        except (BadRequest, ControlError) as error:
            if (error.status if isinstance(error, BadRequest) else error.http) < 500:
                # Who isn't anybody learns nothing, not even what there is.
                self._door.call(request.credentials(), "describe")
            raise

    def _private(self, request: Request) -> Answer:
        segments = request.segments
        if segments == login.EXCHANGE:
            return self._login.exchange(request)
        if segments[:4] == login.TOKENS:
            return self._login.token(request, segments[4:])
        if segments[:4] == USERS:
            return self._users.answer(request, segments[4:])
        if segments[:3] == IAPP:
            return self._packages.answer(request, segments[3:])
        if segments[:4] == UPLOADS:
            return self._files.answer(request, segments[4:])
        if segments == ("metrics",):
            return self._metrics.answer(request)
        if segments == EVENTS:
            raise not_allowed(request, "GET")
        if segments == ("mgmt", "shared", "openapi.json"):
            return self._described(request)
        if self._identity.knows(segments):
            return self._identity.answer(request)
        if segments[:2] == TM:
            return self._of_tm(request, segments[2:])
        raise not_found(request)

    def _of_tm(self, request: Request, rest: tuple[str, ...]) -> Answer:
        if rest[:1] == ("transaction",):
            return self._transactions.answer(request, rest[1:])
        if self._commands.knows(request.segments):
            return self._commands.answer(request)
        if self._statistics.knows(rest):
            return self._statistics.display(request, rest)
        if rest[-1:] in (("stats",), ("example",)) and (where := place(rest[:-1])) is not None and where.field is None:
            if rest[-1] == "stats":
                return self._statistics.of_place(request, where)
            if where.name is None:
                return self._example(request, where.kind.path)
        if children := _children(rest):
            return self._organising(request, rest, children)
        where = place(rest)
        if (rest in defaults.EMPTY or rest in defaults.BARE) and where is None:
            return self._empty(request, rest)
        if where is None:
            return self._without_members(request, rest)
        return self._resources.answer(request, where)

    def _organising(self, request: Request, rest: tuple[str, ...], children: Iterable[str]) -> Answer:
        """A level of addresses above the objects: where it leads to."""
        if request.method != "GET":
            raise not_allowed(request, "GET")
        self._door.call(request.credentials(), "describe")
        base = "/".join((naming.TM, *rest))
        items = [{"reference": {"link": naming.link(f"{base}/{child}")}} for child in children]
        kind = f"tm:{':'.join(rest)}:{rest[-1]}collectionstate" if rest else "tm:collectionstate"
        return Answer({"kind": kind, "selfLink": naming.link(base), "items": items})

    def _empty(self, request: Request, rest: tuple[str, ...]) -> Answer:
        """A collection of what there is none of here, and can't be; or settings of which there is nothing to say."""
        self._door.call(request.credentials(), "describe")
        if request.method != "GET":
            raise not_allowed(request, "GET")
        link = naming.link(naming.collection_path(rest))
        if rest in defaults.BARE:
            return Answer({"kind": naming.state(rest), "selfLink": link})
        return Answer({"kind": naming.state(rest, "collectionstate"), "selfLink": link, "items": []})

    def _without_members(self, request: Request, rest: tuple[str, ...]) -> Answer:
        """A sub-collection that is there with every object of its kind, and empty; else there is no such address."""
        owner = place(rest[:-1])
        if owner is None or owner.name is None or rest[-1] not in defaults.WITHOUT_MEMBERS.get(owner.kind.path, ()):
            raise not_found(request)
        if request.method != "GET":
            raise not_allowed(request, "GET")
        self._resources.answer(request, owner)
        kind = naming.state((*owner.kind.path, rest[-1]), "collectionstate")
        return Answer({"kind": kind, "selfLink": naming.link(request.path), "items": []})

    def _example(self, request: Request, path: tuple[str, ...]) -> Answer:
        """What an object of a collection looks like, out of the model."""
        self._door.call(request.credentials(), "describe")
        if request.method != "GET":
            raise not_allowed(request, "GET")
        link = naming.link(f"{naming.collection_path(path)}/example")
        items = [openapi.example(KINDS[path])]
        return Answer({"kind": naming.state(path, "collectionstate"), "selfLink": link, "items": items})

    def _described(self, request: Request) -> Answer:
        self._door.call(request.credentials(), "describe")
        if request.method != "GET":
            raise not_allowed(request, "GET")
        return Answer(openapi.text())


def _children(rest: tuple[str, ...]) -> list[str]:
    """The next words of the kinds' paths that begin with these, where no kind ends here."""
    if rest in KINDS:
        return []
    paths = [path for path in KINDS if path[: len(rest)] == rest and path not in HIDDEN]
    return sorted({path[len(rest)] for path in paths})

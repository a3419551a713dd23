"""Objects of the model at their addresses: read, made, changed, replaced, taken away."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from culvert.control.errors import NotFound, SyntaxProblem
from culvert.model import tokens
from culvert.model.auth import USER
from culvert.model.fields import Edit, Field, Members
from culvert.model.kind import Kind, Naming
from culvert.model.names import COMMON
from culvert.model.net import PARTITION
from culvert.model.problems import BadSyntax
from culvert.model.registry import KINDS
from culvert.model.sys import FOLDER
from culvert.model.text import properties
from culvert.rest import naming, queries, shapes
from culvert.rest.door import Door
from culvert.rest.exchange import COORDINATION_HEADER, Answer, BadRequest, Request, not_allowed
from culvert.rest.transactions import Transactions

Json = Any
Operation = dict[str, Json]
HIDDEN = frozenset({("foreign",)})
VERBS = {"POST": "create", "PATCH": "modify", "PUT": "replace", "DELETE": "delete"}


@dataclass(frozen=True, slots=True)
class Place:
    """What an address stands for.

    `name` None: the collection. `field`: of a sub-collection, and `member` of it or None for all. `folder`: asked for
    as the folder that a partition is, which has nothing of its own but the partition's description.
    """

    kind: Kind
    name: str | None = None
    short: bool = False
    field: Field | None = None
    member: str | None = None
    folder: bool = False


def place(segments: Sequence[str]) -> Place | None:
    """The place behind `/mgmt/tm/`, or None. The longest kind that the segments begin with."""
    for count in range(min(len(segments), 5), 0, -1):
        kind = KINDS.get(tuple(segments[:count]))
        if kind is not None and kind.path not in HIDDEN:
            return _inside(kind, segments[count:])
    return None


def _inside(kind: Kind, rest: Sequence[str]) -> Place | None:
    if kind.naming is Naming.SINGLE:
        return Place(kind, "") if not rest else None
    if not rest:
        return Place(kind)
    name = naming.object_name(rest[0])
    if kind.path == FOLDER and name.count("/") == 1 and name[0] == "/" and len(rest) == 1:
        return Place(KINDS[PARTITION], name[1:], folder=True)
    stands = kind.naming in (Naming.FOLDER, Naming.LOOSE)
    short = stands and not name.startswith("/")
    full = f"{COMMON}/{name}" if short else name
    if len(rest) == 1:
        return Place(kind, full, short)
    own = kind.field(rest[1])
    if own is None or (kind.path, own.word) not in shapes.SUBCOLLECTIONS or len(rest) > 3:
        return None
    return Place(kind, full, short, own, naming.object_name(rest[2]) if len(rest) == 3 else None)


class Resources:
    """Answers requests for objects, by way of the control socket."""

    def __init__(self, door: Door, transactions: Transactions) -> None:
        self._door = door
        self._transactions = transactions

    def answer(self, request: Request, where: Place) -> Answer:
        """One request. Raises ControlError or BadRequest."""
        if where.name is not None and naming.is_pattern(where.name):
            raise NotFound(where.kind.title, where.name)
        if where.field is not None:
            return self._subcollection(request, where)
        if request.method == "GET":
            return self._got(request, where)
        if request.method not in _allowed(where):
            raise not_allowed(request, *_allowed(where))
        if where.folder and request.method != "PATCH":
            raise not_allowed(request, "GET", "PATCH")
        operation = _operation(request, where)
        if coordination := request.headers.get(COORDINATION_HEADER):
            return self._transactions.add(request, coordination, operation)
        made = Place(where.kind, operation["names"][0], where.short, folder=where.folder)
        if request.method == "DELETE":
            self._door.call(request.credentials(), "transaction", operations=[operation])
            return Answer()
        if request.method == "PATCH" and not operation["properties"]:
            return self._one(request, made)
        listed = {"kind": made.kind.word} | ({"names": [made.name]} if made.name else {})
        found = self._door.call(request.credentials(), "transaction", operations=[operation], listed=listed)["listed"]
        return self._shown(request, made, _first(found, made))

    def _got(self, request: Request, where: Place) -> Answer:
        if where.name is not None:
            return self._one(request, where)
        wanted, paging = self._wanted(request, where.kind)
        path = naming.collection_path(where.kind.path)
        return Answer(
            {
                "kind": naming.state(where.kind.path, "collectionstate"),
                "selfLink": naming.link(path, request.query.get("options", "")),
                **paging,
                "items": wanted,
            }
        )

    def _wanted(self, request: Request, kind: Kind) -> tuple[list[dict[str, Json]], dict[str, Json]]:
        """The items of a collection that the query wants, and what a page says of itself."""
        query, expand = request.query, request.query.get("expandSubcollections") == "true"

        def shape(own: Mapping[str, Json]) -> dict[str, Json]:
            return shapes.of_object(kind, own, expand=expand)

        if "$filter" in query or not queries.asks_for_page(query):
            return queries.selected(self._listed(request, kind), query, shape)
        # Only culvertd knows how many there are, and what is not on the page needn't come here.
        args: dict[str, Json] = {"kind": kind.word, "folder": "/", "recursive": True, "page": queries.page(query)}
        found = self._door.call(request.credentials(), "list", **args)
        items = [queries.chosen(shape(own), query) for own in found["items"]]
        return items, queries.told(query, len(items), found["total"])

    def _one(self, request: Request, where: Place) -> Answer:
        return self._shown(request, where, self._object(request, where))

    def _shown(self, request: Request, where: Place, own: Mapping[str, Json]) -> Answer:
        expand = request.query.get("expandSubcollections") == "true"
        shown = shapes.of_object(where.kind, own, short=where.short, expand=expand)
        if where.folder:
            shown = _as_folder(shown)
        return Answer(queries.chosen(shown, request.query))

    def _object(self, request: Request, where: Place) -> Mapping[str, Json]:
        return _first(self._listed(request, where.kind, where.name), where)

    def _listed(self, request: Request, kind: Kind, name: str | None = None) -> list[Mapping[str, Json]]:
        """Objects of one kind alone, whatever other kinds' paths begin with its own."""
        args: dict[str, Json] = {"kind": kind.word, "folder": "/", "recursive": True}
        if name:
            args["names"] = [name]
        found = self._door.call(request.credentials(), "list", **args)
        return [own for own in found if own["kind"] == kind.word]

    def _subcollection(self, request: Request, where: Place) -> Answer:
        assert where.field is not None and where.name is not None
        own = self._object(request, where)
        path = naming.object_path(where.kind, where.name)
        items = [shapes.member(where.kind, where.field, each, path) for each in own["properties"][where.field.word]]
        if where.member is not None:
            items = [each for each in items if where.member in (each["name"], each["fullPath"])]
        if request.method == "GET" and where.member is None:
            wanted, paging = queries.selected(items, request.query, dict)
            kind = naming.state((*where.kind.path, where.field.word), "collectionstate")
            link = naming.link(f"{path}/{where.field.word}")
            return Answer({"kind": kind, "selfLink": link, **paging, "items": wanted})
        if where.member is not None and not items:
            raise NotFound(where.field.word, where.member)
        if request.method == "GET":
            return Answer(queries.chosen(items[0], request.query))
        return self._change_members(request, where, items)

    def _change_members(self, request: Request, where: Place, items: Sequence[Mapping[str, Json]]) -> Answer:
        assert where.field is not None and isinstance(where.field.type, Members)
        if request.method not in _allowed(where):
            raise not_allowed(request, *_allowed(where))
        verb = {"POST": "add", "DELETE": "delete"}.get(request.method, "modify")
        name = items[0]["fullPath"] if where.member is not None else ""
        body = {"name": name} if verb == "delete" else ({"name": name} if name else {}) | request.body()
        given = shapes.properties(where.kind, {where.field.word: [body]})[where.field.word]
        operation: Operation = {
            "verb": "modify",
            "kind": where.kind.word,
            "names": [where.name],
            "properties": {where.field.word: {"verb": verb, "items": given}},
        }
        if coordination := request.headers.get(COORDINATION_HEADER):
            return self._transactions.add(request, coordination, operation)
        self._door.call(request.credentials(), "transaction", operations=[operation])
        if verb == "delete":
            return Answer()
        member = str(given[0] if isinstance(given[0], str) else given[0]["name"])
        segments = (*request.segments, member) if request.method == "POST" else request.segments
        return self._subcollection(
            Request("GET", segments, {}, request.headers, b"", request.address),
            Place(where.kind, where.name, where.short, where.field, member),
        )


def _first(found: Sequence[Mapping[str, Json]], where: Place) -> Mapping[str, Json]:
    """The object of a place among those listed for it, whatever other kinds' paths begin with its own."""
    for own in found:
        if own["kind"] == where.kind.word:
            return own
    raise NotFound(where.kind.title, where.name or "")


def _as_folder(partition: Mapping[str, Json]) -> dict[str, Json]:
    name = partition["name"]
    link = naming.link(f"{naming.collection_path(FOLDER)}/~{name}")
    shown = {"kind": naming.state(FOLDER), "name": name, "fullPath": f"/{name}"}
    shown |= {"generation": partition["generation"], "selfLink": link}
    return shown | ({"description": partition["description"]} if "description" in partition else {})


def _operation(request: Request, where: Place) -> Operation:
    body = {} if request.method == "DELETE" else request.body()
    name = where.name if where.name is not None else _new_name(where.kind, body)
    operation: Operation = {"verb": VERBS[request.method], "kind": where.kind.word, "names": [name]}
    if request.method == "DELETE":
        return operation
    if where.kind.path == USER and isinstance(body.get("oldPassword"), str):
        operation["old_password"] = body.pop("oldPassword")
    given = shapes.properties(where.kind, body)
    if options := request.query.get("options"):
        given |= _options(where.kind, options)
    if request.method == "PATCH" and not given and body.keys() <= shapes.READ_ONLY:
        raise BadRequest(400, "one or more properties must be specified")
    return operation | {"properties": given}


def _options(kind: Kind, text: str) -> dict[str, Json]:
    """tmsh's words of a change: `destinations add { local-syslog }`."""
    try:
        raw = properties(kind.fields, tokens.parse(text))
    except BadSyntax as error:
        raise SyntaxProblem(error.sentence) from None
    return {
        word: {"verb": value.verb.value, "items": list(value.items)} if isinstance(value, Edit) else value
        for word, value in raw.items()
    }


def _new_name(kind: Kind, body: Mapping[str, Json]) -> str:
    name = body.get("name")
    if not isinstance(name, str) or not name:
        raise BadRequest(400, "a name must be specified")
    if kind.naming not in (Naming.FOLDER, Naming.LOOSE):
        return name
    partition, sub_path = body.get("partition"), body.get("subPath")
    return naming.full_name(name, str(partition) if partition else None, str(sub_path) if sub_path else None)


def _allowed(where: Place) -> tuple[str, ...]:
    collection = where.name is None if where.field is None else where.member is None
    if where.kind.naming is Naming.SINGLE:
        return ("GET", "PATCH", "PUT")
    return ("GET", "POST") if collection else ("GET", "PATCH", "PUT", "DELETE")

"""What a request may look like, before anybody asks what it may do: the socket is open to programs of all kinds."""

from collections.abc import Callable, Mapping
from typing import Any

from culvert.control.errors import SyntaxProblem

Json = Any


def _is_names(value: Json) -> bool:
    return isinstance(value, list) and all(isinstance(name, str) for name in value)


def _is_object(value: Json) -> bool:
    return isinstance(value, dict)


def _is_text(value: Json) -> bool:
    return isinstance(value, str)


def _is_number(value: Json) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _is_page(value: Json) -> bool:
    return _is_object(value) and value.keys() <= {"skip", "top"} and all(map(_is_number, value.values()))


SHAPES: Mapping[str, tuple[Callable[[Json], bool], str]] = {
    **dict.fromkeys(("folder", "kind", "name", "old_password", "text", "to", "verb", "what"), (_is_text, "a string")),
    **dict.fromkeys(("filters", "listed", "properties"), (_is_object, "an object")),
    **dict.fromkeys(("generation", "limit"), (_is_number, "a number")),
    "names": (_is_names, "a list of strings"),
    "page": (_is_page, "an object with the numbers skip and top"),
}
ABSENT = frozenset({"folder", "generation", "names", "page", "text"})
"""What may be null, which is as good as left out; in an operation only the folder."""


def check(call: str, args: Mapping[str, Json]) -> None:
    """Raises SyntaxProblem for arguments of a shape that no call takes."""
    changes = call in ("create", "modify", "delete")
    _check(args, frozenset({"folder"}) if changes else ABSENT)
    if call != "transaction":
        # Who may do a change is asked about its operations: only where they are carried out may there be any.
        if "operations" in args:
            raise SyntaxProblem(f'"operations" is no argument of {call}')
        return
    operations = args.get("operations")
    if not isinstance(operations, list) or not all(isinstance(own, dict) for own in operations):
        raise SyntaxProblem('"operations": a list of objects is expected')
    for own in operations:
        _check(own, frozenset({"folder"}))
    _check(args.get("listed", {}), frozenset())


def _check(args: Mapping[str, Json], absent: frozenset[str]) -> None:
    for word, value in args.items():
        if word in SHAPES and not (value is None and word in absent):
            fits, expected = SHAPES[word]
            if not fits(value):
                raise SyntaxProblem(f'"{word}": {expected} is expected')
    filters = args.get("filters", {})
    if "names" in filters and not _is_names(filters["names"]):
        raise SyntaxProblem('"names" of the filters: a list of strings is expected')
    if args.get("verb") == "rename" and len(args.get("names", [""])) != 1:
        raise SyntaxProblem("rename takes one name")

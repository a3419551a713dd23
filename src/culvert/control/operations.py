"""What a call asks to be done to objects, carried out on a transaction.

An operation is {verb, kind, name or names, properties, to, folder}. `verb`: create, modify, replace, delete or rename.
An `old_password` beside them is for `new_passwords`, and never comes this far.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from culvert.config import transaction as tx
from culvert.config.transaction import Transaction
from culvert.control import derived, errors, kept_shows, shows
from culvert.dataplane.plane import DataPlane
from culvert.model import net
from culvert.model.fields import Edit, Verb
from culvert.model.foreign import FOREIGN
from culvert.model.kind import Kind, Naming
from culvert.model.names import COMMON
from culvert.model.registry import KINDS, stranger

Json = Any


def carry_out(work: Transaction, operation: Mapping[str, Json], plane: DataPlane) -> list[str]:
    """Returns what there is to tell when it changes nothing. Raises ControlError, and as the transaction's methods."""
    if folder := operation.get("folder"):
        work.turn_to(str(folder))
    kind = _kind(operation.get("kind"))
    names = operation.get("names", [operation.get("name", "")])
    raw = raw_properties(operation.get("properties", {}))
    verb = operation.get("verb")
    if verb == "modify" and not raw:
        raise errors.SyntaxProblem("one or more properties must be specified")
    chosen = names if verb in ("create", "rename") else _expand(work, kind, names, operation, plane)
    derived.refuse_to_change(work.current, kind, str(verb), chosen, str(folder or COMMON))
    if verb == "rename":
        work.rename(kind, names[0], str(operation.get("to", "")))
        return []
    for name in chosen:
        if verb == "create":
            work.create(kind, name, raw)
        elif verb == "modify":
            _check_host_link(kind, name, plane)
            work.modify(kind, name, raw)
        elif verb == "replace":
            _check_host_link(kind, name, plane)
            work.replace(kind, name, raw)
        elif verb == "delete":
            work.delete(kind, name)
        else:
            raise errors.SyntaxProblem(f'unknown verb "{verb}"')
    return [] if chosen else [f"there is no {kind.word} to {verb}"]


def _expand(
    work: Transaction, kind: Kind, names: Sequence[str], operation: Mapping[str, Json], plane: DataPlane
) -> list[str]:
    if list(names) != ["all"]:
        return [""] if kind.naming is Naming.SINGLE else list(names)
    here = {"folder": operation.get("folder"), "names_only": True}
    found = [own["name"] for own in shows.objects(work.current, plane, kind, None, here)]
    if operation.get("verb") == "delete" and kind.path != FOREIGN:
        kept = kept_shows.kept(work.current, kind.path, here)
        found += [own["name"].removeprefix(f"{kind.word} ") for own in kept.records]
    return [own for own in found if not tx.SHIPPED.get(kind.path, own)]


def _check_host_link(kind: Kind, name: str, plane: DataPlane) -> None:
    if kind.path == net.INTERFACE and name not in {link.name for link in plane.links()}:
        raise errors.NotFound(kind.title, name)


def _kind(words: Json) -> Kind:
    kind = KINDS.get(tuple(str(words).split()))
    if kind is None:
        raise errors.SyntaxProblem(f'unexpected argument "{stranger(str(words).split()) or words}"')
    return kind


def raw_properties(properties: Mapping[str, Json]) -> dict[str, Json]:
    """Properties as they came over the socket; {"verb", "items"} is an Edit."""
    return {word: _edit(raw) if isinstance(raw, dict) else raw for word, raw in properties.items()}


def _edit(raw: Mapping[str, Json]) -> Json:
    verb, items = raw.get("verb"), raw.get("items")
    if verb not in {own.value for own in Verb} or not isinstance(items, list):
        raise errors.SyntaxProblem("a list, or an object with verb and items, is expected")
    return items if Verb(verb) is Verb.REPLACE else Edit(Verb(verb), tuple(items))

"""Commands that change the configuration, alone or in a transaction."""

import sys
from collections.abc import Sequence
from typing import Any

from culvert.model import shows, text
from culvert.model.fields import Edit, Raw
from culvert.model.kind import Kind, Naming
from culvert.model.problems import BadSyntax
from culvert.model.tokens import Token
from culvert.tmsh import selection, tree
from culvert.tmsh.keys import without_keys
from culvert.tmsh.session import Batch, Session
from culvert.tmsh.tree import TRANSACTION
from culvert.tmsh.words import Words, unexpected

IPSEC_SA, IKE_SA = tree.OF_SAS


def create(words: Words, session: Session) -> str:
    node = tree.walk(words, session.module, "create")
    if node.path == TRANSACTION:
        return _begin(words, session)
    kind = _kind(node, words)
    name = "" if kind.naming is Naming.SINGLE else _name(words, kind)
    properties = _properties(kind, words.rest())
    return warn(session.change({"verb": "create", "kind": kind.word, "name": name, "properties": properties}))


def modify(words: Words, session: Session) -> str:
    node = tree.walk(words, session.module, "modify")
    if node.path == TRANSACTION:
        return _edit_batch(words, session)
    kind = _kind(node, words)
    names = [""] if kind.naming is Naming.SINGLE else selection.existing(kind, [_name(words, kind)], session)
    properties = _properties(kind, words.rest())
    return warn(session.change({"verb": "modify", "kind": kind.word, "names": names, "properties": properties}))


def delete(words: Words, session: Session) -> str:
    node = tree.walk(words, session.module, "delete")
    if node.path == TRANSACTION:
        _open_batch(session)
        session.batch = None
        return ""
    if node.path == IPSEC_SA:
        return _delete_sas(words, session)
    if node.path == IKE_SA:
        session.call("show", what=shows.IKE_SA, filters=selection.filters(words, shows.IKE_SA, session))
        return "there are no negotiated security associations to delete"
    kind = _kind(node, words)
    names = [_name(words, kind)]
    recursive = False
    while words:
        word = words.take()
        recursive |= word == "recursive"
        names += [] if word == "recursive" else [word]
    chosen = selection.existing(kind, names, session, recursive=recursive)
    return warn(session.change({"verb": "delete", "kind": kind.word, "names": chosen}))


def copy(words: Words, session: Session) -> str:
    """`cp net self a b`: a second object with the properties of the first."""
    kind = tree.kind_at(words, session.module, "cp")
    source, name = _name(words, kind), _name(words, kind)
    words.end()
    found = session.call("list", kind=kind.word, names=[source], folder=session.folder)
    properties = {word: raw for word, raw in found[0]["properties"].items() if raw is not False}
    return warn(session.change({"verb": "create", "kind": kind.word, "name": name, "properties": properties}))


def move(words: Words, session: Session) -> str:
    """`mv net self a b`, `mv net self a to-folder /Common/f`: another name; who names the object follows it."""
    kind = tree.kind_at(words, session.module, "mv")
    source, name = _name(words, kind), _name(words, kind)
    if name == "to-folder":
        folder = words.take("a folder")
        name = f"{folder.rstrip('/')}/{source.rpartition('/')[2]}"
    words.end()
    return warn(session.change({"verb": "rename", "kind": kind.word, "name": source, "to": name}))


def submit(words: Words, session: Session) -> str:
    """`submit cli transaction [validate-only]`"""
    if tree.walk(words, session.module).path != TRANSACTION:
        raise unexpected(words.take())
    batch = _open_batch(session)
    dry = words.peek() == "validate-only"
    words.skip(int(dry))
    words.end()
    operations = [operation for line in batch.operations for operation in line]
    if operations:
        answer = session.call("transaction", operations=operations, validate_only=dry)
        warn(answer["warnings"])
    session.batch = batch if dry else None
    return ""


def warn(warnings: Sequence[str]) -> str:
    """What is unwise about a change goes where errors go, so that a script's output stays as it was."""
    for warning in warnings:
        print(f"Warning: {warning}", file=sys.stderr, flush=True)
    return ""


def listed_batch(session: Session) -> str:
    """`list cli transaction`: the commands so far, numbered."""
    lines = _open_batch(session).lines
    return "\n".join(f"{number}: {without_keys(line)}" for number, line in enumerate(lines, 1))


def _begin(words: Words, session: Session) -> str:
    words.end()
    if session.batch is not None:
        raise BadSyntax("a transaction is open already; submit cli transaction, or delete cli transaction")
    session.batch = Batch()
    return ""


def _open_batch(session: Session) -> Batch:
    if session.batch is None:
        raise BadSyntax("no transaction is open; create cli transaction begins one")
    return session.batch


def _edit_batch(words: Words, session: Session) -> str:
    """`modify cli transaction delete N`: take a command out again."""
    batch = _open_batch(session)
    if words.take("delete") != "delete":
        raise BadSyntax("modify cli transaction knows: delete NUMBER")
    wanted = words.take("a number")
    words.end()
    if not wanted.isdecimal() or not 1 <= int(wanted) <= len(batch.lines):
        raise BadSyntax(f'"{wanted}" is not the number of a command; there are {len(batch.lines)}')
    del batch.lines[int(wanted) - 1], batch.operations[int(wanted) - 1]
    return ""


def _delete_sas(words: Words, session: Session) -> str:
    answer = session.call("delete-sas", filters=selection.filters(words, shows.IPSEC_SA, session))
    return (
        f"{answer['reinstalled']} manual security associations were reinstalled from the configuration; "
        "their sequence numbers go on, so that none is used twice"
    )


def _kind(node: tree.Node, words: Words) -> Kind:
    if node.kind is not None:
        return node.kind
    if words:
        raise unexpected(words.take())
    raise BadSyntax("incomplete command" + (f": {' '.join(node.path)} can't be changed" if node.path else ""))


def _name(words: Words, kind: Kind) -> str:
    if not words:
        raise BadSyntax(f"a {kind.word} needs a name")
    return words.take()


def _properties(kind: Kind, items: Sequence[Token]) -> dict[str, Any]:
    return {word: _json(raw) for word, raw in text.properties(kind.fields, items, abbreviated=True).items()}


def _json(raw: Raw) -> Any:
    return {"verb": raw.verb.value, "items": list(raw.items)} if isinstance(raw, Edit) else raw

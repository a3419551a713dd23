"""Commands that change the configuration, alone or in a transaction."""

import sys
from collections.abc import Sequence
from typing import Any

from culvert.control.errors import ControlError, NotFound, SyntaxProblem
from culvert.model import shows, text
from culvert.model.fields import Edit, Raw
from culvert.model.foreign import FOREIGN, KEPT
from culvert.model.kind import Kind, Naming
from culvert.model.order import component
from culvert.model.problems import BadSyntax
from culvert.model.tokens import Token
from culvert.model.values import parse_number
from culvert.tmsh import selection, tree
from culvert.tmsh.keys import without_keys
from culvert.tmsh.session import Batch, Session
from culvert.tmsh.tree import TRANSACTION
from culvert.tmsh.words import Words, unexpected

IPSEC_SA, IKE_SA = tree.OF_SAS
KEPT_KIND = " ".join(FOREIGN)


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
    if node.kind is None:
        _refuse_kept(node, words, session)
    kind = _kind(node, words)
    names = [""] if kind.naming is Naming.SINGLE else selection.existing(kind, _names(words, kind, session), session)
    properties = _properties(kind, words.rest())
    return warn(session.change({"verb": "modify", "kind": kind.word, "names": names, "properties": properties}))


def delete(words: Words, session: Session) -> str:
    node = tree.walk(words, session.module, "delete")
    if node.path == TRANSACTION:
        return _abandon(session)
    if node.path == IPSEC_SA:
        return _delete_sas(words, session)
    if node.path == IKE_SA:
        session.call("show", what=shows.IKE_SA, filters=selection.filters(words, shows.IKE_SA, session))
        return "there are no negotiated security associations to delete"
    if node.kind is None and words:
        return _delete_kept(node, words, session)
    kind = _kind(node, words)
    names = [_name(words, kind)]
    recursive = False
    while words:
        word = words.take()
        recursive |= word == "recursive"
        names += [] if word == "recursive" else [word]
    chosen = selection.existing(kind, names, session, recursive=recursive, kept=True)
    return warn(session.change({"verb": "delete", "kind": kind.word, "names": chosen}))


def copy(words: Words, session: Session) -> str:
    """`cp net self a b`: a second object with the properties of the first."""
    kind = tree.kind_at(words, session.module, "cp")
    source, name = _name(words, kind), _name(words, kind)
    words.end()
    found = session.call("list", kind=kind.word, names=[source], folder=session.folder)
    if len(found) != 1:
        raise BadSyntax(f"cp copies one {kind.word}; {len(found)} are called {source}")
    if found[0]["kind"] != kind.word:
        raise BadSyntax(f"{kind.word} {source} {KEPT}")
    properties = found[0]["properties"]
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
    session.batch = Batch(session.folder)
    return ""


def _abandon(session: Session) -> str:
    """`delete cli transaction`; out of a folder that it would have made, back to where it was begun."""
    batch = _open_batch(session)
    session.batch = None
    try:
        session.call("folder", name=session.folder)
    except NotFound:
        session.folder = batch.folder
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
    number = parse_number(wanted)
    if not 1 <= number <= len(batch.lines):
        raise BadSyntax(f'"{wanted}" is not the number of a command; there are {len(batch.lines)}')
    del batch.lines[number - 1], batch.operations[number - 1]
    return ""


def _delete_sas(words: Words, session: Session) -> str:
    answer = session.call("delete-sas", filters=selection.filters(words, shows.IPSEC_SA, session))
    count = answer["reinstalled"]
    if not count:
        return "there are no such security associations to delete"
    which = "association was" if count == 1 else "associations were"
    return (
        f"{count} manual security {which} reinstalled from the configuration; "
        "sequence numbers go on, so that none is used twice"
    )


def _delete_kept(node: tree.Node, words: Words, session: Session) -> str:
    """`delete ltm pool p`: a stanza that is kept without effect."""
    stray, recursive = words.peek(), "recursive" in words.leading()
    given = words.without("recursive").leading()
    words.skip(len(words.leading()))
    words.end()
    path = [*node.path, *given]
    try:
        found = session.call("list", kind=" ".join(path), folder=session.folder, recursive=recursive, names_only=True)
    except SyntaxProblem:
        raise unexpected(stray) from None
    headers = [str(own["name"]) for own in found if own["kind"] == KEPT_KIND]
    for whole, name in map(component, headers):
        if len(path) < len(whole) or (len(path) == len(whole) and name):
            raise BadSyntax(f"a {' '.join(path)} needs a name")
    if not headers:
        raise BadSyntax(f"there is no {' '.join(path)}")
    return warn(session.change({"verb": "delete", "kind": KEPT_KIND, "names": headers}))


def _refuse_kept(node: tree.Node, words: Words, session: Session) -> None:
    """Nothing can be changed in a component of which Culvert only keeps stanzas."""
    path = " ".join([*node.path, words.peek()])
    try:
        found = words and session.call("list", kind=path, names_only=True)
    except ControlError:
        return
    if found:
        raise BadSyntax(f"what a file says of {path} {KEPT}")


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


def _names(words: Words, kind: Kind, session: Session) -> list[str]:
    """The names in front of properties; a word that may be either is a name only if an object is called so."""
    known = {word for own in kind.fields for word in own.input_words}
    names = [_name(words, kind)]
    while words.peek() and words.peek() not in known:
        word = words.peek()
        if not selection.is_pattern(word) and not _is_there(kind, word, session):
            if not any(own.startswith(word) for own in known):
                raise BadSyntax(f'"{word}" unknown property')
            break
        names.append(words.take())
    return names


def _is_there(kind: Kind, name: str, session: Session) -> bool:
    """Whether there is such an object, in the configuration or by a command of the open transaction."""
    if session.makes(kind, name):
        return True
    try:
        return bool(session.call("list", kind=kind.word, names=[name], folder=session.folder))
    except NotFound:
        return False


def _properties(kind: Kind, items: Sequence[Token]) -> dict[str, Any]:
    return {word: _json(raw) for word, raw in text.properties(kind.fields, items, abbreviated=True).items()}


def _json(raw: Raw) -> Any:
    return {"verb": raw.verb.value, "items": list(raw.items)} if isinstance(raw, Edit) else raw

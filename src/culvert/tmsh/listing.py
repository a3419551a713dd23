"""`list`: the configuration as text."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from culvert.control.errors import NotFound
from culvert.model import text, tokens
from culvert.model.foreign import FOREIGN, is_program
from culvert.model.kind import Kind, Naming, Path
from culvert.model.problems import BadSyntax
from culvert.model.registry import KINDS
from culvert.model.text import Style
from culvert.model.tokens import Token, Word
from culvert.tmsh import changes, selection, tree
from culvert.tmsh.session import Session
from culvert.tmsh.words import Words, matches, unexpected

OPTIONS: Mapping[str, str] = {
    "all-properties": "Every property, defaults too",
    "non-default-properties": "Only what differs from its default",
    "one-line": "Each object on one line",
    "partition": "Beside the properties, the partition",
    "recursive": "Objects of the folders below too",
    "current-module": "All components of the current module",
    "json": "As records",
}
STRANGE = "# kept as it was loaded, without effect:"
SHORTEST = 4
"""Letters from which on a word that is no object's name may be the beginning of an option."""


@dataclass(slots=True)
class Wanted:
    """What the words after the path ask for."""

    names: list[str] = field(default_factory=list)
    options: set[str] = field(default_factory=set)
    only: list[str] = field(default_factory=list)


def run(words: Words, session: Session) -> str:
    node = tree.walk(words, session.module, "list")
    if node.path == tree.TRANSACTION:
        words.end()
        return changes.listed_batch(session)
    path = (*node.path, *_foreign(words)) if node.kind is None else node.path
    wanted = _wanted(words, node.kind)
    found = _found(path, node.kind, wanted, session)
    if 0 < session.threshold < len(found) and not session.confirm(f"Display all {len(found)} items?"):
        return ""
    if "json" in wanted.options:
        return json.dumps(found, indent=2)
    everything = "all-properties" in wanted.options or _prefers_all(session, wanted)
    options = wanted.options
    style = Style(session.folder, everything, "one-line" in options, tuple(wanted.only), "partition" in options)
    return "\n".join(_text(own, style) for own in found)


def _text(own: Mapping[str, Any], style: Style) -> str:
    kind = KINDS[tuple(own["kind"].split())]
    if kind.path == FOREIGN:
        stanza = str(own["properties"]["text"])
        return _on_one_line(own["name"], stanza) if style.one_line else f"{STRANGE}\n{stanza}"
    return text.render(kind, own["name"], own["properties"], style, own.get("kept", ()))


def _on_one_line(header: str, stanza: str) -> str:
    """A kept stanza on one line, but for a program, whose lines mean something."""
    try:
        return stanza if is_program(header.split()) else " ".join(_written(tokens.parse(stanza)))
    except BadSyntax:
        return stanza


def _written(items: Sequence[Token]) -> Iterator[str]:
    for item in items:
        if isinstance(item, Word):
            yield tokens.quote(item.text)
        else:
            yield " ".join(["{", *_written(item.items), "}"])


def _prefers_all(session: Session, wanted: Wanted) -> bool:
    return session.preference("list-all-properties") == "enabled" and "non-default-properties" not in wanted.options


def _wanted(words: Words, kind: Kind | None) -> Wanted:
    wanted = Wanted()
    while words:
        word = words.take()
        if word in OPTIONS:
            wanted.options.add(word)
        elif kind is not None and (own := kind.field(word)) and (wanted.names or kind.naming is Naming.SINGLE):
            wanted.only.append(own.word)
        elif kind is not None and kind.naming is not Naming.SINGLE:
            wanted.names.append(word)
        elif option := _begun(word):
            wanted.options.add(option)
        else:
            raise unexpected(word)
    return wanted


def _begun(word: str) -> str | None:
    """The option that `word` unmistakably begins."""
    known = matches(word, OPTIONS)
    return known[0] if len(word) >= SHORTEST and len(known) == 1 else None


def _foreign(words: Words) -> list[str]:
    """More words of a path that no kind has: foreign stanzas may begin so."""
    found = []
    while words.peek() and words.peek() not in OPTIONS and not _begun(words.peek()):
        found.append(words.take())
    return found


def _found(path: Path, kind: Kind | None, wanted: Wanted, session: Session) -> Sequence[Mapping[str, Any]]:
    try:
        return _asked(path, kind, wanted, session)
    except NotFound:
        options = {name: option for name in wanted.names if (option := _begun(name))}
        fields = {name: own.word for name in wanted.names if kind is not None and (own := kind.field(name))}
        if not options and not fields:
            raise
        wanted.options |= set(options.values())
        wanted.only += fields.values()
        wanted.names = [name for name in wanted.names if name not in options and name not in fields]
        return _asked(path, kind, wanted, session)


def _asked(path: Path, kind: Kind | None, wanted: Wanted, session: Session) -> Sequence[Mapping[str, Any]]:
    recursive = "recursive" in wanted.options
    names = None if not wanted.names or wanted.names == [selection.ALL] else wanted.names
    if kind is not None and names and any(name.startswith("@") for name in names):
        names = selection.existing(kind, names, session, recursive=recursive)
    found: Sequence[Mapping[str, Any]] = session.call(
        "list", kind=" ".join(path), names=names, folder=session.folder, recursive=recursive
    )
    return found

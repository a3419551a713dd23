"""Where one is: folders, modules, the way out; and help."""

import textwrap
from collections.abc import Iterable

from culvert.control.errors import NotFound
from culvert.model.auth import PARTITION_KIND
from culvert.model.kind import Kind, Naming
from culvert.model.problems import BadSyntax
from culvert.model.sys import FOLDER_KIND
from culvert.tmsh import tree
from culvert.tmsh.session import Session
from culvert.tmsh.words import Words

ROOT_FOLDER = "/"
NARROWEST = 24
"""Columns of a screen that are worth a column of their own for text."""


def cd(words: Words, session: Session) -> str:
    """`cd /Part/folder`, `cd folder`, `cd ..`, `cd /`"""
    given = words.take("a folder")
    words.end()
    folder = _joined(session.folder, given)
    if not _is_made(folder, session):
        try:
            session.call("folder", name=folder)
        except NotFound:
            if session.batch is not None:
                session.batch.lost = folder
            raise
    if session.batch is not None:
        session.batch.lost = ""
    session.folder = folder
    return ""


def _is_made(folder: str, session: Session) -> bool:
    """Whether the open transaction makes this partition or folder."""
    parts = folder.split("/")
    kind, name = (PARTITION_KIND, parts[1]) if len(parts) == 2 else (FOLDER_KIND, folder)
    return session.makes(kind, name)


def pwd(words: Words, session: Session) -> str:
    words.end()
    return session.folder


def leave(words: Words, session: Session) -> str:
    """`exit`: out of the module, and from the top out of the shell."""
    words.end()
    if session.modules:
        session.modules.pop()
    else:
        session.over = True
    return ""


def quit_(words: Words, session: Session) -> str:
    words.end()
    session.over = True
    return ""


def enter(words: Words, session: Session) -> str:
    """A path alone makes its module the one that commands start from; / leads back to the top."""
    if words.leading() == ["/"]:
        session.modules.clear()
        return ""
    given = words.leading()
    node, count = tree.resolve(given, session.module)
    if not count or count < len(given):
        raise BadSyntax(f'unexpected argument "{given[count] if given else "{"}"')
    session.modules.append(node.path)
    return ""


def help_(words: Words, session: Session) -> str:
    """`help net ipsec ipsec-policy`: what it is, and each property with what it may be."""
    node = tree.walk(words, session.module)
    words.end()
    lines = [" ".join(node.path) or "tmsh", f"  {node.help}", ""]
    if node.kind is not None:
        lines += [*_usage(node.kind), "", "Properties:", *columns(_properties(node.kind))]
    else:
        lines += ["Below it:", *columns((word, own.help) for word, own in sorted(node.children.items()))]
    return "\n".join(line.rstrip() for line in lines)


def columns(rows: Iterable[tuple[str, str]], indent: str = "  ", width: int = 0) -> list[str]:
    """Two columns: words, and two or more spaces behind them what they mean.

    On a screen of so many columns that stays in its column, or goes below the word where too little is left for one.
    """
    found = list(rows)
    first = len(indent) + max((len(word) for word, _ in found), default=0) + 2
    if not width:
        return [f"{indent + word:<{first}}{help}".rstrip() for word, help in found]
    if width - first >= NARROWEST:
        return [line for word, help in found for line in _wrapped(f"{indent + word:<{first}}", help, width)]
    return [line for word, help in found for line in (indent + word, *_wrapped(3 * indent, help, width))]


def _wrapped(head: str, text: str, width: int) -> list[str]:
    # One less: a full last column makes some terminals begin another line.
    made = textwrap.wrap(text, max(width - 1 - len(head), 1), break_on_hyphens=False) or [""]
    return [head + made[0] if made[0] else head.rstrip(), *(" " * len(head) + line for line in made[1:])]


def _usage(kind: Kind) -> list[str]:
    name = "" if kind.naming is Naming.SINGLE else " NAME"
    verbs = ("modify", "list") if kind.fixed or kind.implicit else ("create", "modify", "delete", "list")
    shape = {"create": " { PROPERTY VALUE ... }", "modify": " { PROPERTY VALUE ... }"}
    return ["Usage:", *(f"  {verb} {kind.word}{name}{shape.get(verb, '')}" for verb in verbs)]


def _properties(kind: Kind) -> list[tuple[str, str]]:
    rows = []
    for own in sorted(kind.fields, key=lambda field: field.shown):
        default = "" if own.default is None or own.required else f"; default {_default(own.type.raw(own.default))}"
        rows.append((" | ".join(own.input_words) or own.word, f"{own.help} ({own.type.expects}{default})"))
    return rows


def _default(raw: object) -> str:
    if isinstance(raw, bool):
        return "yes" if raw else "no"
    if isinstance(raw, list):
        return " ".join(str(own["name"]) if isinstance(own, dict) else str(own) for own in raw) or "none"
    return str(raw)


def _joined(folder: str, given: str) -> str:
    parts = [] if given.startswith("/") else [part for part in folder.split("/") if part]
    for part in given.split("/"):
        if part == "..":
            parts = parts[:-1]
        elif part not in ("", "."):
            parts.append(part)
    return "/" + "/".join(parts)

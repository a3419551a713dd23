"""`show`: what runs, in the vendor's layouts or as records."""

import json
from collections.abc import Iterator, Mapping

from culvert.model import shows
from culvert.model.kind import Naming
from culvert.model.names import full
from culvert.model.problems import BadSyntax
from culvert.model.registry import KINDS
from culvert.tmsh import format as layout
from culvert.tmsh import listing, selection, tree
from culvert.tmsh.session import Session
from culvert.tmsh.words import Words, matches, unexpected

UNITS: Mapping[str, str] = {
    "default": "Numbers in the unit that suits them",
    "raw": "Numbers in full",
    "kil": "Numbers in thousands",
    "meg": "Numbers in millions",
    "gig": "Numbers in thousand millions",
    "tera": "Numbers in units of 10^12",
    "peta": "Numbers in units of 10^15",
    "exa": "Numbers in units of 10^18",
    "zetta": "Numbers in units of 10^21",
    "yotta": "Numbers in units of 10^24",
}
OPTIONS: Mapping[str, str] = {
    "all-properties": "Everything that is known",
    "detail": "Everything that is known",
    "field-fmt": "One field per line, in braces",
    "recursive": "Accepted for scripts: shows speak of all folders",
    "json": "As records",
    **UNITS,
}

RUNNING = "running-config"
RUNNING_SHORTEST = 4
"""Letters of it that are enough; fewer begin other words."""
AUDIT = "sys log audit"
STREAMED = (shows.IPSEC_SA,)
ALONE = ("sys log ipsec", AUDIT)
"""What has to be asked for by itself: a log has no end."""


def run(words: Words, session: Session) -> str:
    if len(words.peek()) >= RUNNING_SHORTEST and RUNNING.startswith(words.peek()):
        words.take()
        return listing.run(words, session)
    words = words.without("recursive")
    node = tree.walk(words, session.module, "show")
    what = " ".join(node.path)
    if what in layout.LAYOUTS:
        return _one(what, words, session)
    if node.path and tree.serves("show", node) and (not words or matches(words.peek(), OPTIONS)):
        return _module(node, words, session)
    if words:
        raise unexpected(words.take())
    raise BadSyntax(f"{what or 'show'} alone shows nothing; there is {', '.join(_below(node)) or 'list'}")


def _one(what: str, words: Words, session: Session) -> str:
    names, options = _names(words, what, session), set[str]()
    filters: dict[str, object] = dict(selection.filters(words, what, session, tuple(OPTIONS), options))
    if names:
        filters[shows.NAMES] = names
    return _told(_pieces(what, filters, _completed(options, session), session), session)


def _pieces(what: str, filters: Mapping[str, object], options: set[str], session: Session) -> Iterator[str]:
    """The text of one show; in parts of which the first comes early, if there may be much of it."""
    if session.stream is not None and what in STREAMED:
        return layout.pieces(what, (own.records for own in session.stream("show", what=what, filters=filters)), options)
    records = session.call("audit", **filters) if what == AUDIT else session.call("show", what=what, filters=filters)
    return layout.pieces(what, [records], options)


def _told(pieces: Iterator[str], session: Session) -> str:
    if session.stream is None:
        return "\n".join(pieces)
    session.tell(pieces)
    return ""


def _module(node: tree.Node, words: Words, session: Session) -> str:
    """Everything that a module shows, one after the other."""
    options = set[str]()
    selection.filters(words, "", session, tuple(OPTIONS), options)
    shown = [what for what in _below(node) if what not in ALONE]
    if "json" in options:
        return json.dumps({what: session.call("show", what=what, filters={}) for what in shown}, indent=2)
    completed = _completed(options, session)
    return _told((piece for what in shown for piece in _pieces(what, {}, completed, session)), session)


def _below(node: tree.Node) -> list[str]:
    path = " ".join(node.path)
    return sorted(own for own in layout.LAYOUTS if not path or own.startswith(f"{path} "))


def _completed(options: set[str], session: Session) -> set[str]:
    """The options with what they imply, and the unit that the user prefers where none was named."""
    made = options | ({"all-properties"} if "detail" in options else set())
    return made if made & UNITS.keys() else made | {session.preference("stat-units", "default")}


def _names(words: Words, what: str, session: Session) -> list[str]:
    """The objects that a show of objects is asked about, by full name. A filter's word ends them, if it isn't first."""
    if what not in shows.NAMED:
        return []
    found: list[str] = []
    while words.peek() not in ("", *OPTIONS):
        if found and words.peek() in shows.FILTER_WORDS:
            break
        found.append(words.take())
    if found == [selection.ALL]:
        return []
    kind = KINDS[tuple(what.split())]
    loose = kind.naming is Naming.PLAIN or found == [shows.STATIC]
    return found if loose else [full(name, session.folder) for name in found]

"""`show`: what runs, in the vendor's layouts or as records."""

from collections.abc import Mapping

from culvert.model import shows
from culvert.model.kind import Naming
from culvert.model.names import full
from culvert.model.problems import BadSyntax
from culvert.model.registry import KINDS
from culvert.tmsh import format as layout
from culvert.tmsh import selection, tree
from culvert.tmsh.session import Session
from culvert.tmsh.words import Words, unexpected

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


def run(words: Words, session: Session) -> str:
    words = words.without("recursive")
    node = tree.walk(words, session.module)
    what = " ".join(node.path)
    if what not in layout.LAYOUTS:
        if words:
            raise unexpected(words.take())
        known = sorted(own for own in layout.LAYOUTS if own.startswith(what))
        raise BadSyntax(f"{what or 'show'} alone shows nothing; there is {', '.join(known) or 'list'}")
    names, options = _names(words, what, session), set[str]()
    filters: dict[str, object] = dict(selection.filters(words, what, session, tuple(OPTIONS), options))
    if names:
        filters[shows.NAMES] = names
    if "detail" in options:
        options.add("all-properties")
    records = session.call("show", what=what, filters=filters)
    return layout.lay_out(what, records, options)


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

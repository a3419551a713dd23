"""From advice to the page where it can be followed: the gateway's `try` and `repair` speak in commands of tmsh."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from urllib.parse import urlencode

from culvert.model import ltm, net_ipsec
from culvert.model.fields import Reference
from culvert.model.kind import Kind, Naming
from culvert.model.names import full
from culvert.model.registry import KINDS
from culvert.rest.resources import HIDDEN
from culvert.web import forms, screens
from culvert.web.screens import screen_of
from culvert.web.virtual import NETWORK
from culvert.web.visit import place

_COMMAND = re.compile(r"\b(create|modify|delete|show) ((?:auth|ltm|net|sys) .+)")
_REKEY = re.compile(r"^give (.+?) (?:and its peer )?(?:a new SPI and )?new keys")
_PLACEHOLDER = re.compile(r"\.\.\.|[{}]|[A-Z][A-Z/]+")
ON_PEER = "on the peer"
SHOWS = {
    "net ipsec drops": ("Drops", "/diagnostics?show=drops"),
    "sys version": ("The packet process", "/diagnostics?show=tmm-info"),
}


@dataclass(frozen=True, slots=True)
class Link:
    """A page, and what it is called."""

    title: str
    address: str


def of(advice: str) -> tuple[Link, ...]:
    """The pages that a piece of advice leads to; none for advice that no page can follow."""
    found = [link for piece in advice.split(";") if not piece.strip().startswith(ON_PEER) for link in _piece(piece)]
    if "culvert explain" in advice:
        found.append(Link("Why did it not pass", "/why"))
    return tuple(dict.fromkeys(found))


def to_object(kind_words: str, name: str) -> Link | None:
    """The Properties page of an object, as `explain` names it."""
    kind = KINDS.get(tuple(kind_words.split()))
    return None if kind is None else Link(f"{screen_of(kind).one} {forms.short(name)}", place(kind, name))


def _piece(piece: str) -> list[Link]:
    if rekeyed := _REKEY.match(piece.strip()):
        link = to_object(net_ipsec.MANUAL_SA_KIND.word, full(rekeyed[1]))
        return [link] if link else []
    found = _COMMAND.search(piece)
    if found is None:
        return []
    verb, words = found[1], found[2].split()
    if verb == "show" and found[2] in SHOWS:
        return [Link(*SHOWS[found[2]])]
    kind = next((KINDS[path] for path in _paths(words) if path in KINDS), None)
    if kind is None or kind.path in HIDDEN:
        return []
    rest = words[len(kind.path) :]
    return [_created(kind, rest) if verb == "create" and screens.may_make(kind) else _changed(kind, rest)]


def _paths(words: Sequence[str]) -> list[tuple[str, ...]]:
    return [tuple(words[:count]) for count in range(len(words), 1, -1)]


def _changed(kind: Kind, words: Sequence[str]) -> Link:
    name = " ".join(words[: _name_words(kind, words)])
    screen = screen_of(kind)
    if not name or _PLACEHOLDER.fullmatch(name):
        return Link(screen.title, place(kind))
    stands = kind.naming in (Naming.FOLDER, Naming.LOOSE)
    return Link(f"{screen.one} {name}", place(kind, full(name) if stands else name))


def _name_words(kind: Kind, words: Sequence[str]) -> int:
    """How many words the name is long: up to the first that is a property."""
    return next((count for count, word in enumerate(words) if count and kind.field(word) is not None), len(words))


def _created(kind: Kind, words: Sequence[str]) -> Link:
    """The form of a new object, with what the command says filled in."""
    screen = screen_of(kind)
    given = _given(kind, words[_name_words(kind, words) :])
    if kind.path == ltm.VIRTUAL and "destination" in given:
        given[NETWORK] = _network(given.pop("destination"), given.pop("mask", ""))
    known = forms.fields_of(screen)
    filled = {word: value for word, value in given.items() if word in known}
    address = f"{place(kind)}/new"
    return Link(screen.new, f"{address}?{urlencode(filled)}" if filled else address)


def _given(kind: Kind, words: Sequence[str]) -> dict[str, str]:
    found: dict[str, str] = {}
    for word, value in pairwise(words):
        own = kind.field(word)
        text = value.removesuffix("LENGTH")
        if own is not None and kind.field(value) is None and not _PLACEHOLDER.fullmatch(text):
            found[own.word] = full(text) if isinstance(own.type, Reference) else text
    return found


def _network(destination: str, mask: str) -> str:
    """A virtual server's destination as its form has it."""
    host = destination.removesuffix(":any").removesuffix(".any")
    return f"{host}/0" if mask in ("any", "any6") else host

"""Which objects a command speaks of: names, globs, @regular expressions, `all`; and the filters of `show`."""

import fnmatch
import re
from collections.abc import Mapping, Sequence
from typing import Any

from culvert.model import names, shows
from culvert.model.foreign import FOREIGN
from culvert.model.kind import Kind, Naming
from culvert.model.order import component
from culvert.model.problems import BadSyntax
from culvert.tmsh.session import Session
from culvert.tmsh.words import Words, matches, unexpected

ALL = "all"


def is_pattern(name: str) -> bool:
    return name.startswith("@") or any(character in name for character in "*?[")


def existing(
    kind: Kind, given: Sequence[str], session: Session, *, recursive: bool = False, kept: bool = False
) -> list[str]:
    """The names that were given, each pattern replaced by what it chooses. BadSyntax when that leaves none.

    With `recursive`, patterns and `all` reach into the folders below the current one; with `kept` they speak of what is
    kept without effect too.
    """
    if not any(is_pattern(name) for name in given) and not (recursive and list(given) == [ALL]):
        return list(given)
    # A pattern with a folder of its own may speak of any.
    everywhere = any("/" in name for name in given)
    folder = None if everywhere else session.folder
    found = session.call("list", kind=kind.word, folder=folder, recursive=recursive, names_only=True)
    stored = [name_of(own) for own in found if kept or own["kind"] == kind.word]
    chosen: list[str] = []
    for name in given:
        fitting = [own for own in stored if fits(own, name, kind, session.folder, recursive=recursive)]
        chosen += fitting if fitting or is_pattern(name) else [name]
    if not chosen:
        raise BadSyntax(f"no {kind.word} is called {' '.join(given)}")
    return list(dict.fromkeys(chosen))


def name_of(record: Mapping[str, Any]) -> str:
    """The name of a listed object; of a kept stanza that in its header."""
    name = str(record["name"])
    return component(name)[1] if record["kind"] == " ".join(FOREIGN) else name


def fits(name: str, pattern: str, kind: Kind, folder: str, *, recursive: bool = False) -> bool:
    """Whether a stored name is what `pattern` means in `folder`."""
    stands, loose = kind.naming in (Naming.FOLDER, Naming.LOOSE), kind.naming is Naming.LOOSE
    here = not stands or names.is_in(name, folder, loose=loose, recursive=recursive)
    if pattern == ALL:
        return here
    if pattern.startswith("@"):
        last = name.split("/", 2)[-1] if loose else name.rpartition("/")[2]
        try:
            return here and re.search(pattern[1:], last) is not None
        except (re.error, OverflowError, RecursionError) as error:
            raise BadSyntax(f'"{pattern[1:]}" is no regular expression: {error}') from None
    if not stands:
        return fnmatch.fnmatchcase(name, pattern)
    return names.fits(name, pattern, folder, loose=loose, recursive=recursive)


def filters(
    words: Words, what: str, session: Session, options: Sequence[str] = (), chosen: set[str] | None = None
) -> dict[str, str]:
    """The filters that a show, or a deletion of what it shows, is given; and into `chosen` its options."""
    found: dict[str, str] = {}
    own = shows.FILTERS.get(what, {})
    while words:
        word = words.take()
        # The manual writes src_addr, and the shell src-addr.
        known = matches(word, [*options, *own]) or matches(word.replace("_", "-"), own)
        if len(known) != 1:
            raise unexpected(word)
        if known[0] in own:
            value = words.take(f'a value for "{known[0]}"')
            found[known[0]] = names.full(value, session.folder) if known[0] == "traffic-selector" else value
        elif chosen is not None:
            chosen.add(known[0])
    return found

"""Which objects a command speaks of: names, globs, @regular expressions, `all`; and the filters of `show`."""

import fnmatch
import re
from collections.abc import Sequence

from culvert.model import shows
from culvert.model.kind import Kind, Naming
from culvert.model.names import full
from culvert.model.problems import BadSyntax
from culvert.tmsh.session import Session
from culvert.tmsh.words import Words, matches, unexpected

ALL = "all"


def is_pattern(name: str) -> bool:
    return name.startswith("@") or any(character in name for character in "*?[")


def existing(kind: Kind, names: Sequence[str], session: Session, *, recursive: bool = False) -> list[str]:
    """`names` as they are, or when one is a pattern the objects that they choose. BadSyntax when those are none.

    With `recursive`, patterns and `all` reach into the folders below the current one.
    """
    if not any(is_pattern(name) for name in names) and not (recursive and list(names) == [ALL]):
        return list(names)
    found = session.call("list", kind=kind.word, folder=session.folder, recursive=recursive, names_only=True)
    chosen = [own["name"] for own in found if any(fits(own["name"], name, kind, session.folder) for name in names)]
    if not chosen:
        raise BadSyntax(f"no {kind.word} is called {' '.join(names)}")
    return chosen


def fits(name: str, pattern: str, kind: Kind, folder: str) -> bool:
    """Whether a stored name is what `pattern` means in `folder`."""
    if pattern == ALL:
        return True
    last = name.rpartition("/")[2] if kind.naming is not Naming.LOOSE else name.split("/", 2)[-1]
    if pattern.startswith("@"):
        try:
            return re.search(pattern[1:], last) is not None
        except re.error as error:
            raise BadSyntax(f'"{pattern[1:]}" is no regular expression: {error}') from None
    if kind.naming is Naming.PLAIN:
        return fnmatch.fnmatchcase(name, pattern)
    if fnmatch.fnmatchcase(name, full(pattern, folder)):
        return True
    return "/" not in pattern and fnmatch.fnmatchcase(last, pattern)


def filters(
    words: Words, what: str, session: Session, options: Sequence[str] = (), chosen: set[str] | None = None
) -> dict[str, str]:
    """The filters that a show, or a deletion of what it shows, is given; and into `chosen` its options."""
    found: dict[str, str] = {}
    own = shows.FILTERS.get(what, {})
    while words:
        word = words.take()
        # The manual writes src_addr, and the shell src-addr.
        known = matches(word.replace("_", "-"), [*options, *own])
        if len(known) != 1:
            raise unexpected(word)
        if known[0] in own:
            value = words.take(f'a value for "{known[0]}"')
            found[known[0]] = full(value, session.folder) if known[0] == "traffic-selector" else value
        elif chosen is not None:
            chosen.add(known[0])
    return found

"""Which objects a command speaks of: names, globs, @regular expressions, `all`; and the filters of `show`."""

import fnmatch
import re
from collections.abc import Mapping, Sequence
from typing import Any

from culvert.model import names
from culvert.model.foreign import FOREIGN
from culvert.model.kind import Kind, Naming
from culvert.model.order import component
from culvert.model.problems import BadSyntax
from culvert.tmsh.session import Session
from culvert.tmsh.words import Words, matches, unexpected

_OF_SAS = {
    "route-domain": "Number of a route domain",
    "traffic-selector": "Name of a traffic selector",
}
IPSEC_SA = {
    "dst-addr": "Destination address",
    "spi": "Security parameter index",
    "src-addr": "Source address",
    **_OF_SAS,
}
IKE_SA = {
    "peer-ip": "Address of the other system",
    "peer-name": "Name of an IKE peer",
    **_OF_SAS,
}
FILTERS: Mapping[str, Mapping[str, str]] = {
    "net ipsec ike-sa": IKE_SA,
    "net ipsec ipsec-sa": IPSEC_SA,
    "sys log audit": {"lines": "How many of the newest lines"},
    "sys log ipsec": {"lines": "How many of the newest lines"},
}
"""What each show can be narrowed by, with help."""
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


def filters(words: Words, known: Mapping[str, str], options: Sequence[str], chosen: set[str]) -> dict[str, str]:
    """Those of the `known` filters that are given, and into `chosen` the options."""
    found: dict[str, str] = {}
    while words:
        word = words.take()
        # The manual spells filters src_addr and dst_addr.
        meant = matches(word, [*options, *known]) or matches(word.replace("_", "-"), known)
        if len(meant) != 1:
            raise unexpected(word)
        if meant[0] in known:
            found[meant[0]] = words.take(f'a value for "{meant[0]}"')
        else:
            chosen.add(meant[0])
    return found

"""Which objects a command speaks of: names, globs, @regular expressions, `all`; and the filters of `show`."""

import fnmatch
import re
from collections.abc import Mapping, Sequence

from culvert.model.kind import Kind, Naming
from culvert.model.names import full
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
        except (re.error, OverflowError, RecursionError) as error:
            raise BadSyntax(f'"{pattern[1:]}" is no regular expression: {error}') from None
    if kind.naming is Naming.PLAIN:
        return fnmatch.fnmatchcase(name, pattern)
    if fnmatch.fnmatchcase(name, full(pattern, folder)):
        return True
    return "/" not in pattern and fnmatch.fnmatchcase(last, pattern)


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

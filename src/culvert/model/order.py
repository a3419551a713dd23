"""Where a stanza stands in a file: as the vendor has them, a module's own components before those of its submodules."""

from culvert.model.foreign import FOREIGN
from culvert.model.kind import Object

SUBMODULES = frozenset({"bwc", "cos", "fdb", "ipsec", "rate-shaping", "routing", "sfc", "tunnels"})
"""Of `net`: the words of a header that are followed by a component and not by a name."""

Place = tuple[str, bool, tuple[str, ...], str]


def place(own: Object) -> Place:
    """Something to sort objects by: module, whether in a submodule, the path, the name."""
    path, name = component(own.name) if own.kind.path == FOREIGN else (own.kind.path, own.name)
    return path[0], len(path) > 2, path, name


def component(header: str) -> tuple[tuple[str, ...], str]:
    """The path and the name in the words of a foreign stanza's header; "" where there is one without a name."""
    words = header.split()
    named = len(words) > 2 and not (len(words) == 3 and words[0] == "net" and words[1] in SUBMODULES)
    # A name may have spaces, but only a quoted one, and such headers aren't kept.
    return (tuple(words[:-1]), words[-1]) if named else (tuple(words), "")

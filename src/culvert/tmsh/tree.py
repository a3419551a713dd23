"""The tree that commands walk: modules, and the components in them. Kinds come from the model, the rest is here."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from culvert.model import shows
from culvert.model.foreign import FOREIGN
from culvert.model.kind import Kind, Path
from culvert.model.problems import BadSyntax
from culvert.model.registry import KINDS
from culvert.tmsh.format import LAYOUTS
from culvert.tmsh.words import Words, unexpected, whole

MODULES: Mapping[Path, str] = {
    (): "Everything",
    ("auth",): "Users and partitions",
    ("cli",): "The shell itself",
    ("ltm",): "Local Traffic Manager",
    ("ltm", "profile"): "Profiles of virtual servers",
    ("net",): "Networking",
    ("net", "ipsec"): "IPsec",
    ("net", "tunnels"): "Tunnels",
    ("sys",): "The system",
    ("sys", "log-config"): "Where log messages go",
    ("sys", "log-config", "destination"): "Log destinations",
    ("util",): "Programs of the host",
}
COMPONENTS: Mapping[Path, str] = {
    ("auth", "password"): "A user's password, which is asked for",
    ("cli", "transaction"): "Commands that are carried out together or not at all",
    ("net", "ipsec", "ipsec-sa"): "Security associations that are in use",
    ("net", "ipsec", "ike-sa"): "Security associations of IKE",
    ("net", "ipsec", "drops"): "Packets that died, by reason",
    ("net", "ike-evt-stat"): "What IKE did",
    ("net", "ike-msg-stat"): "Messages of IKE",
    ("net", "ipsec-stat"): "Packets and octets by worker, mode and protocol",
    ("sys", "config"): "The configuration as a whole",
    ("sys", "log"): "The logs, and where they go",
    ("sys", "log", "audit"): "Who changed what, and who logged in",
    ("sys", "log", "ipsec"): "The newest lines of the log of IPsec",
    ("sys", "counter-journal"): "The send counters on disk",
    ("util", "bash"): "The shell of the host",
}


@dataclass(slots=True)
class Node:
    """A module or a component. `help` is one line."""

    path: Path
    help: str = ""
    kind: Kind | None = None
    children: dict[str, "Node"] = field(default_factory=dict)


def _grown() -> Node:
    root = Node((), MODULES[()])
    shown = {tuple(what.split()): "" for what in LAYOUTS}
    for path in sorted({*KINDS, *COMPONENTS, *shown} - {FOREIGN}):
        node = root
        for depth, word in enumerate(path, 1):
            node = node.children.setdefault(word, Node(path[:depth], MODULES.get(path[:depth], "")))
        node.kind = KINDS.get(path)
        node.help = node.kind.help if node.kind else COMPONENTS.get(path, node.help)
    return root


ROOT = _grown()


TRANSACTION = ("cli", "transaction")
PASSWORD = ("auth", "password")
OF_SAS = tuple(tuple(what.split()) for what in (shows.IPSEC_SA, shows.IKE_SA))
RUNS = (("util", "bash"), ("sys", "counter-journal"))


def serves(verb: str, node: "Node") -> bool:
    """Whether there is something for a verb in a node or below it."""
    return _is_for(verb, node) or any(serves(verb, child) for child in node.children.values())


def _is_for(verb: str, node: "Node") -> bool:
    if verb == "show":
        return " ".join(node.path) in LAYOUTS
    if verb == "reset-stats":
        return " ".join(node.path) in shows.COUNTED
    if verb == "run":
        return node.path in RUNS
    if verb == "list":
        return node.kind is not None or node.path == TRANSACTION
    if verb in ("create", "modify", "delete", "cp", "mv", "edit"):
        known = node.path == TRANSACTION or (verb == "delete" and node.path in OF_SAS)
        known |= verb == "modify" and node.path == PASSWORD
        return known or (node.kind is not None and not node.kind.derived)
    return True


def at(path: Path) -> Node:
    """The node of a path that exists."""
    node = ROOT
    for word in path:
        node = node.children[word]
    return node


def walk(words: Words, module: Path, verb: str = "") -> Node:
    """The node that the words begin with, taken from them: from `module`, or with a leading / from the root.

    A word that is nothing in `module` is looked for from the root, so that a command written out works anywhere. A word
    that is only begun stands for what has something for the verb.
    """
    found, count = resolve(words.leading(), module, verb)
    words.skip(count)
    return found


def resolve(given: list[str], module: Path, verb: str = "") -> tuple[Node, int]:
    """The node, and how many of the words lead to it."""
    start = at(module)
    if given and given[0].startswith("/"):
        first = given[0][1:]
        node, count = _descend(ROOT, [first, *given[1:]] if first else given[1:], verb)
        if first and not count:
            raise unexpected(given[0])
        return node, count + (not first)
    node, count = _descend(start, given, verb)
    if not count and module and given and whole_or_none(given[0], ROOT):
        return _descend(ROOT, given, verb)
    return node, count


def whole_or_none(word: str, node: Node) -> str | None:
    """The child of `node` that `word` is, not only begins."""
    return word if word in node.children else None


def _descend(node: Node, given: list[str], verb: str) -> tuple[Node, int]:
    count = 0
    for word in given:
        child = word if word in node.children else None
        if child is None and node.kind is None:
            serving = [own for own, below in node.children.items() if serves(verb, below)]
            child = whole(word, serving) or whole(word, list(node.children))
        if child is None:
            break
        node, count = node.children[child], count + 1
    return node, count


def kind_at(words: Words, module: Path, verb: str) -> Kind:
    """The kind that the words begin with. Raises BadSyntax for what is none."""
    node = walk(words, module, verb)
    if node.kind is not None:
        return node.kind
    if words:
        raise unexpected(words.take())
    raise BadSyntax(f"incomplete command: one of {', '.join(node.children)} is expected")

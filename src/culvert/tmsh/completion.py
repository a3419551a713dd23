"""What may stand at the end of a line: for `?` with its help, for Tab to be filled in."""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from culvert.control.errors import ControlError
from culvert.model import shows
from culvert.model.fields import NONE, Choice, Field, Integer, Members, Reference, Shape, Toggle, Verb, Words
from culvert.model.kind import Kind, Naming
from culvert.model.problems import BadSyntax
from culvert.model.registry import KINDS
from culvert.tmsh import files, listing, selection, showing, tree
from culvert.tmsh.changes import IKE_SA, IPSEC_SA
from culvert.tmsh.command import VERBS
from culvert.tmsh.format import LAYOUTS
from culvert.tmsh.navigation import columns
from culvert.tmsh.session import Session
from culvert.tmsh.tree import TRANSACTION
from culvert.tmsh.words import matches

NAMES_MAX = 200
_TOKEN = re.compile(r'[{}]|"(?:[^"\\]|\\.)*"?|[^\s{}"]+')
COMMANDS, MODULES, COMPONENTS = "Commands", "Modules", "Components"
IDENTIFIERS, PROPERTIES, VALUES, OPTIONS = "Identifiers", "Properties", "Values", "Options"
LIST_VERBS = {
    Verb.ADD.value: "Beside what is there",
    Verb.DELETE.value: "Take out of what is there",
    Verb.MODIFY.value: "Change members that are there",
    Verb.REPLACE.value: "Instead of what is there",
}


@dataclass(frozen=True, slots=True)
class Candidate:
    """`word` may stand here. One in angle brackets is no word but says what kind of word may."""

    word: str
    help: str = ""
    section: str = VALUES

    @property
    def is_word(self) -> bool:
        return not self.word.startswith("<")


def complete(line: str, session: Session) -> tuple[str, list[Candidate]]:
    """The unfinished word at the end of `line`, and what it may become. Never raises."""
    found = _TOKEN.findall(line)
    unfinished = bool(found) and not line[-1:].isspace() and found[-1] not in "{}"
    partial = found.pop() if unfinished else ""
    try:
        every = list(_candidates(found, partial, session))
    except (BadSyntax, ControlError):
        return partial, []
    fitting = [own for own in every if own.word.startswith(partial) or (not own.is_word and not partial)]
    return partial, list({own.word: own for own in fitting}.values())


def table(candidates: Sequence[Candidate], width: int = 0) -> str:
    """The two columns behind `?`, in sections, for a screen of so many columns; 0: for any."""
    sections: dict[str, list[tuple[str, str]]] = {}
    for own in candidates:
        sections.setdefault(own.section, []).append((own.word, own.help))
    made = {section: columns(sorted(rows), width=width) for section, rows in sections.items()}
    return "\n".join(line for section, lines in made.items() for line in [f"{section}:", *lines])


def shared(words: Iterable[str]) -> str:
    """What all words begin with."""
    found = list(words)
    if not found:
        return ""
    least, most = min(found), max(found)
    size = next((at for at, (one, two) in enumerate(zip(least, most, strict=False)) if one != two), len(least))
    return least[:size]


def _candidates(words: list[str], partial: str, session: Session) -> Iterator[Candidate]:
    if not words:
        yield from (Candidate(word, verb.help, COMMANDS) for word, verb in VERBS.items())
        yield from _children(tree.at(session.module), partial)
        return
    known = matches(words[0], VERBS)
    if words[0] in session.module_words or not known:
        node, count = tree.resolve(words, session.module)
        yield from _children(node, "") if count == len(words) else ()
        return
    if len(known) == 1:
        yield from _after(known[0], words[1:], partial, session)


def _after(verb: str, rest: list[str], partial: str, session: Session) -> Iterator[Candidate]:
    if verb == "cd":
        yield from _folders(session)
    elif verb in ("save", "load"):
        yield from _file_words(verb, rest)
    elif verb == "submit":
        yield from _fixed(rest, ["cli", "transaction", "validate-only"])
    elif verb == "restart":
        yield from _fixed(rest, ["sys", "service", "tmm"])
    elif verb not in ("exit", "quit", "pwd"):
        yield from _objects(verb, rest, partial, session)


def _fixed(rest: list[str], path: Sequence[str]) -> Iterator[Candidate]:
    if rest == list(path[: len(rest)]) and len(rest) < len(path):
        yield Candidate(path[len(rest)], "", OPTIONS)


def _file_words(verb: str, rest: list[str]) -> Iterator[Candidate]:
    if len(rest) < 2:
        yield from _fixed(rest, ["sys", "config"])
    elif rest[-1] == "file":
        yield Candidate("<file>", "Name of a file", VALUES)
    elif rest[-1] == "partitions":
        yield Candidate("all", "All partitions", VALUES)
    else:
        options = files.SAVE_OPTIONS if verb == "save" else files.LOAD_OPTIONS
        yield from (Candidate(word, help, OPTIONS) for word, help in options.items() if word not in rest)


def _objects(verb: str, rest: list[str], partial: str, session: Session) -> Iterator[Candidate]:
    node, count = tree.resolve(rest, session.module, verb)
    left = rest[count:]
    if not left and (not rest or node.kind is None):
        found = _children(node, partial if not rest else "")
        yield from (own for own in found if tree.serves(verb, _child(node, own.word)))
    if verb == "show":
        yield from _show_words(node, left, session)
    elif verb == "delete" and node.path in (IPSEC_SA, IKE_SA):
        yield from _filter_words(node, left, session)
    elif node.path == TRANSACTION:
        if verb == "modify" and not left:
            yield Candidate("delete", "Take a command out again, by its number", OPTIONS)
    elif verb == "run":
        yield from _run_words(node, left)
    elif verb == "reset-stats":
        what = " ".join(node.path)
        yield from _names(KINDS[node.path], session) if what in shows.COUNTED and what in shows.NAMED else ()
        yield from _filter_words(node, left, session) if what in shows.COUNTED and what in shows.FILTERS else ()
    elif node.kind is not None and verb != "help":
        yield from _of_kind(verb, node.kind, left, session)
    elif verb == "list" and count:
        yield from _options(listing.OPTIONS, left)


def _run_words(node: tree.Node, left: list[str]) -> Iterator[Candidate]:
    words = {"util bash": "-c", "sys counter-journal": "trust"}
    if not left and (word := words.get(" ".join(node.path))):
        yield Candidate(word, "", OPTIONS)


def _of_kind(verb: str, kind: Kind, left: list[str], session: Session) -> Iterator[Candidate]:
    named = kind.naming is not Naming.SINGLE
    if named and not left:
        yield from [Candidate("<name>", f"Name of the {kind.title}", IDENTIFIERS)] if verb == "create" else ()
        yield from _names(kind, session) if verb != "create" else ()
        if verb in ("delete", "modify", "list"):
            yield Candidate("all", f"Every {kind.title}", IDENTIFIERS)
    if verb == "list":
        yield from _options(listing.OPTIONS, left)
        if left or not named:
            yield from (Candidate(own.word, own.help, PROPERTIES) for own in kind.fields if own.word not in left)
    elif verb in ("create", "modify") and (left or not named):
        yield from _body(kind.fields, left[int(named) :], session, outermost=True)


def _show_words(node: tree.Node, left: list[str], session: Session) -> Iterator[Candidate]:
    what = " ".join(node.path)
    if what not in LAYOUTS:
        return
    waits = bool(left) and left[-1] in shows.FILTERS.get(what, ())
    if what in shows.NAMED and not set(left) & set(showing.OPTIONS):
        yield from (own for own in _names(KINDS[node.path], session) if own.word not in left)
        yield Candidate("all", "All of them", IDENTIFIERS)
    yield from _filter_words(node, left, session)
    yield from () if waits else _options(showing.OPTIONS, left)


def _filter_words(node: tree.Node, left: list[str], session: Session) -> Iterator[Candidate]:
    """The filters of what a node shows, or what the last one of `left` may be."""
    own = shows.FILTERS.get(" ".join(node.path), {})
    if left and left[-1] == "traffic-selector" and own:
        yield from _names(KINDS["net", "ipsec", "traffic-selector"], session)
    elif left and left[-1] in own:
        yield Candidate("<value>", own[left[-1]])
    else:
        yield from _options(own, left)


def _options(options: Mapping[str, str], left: Sequence[str]) -> Iterator[Candidate]:
    yield from (Candidate(word, help, OPTIONS) for word, help in options.items() if word not in left)


def _child(node: tree.Node, word: str) -> tree.Node:
    """The child of a node that a word stands for, with a leading / one of the root."""
    return (tree.ROOT if word.startswith("/") else node).children[word.removeprefix("/")]


def _children(node: tree.Node, partial: str) -> Iterator[Candidate]:
    start = node if not partial.startswith("/") else tree.ROOT
    slash = "/" if partial.startswith("/") else ""
    for word, child in sorted(start.children.items()):
        yield Candidate(slash + word, child.help, COMPONENTS if not child.children else MODULES)


def _names(kind: Kind, session: Session) -> Iterator[Candidate]:
    found = session.call("list", kind=kind.word, folder=session.folder, names_only=True, limit=NAMES_MAX)
    prefix = session.folder.rstrip("/") + "/"
    yield from (Candidate(selection.name_of(own).removeprefix(prefix), "", IDENTIFIERS) for own in found)


def _folders(session: Session) -> Iterator[Candidate]:
    yield Candidate("/", "All partitions", IDENTIFIERS)
    for kind in ("auth partition", "sys folder"):
        for own in session.call("list", kind=kind, names_only=True, limit=NAMES_MAX):
            yield Candidate("/" + own["name"].lstrip("/"), "", IDENTIFIERS)


def _body(fields: Sequence[Field], words: list[str], session: Session, *, outermost: bool) -> Iterator[Candidate]:
    """What may come next among properties; `words` are those of the body so far, braces and all."""
    given: set[str] = set()
    at = int(bool(words) and outermost and words[0] == "{")
    while at < len(words):
        own = _named(fields, words[at])
        if own is None:
            return
        at += 1
        if not isinstance(own.type, Toggle):
            if at == len(words):
                yield from _values(own, session)
                return
            end = at + 1 if own.type.shape is Shape.WORD else _behind(words, at)
            if end is None:
                yield from _inside(own, words[at:], session)
                return
            at = end
        given.add(own.word)
    yield from (
        Candidate(word, own.help, PROPERTIES) for own in fields if own.word not in given for word in own.input_words
    )
    yield from [Candidate("{", "Properties in braces", OPTIONS)] if outermost and not words else ()
    yield from [Candidate("}", "The end", OPTIONS)] if words and words.count("{") > words.count("}") else ()


def _named(fields: Sequence[Field], word: str) -> Field | None:
    by_word = {each: own for own in fields for each in own.input_words}
    found = matches(word, by_word)
    return by_word[found[0]] if len({by_word[each].word for each in found}) == 1 else None


def _behind(words: list[str], at: int) -> int | None:
    """Behind a list or members that begin at `at`; None when they don't end."""
    if words[at] in LIST_VERBS:
        at += 1
    if at == len(words):
        return None
    if words[at] != "{":
        return at + 1
    depth = 0
    for place in range(at, len(words)):
        depth += {"{": 1, "}": -1}.get(words[place], 0)
        if not depth:
            return place + 1
    return None


def _values(own: Field, session: Session) -> Iterator[Candidate]:
    kind = own.type
    if isinstance(kind, Choice):
        default = own.type.raw(own.default)
        yield from (Candidate(word, "the default" if word == default else "") for word in kind.words)
    elif isinstance(kind, Reference):
        yield from _names(KINDS[kind.target], session)
        yield from [Candidate(NONE, "No object")] if kind.none_allowed else ()
    elif isinstance(kind, Words | Members):
        yield Candidate("{", own.help)
        yield Candidate(NONE, "Nothing")
        yield from (Candidate(word, help) for word, help in LIST_VERBS.items())
        yield from (Candidate(word) for word in getattr(kind, "alone", ()))
    else:
        yield from (Candidate(word) for word in kind.words) if isinstance(kind, Integer) else ()
        yield Candidate("<value>", kind.expects)


def _inside(own: Field, words: list[str], session: Session) -> Iterator[Candidate]:
    """Within the braces of a list or of members."""
    if words[-1] in LIST_VERBS:
        yield Candidate("{", own.help)
        return
    start = words.index("{") + 1
    inner = words[start:]
    opened = _opened(inner)
    if opened is not None and isinstance(own.type, Members):
        yield from _body(own.type.fields, ["{", *inner[opened:]], session, outermost=True)
        return
    target = getattr(own.type, "target", None) or getattr(own.type, "suggests", None)
    yield from _names(KINDS[target], session) if target else [Candidate("<value>", own.type.expects)]
    yield Candidate("}", "The end", OPTIONS)


def _opened(words: list[str]) -> int | None:
    """Behind the brace that stands open in `words`; None when none does."""
    stack: list[int] = []
    for at, word in enumerate(words):
        if word == "{":
            stack.append(at + 1)
        elif word == "}" and stack:
            stack.pop()
    return stack[-1] if stack else None

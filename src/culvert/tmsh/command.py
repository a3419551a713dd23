"""One tmsh command: its words, what they ask of the control socket, and the text of the answer."""

import fnmatch
import sys
from collections import deque
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

from culvert.control.errors import SyntaxProblem
from culvert.model import text, tokens
from culvert.model.fields import Edit, Raw
from culvert.model.kind import Kind, Naming
from culvert.model.names import COMMON
from culvert.model.problems import BadSyntax
from culvert.model.registry import KINDS
from culvert.model.text import Style
from culvert.model.tokens import Block, Token, Word
from culvert.tmsh import format as layout

LIST_OPTIONS = ("all-properties", "non-default-properties", "one-line", "recursive", "current-module")
SHOW_OPTIONS = ("all-properties", "raw", "default", "recursive", "detail", "json")
UNDERSCORED = {"src_addr": "src-addr", "dst_addr": "dst-addr", "traffic_selector": "traffic-selector"}
SHOW_FILTERS = ("spi", "src-addr", "dst-addr", "traffic-selector")


class Caller(Protocol):
    """Whoever carries calls to the daemon: `control.client.Client`."""

    def call(self, name: str, /, **args: object) -> Any: ...


Words = deque[Token]


def run(line: str, client: Caller) -> str:
    """Run one command; the answer's text, without a line end. Raises ControlError."""
    try:
        items: Words = deque(tokens.parse(line))
        if not items:
            return ""
        verb = _word(items)
        command = COMMANDS.get(verb.text)
        if command is None:
            raise BadSyntax(f'unexpected argument "{verb.text}"')
        return command(items, client)
    except BadSyntax as error:
        place = (error.line, error.column) if error.line > 1 else (None, None)
        raise SyntaxProblem(error.sentence, *place) from None


def _create(items: Words, client: Caller) -> str:
    kind = _kind(items)
    if kind.path == ("cli", "transaction"):
        raise BadSyntax("transactions are not available yet")
    name = "" if kind.naming is Naming.SINGLE else _name(items, kind)
    return _warned(client.call("create", kind=kind.word, name=name, properties=_properties(kind, items)))


def _modify(items: Words, client: Caller) -> str:
    kind = _kind(items)
    names = [""] if kind.naming is Naming.SINGLE else [_name(items, kind)]
    properties = _properties(kind, items)
    return _warned(client.call("modify", kind=kind.word, names=_chosen(kind, names, client), properties=properties))


def _delete(items: Words, client: Caller) -> str:
    if _begins(items, "net", "ipsec", "ipsec-sa"):
        answer = client.call("delete-sas", filters=_filters(items, ()))
        return (
            f"{answer['reinstalled']} manual security associations were reinstalled from the configuration; "
            "their sequence numbers go on, so that none is used twice"
        )
    if _begins(items, "net", "ipsec", "ike-sa"):
        return "there are no negotiated security associations to delete"
    kind = _kind(items)
    names = [_name(items, kind)]
    while items:
        names.append(_name(items, kind))
    client.call("delete", kind=kind.word, names=_chosen(kind, names, client))
    return ""


def _list(items: Words, client: Caller) -> str:
    path, kind = _path(items)
    names: list[str] = []
    options: set[str] = set()
    only: list[str] = []
    while items:
        word = _word(items).text
        if word in LIST_OPTIONS:
            options.add(word)
        elif kind is not None and (own := kind.field(word)) and (names or kind.naming is Naming.SINGLE):
            only.append(own.word)
        elif kind is not None and kind.naming is not Naming.SINGLE:
            names.append(word)
        else:
            raise BadSyntax(f'unexpected argument "{word}"')
    if kind is None and path and not any(own[: len(path)] == path for own in KINDS):
        raise BadSyntax(f'unexpected argument "{path[-1]}"')
    wanted = names if names and names != ["all"] else None
    found = client.call("list", kind=" ".join(path), names=wanted)
    style = Style(COMMON, "all-properties" in options, "one-line" in options, tuple(only))
    return "\n".join(
        text.render(KINDS[tuple(own["kind"].split())], own["name"], own["properties"], style) for own in found
    )


def _show(items: Words, client: Caller) -> str:
    path: list[str] = []
    while items and isinstance(items[0], Word) and " ".join(path) not in layout.LAYOUTS:
        path.append(_word(items).text.removeprefix("/"))
    what = " ".join(path)
    if what not in layout.LAYOUTS:
        raise BadSyntax(f'unexpected argument "{path[-1] if path else "show"}"')
    options: set[str] = set()
    filters = _filters(items, SHOW_OPTIONS, options)
    records = client.call("show", what=what, filters=filters)
    return layout.lay_out(what, records, options)


def _save(items: Words, client: Caller) -> str:
    _expect(items, "sys", "config")
    arguments = [_word(items).text for _ in range(len(items))]
    if arguments[:1] == ["file"] and len(arguments) == 2:
        target = Path(arguments[1])
        content = client.call("text")
        _write_private(target, f"#TMSH-VERSION: culvert\n{content}")
        return f"Saving running configuration...\n  {target}"
    if [own for own in arguments if own not in ("partitions", "all")]:
        raise BadSyntax(f'unexpected argument "{arguments[0]}"')
    answer = client.call("save")
    return f"Saving running configuration...\n  generation {answer['generation']}"


def _load(items: Words, client: Caller) -> str:
    _expect(items, "sys", "config")
    arguments = deque(_word(items).text for _ in range(len(items)))
    flags: set[str] = set()
    source: Path | None = None
    while arguments:
        word = arguments.popleft()
        if word == "file" and arguments:
            source = Path(arguments.popleft())
        elif word in ("verify", "merge", "partitions", "all", "default"):
            flags.add(word)
        else:
            raise BadSyntax(f'unexpected argument "{word}"')
    content = "" if "default" in flags else _read(source) if source else None
    _warned(client.call("load", text=content, merge="merge" in flags, verify="verify" in flags))
    first = "Validating configuration..." if "verify" in flags else "Loading configuration..."
    return f"{first}\n  {source or 'the saved configuration'}"


def _warned(answer: Mapping[str, Any]) -> str:
    """What is unwise about a change goes where errors go, so that a script's output stays as it was."""
    for warning in answer["warnings"]:
        print(f"Warning: {warning}", file=sys.stderr, flush=True)
    return ""


def _run(items: Words, client: Caller) -> str:
    _expect(items, "sys", "counter-journal", "trust")
    if items:
        raise BadSyntax(f'unexpected argument "{_word(items).text}"')
    doubt = client.call("trust-counter-journal")["doubt"]
    return f"trusted from now on, though {doubt}" if doubt else "the counter journal is not in doubt"


def _reset_stats(items: Words, client: Caller) -> str:
    client.call("reset-stats")
    return ""


def _read(path: Path) -> str:
    try:
        return tokens.decode(path.read_bytes())
    except BadSyntax as error:
        raise SyntaxProblem(f"{path}: {error.sentence}", error.line, error.column) from None
    except OSError as error:
        raise BadSyntax(f"{path}: {error.strerror}") from None


def _write_private(path: Path, content: str) -> None:
    try:
        path.touch(mode=0o600)
        path.write_text(content)
    except OSError as error:
        raise BadSyntax(f"{path}: {error.strerror}") from None


def _word(items: Words) -> Word:
    token = items.popleft()
    if isinstance(token, Block):
        raise BadSyntax('unexpected argument "{"')
    return token


def _name(items: Words, kind: Kind) -> str:
    if not items:
        raise BadSyntax(f"a {kind.word} needs a name")
    return _word(items).text


def _begins(items: Words, *path: str) -> bool:
    words = [own.text.removeprefix("/") if isinstance(own, Word) else "" for own in list(items)[: len(path)]]
    if tuple(words) != path:
        return False
    for _ in path:
        items.popleft()
    return True


def _expect(items: Words, *path: str) -> None:
    if not _begins(items, *path):
        raise BadSyntax(f'unexpected argument "{_word(items).text}"' if items else "incomplete command")


def _path(items: Words) -> tuple[tuple[str, ...], Kind | None]:
    """The module path that the words begin with, as far as there is one, and the kind at its end."""
    words = [own.text for own in items if isinstance(own, Word)]
    if words:
        words[0] = words[0].removeprefix("/")
    found = text.find_kind(words, KINDS)
    count = found[1] if found else 0
    if not found:
        modules = {path[:size] for path in KINDS for size in range(1, len(path))}
        count = next((size for size in range(len(words), 0, -1) if tuple(words[:size]) in modules), 0)
    for _ in range(count):
        items.popleft()
    return tuple(words[:count]), found[0] if found else None


def _kind(items: Words) -> Kind:
    _, kind = _path(items)
    if kind is None:
        raise BadSyntax(f'unexpected argument "{_word(items).text}"' if items else "incomplete command")
    return kind


def _properties(kind: Kind, items: Words) -> dict[str, Any]:
    rest = list(items)
    if len(rest) == 1 and isinstance(rest[0], Block):
        rest = list(rest[0].items)
    return {word: _json(raw) for word, raw in text.properties(kind.fields, rest).items()}


def _json(raw: Raw) -> Any:
    return {"verb": raw.verb.value, "items": list(raw.items)} if isinstance(raw, Edit) else raw


def _chosen(kind: Kind, names: list[str], client: Caller) -> list[str]:
    if not any(c in name for name in names for c in "*?["):
        return names
    found = [own["name"] for own in client.call("list", kind=kind.word)]
    chosen = [own for name in names for own in fnmatch.filter(found, name if "/" in name else f"{COMMON}/{name}")]
    if not chosen:
        raise BadSyntax(f"no {kind.word} is called {' '.join(names)}")
    return chosen


def _filters(items: Words, options: tuple[str, ...], chosen: set[str] | None = None) -> dict[str, str]:
    filters: dict[str, str] = {}
    while items:
        word = _word(items).text
        word = UNDERSCORED.get(word, word)
        if word in options and chosen is not None:
            chosen.add(word)
        elif word in SHOW_FILTERS:
            if not items:
                raise BadSyntax(f'"{word}" needs a value')
            filters[word] = _word(items).text
        else:
            raise BadSyntax(f'unexpected argument "{word}"')
    return filters


COMMANDS: Mapping[str, Callable[[Words, Caller], str]] = {
    "create": _create,
    "modify": _modify,
    "delete": _delete,
    "list": _list,
    "show": _show,
    "save": _save,
    "load": _load,
    "reset-stats": _reset_stats,
    "run": _run,
}

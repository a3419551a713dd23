"""The brace language of saved files and `list`: one reader and one writer, driven by the schema.

    net ipsec ipsec-policy /Common/pol-out {
        mode tunnel
        tunnel-local-address 2.2.2.2
    }

`read` makes drafts (kind, name, raw properties); `render` writes raw properties back. parse(render(x)) is x.
"""

from collections import deque
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache

from culvert.model import clear_keys, foreign, names, regular, tokens
from culvert.model.fields import NONE, Edit, Field, Key, Members, Raw, Shape, Toggle, Verb, Words
from culvert.model.kind import Kind, Naming
from culvert.model.problems import BadSyntax, Problem
from culvert.model.tokens import Block, Token, Word, quote

INDENT = "    "
PROBLEMS_MAX = 100
"""A file with more problems than this is told no more of them."""


@dataclass(slots=True)
class Draft:
    """An object as written: properties in raw form by word, and where each stands in the text."""

    kind: Kind
    name: str
    raw: dict[str, Raw] = field(default_factory=dict)
    places: dict[str, tuple[int, int]] = field(default_factory=dict)
    kept: list[str] = field(default_factory=list)
    line: int = 0
    column: int = 0


@dataclass(slots=True)
class Reading:
    """What a file says: whole drafts, those of stanzas in which something can't be read, and every problem found.

    `unknown`: names in headers that can't be read. `whole`: the file was read to its end.
    """

    drafts: list[Draft] = field(default_factory=list)
    broken: list[Draft] = field(default_factory=list)
    unknown: set[str] = field(default_factory=set)
    problems: list[Problem] = field(default_factory=list)
    whole: bool = True


@dataclass(frozen=True, slots=True)
class Style:
    """How `render` writes. `folder` None: full paths, as in saved files; else names relative to it."""

    folder: str | None = None
    everything: bool = False
    one_line: bool = False
    only: tuple[str, ...] = ()
    partition: bool = False


def read(text: str, kinds: Mapping[tuple[str, ...], Kind]) -> tuple[list[Draft], list[Problem]]:
    """The drafts of a file, and every problem that kept a stanza from being one.

    Stanzas that no kind knows become drafts of the kind `foreign`, unless they are of IPsec.
    """
    reading = read_all(text, kinds)
    return reading.drafts, reading.problems


def read_all(text: str, kinds: Mapping[tuple[str, ...], Kind]) -> Reading:
    """As `read`, and what is left of stanzas that have problems."""
    try:
        tokens.refuse_octets(text)
    except BadSyntax as error:
        return Reading(problems=[_problem(error)], whole=False)
    text, strangers = foreign.cut(text, kinds)
    reading = Reading()
    for own in strangers:
        _keep(own, reading)
    try:
        _read_stanzas(text, kinds, reading)
    except BadSyntax as error:
        reading.problems.append(_problem(error))
        reading.whole = False
    return reading


def _read_stanzas(text: str, kinds: Mapping[tuple[str, ...], Kind], reading: Reading) -> None:
    """All of them, each by the quickest way that does. Raises BadSyntax where nobody can tell where the next begins."""
    at, line = 0, 1
    while at < len(text):
        if found := regular.read(text, at, line, kinds):
            places, at, last_line = found.places, found.end, found.last_line
            reading.drafts.append(Draft(found.kind, found.name, found.raw, places, line=found.line, column=1))
            line = last_line
            continue
        header, body = next(_stanzas(tokens.items(text, at, line)), ([], None))
        if header:
            _read_stanza(header, body, kinds, reading)
        if body is None:
            return
        at, line = body.end, body.last_line
        if len(reading.problems) >= PROBLEMS_MAX:
            reading.whole = False
            return


def _read_stanza(
    header: list[Word], body: Block | None, kinds: Mapping[tuple[str, ...], Kind], reading: Reading
) -> None:
    errors: list[BadSyntax] = []
    try:
        draft = _draft(header, body, kinds, errors)
    except BadSyntax as error:
        reading.problems.append(_problem(error))
        reading.unknown |= {word.text for word in header[-1:]}
        return
    (reading.broken if errors else reading.drafts).append(draft)
    reading.problems += map(_problem, errors[: PROBLEMS_MAX - len(reading.problems)])


def _problem(error: BadSyntax) -> Problem:
    return Problem(error.sentence, line=error.line, column=error.column)


def _keep(stanza: foreign.Stanza, reading: Reading) -> None:
    """A foreign stanza among the drafts, unless it holds what may not be kept."""
    of_ipsec = tuple(stanza.header.split()[:2]) == foreign.IPSEC
    program = foreign.is_program(stanza.header.split())
    if stanza.swallows:
        reading.problems.append(Problem('a "}" is missing before this stanza', line=stanza.swallows, column=1))
        reading.whole = False
        return
    problems = [] if program else list(clear_keys.problems(stanza.text, stanza.line, of_ipsec=of_ipsec))
    if problems:
        reading.problems += [own.of(foreign.FOREIGN_KIND.title, stanza.header) for own in problems]
        reading.unknown.add(stanza.header.split()[-1])
    else:
        reading.drafts.append(_stranger(stanza))


def _stranger(stanza: foreign.Stanza) -> Draft:
    places = {"text": (stanza.line, 1)}
    return Draft(foreign.FOREIGN_KIND, stanza.header, {"text": stanza.text}, line=stanza.line, column=1, places=places)


def find_kind(words: Sequence[str], kinds: Mapping[tuple[str, ...], Kind]) -> tuple[Kind, int] | None:
    """The kind whose path `words` begin with, the longest if several, and its number of words."""
    longest = max(map(len, kinds), default=0)
    for count in range(min(len(words), longest), 0, -1):
        if kind := kinds.get(tuple(words[:count])):
            return kind, count
    return None


@cache
def _by_word(fields: tuple[Field, ...]) -> Mapping[str, Field]:
    return {word: own for own in fields for word in own.input_words}


def properties(
    fields: Sequence[Field],
    items: Sequence[Token],
    places: dict[str, tuple[int, int]] | None = None,
    *,
    abbreviated: bool = False,
    kept: list[str] | None = None,
    errors: list[BadSyntax] | None = None,
) -> dict[str, Raw]:
    """Raw properties out of the tokens of a body. Raises BadSyntax at the token that does not fit.

    `errors`: it goes there instead, and reading goes on in the next line.
    `abbreviated`: the beginning of a property's word stands for it where no other begins so, as people type.
    `kept`: unknown properties go there as lines, instead of being refused.
    """
    by_word = _by_word(tuple(fields))
    raw: dict[str, Raw] = {}
    rest = deque(items)
    bare_key, its_line = "", 0
    while rest:
        head = rest.popleft()
        if abbreviated:
            head = _whole(head, by_word)
        own = by_word.get(head.text) if isinstance(head, Word) else None
        if own is None and kept is not None and isinstance(head, Word) and not _begins_a_stanza(head):
            kept += foreign.kept(head, _same_line(head, rest))
            continue
        try:
            own = _fresh(own, head, raw, bare_key if head.line == its_line else "")
            open_ended = isinstance(own.type, Key) and rest and _is_bare(rest[0])
            bare_key, its_line = (own.word, rest[0].line) if open_ended else ("", 0)
            raw[own.word] = _value(own, head, rest, errors)
        except BadSyntax as error:
            if errors is None:
                raise
            errors.append(error)
            if len(errors) >= PROBLEMS_MAX:
                break
            _skip_line(max(head.line, error.line), rest)
            continue
        if places is not None:
            places[own.word] = (head.line, head.column)
    return raw


def _begins_a_stanza(head: Word) -> bool:
    """Whether a word inside a stanza can only be the first of another, which must not be taken for a property."""
    return head.column == 1 and head.line > 1 and head.text in foreign.MODULES


def _is_bare(key: Token) -> bool:
    """Whether key text has neither quotes nor a form that shows where it ends: it may go on in the next word."""
    return isinstance(key, Word) and not key.quoted and not key.text.lower().startswith(("0x", "$m$"))


def _fresh(own: Field | None, head: Token, raw: Mapping[str, Raw], bare_key: str) -> Field:
    """The field that `head` names, if it does and wasn't named before. What may be more of a key is not quoted."""
    if isinstance(head, Block):
        raise BadSyntax('unexpected argument "{"', head.line, head.column)
    if own is None and _begins_a_stanza(head):
        raise BadSyntax(f'unexpected argument "{head.text}": a "}}" is missing before it', head.line, head.column)
    if own is None and bare_key:
        sentence = f'an unknown property behind "{bare_key}"; a key with spaces stands in double quotes'
        raise BadSyntax(sentence, head.line, head.column)
    if own is None:
        raise BadSyntax(f'"{head.text}" unknown property', head.line, head.column)
    if own.word in raw:
        raise BadSyntax(f'"{head.text}" is given twice', head.line, head.column)
    return own


def _skip_line(line: int, rest: deque[Token]) -> None:
    while rest and rest[0].line <= line:
        rest.popleft()


def _same_line(head: Word, rest: deque[Token]) -> list[Token]:
    """What follows a word on its line, a block being the last of it; taken from `rest`."""
    found: list[Token] = []
    while rest and rest[0].line == head.line and not (found and isinstance(found[-1], Block)):
        found.append(rest.popleft())
    return found


def _whole(head: Token, known: Mapping[str, Field]) -> Token:
    """The property's word that `head` is or alone begins; `head` itself when there is none."""
    if isinstance(head, Block):
        return head
    begun = [word for word in known if word.startswith(head.text)]
    if head.text in known or not begun:
        return head
    if len({known[word].word for word in begun}) > 1:
        raise BadSyntax(f'"{head.text}" may be {", ".join(sorted(begun))}', head.line, head.column)
    return head._replace(text=begun[0])


def _value(own: Field, head: Token, rest: deque[Token], errors: list[BadSyntax] | None) -> Raw:
    assert isinstance(head, Word)
    if isinstance(own.type, Toggle):
        return head.text == own.type.on
    if not rest:
        raise BadSyntax(f'"{head.text}" needs a value: {own.type.expects}', head.line, head.column)
    token = rest.popleft()
    if own.type.shape is Shape.WORD:
        if isinstance(token, Block):
            raise BadSyntax(f'"{head.text}" takes one value, not braces', token.line, token.column)
        return token.text
    if isinstance(token, Block):
        return _items(own, token, errors)
    verbs = {verb.value: verb for verb in Verb}
    if token.text in verbs and rest and isinstance(rest[0], Block):
        block = rest.popleft()
        assert isinstance(block, Block)
        if not block.items:
            raise BadSyntax(f'"{token.text}" needs at least one item', block.line, block.column)
        items = tuple(_items(own, block, errors))
        return list(items) if verbs[token.text] is Verb.REPLACE else Edit(verbs[token.text], items)
    if isinstance(own.type, Words) or token.text == NONE:
        return token.text
    raise BadSyntax(f'"{head.text}" takes names in braces', token.line, token.column)


def _items(own: Field, block: Block, errors: list[BadSyntax] | None) -> list[Raw]:
    items: list[Raw] = []
    rest = deque(block.items)
    while rest:
        token = rest.popleft()
        if isinstance(token, Block):
            raise BadSyntax('unexpected argument "{"', token.line, token.column)
        if not isinstance(own.type, Members):
            items.append(token.text)
            continue
        inner: dict[str, Raw] = {"name": token.text}
        if rest and isinstance(rest[0], Block):
            body = rest.popleft()
            assert isinstance(body, Block)
            inner |= properties(own.type.fields, body.items, errors=errors)
        items.append(inner)
    return items


def _stanzas(top: Iterable[Token]) -> Iterator[tuple[list[Word], Block | None]]:
    header: list[Word] = []
    for token in top:
        if isinstance(token, Word):
            header.append(token)
        else:
            yield header, token
            header = []
    if header:
        yield header, None


def _draft(
    header: list[Word], body: Block | None, kinds: Mapping[tuple[str, ...], Kind], errors: list[BadSyntax]
) -> Draft:
    if not header:
        assert body is not None
        raise BadSyntax('unexpected argument "{"', body.line, body.column)
    first = header[0]
    found = find_kind([word.text for word in header], kinds)
    if found is None:
        stray = _stray(header, kinds)
        raise BadSyntax(f'unexpected argument "{stray.text}"', stray.line, stray.column)
    kind, count = found
    rest = deque(header[count:])
    name = ""
    if kind.naming is not Naming.SINGLE:
        if not rest:
            raise BadSyntax(f"a {kind.word} needs a name", first.line, first.column)
        name = rest.popleft().text
    if rest:
        raise BadSyntax(f'unexpected argument "{rest[0].text}"', rest[0].line, rest[0].column)
    if body is None:
        raise BadSyntax(f"{kind.word} {name}: braces are missing", first.line, first.column)
    draft = Draft(kind, name, line=first.line, column=first.column)
    kept = draft.kept if kind.keeps else None
    items = _without_partition(kind, body.items)
    draft.raw = properties(kind.fields, items, draft.places, kept=kept, errors=errors)
    hidden = next(clear_keys.problems("\n".join(draft.kept), 0, of_ipsec=False), None) if draft.kept else None
    if hidden is not None:
        errors.append(BadSyntax(f"{hidden.word}: {hidden.sentence}", first.line, first.column))
    return draft


def _without_partition(kind: Kind, items: Sequence[Token]) -> Sequence[Token]:
    """A body without the line `partition P`, which `list` prints: the name says that already."""
    if kind.naming not in (Naming.FOLDER, Naming.LOOSE):
        return items
    words = [item.text if isinstance(item, Word) else "" for item in items]
    first_of_line = (at for at, item in enumerate(items) if not at or items[at - 1].line < item.line)
    at = next((at for at in first_of_line if words[at] == "partition" and at + 1 < len(items)), None)
    return items if at is None else [*items[:at], *items[at + 2 :]]


def _stray(header: list[Word], kinds: Mapping[tuple[str, ...], Kind]) -> Word:
    """The word of a header from which on it leads nowhere."""
    for count in range(1, len(header) + 1):
        path = tuple(word.text for word in header[:count])
        if not any(own[:count] == path for own in kinds):
            return header[count - 1]
    return header[-1]


def render(
    kind: Kind, name: str, raw: Mapping[str, Raw], style: Style, kept: Sequence[str] = (), said: Container[str] = ()
) -> str:
    """One stanza, without a line end. Fields that `raw` lacks are left out; `kept` lines stand among the others.

    `said`: defaults that are written all the same, by word or by "word member word".
    """
    if kind.path == foreign.FOREIGN:
        return str(raw["text"])
    head = [*kind.path]
    if kind.naming is not Naming.SINGLE:
        head.append(quote(name if style.folder is None else names.relative(name, style.folder)))
    entries = [
        (own.beyond, _head(own, raw[own.word]), _lines(own, raw[own.word], style, said))
        for own in kind.fields
        if own.word in raw and _listed(own, raw, style, own.word in said)
    ]
    entries += [] if style.only else [(False, lines[0], lines) for lines in _paragraphs(kept)]
    if _has_partition_line(kind, name, style):
        entries.append((False, "partition", [f"partition {names.partition(name)}"]))
    lines = [line for *_, own_lines in sorted(entries) for line in own_lines]
    if not lines:
        return f"{' '.join(head)} {{ }}"
    if style.one_line:
        return f"{' '.join(head)} {{ {' '.join(line.strip() for line in lines)} }}"
    return "\n".join([f"{' '.join(head)} {{", *(INDENT + line for line in lines), "}"])


def _has_partition_line(kind: Kind, name: str, style: Style) -> bool:
    """Of an object elsewhere than in the current folder's partition, and wherever somebody asks."""
    if style.folder is None or style.only or kind.naming not in (Naming.FOLDER, Naming.LOOSE):
        return style.partition and bool(names.partition(name))
    elsewhere = names.partition(name) != (names.partition(f"{style.folder}/") or names.partition(names.COMMON + "/"))
    return style.partition or elsewhere or (kind.partitioned and style.everything)


def _paragraphs(kept: Sequence[str]) -> Iterator[list[str]]:
    """Kept lines by property: a line that isn't indented begins one, unless it only closes it."""
    found: list[str] = []
    for line in kept:
        if found and not line.startswith((" ", "}")):
            yield found
            found = []
        found.append(line)
    if found:
        yield found


def _head(own: Field, raw: Raw) -> str:
    if isinstance(own.type, Toggle):
        return own.type.on if raw else own.type.off
    return own.shown


def _listed(own: Field, raw: Mapping[str, Raw], style: Style, said: bool) -> bool:
    if style.only:
        return own.word in style.only
    if isinstance(own.type, Toggle) and not _head(own, raw[own.word]):
        return False
    if style.everything or own.always or own.required or said:
        return True
    return bool(raw[own.word] != own.type.raw(own.default))


def _lines(own: Field, raw: Raw, style: Style, said: Container[str] = ()) -> list[str]:
    if isinstance(own.type, Toggle):
        return [_head(own, raw)]
    if own.type.shape is Shape.WORD:
        return [f"{own.shown} {quote(_short(own, raw, style))}"]
    if not raw:
        return [f"{own.shown} {NONE}"]
    if isinstance(own.type, Members):
        return _block(own.shown, [line for member in raw for line in _member(own, own.type, member, style, said)])
    assert isinstance(own.type, Words)
    words = [quote(_short(own, word, style)) for word in raw]
    if raw[0] in own.type.alone:
        return [f"{own.shown} {words[0]}"]
    if own.type.per_line:
        return _block(own.shown, words)
    return [f"{own.shown} {{ {' '.join(words)} }}"]


def _member(own: Field, members: Members, raw: Mapping[str, Raw], style: Style, said: Container[str]) -> list[str]:
    inner = Style(style.folder, style.everything, style.one_line)
    lines = [
        line
        for field_ in sorted(members.fields, key=lambda field_: field_.shown)
        if _listed(field_, raw, inner, f"{own.word} {raw['name']} {field_.word}" in said)
        for line in _lines(field_, raw[field_.word], inner)
    ]
    return _block(quote(_short(own, str(raw["name"]), style)), lines)


def _block(head: str, lines: Sequence[str]) -> list[str]:
    if not lines:
        return [f"{head} {{ }}"]
    return [f"{head} {{", *(INDENT + line for line in lines), "}"]


def _short(own: Field, text: str, style: Style) -> str:
    short = getattr(own.type, "short", None)
    return text if style.folder is None or short is None or text == NONE else str(short(text, style.folder))

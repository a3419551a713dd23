"""Forms out of the model: raw properties as the rows of a screen, and what was typed as raw properties again."""

from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import count
from typing import Any

from culvert.model.fields import (
    NONE,
    Choice,
    Field,
    Integer,
    Key,
    Members,
    OneAddress,
    Prefix,
    Reference,
    Text,
    Toggle,
    Words,
)
from culvert.model.kind import Kind, Path
from culvert.model.passwords import Password
from culvert.web.screens import HINTS, PICKS, RELATED, Option, Screen
from culvert.web.visit import Form

Raw = Any
PARTITION: Path = ("auth", "partition")
OTHER = "*other"
"""A list's value for what is typed beside it: no name can be that."""
NAMES_MOST = 200
LABELS = {
    "auth-algorithm": "Authentication Algorithm",
    "description": "Description",
    "enabled": "State",
    "encrypt-algorithm": "Encryption Algorithm",
}
INITIALS = frozenset((
    *("ah", "arp", "cpi", "df", "dscp", "ecn", "esn", "esp", "gui", "icmp"),
    *("id", "ike", "ip", "isakmp", "mss", "mtu", "nat", "pid", "pmtu", "sa"),
    *("spi", "ssh", "tcp", "tfc", "tm", "tos", "udp", "vlan"),
))  # fmt: skip
SPELLED = {"app": "Application", "ipcomp": "IPComp", "ipsec": "IPsec", "natt": "NAT-T", "vlans": "VLANs"}
"""Words of properties that have no label of their own, as people write them."""

Names = Callable[[Path], Sequence[str]]
"""The names of the objects of a kind, NAMES_MOST + 1 at most."""


@dataclass(frozen=True, slots=True)
class Cell:
    """One member of a list of members: its name, and a row for each of its fields."""

    name: "Row"
    fields: "tuple[Row, ...]"


@dataclass(frozen=True, slots=True)
class Row:
    """One field of a form as a template draws it. `refreshes`: other fields come and go with its value."""

    name: str
    label: str
    hint: str
    widget: str
    value: Raw = ""
    options: tuple[Option, ...] = ()
    other: bool = False
    required: bool = False
    beyond: bool = False
    refreshes: bool = False
    several: bool = False
    errors: tuple[str, ...] = ()
    members: tuple[Cell, ...] = ()
    source: str = ""
    lost: bool = False


@dataclass(frozen=True, slots=True)
class Part:
    """A section of a form with the rows that are shown now."""

    title: str
    rows: tuple[Row, ...]


@dataclass(slots=True)
class Filled:
    """A screen with values. `raw` is in the form's own fields; `errors` by the words of those.

    `lost`: words of secrets that were typed and have to be typed again, because they are never sent back.
    """

    screen: Screen
    raw: Mapping[str, Raw]
    advanced: bool
    names: Names
    errors: Mapping[str, Sequence[str]] = field(default_factory=dict)
    lost: Container[str] = ()

    def parts(self) -> list[Part]:
        """The sections that have anything to show."""
        found, told = [], set()
        for section in self.screen.sections:
            words = [*section.words, *(section.advanced if self.advanced else ())]
            found.append(Part(section.title, tuple(self._rows(words))))
            told |= {*section.words, *section.advanced}
        if self.advanced:
            rest = [word for word in fields_of(self.screen) if word not in told]
            last = found.pop() if found and not found[-1].rows else Part("More", ())
            found.append(Part(last.title, tuple(self._rows(rest))))
        return [own for own in found if own.rows]

    @property
    def has_advanced(self) -> bool:
        """Whether Advanced shows more than Basic."""
        basic = {word for section in self.screen.sections for word in section.words}
        return any(word not in basic for word in fields_of(self.screen))

    def _rows(self, words: Sequence[str]) -> Iterator[Row]:
        known = fields_of(self.screen)
        for word in words:
            if word in known and self._belongs(word):
                yield self._row(known[word])

    def _belongs(self, word: str) -> bool:
        wanted = RELATED.get(self.screen.kind.path, {}).get(word, {})
        return word in self.errors or all(str(self.raw.get(other)) in values for other, values in wanted.items())

    def _row(self, own: Field) -> Row:
        path, word = self.screen.kind.path, own.word
        value = self.raw.get(word, own.type.raw(own.default) if own.default is not None else NONE)
        widget, options, other, several = self._widget(own, value)
        chosen = {each for needs in RELATED.get(path, {}).values() for each in needs}
        hint = HINTS.get(path, {}).get(word) or own.help
        return Row(
            name=word,
            label=label(own),
            hint=hint,
            widget=widget,
            value=_shown(own, value),
            options=options,
            other=other,
            required=own.required,
            beyond=own.beyond,
            refreshes=word in chosen,
            several=several,
            errors=tuple(self.errors.get(word, ())),
            members=self._members(own, value) if isinstance(own.type, Members) else (),
            source="/".join(_target(own) or ()),
            lost=word in self.lost,
        )

    def _widget(self, own: Field, value: Raw) -> tuple[str, tuple[Option, ...], bool, bool]:
        """The template's macro, its options, whether something else may be typed, whether several may be chosen."""
        kind, word = self.screen.kind, own.word
        if (picks := PICKS.get(kind.path, {}).get(word)) is not None:
            more = not isinstance(own.type, Choice) or len(own.type.words) > len(picks)
            return "pick", picks, more, False
        if isinstance(own.type, Choice):
            return "pick", tuple((each, each) for each in own.type.words), False, False
        if isinstance(own.type, Toggle):
            return "pick", _toggle(own.type), False, False
        if is_secret(own):
            return "secret", (), False, False
        if isinstance(own.type, Members):
            return "members", (), False, True
        target = _target(own)
        if target is not None:
            return self._named(own, target, value)
        if isinstance(own.type, Words):
            return "lines", (), False, True
        if isinstance(own.type, Integer) and own.type.words and len(own.type.words) < 12 and own.type.show_words:
            return "line", tuple((each, each) for each in own.type.words), True, False
        return "line", (), True, False

    def _named(self, own: Field, target: Path, value: Raw) -> tuple[str, tuple[Option, ...], bool, bool]:
        found = list(self.names(target))
        several = isinstance(own.type, Words)
        held = [str(each) for each in value] if several else [str(value)] if value not in (NONE, "") else []
        if len(found) > NAMES_MOST:
            return ("lines" if several else "name"), tuple((each, each) for each in found), True, several
        names = [*found, *(each for each in held if each not in found)]
        empty = (("", "None" if getattr(own.type, "none_allowed", False) else "Select..."),) if not several else ()
        return ("boxes" if several else "pick"), (*empty, *((each, short(each)) for each in names)), False, several

    def _members(self, own: Field, value: Raw) -> tuple[Cell, ...]:
        assert isinstance(own.type, Members)
        held = [each if isinstance(each, Mapping) else {"name": each} for each in (value if value != NONE else [])]
        cells = []
        target = own.type.target or own.type.suggests
        names = tuple((each, short(each)) for each in self.names(target)) if target else ()
        if own.word == "partition-access":
            target = PARTITION
            places = [str(each) for each in self.names(target)]
            names = tuple((each, each) for each in ("all-partitions", *places))
        widget = "name" if len(names) > NAMES_MOST else "pick" if names else "line"
        for number, each in enumerate([*held, {"name": ""}]):
            stem, source = f"{own.word}.{number}", "/".join(target or ())
            options = (("", ""), *names) if widget == "pick" else names
            shown = Row(f"{stem}.name", f"{label(own)} {number + 1}", "", widget, each["name"], options)
            name = replace(shown, other=bool(own.type.suggests), source=source)
            fields = tuple(_cell(f"{stem}.{inner.word}", inner, each, number + 1) for inner in own.type.fields)
            cells.append(Cell(name, fields))
        return tuple(cells)


def _cell(name: str, own: Field, member: Mapping[str, Raw], number: int) -> Row:
    value = member.get(own.word, own.type.raw(own.default))
    options: tuple[Option, ...] = ()
    if isinstance(own.type, Choice):
        options = tuple((each, each) for each in own.type.words)
    elif isinstance(own.type, Toggle):
        options = _toggle(own.type)
    widget = "pick" if options else "line"
    return Row(name, f"{label(own)} {number}", own.help, widget, _shown(own, value), options)


def _toggle(toggle: Toggle) -> tuple[Option, ...]:
    """Yes first where yes is what it mostly is, as the vendor's lists have it."""
    return ((toggle.on, toggle.on.capitalize()), (toggle.off or NONE, (toggle.off or "no").capitalize()))


def _target(own: Field) -> Path | None:
    return own.type.target if isinstance(own.type, Reference | Words) else None


def _shown(own: Field, value: Raw) -> Raw:
    """A raw value as an input has it. A key is never there."""
    if is_secret(own):
        return "set" if value not in (NONE, "") else ""
    if isinstance(own.type, Toggle):
        return own.type.on if value is True or value == own.type.on else own.type.off or NONE
    if isinstance(value, list | tuple):
        return [str(each["name"] if isinstance(each, Mapping) else each) for each in value]
    if value == NONE and NONE not in getattr(own.type, "words", ()):
        return ""
    return str(value)


def label(own: Field) -> str:
    """A field's name as the screens have it."""
    return own.label or LABELS.get(own.word) or " ".join(map(_spelled, own.word.split("-")))


def _spelled(word: str) -> str:
    return SPELLED.get(word) or (word.upper() if word in INITIALS else word.capitalize())


def short(name: str) -> str:
    return name.removeprefix("/Common/") or name


def fields_of(screen: Screen) -> dict[str, Field]:
    """The fields of a form by their words: the model's, with the codec's in place of those that it speaks for."""
    codec = screen.codec
    own = [each for each in screen.kind.fields if codec is None or each.word not in codec.hides]
    return {each.word: each for each in [*(codec.fields if codec else ()), *own]}


def untouched(screen: Screen) -> dict[str, Raw]:
    """What the form of a new object begins with."""
    return {word: NONE if own.default is None else own.type.raw(own.default) for word, own in fields_of(screen).items()}


def typed(screen: Screen, form: Form) -> dict[str, Raw]:
    """What a form gave, in the form's own fields. A field that wasn't in it isn't here; nor is a key left empty."""
    found: dict[str, Raw] = {}
    for word, own in fields_of(screen).items():
        if isinstance(own.type, Members):
            if f"{word}." in form or f"{word}.0.name" in form:
                found[word] = _typed_members(own, form)
        elif isinstance(own.type, Words):
            if f"{word}." in form:
                found[word] = _typed_words(own.type, form.every(word))
        elif word in form:
            found |= _typed_one(own, form)
    return found


def _typed_one(own: Field, form: Form) -> dict[str, Raw]:
    if is_secret(own):
        secret = form.one(own.word)
        return {own.word: secret} if secret else {}
    text = _one(form, own.word)
    if isinstance(own.type, Toggle):
        return {own.word: text == own.type.on}
    return {own.word: text if text or not _nothing(own) else NONE}


def without_secrets(screen: Screen, given: Mapping[str, Raw]) -> dict[str, Raw]:
    """What a form that is drawn again may show of what was typed: of a key or password, nothing."""
    return {word: value for word, value in given.items() if not is_secret(fields_of(screen)[word])}


def is_secret(own: Field) -> bool:
    """Whether nothing of a field's value is ever shown."""
    return isinstance(own.type, Key | Password)


def _one(form: Form, word: str) -> str:
    """A field's value; what was typed behind Other where the list says so."""
    text = form.one(word)
    return (form.one(f"{word}.other") if text == OTHER and f"{word}.other" in form else text).strip()


def _nothing(own: Field) -> bool:
    """Whether an empty field means that nothing is wanted, rather than the default or a mistake."""
    return not isinstance(own.type, OneAddress | Reference) or own.type.none_allowed


def _typed_words(words: Words, values: Sequence[str]) -> list[str]:
    if words.target is None:
        return [each for value in values for each in value.replace(",", " ").split()]
    # Names of objects may hold spaces.
    return [each.strip() for value in values for each in value.replace(",", "\n").splitlines() if each.strip()]


def _typed_members(own: Field, form: Form) -> list[dict[str, Raw]]:
    assert isinstance(own.type, Members)
    found = []
    for number in count():
        if f"{own.word}.{number}.name" not in form:
            break
        name = _one(form, f"{own.word}.{number}.name")
        if not name:
            continue
        member: dict[str, Raw] = {"name": name}
        for inner in own.type.fields:
            text = _one(form, f"{own.word}.{number}.{inner.word}")
            member[inner.word] = text == inner.type.on if isinstance(inner.type, Toggle) else text
        found.append(member)
    return found


def wanted(screen: Screen, before: Mapping[str, Raw], given: Mapping[str, Raw]) -> dict[str, Raw]:
    """The properties to ask for: of what was `given` in the form, that which isn't so `before` it. Raises BadField.

    An empty required field isn't asked for, so that culvertd says that it is missing.
    """
    known = fields_of(screen)
    changed = {
        word: value
        for word, value in given.items()
        if not _same(known[word], before.get(word), value) and not (value in ("", NONE) and known[word].required)
    }
    if screen.codec is None:
        return changed
    if {each.word for each in screen.codec.fields} & changed.keys():
        whole = {**before, **given}
        spoken = {each.word for each in screen.codec.fields} | screen.codec.hides
        return screen.codec.read({word: value for word, value in whole.items() if word in spoken or word in changed})
    return {word: value for word, value in changed.items() if word not in screen.codec.hides}


def _same(own: Field, before: Raw, value: Raw) -> bool:
    if is_secret(own):
        return False
    if isinstance(own.type, Members | Words):
        return _list(before) == _list(value)
    if isinstance(own.type, Toggle):
        return bool(before) is bool(value)
    if before in ("", NONE, None):
        return value in ("", NONE)
    if isinstance(own.type, Text):
        # What stands at either end of a text is left to whoever put it there.
        return bool(str(before).strip() == value)
    if isinstance(own.type, Prefix) and isinstance(before, str):
        return before in (value, f"{value}/32", f"{value}/128")
    return bool(before == value)


def _list(value: Raw) -> list[Raw]:
    return [] if value in (NONE, None, "") else list(value)


def by_field(
    screen: Screen, problems: Sequence[Mapping[str, str]], name: str
) -> tuple[dict[str, list[str]], list[str]]:
    """What is wrong by the fields that it is about, and what is about none of them."""
    codec, known = screen.codec, fields_of(screen)
    found: dict[str, list[str]] = {}
    others = []
    for own in problems:
        # A sentence about several properties at once begins with the one that it is mostly about.
        word = own["word"] or own["sentence"].partition(" ")[0].rstrip(",")
        word = codec.words.get(word, word) if codec else word
        if word in known and own["title"] in ("", screen.kind.title) and own["name"] in ("", name):
            found.setdefault(word, []).append(own["sentence"])
        elif not own["word"] and not own["name"] and own["title"] == screen.kind.title:
            found.setdefault("name", []).append(own["sentence"])
        else:
            owner = f"{own['title']} ({own['name']}): " if own["name"] and own["name"] != name else ""
            others.append(f"{owner}{own['word'] + ': ' if own['word'] else ''}{own['sentence']}")
    return found, others


def values_of(screen: Screen, kind: Kind, properties: Mapping[str, Raw]) -> dict[str, Raw]:
    """An object's properties, as `list` gives them, in the form's own fields."""
    return screen.codec.show(properties) if screen.codec else dict(properties)

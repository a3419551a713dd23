"""Field types: what a property's value may be, how it is read from raw form and written back to it.

Raw form is what tmsh words, saved files and JSON all become: a string, True/False, a list of strings, or a list
of member dicts that have a `name`. A change of a list or of members is an `Edit`. `parse` takes raw
form to a value or raises BadValue with what was given and what is allowed; `raw` is its inverse.
"""

import unicodedata
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Protocol

from culvert.ipsec.secret import Secret
from culvert.model import names
from culvert.model.problems import BadValue
from culvert.model.values import (
    Address,
    Interface,
    KeyText,
    parse_address,
    parse_interface,
    parse_network,
    parse_number,
)

Raw = Any
Value = Any
NONE = "none"
TEXT_MAX = 1023
_UNWELCOME = ("Cc", "Cf", "Cs", "Zl", "Zp")


class Sealer(Protocol):
    """Whoever keeps key text secret at rest."""

    def seal(self, secret: Secret) -> str: ...

    def unseal(self, text: str) -> Secret: ...

    def hash_password(self, password: Secret) -> str: ...


@dataclass(frozen=True, slots=True)
class Reader:
    """What reading a value needs besides the value: the current folder, and the sealer of key text."""

    folder: str
    sealer: Sealer


class Shape(Enum):
    """How a value stands in text."""

    WORD = "one word"
    TOGGLE = "a bare word"
    WORDS = "words in braces"
    MEMBERS = "named members in braces"


class Verb(Enum):
    """What an Edit does to a list or to members."""

    ADD = "add"
    DELETE = "delete"
    MODIFY = "modify"
    REPLACE = "replace-all-with"


@dataclass(frozen=True, slots=True)
class Edit:
    """A change of a list or of members, relative to what is there."""

    verb: Verb
    items: tuple[Raw, ...]


class FieldType(Protocol):
    """One kind of value."""

    @property
    def shape(self) -> Shape: ...

    @property
    def expects(self) -> str: ...

    def parse(self, raw: Raw, reader: Reader) -> Value: ...

    def raw(self, value: Value) -> Raw: ...


def _text(raw: Raw) -> str:
    if type(raw) is str:
        return raw
    if isinstance(raw, bool) or not isinstance(raw, str | int):
        raise BadValue(f"one value is expected, not {_kind_of(raw)}")
    return str(raw)


def _kind_of(raw: Raw) -> str:
    words = {
        bool: "a bare word",
        list: "a list",
        dict: "members",
        type(None): "nothing",
        Edit: "add or delete",
    }
    return words.get(type(raw), "this")


@dataclass(frozen=True, slots=True)
class Text:
    """Free text on one line, or none."""

    shape = Shape.WORD
    expects: str = "text"

    def parse(self, raw: Raw, reader: Reader) -> str | None:
        text = _text(raw)
        if text == NONE:
            return None
        if len(text) > TEXT_MAX:
            raise BadValue(f"text has at most {TEXT_MAX} characters, this has {len(text)}")
        if any(unicodedata.category(character) in _UNWELCOME for character in text):
            raise BadValue("text must not contain control characters")
        return text

    def raw(self, value: str | None) -> Raw:
        return NONE if value is None else value


@dataclass(frozen=True, slots=True)
class Choice:
    """One of a few words. `refused`: known words that are not allowed, and why."""

    words: tuple[str, ...]
    refused: Mapping[str, str] = field(default_factory=dict)
    shape = Shape.WORD

    @property
    def expects(self) -> str:
        return "one of " + ", ".join(self.words)

    def parse(self, raw: Raw, reader: Reader) -> str:
        text = _text(raw)
        if text not in self.words:
            why = f" ({self.refused[text]})" if text in self.refused else ""
            raise BadValue(f'"{text}" is not allowed{why}; allowed: {", ".join(self.words)}')
        return text

    def raw(self, value: str) -> Raw:
        return value


@dataclass(frozen=True, slots=True)
class Toggle:
    """Bare words that stand for yes and no; either may be missing."""

    on: str
    off: str = ""
    shape = Shape.TOGGLE

    @property
    def expects(self) -> str:
        return " or ".join(word for word in (self.on, self.off) if word)

    def parse(self, raw: Raw, reader: Reader) -> bool:
        if not isinstance(raw, bool):
            raise BadValue(f"{self.expects} is expected, not {_kind_of(raw)}")
        return raw

    def raw(self, value: bool) -> Raw:
        return value


@dataclass(frozen=True, slots=True)
class Integer:
    """A whole number, or one of some words for numbers. `note` explains an unusual limit."""

    least: int
    most: int
    words: Mapping[str, int] = field(default_factory=dict)
    note: str = ""
    show_words: bool = True
    shape = Shape.WORD

    @property
    def expects(self) -> str:
        span = f"a number from {self.least} to {self.most}"
        shown = list(self.words)[:4]
        return span + (f", or {', '.join(shown)}{'...' if len(self.words) > 4 else ''}" if shown else "")

    def parse(self, raw: Raw, reader: Reader) -> int:
        text = _text(raw)
        if text.lower() in self.words:
            return self.words[text.lower()]
        if not (text.isascii() and text.isdigit() and len(text) <= 20):
            raise BadValue(f'"{text}" is not allowed; allowed: {self.expects}')
        if not self.least <= int(text) <= self.most:
            note = f"; {self.note}" if self.note and int(text) > self.most else ""
            raise BadValue(f"{text} is not allowed; allowed: {self.expects}{note}")
        return int(text)

    def raw(self, value: int) -> Raw:
        if self.show_words:
            for word, number in self.words.items():
                if number == value:
                    return word
        return str(value)


@dataclass(frozen=True, slots=True)
class Span:
    """A number of `words` or from 0 to `most`, a range of them (`first-last`), or any.

    The value is (first, last), or None for any. `zero_is_any`: 0 is another word for any.
    """

    most: int
    words: Mapping[str, int]
    zero_is_any: bool = False
    shape = Shape.WORD

    @property
    def expects(self) -> str:
        return f"any, a number from {int(self.zero_is_any)} to {self.most}, or a range such as 10-19"

    def parse(self, raw: Raw, reader: Reader) -> tuple[int, int] | None:
        text = _text(raw).lower()
        if text in ("any", "*") or (self.zero_is_any and text == "0"):
            return None
        first, dash, last = (text, "", "") if text in self.words else text.partition("-")
        span = self._number(first), self._number(last if dash else first)
        if not int(self.zero_is_any) <= span[0] <= span[1] <= self.most:
            raise BadValue(f'"{text}" is not allowed; allowed: {self.expects}')
        return span

    def _number(self, text: str) -> int:
        return self.words[text] if text in self.words else parse_number(text)

    def raw(self, value: tuple[int, int] | None) -> Raw:
        if value is None:
            return "any"
        first, last = value
        if first != last:
            return f"{first}-{last}"
        return next((word for word, number in self.words.items() if number == first), str(first))


@dataclass(frozen=True, slots=True)
class OneAddress:
    """An IPv4 or IPv6 address with an optional route domain."""

    any_allowed: bool = False
    none_allowed: bool = False
    shape = Shape.WORD
    expects: str = "an address: n.n.n.n, n.n.n.n%ID or IPv6"

    def parse(self, raw: Raw, reader: Reader) -> Address | None:
        text = _text(raw)
        if self.none_allowed and text == NONE:
            return None
        return parse_address(text, any_allowed=self.any_allowed)

    def raw(self, value: Address | None) -> Raw:
        return NONE if value is None else str(value)


@dataclass(frozen=True, slots=True)
class Prefix:
    """A network: address/prefix with an optional route domain. Host bits are cut off unless kept."""

    keep_host_bits: bool = False
    hide_host_prefix: bool = False
    shape = Shape.WORD
    expects: str = "address/prefix, for example 10.1.0.0/24, 10.1.0.0%1/24 or fd00:1::/64"

    def parse(self, raw: Raw, reader: Reader) -> Interface:
        return (parse_interface if self.keep_host_bits else parse_network)(_text(raw))

    def raw(self, value: Interface) -> Raw:
        text = str(value)
        host = f"/{value.network.max_prefixlen}"
        return text.removesuffix(host) if self.hide_host_prefix else text


@dataclass(frozen=True, slots=True)
class Reference:
    """The full path of an object of another kind."""

    target: tuple[str, ...]
    none_allowed: bool = False
    shape = Shape.WORD

    @property
    def expects(self) -> str:
        return "the name of a " + " ".join(self.target)

    def parse(self, raw: Raw, reader: Reader) -> str | None:
        text = _text(raw)
        if self.none_allowed and text == NONE:
            return None
        return names.check(names.full(text, reader.folder), loose=True)

    def raw(self, value: str | None) -> Raw:
        return NONE if value is None else value

    def short(self, text: str, folder: str) -> str:
        """The name as it is written in `folder`."""
        return names.relative(text, folder)


@dataclass(frozen=True, slots=True)
class Words:
    """A list of words, each read by `item`; the words `alone` stand for a whole list.

    `target`: the words are names of objects of that kind. `per_line`: written one per line.
    """

    item: Callable[[str, Reader], str]
    expects: str
    target: tuple[str, ...] | None = None
    alone: tuple[str, ...] = ()
    per_line: bool = True
    shape = Shape.WORDS

    def parse(self, raw: Raw, reader: Reader) -> tuple[str, ...]:
        if raw == NONE:
            return ()
        if isinstance(raw, str):
            raw = [raw]
        if not isinstance(raw, list | tuple):
            raise BadValue(f"a list is expected, not {_kind_of(raw)}")
        parsed = tuple(sorted({self.item(_text(entry), reader) for entry in raw}))
        if len(parsed) > 1 and any(word in self.alone for word in parsed):
            raise BadValue(f"{' and '.join(self.alone)} can't stand beside other values")
        return parsed

    def raw(self, value: Sequence[str]) -> Raw:
        return list(value)

    def short(self, text: str, folder: str) -> str:
        """One word as it is written in `folder`."""
        return names.relative(text, folder) if self.target else text


@dataclass(frozen=True, slots=True)
class Members:
    """Named members, each with fields of its own. `target`: members name objects of that kind.

    `suggests`: a kind whose names people mostly mean, though others are allowed.
    """

    fields: tuple["Field", ...] = ()
    target: tuple[str, ...] | None = None
    suggests: tuple[str, ...] | None = None
    expects: str = "names in braces"
    shape = Shape.MEMBERS

    def parse(self, raw: Raw, reader: Reader) -> dict[str, dict[str, Value]]:
        if raw == NONE:
            return {}
        if not isinstance(raw, list | tuple):
            raise BadValue(f"members are expected, not {_kind_of(raw)}")
        found: dict[str, dict[str, Value]] = {}
        for name, inner in (self._member(entry, reader) for entry in raw):
            if found.setdefault(name, inner) != inner:
                raise BadValue(f"{name} is given twice, each time otherwise")
        return dict(sorted(found.items()))

    def _member(self, entry: Raw, reader: Reader) -> tuple[str, dict[str, Value]]:
        if not isinstance(entry, str | Mapping):
            raise BadValue(f"a member is expected, not {_kind_of(entry)}")
        given = {"name": entry} if isinstance(entry, str) else dict(entry)
        name = self.name(_text(given.pop("name", "")), reader)
        known = {own.word: own for own in self.fields}
        for word in given:
            if word not in known:
                raise BadValue(f'"{word}" is no property of the member {name}')
        return name, {
            word: own.type.parse(given[word], reader) if word in given else own.default for word, own in known.items()
        }

    def name(self, text: str, reader: Reader) -> str:
        """The stored name of a member: a full path where members are objects."""
        if self.target:
            return names.check(names.full(text, reader.folder))
        return names.plain(text)

    def raw(self, value: Mapping[str, Mapping[str, Value]]) -> Raw:
        return [
            {"name": name} | {own.word: own.type.raw(own_values[own.word]) for own in self.fields}
            for name, own_values in value.items()
        ]

    def short(self, text: str, folder: str) -> str:
        """A member's name as it is written in `folder`."""
        return names.relative(text, folder) if self.target else text


@dataclass(frozen=True, slots=True)
class Key:
    """Key text: typed in clear, stored and shown sealed. Length is the algorithm's affair (a rule).

    A leading 0x doesn't count against `most`: the longest key, 64 octets, has 128 hexadecimal digits.
    """

    most: int = 128
    shape = Shape.WORD
    expects: str = "a double-quoted character string, or 0x and hexadecimal digits"

    def parse(self, raw: Raw, reader: Reader) -> KeyText | None:
        if raw == NONE or raw == "":
            return None
        text = _text(raw)
        if text.startswith("$M$"):
            try:
                return KeyText(reader.sealer.unseal(text), text)
            except ValueError as error:
                raise BadValue(str(error)) from None
        if len(text.removeprefix("0x").removeprefix("0X")) > self.most:
            raise BadValue(f"key text has at most {self.most} characters, this has {len(text)}")
        if not text.isascii() or not text.isprintable():
            raise BadValue("key text must be printable ASCII characters")
        secret = Secret(text.encode("ascii"))
        return KeyText(secret, reader.sealer.seal(secret))

    def raw(self, value: KeyText | None) -> Raw:
        return NONE if value is None else value.sealed


@dataclass(frozen=True, eq=False, slots=True)
class Field:
    """One property of a kind, the same only as itself.

    `word` is its tmsh word. `shown_as` is the word used in text when it differs (sealed keys). `always`:
    listed even when it has its default. `label` is the GUI's name for it. `beyond`: the vendor has no such property;
    listed behind those that it has.
    """

    word: str
    type: FieldType
    help: str
    default: Value = None
    required: bool = False
    always: bool = False
    label: str = ""
    shown_as: str = ""
    beyond: bool = False

    @property
    def shown(self) -> str:
        return self.shown_as or self.word

    @property
    def input_words(self) -> tuple[str, ...]:
        """Every word that may begin this property in text."""
        if isinstance(self.type, Toggle):
            return tuple(word for word in (self.type.on, self.type.off) if word)
        return (self.word, self.shown_as) if self.shown_as else (self.word,)

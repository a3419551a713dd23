"""The schema of the schema: a Kind is a path, its fields and its rules; an Object is one thing of a kind."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from enum import Enum
from functools import cache
from typing import Protocol

from culvert.model import names
from culvert.model.fields import Field, Members, Raw, Reference, Value, Words
from culvert.model.passwords import MASK, Password
from culvert.model.problems import BadValue, Invalid, Problem

Path = tuple[str, ...]


class Naming(Enum):
    """How the objects of a kind are named."""

    FOLDER = "/Partition/name"
    LOOSE = "/Partition/name, where the name may be an address"
    PLAIN = "a bare name, outside partitions"
    SINGLE = "no name: there is one"
    HEADER = "the words that a stanza begins with"


class World(Protocol):
    """The whole configuration, as far as a rule may look."""

    def get(self, path: Path, name: str) -> "Object | None": ...

    def all(self, path: Path) -> "Iterable[Object]": ...

    def referrers(self, path: Path, name: str) -> "Iterable[Object]": ...

    def holders(self, path: Path, number: int, value: object) -> AbstractSet[str]: ...


Rule = Callable[["Object", World], Iterator[Problem]]


@dataclass(frozen=True, slots=True)
class Unique:
    """No two objects of a kind may have the same `keys`; with `advice`, had better not.

    `sentence` gets the other object's name.
    """

    keys: Callable[["Object"], Iterable[object]]
    sentence: str
    advice: bool = False


@dataclass(frozen=True, eq=False, slots=True)
class Kind:
    """What can be configured under one path.

    `title` is the word for it in messages. What `rules` find stops a change, what `advice` finds is only told.
    `complete` fills what the user may leave out but the system decides (a VLAN's tag). `fixed`: the objects that
    exist are the shipped ones. `implicit`: every name exists without being created (host interfaces).
    `partitioned`: `list all-properties` prints its partition. `keeps`: what a file says of it beyond `fields` is kept
    and written back; a kind that doesn't keep refuses it. `stand_in`: objects of that kind may be named instead.
    `typed` finds what is wrong with words as they were given, for what can't be told from the value any more.
    `concerns`: objects that don't name one of this kind, but whose rules look at it all the same.
    `derived`: its objects follow from others, and `help` says from which. `personal`: each user has one. In a file,
    stanzas of both are foreign.
    """

    path: Path
    title: str
    help: str
    fields: tuple[Field, ...]
    naming: Naming = Naming.FOLDER
    rules: tuple[Rule, ...] = ()
    advice: tuple[Rule, ...] = ()
    unique: tuple[Unique, ...] = ()
    complete: "Callable[[str, dict[str, Raw], World], None] | None" = None
    fixed: bool = False
    implicit: bool = False
    partitioned: bool = False
    keeps: bool = False
    derived: bool = False
    personal: bool = False
    stand_in: Path | None = None
    concerns: "Callable[[Object, World], Iterable[Object]] | None" = None
    typed: Callable[[str, Mapping[str, Raw]], Iterable[Problem]] = lambda name, raw: ()

    @property
    def word(self) -> str:
        return " ".join(self.path)

    @property
    def in_files(self) -> bool:
        """Whether its objects are part of the configuration."""
        return not (self.derived or self.personal)

    def field(self, word: str) -> Field | None:
        """The field that `word` begins, whichever of its input words it is."""
        return next((own for own in self.fields if word in own.input_words or word == own.word), None)

    def full_name(self, name: str, folder: str) -> str:
        """`name` as objects of this kind are stored; raises Invalid."""
        try:
            if self.naming is Naming.SINGLE:
                return ""
            if self.naming is Naming.HEADER:
                return " ".join(name.split())
            if self.naming is Naming.PLAIN:
                return names.plain(name)
            return names.check(names.full(name, folder), loose=self.naming is Naming.LOOSE)
        except BadValue as error:
            raise Invalid(Problem(str(error), self.title)) from None


@dataclass(frozen=True, eq=False, slots=True)
class Object:
    """One configured thing: immutable, every field filled."""

    kind: Kind
    name: str
    values: Mapping[str, Value] = field(default_factory=dict)
    kept: tuple[str, ...] = ()
    """Lines of properties that the kind doesn't know, as `text.render` puts them among the others."""
    said: frozenset[str] = frozenset()
    """Defaults that a file wrote out, by word or by "word member word": written back, but nothing that is configured.

    "" stands for an object that every system has and a file had too.
    """

    def __getitem__(self, word: str) -> Value:
        return self.values[word]

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, Object)
            and self.kind is other.kind
            and self.name == other.name
            and self.kept == other.kept
            and dict(self.values) == dict(other.values)
        )

    def __hash__(self) -> int:
        return hash((self.kind.path, self.name))

    def raw(self) -> dict[str, Raw]:
        """Every field in raw form, by word."""
        return {own.word: own.type.raw(self.values[own.word]) for own in self.kind.fields}

    def shown(self, fields: Iterable[Field] | None = None) -> dict[str, Raw]:
        """As `raw`, for other eyes: a mask in place of a password's hash. `fields`: these of the kind's alone."""
        found: dict[str, Raw] = {}
        for own in self.kind.fields if fields is None else fields:
            value = self.values[own.word]
            found[own.word] = MASK if isinstance(own.type, Password) and value else own.type.raw(value)
        return found

    def problem(self, sentence: str, word: str = "") -> Problem:
        return Problem(sentence, self.kind.title, self.name, word)

    def references(self) -> Iterator[tuple[str, Path, str]]:
        """(word, path, name) of every object that this one names."""
        for word, target, several in reference_fields(self.kind):
            value = self.values[word]
            if several:
                for name in value:
                    yield word, target, name
            elif value is not None:
                yield word, target, value


@cache
def reference_fields(kind: Kind) -> tuple[tuple[str, Path, bool], ...]:
    """(word, path of the kind that is named, whether several may be) of the fields that name objects."""
    single = [(own.word, own.type.target, False) for own in kind.fields if isinstance(own.type, Reference)]
    several = [
        (own.word, own.type.target, True)
        for own in kind.fields
        if isinstance(own.type, Words | Members) and own.type.target
    ]
    return (*single, *several)


@cache
def defaults(kind: Kind) -> Mapping[str, Value]:
    """Every field's default by its word."""
    return {own.word: own.default for own in kind.fields}


@cache
def fields_by_word(kind: Kind) -> Mapping[str, Field]:
    return {own.word: own for own in kind.fields}


@cache
def required_fields(kind: Kind) -> tuple[Field, ...]:
    return tuple(own for own in kind.fields if own.required)

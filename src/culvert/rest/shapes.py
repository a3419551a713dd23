"""Objects as JSON, and bodies as properties: the shapes of iControl REST, made of the model's fields.

Numbers are numbers, references come with a link beside, what is `none` is left out, bare words are true, and some
members are sub-collections. A key is never there but sealed.
"""

from collections.abc import Iterable, Mapping
from functools import cache
from typing import Any

from culvert.control.errors import InvalidConfiguration
from culvert.model.fields import NONE, Field, Integer, Key, Members, Reference, Span, Toggle, Words
from culvert.model.kind import Kind, Naming, Path
from culvert.model.registry import KINDS
from culvert.rest import defaults, naming

Json = Any
SUBCOLLECTIONS = frozenset({(("net", "vlan"), "interfaces"), (("ltm", "virtual"), "profiles")})
RENAMED: Mapping[tuple[Path, str], str] = {(("net", "route"), "interface"): "tmInterface"}
"""Properties whose JSON key isn't their word."""
PLAIN_MEMBERS: Mapping[tuple[Path, str], Path] = {(("auth", "user"), "partition-access"): ("auth", "partition")}
"""What members are called after that are no objects themselves, `all-partitions` too."""
READ_ONLY = frozenset(
    {"kind", "generation", "selfLink", "fullPath", "name", "partition", "subPath", "isSubcollection", "command"}
)


def of_object(kind: Kind, own: Mapping[str, Json], *, short: bool = False, expand: bool = False) -> dict[str, Json]:
    """One object out of what `list` says of it. `short`: asked by its bare name. `expand`: members inside."""
    name = str(own["name"])
    self_path = naming.object_path(kind, name, short=short)
    shown: dict[str, Json] = {"kind": naming.state(kind.path)}
    if kind.naming is not Naming.SINGLE:
        shown |= _identity(name, short=short)
    shown |= {"generation": own.get("generation", 0), "selfLink": naming.link(self_path)}
    given = own["properties"]
    properties: dict[str, Json] = {}
    for each, key in _keyed(kind):
        if each.word in given:
            properties |= _property(kind, each, key, given[each.word], self_path, expand=expand)
    properties |= defaults.STANDING.get(kind.path, {})
    for word in defaults.WITHOUT_MEMBERS.get(kind.path, ()):
        empty: dict[str, Json] = {"link": naming.link(f"{self_path}/{word}"), "isSubcollection": True}
        properties[f"{word}Reference"] = empty | ({"items": []} if expand else {})
    return shown | dict(sorted(properties.items()))


def key_of(kind: Kind, own: Field) -> str:
    """The JSON key of a property."""
    return RENAMED.get((kind.path, own.word)) or naming.camel(own.shown)


def _identity(name: str, *, short: bool) -> dict[str, str]:
    found = naming.parts(name)
    return {"name": found["name"], "fullPath": found["name"]} if short else found


@cache
def _keyed(kind: Kind) -> tuple[tuple[Field, str], ...]:
    return tuple((own, key_of(kind, own)) for own in kind.fields)


def _property(kind: Kind, own: Field, key: str, raw: Json, self_path: str, *, expand: bool) -> dict[str, Json]:
    if isinstance(own.type, Toggle):
        word = own.type.on if raw else own.type.off
        return {naming.camel(word): True} if word else {}
    if isinstance(own.type, Members):
        return _members(kind, own, key, raw, self_path, expand=expand)
    if isinstance(own.type, Words):
        return _words(own.type, key, raw)
    if raw == NONE and not isinstance(own.type, Integer | Span) and _left_out(own):
        return {}
    value = _value(own, raw)
    if isinstance(own.type, Reference):
        target = KINDS.get(own.type.target)
        path = naming.object_path(target, value) if target else f"{naming.TM}/{'/'.join(own.type.target)}"
        return {key: value, f"{key}Reference": {"link": naming.link(path)}}
    return {key: value}


def _left_out(own: Field) -> bool:
    """Whether `none` means that nothing is there; where it is one of several words, it is a value."""
    return NONE not in getattr(own.type, "words", ())


def _value(own: Field, raw: Json) -> Json:
    if isinstance(own.type, Integer):
        text = str(raw).lower()
        number = own.type.words[text] if text in own.type.words else int(text)
        # A word whose number is none that could be given is the word, so that it can be put back.
        return number if own.type.least <= number <= own.type.most else text
    if isinstance(own.type, Span):
        if raw == "any":
            return 0 if own.type.zero_is_any else "any"
        return int(raw) if str(raw).isdigit() else own.type.words.get(str(raw), raw)
    return raw


def _words(words: Words, key: str, raw: Iterable[str]) -> dict[str, Json]:
    given = list(raw)
    if not given:
        return {}
    if len(given) == 1 and given[0] in words.alone:
        return {key: given[0]}
    shown: dict[str, Json] = {key: given}
    if words.target and (target := KINDS.get(words.target)):
        shown[f"{key}Reference"] = [{"link": naming.link(naming.object_path(target, each))} for each in given]
    return shown


def _members(
    kind: Kind, own: Field, key: str, raw: Iterable[Mapping[str, Json]], self_path: str, *, expand: bool
) -> dict[str, Json]:
    assert isinstance(own.type, Members)
    if (kind.path, own.word) not in SUBCOLLECTIONS:
        items = [member(kind, own, each) for each in raw]
        return {key: items} if items else {}
    reference: dict[str, Json] = {"link": naming.link(f"{self_path}/{own.word}"), "isSubcollection": True}
    if expand:
        reference["items"] = [member(kind, own, each, self_path) for each in raw]
    return {f"{key}Reference": reference}


def member(kind: Kind, own: Field, raw: Mapping[str, Json], self_path: str = "") -> dict[str, Json]:
    """One member; `self_path` is the object's, for those of a sub-collection."""
    assert isinstance(own.type, Members)
    identity = naming.parts(str(raw["name"]))
    shown: dict[str, Json] = {}
    if self_path:
        link = naming.link(f"{self_path}/{own.word}/{str(raw['name']).replace('/', '~')}")
        shown = {"kind": naming.state((*kind.path, own.word))} | identity | {"generation": 1, "selfLink": link}
    else:
        shown = {word: text for word, text in identity.items() if word != "fullPath"}
    plain = PLAIN_MEMBERS.get((kind.path, own.word))
    target = KINDS.get(plain or own.type.target or own.type.suggests or ())
    if target and (plain or str(raw["name"]).startswith("/")):
        shown["nameReference"] = {"link": naming.link(naming.object_path(target, str(raw["name"])))}
    shown |= defaults.OF_MEMBERS.get(own.word, {})
    for each in own.type.fields:
        if isinstance(each.type, Toggle):
            word = each.type.on if raw[each.word] else each.type.off
            shown |= {naming.camel(word): True} if word else {}
        elif raw[each.word] != NONE:
            shown[naming.camel(each.word)] = _value(each, raw[each.word])
    return shown


def properties(kind: Kind, body: Mapping[str, Json]) -> dict[str, Json]:
    """The raw properties that a body gives. Raises SyntaxProblem for a key that names none."""
    words = _fields_by_key(kind)
    given: dict[str, Json] = {}
    for key, value in body.items():
        own = words.get(key)
        if own is not None:
            word, raw = _given(own, key, value)
            given[word] = raw
        elif key.endswith("Reference") and (inner := words.get(key.removesuffix("Reference"))) is not None:
            if isinstance(inner.type, Members) and isinstance(value, Mapping):
                given.setdefault(inner.word, _of_reference(inner, value))
        elif key not in READ_ONLY and not key.endswith("Reference"):
            defaults.check(kind.path, key, value)
    return given


@cache
def _fields_by_key(kind: Kind) -> Mapping[str, Field]:
    return {each: own for own in kind.fields for each in (key_of(kind, own), *_keys(own))}


def _of_reference(own: Field, value: Mapping[str, Json]) -> Json:
    """The members inside a reference; one that came without them, as in a plain GET, leaves them as they are."""
    return _member_list(own, value["items"]) if "items" in value else {"verb": "add", "items": []}


def _keys(own: Field) -> list[str]:
    return [key for word in (own.word, *own.input_words) for key in (word, naming.camel(word))]


def _given(own: Field, key: str, value: Json) -> tuple[str, Json]:
    if isinstance(own.type, Toggle):
        if not isinstance(value, bool) and value is not None:
            raise InvalidConfiguration(f'"{key}" takes true or false')
        says_on = key in (own.type.on, naming.camel(own.type.on))
        return own.word, bool(value) is says_on
    if value is None:
        return own.word, NONE
    if isinstance(own.type, Members):
        return own.word, _member_list(own, value)
    if isinstance(own.type, Words):
        return own.word, value if isinstance(value, str) else _texts(key, value)
    if isinstance(own.type, Reference) and value == "":
        return own.word, NONE
    if value == "" and not isinstance(own.type, Key):
        return own.word, NONE
    if isinstance(value, bool):
        return own.word, "enabled" if value else "disabled"
    if isinstance(value, int | float | str):
        return own.word, str(value)
    raise InvalidConfiguration(f'"{key}" takes one value')


def _texts(key: str, value: Json) -> list[str]:
    if not isinstance(value, list) or not all(isinstance(each, str) for each in value):
        raise InvalidConfiguration(f'"{key}" takes a list of words')
    return list(value)


def _member_list(own: Field, value: Json) -> list[Json]:
    assert isinstance(own.type, Members)
    if value == NONE or value == "":
        return []
    if isinstance(value, str):
        return [value]
    if isinstance(value, Mapping):
        value = value.get("items", [value])
    if not isinstance(value, list):
        raise InvalidConfiguration(f'"{own.word}" takes a list of members')
    return [_member(own.type, own.word, each) for each in value]


def _member(members: Members, word: str, value: Json) -> Json:
    if isinstance(value, str):
        return value
    if not isinstance(value, Mapping) or not isinstance(value.get("name"), str):
        raise InvalidConfiguration(f'"{word}" takes members, each with a name')
    name = value["name"]
    if "partition" in value and not name.startswith("/"):
        name = naming.full_name(name, str(value["partition"]), None)
    given: dict[str, Json] = {"name": name}
    words = {each: own for own in members.fields for each in _keys(own)}
    for key, inner in value.items():
        own = words.get(key)
        if own is not None:
            each, raw = _given(own, key, inner)
            given[each] = raw
        elif key not in READ_ONLY and not key.endswith("Reference"):
            defaults.check_member(word, key, inner)
    return given

"""Changes of lists and members: `add`, `delete`, `modify`, against what is there."""

from collections.abc import Container, Mapping
from typing import Any

from culvert.model.fields import Edit, Field, Key, Members, Raw, Reader, Value, Verb, Words
from culvert.model.kind import Object, Path
from culvert.model.passwords import MASK, Password
from culvert.model.problems import BadItem, BadValue


def empty(own: Field) -> Value:
    """What a list or members are before anything is added."""
    return {} if isinstance(own.type, Members) else ()


def apply(own: Field, current: Value, raw: Raw, reader: Reader) -> Value:
    """The value of `own` after `raw`, which may be an Edit of `current`. Raises BadValue."""
    if raw == MASK and current is not None and isinstance(own.type, Password):
        return current
    if not isinstance(raw, Edit):
        return own.type.parse(raw, reader)
    if isinstance(own.type, Words):
        return _edit_words(own.type, current, raw, reader)
    if isinstance(own.type, Members):
        return _edit_members(own.type, current, raw, reader)
    raise BadValue(f"{raw.verb.value} is for lists; give one value")


def _edit_words(words: Words, current: tuple[str, ...], edit: Edit, reader: Reader) -> tuple[str, ...]:
    items = words.parse(list(edit.items), reader)
    if edit.verb is Verb.MODIFY:
        raise BadValue("modify is for members with properties; use add and delete")
    if edit.verb is Verb.ADD:
        _refuse(sorted(set(items) & set(current)), "already in the list", there=True)
        return words.parse([*current, *items], reader)
    _refuse(sorted(set(items) - set(current)), "not in the list", there=False)
    return tuple(word for word in current if word not in items)


def _edit_members(
    members: Members, current: Mapping[str, Any], edit: Edit, reader: Reader
) -> dict[str, dict[str, Value]]:
    given = members.parse(list(edit.items), reader)
    if edit.verb is Verb.ADD:
        _refuse([name for name in given if name in current], "already there", there=True)
        return dict(sorted({**current, **given}.items()))
    _refuse([name for name in given if name not in current], "not there", there=False)
    if edit.verb is Verb.DELETE:
        return {name: inner for name, inner in current.items() if name not in given}
    changed: dict[str, dict[str, Value]] = {}
    for item in edit.items:
        (name,) = members.parse([item], reader)
        if name in changed:
            raise BadValue(f"{name}: given twice")
        changed[name] = _merge(members, current[name], item, reader)
    return dict(sorted({**current, **changed}.items()))


def _merge(members: Members, current: Mapping[str, Value], item: Raw, reader: Reader) -> dict[str, Value]:
    raw = {} if isinstance(item, str) else item
    return {
        own.word: own.type.parse(raw[own.word], reader) if own.word in raw else current[own.word]
        for own in members.fields
    }


def _refuse(names: list[str], sentence: str, *, there: bool) -> None:
    if len(names) == 1:
        raise BadItem(f"{names[0]}: {sentence}", names[0], there=there)
    if names:
        raise BadValue(f"{', '.join(names)}: {sentence}")


def renamed(user: Object, paths: Container[Path], old: str, new: str) -> Object:
    """`user` with every mention of an object by its old name made one by the new."""
    values = dict(user.values)
    for word in {word for word, target, name in user.references() if target in paths and name == old}:
        value = values[word]
        if isinstance(value, str):
            values[word] = new
        elif isinstance(value, Mapping):
            values[word] = dict(sorted((new if name == old else name, inner) for name, inner in value.items()))
        else:
            values[word] = tuple(sorted(new if name == old else name for name in value))
    return Object(user.kind, user.name, values, user.kept, user.said)


def kept_values(own: Object) -> dict[str, Value]:
    """Defaults, but for what has none, or is never shown: that stays where nothing is given in its place."""
    return {
        each.word: own[each.word] if each.required or isinstance(each.type, Key | Password) else each.default
        for each in own.kind.fields
    }

"""Frozen values as JSON and back, by the types of their fields: a field that is added later travels too.

Knows the types that SAs and policies are made of. A Secret becomes hex, so what comes out of here is as secret.
"""

from collections.abc import Callable
from dataclasses import is_dataclass
from enum import Enum
from functools import cache
from ipaddress import IPv4Address, IPv4Network, ip_address, ip_network
from operator import attrgetter
from types import NoneType
from typing import Any, NamedTuple, get_args, get_type_hints

from culvert.ipsec.secret import Secret

PLAIN = (int, str, bool)


class Codec(NamedTuple):
    """One type's way out and back."""

    emit: Callable[[Any], Any]
    parse: Callable[[Any], Any]


@cache
def codec_of(kind: Any) -> Codec:
    """TypeError for a type that nobody taught this module."""
    if kind in PLAIN:
        return Codec(_same, _same)
    if kind is Secret:
        return Codec(lambda secret: secret.reveal().hex(), lambda text: Secret(bytes.fromhex(text)))
    if isinstance(kind, type):
        return _codec_of_class(kind)
    kinds = get_args(kind)
    if NoneType in kinds:
        return _optional(tuple(each for each in kinds if each is not NoneType))
    return _codec_of_union(kinds)


def _same(value: Any) -> Any:
    return value


def _codec_of_class(kind: Any) -> Codec:
    if issubclass(kind, Enum):
        return Codec(lambda member: member.value, kind)
    if issubclass(kind, tuple):
        return Codec(list, lambda content: kind(*content))
    if is_dataclass(kind):
        return _codec_of_dataclass(kind)
    raise TypeError(f"no codec for {kind.__name__}")


def _codec_of_union(kinds: tuple[Any, ...]) -> Codec:
    if IPv4Address in kinds:
        return Codec(str, ip_address)
    if IPv4Network in kinds:
        return Codec(str, ip_network)
    raise TypeError(f"no codec for a choice of {len(kinds)} types")


def _optional(kinds: tuple[Any, ...]) -> Codec:
    codec = codec_of(kinds[0]) if len(kinds) == 1 else _codec_of_union(kinds)
    if codec.emit is _same:
        return codec
    return Codec(
        lambda value: None if value is None else codec.emit(value),
        lambda content: None if content is None else codec.parse(content),
    )


def _codec_of_dataclass(kind: Any) -> Codec:
    fields = {name: codec_of(each) for name, each in get_type_hints(kind).items()}
    # Most fields travel as they are: those are taken all at once, for a configuration has hundreds of thousands.
    names, values = tuple(fields), attrgetter(*fields)
    changed = [(name, codec.emit) for name, codec in fields.items() if codec.emit is not _same]

    def emit(value: Any) -> dict[str, Any]:
        found = dict(zip(names, values(value), strict=True)) if len(names) > 1 else {names[0]: values(value)}
        for name, out in changed:
            found[name] = out(found[name])
        return found

    def parse(content: dict[str, Any]) -> Any:
        if content.keys() != fields.keys():
            raise ValueError("other fields")
        return kind(**{name: codec.parse(content[name]) for name, codec in fields.items()})

    return Codec(emit, parse)

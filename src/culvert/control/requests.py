"""What a request says, as the model wants to hear it."""

from collections.abc import Mapping
from typing import Any

from culvert.control import errors
from culvert.model.fields import Edit, Verb

Json = Any


def raw_properties(properties: Mapping[str, Json]) -> dict[str, Json]:
    """Properties as they came over the socket; {"verb", "items"} is an Edit."""
    return {word: _edit(raw) if isinstance(raw, dict) else raw for word, raw in properties.items()}


def _edit(raw: Mapping[str, Json]) -> Json:
    verb, items = raw.get("verb"), raw.get("items")
    if verb not in {own.value for own in Verb} or not isinstance(items, list):
        raise errors.SyntaxProblem("a list, or an object with verb and items, is expected")
    return items if Verb(verb) is Verb.REPLACE else Edit(Verb(verb), tuple(items))

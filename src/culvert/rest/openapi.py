"""The description of the API (OpenAPI 3.1), made of the model as the answers are."""

import json
from functools import cache
from typing import Any

from culvert import __version__
from culvert.model.auth import USER
from culvert.model.fields import Choice, Field, Integer, Key, Members, Span, Toggle, Words
from culvert.model.kind import Kind, Naming
from culvert.model.passwords import Password
from culvert.model.registry import KINDS
from culvert.rest import defaults, naming, shapes
from culvert.rest.openapi_parts import (
    COORDINATION,
    NUMBER,
    OBJECT,
    collection,
    counters,
    failures,
    operation,
    query,
    segment,
    thing,
)
from culvert.rest.openapi_places import places
from culvert.rest.resources import HIDDEN

Json = Any
TEXT = {"type": "string"}
OLD_PASSWORD = {"oldPassword": TEXT | {"writeOnly": True, "description": "Needed where users change the own password"}}


def description() -> dict[str, Json]:
    """The whole document."""
    kinds = [kind for path, kind in sorted(KINDS.items()) if path not in HIDDEN]
    paths: dict[str, Json] = {}
    schemas: dict[str, Json] = {}
    for kind in kinds:
        paths |= _paths(kind)
        schemas |= _schemas(kind)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Culvert's iControl REST",
            "version": __version__,
            "description": f"Answers as release {naming.API_LEVEL} of the vendor's systems gives them.",
        },
        "servers": [{"url": "/"}],
        "security": [{"token": []}, {"basic": []}],
        "paths": paths | places(),
        "components": {
            "securitySchemes": {
                "basic": {"type": "http", "scheme": "basic"},
                "token": {"type": "apiKey", "in": "header", "name": "X-F5-Auth-Token"},
            },
            "responses": failures(),
            "schemas": schemas | {"Error": _error(), "Command": _command()},
        },
    }


@cache
def text() -> bytes:
    """It as JSON."""
    return json.dumps(description(), separators=(",", ":")).encode()


def example(kind: Kind) -> dict[str, Json]:
    """An object with a line about each property in place of its value."""
    shown: dict[str, Json] = {"kind": naming.state(kind.path)}
    return shown | {shapes.key_of(kind, own): own.help for own in kind.fields}


def _paths(kind: Kind) -> dict[str, Json]:
    base = naming.collection_path(kind.path)
    own, new, change = ({"$ref": f"#/components/schemas/{_title(kind)}{word}"} for word in ("", "New", "Change"))
    shown = [query("$select", TEXT), query("expandSubcollections", {"type": "boolean"})]
    options = [query("options", TEXT), COORDINATION]
    # In a transaction the answer to a change is the command that was put there.
    changed = {"anyOf": [own, {"$ref": "#/components/schemas/Command"}]}
    get = operation(kind.help, own, parameters=shown)
    put = operation("Replace: what is not given has its default", changed, "409", body=change, parameters=options)
    changes = {"patch": operation("Change properties", changed, "409", body=change, parameters=options), "put": put}
    if kind.naming is Naming.SINGLE:
        return {base: {"get": get} | changes} | _stats(kind, base, [])
    name = segment("name", "~Common~x, or x for one in Common")
    page = [query("$filter", TEXT), query("$top", NUMBER), query("$skip", NUMBER)]
    many = collection(naming.state(kind.path, "collectionstate"), own)
    examples = collection(naming.state(kind.path, "collectionstate"), OBJECT)
    found = {
        base: {
            "get": operation(f"Every one: {kind.help}", many, parameters=page + shown),
            "post": operation("Make one", changed, "409", body=new, parameters=options),
        },
        f"{base}/{{name}}": {
            "parameters": [name],
            "get": get,
            "delete": operation("Take it away", None, "409", parameters=[COORDINATION]),
        }
        | changes,
        f"{base}/example": {"get": operation("What one looks like", examples)},
    }
    return found | _stats(kind, base, []) | _stats(kind, f"{base}/{{name}}", [name]) | _subcollections(kind, base, name)


def _stats(kind: Kind, path: str, parameters: list[Json]) -> dict[str, Json]:
    of_all = not parameters and kind.naming is not Naming.SINGLE
    shown = operation("Counters", counters(naming.state(kind.path, "collectionstats" if of_all else "stats")))
    return {f"{path}/stats": {"get": shown} | ({"parameters": parameters} if parameters else {})}


def _subcollections(kind: Kind, base: str, name: Json) -> dict[str, Json]:
    found: dict[str, Json] = {}
    for path, word in sorted(shapes.SUBCOLLECTIONS):
        if path == kind.path:
            one = thing(naming.state((*path, word)), "name", "fullPath", "selfLink")
            many = collection(naming.state((*path, word), "collectionstate"), one)
            changed = {"anyOf": [one, {"$ref": "#/components/schemas/Command"}]}
            new = {"type": "object", "required": ["name"], "properties": {"name": TEXT}}
            found[f"{base}/{{name}}/{word}"] = {
                "parameters": [name],
                "get": operation("Its members", many),
                "post": operation("Add one", changed, "409", body=new, parameters=[COORDINATION]),
            }
            found[f"{base}/{{name}}/{word}/{{member}}"] = {
                "parameters": [name, segment("member", "~Common~x or x")],
                "get": operation("A member", one),
                "patch": operation("Change it", changed, "409", body=OBJECT, parameters=[COORDINATION]),
                "put": operation("Change it", changed, "409", body=OBJECT, parameters=[COORDINATION]),
                "delete": operation("Take it out", None, "409", parameters=[COORDINATION]),
            }
    return found


def _title(kind: Kind) -> str:
    return "".join(word.capitalize() for part in kind.path for word in part.split("-"))


def _schemas(kind: Kind) -> dict[str, Json]:
    """As it is shown, as it is made, and as it is changed."""
    title, named = _title(kind), kind.naming is not Naming.SINGLE
    identity = {
        "kind": {"const": naming.state(kind.path)},
        "generation": {"type": "integer"},
        "selfLink": {"type": "string"},
    }
    properties: dict[str, Json] = {
        key: {"const": value, "description": "Stands at this value"}
        for key, value in defaults.STANDING.get(kind.path, {}).items()
    }
    for own in kind.fields:
        properties |= _property(kind, own)
    needed = [shapes.key_of(kind, own) if not isinstance(own.type, Key) else naming.camel(own.word)
              for own in kind.fields if own.required]  # fmt: skip
    name = {"type": "string", "minLength": 1, "description": "A name, or a full path"}
    place = {"partition": {"type": "string", "default": "Common"}, "subPath": {"type": "string"}}
    shown = {key: value for key, value in properties.items() if not value.get("writeOnly")} | identity
    if named:
        shown |= {"name": TEXT, "fullPath": TEXT, "partition": TEXT, "subPath": TEXT}
    given = {key: value for key, value in properties.items() if not value.get("readOnly")}
    change = {"type": "object", "properties": given | (OLD_PASSWORD if kind.path == USER else {})}
    new = {"type": "object", "required": ["name", *needed], "properties": {"name": name} | place | given}
    found = {title: {"type": "object", "description": kind.help, "properties": shown}, f"{title}Change": change}
    return found | ({f"{title}New": new} if named else {})


def _property(kind: Kind, own: Field) -> dict[str, Json]:
    key, about = shapes.key_of(kind, own), {"description": own.help}
    if isinstance(own.type, Toggle):
        words = [word for word in (own.type.on, own.type.off) if word]
        return {naming.camel(word): {"type": "boolean"} | about for word in words}
    if isinstance(own.type, Key):
        clear = {"type": "string", "writeOnly": True, "maxLength": own.type.most + 2}
        return {naming.camel(own.word): clear | about, key: {"type": "string", "description": "Sealed"}}
    if isinstance(own.type, Password):
        return {naming.camel(own.word): TEXT | {"writeOnly": True} | about, key: TEXT | {"description": "Its mask"}}
    if isinstance(own.type, Members):
        if (kind.path, own.word) in shapes.SUBCOLLECTIONS:
            return {f"{key}Reference": {"type": "object", "readOnly": True} | about, key: {"writeOnly": True} | about}
        return {key: {"type": "array"} | about}
    return {key: _type(own) | about}


def _type(own: Field) -> dict[str, Json]:
    if isinstance(own.type, Integer):
        # What nobody gave may be shown as a number that nobody may give: a tag that isn't chosen yet.
        unset = own.default if isinstance(own.default, int) else own.type.least
        number = {"type": "integer", "minimum": min(own.type.least, unset, *own.type.words.values())}
        return {"anyOf": [number | {"maximum": own.type.most}, {"type": "string"}]}
    if isinstance(own.type, Span):
        return {"anyOf": [{"type": "integer", "minimum": 0, "maximum": own.type.most}, {"type": "string"}]}
    if isinstance(own.type, Choice):
        return {"type": "string", "enum": list(own.type.words)}
    if isinstance(own.type, Words):
        return {"anyOf": [{"type": "array", "items": {"type": "string"}}, {"type": "string"}]}
    return {"type": "string"}


def _error() -> dict[str, Json]:
    return {
        "type": "object",
        "required": ["code", "message", "errorStack", "apiError"],
        "properties": {
            "code": {"type": "integer"},
            "message": {"type": "string"},
            "errorStack": {"type": "array"},
            "apiError": {"type": "integer"},
        },
    }


def _command() -> dict[str, Json]:
    number = {"type": "integer", "minimum": 1}
    known = {"method": TEXT, "uri": TEXT, "commandId": number, "body": OBJECT}
    return thing("tm:transaction:commandsstate", "method", "uri", "commandId", **known)

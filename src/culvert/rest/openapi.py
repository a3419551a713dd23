"""The description of the API (OpenAPI 3.1), made of the model as the answers are."""

import json
from functools import cache
from typing import Any

from culvert import __version__
from culvert.model.fields import Choice, Field, Integer, Key, Members, Span, Toggle, Words
from culvert.model.kind import Kind, Naming
from culvert.model.registry import KINDS
from culvert.rest import defaults, naming, shapes
from culvert.rest.resources import HIDDEN

Json = Any
ERROR = {"$ref": "#/components/schemas/Error"}


def description() -> dict[str, Json]:
    """The whole document."""
    kinds = [kind for path, kind in sorted(KINDS.items()) if path not in HIDDEN]
    paths: dict[str, Json] = {}
    for kind in kinds:
        paths |= _paths(kind)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Culvert's iControl REST",
            "version": __version__,
            "description": f"Answers as release {naming.API_LEVEL} of the vendor's systems gives them.",
        },
        "servers": [{"url": "/"}],
        "security": [{"token": []}, {"basic": []}],
        "paths": paths | _others(),
        "components": {
            "securitySchemes": {
                "basic": {"type": "http", "scheme": "basic"},
                "token": {"type": "apiKey", "in": "header", "name": "X-F5-Auth-Token"},
            },
            "schemas": {_title(kind): _schema(kind) for kind in kinds} | {"Error": _error()},
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
    body = {"content": {"application/json": {"schema": {"$ref": f"#/components/schemas/{_title(kind)}"}}}}
    one = _answers("200", body)
    changes = {
        "patch": {"summary": "Change properties", "requestBody": body, "responses": one},
        "put": {"summary": "Replace: what is not given has its default", "requestBody": body, "responses": one},
    }
    if kind.naming is Naming.SINGLE:
        return {base: {"get": {"summary": kind.help, "responses": one}} | changes}
    collection = {
        "type": "object",
        "required": ["kind", "selfLink", "items"],
        "properties": {
            "kind": {"const": naming.state(kind.path, "collectionstate")},
            "selfLink": {"type": "string"},
            "items": {"type": "array", "items": {"type": "object"}},
        },
    }
    many = _answers("200", {"content": {"application/json": {"schema": collection}}})
    name = {
        "name": "name",
        "in": "path",
        "required": True,
        "schema": {"type": "string", "minLength": 1},
        "description": "~Common~x, or x for one in Common",
    }
    query = [
        {"name": word, "in": "query", "schema": sort}
        for word, sort in (
            ("$filter", {"type": "string"}),
            ("$select", {"type": "string"}),
            ("$top", {"type": "integer", "minimum": 0, "maximum": 999_999_999}),
            ("$skip", {"type": "integer", "minimum": 0, "maximum": 999_999_999}),
            ("expandSubcollections", {"type": "boolean"}),
        )
    ]
    removed = _answers("200", {"description": "It is gone"})
    return {
        base: {
            "get": {"summary": f"Every one: {kind.help}", "parameters": query, "responses": many},
            "post": {"summary": "Make one", "requestBody": body, "responses": one},
        },
        f"{base}/{{name}}": {
            "parameters": [name],
            "get": {"summary": kind.help, "responses": one},
            "delete": {"summary": "Take it away", "responses": removed},
        }
        | changes,
    }


def _answers(status: str, good: dict[str, Json]) -> dict[str, Json]:
    failed = {"description": "What is wrong", "content": {"application/json": {"schema": ERROR}}}
    return {status: {"description": "As wanted"} | good, "default": failed}


def _others() -> dict[str, Json]:
    anything = {"content": {"application/json": {"schema": {"type": "object"}}}}
    login = {
        "type": "object",
        "required": ["username", "password"],
        "properties": {
            "username": {"type": "string"},
            "password": {"type": "string"},
            "loginProviderName": {"type": "string"},
        },
    }
    return {
        "/mgmt/shared/authn/login": {
            "post": {
                "summary": "A token for a user and password",
                "security": [],
                "requestBody": {"content": {"application/json": {"schema": login}}},
                "responses": _answers("200", anything),
            }
        },
        "/mgmt/tm/sys/version": {"get": {"summary": "Which release this is", "responses": _answers("200", anything)}},
        "/mgmt/tm/net/ipsec-stat": {"get": {"summary": "Counters by worker", "responses": _answers("200", anything)}},
        "/mgmt/tm/transaction": {
            "get": {"summary": "Transactions that are open", "responses": _answers("200", anything)},
            "post": {"summary": "Begin a transaction", "responses": _answers("200", anything)},
        },
        "/health": {
            "get": {
                "summary": "Whether the gateway is well",
                "responses": _answers("200", anything) | {"503": {"description": "Something is wrong"} | anything},
            }
        },
    }


def _title(kind: Kind) -> str:
    return "".join(word.capitalize() for part in kind.path for word in part.split("-"))


def _schema(kind: Kind) -> dict[str, Json]:
    properties: dict[str, Json] = {
        "kind": {"type": "string", "readOnly": True},
        "generation": {"type": "integer", "readOnly": True},
        "selfLink": {"type": "string", "readOnly": True},
        "fullPath": {"type": "string", "readOnly": True},
    }
    if kind.naming is not Naming.SINGLE:
        properties["name"] = {"type": "string", "description": "A name, or a full path"}
        properties["partition"] = {"type": "string", "default": "Common"}
    for key, value in defaults.STANDING.get(kind.path, {}).items():
        properties[key] = {"const": value, "description": "Stands at this value"}
    for own in kind.fields:
        properties |= _property(kind, own)
    return {"type": "object", "description": kind.help, "properties": properties}


def _property(kind: Kind, own: Field) -> dict[str, Json]:
    key, about = shapes.key_of(kind, own), {"description": own.help}
    if isinstance(own.type, Toggle):
        words = [word for word in (own.type.on, own.type.off) if word]
        return {naming.camel(word): {"type": "boolean"} | about for word in words}
    if isinstance(own.type, Key):
        clear = {"type": "string", "writeOnly": True, "maxLength": own.type.most + 2}
        return {naming.camel(own.word): clear | about, key: {"type": "string", "description": "Sealed"}}
    if isinstance(own.type, Members):
        if (kind.path, own.word) in shapes.SUBCOLLECTIONS:
            return {f"{key}Reference": {"type": "object", "readOnly": True} | about, key: {"writeOnly": True} | about}
        return {key: {"type": "array"} | about}
    return {key: _type(own) | about}


def _type(own: Field) -> dict[str, Json]:
    if isinstance(own.type, Integer):
        number = {"type": "integer", "minimum": min(own.type.least, *own.type.words.values(), own.type.least)}
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

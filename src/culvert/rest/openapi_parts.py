"""Parts that descriptions are made of: parameters, bodies and answers, as OpenAPI writes them."""

from typing import Any

Json = Any
ERROR = {"$ref": "#/components/schemas/Error"}
NUMBER = {"type": "integer", "minimum": 0, "maximum": 999_999_999}
REASONS = {
    "400": "The request makes no sense, or the configuration that it asks for",
    "401": "Nobody is known by these credentials",
    "403": "This user may not do that, or another site asks",
    "404": "There is no such thing",
    "408": "The body came too slowly",
    "409": "It exists already",
    "413": "The body is too long",
    "415": "The body says to be no JSON",
    "429": "Too many failed logins, or too many at once",
    "507": "There is no room for uploads",
    "503": "culvertd doesn't answer, or there is no room now",
}
OF_ALL = ("400", "401", "403", "404", "408", "413", "429", "503")
COORDINATION = {
    "name": "X-F5-REST-Coordination-Id",
    "in": "header",
    "schema": {"type": "string", "pattern": "^[0-9]{1,19}$"},
    "description": "The transaction that the change is put into, instead of being carried out",
}
OBJECT: dict[str, Json] = {"type": "object"}


def media(schema: Json, sort: str = "application/json") -> dict[str, Json]:
    """`content` of a body or an answer."""
    return {"content": {sort: {"schema": schema}}}


def answers(good: Json, *more: str, sort: str = "application/json") -> dict[str, Json]:
    """200 with a body of this schema, empty for None, and every way to fail."""
    found: dict[str, Json] = {"200": {"description": "As wanted"} | (media(good, sort) if good is not None else {})}
    return found | {status: {"$ref": f"#/components/responses/{status}"} for status in sorted({*OF_ALL, *more})}


def failures() -> dict[str, Json]:
    """The components that `answers` points to."""
    return {status: {"description": text} | media(ERROR) for status, text in REASONS.items()}


def operation(
    summary: str,
    good: Json,
    *more: str,
    body: Json = None,
    parameters: list[Json] | None = None,
    sort: str = "application/json",
) -> dict[str, Json]:
    """One method of one address. `more`: statuses besides those that every method may answer."""
    more += ("415",) if body is not None else ()
    found: dict[str, Json] = {"summary": summary, "responses": answers(good, *more, sort=sort)}
    if body is not None:
        found["requestBody"] = {"required": True} | media(body)
    if parameters:
        found["parameters"] = parameters
    return found


def query(word: str, schema: Json) -> dict[str, Json]:
    """A parameter behind the question mark."""
    return {"name": word, "in": "query", "schema": schema}


def segment(word: str, description: str, schema: Json = None) -> dict[str, Json]:
    """A parameter in the address."""
    own = schema or {"type": "string", "minLength": 1, "maxLength": 255}
    return {"name": word, "in": "path", "required": True, "schema": own, "description": description}


def thing(kind: str, *required: str, **properties: Json) -> dict[str, Json]:
    """An object with its kind and more."""
    own = {"kind": {"const": kind}} | {key: value or {} for key, value in properties.items()}
    return {"type": "object", "required": ["kind", *required], "properties": own}


def counters(kind: str) -> dict[str, Json]:
    """nestedStats."""
    return thing(kind, "selfLink", "entries", selfLink={"type": "string"}, entries=OBJECT)


def collection(kind: str, items: Json) -> dict[str, Json]:
    """Items of a kind, with what a page of them says of itself."""
    found = thing(kind, "selfLink", "items", selfLink={"type": "string"}, items={"type": "array", "items": items})
    words = ("currentItemCount", "itemsPerPage", "pageIndex", "startIndex", "totalItems", "totalPages")
    found["properties"] |= {word: {"type": "integer", "minimum": 0} for word in words}
    return found

"""The taxonomy: vendor text, HTTP status, and the way over the socket and back."""

import json

import pytest

from culvert.control.errors import (
    ROWS,
    AlreadyExists,
    ControlError,
    Internal,
    InUse,
    InvalidConfiguration,
    NotFound,
    Refused,
    SyntaxProblem,
    TooMany,
    Unauthorized,
    Unavailable,
)

EXAMPLES = [
    (
        NotFound("IPsec policy", "/Common/x"),
        404,
        "01020036:3: The requested IPsec policy (/Common/x) was not found.",
    ),
    (
        AlreadyExists("folder", "/Sales/x"),
        409,
        "01020066:3: The requested folder (/Sales/x) already exists in partition Sales.",
    ),
    (
        AlreadyExists("value list", "443", "Common"),
        409,
        "01020066:3: The requested value list (443) already exists in partition Common.",
    ),
    (
        InUse("IPsec policy", "/Common/x", "IPsec traffic selector", "/Common/y"),
        400,
        "01070265:3: The IPsec policy (/Common/x) cannot be deleted because it is in use by a "
        "IPsec traffic selector (/Common/y).",
    ),
    (InvalidConfiguration("no such thing."), 400, "01070734:3: Configuration error: no such thing."),
    (SyntaxProblem('unexpected argument "x"'), 400, 'Syntax Error: unexpected argument "x"'),
    (SyntaxProblem('"x" unknown property', 3, 7), 400, 'Syntax Error: "x" unknown property (line 3, column 7)'),
    (SyntaxProblem("unmatched brace", line=9), 400, "Syntax Error: unmatched brace (line 9)"),
    (Refused("user ann may not."), 403, "user ann may not."),
    (Unauthorized("Authentication failed"), 401, "Authentication failed"),
    (TooMany("too many failed logins", 0.2), 429, "too many failed logins; come again in 1 seconds"),
    (Unavailable("try again"), 503, "try again"),
    (Internal("create"), 500, "Internal error in create; the log of culvertd says more."),
    (ControlError("01070711", 3, "something else", 400), 400, "01070711:3: something else"),
]


@pytest.mark.parametrize(("error", "http", "text"), EXAMPLES, ids=lambda value: getattr(value, "kind", None))
def test_text_and_status(error: ControlError, http: int, text: str) -> None:
    assert (error.http, error.text, str(error)) == (http, text, text)


@pytest.mark.parametrize("error", [error for error, _, _ in EXAMPLES], ids=lambda error: error.kind)
def test_survives_the_socket(error: ControlError) -> None:
    back = ControlError.from_json(json.loads(json.dumps(error.to_json())))
    assert type(back) is type(error)
    assert (back.to_json(), back.text) == (error.to_json(), error.text)


def test_when_to_come_again_survives_the_socket() -> None:
    assert ControlError.from_json(TooMany("too many", 30.1).to_json()).retry_after == 31
    assert ControlError.from_json(Refused("no").to_json()).retry_after is None


def test_every_row_has_a_class() -> None:
    assert {error.kind for error, _, _ in EXAMPLES} - {"error"} == set(ROWS)


def test_braces_in_a_name_are_text() -> None:
    assert NotFound("folder", "/Common/{name}").message == "The requested folder (/Common/{name}) was not found."


@pytest.mark.parametrize("found", [None, 3, "text", [], {}, {"message": 3}])
def test_garbage_is_an_internal_error(found: object) -> None:
    assert ControlError.from_json(found).http == 500


def test_unknown_kind_keeps_code_and_text() -> None:
    error = ControlError.from_json({"kind": "later", "code": "01071912", "message": "new", "http": "x", "line": True})
    assert (type(error), error.text, error.http, error.line) == (ControlError, "01071912:3: new", 400, None)

"""What can go wrong with a request, as one short taxonomy: tmsh's text, the HTTP status and the JSON form.

`ROWS` is the one table. A row without a code has no vendor message to copy: tmsh prints its message alone.
"""

import math
from dataclasses import dataclass
from typing import ClassVar, Self


@dataclass(frozen=True, slots=True)
class Row:
    """One way to fail. `code` is 8 hex digits or "", `text` a format string over the constructor's words."""

    code: str
    severity: int
    http: int
    text: str


ROWS: dict[str, Row] = {
    "not-found": Row("01020036", 3, 404, "The requested {type} ({name}) was not found."),
    "already-exists": Row("01020066", 3, 409, "The requested {type} ({name}) already exists in partition {partition}."),
    "in-use": Row(
        "01070265",
        3,
        400,
        "The {type} ({name}) cannot be deleted because it is in use by a {user_type} ({user_name}).",
    ),
    "invalid-configuration": Row("01070734", 3, 400, "Configuration error: {detail}"),
    "syntax": Row("", 3, 400, "Syntax Error: {detail}"),
    "unauthorized": Row("", 3, 401, "{sentence}"),
    "too-many": Row("", 3, 429, "{sentence}; come again in {seconds} seconds"),
    "refused": Row("", 3, 403, "{sentence}"),
    "unavailable": Row("", 3, 503, "{sentence}"),
    "internal": Row("", 3, 500, "Internal error in {what}; the log of culvertd says more."),
}


class ControlError(Exception):
    """A request that failed. The base raises any other vendor code; the subclasses are rows of `ROWS`.

    `code`: 8 hex digits or "". `severity`: 3 is an error. `message`: one sentence without the code.
    `http`: the status that a REST face answers. `line` and `column` count from 1; None when unknown.
    `retry_after`: in how many seconds it may be tried again; None where that is no matter of time.
    `problems`: what is wrong one by one, each with `title`, `name`, `word` (the property, or "") and `sentence`.
    """

    kind: ClassVar[str] = "error"

    def __init__(self, code: str, severity: int, message: str, http: int) -> None:
        super().__init__(message)
        self.code = code
        self.severity = severity
        self.message = message
        self.http = http
        self.line: int | None = None
        self.column: int | None = None
        self.retry_after: int | None = None
        self.problems: list[dict[str, str]] = []

    def _fill(self, **words: str) -> None:
        row = ROWS[self.kind]
        ControlError.__init__(self, row.code, row.severity, row.text.format(**words), row.http)

    @property
    def text(self) -> str:
        """What tmsh prints on its error stream: "01020036:3: The requested ..."."""
        return f"{self.code}:{self.severity}: {self.message}" if self.code else self.message

    def __str__(self) -> str:
        return self.text

    def to_json(self) -> dict[str, object]:
        """The form that travels over the socket; `from_json` gives back an equal error."""
        found: dict[str, object] = {
            "kind": self.kind,
            "code": self.code,
            "severity": self.severity,
            "message": self.message,
            "http": self.http,
        }
        if self.line is not None:
            found["line"] = self.line
        if self.column is not None:
            found["column"] = self.column
        if self.retry_after is not None:
            found["retry_after"] = self.retry_after
        if self.problems:
            found["problems"] = self.problems
        return found

    @staticmethod
    def from_json(found: object) -> "ControlError":
        """The error that `to_json` wrote. An answer that isn't one gives Internal; it never raises."""
        if not isinstance(found, dict) or not isinstance(found.get("message"), str):
            return Internal("an answer that is not an error")
        return _KINDS.get(str(found.get("kind")), ControlError)._of(found)

    @classmethod
    def _of(cls, found: dict[str, object]) -> Self:
        error = cls.__new__(cls)
        row = ROWS.get(cls.kind, Row("", 3, 400, ""))
        severity = _integer(found.get("severity"))
        http = _integer(found.get("http"))
        ControlError.__init__(
            error,
            str(found.get("code", row.code)),
            row.severity if severity is None else severity,
            str(found["message"]),
            row.http if http is None else http,
        )
        error.line = _integer(found.get("line"))
        error.column = _integer(found.get("column"))
        error.retry_after = _integer(found.get("retry_after"))
        error.problems = _problems(found.get("problems"))
        return error


def _problems(value: object) -> list[dict[str, str]]:
    if not isinstance(value, list):
        return []
    return [{str(word): str(text) for word, text in own.items()} for own in value if isinstance(own, dict)]


def _integer(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None


class NotFound(ControlError):
    """`type` is the vendor's word ("IPsec policy"), `name` the full name ("/Common/x")."""

    kind = "not-found"

    def __init__(self, type: str, name: str) -> None:
        self._fill(type=type, name=name)


class AlreadyExists(ControlError):
    """`partition` defaults to the first part of `name`."""

    kind = "already-exists"

    def __init__(self, type: str, name: str, partition: str | None = None) -> None:
        first = name.split("/")[1] if name.startswith("/") else "Common"
        self._fill(type=type, name=name, partition=partition or first)


class InUse(ControlError):
    """`name` can't go because `user_name` refers to it."""

    kind = "in-use"

    def __init__(self, type: str, name: str, user_type: str, user_name: str) -> None:
        self._fill(type=type, name=name, user_type=user_type, user_name=user_name)


class InvalidConfiguration(ControlError):
    """The words are known but what they ask for makes no sense. `detail` is a sentence."""

    kind = "invalid-configuration"

    def __init__(self, detail: str) -> None:
        self._fill(detail=detail)


class SyntaxProblem(ControlError):
    """The words make no request. `line` and `column` count from 1 in the text that was given."""

    kind = "syntax"

    def __init__(self, detail: str, line: int | None = None, column: int | None = None) -> None:
        place = [f"{word} {number}" for word, number in (("line", line), ("column", column)) if number]
        self._fill(detail=f"{detail} ({', '.join(place)})" if place else detail)
        self.line = line
        self.column = column


class Unauthorized(ControlError):
    """Nobody says who asks: no such token, or not the user's password. `sentence` doesn't say which of two it was."""

    kind = "unauthorized"

    def __init__(self, sentence: str) -> None:
        self._fill(sentence=sentence)


class TooMany(ControlError):
    """Too much was asked in too short a time. `seconds`: when to come again, rounded up, at least 1."""

    kind = "too-many"

    def __init__(self, sentence: str, seconds: float) -> None:
        whole = max(1, math.ceil(seconds))
        self._fill(sentence=sentence, seconds=str(whole))
        self.retry_after = whole


class Refused(ControlError):
    """The caller has no right to this. `sentence` says to what, and who has it."""

    kind = "refused"

    def __init__(self, sentence: str) -> None:
        self._fill(sentence=sentence)


class Unavailable(ControlError):
    """The daemon, or what it needs, doesn't answer now. `sentence` says what and what to do."""

    kind = "unavailable"

    def __init__(self, sentence: str) -> None:
        self._fill(sentence=sentence)


class Internal(ControlError):
    """A fault of ours in `what` (a call's name). What happened is in the log only: it may quote anything."""

    kind = "internal"

    def __init__(self, what: str) -> None:
        self._fill(what=what)


_KINDS: dict[str, type[ControlError]] = {
    cls.kind: cls
    for cls in (
        NotFound,
        AlreadyExists,
        InUse,
        InvalidConfiguration,
        SyntaxProblem,
        Unauthorized,
        TooMany,
        Refused,
        Unavailable,
        Internal,
    )
}

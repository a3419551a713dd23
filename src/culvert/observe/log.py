"""The daemon's own log: one line per event, `time LEVEL culvertd: event key=value`, or one JSON object.

Code says `LOG = EventLog("culvert.control")` and `LOG.warning("client-dropped", pid=12)`. An event is a few
words joined by dashes; what varies goes into the fields, so that lines can be searched and counted.

Secrets can't be printed by their type already; `redact` stands behind that for text that quotes a command
or a stanza with a key in it.
"""

import json
import logging
import re
import traceback
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, TextIO

from culvert.ipsec.secret import Secret

PROGRAM = "culvertd"
HIDDEN = "<hidden>"

_SECRET_WORD = r"(?:auth|encrypt|preshared|private|master)[-_]?[kK]ey(?:[-_]?[eE]ncrypted)?|pass(?:word|phrase)"
_SECRET_NAME = re.compile(rf"\A(?:{_SECRET_WORD})\Z")
_STRING = r"\"(?:[^\"\\]|\\.)*\"?|'(?:[^'\\]|\\.)*'?"
_ASSIGNED = re.compile(rf"(\b(?:{_SECRET_WORD})\b)((?:\\?[\"'])?[ \t]*[:= \t][ \t]*)(?:{_STRING}|[^\s,}}]+)")
# An SPI has 8 hex digits and an address in memory 12; the shortest key (DES) has 16.
_HEX_KEY = re.compile(r"\b0[xX][0-9a-fA-F]{16,}\b|\b[0-9a-fA-F]{32,}\b")
_SEALED = re.compile(r"\$(?:M|argon2\w*|[0-9][a-z]?)\$[^\s\"'}]+")
_ONE_LINE = dict.fromkeys((*range(32), *range(127, 160), 0x2028, 0x2029), " ")
_PLAIN = re.compile(r"\A[A-Za-z0-9_./:@%+<>\[\](){}-]+\Z")


def redact(text: str) -> str:
    """`text` with everything that looks like key text or a password replaced by <hidden>."""
    text = _ASSIGNED.sub(rf"\1\2{HIDDEN}", text)
    text = _SEALED.sub(HIDDEN, text)
    return _HEX_KEY.sub(HIDDEN, text)


def one_line(text: str) -> str:
    """`text` without line ends and other control characters, so that nothing in it can pass for a line of ours."""
    return text.translate(_ONE_LINE)


class EventLog:
    """A named logger that takes an event and fields. Fields are str, int, float, bool, None or print as str.

    A field called `level` or `fields` is as good as any other; nothing here ever raises.
    """

    def __init__(self, name: str) -> None:
        self._logger = logging.getLogger(name)

    def debug(self, event: str, /, **fields: object) -> None:
        self._log(logging.DEBUG, event, fields)

    def info(self, event: str, /, **fields: object) -> None:
        self._log(logging.INFO, event, fields)

    def warning(self, event: str, /, **fields: object) -> None:
        self._log(logging.WARNING, event, fields)

    def error(self, event: str, /, **fields: object) -> None:
        self._log(logging.ERROR, event, fields)

    def exception(self, event: str, /, **fields: object) -> None:
        """An error with the traceback of the exception being handled, on the same line, escaped."""
        self._log(logging.ERROR, event, fields, trace=True)

    def _log(self, level: int, event: str, fields: Mapping[str, object], trace: bool = False) -> None:
        # "%s" keeps a % in an event from being taken for a format.
        self._logger.log(level, "%s", event, extra={"fields": dict(fields)}, exc_info=trace)


class TextFormatter(logging.Formatter):
    """`2012-06-29T16:45:14.123Z INFO culvertd: event key=value`; a value with odd characters is quoted."""

    def format(self, record: logging.LogRecord) -> str:
        words = [f"{key}={_quoted(value)}" for key, value in _fields(record).items()]
        event = one_line(redact(record.getMessage()))
        return " ".join([_time(record), record.levelname, f"{PROGRAM}:", event, *words])


class JsonFormatter(logging.Formatter):
    """One JSON object per line: time, level, program, logger, event, and the fields under `fields`."""

    def format(self, record: logging.LogRecord) -> str:
        line = {
            "time": _time(record),
            "level": record.levelname.lower(),
            "program": PROGRAM,
            "logger": record.name,
            "event": redact(record.getMessage()),
            "fields": _fields(record),
        }
        return json.dumps(line)


def configure(stream: TextIO, format: str = "text", level: int = logging.INFO) -> None:
    """Send every log line of the process to `stream`. `format` is text or json. Replaces earlier settings."""
    handler = logging.StreamHandler(stream)
    handler.setFormatter(JsonFormatter() if format == "json" else TextFormatter())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)


def _time(record: logging.LogRecord) -> str:
    moment = datetime.fromtimestamp(record.created, UTC)
    return moment.strftime("%Y-%m-%dT%H:%M:%S.") + f"{moment.microsecond // 1000:03d}Z"


def _fields(record: logging.LogRecord) -> dict[str, object]:
    given = getattr(record, "fields", {})
    fields = {key: _shown(key, value) for key, value in given.items()}
    if record.exc_info:
        fields["traceback"] = _frames(record.exc_info)
    return fields


def _frames(exc_info: Any) -> str:
    """Where it happened and what kind of exception it was. Never its message, which may quote a caller's words."""
    kind, _, trace = exc_info
    frames = [f"{frame.filename}:{frame.lineno} in {frame.name}" for frame in traceback.extract_tb(trace)]
    return "; ".join([*frames, kind.__name__ if kind else ""])


def _shown(key: str, value: object) -> object:
    if _SECRET_NAME.match(key) or isinstance(value, Secret):
        return HIDDEN
    if isinstance(value, bytes | bytearray | memoryview):
        return f"<{len(value)} octets>"
    if value is None or isinstance(value, bool | int | float):
        return value
    return redact(str(value))


def _quoted(value: object) -> str:
    text = str(value)
    return text if _PLAIN.match(text) else json.dumps(text)

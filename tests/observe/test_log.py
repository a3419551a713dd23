"""The daemon's own log: one line per event whatever the values are, and no key in any of them."""

import io
import json
import logging
from collections.abc import Iterator

import pytest

from culvert.ipsec.secret import Secret
from culvert.observe import log
from culvert.observe.log import HIDDEN, EventLog, JsonFormatter, TextFormatter, one_line, redact


@pytest.fixture
def stream() -> Iterator[io.StringIO]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield io.StringIO()
    root.handlers[:] = handlers
    root.setLevel(level)


def said(stream: io.StringIO, format: str = "text", event: str = "started", **fields: object) -> str:
    log.configure(stream, format)
    EventLog("culvert.test").info(event, **fields)
    return stream.getvalue()


def test_text_line(stream: io.StringIO) -> None:
    line = said(stream, pid=12, path="/run/a.sock", who="Ann Lee", nothing=None, quote='a"b', empty="")
    time, rest = line.split(" ", 1)
    assert (
        rest
        == r'INFO culvertd: started pid=12 path=/run/a.sock who="Ann Lee" nothing=None quote="a\"b" empty=""' + "\n"
    )
    assert len(time) == len("2012-06-29T16:45:14.123Z") and time.endswith("Z")


def test_time_is_utc_to_the_millisecond() -> None:
    record = logging.LogRecord("culvert", logging.WARNING, "", 0, "%s", ("event",), None)
    record.created = 1340988314.0625
    assert TextFormatter().format(record) == "2012-06-29T16:45:14.062Z WARNING culvertd: event"


def test_json_line(stream: io.StringIO) -> None:
    found = json.loads(said(stream, "json", n=1, yes=True, text="ü\n"))
    assert found.pop("time").endswith("Z")
    assert found == {
        "level": "info",
        "program": "culvertd",
        "logger": "culvert.test",
        "event": "started",
        "fields": {"n": 1, "yes": True, "text": "ü\n"},
    }


@pytest.mark.parametrize("format", ["text", "json"])
@pytest.mark.parametrize("value", ["a\nb", "a\r\n2012 ERROR culvertd: forged", "\x1b[2J", "\u2028", "\x85", "%s %d"])
def test_no_value_makes_a_second_line(stream: io.StringIO, format: str, value: str) -> None:
    text = said(stream, format, f"event {value}", value=value)
    assert len(text.splitlines()) == 1
    assert "\x1b" not in text


def test_fields_may_have_any_name(stream: io.StringIO) -> None:
    text = said(stream, level="x", fields="y", name="z", msg="m", exc_info="e")
    assert text.endswith("started level=x fields=y name=z msg=m exc_info=e\n")


@pytest.mark.parametrize("format", ["text", "json"])
def test_a_traceback_stays_on_the_line_without_the_key(stream: io.StringIO, format: str) -> None:
    log.configure(stream, format)
    try:
        raise ValueError('auth-key "sesame sesame"')
    except ValueError:
        EventLog("culvert.test").exception("failed", call="create")
    text = stream.getvalue()
    assert len(text.splitlines()) == 1
    assert "ValueError" in text and "test_log.py" in text and "sesame" not in text


@pytest.mark.parametrize(
    "text",
    [
        'auth-key "sesame"',
        "auth-key sesame",
        "modify net ipsec manual-security-association x { auth-key sesame }",
        'auth-key "a \\" sesame" next',
        'auth-key "unterminated sesame',
        "encrypt-key: sesame",
        "preshared-key 'sesame'",
        "preshared-key-encrypted sesame",
        '{"authKey": "sesame"}',
        '{\\"authKey\\": \\"sesame\\"}',
        "{'encryptKey': 'sesame'}",
        "auth_key=sesame",
        "password sesame",
        "passphrase=sesame",
        "$M$ab$sesame==",
        'x "$M$ab$sesame==" y',
        "0x" + "5e5a" * 5,
        "0X" + "5E5A" * 4,
        "5e5a" * 8,
    ],
)
def test_what_looks_like_a_key_is_hidden(stream: io.StringIO, text: str) -> None:
    for shown in (redact(text), said(stream, event=text, note=text), said(stream, "json", event=text, note=text)):
        assert "sesame" not in shown and "5e5a" not in shown.lower(), shown
        assert HIDDEN in shown


@pytest.mark.parametrize(
    "text",
    [
        "IPsec-SA established: ESP/Tunnel 1.1.1.1[0]->2.2.2.2[0] spi=4294967295(0xffffffff)",
        "ISAKMP-SA established spi:3840191bd045fa51:673828cf6adc5c61",
        "2001:db8:85a3:8d3:1319:8a2e:370:7348",
        "the authentication algorithm is unknown",
        "<Thing object at 0x7f1234567890>",
    ],
)
def test_what_does_not_is_left(text: str) -> None:
    assert redact(text) == text


@pytest.mark.parametrize("format", ["text", "json"])
def test_secrets_and_octets_never_show(stream: io.StringIO, format: str) -> None:
    fields = {"auth_key": "plain sesame", "sa": Secret(b"sesame"), "packet": b"sesame", "buffer": bytearray(b"sesame")}
    text = said(stream, format, **fields)
    assert "sesame" not in text
    assert text.count(HIDDEN) == 2 and text.count("<6 octets>") == 2


def test_configure_replaces_what_was_there(stream: io.StringIO) -> None:
    first = io.StringIO()
    said(first)
    before = first.getvalue()
    assert said(stream).count("\n") == 1
    assert first.getvalue() == before


def test_levels(stream: io.StringIO) -> None:
    log.configure(stream, level=logging.WARNING)
    own = EventLog("culvert.test")
    own.debug("d")
    own.info("i")
    own.warning("w")
    own.error("e")
    assert [line.split(" ", 1)[1] for line in stream.getvalue().splitlines()] == [
        "WARNING culvertd: w",
        "ERROR culvertd: e",
    ]


def test_lines_of_libraries_have_the_same_shape() -> None:
    record = logging.LogRecord("pyroute2", logging.ERROR, "", 0, "lost %d\n", (3,), None)
    assert TextFormatter().format(record).endswith(" ERROR culvertd: lost 3 ")
    assert json.loads(JsonFormatter().format(record))["logger"] == "pyroute2"


def test_one_line_keeps_letters() -> None:
    assert one_line("a\tü\n€\x9b") == "a ü € "

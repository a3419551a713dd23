"""System > Logs: what is shown of the log of IPsec, and as a file."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.web.visitor import Visitor, visiting


@pytest.fixture
def ann(tmp_path: Path) -> Iterator[Visitor]:
    with visiting(tmp_path, guy="guest") as made:
        made.inside.site.tmsh("modify net ipsec ike-daemon ikedaemon log-level debug log-publisher "
                              "default-ipsec-log-publisher")  # fmt: skip
        for level, text in (("error", "one is broken"), ("warning", "two is odd"), ("info", "three <b>is</b> told"),
                            ("debug", "four is small")):  # fmt: skip
            made.inside.site.publisher.emit(level, text)
        yield made


def shown(visitor: Visitor, words: str = "") -> set[str]:
    text = visitor.look(f"/logs?{words}").text
    return {own for own in ("one", "two", "three", "four") if f">{own} " in text}


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("", {"one", "two", "three", "four"}),
        ("level=warning", {"one", "two"}),
        ("level=error", {"one"}),
        ("level=nonsense", {"one", "two", "three", "four"}),
        ("search=IS+O", {"two"}),
        ("search=is&level=info", {"one", "two", "three"}),
        ("search=nothing+such", set()),
    ],
)
def test_filters(ann: Visitor, words: str, expected: set[str]) -> None:
    assert shown(ann, words) == expected


def test_lines_are_text_whatever_is_in_them(ann: Visitor) -> None:
    page = ann.look("/logs?search=<script>")
    assert "<b>is" not in ann.look("/logs").text and "<script>" not in page.text


def test_a_filter_looks_behind_the_lines_that_are_shown(ann: Visitor) -> None:
    for number in range(120):
        ann.inside.site.publisher.emit("info", f"line {number} of many")
    assert "50 lines" in ann.look("/logs?lines=50").text
    assert shown(ann, "lines=50") == set()
    assert shown(ann, "lines=50&level=warning") == {"one", "two"}
    assert "100 lines" in ann.look("/logs?lines=7").text


def test_it_is_renewed_only_when_wanted_and_keeps_no_session_alive(ann: Visitor) -> None:
    assert "hx-trigger" not in ann.look("/logs").text
    page = ann.look("/logs?follow=1&level=error")
    assert 'hx-trigger="every 5s"' in page.text and "level=error" in page.text and "renew=1" in page.text
    ann.calls.clear()
    part = ann.look("/logs?follow=1&level=error&renew=1", hx_request="true")
    assert "<html" not in part.text and ">one " in part.text and ">two " not in part.text
    assert "extend" not in [name for name, _ in ann.calls]


def test_the_file(ann: Visitor) -> None:
    page = ann.look("/logs/ipsec.log?level=warning")
    assert page.headers["Content-Disposition"] == 'attachment; filename="ipsec.log"'
    lines = page.text.splitlines()
    assert [own.split(": ", 1)[1] for own in lines] == ["ERROR: one is broken", "WARNING: two is odd"]


def test_level_and_publisher_with_the_way_to_change_them(ann: Visitor) -> None:
    text = ann.look("/logs").text
    assert "<dd>debug</dd>" in text and "default-ipsec-log-publisher" in text
    assert "/objects/net/ipsec/ike-daemon/~Common~ikedaemon" in text


def test_a_guest_may_look(ann: Visitor) -> None:
    assert shown(Visitor(ann.inside, "guy")) == {"one", "two", "three", "four"}
    assert ann.look("/logs/other.log").status == 404

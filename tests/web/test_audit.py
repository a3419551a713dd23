"""System > Audit: who did what, and whether the lines are whole."""

import contextlib
import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from culvert.control.errors import ControlError
from tests.web.visitor import Visitor, visiting


@pytest.fixture
def ann(tmp_path: Path) -> Iterator[Visitor]:
    with visiting(tmp_path, guy="guest", max="manager", sue="auditor") as made:
        yield made


def change(visitor: Visitor, name: str) -> None:
    """ann makes a route; the second time that fails."""
    operation = {"verb": "create", "kind": "net route", "names": [f"/Common/{name}"]}
    operation |= {"properties": {"network": "10.9.0.0/16", "gw": "2.2.2.9"}}
    with contextlib.suppress(ControlError):
        visitor.session.call("transaction", operations=[operation])


def rows(visitor: Visitor, words: str = "") -> list[list[str]]:
    text = visitor.look(f"/audit?{words}").text
    body = text.partition("<tbody>")[2].partition("</tbody>")[0]
    return [
        [re.sub(r"<[^>]*>", "", cell).strip() for cell in re.findall(r"<td[^>]*>(.*?)</td>", row)]
        for row in body.split("<tr>")[1:]
    ]


def test_who_did_what_from_where_and_how_it_ended(ann: Visitor) -> None:
    change(ann, "r1")
    change(ann, "r1")
    again, made, login = rows(ann)[:3]
    assert made[2:5] == ["ann", "192.0.2.7", "transaction create net route /Common/r1 gw network"]
    assert made[5] == "ok" and "already exists" in again[5]
    assert login[4].startswith("login") and int(again[0]) == int(made[0]) + 1


def test_search_and_results(ann: Visitor) -> None:
    change(ann, "r1")
    change(ann, "r1")
    assert [row[5] == "ok" for row in rows(ann, "search=NET+ROUTE")] == [False, True]
    assert len(rows(ann, "search=net+route&result=ok")) == 1
    assert all(row[5] != "ok" for row in rows(ann, "result=failed"))
    assert rows(ann, "search=nobody+such") == [["Nothing fits the search."]]
    assert "<script>" not in ann.look("/audit?search=<script>").text


def test_pages(ann: Visitor) -> None:
    for number in range(60):
        change(ann, f"r{number}")
    first, second, third = (rows(ann, f"size=25&page={n}&search=net+route") for n in (1, 2, 3))
    assert [len(own) for own in (first, second, third)] == [25, 25, 10]
    assert "r59" in first[0][4] and "r0" in third[-1][4]
    page = ann.look("/audit?size=25&page=2&search=net+route")
    assert "Page 2 of 3" in page.text
    part = ann.look("/audit?size=25&page=2", hx_request="true")
    assert "<html" not in part.text and "Page 2 of" in part.text


def test_whole_lines_are_said_to_be(ann: Visitor) -> None:
    change(ann, "r1")
    assert re.fullmatch(r"Lines 1 to \d+ are whole: .*", ann.look("/audit").said("done")[0])


@pytest.mark.parametrize("damage", ["changed", "taken out", "cut off", "garbled"])
def test_lines_that_are_not_whole_are_told(ann: Visitor, tmp_path: Path, damage: str) -> None:
    for name in ("r1", "r2", "r3"):
        change(ann, name)
    path = tmp_path / "log" / "audit.log"
    lines = path.read_text().splitlines(keepends=True)
    own = json.loads(lines[-2])
    if damage == "changed":
        lines[-2] = json.dumps(own | {"user": "bob"}) + "\n"
    elif damage == "taken out":
        del lines[-2]
    elif damage == "cut off":
        del lines[-1]
    else:
        lines[-2] = "not a line\n"
    path.write_text("".join(lines))
    page = ann.look("/audit")
    told = page.said("alert")[0]
    assert told.startswith("The audit log is not whole: ") and not page.said("done")
    number = own["number"] + (damage == "cut off") - (damage == "garbled")
    assert f"number {number}" in told, told


def test_who_may_see_it(ann: Visitor) -> None:
    change(ann, "r1")
    assert "/Common/r1" in str(rows(Visitor(ann.inside, "sue")))
    for user in ("guy", "max"):
        page = Visitor(ann.inside, user).look("/audit")
        assert page.status == 403 and "The audit log is for admin, resource-admin" in page.said("alert")[0]
        assert "/Common/r1" not in page.text


def test_no_password_is_in_it(ann: Visitor) -> None:
    roles = [{"name": "all-partitions", "role": "guest"}]
    properties = {"password": "S3cret-of-bob!", "partition-access": roles}
    ann.session.call("create", kind="auth user", name="bob", properties=properties)
    text = ann.look("/audit").text
    assert "auth user bob" in text and "S3cret" not in text

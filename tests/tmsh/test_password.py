"""`modify auth password`: asked for, twice, and never seen."""

import io
import sys
from typing import Any

import pytest

from culvert.control.errors import ControlError
from culvert.tmsh import command, password
from culvert.tmsh.session import Session
from tests.control.live import Site

NEW = "a new password"


def typed(site: Site, *words: str) -> tuple[Session, list[str]]:
    """A session at which these are typed in turn, and what it asks."""
    asked: list[str] = []
    left = list(words)

    def secret(question: str) -> str:
        asked.append(question)
        return left.pop(0)

    return Session(site, secret=secret), asked


def hash_of(site: Site, user: str) -> Any:
    return site.gateway.snapshot.get(("auth", "user"), user)["password"]


def test_an_administrator_changes_that_of_another(site: Site) -> None:
    site.tmsh("create auth user ann")
    session, asked = typed(site, NEW, NEW)
    assert command.run("modify auth password ann", session) == ""
    assert asked == ["new password: ", "confirm password: "]
    assert hash_of(site, "ann").lets_in
    assert NEW not in site.log


def test_two_that_differ_change_nothing(site: Site) -> None:
    site.tmsh("create auth user ann")
    session, _ = typed(site, NEW, "something else")
    with pytest.raises(ControlError, match="not the same; nothing was changed"):
        command.run("modify auth password ann", session)
    assert hash_of(site, "ann") is None


def test_who_is_no_administrator_is_asked_for_the_old_one(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    site.tmsh("create auth user jo partition-access add { all-partitions { role guest } }")
    calls: list[dict[str, Any]] = []

    class Jo:
        def call(self, name: str, /, **args: Any) -> Any:
            calls.append(args)
            return {"describe": {"user": "jo"}, "access": {"admin": False}}.get(name, {"warnings": []})

    session, asked = typed(site, "the old one", NEW, NEW)
    session.client = Jo()
    command.run("modify auth password", session)
    assert asked[0] == "(current) password: "
    (operation,) = calls[-1]["operations"]
    assert (operation["names"], operation["old_password"]) == (["jo"], "the old one")
    assert operation["properties"] == {"password": NEW}


def test_where_nobody_can_be_asked(site: Site) -> None:
    site.tmsh("create auth user ann")
    with pytest.raises(ControlError, match="there is no terminal"):
        site.tmsh("modify auth password ann")
    session, _ = typed(site)
    command.run("create cli transaction", session)
    with pytest.raises(ControlError, match="not in a transaction"):
        command.run("modify auth password ann", session)


def test_a_script_gives_it_in_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO(f"{NEW}\n{NEW}\n"))
    assert [password.ask("new password: "), password.ask("confirm password: ")] == [NEW, NEW]


def test_modify_of_anything_else_is_as_it_was(site: Site) -> None:
    assert "01020036:3:" in site.type("modify auth partition nowhere description x")[0]
    assert "incomplete command" in site.type("modify auth")[0] or "unexpected" in site.type("modify auth")[0]

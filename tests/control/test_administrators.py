"""Nobody takes the last administrator away, by whatever road; and a text that names none leaves those there are."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.control.guarded import CHEAP, WEB, Guarded, basic
from tests.control.live import ME

EVERYWHERE = [{"name": "all-partitions", "role": "admin"}]
LESS = [{"name": "all-partitions", "role": "resource-admin"}]
ROADS: dict[str, tuple[str, dict[str, Any]]] = {
    "deleted": ("delete", {"names": ["ann"]}),
    "all deleted": ("delete", {"names": ["all"]}),
    "demoted": ("modify", {"names": ["ann"], "properties": {"partition-access": LESS}}),
    "without roles": ("modify", {"names": ["ann"], "properties": {"partition-access": "none"}}),
    "without a password": ("modify", {"names": ["ann"], "properties": {"password": "none"}}),
    "locked": ("modify", {"names": ["ann"], "properties": {"password": "!"}}),
    "with a foreign hash": ("modify", {"names": ["ann"], "properties": {"password": "$6$salt$" + "a" * 86}}),
}


@pytest.fixture
def house(tmp_path: Path) -> Iterator[Guarded]:
    made = Guarded(tmp_path)
    made.user("ann")
    made.user("guy", "guest")
    yield made
    made.close()


def names(house: Guarded) -> list[str]:
    return [own["name"] for own in house.root("list", kind="auth user")]


@pytest.mark.parametrize("road", ROADS)
@pytest.mark.parametrize("who", ["root", "ann"])
def test_the_last_one_stays(house: Guarded, road: str, who: str) -> None:
    call, args = ROADS[road]
    by = {"root": (None, ME), "ann": (basic("ann"), WEB)}[who]
    operation = {"verb": call, "kind": "auth user", **args}
    for name, given in (
        (call, {"kind": "auth user", **args}),
        ("transaction", {"operations": [operation]}),
        ("transaction", {"operations": [operation], "validate_only": True}),
    ):
        told = house.refused(name, *by, **given)
        assert told.http == 400
        assert "user (ann): is the last administrator who can log in; given: " in told.text
        assert "allowed: a user with the role admin in all-partitions and a password" in told.text
    house.ask("describe", basic("ann"))
    assert names(house) == ["ann", "guy"]


def test_a_put_of_nothing_is_refused_and_says_what_was_given(house: Guarded) -> None:
    operation = {"verb": "replace", "kind": "auth user", "names": ["ann"], "properties": {}}
    assert "given: no role; allowed" in house.refused("transaction", basic("ann"), operations=[operation]).text


def test_where_another_is_there_one_may_go(house: Guarded) -> None:
    swap = [
        {"verb": "delete", "kind": "auth user", "names": ["ann"]},
        {
            **{"verb": "create", "kind": "auth user", "name": "new"},
            "properties": {"password": CHEAP.hash("x"), "partition-access": EVERYWHERE},
        },
    ]
    house.root("transaction", operations=swap)
    assert names(house) == ["guy", "new"]
    house.user("ann")
    house.root("delete", kind="auth user", names=["new"])
    house.root("transaction", operations=[{"verb": "rename", "kind": "auth user", "names": ["ann"], "to": "eve"}])
    assert names(house) == ["eve", "guy"]


def test_a_load_keeps_those_whom_its_text_does_not_name(house: Guarded) -> None:
    hashed = house.site.gateway.snapshot.get(("auth", "user"), "ann")["password"]
    for text in ("", "auth user bob { partition-access { all-partitions { role guest } } }"):
        told = house.root("load", text=text, merge=False)["warnings"]
        assert told[0].startswith("user (ann) is kept: ")
        assert "guy" not in names(house)
        assert house.site.gateway.snapshot.get(("auth", "user"), "ann")["password"] == hashed
    house.ask("describe", basic("ann"))


def test_a_load_that_names_another_replaces_all(house: Guarded) -> None:
    everywhere = "partition-access { all-partitions { role admin } }"
    text = f'auth user bob {{ encrypted-password "{CHEAP.hash("x")}" {everywhere} }}'
    house.root("load", text=text, merge=False)
    assert names(house) == ["bob"]


@pytest.mark.parametrize("merge", [False, True])
@pytest.mark.parametrize("verify", [False, True])
def test_a_load_that_makes_less_of_the_last_one_is_refused(house: Guarded, merge: bool, verify: bool) -> None:
    before = house.root("text")
    text = "auth user ann { partition-access { all-partitions { role guest } } }"
    told = house.refused("load", None, ME, text=text, merge=merge, verify=verify)
    assert "is the last administrator who can log in" in told.text
    assert house.root("text") == before


def test_whoever_comes_by_the_group_needs_no_password_to_be_the_last(tmp_path: Path) -> None:
    own = Guarded(tmp_path)
    own.root("create", kind="auth user", name="ann", properties={"partition-access": EVERYWHERE})
    own.root("create", kind="auth user", name="guy", properties={})
    told = own.refused("delete", None, own.site.peer, kind="auth user", names=["ann"]).text
    assert "user (ann): is the last administrator; given: no such user; allowed" in told
    own.root("delete", kind="auth user", names=["guy"])
    # Without any user every member of the group is one again, so nobody is shut out.
    own.root("delete", kind="auth user", names=["ann"])
    own.close()

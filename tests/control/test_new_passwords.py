"""Own passwords, of all roles; nothing else of oneself; and hashing that nobody has to wait for."""

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from culvert.control import access
from culvert.control.listener import Peer
from culvert.model.passwords import MASK
from tests.control.guarded import CHEAP, PASSWORD, Guarded, basic
from tests.control.live import ME

NEW = "a new password"
ROLES = [role for role in access.ROLES if role != "no-access"]


@pytest.fixture
def house(tmp_path: Path) -> Iterator[Guarded]:
    made = Guarded(tmp_path)
    made.user("boss")
    yield made
    made.close()


def change(name: str, password: str, **more: Any) -> dict[str, Any]:
    operation = {"verb": "modify", "kind": "auth user", "names": [name], "properties": {"password": password}}
    return {"operations": [operation | more]}


@pytest.mark.parametrize("role", ROLES)
def test_everybody_changes_the_own_password(house: Guarded, role: str) -> None:
    house.user("me", role)
    token = house.token("me")
    house.ask("transaction", basic("me"), **change("me", NEW))
    assert house.refused("describe", token).http == 401
    assert house.refused("describe", basic("me")).http == 401
    house.ask("describe", basic("me", NEW))
    house.ask("modify", basic("me", NEW), kind="auth user", names=["me"], properties={"password": "and another"})
    house.ask("describe", basic("me", "and another"))


def test_a_role_in_one_partition_is_enough(house: Guarded) -> None:
    house.root("create", kind="auth partition", name="S1", properties={})
    house.user("me", "operator", "S1")
    house.ask("transaction", basic("me"), **change("me", NEW))
    house.ask("describe", basic("me", NEW))


@pytest.mark.parametrize("role", [own for own in ROLES if own not in ("admin", "user-manager")])
def test_nothing_else_of_oneself(house: Guarded, role: str) -> None:
    house.user("me", role)
    before = house.root("text")
    own = {"kind": "auth user", "names": ["me"]}
    for call, more in (
        ("modify", {"properties": {"shell": "bash"}}),
        ("modify", {"properties": {"password": NEW, "shell": "bash"}}),
        ("modify", {"properties": {"password": NEW, "partition-access": "none"}}),
        ("modify", {"properties": {"description": "x"}}),
        ("delete", {}),
        ("transaction", {"operations": [{"verb": "replace", **own, "properties": {"password": NEW}}]}),
        ("transaction", {"operations": [{"verb": "rename", **own, "to": "boss2"}]}),
    ):
        told = house.refused(call, basic("me"), **({} if call == "transaction" else own), **more)
        assert told.http == 403, (call, more)
    assert house.refused("transaction", basic("me"), **change("boss", NEW)).http == 403
    assert house.refused("modify", basic("me"), kind="auth user", names=["me", "boss"], properties={"password": NEW})
    assert house.root("text") == before


@pytest.mark.parametrize(
    "password",
    ["none", "", "!", "*", CHEAP.hash(NEW), "$6$salt$" + "a" * 86],
    ids=["none", "nothing", "locked", "star", "argon2", "crypt"],
)
def test_a_password_of_ones_own_is_typed(house: Guarded, password: str) -> None:
    house.user("me", "guest")
    told = house.refused("transaction", basic("me"), **change("me", password))
    assert (told.http, "typed" in told.text or "in clear" in told.text) == (403, True)
    house.ask("transaction", basic("me"), **change("me", MASK))
    house.ask("describe", basic("me"))


def test_a_token_is_no_proof_of_the_old_password(house: Guarded) -> None:
    house.user("me", "manager")
    token = house.token("me")
    told = house.refused("transaction", token, **change("me", NEW)).text
    assert told == "needed beside the new one: the old password"
    wrong = house.refused("transaction", token, **change("me", NEW, old_password="wrong"))
    assert (wrong.http, wrong.text) == (403, "that is not the old password")
    assert '"result": "that is not the old password"' in house.audit_text
    house.ask("transaction", token, **change("me", NEW, old_password=PASSWORD))
    house.ask("describe", basic("me", NEW))
    for secret in (PASSWORD, NEW, "wrong"):
        assert secret not in house.audit_text


def test_guessing_the_old_password_is_guessing(house: Guarded) -> None:
    house.user("me", "guest")
    token = house.token("me")
    found = [house.refused("transaction", token, **change("me", NEW, old_password=f"wrong {n}")).http for n in range(9)]
    assert found[:5] == [403] * 5 and set(found[6:]) == {429}


def test_somebody_at_an_open_terminal_needs_it_too(house: Guarded) -> None:
    house.user("me", "guest")
    peer = Peer(pid=9, uid=4321, gid=4321, user="me")
    assert house.refused("transaction", None, peer, **change("me", NEW)).http == 403
    house.ask("transaction", None, peer, **change("me", NEW, old_password=PASSWORD))
    house.root("create", kind="auth user", name="bare", properties={"partition-access": [
        {"name": "all-partitions", "role": "guest"}
    ]})  # fmt: skip
    # Where there is none yet, there is none to know.
    house.ask("transaction", None, Peer(pid=9, uid=4322, gid=4322, user="bare"), **change("bare", NEW))
    house.ask("describe", basic("bare", NEW))


def test_who_may_change_users_needs_no_old_password(house: Guarded) -> None:
    house.user("um", "user-manager")
    house.user("me", "guest")
    house.ask("transaction", house.token("um"), **change("me", NEW))
    house.ask("transaction", house.token("boss"), **change("um", NEW))
    house.ask("describe", basic("me", NEW))


def test_a_resource_administrator_has_no_way_around_by_a_file(house: Guarded) -> None:
    house.user("ra", "resource-admin")
    text = f'auth user ra {{ encrypted-password "{CHEAP.hash(NEW)}" }}'
    assert house.refused("load", basic("ra"), text=text, merge=True).http == 403


def test_nothing_is_hashed_where_everybody_waits(house: Guarded, monkeypatch: pytest.MonkeyPatch) -> None:
    threads: list[str] = []

    def make(secret: Any) -> str:
        threads.append(threading.current_thread().name)
        return CHEAP.hash(secret.reveal())

    def never(self: Any, secret: Any) -> str:
        raise AssertionError("hashed in the live thread")

    monkeypatch.setattr(house.passwords, "_make", make)
    monkeypatch.setattr("culvert.config.vault.Vault.hash_password", never)
    everywhere = [{"name": "all-partitions", "role": "guest"}]
    properties = {"password": PASSWORD, "partition-access": everywhere}
    house.root("create", kind="auth user", name="new", properties=properties)
    second = {"verb": "create", "kind": "auth user", "name": "two", "properties": properties}
    house.root("transaction", operations=[second])
    house.ask("transaction", basic("new"), **change("new", NEW))
    assert len(threads) == 3 and all(name.startswith("password") for name in threads)
    for name in ("new", "two"):
        house.ask("describe", basic(name, NEW if name == "new" else PASSWORD))


def test_who_may_not_costs_no_hash(house: Guarded, monkeypatch: pytest.MonkeyPatch) -> None:
    house.user("me", "guest")
    monkeypatch.setattr(house.passwords, "_make", lambda secret: pytest.fail("hashed"))
    assert house.refused("create", basic("me"), kind="auth user", name="x", properties={"password": NEW}).http == 403


def test_the_own_name_is_no_password_all_the_same(house: Guarded) -> None:
    house.user("long-name-1", "guest")
    house.user("long-name-2", "guest")
    given = {"kind": "auth user", "properties": {"password": "LONG-NAME-1"}}
    for call, names in (
        ("create", {"name": "Long-Name-1"}),
        ("modify", {"names": ["long-name-1"]}),
        ("modify", {"names": ["long-name-2", "long-name-1"]}),
        ("modify", {"names": ["all"]}),
    ):
        assert "own name is no password" in house.refused(call, None, ME, **given, **names).text
    house.ask("describe", basic("long-name-2"))


def test_many_names_at_once_get_it(house: Guarded) -> None:
    house.user("a", "guest")
    house.user("b", "guest")
    house.ask("modify", None, ME, kind="auth user", names=["a", "b"], properties={"password": NEW})
    house.ask("describe", basic("a", NEW))
    house.ask("describe", basic("b", NEW))


def test_the_answer_shows_what_became_of_it(house: Guarded) -> None:
    house.user("me", "guest")
    listed = {"kind": "auth user", "names": ["me"]}
    (own,) = house.ask("transaction", basic("me"), **change("me", NEW), listed=listed)["listed"]
    assert (own["name"], own["properties"]["password"]) == ("me", MASK)
    assert house.refused("list", basic("me"), **listed).http == 401

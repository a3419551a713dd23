"""Logins, tokens and whoever comes by them: what they let in, and what they never do."""

import json
import stat
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from culvert.control import accounts, verifier
from culvert.control.errors import ControlError, Refused, SyntaxProblem, TooMany, Unauthorized
from culvert.control.listener import Peer
from culvert.model.passwords import MASK
from tests.control.guarded import CHEAP, HOME, PASSWORD, WEB, Guarded, basic
from tests.control.live import ME, NOW

FAR = "198.51.100.9"
POLICY = {"kind": "net ipsec ipsec-policy", "name": "/Common/p", "properties": {}}


@pytest.fixture
def house(tmp_path: Path) -> Iterator[Guarded]:
    made = Guarded(tmp_path)
    made.user("ann")
    made.user("guy", "guest")
    yield made
    made.close()


def is_no_token(error: ControlError) -> bool:
    return isinstance(error, Unauthorized) and error.text == "X-F5-Auth-Token does not exist." and error.http == 401


# tokens


def test_a_login_gives_a_token_that_works(house: Guarded) -> None:
    found = house.ask("login", **basic("ann"))
    assert len(found["token"]) == 26 and set(found["token"]) <= set("ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789")
    assert {**found, "token": ""} == {
        "token": "", "user": "ann", "address": HOME, "timeout": 1200, "partition": "[All]",
        "started": NOW + 1000, "expires": NOW + 2200,
    }  # fmt: skip
    own = {"token": found["token"], "address": HOME}
    house.ask("create", own, **POLICY)
    assert house.ask("token", own) == found
    assert house.ask("describe", own)["user"] == "ann"


def test_a_token_says_its_partition(house: Guarded) -> None:
    house.root("create", kind="auth partition", name="S1", properties={})
    house.user("kim", "manager", "S1")
    assert house.ask("login", **basic("kim"))["partition"] == "S1"


def test_a_token_ends_by_itself_and_by_logout(house: Guarded) -> None:
    first, second = house.token("ann"), house.token("ann")
    house.seconds += 1199
    house.ask("describe", first)
    house.ask("logout", second)
    assert is_no_token(house.refused("describe", second))
    house.seconds += 1
    assert is_no_token(house.refused("describe", first))


def test_extend(house: Guarded) -> None:
    own = house.token("ann")
    house.seconds += 100
    found = house.ask("extend", own, timeout=3600)
    assert (found["timeout"], found["expires"]) == (3600, NOW + house.seconds + 3600)
    house.seconds += 3599
    house.ask("describe", own)
    for timeout in (0, 36_001, "100", None, True):
        assert isinstance(house.refused("extend", own, timeout=timeout), SyntaxProblem)
    # However often it is extended, nobody works for ever on one login.
    for _ in range(20):
        last = house.seconds
        try:
            house.ask("extend", own, timeout=36_000)
        except Unauthorized:
            break
        house.seconds += 35_000
    assert last - 1000 <= 36_000 + 35_000
    assert is_no_token(house.refused("describe", own))


@pytest.mark.parametrize("token", ["", "A" * 26, "\ud800", "x" * 100_000, "../../etc/passwd"])
def test_what_is_no_token(house: Guarded, token: str) -> None:
    assert is_no_token(house.refused("describe", {"token": token, "address": HOME}))


def test_a_stolen_token_is_of_no_use_elsewhere(house: Guarded) -> None:
    own = house.token("ann")
    assert is_no_token(house.refused("describe", {**own, "address": FAR}))
    assert is_no_token(house.refused("describe", {"token": own["token"]}))
    # Nor to another process of the host, which can't say where it is.
    member = Peer(pid=9, uid=4321, gid=4321, user="member")
    assert is_no_token(house.refused("describe", own, member))
    house.ask("describe", own)


def test_foreign_tokens(house: Guarded) -> None:
    ann, guy, other = house.token("ann"), house.token("guy"), house.token("guy")
    assert house.ask("token", guy, token=other["token"])["user"] == "guy"
    for call, args in (("token", {}), ("extend", {"timeout": 9}), ("logout", {})):
        for text in (ann["token"], "A" * 26):
            told = house.refused(call, guy, token=text, **args)
            assert isinstance(told, Refused) and text not in told.text
    assert house.ask("token", ann, token=guy["token"])["user"] == "guy"
    assert house.refused("token", ann, token="A" * 26).http == 404
    house.ask("logout", ann, token=guy["token"])
    assert is_no_token(house.refused("describe", guy))
    house.ask("describe", other)


@pytest.mark.parametrize(
    ("call", "args"),
    [
        ("delete", {"names": ["guy"]}),
        ("modify", {"names": ["guy"], "properties": {"password": "another one"}}),
        ("modify", {"names": ["guy"], "properties": {"password": "none"}}),
        ("modify", {"names": ["guy"], "properties": {"partition-access": [{"name": "Common", "role": "guest"}]}}),
        ("modify", {"names": ["guy"], "properties": {"partition-access": "none"}}),
    ],
)
def test_a_token_dies_with_what_its_user_was(house: Guarded, call: str, args: dict) -> None:
    own, cached = house.token("guy"), basic("guy")
    house.ask("describe", cached)
    before = house.site.gateway.snapshot
    house.root(call, kind="auth user", **args)
    assert is_no_token(house.refused("describe", own))
    # It stays dead when everything is as before again.
    house.root("load", text="", merge=False)
    house.root("create", kind="auth user", name="guy", properties=_as_saved(before, "guy"))
    assert is_no_token(house.refused("describe", own))


def _as_saved(snapshot, name: str) -> dict:
    user = snapshot.get(("auth", "user"), name).raw()
    return {word: user[word] for word in ("password", "partition-access")}


def test_a_change_of_something_else_leaves_tokens(house: Guarded) -> None:
    own = house.token("guy")
    more = {"verb": "modify", "items": [{"name": "all-partitions", "role": "guest"}]}
    house.root("modify", kind="auth user", names=["guy"], properties={"description": "x", "partition-access": more})
    house.ask("describe", own)


def test_a_user_has_a_hundred_tokens(house: Guarded) -> None:
    given = [house.token("guy") for _ in range(101)]
    other = house.token("ann")
    assert is_no_token(house.refused("describe", given[0]))
    house.ask("describe", given[1])
    house.ask("describe", other)


# who asks


def test_nobody_gets_above_the_user_of_the_credentials(house: Guarded) -> None:
    for credentials in (house.token("guy"), basic("guy")):
        for peer in (WEB, ME):
            for call, args in (("create", POLICY), ("save", {}), ("text", {}), ("audit", {})):
                told = house.refused(call, credentials, peer, **args)
                assert isinstance(told, Refused) and told.text.startswith("guy (guest in all-partitions) may not")


def test_a_user_called_root_is_no_root(house: Guarded) -> None:
    house.user("root", "guest")
    assert isinstance(house.refused("create", basic("root"), ME, **POLICY), Refused)
    house.ask("create", None, ME, **POLICY)


@pytest.mark.parametrize(
    "call", ["describe", "list", "show", "token", "extend", "logout", "create", "audit", "nonsense"]
)
def test_the_web_process_may_do_nothing_by_itself(house: Guarded, call: str) -> None:
    told = house.refused(call)
    assert isinstance(told, Refused) and "web process" in told.text


@pytest.mark.parametrize(
    "credentials",
    [
        {},
        {"address": HOME},
        {"username": "ann"},
        {"password": PASSWORD},
        {"username": 1, "password": 2},
        {"token": None},
    ],
)
def test_half_credentials(house: Guarded, credentials: dict) -> None:
    assert isinstance(house.refused("describe", credentials, ME), SyntaxProblem)


# passwords


def test_a_wrong_password_and_a_wrong_name_are_the_same(house: Guarded) -> None:
    house.root("create", kind="auth user", name="bare", properties={})
    house.user("shut", "no-access")
    vendor = {"password": "$6$salt$" + "x" * 80, "partition-access": [{"name": "all-partitions", "role": "admin"}]}
    answer = house.root("create", kind="auth user", name="old", properties=vendor)
    assert "lets nobody in" in answer["warnings"][0]
    for name in ("ann", "nobody", "bare", "shut", "old", "", "x" * 10_000, "\ud800"):
        password = PASSWORD if name in ("bare", "shut", "old") else "wrong password"
        for told in (house.refused("login", **basic(name, password)), house.refused("list", basic(name, password))):
            assert (type(told), told.text, told.http) == (Unauthorized, "Authentication failed.", 401)


@pytest.mark.alone
def test_nobody_takes_as_long_as_somebody(house: Guarded) -> None:
    # Past the door, whose hashes are cheap here.
    house.site.call("create", kind="auth user", name="slow", properties={
        "password": PASSWORD, "partition-access": [{"name": "all-partitions", "role": "guest"}],
    })  # fmt: skip
    best = {"slow": 9.0, "nobody": 9.0}
    for _ in range(3):
        for name in best:
            begun = time.perf_counter()
            house.refused("login", **basic(name, "wrong password"))
            best[name] = min(best[name], time.perf_counter() - begun)
    assert 0.4 < best["nobody"] / best["slow"] < 2.5, best


def test_a_right_password_is_remembered_for_a_minute(house: Guarded) -> None:
    for _ in range(50):
        house.ask("describe", basic("ann"))
    assert house.verifier.tried == 1
    house.seconds += 61
    house.ask("describe", basic("ann"))
    assert house.verifier.tried == 2
    house.root("modify", kind="auth user", names=["ann"], properties={"password": CHEAP.hash("a new one")})
    assert isinstance(house.refused("describe", basic("ann")), Unauthorized)
    house.ask("describe", basic("ann", "a new one"))


def test_many_at_once_with_the_right_password_cost_one_look(house: Guarded) -> None:
    asked = [house.door.answer("describe", {}, WEB, basic("ann")) for _ in range(100)]
    assert {found["user"] for found in house.together(*asked)} == {"ann"}
    assert house.verifier.tried == 1


def test_many_at_once_are_no_way_around_the_lockout(house: Guarded) -> None:
    asked = [house.door.answer("describe", {}, WEB, basic("ann", f"guess {number}")) for number in range(200)]
    found = house.together(*asked)
    assert {type(own) for own in found} == {Unauthorized, TooMany}
    assert house.verifier.tried <= 5


def test_the_queue_for_passwords_is_bounded(house: Guarded) -> None:
    asked = [
        house.door.answer("login", basic("ann", "wrong password", f"10.0.{number}.1"), WEB, None)
        for number in range(200)
    ]
    found = house.together(*asked)
    assert all(isinstance(own, Unauthorized | TooMany) for own in found)
    assert sum(isinstance(own, Unauthorized) for own in found) <= verifier.WORKERS + verifier.WAITING_MAX
    house.seconds += 1
    house.ask("login", **basic("ann"))


def test_ten_thousand_wrong_passwords(house: Guarded) -> None:
    told = []
    for number in range(10_000):
        house.seconds += 0.05
        told.append(house.refused("login", **basic("ann", f"wrong {number}")))
        if number % 1000 == 0:
            house.ask("login", **basic("ann", address=FAR))
    assert {type(own) for own in told} == {Unauthorized, TooMany}
    assert all(own.http == 429 and 1 <= own.retry_after <= 300 for own in told if isinstance(own, TooMany))
    # 500 seconds: five at once, and then behind waits of 1, 2, 4 ... 256 seconds.
    assert sum(isinstance(own, Unauthorized) for own in told) <= 5 + 9
    assert house.verifier.tried <= 5 + 9 + 10
    # The right password is a guess like any other where so many were made.
    assert isinstance(house.refused("login", **basic("ann")), TooMany)
    house.ask("login", **basic("ann", address=FAR))
    house.seconds += 301
    house.ask("login", **basic("ann"))


def test_waits_double_up_to_five_minutes(house: Guarded) -> None:
    for _ in range(5):
        house.refused("login", **basic("ann", "wrong password"))
    waits = []
    for _ in range(11):
        told = house.refused("login", **basic("ann", "wrong password"))
        waits.append(told.retry_after)
        house.seconds += told.retry_after
        house.refused("login", **basic("ann", "wrong password"))
    assert waits == [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300]


def test_an_address_with_fifty_failures_waits_whatever_the_user(house: Guarded) -> None:
    for number in range(13):
        house.user(f"user{number}", "guest")
    told = [
        house.refused("login", **basic(f"user{number}", f"wrong {attempt}"))
        for number in range(13)
        for attempt in range(4)
    ]
    assert [type(own) for own in told] == [Unauthorized] * 50 + [TooMany] * 2
    assert isinstance(house.refused("login", **basic("ann")), TooMany)
    house.ask("login", **basic("ann", address=FAR))
    house.seconds += 1
    house.ask("login", **basic("ann"))


def test_the_whole_network_of_an_ipv6_attacker_is_one_address(house: Guarded) -> None:
    for number in range(5):
        house.refused("login", **basic("ann", f"wrong {number}", f"2001:db8::{number}"))
    assert isinstance(house.refused("login", **basic("ann", "wrong", "2001:db8::ffff")), TooMany)
    house.ask("login", **basic("ann", address="2001:db8:0:1::1"))


def test_a_process_of_the_host_can_not_make_addresses_up(house: Guarded) -> None:
    member = Peer(pid=9, uid=4321, gid=4321, user="member")
    told = [house.refused("login", None, member, **basic("ann", f"wrong {n}", f"10.0.{n}.1")) for n in range(8)]
    assert isinstance(told[-1], TooMany)
    house.ask("login", **basic("ann"))


# what is written down


def test_passwords_are_nowhere(house: Guarded, caplog: pytest.LogCaptureFixture) -> None:
    secret = "sesame-street-9"
    caplog.set_level("DEBUG")
    everywhere = [{"name": "all-partitions", "role": "admin"}]
    house.root("create", kind="auth user", name="eve", properties={"password": secret, "partition-access": everywhere})
    user = house.site.gateway.snapshot.get(("auth", "user"), "eve")
    hashed = user["password"].text
    token = house.token("ann")
    told = [repr(user), repr(user["password"]), repr(house.accounts.__dict__), repr(house.accounts._tokens.__dict__)]
    told += [str(house.refused("create", token, kind="auth user", name="bo", properties={"password": f"{secret}\n"}))]
    told += [str(house.refused("create", token, kind="auth user", name="bo", properties={"password": [secret]}))]
    told += [str(house.refused("load", token, text=f"auth user bo {{ password {{ {secret} }} }}", merge=True))]
    told += [str(house.refused("login", **basic(secret, secret))), str(house.refused("list", basic("ann", secret)))]
    house.ask("login", **basic("eve", secret))
    told += [json.dumps(house.ask("list", token, kind="auth user")), json.dumps(house.ask("audit", token, lines=1000))]
    told += [house.site.tmsh("list auth user eve all-properties"), house.site.tmsh("list auth user eve json")]
    told += [house.site.tmsh("list auth user eve one-line"), house.site.log, house.audit_text, caplog.text]
    for text in told:
        assert secret not in text and hashed not in text, text
        assert token["token"] not in text
    assert f"encrypted-password {MASK}" in house.site.tmsh("list auth user eve")
    assert hashed in house.ask("text", token) and secret not in house.ask("text", token)


def test_the_mask_given_back_changes_nothing(house: Guarded) -> None:
    properties = house.root("list", kind="auth user", names=["ann"])[0]["properties"]
    assert properties["password"] == MASK
    for verb in ("modify", "replace"):
        operation = {"verb": verb, "kind": "auth user", "names": ["ann"], "properties": properties}
        house.root("transaction", operations=[operation])
        house.ask("describe", basic("ann"))
        house.seconds += 100
    told = house.refused("create", None, ME, kind="auth user", name="new", properties={"password": MASK})
    assert "give the password" in told.text


def test_what_is_saved_lets_in_again(house: Guarded) -> None:
    house.root("save")
    house.root("load", text="")
    assert isinstance(house.refused("login", **basic("guy")), Unauthorized)
    house.root("load")
    house.ask("login", **basic("guy"))


@pytest.mark.parametrize(
    ("password", "told"),
    [
        ("short", "8 to 255 characters, this has 5"),
        ("x" * 256, "8 to 255 characters"),
        ("New-User-1", "own name"),
        ("new-user-1", "own name"),
        ("$1234567", "can't begin with $"),
        ("with\tacontrol", "control characters"),
        ("$argon2id$v=19$m=99999999,t=1,p=1$AAAAAAAAAAA$" + "A" * 43, "damaged"),
        ("$argon2id$v=19$m=65536,t=999,p=1$AAAAAAAAAAA$" + "A" * 43, "costs more"),
        ("$argon2id$", "damaged"),
    ],
)
def test_passwords_that_are_refused(house: Guarded, password: str, told: str) -> None:
    error = house.refused("create", None, ME, kind="auth user", name="new-user-1", properties={"password": password})
    assert told in error.text and password not in error.text.replace("new-user-1", "")


# the first password


def started(house: Guarded) -> str:
    house.first.recognise(house.site.gateway.snapshot)
    house.first.begin(lambda: house.site.gateway.snapshot, lambda call, **args: house.root(call, **args))
    path = house.directory / "initial-password"
    return path.read_text().strip() if path.exists() else ""


def test_the_first_start_makes_an_administrator(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    house = Guarded(tmp_path)
    password = started(house)
    path = tmp_path / "initial-password"
    assert len(password) == 20 and stat.S_IMODE(path.stat().st_mode) == 0o600
    assert str(path) in str([vars(record) for record in caplog.records])
    assert password not in str([vars(record) for record in caplog.records]) + house.audit_text
    token = {"token": house.ask("login", **basic("admin", password))["token"], "address": HOME}
    assert "argon2id" in (tmp_path / "culvert.conf").read_text()
    house.ask("create", token, **POLICY)
    # The next start leaves both as they are.
    assert started(house) == password
    house.ask("modify", token, kind="auth user", names=["admin"], properties={"description": "me"})
    assert path.exists()
    house.ask("modify", token, kind="auth user", names=["admin"], properties={"password": "my own one"})
    assert not path.exists()
    assert started(house) == ""
    house.ask("login", **basic("admin", "my own one"))
    house.close()


def test_where_somebody_has_a_password_none_is_made(house: Guarded) -> None:
    assert started(house) == ""
    assert house.site.gateway.snapshot.get(("auth", "user"), "admin") is None


def test_a_password_that_was_changed_while_nobody_looked(tmp_path: Path) -> None:
    house = Guarded(tmp_path)
    started(house)
    (tmp_path / "initial-password").write_text("something else\n")
    assert started(house) == ""
    house.close()


def test_a_configuration_that_is_blocked_gets_no_administrator(tmp_path: Path) -> None:
    (tmp_path / "culvert.conf").write_text("net ipsec {")
    house = Guarded(tmp_path)
    assert started(house) == "" and (tmp_path / "culvert.conf").read_text() == "net ipsec {"
    house.close()


def test_an_address_is_told_as_it_was_given(house: Guarded) -> None:
    assert accounts.origin(WEB, HOME) == HOME
    assert accounts.origin(replace(WEB, pid=5), "") == "socket pid 5"


def test_whoever_asks_learns_of_the_own_tokens_without_their_texts(house: Guarded) -> None:
    first, second = house.token("ann"), house.token("ann")
    house.token("guy")
    found = house.ask("tokens", basic("ann"))
    assert [own["user"] for own in found] == ["ann", "ann"]
    handles = [own["token"] for own in found]
    assert not {first["token"], second["token"]} & set(handles)
    # A handle names a token to its user, and lets nobody in.
    assert is_no_token(house.refused("describe", {"token": handles[0], "address": HOME}))
    assert isinstance(house.refused("logout", basic("guy"), token=handles[0]), Refused)
    house.ask("extend", basic("ann"), token=handles[1], timeout=99)
    house.ask("logout", basic("ann"), token=handles[0])
    assert is_no_token(house.refused("describe", first))
    house.ask("describe", second)
    assert [own["timeout"] for own in house.ask("tokens", second)] == [99]

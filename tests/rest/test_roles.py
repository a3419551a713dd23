"""Who may do what, cell by cell: eight roles, five methods, and the addresses where something could go wrong.

Each object that a cell changes is made for that role alone, so the cells don't depend on each other.
"""

import itertools
import os
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest

from tests.control.guarded import CHEAP
from tests.rest.gateways import Gateway
from tests.rest.wire import Reply, Wire, alone, basic

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root for network namespaces")
ROLES = ("admin", "resource-admin", "user-manager", "manager", "operator", "auditor", "guest", "no-access")
METHODS = ("GET", "POST", "PATCH", "PUT", "DELETE")
EVERYBODY = frozenset(ROLES) - {"no-access"}
ADMIN = frozenset({"admin"})
OWNERS = frozenset({"admin", "resource-admin"})
MAKERS = OWNERS | {"manager"}
SWITCHERS = MAKERS | {"operator"}
USERS = frozenset({"admin", "user-manager"})
READERS = frozenset({"admin", "resource-admin", "user-manager", "auditor"})
NOBODY: frozenset[str] = frozenset()
KEYS = "0123456789abcdeffedcba9876543210aabbccdd", "5a1707b5f1f0c4e2a8d93e6612bb5c3d"
SECRETS = (*KEYS, "5ecre7-pa55word-of-", "$argon2")
POLICIES, SAS = "/mgmt/tm/net/ipsec/ipsec-policy", "/mgmt/tm/net/ipsec/manual-security-association"
ACCOUNTS, SETTINGS = "/mgmt/tm/auth/user", "/mgmt/tm/sys/global-settings"
BASH, CONFIG = "/mgmt/tm/util/bash", "/mgmt/tm/sys/config"
TRANSACTION = "/mgmt/tm/transaction"


@dataclass(slots=True)
class World:
    """A gateway with a user of each role, their tokens, and every answer that was ever given."""

    gateway: Gateway
    tokens: dict[str, str] = field(default_factory=dict)
    answers: list[bytes] = field(default_factory=list)

    def ask(self, user: str, method: str, target: str, *headers: str, body: Any = None) -> Reply:
        with Wire(self.gateway) as wire:
            reply = wire.ask(method, target, *self.proof(user), *headers, body=body)
        self.answers.append(reply.body)
        return reply

    def proof(self, user: str) -> list[str]:
        if user in self.tokens:
            return [f"X-F5-Auth-Token: {self.tokens[user]}"]
        return [basic(user, self.gateway.password if user == "admin" else password(user))]

    def login(self, user: str, source: str = "") -> Reply:
        secret = self.gateway.password if user == "admin" else password(user)
        with Wire(self.gateway, source=source) as wire:
            return wire.ask("POST", "/mgmt/shared/authn/login", body={"username": user, "password": secret})

    def make(self, target: str, **body: Any) -> None:
        reply = self.ask("admin", "POST", target, body=body)
        assert reply.status == 200, reply


def password(user: str) -> str:
    return f"{SECRETS[2]}{user}"


def user(name: str, role: str, place: str = "all-partitions") -> dict[str, Any]:
    return {"name": name, "password": password(name), "partitionAccess": [{"name": place, "role": role}]}


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    with alone("rro") as gateway:
        made = World(gateway)
        made.tokens["admin"] = made.login("admin").json["token"]["token"]
        for place in ("Sales", "Other"):
            made.make("/mgmt/tm/auth/partition", name=place)
        for role in ROLES[1:]:
            made.make(ACCOUNTS, **user(role, role))
        made.make(ACCOUNTS, **user("seller", "manager", "Sales"))
        for role in ROLES:
            for sort in ("patch", "switch", "put", "delete"):
                made.make(POLICIES, name=f"{sort}-{role}")
                # Nobody logs in as one of these, so their hash needn't cost what a real one does.
                made.make(ACCOUNTS, **user(f"{sort}-{role}", "guest") | {"password": CHEAP.hash("whatever")})
        made.make(POLICIES, name="hidden", partition="Other")
        ends = {"sourceAddress": "2.2.2.2", "destinationAddress": "3.3.3.3", "spi": 4096}
        secret = {"authKey": f"0x{KEYS[0]}", "encryptKey": f"0x{KEYS[1]}"}
        made.make(SAS, name="keyed", ipsecPolicy="patch-admin", **ends, **secret)
        for name in (*ROLES[1:-1], "seller"):
            made.tokens[name] = made.login(name).json["token"]["token"]
        yield made


# the table: method, address, body, who gets 200; others get 403, and where nobody is named 405

Cell = tuple[str, str, Any, frozenset[str]]
SHOW = {"command": "run", "utilCmdArgs": "-c 'tmsh -c \"list net ipsec\"'"}
CELLS: tuple[Cell, ...] = (
    ("GET", POLICIES, None, EVERYBODY),
    ("POST", POLICIES, {"name": "made-{role}"}, MAKERS),
    ("PATCH", POLICIES, {"description": "x"}, NOBODY),
    ("PUT", POLICIES, {"description": "x"}, NOBODY),
    ("DELETE", POLICIES, None, NOBODY),
    ("GET", f"{POLICIES}/patch-{{role}}", None, EVERYBODY),
    ("POST", f"{POLICIES}/patch-{{role}}", {}, NOBODY),
    ("PATCH", f"{POLICIES}/patch-{{role}}", {"ikePhase2Lifetime": 60}, MAKERS),
    ("PATCH", f"{POLICIES}/switch-{{role}}", {"description": "x"}, SWITCHERS),
    ("PUT", f"{POLICIES}/put-{{role}}", {"description": "x"}, MAKERS),
    ("DELETE", f"{POLICIES}/delete-{{role}}", None, MAKERS),
    ("GET", ACCOUNTS, None, EVERYBODY),
    ("POST", ACCOUNTS, {"name": "made-{role}", "password": "x-{role}-y-z-1-2", "partitionAccess": [
        {"name": "all-partitions", "role": "guest"}]}, USERS),
    ("PATCH", ACCOUNTS, {}, NOBODY),
    ("PUT", ACCOUNTS, {}, NOBODY),
    ("DELETE", ACCOUNTS, None, NOBODY),
    ("GET", f"{ACCOUNTS}/{{role}}", None, EVERYBODY),
    ("POST", f"{ACCOUNTS}/patch-{{role}}", {}, NOBODY),
    ("PATCH", f"{ACCOUNTS}/patch-{{role}}", {"description": "x"}, USERS),
    ("PATCH", f"{ACCOUNTS}/switch-{{role}}", {"partitionAccess": [{"name": "all-partitions", "role": "admin"}]}, ADMIN),
    ("PUT", f"{ACCOUNTS}/put-{{role}}", {"partitionAccess": [{"name": "all-partitions", "role": "guest"}]}, USERS),
    ("DELETE", f"{ACCOUNTS}/delete-{{role}}", None, USERS),
    ("GET", SETTINGS, None, EVERYBODY),
    ("POST", SETTINGS, {}, NOBODY),
    ("PATCH", SETTINGS, {"hostname": "gw.example.org"}, OWNERS),
    ("DELETE", SETTINGS, None, NOBODY),
    *((method, BASH, SHOW, ADMIN if method == "POST" else NOBODY) for method in METHODS),
    ("POST", CONFIG, {"command": "save"}, OWNERS | {"user-manager", "manager"}),
    ("POST", CONFIG, {"command": "load", "options": [{"verify": True}]}, READERS),
    *((method, CONFIG, {"command": "save"}, NOBODY) for method in METHODS if method != "POST"),
    ("GET", TRANSACTION, None, EVERYBODY),
    ("POST", TRANSACTION, {}, EVERYBODY),
    *((method, TRANSACTION, {}, NOBODY) for method in ("PATCH", "PUT", "DELETE")),
    *((method, "/mgmt/shared/file-transfer/uploads/u-{role}", b"x", ADMIN if method == "POST" else NOBODY)
      for method in METHODS),
    *((method, target, {}, EVERYBODY if method == "GET" else NOBODY)
      for target in ("/metrics", "/mgmt/shared/openapi.json", "/mgmt/tm/sys/version", "/mgmt/tm/net/ipsec/ipsec-sa",
                     "/mgmt/tm/net/ipsec-stat", "/health", f"{POLICIES}/stats")
      for method in METHODS),
    *((method, "/mgmt/shared/events", {}, NOBODY) for method in METHODS if method != "GET"),
)  # fmt: skip


def filled(value: Any, role: str) -> Any:
    if isinstance(value, str):
        return value.replace("{role}", role)
    if isinstance(value, dict):
        return {key: filled(inner, role) for key, inner in value.items()}
    return [filled(inner, role) for inner in value] if isinstance(value, list) else value


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize("cell", CELLS, ids=lambda cell: f"{cell[0]} {cell[1]}")
def test_a_cell(world: World, role: str, cell: Cell) -> None:
    method, target, body, allowed = cell
    reply = world.ask(role, method, filled(target, role), body=filled(body, role))
    public = target == "/health" and method != "GET"
    wanted = 401 if role == "no-access" and not public else 405 if not allowed else 200 if role in allowed else 403
    assert reply.status in ({200, 503} if target == "/health" and wanted == 200 else {wanted}), reply


@pytest.mark.parametrize("role", ROLES)
def test_events_are_for_everybody_who_has_a_role(world: World, role: str) -> None:
    with Wire(world.gateway) as wire:
        wire.say("\r\n".join(["GET /mgmt/shared/events HTTP/1.1", "Host: a", *world.proof(role), "", ""]).encode())
        assert wire.reply().status == (401 if role == "no-access" else 200)


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize("method", ["GET", "PATCH", "DELETE"])
def test_tokens_of_others_are_for_administrators(world: World, role: str, method: str) -> None:
    owner = "seller" if role != "seller" else "guest"
    others = world.login(owner).json["token"]["token"]
    body = {"timeout": 100} if method == "PATCH" else None
    reply = world.ask(role, method, f"/mgmt/shared/authz/tokens/{others}", body=body)
    assert reply.status == (401 if role == "no-access" else 200 if role == "admin" else 403)
    assert others.encode() not in reply.body or role == "admin"
    with Wire(world.gateway) as wire:
        lives = wire.ask("GET", "/mgmt/tm/sys/version", f"X-F5-Auth-Token: {others}").status == 200
    assert lives is not (role == "admin" and method == "DELETE")


@pytest.mark.parametrize("role", sorted(EVERYBODY))
def test_a_load_of_what_is_saved(world: World, role: str) -> None:
    assert world.ask("admin", "POST", CONFIG, body={"command": "save"}).status == 200
    reply = world.ask(role, "POST", CONFIG, body={"command": "load"})
    assert reply.status == (200 if role in OWNERS else 403)


# ways around

ADMINISTRATOR = [{"name": "all-partitions", "role": "admin"}]
ALL_ADMIN = "%7B+all-partitions+%7B+role+admin+%7D+%7D"
ESCAPES: tuple[tuple[str, str, Any], ...] = (
    ("PATCH", "{accounts}/{own}", {"partitionAccess": ADMINISTRATOR}),
    ("PATCH", "{accounts}/{own}", {"partition-access": ADMINISTRATOR}),
    ("PATCH", "{accounts}/{own}", {"partitionAccessReference": {"items": ADMINISTRATOR}}),
    ("PATCH", "{accounts}/{own}", {"partitionAccess": {"items": ADMINISTRATOR}}),
    ("PUT", "{accounts}/{own}", {"partitionAccess": ADMINISTRATOR}),
    ("PATCH", f"{{accounts}}/{{own}}?options=partition-access+modify+{ALL_ADMIN}", {}),
    ("PATCH", f"{{accounts}}/{{own}}?options=partition-access+replace-all-with+{ALL_ADMIN}", {}),
    ("PATCH", "{accounts}/admin", {"password": "now-it-is-mine-1"}),
    ("PATCH", "{accounts}/%61dmin", {"password": "now-it-is-mine-1"}),
    ("PATCH", "{accounts}/resource-admin", {"password": "now-it-is-mine-1"}),
    ("DELETE", "{accounts}/admin", None),
    ("DELETE", "{accounts}/all", None),
    ("POST", "{accounts}", {"name": "mine", "password": "now-it-is-mine-1", "partitionAccess": ADMINISTRATOR}),
    ("POST", "{accounts}", {"name": "admin", "password": "now-it-is-mine-1", "partitionAccess": ADMINISTRATOR}),
    ("POST", BASH, SHOW),
    ("POST", BASH, {"command": "run", "utilCmdArgs": "-c 'id'"}),
    ("POST", CONFIG, {"command": "load", "name": "default"}),
    ("POST", CONFIG, {"command": "load", "options": [{"file": "/etc/passwd"}, {"merge": True}]}),
    ("POST", CONFIG, {"command": "save", "options": [{"file": "/tmp/x"}]}),
)  # fmt: skip


@pytest.mark.parametrize("role", ["user-manager", "manager", "operator", "auditor", "guest", "seller"])
@pytest.mark.parametrize("escape", ESCAPES, ids=str)
def test_nobody_becomes_more_than_he_is(world: World, role: str, escape: tuple[str, str, Any]) -> None:
    method, target, body = escape
    reply = world.ask(role, method, target.format(accounts=ACCOUNTS, own=role), body=body)
    assert reply.status in (400, 403, 404, 409), reply
    assert b"root:" not in reply.body
    assert world.ask(role, "POST", BASH, body=SHOW).status == 403
    with Wire(world.gateway) as wire:
        own = basic("admin", world.gateway.password)
        assert wire.ask("POST", BASH, own, body=SHOW).status == 200, "the administrator's password is another one"


@pytest.mark.parametrize("role", ["user-manager", "manager", "operator", "auditor", "guest", "seller"])
def test_a_transaction_gives_no_rights(world: World, role: str) -> None:
    number = world.ask(role, "POST", TRANSACTION, body={}).json["transId"]
    mark = f"X-F5-REST-Coordination-Id: {number}"
    harmless = {"description": "x"}
    queued = [
        world.ask(role, "PATCH", f"{POLICIES}/switch-operator", mark, body=harmless),
        world.ask(role, "PATCH", f"{ACCOUNTS}/{role}", mark, body={"partitionAccess": ADMINISTRATOR}),
    ]
    assert {reply.status for reply in queued} <= {200, 403}
    commit = world.ask(role, "PATCH", f"{TRANSACTION}/{number}", body={"state": "VALIDATING"})
    assert commit.status == 403, commit
    assert world.ask(role, "POST", BASH, body=SHOW).status == 403


def test_a_transaction_is_its_owners_alone(world: World) -> None:
    number = world.ask("manager", "POST", TRANSACTION, body={}).json["transId"]
    mark = f"X-F5-REST-Coordination-Id: {number}"
    for other in ("admin", "operator", "seller"):
        assert world.ask(other, "POST", POLICIES, mark, body={"name": "slipped-in"}).status == 404
        for method, body in (("GET", None), ("PATCH", {"state": "VALIDATING"}), ("DELETE", None)):
            assert world.ask(other, method, f"{TRANSACTION}/{number}", body=body).status == 404
        assert number not in [own["transId"] for own in world.ask(other, "GET", TRANSACTION).json["items"]]


@pytest.mark.parametrize(
    ("method", "target", "body", "status"),
    [
        ("POST", POLICIES, {"name": "own", "partition": "Sales"}, {200}),
        ("PATCH", f"{POLICIES}/~Sales~own", {"description": "mine"}, {200}),
        ("POST", POLICIES, {"name": "x"}, {403}),
        ("POST", POLICIES, {"name": "x", "partition": "Other"}, {403}),
        ("POST", POLICIES, {"name": "/Other/x"}, {403}),
        ("POST", POLICIES, {"name": "x", "partition": "/Sales/../Other"}, {400, 403}),
        ("POST", POLICIES, {"name": "x", "partition": "Sales", "subPath": "../Other"}, {400, 403, 404}),
        ("POST", POLICIES, {"name": "../Other/x", "partition": "Sales"}, {400, 403, 404}),
        ("GET", f"{POLICIES}/~Other~hidden", None, {404}),
        ("GET", f"{POLICIES}/%2FOther%2Fhidden", None, {404}),
        ("GET", f"{POLICIES}/~Sales~..~Other~hidden", None, {400, 404}),
        ("PATCH", f"{POLICIES}/~Other~hidden", {"description": "x"}, {403, 404}),
        ("PUT", f"{POLICIES}/~Other~hidden", {"description": "x"}, {403, 404}),
        ("DELETE", f"{POLICIES}/~Other~hidden", None, {403, 404}),
        ("DELETE", f"{POLICIES}/patch-guest", None, {403}),
        ("DELETE", f"{POLICIES}/all", None, {403}),
        ("DELETE", "/mgmt/tm/auth/partition/Other", None, {403}),
        ("POST", "/mgmt/tm/auth/partition", {"name": "New"}, {403}),
        ("PATCH", SETTINGS, {"hostname": "a.b"}, {403}),
        ("GET", f"{POLICIES}/~Other~hidden/stats", None, {200, 404}),
    ],
    ids=str,
)
def test_a_manager_of_one_partition_stays_there(
    world: World, method: str, target: str, body: Any, status: set[int]
) -> None:
    reply = world.ask("seller", method, target, body=body)
    assert reply.status in status, reply
    assert b'"name":"hidden"' not in reply.body
    assert b"hidden" not in world.ask("seller", "GET", POLICIES).body


# tokens and passwords


def test_a_stolen_token_is_of_no_use_elsewhere(world: World) -> None:
    proof = f"X-F5-Auth-Token: {world.tokens['admin']}"
    with Wire(world.gateway, source="127.0.0.7") as wire:
        for forged in ((), ("X-Forwarded-For: 127.0.0.1",), ("Forwarded: for=127.0.0.1",), ("X-Real-IP: 127.0.0.1",)):
            assert wire.ask("GET", "/mgmt/tm/sys/version", proof, *forged).status == 401
        assert wire.ask("DELETE", f"/mgmt/shared/authz/tokens/{world.tokens['admin']}", proof).status == 401
    assert world.ask("admin", "GET", "/mgmt/tm/sys/version").status == 200


def test_an_expired_token_is_over(world: World) -> None:
    token = world.login("guest").json["token"]["token"]
    with Wire(world.gateway) as wire:
        own = f"X-F5-Auth-Token: {token}"
        assert wire.ask("PATCH", f"/mgmt/shared/authz/tokens/{token}", own, body={"timeout": 1}).status == 200
        time.sleep(1.2)
        reply = wire.ask("GET", "/mgmt/tm/sys/version", own)
        assert (reply.status, reply.json["message"]) == (401, "X-F5-Auth-Token does not exist.")
        assert wire.ask("PATCH", f"/mgmt/shared/authz/tokens/{token}", own, body={"timeout": 100}).status == 401


@pytest.mark.parametrize("token", ["", "A" * 26, "a" * 10_000, "' OR 1=1", "\xfc", "none", "{}", "0"])
def test_a_token_that_was_made_up_is_none(world: World, token: str) -> None:
    with Wire(world.gateway) as wire:
        assert wire.ask("GET", "/mgmt/tm/sys/version", f"X-F5-Auth-Token: {token}").status == 401


@pytest.mark.parametrize(
    "word", ["", "Basic", "Basic !", "Basic YWRtaW4=", "Basic OmFkbWlu", "Bearer x", "Basic /////w==", "basic YTpi"]
)
def test_a_basic_header_that_says_nothing_is_none(world: World, word: str) -> None:
    with Wire(world.gateway, source="127.0.0.8") as wire:
        assert wire.ask("GET", "/mgmt/tm/sys/version", f"Authorization: {word}").status == 401


def test_a_users_token_ends_with_the_users_rights(world: World) -> None:
    world.make(ACCOUNTS, **user("leaver", "manager"))
    world.tokens["leaver"] = world.login("leaver").json["token"]["token"]
    assert world.ask("leaver", "GET", POLICIES).status == 200
    lesser = {"partitionAccess": [{"name": "all-partitions", "role": "guest"}]}
    assert world.ask("admin", "PATCH", f"{ACCOUNTS}/leaver", body=lesser).status == 200
    assert world.ask("leaver", "GET", POLICIES).status == 401
    world.tokens["leaver"] = world.login("leaver").json["token"]["token"]
    assert world.ask("admin", "DELETE", f"{ACCOUNTS}/leaver").status == 200
    assert world.ask("leaver", "GET", POLICIES).status == 401
    assert world.login("leaver").status == 401


WRONG_PASSWORDS = int(os.environ.get("CULVERT_WRONG_PASSWORDS", "1500"))
"""How often somebody guesses; ten thousand times takes a minute more."""


@pytest.mark.timeout(300)
def test_many_wrong_passwords_are_answered_fast(world: World) -> None:
    found: list[int] = []
    numbers = itertools.count()

    def work() -> None:
        with Wire(world.gateway, source="127.0.0.66") as wire:
            while (number := next(numbers)) < WRONG_PASSWORDS:
                body = {"username": ("admin", "guest", f"nobody{number}")[number % 3], "password": f"wrong {number}"}
                found.append(wire.ask("POST", "/mgmt/shared/authn/login", body=body).status)

    begun = time.monotonic()
    workers = [threading.Thread(target=work) for _ in range(8)]
    for worker in workers:
        worker.start()
    slowest = 0.0
    while any(worker.is_alive() for worker in workers):
        before = time.monotonic()
        assert world.ask("admin", "GET", "/mgmt/tm/sys/version").status == 200
        slowest = max(slowest, time.monotonic() - before)
        time.sleep(0.2)
    seconds = time.monotonic() - begun
    tried = found.count(401)
    print(f"{WRONG_PASSWORDS} wrong passwords in {seconds:.1f} s, {tried} tried; others waited {slowest:.2f} s at most")
    assert len(found) == WRONG_PASSWORDS and set(found) == {401, 429}
    assert tried < 200 and seconds < 200 and slowest < 5
    # Between two waits there is one attempt; one more wrong password, and the next wait begins.
    guess = {"username": "guest", "password": "wrong"}
    with Wire(world.gateway, source="127.0.0.66") as wire:
        assert wire.ask("POST", "/mgmt/shared/authn/login", body=guess).status in (401, 429)
    assert world.login("guest", source="127.0.0.66").status == 429
    assert world.login("guest").status == 200


def test_no_answer_of_all_these_holds_a_secret(world: World) -> None:
    for target in (
        *(SAS, f"{SAS}/keyed", f"{SAS}?$select=authKey,encryptKey", f"{SAS}/keyed/stats", "/mgmt/tm/sys/db", "/health"),
        *(ACCOUNTS, f"{ACCOUNTS}/guest", f"{ACCOUNTS}?$filter=password+ne+x", "/metrics"),
    ):
        assert world.ask("admin", "GET", target).status in (200, 503)
    for line in ("list net ipsec", "list auth user all-properties", "show net ipsec ipsec-sa all-properties"):
        assert world.ask("admin", "POST", BASH, body=SHOW | {"utilCmdArgs": f"-c 'tmsh -c \"{line}\"'"}).status == 200
    wrong = {"name": "y", "authKey": f"0x{KEYS[0]}1", "spi": 1}
    assert world.ask("admin", "POST", SAS, body=wrong).status == 400
    texts = (*SECRETS, *(key.upper() for key in KEYS), world.gateway.password)
    found = {text for text in texts for answer in world.answers if text.encode() in answer}
    assert not found, found

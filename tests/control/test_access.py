"""Roles: a table of role x call x object, each cell asked of a live gateway."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from sealing import SITE_A

from culvert.control.access import ROLES
from culvert.control.server import Peer
from culvert.model import auth
from tests.control.live import Site

POLICY = {"kind": "net ipsec ipsec-policy", "name": "/Common/new"}
CELLS = {
    "list": ("list", {"kind": "net ipsec"}),
    "show": ("show", {"what": "net ipsec ipsec-sa"}),
    "text": ("text", {}),
    "create policy": ("create", {**POLICY, "properties": {}}),
    "create policy elsewhere": ("create", {"kind": "net ipsec ipsec-policy", "name": "/S1/new", "properties": {}}),
    "describe policy": (
        "modify", {"kind": "net ipsec ipsec-policy", "names": ["/Common/pol-out"], "properties": {"description": "x"}},
    ),
    "disable virtual": (
        "modify", {"kind": "ltm virtual", "names": ["/Common/forward"], "properties": {"enabled": False}},
    ),
    "change key": (
        "modify",
        {
            "kind": "net ipsec manual-security-association",
            "names": ["/Common/sa-out"],
            "properties": {"auth-key": "12345678901234567890"},
        },
    ),
    "change hostname": (
        "modify", {"kind": "sys global-settings", "names": [""], "properties": {"hostname": "x.example"}},
    ),
    "change preference": ("modify", {"kind": "cli preference", "names": [""], "properties": {"pager": "disabled"}}),
    "create user": ("create", {"kind": "auth user", "name": "eve", "properties": {}}),
    "create partition": ("create", {"kind": "auth partition", "name": "S2", "properties": {}}),
    "delete-sas": ("delete-sas", {}),
    "reset-stats": ("reset-stats", {}),
    "save": ("save", {}),
    "load": ("load", {"text": "", "merge": True}),
    "verify a file": ("load", {"text": "", "merge": True, "verify": True}),
    "explain": ("verify", {}),
    "a transaction": ("transaction", {"operations": [{"verb": "create", **POLICY, "properties": {}}]}),
}  # fmt: skip
SEES = {"list", "show", "explain", "change preference"}
ALLOWED = {
    "admin": set(CELLS),
    "resource-admin": set(CELLS) - {"create user"},
    "user-manager": SEES | {"text", "create user", "save", "verify a file"},
    "manager": SEES
    | {"create policy", "create policy elsewhere", "describe policy", "disable virtual", "change key", "a transaction"}
    | {"delete-sas", "reset-stats", "save"},
    "operator": SEES | {"describe policy", "disable virtual", "delete-sas", "reset-stats"},
    "auditor": SEES | {"text", "verify a file"},
    "guest": SEES,
    "no-access": set(),
}


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    made = Site(tmp_path)
    made.call("load", text=SITE_A)
    made.tmsh("create auth partition S1")
    yield made
    made.close()


def become(site: Site, user: str, uid: int = 4321) -> None:
    site.peer = Peer(pid=1, uid=uid, gid=uid, user=user)


def test_every_role_is_in_the_tables() -> None:
    assert set(ROLES) == set(ALLOWED) == set(auth.ROLES)


@pytest.mark.parametrize("role", ALLOWED)
@pytest.mark.parametrize("cell", CELLS)
def test_role_and_call(site: Site, role: str, cell: str) -> None:
    site.tmsh(f"create auth user jo partition-access add {{ all-partitions {{ role {role} }} }}")
    become(site, "jo")
    before = site.gateway._snapshot
    call, args = CELLS[cell]
    if cell in ALLOWED[role]:
        site.call(call, **args)
    else:
        told = site.refused(call, **args).text
        assert told.startswith(f"jo ({role} in all-partitions) may not "), told
        assert site.gateway._snapshot is before


def test_a_role_holds_in_its_partition_alone(site: Site) -> None:
    site.tmsh("create auth user jo partition-access add { S1 { role manager } }")
    become(site, "jo")
    site.call("create", kind="net ipsec ipsec-policy", name="/S1/mine", properties={})
    assert (
        "may not create" in site.refused("create", kind="net ipsec ipsec-policy", name="/Common/p", properties={}).text
    )
    assert "may not delete" in site.refused("delete", kind="net ipsec ipsec-policy", names=["/Common/pol-in"]).text
    # Nor by a folder that the call stands in, nor by a move out of it.
    moved = {"verb": "rename", "kind": "net ipsec ipsec-policy", "name": "/S1/mine", "to": "/Common/mine"}
    assert "may not rename" in site.refused("transaction", operations=[moved]).text
    inside = {"verb": "create", "kind": "net ipsec ipsec-policy", "name": "x", "properties": {}, "folder": "/Common"}
    assert "may not create" in site.refused("transaction", operations=[inside], folder="/S1").text


def test_other_peoples_partitions_are_not_seen(site: Site) -> None:
    site.type(
        "create auth partition S2",
        "create net ipsec ipsec-policy /S1/one",
        "create net ipsec ipsec-policy /S2/two",
        "create auth user jo partition-access add { S1 { role guest } }",
        "create auth user ann partition-access add { all-partitions { role admin } }",
    )
    become(site, "jo")
    names = {own["name"] for own in site.call("list", kind="")}
    assert {"/S1/one", "/Common/pol-out", "jo"} <= names
    assert not {"/S2/two", "ann"} & names


def test_who_is_an_administrator_without_being_named(site: Site) -> None:
    become(site, "member-of-the-group")
    site.call("create", **POLICY, properties={})
    assert site.call("access", call="bash") == {"allowed": False}
    become(site, "root", uid=0)
    assert site.call("access", call="bash") == {"allowed": True}


def test_the_hosts_shell_is_for_administrators_who_have_it(site: Site) -> None:
    site.tmsh("create auth user jo shell bash partition-access add { all-partitions { role admin } }")
    site.tmsh("create auth user ann shell bash partition-access add { all-partitions { role manager } }")
    become(site, "jo")
    assert site.call("access", call="bash") == {"allowed": True}
    become(site, "ann")
    assert site.call("access", call="bash") == {"allowed": False}
    assert site.type('run util bash -c "true"')[0].startswith("run util bash is for users")


@pytest.mark.parametrize(
    ("line", "told"),
    [
        (
            "create auth user x partition-access add { nowhere { role guest } }",
            "the requested partition (nowhere) was not",
        ),
        ("create auth user x partition-access add { S1 { role king } }", '"king" is not allowed'),
        (
            "create auth user x partition-access add { S1 { role guest } all-partitions { role guest } }",
            "can't stand beside",
        ),
        ("create auth partition P default-route-domain 9", "there is no route domain 9"),
    ],
)
def test_bad_users_and_partitions(site: Site, line: str, told: str) -> None:
    assert told in site.type(line)[0]

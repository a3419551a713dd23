"""Roles: a table of role x call x object, each cell asked of a live gateway."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from sealing import SITE_A

from culvert.control.access import ROLES
from culvert.control.listener import Peer
from culvert.model import auth
from culvert.model.passwords import MASK
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
    "restart": ("trust-counter-journal", {}),
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
    assert site.call("access", call="bash")["allowed"] is False
    become(site, "root", uid=0)
    assert site.call("access", call="bash")["allowed"] is True


def test_the_hosts_shell_is_for_administrators_who_have_it(site: Site) -> None:
    site.tmsh("create auth user jo shell bash partition-access add { all-partitions { role admin } }")
    site.tmsh("create auth user ann shell bash partition-access add { all-partitions { role manager } }")
    become(site, "jo")
    assert site.call("access", call="bash")["allowed"] is True
    become(site, "ann")
    assert site.call("access", call="bash")["allowed"] is False
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


# what a call leads to, however it is put


def test_what_is_carried_out_is_what_is_judged(site: Site) -> None:
    site.tmsh("create auth user jo partition-access add { all-partitions { role guest } }")
    become(site, "jo")
    before = site.gateway._snapshot
    admin = {"partition-access": {"verb": "add", "items": [{"name": "all-partitions", "role": "admin"}]}}
    for call, args in (
        ("create", {"operations": [], "kind": "auth user", "name": "mallory", "properties": admin}),
        ("delete", {"operations": [], "kind": "net ipsec traffic-selector", "names": ["ts-out"]}),
        ("modify", {"verb": "delete", "kind": "net ipsec traffic-selector", "names": ["ts-out"], "properties": {}}),
    ):
        told = site.refused(call, **args).text
        assert "may not" in told or '"operations" is no argument' in told
    assert site.gateway._snapshot is before


def test_a_folder_holds_until_the_next_one(site: Site) -> None:
    site.tmsh("create auth user jo partition-access add { Common { role manager } }")
    become(site, "jo")
    first = {"verb": "modify", "kind": "cli preference", "names": [""], "properties": {"pager": "disabled"}}
    second = {"verb": "create", "kind": "net ipsec ipsec-policy", "name": "x", "properties": {}}
    told = site.refused("transaction", operations=[{**first, "folder": "/S1"}, second]).text
    assert "may not create net ipsec ipsec-policy /S1/x" in told


def test_a_load_is_judged_by_what_it_changes(site: Site) -> None:
    site.tmsh("create auth user ra partition-access add { all-partitions { role resource-admin } }")
    become(site, "ra")
    raised = "auth user ra { partition-access { all-partitions { role admin } } }\n"
    for merge in (True, False):
        assert "ra (resource-admin in all-partitions) may not" in site.refused("load", text=raised, merge=merge).text
    site.call("load", text="net ipsec ipsec-policy /Common/more { }\n", merge=True)


def test_nobody_raises_anybody_above_himself(site: Site) -> None:
    site.type(
        "create auth user um partition-access add { all-partitions { role user-manager } }",
        "create auth user boss partition-access add { all-partitions { role admin } }",
    )
    become(site, "um")
    (told,) = site.type("create auth user new partition-access add { all-partitions { role admin } }")
    assert "who is or would be above" in told
    (told,) = site.type("modify auth user um partition-access modify { all-partitions { role resource-admin } }")
    assert "who is or would be above" in told
    assert "who is or would be above" in site.type("delete auth user boss")[0]
    assert site.type("create auth user new partition-access add { Common { role manager } }") == [""]


@pytest.mark.parametrize("role", auth.WHOLE)
def test_a_role_over_the_whole_system_is_not_held_in_one_partition(site: Site, role: str) -> None:
    (told,) = site.type(f"create auth user jo partition-access add {{ S1 {{ role {role} }} }}")
    assert f"{role} is a role in all-partitions, not in S1 alone" in told


def test_a_partitions_manager_leaves_the_rest_of_the_system_alone(site: Site) -> None:
    site.tmsh("create auth user jo partition-access add { S1 { role manager } }")
    become(site, "jo")
    assert "may not run reset-stats" in site.refused("reset-stats").text
    assert "may not run restart-tmm" in site.refused("restart-tmm").text
    assert site.call("delete-sas") == {"reinstalled": 0}


def test_whom_nobody_names_is_admin_only_while_nobody_is_named(site: Site) -> None:
    become(site, "jo")
    site.call("create", **POLICY, properties={})
    become(site, "root", uid=0)
    site.type("create auth user gb partition-access add { all-partitions { role guest } }", "create auth user ann")
    site.tmsh("delete auth user gb")
    become(site, "gb")
    assert "gb (no role) may not" in site.refused("list", kind="net").text


# whoever comes by a password or a token


@pytest.mark.parametrize("role", ALLOWED)
@pytest.mark.parametrize("uid", [0, 4321])
def test_by_password_the_process_is_of_no_account(site: Site, role: str, uid: int) -> None:
    site.tmsh(f"create auth user jo partition-access add {{ all-partitions {{ role {role} }} }}")
    site.peer = Peer(pid=1, uid=uid, gid=0, user="jo", by_password=True)
    for cell in ("list", "text", "create policy", "create user", "save", "restart"):
        call, args = CELLS[cell]
        if cell in ALLOWED[role]:
            site.call(call, **args)
        else:
            assert site.refused(call, **args).text.startswith(f"jo ({role} in all-partitions) may not ")


def test_by_password_nobody_is_an_administrator_without_being_named(site: Site) -> None:
    site.peer = Peer(pid=1, uid=0, gid=0, user="nobody-of-that-name", by_password=True)
    assert site.refused("list", kind="net").text.startswith("nobody-of-that-name (no role) may not")
    become(site, "member-of-the-group")
    site.call("list", kind="net")


@pytest.mark.parametrize("role", [role for role in ALLOWED if "text" in ALLOWED[role]])
def test_hashes_are_for_administrators(site: Site, role: str) -> None:
    hashed = "$6$salt$" + "x" * 40
    site.tmsh(f"create auth user old encrypted-password {hashed}")
    site.tmsh(f"create auth user jo partition-access add {{ all-partitions {{ role {role} }} }}")
    site.call("save")
    become(site, "jo")
    for found in (site.call("text"), site.call("text", saved=True), site.call("text", generation=1)):
        assert (hashed in found) is (role == "admin")
        assert (f"encrypted-password {MASK}" in found) is (role != "admin")


def test_a_masked_text_loads_with_the_passwords_that_are_there(site: Site) -> None:
    hashed = "$6$salt$" + "x" * 40
    site.tmsh(f"create auth user old encrypted-password {hashed}")
    site.tmsh("create auth user ra partition-access add { all-partitions { role resource-admin } }")
    whole = site.call("text")
    become(site, "ra")
    masked = site.call("text")
    assert hashed not in masked
    site.call("load", text=masked)
    become(site, "root", uid=0)
    assert site.call("text") == whole
    site.call("load", text=masked, merge=True)
    assert site.call("text") == whole
    told = site.refused("load", text=masked.replace("auth user old", "auth user new"), merge=True).text
    assert "give the password" in told


def test_a_user_manager_gives_no_password_to_those_above(site: Site) -> None:
    site.tmsh("create auth user boss partition-access add { all-partitions { role admin } }")
    site.tmsh("create auth user um partition-access add { all-partitions { role user-manager } }")
    site.tmsh("create auth user low partition-access add { all-partitions { role guest } }")
    become(site, "um")
    site.call("modify", kind="auth user", names=["low"], properties={"password": "another one"})
    told = site.refused("modify", kind="auth user", names=["boss"], properties={"password": "another one"}).text
    assert "who is or would be above" in told and "another" not in told


def test_what_others_partitions_run_is_not_shown(site: Site) -> None:
    site.type(
        "create auth partition S2",
        "create net ipsec ipsec-policy /S2/p mode tunnel tunnel-local-address 2.2.2.2 tunnel-remote-address 9.9.9.9",
        "create net ipsec traffic-selector /S2/ts direction out source-address 10.1.0.0/24 "
        "destination-address 10.9.0.0/24 ipsec-policy /S2/p",
        "create auth user jo partition-access add { S1 { role guest } }",
    )
    what = {"what": "net ipsec traffic-selector"}
    assert "/S2/ts" in {own["name"] for own in site.call("show", **what)}
    become(site, "jo")
    names = {own["name"] for own in site.call("show", **what)}
    assert "/S2/ts" not in names and "/Common/ts-out" in names

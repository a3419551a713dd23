"""`cli preference`: one set for each user, out of everyone else's reach and out of the configuration."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from culvert.control.listener import Peer
from tests.control.live import Site

ANN, BOB = (Peer(pid=1, uid=uid, gid=uid, user=user) for user, uid in (("ann", 4001), ("bob", 4002)))


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    made = Site(tmp_path)
    for name in ("ann", "bob"):
        made.tmsh(f"create auth user {name} partition-access add {{ all-partitions {{ role guest }} }}")
    yield made
    made.close()


def pager(site: Site, peer: Peer) -> str:
    site.peer = peer
    (own,) = site.call("list", kind="cli preference")
    assert own["properties"] == site.call("describe")["preference"]
    return str(own["properties"]["pager"])


def test_nobody_changes_somebody_elses(site: Site) -> None:
    site.peer = BOB
    assert site.tmsh("modify cli preference pager disabled") == ""
    assert (pager(site, BOB), pager(site, ANN)) == ("disabled", "enabled")
    site.peer = ANN
    site.tmsh("modify cli preference prompt delete { user }")
    assert "user" not in site.call("describe")["preference"]["prompt"]
    site.peer = BOB
    assert "user" in site.call("describe")["preference"]["prompt"]


def test_they_are_kept_beside_the_configuration(site: Site) -> None:
    site.peer = BOB
    before = site.call("list", kind="net")
    site.tmsh("modify cli preference pager disabled")
    assert site.call("list", kind="net") == before
    again = Site(site.directory)
    assert (pager(again, BOB), pager(again, ANN)) == ("disabled", "enabled")
    assert "preference" not in again.call("text")
    again.close()
    assert (site.directory / "preferences.json").stat().st_mode & 0o077 == 0


@pytest.mark.parametrize("text", ["no json", "[1]", '{"bob": 3}', '{"bob": {"pager": "sideways", "x": "y"}}'])
def test_a_damaged_file_is_as_if_there_were_none(tmp_path: Path, text: str) -> None:
    (tmp_path / "preferences.json").write_text(text)
    site = Site(tmp_path)
    assert pager(site, BOB) == "enabled"
    site.tmsh("modify cli preference pager disabled")
    assert pager(site, BOB) == "disabled"
    site.close()


def test_they_are_only_modified_and_only_rightly(site: Site) -> None:
    for line, told in (
        ("modify cli preference pager maybe", "is not allowed"),
        ("modify cli preference video disabled", '"video" unknown property'),
        ("delete cli preference x", "they can be modified"),
        ("create cli preference pager disabled", "they can be modified"),
    ):
        assert told in site.type(line)[0], line
    site.call("transaction", operations=[{"verb": "modify", "kind": "cli preference"}], validate_only=True)
    both = [
        {"verb": "modify", "kind": "cli preference", "properties": {"pager": "disabled"}},
        {"verb": "delete", "kind": "net vlan", "names": ["nobody"]},
    ]
    site.refused("transaction", operations=both)
    assert pager(site, site.peer) == "enabled"


def test_what_a_file_says_of_them_is_kept_and_without_effect(site: Site) -> None:
    told = site.call("load", text="cli preference {\n    pager disabled\n}\n", merge=True)
    assert told["warnings"] == ["cli preference: kept, without effect"]
    assert pager(site, site.peer) == "enabled"
    assert "cli preference {\n    pager disabled\n}" in site.call("text")


def test_a_shell_starts_in_the_partition_that_is_named(site: Site) -> None:
    assert site.call("describe")["folder"] == "/Common"
    assert "was not found" in site.type("modify cli admin-partitions update-partition P1")[0]
    site.type("create auth partition P1", "modify cli admin-partitions update-partition P1")
    assert site.call("describe")["folder"] == "/P1"


def test_changes_are_audited_unless_that_is_switched_off(site: Site) -> None:
    site.tmsh("create net vlan one")
    assert "NOTIFY: root: create net vlan one" in site.log
    site.call("load", text="net vlan two { }", merge=True)
    assert "NOTIFY: root: load sys config, merge" in site.log
    site.tmsh("modify cli global-settings audit disabled")
    before = site.log
    site.tmsh("create net vlan three")
    assert site.log == before


def test_they_are_replaced_as_a_whole_however_their_kind_is_spelt(site: Site) -> None:
    site.peer = BOB
    site.tmsh("modify cli preference pager disabled")
    operation = {"verb": "replace", "kind": "cli  preference", "properties": {"keymap": "vi"}}
    site.call("transaction", operations=[operation])
    told = site.call("describe")["preference"]
    assert (told["pager"], told["keymap"]) == ("enabled", "vi")


def test_what_a_file_says_is_listed_with_the_module_and_not_in_a_users_place(site: Site) -> None:
    site.call("load", text="cli preference {\n    pager disabled\n}\n", merge=True)
    assert [own["kind"] for own in site.call("list", kind="cli preference")] == ["cli preference"]
    assert [own["kind"] for own in site.call("list", kind="cli")].count("foreign") == 1

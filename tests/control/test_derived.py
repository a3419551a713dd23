"""Virtual addresses: they come and go with virtual servers, and nobody changes them."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.control.live import Site
from tests.fixtures import SAMPLES

VIRTUAL = "create ltm virtual {} destination {} ip-forward"


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    made = Site(tmp_path)
    yield made
    made.close()


def names(site: Site) -> list[str]:
    return [own["name"] for own in site.call("list", kind="ltm virtual-address")]


def test_they_come_and_go_with_their_virtual_servers(site: Site) -> None:
    assert names(site) == []
    site.type(
        VIRTUAL.format("a", "10.9.0.0/24:80"),
        VIRTUAL.format("b", "10.9.0.0/24:443"),
        VIRTUAL.format("c", "0.0.0.0:any"),
        VIRTUAL.format("d", "2001:db8::/32"),
        VIRTUAL.format("e", "::.any"),
        VIRTUAL.format("f", "10.9.0.7:any"),
    )
    assert names(site) == [f"/Common/{name}" for name in ("0.0.0.0", "10.9.0.0", "10.9.0.7", "2001:db8::", "::")]
    assert site.tmsh("list ltm virtual-address 10.9.0.0") == (
        "ltm virtual-address 10.9.0.0 {\n    address 10.9.0.0\n    arp disabled\n    icmp-echo disabled\n"
        "    mask 255.255.255.0\n}"
    )
    masks = {own["name"]: own["properties"]["mask"] for own in site.call("list", kind="ltm virtual-address")}
    assert [masks[f"/Common/{name}"] for name in ("0.0.0.0", "10.9.0.7", "2001:db8::", "::")] == [
        "any",
        "255.255.255.255",
        "ffff:ffff::",
        "any6",
    ]
    site.type("delete ltm virtual a")
    assert "/Common/10.9.0.0" in names(site)
    site.type("delete ltm virtual b")
    assert "/Common/10.9.0.0" not in names(site)


@pytest.mark.parametrize("verb", ["modify {} arp enabled", "delete {}", "create {} mask any"])
def test_nobody_changes_them(site: Site, verb: str) -> None:
    site.tmsh(VIRTUAL.format("a", "10.9.0.0/24:80"))
    (told,) = site.type(verb.format("ltm virtual-address 10.9.0.0").replace("{}", "ltm"))
    assert told.startswith("01070734:3: Configuration error: ltm virtual-address: comes with the virtual servers")
    assert names(site) == ["/Common/10.9.0.0"]
    assert "virtual-address" not in site.call("text")


def test_one_of_another_partition_stands_there(site: Site) -> None:
    site.type("create auth partition P1", "cd /P1", VIRTUAL.format("/P1/a", "/P1/10.9.0.0/24:80"))
    assert names(site) == ["/P1/10.9.0.0"]
    assert site.tmsh("list ltm virtual-address") == ""
    assert site.type("cd /P1", "list ltm virtual-address")[1].startswith("ltm virtual-address 10.9.0.0 {")


def test_what_a_file_says_of_them_is_kept(site: Site) -> None:
    site.tmsh(f"load sys config file {SAMPLES / 'two-tunnels.scf'}")
    assert names(site).count("/Common/172.16.10.0") == 1
    assert "virtual-address" in site.call("text")
    stanza = "ltm virtual-address /Common/10.77.0.1 {\n    icmp-echo selective\n}\n"
    site.call("load", text=stanza, merge=True)
    assert "# kept as it was loaded, without effect:\nltm virtual-address /Common/10.77.0.1 {" in site.tmsh(
        "list ltm virtual-address"
    )
    assert stanza in site.call("text")


def test_what_is_kept_of_them_is_deleted_where_no_address_stands_in_its_place(site: Site) -> None:
    site.tmsh(VIRTUAL.format("a", "10.9.0.0/24:80"))
    for name in ("10.77.0.1", "10.9.0.0"):
        site.call("load", text=f"ltm virtual-address /Common/{name} {{\n    icmp-echo selective\n}}\n", merge=True)
    assert site.type("delete ltm virtual-address 10.9.0.0")[0].startswith("01070734:3: ")
    assert (
        "it can't be changed"
        in site.refused(
            "transaction",
            operations=[{"verb": "rename", "kind": "ltm virtual-address", "names": ["10.9.0.0"], "to": "x"}],
        ).text
    )
    assert site.tmsh("delete ltm virtual-address 10.77.0.1") == ""
    text = site.call("text")
    assert "10.77.0.1" not in text and "virtual-address /Common/10.9.0.0" in text

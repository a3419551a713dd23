"""`list`: which objects, which of their properties."""

import pytest

from tests.control.live import Site


def test_properties_may_stand_where_no_name_is(site: Site) -> None:
    assert site.tmsh("list net ipsec traffic-selector ts-out order direction") == (
        "net ipsec traffic-selector ts-out {\n    direction out\n    order 0\n}"
    )
    listed = site.tmsh("list net ipsec traffic-selector order")
    assert listed.splitlines()[:3] == [
        "net ipsec traffic-selector default-traffic-selector-interface {",
        "    order 0",
        "}",
    ]
    assert listed.count("    order 0") == 3
    assert site.tmsh("list net ipsec traffic-selector order direction").count("direction") == 3
    # An object's name goes first.
    site.tmsh("cp net ipsec traffic-selector ts-out order")
    assert site.tmsh("list net ipsec traffic-selector order direction") == (
        "net ipsec traffic-selector order {\n    direction out\n}"
    )


def test_an_object_elsewhere_tells_its_partition(site: Site) -> None:
    listed = site.type(
        "create auth partition P1",
        "create net vlan /P1/v",
        "list net vlan /P1/v",
        "list net vlan /P1/v all-properties",
        "list net vlan /P1/v tag",
        "list net vlan internal all-properties",
        "list net vlan internal partition tag",
        "list net vlan internal partition one-line",
        "cd /P1",
        "list net vlan v",
        "list net vlan /Common/internal one-line",
        "cd /",
        "list net vlan recursive one-line",
    )[2:]
    assert listed[0] == "net vlan /P1/v {\n    partition P1\n    tag 4092\n}"
    assert "    partition P1\n" in listed[1]
    assert listed[2] == "net vlan /P1/v {\n    tag 4092\n}"
    assert "partition" not in listed[3]
    assert listed[4] == "net vlan internal {\n    partition Common\n    tag 4093\n}"
    assert listed[5] == "net vlan internal { interfaces { lan0 { } } partition Common tag 4093 }"
    assert listed[7] == "net vlan v {\n    tag 4092\n}"
    assert "partition Common" in listed[8]
    assert listed[10].splitlines()[-1] == "net vlan P1/v { partition P1 tag 4092 }"


def test_what_list_prints_may_be_loaded_again(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    site.type("create auth partition P1", "create net vlan /P1/v", "create net ipsec ipsec-policy /P1/p")
    before = site.tmsh("list recursive")
    for words in ("net vlan /P1/v", "net ipsec ipsec-policy all-properties", "net vlan all-properties"):
        site.call("load", text=site.tmsh(f"list {words}"), merge=True)
        assert site.tmsh("list recursive") == before
    monkeypatch.setenv("EDITOR", "sed -i s/tag.*/&\\ndescription\\tedited/")
    assert site.tmsh("edit net vlan /P1/v") == ""
    assert "description edited" in site.tmsh("list net vlan /P1/v")


@pytest.mark.parametrize(
    ("line", "word"),
    [("list net ipsec foo", "foo"), ("list foo bar", "foo"), ("list net ltm", "ltm"), ("show net foo", "foo")],
)
def test_the_word_that_leads_nowhere_is_named(site: Site, line: str, word: str) -> None:
    assert site.type(line) == [f'Syntax Error: unexpected argument "{word}"']


def test_the_daemon_names_it_too(site: Site) -> None:
    assert site.refused("create", kind="net ipsec foo", name="x").text == 'Syntax Error: unexpected argument "foo"'


def test_a_path_is_begun_by_what_can_be_listed(site: Site) -> None:
    assert site.tmsh("list net ips") == site.tmsh("list net ipsec")
    assert site.tmsh("list net ips traffic-selector ts-out order").startswith("net ipsec traffic-selector ts-out {")
    # What can be shown is another matter.
    assert site.type("show net ipsec-s") == [site.tmsh("show net ipsec-stat")]


def test_the_services_that_default_stands_for(site: Site) -> None:
    assert site.tmsh("list net self-allow").splitlines()[:5] == [
        "net self-allow {",
        "    defaults {",
        "        igmp:0",
        "        ospf:0",
        "        pim:0",
    ]
    before = site.gateway._intent.addresses
    assert site.tmsh("modify net self-allow defaults { tcp:22 udp:500 }") == ""
    outside = {own.label: own.services for own in site.gateway._intent.addresses}["/Common/outside"]
    assert outside is not None
    assert [(own.protocol, own.port) for own in outside] == [(6, 22), (17, 500)]
    assert "net self-allow {" in site.call("text")
    assert "is not allowed" in site.type("modify net self-allow defaults { all }")[0]
    assert "can't be deleted" in site.refused("delete", kind="net self-allow").text
    site.type("modify net self-allow defaults { igmp:0 }", "load sys config default")
    assert before != site.gateway._intent.addresses

"""`list`: which objects, which of their properties."""

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

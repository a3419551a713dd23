"""`verify`: one fault at a time, each found with the object, the property and what repairs it."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from scapy.layers.inet import ICMP, IP
from sealing import SITE_A

from culvert.cli.verify import text
from tests.control.live import NOW, Site


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    made = Site(tmp_path)
    made.call("load", text=SITE_A)
    yield made
    made.close()


def findings(site: Site, verdict: str) -> list[tuple[str, str]]:
    return [(own["check"], own["sentence"]) for own in site.call("verify") if own["verdict"] == verdict]


def test_a_whole_site_lacks_nothing_but_traffic(site: Site) -> None:
    assert findings(site, "fail") == []
    assert findings(site, "warn") == [("traffic", "no packet has gone through a tunnel yet")]
    assert text(site.call("verify")).splitlines()[-1] == "10 passed, 1 warnings, 0 failed"


@pytest.mark.parametrize(
    ("change", "check", "sentence"),
    [
        ("modify ltm virtual forward disabled", "virtual servers", "(forward is disabled)"),
        ("modify ltm virtual forward destination 10.2.0.0:any mask 255.255.255.0", "virtual servers", "selector ts-in"),
        (
            "delete net ipsec manual-security-association sa-out",
            "traffic selectors",
            "selector ts-out: no outbound SA has ipsec-policy pol-out",
        ),
        ("delete net route far", "routes to the peers", "there is no route to 3.3.3.3"),
        (
            "delete net ipsec manual-security-association sa-in; "
            "modify net ipsec ipsec-policy pol-in tunnel-local-address 3.3.3.4",
            "IPsec policies",
            "policy pol-out goes from 2.2.2.2 to 3.3.3.3, and no policy of direction in",
        ),
        ("modify net self outside address 2.2.2.9/24", "self IPs", "tunnel-local-address 2.2.2.2 is no self IP"),
    ],
)
def test_what_fails(site: Site, change: str, check: str, sentence: str) -> None:
    answers = site.type(*change.split("; "))
    assert not any(answers), answers
    failed = findings(site, "fail")
    assert any(own[0] == check and sentence in own[1] for own in failed), failed


@pytest.mark.parametrize(
    ("change", "check", "sentence"),
    [
        ("delete net ipsec traffic-selector ts-in", "security associations", "no traffic selector leads to sa-in"),
        (
            "modify net ipsec traffic-selector ts-in source-address 10.3.0.0/24",
            "traffic selectors",
            "is its mirror image",
        ),
        (
            "delete net ipsec manual-security-association sa-in",
            "security associations",
            "sa-out has no SA for the way back",
        ),
        ("modify net vlan external mtu 1300", "MTU", "sa-out: the path takes 1300 octets"),
        ("modify net ipsec ike-daemon ikedaemon log-publisher none", "log", "has no destination"),
    ],
)
def test_what_is_warned_about(site: Site, change: str, check: str, sentence: str) -> None:
    site.type(change)
    warned = findings(site, "warn")
    assert any(own[0] == check and sentence in own[1] for own in warned), warned


@pytest.mark.parametrize(
    ("change", "sentence", "objects"),
    [
        ("delete net ipsec manual-security-association sa-out", "no outbound SA", ["traffic-selector ts-out"]),
        ("delete net route far", "there is no route to 3.3.3.3", ["ipsec-policy pol-out"]),
        ("modify net self outside address 2.2.2.9/24", "tunnel-local-address 2.2.2.2", ["ipsec-policy pol-out"]),
        ("modify ltm virtual forward disabled", "what selector ts-out speaks", ["traffic-selector ts-out"]),
        (
            "delete net ipsec traffic-selector ts-in",
            "no traffic selector leads to sa-in",
            ["manual-security-association sa-in"],
        ),
        (
            "delete net ipsec manual-security-association sa-in",
            "sa-out has no SA for the way back",
            ["manual-security-association sa-out"],
        ),
        (
            "modify net self outside address 2.2.2.9/24; delete net ipsec traffic-selector all",
            "sa-in waits: ",
            ["manual-security-association sa-in"],
        ),
        ("modify net ipsec ike-daemon ikedaemon log-publisher none", "has no destination", []),
    ],
)
def test_a_finding_names_its_objects(site: Site, change: str, sentence: str, objects: list[str]) -> None:
    answers = site.type(*change.split("; "))
    assert not any(answers), answers
    found = [own["objects"] for own in site.call("verify") if sentence in own["sentence"]]
    named = [own.rpartition(" ") for own in objects]
    assert found == [[{"kind": f"net ipsec {kind}", "name": f"/Common/{name}"} for kind, _, name in named]]


SELECTOR = "ts-out speaks of: 10.1.0.0/24 to 10.2.0.0/24; there is forward"


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (
            "modify ltm virtual forward source 10.1.0.9/32 destination 10.2.0.5:80 mask 255.255.255.255 "
            "ip-protocol tcp",
            f"{SELECTOR} (10.1.0.9/32 to 10.2.0.5/32, tcp, port 80)",
        ),
        ("modify ltm virtual forward ip-protocol udp", f"{SELECTOR} (0.0.0.0/0 to 0.0.0.0/0, udp)"),
        ("modify ltm virtual forward destination 0.0.0.0:443", f"{SELECTOR} (0.0.0.0/0 to 0.0.0.0/0, port 443)"),
        ("modify ltm virtual forward source 10.1.0.0/25", f"{SELECTOR} (10.1.0.0/25 to 0.0.0.0/0)"),
        ("modify ltm virtual forward destination 10.2.0.128:any mask 255.255.255.128", "(0.0.0.0/0 to 10.2.0.128/25)"),
        (
            "modify ltm virtual forward vlans-enabled vlans add { external }; create ltm virtual more vlans-enabled "
            "vlans add { internal } destination 0.0.0.0:any ip-forward ip-protocol tcp",
            "ts-out speaks of: 10.1.0.0/24 to 10.2.0.0/24; there is more (0.0.0.0/0 to 0.0.0.0/0, tcp)",
        ),
    ],
)
def test_a_virtual_server_that_accepts_a_part_is_told_of(site: Site, change: str, sentence: str) -> None:
    answers = site.type(*change.split("; "))
    assert not any(answers), answers
    warned = [own for check, own in findings(site, "warn") if check == "virtual servers"]
    assert any(own.startswith("virtual servers accept only a part of what ") and sentence in own for own in warned)


def test_several_virtual_servers_may_accept_the_whole_together(site: Site) -> None:
    halves = [f"create ltm virtual half{at} destination 10.2.0.{at}/25:any ip-forward" for at in (0, 128)]
    answers = site.type(
        *halves, "create ltm virtual back destination 10.1.0.0/24:any ip-forward", "delete ltm virtual forward"
    )
    assert not any(answers), answers
    assert "virtual servers" not in {check for check, _ in findings(site, "fail") + findings(site, "warn")}
    site.type("modify ltm virtual half128 ip-protocol tcp")
    told = dict(findings(site, "warn"))["virtual servers"]
    assert "half0 (0.0.0.0/0 to 10.2.0.0/25), half128 (0.0.0.0/0 to 10.2.0.128/25, tcp)" in told


def test_the_vlan_behind_which_the_sources_are_has_to_be_listened_on(site: Site) -> None:
    site.type("modify ltm virtual forward vlans-disabled vlans add { internal }")
    assert any("ts-out" in own for check, own in findings(site, "fail") if check == "virtual servers")
    site.type("modify ltm virtual forward vlans-enabled vlans replace-all-with { internal }")
    (told,) = [own for check, own in findings(site, "fail") if check == "virtual servers"]
    assert told.endswith("10.1.0.0/24 (forward listens on VLANs alone, and not on what comes out of a tunnel)")
    site.type(
        "create net vlan third interfaces add { lan1 }",
        "create net self third address 10.1.1.1/24 vlan third",
        "modify net ipsec traffic-selector ts-out source-address 10.1.0.0/16",
    )
    assert "and none listens on VLAN third" in dict(findings(site, "warn"))["virtual servers"]


def test_every_finding_has_a_repair(site: Site) -> None:
    site.type("delete net ipsec traffic-selector all", "delete net ipsec manual-security-association all")
    found = [own for own in site.call("verify") if own["verdict"] != "pass"]
    assert found
    assert all(own["repair"] for own in found)


def test_what_went_out_and_did_not_come_back(site: Site) -> None:
    site.plane.outbound(bytes(IP(src="10.1.0.10", dst="10.2.0.10") / ICMP()), NOW)
    assert ("traffic", "1 packets went out and none came back") in findings(site, "fail")


def test_a_fresh_system_lacks_everything(tmp_path: Path) -> None:
    made = Site(tmp_path)
    assert {check for check, _ in findings(made, "fail")} >= {"VLANs and links", "self IPs", "security associations"}
    made.close()

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

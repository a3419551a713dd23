"""Who sees some partitions only: nothing of the others by explain, verify, any show or the log."""

import json
from collections.abc import Iterator
from ipaddress import ip_address
from pathlib import Path

import pytest
from sealing import AUTH_KEY, CIPHER_KEY, SITE_A

from culvert.control import seen, verify
from culvert.control.listener import Peer
from culvert.control.shows import SHOWS
from culvert.dataplane.plane import DropCount
from culvert.ipsec.drops import Reason
from culvert.ipsec.ip import NextHeader
from tests.control.live import Site

OTHERS = (
    "create net ipsec ipsec-policy /S2/hush-out mode tunnel tunnel-local-address 2.2.2.2 tunnel-remote-address 9.9.9.9",
    "create net ipsec ipsec-policy /S2/hush-in mode tunnel tunnel-local-address 9.9.9.9 tunnel-remote-address 2.2.2.2",
    f"create net ipsec manual-security-association /S2/hush-out spi 3001 source-address 2.2.2.2 "
    f"destination-address 9.9.9.9 auth-key {AUTH_KEY} encrypt-key {CIPHER_KEY} ipsec-policy /S2/hush-out",
    "create net ipsec traffic-selector /S2/hush-out direction out source-address 10.1.0.0/24 "
    "destination-address 10.9.0.0/24 ipsec-policy /S2/hush-out order 1",
    "create net ipsec traffic-selector /S2/hush-in direction in destination-address 10.1.0.0/24 "
    "source-address 10.9.0.0/24 ipsec-policy /S2/hush-in order 1",
    "create net route /S2/hush network 10.9.0.0/24 gw 2.2.2.9",
    "create net self /S2/hush address 10.9.9.1/24 vlan /Common/external",
    "create ltm virtual /S2/hush destination 10.9.0.0:any mask 255.255.255.0 ip-forward",
)
TELLTALE = ("hush", "9.9.9.9", "10.9.", "2.2.2.9", "3001", "0xbb9")


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    made = Site(tmp_path)
    made.call("load", text=SITE_A)
    made.type(
        "create auth partition S1",
        "create auth partition S2",
        "create auth user jo partition-access add { S1 { role guest } }",
        "create auth user all partition-access add { all-partitions { role guest } }",
    )
    yield made
    made.close()


def add_others(site: Site) -> None:
    me, site.peer = site.peer, Peer(1, 0, 0, "root")
    assert [told for told in site.type(*OTHERS) if "rror" in told or "0107" in told] == []
    site.peer = me


def become(site: Site, user: str) -> None:
    site.peer = Peer(pid=1, uid=4711, gid=4711, user=user)


def packet(source: str, destination: str, protocol: int = NextHeader.UDP) -> str:
    ends = ip_address(source).packed + ip_address(destination).packed
    return f"4500001c0001000040{protocol:02x}0000{ends.hex()}0bb90bb900080000"


WAYS = [
    {"packet": packet("10.1.0.10", "10.9.0.10")},
    {"packet": packet("10.1.0.10", "10.2.0.10")},
    {"packet": packet("10.9.0.10", "10.1.0.10")},
    {"packet": packet("10.9.0.10", "10.1.0.10"), "direction": "in"},
    {"packet": packet("10.1.0.10", "10.9.9.1")},
    {"packet": packet("9.9.9.9", "2.2.2.2", NextHeader.ESP)},
]


@pytest.mark.parametrize("way", WAYS)
def test_a_packet_is_explained_as_if_others_had_nothing(site: Site, way: dict[str, str]) -> None:
    become(site, "jo")
    before = site.call("explain", **way)
    add_others(site)
    assert site.call("explain", **way) == before
    assert before[0]["sentence"] == seen.LEFT_OUT
    become(site, "all")
    assert seen.LEFT_OUT not in {own["sentence"] for own in site.call("explain", **way)}


def test_what_decides_is_told_to_who_sees_it(site: Site) -> None:
    add_others(site)
    become(site, "all")
    assert "S2/hush-out" in json.dumps(site.call("explain", **WAYS[0]))
    assert "hush" in json.dumps(site.call("verify"))


def test_nothing_is_verified_of_others(site: Site) -> None:
    become(site, "jo")
    before = site.call("verify")
    add_others(site)
    assert site.call("verify") == before
    assert verify.note("partitions", seen.LEFT_OUT) in before


@pytest.mark.parametrize("what", [*sorted(SHOWS), "sys mcp-state", "sys log"])
def test_no_show_tells_of_others(site: Site, what: str, monkeypatch: pytest.MonkeyPatch) -> None:
    add_others(site)
    last = DropCount(Reason.REPLAY, 3, 1.0, "10.9.0.10 to 10.1.0.10 by /S2/hush-in")
    monkeypatch.setattr(site.plane, "drops", lambda: [last])
    monkeypatch.setattr(site.plane, "tick", lambda now: ["IPsec-SA /S2/hush-out spi=3001: hard lifetime reached"])
    monkeypatch.setattr(site.gateway, "_trouble", "/S2/hush-out doesn't fit 9.9.9.9")
    monkeypatch.setattr(site.gateway, "_blocked", True)
    site.gateway.tick(1.0)
    become(site, "jo")
    told = json.dumps(site.call("show", what=what))
    assert [word for word in TELLTALE if word in told] == []
    parts = [record for part in site.stream("show", what=what) for record in part.records]
    assert json.dumps(parts) == told


def test_the_log_is_for_those_who_see_all_partitions(site: Site) -> None:
    add_others(site)
    assert any("9.9.9.9" in own["line"] for own in site.call("show", what="sys log ipsec"))
    become(site, "all")
    assert site.call("show", what="sys log ipsec")
    become(site, "jo")
    told = site.refused("show", what="sys log ipsec")
    assert told.http == 403 and "which is of all partitions" in told.text


def test_where_the_log_goes_is_cut(site: Site) -> None:
    site.type("create sys log-config destination remote-syslog /S2/hush host 127.0.0.9")
    site.type("create sys log-config publisher /Common/both destinations add { /S2/hush { } local-syslog { } }")
    site.type("modify net ipsec ike-daemon ikedaemon log-publisher both")
    assert len(site.call("show", what="sys log")[0]["destinations"]) == 2
    become(site, "jo")
    assert [own["name"] for own in site.call("show", what="sys log")[0]["destinations"]] == ["/Common/local-syslog"]

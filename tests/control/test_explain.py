"""`explain`: every way to die named with its object and property, and never another verdict than the gateway's."""

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.inet6 import IPv6
from sealing import AUTH_KEY, CIPHER_KEY, SITE_A

from culvert.cli.explain import text
from culvert.control.explain import fingerprint
from culvert.dataplane.memory import MemoryPlane
from culvert.ipsec.drops import TABLE
from culvert.ipsec.verdict import Bypass, Drop, Send
from tests.control.live import NOW, Site


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    made = Site(tmp_path)
    made.call("load", text=SITE_A)
    yield made
    made.close()


def explained(site: Site, packet: IP, direction: str = "out") -> list[dict[str, Any]]:
    return site.call("explain", packet=bytes(packet).hex(), direction=direction)


OUT = IP(src="10.1.0.10", dst="10.2.0.10") / TCP(dport=443)
BACK = IP(src="10.2.0.10", dst="10.1.0.10") / TCP(dport=443)


def test_the_whole_way_out(site: Site) -> None:
    told = re.sub(r"key [0-9a-f]{8}", "key ########", text(explained(site, OUT)))
    assert told.splitlines() == [
        "..  arrival               10.1.0.10 is in 10.1.0.0/24, on VLAN internal (link lan0), self IP inside",
        "ok  virtual server        forward accepts it",
        "ok  traffic selector      ts-out (order 0) matches, ipsec-policy pol-out",
        "ok  security association  sa-out: SPI 1001(0x3e9), esp tunnel, aes128/sha1, key ########, sequence 0, "
        "0 packets",
        "ok  MTU                   40 octets become 104; the path takes 1500",
        "ok  route                 the protected packet leaves to 3.3.3.3 by route far through 2.2.2.1",
    ]


def test_of_several_sas_the_one_is_told_that_seals_it(site: Site) -> None:
    ends = "source-address 2.2.2.2 destination-address 3.3.3.3 ipsec-policy pol-out"
    keys = f"auth-key 0x{'5a1b' * 10} encrypt-key 0x{'9c3d' * 8}"
    site.tmsh(f"create net ipsec manual-security-association aaa spi 4711 {ends} {keys}")
    sent = site.plane.outbound(bytes(OUT), NOW)
    assert isinstance(sent, Send) and sent.sa is not None
    told = [own["sentence"] for own in explained(site, OUT) if own["step"] == "security association"]
    assert told[0].startswith(f"{sent.sa.label.removeprefix('/Common/')}: SPI {sent.sa.spi}(")


def test_the_whole_way_in(site: Site) -> None:
    told = text(explained(site, BACK, "in")).splitlines()
    assert [line[:3].strip() for line in told] == ["ok", "ok", "..", "ok", "ok"]
    assert told[0].endswith("ts-in (order 0) matches, ipsec-policy pol-in")
    assert told[-1].endswith("it leaves to 10.1.0.10 directly on link lan0")


@pytest.mark.parametrize(
    ("change", "packet", "direction", "reason", "sentence", "advice"),
    [
        (
            "modify ltm virtual forward disabled",
            OUT,
            "out",
            "not-forwarded",
            "no enabled forwarding virtual",
            "create ltm",
        ),
        (
            "modify ltm virtual forward destination 10.9.0.0:any mask 255.255.0.0",
            OUT,
            "out",
            "not-forwarded",
            "no enabled",
            "ip-forward",
        ),
        (
            "delete net ipsec manual-security-association sa-out",
            OUT,
            "out",
            "no-sa-out",
            "no outbound SA serves",
            "create",
        ),
        (
            "delete net ipsec traffic-selector ts-out",
            OUT,
            "out",
            "half-protected",
            "no outbound selector matches",
            "create",
        ),
        (
            "modify net ipsec traffic-selector ts-out destination-address 10.3.0.0/24",
            OUT,
            "out",
            "half-protected",
            "no outbound selector matches",
            "modify net ipsec traffic-selector ts-out destination-address",
        ),
        (
            "modify net ipsec traffic-selector ts-out action discard",
            OUT,
            "out",
            "discard",
            "ts-out discards",
            "modify net ipsec traffic-selector ts-out action protect",
        ),
        ("delete net route far", OUT, "out", "send-failed", "there is no route to 3.3.3.3", "create net route NAME"),
        (
            "pwd",
            IP(src="10.1.0.10", dst="10.2.0.10", flags="DF") / UDP() / bytes(1440),
            "out",
            "too-big",
            "so 1438 fit",
            "tcp-mss",
        ),
        ("pwd", BACK, "out", "clear-inbound", "inbound selector ts-in matches it", "protect it"),
        (
            "pwd",
            IP(src="10.7.0.1", dst="10.1.0.10"),
            "in",
            "inner-mismatch",
            "no inbound selector matches",
            "modify net ipsec traffic-selector ts-in source-address",
        ),
        (
            "delete net ipsec manual-security-association sa-in",
            BACK,
            "in",
            "no-sa-in",
            "no inbound SA serves",
            "create",
        ),
        ("modify ltm virtual forward disabled", BACK, "in", "not-forwarded", "no enabled", "create ltm virtual"),
        ("delete net self inside", BACK, "in", "send-failed", "there is no route to 10.1.0.10", "create net route"),
        (
            "pwd",
            IP(src="3.3.3.3", dst="2.2.2.2", proto=50) / bytes(60),
            "out",
            "no-sa-in",
            "no inbound SA has SPI 0",
            "1002",
        ),
        (
            "pwd",
            IP(src="3.3.3.3", dst="2.2.2.2", proto=50) / (b"\0\0\x03\xea\0\0\0\x01" + bytes(60)),
            "out",
            "integrity",
            "",
            "",
        ),
    ],
)
def test_where_it_dies(
    site: Site, change: str, packet: IP, direction: str, reason: str, sentence: str, advice: str
) -> None:
    site.tmsh(change)
    last = explained(site, packet, direction)[-1]
    assert (last["verdict"], last["reason"]) == ("stop", reason)
    assert sentence in last["sentence"]
    assert advice in last["try"]


def test_what_is_near_is_named_property_by_property(site: Site) -> None:
    site.tmsh("modify net ipsec traffic-selector ts-out ip-protocol tcp destination-port 22")
    notes = [own["sentence"] for own in explained(site, OUT) if own["verdict"] == "note"]
    assert "ts-out doesn't match: destination-port 22 doesn't hold 443" in notes
    site.tmsh("modify net ipsec traffic-selector ts-out ip-protocol icmp destination-port any icmp-type 8")
    notes = [own["sentence"] for own in explained(site, OUT / b"") if own["verdict"] == "note"]
    assert any("ip-protocol 1 isn't 6" in note for note in notes)


def test_what_is_cut_and_what_leaves_in_clear(site: Site) -> None:
    large = explained(site, IP(src="10.1.0.10", dst="10.2.0.10") / UDP() / bytes(1440))
    assert "in 2 pieces, cut before protection" in text(large)
    assert "it leaves IN CLEAR" in text(explained(site, IP(src="10.1.0.10", dst="2.2.2.9") / ICMP()))
    assert "is taken here" in text(explained(site, IP(src="10.1.0.10", dst="10.1.0.1") / ICMP()))


def test_a_captured_packet_of_the_peer_is_opened_and_followed(site: Site, tmp_path: Path) -> None:
    peer = Site(tmp_path / "peer", MemoryPlane(random=os.urandom, clock=lambda: NOW))
    turned = SITE_A.replace("sa-out", "sa-x").replace("sa-in", "sa-out").replace("sa-x", "sa-in")
    peer.call("load", text=_mirrored(turned))
    sent = peer.plane.outbound(bytes(BACK), NOW)
    assert isinstance(sent, Send)
    told = text(site.call("explain", packet=sent.packet.hex()))
    assert "it opens with the keys of sa-in" in told
    assert told.endswith("it leaves to 10.1.0.10 directly on link lan0")
    peer.close()


def _mirrored(config: str) -> str:
    """The other site's file: addresses of the two sides change places."""
    turned = {"2.2.2.2": "3.3.3.3", "3.3.3.3": "2.2.2.2", "2.2.2.1": "3.3.3.1", "3.3.3.0": "2.2.2.0"}
    turned |= {"10.1.0.0": "10.2.0.0", "10.2.0.0": "10.1.0.0", "10.1.0.1": "10.2.0.1"}
    config = re.sub(r"\d+\.\d+\.\d+\.\d+", lambda match: turned.get(match[0], match[0]), config)
    return config.replace("spi 1001", "spi 1").replace("spi 1002", "spi 1001").replace("spi 1\n", "spi 1002\n")


@pytest.mark.parametrize("packet", ["", "zz", "45", "ff" * 40])
def test_no_packet(site: Site, packet: str) -> None:
    assert site.refused("explain", packet=packet).text.startswith("Syntax Error: packet: ")


def test_a_fingerprint_tells_nothing_but_sameness(site: Site) -> None:
    sas = [own.sa for own in site.plane.usage()]
    assert len({fingerprint(sa) for sa in sas}) == 2
    assert fingerprint(sas[0]) == fingerprint(sas[0])
    told = text(explained(site, OUT))
    assert AUTH_KEY.strip('"') not in told
    assert CIPHER_KEY.strip('"') not in told


ADDRESSES = st.sampled_from(["10.1.0.10", "10.2.0.10", "10.1.0.1", "2.2.2.2", "3.3.3.3", "10.9.0.1", "fd00::1"])
SELECTORS = st.sampled_from(
    [
        "ip-protocol any source-port any destination-port any",
        "ip-protocol tcp source-port any destination-port any",
        "ip-protocol tcp source-port any destination-port 443",
        "ip-protocol udp source-port 53 destination-port any",
    ]
)
UPPER = st.sampled_from([TCP(dport=443), TCP(dport=22), UDP(sport=53), ICMP(), ICMP(type=0), UDP() / bytes(1450)])


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=150)
@given(source=ADDRESSES, destination=ADDRESSES, upper=UPPER, selector=SELECTORS, dont=st.booleans())
def test_it_agrees_with_the_gateway(
    site: Site, source: str, destination: str, upper: Any, selector: str, dont: bool
) -> None:
    if (":" in source) != (":" in destination):
        return
    site.tmsh(f"modify net ipsec traffic-selector ts-out {selector}")
    head = IPv6(src=source, dst=destination) if ":" in source else IP(src=source, dst=destination, flags="DF" * dont)
    last = explained(site, head / upper)[-1]
    verdict = site.plane.outbound(bytes(head / upper), NOW)
    asked_elsewhere = ("not-forwarded", "clear-inbound", "half-protected", "send-failed")
    if last.get("reason") in asked_elsewhere or "taken here" in last["sentence"]:
        return
    if isinstance(verdict, Drop):
        assert last["reason"] == TABLE[verdict.reason].word
    else:
        assert last["verdict"] != "stop"
        assert ("the protected packet" in last["sentence"]) is isinstance(verdict, Send)
        assert isinstance(verdict, Send | Bypass)

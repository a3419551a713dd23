"""The log of IPsec, from what is configured to what is written: levels, destinations, decisions about packets."""

import socket
from pathlib import Path

import pytest
from scapy.layers.inet import ICMP, IP
from sealing import AUTH_KEY, CIPHER_KEY, SITE_A

from tests.control.live import NOW, Site


@pytest.fixture
def site(tmp_path: Path):  # type: ignore[no-untyped-def]
    made = Site(tmp_path)
    made.call("load", text=SITE_A)
    yield made
    made.close()


def test_the_chain_of_the_manual_reaches_a_remote_syslog(site: Site) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as receiver:
        receiver.bind(("127.0.0.1", 0))
        receiver.settimeout(5)
        port = receiver.getsockname()[1]
        answers = site.type(
            f"create sys log-config destination remote-syslog far host 127.0.0.1 port {port} default-facility local5",
            "create sys log-config publisher ipsec { destinations add { far local-syslog }}",
            "list sys log-config publisher ipsec",
            "modify net ipsec ike-daemon ikedaemon log-publisher ipsec",
            "delete net ipsec ipsec-sa spi 1001",
        )
        assert answers[2].splitlines() == [
            "sys log-config publisher ipsec {",
            "    destinations {",
            "        far { }",
            "        local-syslog { }",
            "    }",
            "}",
        ]
        received = [receiver.recv(4096).decode() for _ in range(3)]
    assert received[0].endswith("root: modify net ipsec ike-daemon ikedaemon log-publisher")
    assert received[1].endswith("culvert: purged IPsec-SA proto_id=ESP spi=1001.")
    assert received[2].endswith("IPsec-SA established: ESP/Tunnel 2.2.2.2[0]->3.3.3.3[0] spi=1001(0x3e9)")
    assert received[2].startswith("<174>")
    assert "in use" in site.type("delete sys log-config destination remote-syslog far")[0]
    assert site.type("mv sys log-config destination remote-syslog far near") == [""]
    assert "near { }" in site.tmsh("list sys log-config publisher ipsec")


def test_a_destination_without_host_sends_nothing(site: Site) -> None:
    answers = site.type(
        "create sys log-config destination remote-syslog far",
        "create sys log-config publisher ipsec { destinations add { far }}",
        "modify net ipsec ike-daemon ikedaemon log-publisher ipsec",
        "show sys log",
    )
    assert "to far" not in answers[3]


def test_changing_the_level_touches_no_sa(site: Site) -> None:
    before = [own.created for own in site.plane.usage()], site.call("show", what="net ipsec ipsec-sa")
    for level in ("debug2", "error", "info"):
        site.tmsh(f"modify net ipsec ike-daemon ikedaemon log-level {level}")
    assert ([own.created for own in site.plane.usage()], site.call("show", what="net ipsec ipsec-sa")) == before
    assert "purged" not in site.log


@pytest.mark.parametrize(("audit", "level"), [("enabled", "NOTIFY"), ("disabled", "DEBUG")])
def test_a_change_is_told_by_names_and_not_by_values(site: Site, audit: str, level: str) -> None:
    site.tmsh(f"modify cli global-settings audit {audit}")
    site.tmsh("modify net ipsec ike-daemon ikedaemon log-level debug")
    site.tmsh('modify net ipsec manual-security-association sa-out auth-key "abcdefghijabcdefghij"')
    assert f"{level}: root: modify net ipsec manual-security-association sa-out auth-key\n" in site.log
    assert "abcdefghij" not in site.log


def test_debug2_tells_what_became_of_packets(site: Site) -> None:
    packet = bytes(IP(src="10.1.0.10", dst="10.2.0.10") / ICMP())
    site.tmsh("modify net ipsec ike-daemon ikedaemon log-level debug2")
    site.gateway.tick(NOW)
    site.plane.outbound(packet, NOW)
    site.plane.outbound(packet, NOW)
    site.plane.inbound(bytes(IP(src="3.3.3.3", dst="2.2.2.2", proto=50) / (b"\0\0\x09\x09" + bytes(40))), NOW)
    site.gateway.tick(NOW + 1)
    site.gateway.tick(NOW + 2)
    written = [line for line in site.log.splitlines() if "DEBUG2" in line]
    assert len(written) == 2, written
    assert "DEBUG2: protected 2 packets, " in written[0]
    assert "2.2.2.2->3.3.3.3 spi=1001(0x3e9) /Common/sa-out" in written[0]
    assert "DEBUG2: dropped 1 packets: " in written[1]
    site.tmsh("modify net ipsec ike-daemon ikedaemon log-level info")
    site.plane.outbound(packet, NOW)
    site.gateway.tick(NOW + 3)
    assert len([line for line in site.log.splitlines() if "DEBUG2" in line]) == 2


def test_show_sys_log(site: Site) -> None:
    assert site.tmsh("show sys log ipsec lines 1").count("\n") == 0
    assert "IPsec-SA established" in site.tmsh("show sys log ipsec")
    assert site.tmsh("show sys log").splitlines()[:3] == ["--------", "Sys::Log", "--------"]
    for lines in ("0", "9" * 5000):
        assert "a number from 1 to 10000" in site.type(f"show sys log ipsec lines {lines}")[0]


def test_what_waits_is_told_once_and_when_it_begins_to(site: Site) -> None:
    waits = "NOTIFY: manual security association /Common/sa-far waits: no traffic selector names /Common/pol-far"
    answers = site.type(
        "create net ipsec ipsec-policy pol-far mode tunnel tunnel-local-address 7.7.7.7 tunnel-remote-address 8.8.8.8",
        "create net ipsec manual-security-association sa-far spi 7000 source-address 7.7.7.7 "
        f"destination-address 8.8.8.8 auth-key {AUTH_KEY} encrypt-key {CIPHER_KEY} ipsec-policy pol-far",
    )
    assert answers == ["", ""]
    assert site.log.count(waits) == 1
    site.type("delete net ipsec manual-security-association sa-in", "modify net ipsec traffic-selector ts-out order 3")
    assert site.log.count(waits) == 1

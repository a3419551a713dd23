"""What runs, as sections: security associations with filters and pages, stats, drops, and tmsh's own text."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from scapy.layers.inet import IP, TCP

from tests.control.live import NOW
from tests.web.visits import Visits, site_a

PACKET = bytes(IP(src="10.1.0.10", dst="10.2.0.10") / TCP(dport=443))
SECTIONS = ("ipsec-sa", "ipsec-stat", "ike-sa", "drops", "traffic-selector", "tmm-info", "ike-daemon")


@pytest.fixture
def visits(tmp_path: Path) -> Iterator[Visits]:
    made = site_a(tmp_path)
    yield made
    made.house.close()


def names(page: str) -> list[str]:
    return re.findall(r'<td data-label="Name"><a href="/objects/[^"]+">([^<]+)</a>', page)


@pytest.mark.parametrize("section", SECTIONS)
def test_each_section_says_what_tmsh_says_of_it(visits: Visits, section: str) -> None:
    page = visits.open(f"/diagnostics?show={section}")
    command = re.search(r"As tmsh prints it: <code>([^<]+)</code>", page)
    assert command
    text = visits.open(f"/diagnostics/text?show={section}")
    assert text.strip() == visits.house.site.tmsh(command[1]).strip()


def test_filters_of_security_associations(visits: Visits) -> None:
    assert names(visits.open("/diagnostics")) == ["sa-in", "sa-out"]
    for filters in ("spi=1001", "spi=0x3e9", "src-addr=2.2.2.2", "dst-addr=3.3.3.3", "traffic-selector=ts-out"):
        assert names(visits.open(f"/diagnostics?show=ipsec-sa&{filters}")) == ["sa-out"], filters
    assert "show net ipsec ipsec-sa spi 1001 all-properties" in visits.open("/diagnostics?spi=1001")
    assert "is not allowed for spi" in visits.words("/diagnostics?spi=x")
    assert "was not found" in visits.words("/diagnostics?traffic-selector=nobody")


def test_a_filter_stays_one_word_of_the_command(visits: Visits) -> None:
    typed = "x%22%20;%20delete%20net%20ipsec%20ipsec-sa"
    answer = visits.ask("GET", f"/diagnostics/text?show=ipsec-sa&traffic-selector={typed}")
    assert answer.status == 404
    assert "Total records returned: 2" in visits.open("/diagnostics/text?show=ipsec-sa")


def test_every_property_of_one(visits: Visits) -> None:
    page = visits.words("/diagnostics?spi=1001")
    assert "SPI 1001 (0x3e9)" in page
    assert "Encryption aes128 Authentication sha1" in page
    assert "Replay window size 64" in page


def test_pages_of_many(visits: Visits) -> None:
    site = visits.house.site
    for number in range(30):
        site.tmsh(
            f"create net ipsec manual-security-association more-{number:02} spi {5000 + number} "
            "source-address 2.2.2.2 destination-address 3.3.3.3 ipsec-policy pol-out "
            "auth-key 12345678901234567890 encrypt-key 1234567890123456"
        )
    first = visits.open("/diagnostics?src-addr=2.2.2.2")
    assert len(names(first)) == 25
    last = re.search(r'<a href="([^"]+)">Last</a>', first)
    assert last
    second = visits.open(f"/diagnostics{last[1].replace('&amp;', '&')}")
    assert len(names(second)) == 6 and "Page 2 of 2" in second
    assert "31 in all" in second


def test_one_is_taken_out_and_put_back(visits: Visits) -> None:
    page = visits.open("/diagnostics")
    key = re.search(r'name="sa" value="(1001 [^"]+)"', page)
    assert key
    there = visits.post("/diagnostics", sa=key[1])
    assert there.startswith("/diagnostics?show=ipsec-sa&said=reinstalled&name=1&sign=")
    assert "purged IPsec-SA proto_id=ESP spi=1001." in visits.house.site.log
    assert "spi=1002." not in visits.house.site.log.partition("purged")[2]
    there = visits.post("/diagnostics", do="delete", spi="1002")
    assert there.startswith("/diagnostics?show=ipsec-sa&spi=1002&said=reinstalled&name=1&sign=")
    assert visits.ask("POST", "/diagnostics", {"sa": "1001"}).status == 400


def test_who_may_not_act_has_no_buttons_and_no_way(visits: Visits) -> None:
    visits.user("bob", "auditor")
    page = visits.open("/diagnostics")
    assert 'name="sa"' not in page and 'value="delete"' not in page
    assert visits.ask("POST", "/diagnostics", {"do": "delete"}).status == 403
    assert visits.ask("POST", "/diagnostics", {"do": "log-level", "log-level": "debug"}).status == 403


def test_stats_in_units_and_in_full(visits: Visits) -> None:
    for _ in range(30):
        visits.house.site.plane.outbound(PACKET, NOW)
    assert "TUNNEL ESP 0 0 30 1.2K" in visits.words("/diagnostics?show=ipsec-stat")
    assert "TUNNEL ESP 0 0 30 1200" in visits.words("/diagnostics?show=ipsec-stat&raw=1")


def test_stats_renew_themselves_as_a_part(visits: Visits) -> None:
    part = visits.open("/diagnostics?show=ipsec-stat&raw=1&renew=1", hx_request="true")
    assert "<table>" in part and "<main" not in part


def test_drops_by_reason_with_the_last_packet(visits: Visits) -> None:
    visits.house.site.tmsh("delete net ipsec manual-security-association sa-out")
    visits.house.site.plane.outbound(PACKET, NOW)
    page = visits.words("/diagnostics?show=drops")
    assert "no-sa-out" in page
    assert "10.1.0.10 -> 10.2.0.10 protocol 6 port 20 -> 443" in page


def test_selectors_tell_whether_they_can_protect(visits: Visits) -> None:
    visits.house.site.tmsh("delete net ipsec manual-security-association sa-out")
    page = visits.words("/diagnostics?show=traffic-selector")
    assert re.search(r"ts-out out 10\.1\.0\.0/24 → 10\.2\.0\.0/24 pol-out no SA", page)
    assert re.search(r"ts-in in 10\.2\.0\.0/24 → 10\.1\.0\.0/24 pol-in in use 1 SA", page)


def test_the_log_level_of_the_daemon(visits: Visits) -> None:
    visits.post("/diagnostics", do="log-level", log_level="debug2")
    assert "log-level debug2" in visits.house.site.tmsh("list net ipsec ike-daemon")


def test_what_there_is_nothing_of(visits: Visits) -> None:
    assert visits.ask("GET", "/diagnostics?show=%3Cb%3E").status == 404
    assert visits.ask("GET", "/diagnostics/text?show=drops&form=7").status == 404
    assert visits.ask("GET", "/diagnostics/else").status == 404

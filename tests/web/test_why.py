"""The page that says why a packet did not pass: by its address alone, with the way drawn and what to change."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from scapy.layers.inet import IP, TCP

from culvert.web import remedies, why
from tests.control.live import NOW
from tests.web.visits import Visits, site_a

OUT = "/why?from=10.1.0.10&to=10.2.0.10&port=443"


@pytest.fixture
def visits(tmp_path: Path) -> Iterator[Visits]:
    made = site_a(tmp_path)
    yield made
    made.house.close()


def stages(page: str) -> list[tuple[str, str]]:
    """Each station of the way, and the word beside it."""
    return re.findall(r'<h3>([^<]+) <span class="tag \w+">([^<]+)</span>', page)


def test_a_packet_that_gets_through(visits: Visits) -> None:
    page = visits.open(OUT)
    assert stages(page) == [
        ("Arrival", "note"),
        ("Virtual server", "passes"),
        ("Traffic selector", "passes"),
        ("Security association", "passes"),
        ("MTU", "passes"),
        ("Route", "passes"),
    ]
    assert "It gets through</p>" in page
    assert re.search(r"key [0-9a-f]{8}", page)
    assert '<a class="see" href="/objects/net/ipsec/traffic-selector/~Common~ts-out">' in page


def test_where_it_dies_what_was_not_reached_and_what_to_do(visits: Visits) -> None:
    visits.house.site.tmsh("modify ltm virtual forward disabled")
    page = visits.open(OUT)
    assert stages(page)[1:] == [
        ("Virtual server", "stops here"),
        *((title, "not reached") for title in ("Traffic selector", "Security association", "MTU", "Route")),
    ]
    assert "<strong>not-forwarded</strong>" in page
    link = re.search(r'<a class="button primary" href="([^"]+)">New Virtual Server</a>', page)
    assert link and 'value="0.0.0.0/0"' in visits.open(link[1])


def test_the_way_in(visits: Visits) -> None:
    page = visits.open("/why?from=10.2.0.10&to=10.1.0.10&direction=in")
    assert [title for title, _ in stages(page)] == [
        "Traffic selector", "Security association", "Protected packet", "Virtual server", "Route",
    ]  # fmt: skip
    assert 'href="/why?from=10.1.0.10&amp;to=10.2.0.10' in page


def test_what_leaves_in_clear_is_no_success(visits: Visits) -> None:
    visits.house.site.tmsh("create net route rest network default gw 2.2.2.1")
    page = visits.open("/why?from=10.1.0.10&to=10.9.0.10")
    assert "in clear</strong>" in page
    assert "It gets through</p>" not in page


@pytest.mark.parametrize(
    ("question", "told"),
    [
        ("from=10.1.0.10&to=fd00::1", "of different families"),
        ("from=&to=10.2.0.10", "an address is needed"),
        ("from=10.1.0.10&to=10.2.0.10&port=70000", "70000 is not allowed"),
        ("from=10.1.0.10&to=10.2.0.10&protocol=other&protocol.other=nonsense", "nonsense is not allowed"),
        ("from=10.1.0.10&to=10.2.0.10&size=10", "allowed: 40 to 65535"),
        ("from=10.1.0.10&to=10.2.0.10&protocol=icmp&type=256", "256 is not allowed"),
    ],
)
def test_what_makes_no_packet_is_told_at_its_field(visits: Visits, question: str, told: str) -> None:
    answer = visits.ask("GET", f"/why?{question}")
    page = answer.octets.decode()
    assert answer.status == 400
    assert re.search(rf'aria-invalid="true">\s*<p class="error"[^>]*>[^<]*{told}', page) or told in page
    assert 'class="way"' not in page


def test_nothing_of_the_question_is_taken_for_markup(visits: Visits) -> None:
    page = visits.ask("GET", "/why?from=%3Cscript%3E&to=%22%3E%3Cb%3E&protocol=%3Ci%3E").octets.decode()
    assert "<script>" not in page and '"><b>' not in page and "<i>" not in page


def test_from_the_last_packet_that_died_to_its_question(visits: Visits) -> None:
    site = visits.house.site
    site.tmsh("delete net ipsec manual-security-association sa-out")
    site.plane.outbound(bytes(IP(src="10.1.0.10", dst="10.2.0.10") / TCP(dport=443)), NOW)
    page = visits.open("/diagnostics?show=drops")
    link = re.search(r'href="(/why\?[^"]+)"', page)
    assert link
    assert "<strong>no-sa-out</strong>" in visits.open(link[1].replace("&amp;", "&"))


@pytest.mark.parametrize(
    ("last", "address"),
    [
        (
            "fd00::1 -> fd01::1 protocol 58 type 128 code 0 flow 0x0",
            "/why?from=fd00%3A%3A1&to=fd01%3A%3A1&protocol=icmp&type=128&code=0",
        ),
        ("10.1.0.1 -> 10.2.0.1 protocol 47", "/why?from=10.1.0.1&to=10.2.0.1&protocol=gre"),
        ("3.3.3.3 -> 2.2.2.2 SPI(0x3e9) seq 17 (/Common/sa-in)", ""),
        ("12 octets that are no IP packet", ""),
    ],
)
def test_a_drops_last_packet_as_a_question(last: str, address: str) -> None:
    assert why.from_drop(last) == address


@pytest.mark.parametrize(
    ("advice", "address"),
    [
        (
            "create net self NAME address 3.3.3.3/LENGTH vlan external",
            "/objects/net/self/new?address=3.3.3.3%2F&vlan=%2FCommon%2Fexternal",
        ),
        ("look at the cable; show net interface lan0", "/objects/net/interface/lan0"),
        (
            "give sa out a new SPI and new keys, on both sides",
            "/objects/net/ipsec/manual-security-association/~Common~sa%20out",
        ),
        (
            "modify net ipsec traffic-selector ts one source-address ...",
            "/objects/net/ipsec/traffic-selector/~Common~ts%20one",
        ),
        ("modify net ipsec ipsec-policy NAME tunnel-local-address 1.1.1.1", "/objects/net/ipsec/ipsec-policy"),
        ("create net route NAME network 3.3.3.3 gw GATEWAY", "/objects/net/route/new?network=3.3.3.3"),
        ("on the peer: show net ipsec drops; compare keys", None),
        ("let ICMP reach the sender", None),
        ("create net nonsense NAME", None),
    ],
)
def test_advice_leads_to_the_page_where_it_can_be_followed(advice: str, address: str | None) -> None:
    found = remedies.of(advice)
    assert [own.address for own in found] == ([] if address is None else [address])

"""The verification that runs: verdicts in words, what to do with a way to do it, and two runs compared."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from scapy.layers.inet import IP, TCP

from tests.control.live import NOW
from tests.web.visits import Visits, site_a

PACKET = bytes(IP(src="10.1.0.10", dst="10.2.0.10") / TCP(dport=443))


@pytest.fixture
def visits(tmp_path: Path) -> Iterator[Visits]:
    made = site_a(tmp_path)
    yield made
    made.house.close()


def verdicts(page: str) -> dict[str, str]:
    return dict(re.findall(r'<span class="check-title">([^<]+)</span> <span class="tag \w+">([^<]+)</span>', page))


def test_each_check_has_its_verdict(visits: Visits) -> None:
    found = verdicts(visits.open("/checklist"))
    assert found.pop("Traffic") == "warning"
    assert len(found) == 10
    assert set(found.values()) == {"OK"}


def test_a_fault_is_told_with_what_to_do_and_where(visits: Visits) -> None:
    visits.house.site.tmsh("modify ltm virtual forward disabled")
    page = visits.open("/checklist")
    assert verdicts(page)["Virtual servers"] == "fault"
    assert "1 found a fault to repair" in " ".join(page.split())
    assert "<code>create ltm virtual NAME destination 0.0.0.0:any mask any ip-forward</code>" in page
    assert '<a class="see" href="/objects/ltm/virtual/new?destination-network=0.0.0.0%2F0">' in page


def test_two_runs_are_compared(visits: Visits) -> None:
    page = visits.open("/checklist")
    before = dict(re.findall(r'<input type="hidden" name="(in|out|at)" value="(\d+)">', page))
    visits.house.site.plane.outbound(PACKET, NOW)
    visits.house.site.plane.outbound(PACKET, NOW)
    again = visits.words(f"/checklist?in={before['in']}&out={before['out']}&at={before['at']}")
    assert "Packets in 0 no more than before Packets out 2 +2" in again


@pytest.mark.parametrize("made_up", ["in=5&out=5&at=5", "in=a&out=b&at=c", "in=0&out=0"])
def test_a_run_that_never_was_is_not_compared_with(visits: Visits, made_up: str) -> None:
    assert "no more than before" not in visits.open(f"/checklist?{made_up}")


def test_the_log_level_is_set_by_the_model(visits: Visits) -> None:
    assert visits.post("/checklist", do="log-level", level="debug") == "/checklist?said=level&name=debug"
    assert "log-level debug" in visits.house.site.tmsh("list net ipsec ike-daemon")
    page = visits.words("/checklist")
    assert "It is debug : the log grows with the traffic. Set log-level info" in page
    assert visits.ask("POST", "/checklist", {"do": "log-level", "level": "x"}).status == 400


def test_what_to_send_and_whether_it_would_pass(visits: Visits) -> None:
    page = visits.open("/checklist")
    link = re.search(r'href="(/why[^"]+)">Would a ping pass\?</a>', page)
    assert link and link[1].startswith("/why?from=10.1.0.1&amp;to=10.2.0.1&amp;protocol=icmp")
    assert "It gets through</p>" in visits.open(link[1].replace("&amp;", "&"))


def test_security_associations_are_put_back(visits: Visits) -> None:
    assert visits.post("/checklist", do="reinstall") == "/checklist?said=reinstalled&name=2"
    assert "2 security associations were taken out and put back" in visits.words("/checklist?said=reinstalled&name=2")
    assert "Outbound 1 mature Inbound 1 mature" in visits.words("/checklist")


def test_an_auditor_sees_it_all_and_changes_nothing(visits: Visits) -> None:
    visits.user("bob", "auditor")
    page = visits.open("/checklist")
    assert "Set log-level" not in page and "reinstalls them" not in page
    for form in ({"do": "log-level", "level": "debug"}, {"do": "reinstall"}):
        assert visits.ask("POST", "/checklist", form).status == 403


def test_names_of_others_are_no_markup(visits: Visits) -> None:
    visits.house.site.plane.outbound(PACKET, NOW)
    page = visits.open("/checklist?said=%3Cb%3E&name=%3Cscript%3E")
    assert "<b>" not in page and "<script>" not in page

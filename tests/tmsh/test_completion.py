"""`?` and Tab: what may stand next, out of the schema and the running configuration."""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from culvert.tmsh import completion
from culvert.tmsh.session import Session
from tests.control.live import Site
from tests.tmsh.typing import session_after

OFTEN = [HealthCheck.function_scoped_fixture]


def words(site: Site, line: str, *before: str) -> list[str]:
    return [own.word for own in completion.complete(line, session_after(site, *before))[1]]


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("cre", ["create"]),
        ("modify net ipsec ", ["ike-daemon", "ipsec-policy", "manual-security-association", "traffic-selector"]),
        ("modify net ipsec ipsec-policy pol", ["pol-in", "pol-out"]),
        ("modify net ipsec ipsec-policy pol-out mo", ["mode"]),
        ("modify net ipsec ipsec-policy pol-out mode ", ["interface", "isession", "transport", "tunnel"]),
        ("modify net ipsec ipsec-policy pol-out { mode tunnel ipc", ["ipcomp", "ipcomp-cpi"]),
        ("modify net ipsec ike-daemon ikedaemon log-level d", ["debug", "debug2"]),
        ("create net ipsec traffic-selector x ipsec-policy pol", ["pol-in", "pol-out"]),
        ("create net vlan v interfaces add { ", ["lan0", "wan0", "}"]),
        ("create net vlan v interfaces add { lan0 { t", ["tagged"]),
        (
            "create sys log-config publisher p { destinations ",
            ["add", "delete", "modify", "none", "replace-all-with", "{"],
        ),
        ("create sys log-config publisher p { destinations add ", ["{"]),
        ("create net ipsec ipsec-policy ", ["<name>"]),
        ("show net ipsec ipsec-sa traffic-selector ts", ["ts-in", "ts-out"]),
        ("show net ipsec ipsec-sa sp", ["spi"]),
        ("show net ipsec ike-sa peer-", ["peer-ip", "peer-name"]),
        ("show net ipsec-stat traf", []),
        ("show net ipsec ipsec-sa spi ", []),
        ("list net /lt", []),
        ("show sys log ipsec li", ["lines"]),
        ("show net ipsec-stat sp", []),
        ("delete net ipsec ipsec-sa ", ["dst-addr", "route-domain", "spi", "src-addr", "traffic-selector"]),
        ("delete net ipsec ipsec-sa traffic-selector ts-o", ["ts-out"]),
        ("delete net ipsec i", ["ike-daemon", "ike-sa", "ipsec-policy", "ipsec-sa"]),
        ("modify cli transaction ", ["delete"]),
        ("reset-stats net ", ["ike-evt-stat", "ike-msg-stat", "ipsec", "ipsec-stat"]),
        ("reset-stats net ipsec ", ["drops", "ipsec-sa", "traffic-selector"]),
        ("reset-stats net ipsec traffic-selector ts-o", ["ts-out"]),
        ("reset-stats net ipsec ipsec-sa s", ["spi", "src-addr"]),
        ("reset-stats ltm virtual ", ["forward"]),
        ("show ltm virtual for", ["forward"]),
        ("create net ipsec ipsec-policy x {\nmode tunnel\nipc", ["ipcomp", "ipcomp-cpi"]),
        ("load sys config ver", ["verify"]),
        ("load sys config file ", ["<file>"]),
        ("list net ipsec ipsec-policy pol-out tunnel-", ["tunnel-local-address", "tunnel-remote-address"]),
        ("list /ne", ["/net"]),
        ("submit cli tr", ["transaction"]),
        ("cd /Com", ["/Common"]),
        ("run util bash ", ["-c"]),
        ("nowhere at all ", []),
        ("modify net ipsec ipsec-policy pol-out nonsense ", []),
    ],
)
def test_what_may_come_next(site: Site, line: str, expected: list[str]) -> None:
    found = words(site, line)
    assert sorted(set(found) - {"<value>"}) == sorted(expected)


def test_inside_a_module(site: Site) -> None:
    assert words(site, "modify ipsec-policy pol-o", "net ipsec") == ["pol-out"]
    assert "ipsec-policy" in words(site, "list ", "net ipsec")
    # It came to a KeyError: what is at the root was looked for in the module.
    assert words(site, "run /", "net") == ["/sys", "/util"]


def test_a_show_offers_only_what_can_be_shown(site: Site) -> None:
    assert "ipsec-sa" in words(site, "show net ipsec ")
    assert "ipsec-policy" not in words(site, "show net ipsec ")
    assert "ipsec-sa" not in words(site, "create net ipsec ")


def test_the_filters_of_ike_sas(site: Site) -> None:
    told = completion.table(completion.complete("show net ipsec ike-sa ", Session(site))[1])
    for word in ("peer-ip", "peer-name", "route-domain", "traffic-selector"):
        assert f"  {word}  " in told
    assert "spi" not in told


def test_properties_that_were_given_are_not_offered_again(site: Site) -> None:
    assert "mode" not in words(site, "modify net ipsec ipsec-policy pol-out mode tunnel ")
    assert "vlans" not in words(site, "modify ltm virtual forward vlans add { internal } ")


def test_the_table_has_sections_and_help(site: Site) -> None:
    told = completion.table(completion.complete("show net ipsec ipsec-sa ", Session(site))[1])
    assert told.splitlines()[0] == "Options:"
    assert "  spi               Security parameter index" in told.splitlines()
    commands = completion.table(completion.complete("", Session(site))[1]).splitlines()
    assert commands[0] == "Commands:"
    assert "Modules:" in commands


def test_tab_fills_in_what_is_sure(site: Site) -> None:
    assert completion.shared(["tunnel-local-address", "tunnel-remote-address"]) == "tunnel-"
    assert completion.shared([]) == ""


@settings(suppress_health_check=OFTEN, max_examples=300, deadline=None)
@given(line=st.text(alphabet='abcdelmnoprstuvwiy -/{}"@*?\\.0', max_size=60))
def test_it_never_raises(site: Site, line: str) -> None:
    for start in ("", "modify net ipsec ipsec-policy pol-out ", "create net vlan v interfaces add { "):
        completion.table(completion.complete(start + line, Session(site))[1])


def test_help_stays_in_its_column_on_a_narrow_screen(site: Site) -> None:
    _, found = completion.complete("create net ipsec manual-security-association x ", Session(site))
    for width in (20, 40, 80, 120):
        lines = completion.table(found, width).splitlines()
        assert max(map(len, lines)) < max(width, 34)
        words = [line.split()[0] for line in lines if line.startswith("  ") and line[2] != " "]
        assert words == [own.split()[0] for own in completion.table(found).splitlines() if own.startswith("  ")]
    assert "\n".join(lines) == completion.table(found)

"""`reset-stats`: everything, or what is named, and never more than that."""

import pytest
from scapy.layers.inet import ICMP, IP

from culvert.control.resets import COUNTED
from tests.control.live import NOW, Site


def packets(site: Site) -> int:
    return sum(own["packets"] for own in site.call("show", what="net ipsec ipsec-sa"))


@pytest.fixture
def used(site: Site) -> Site:
    site.plane.outbound(bytes(IP(src="10.1.0.10", dst="10.2.0.10") / ICMP()), NOW)
    assert packets(site) == 1
    return site


def test_all_counters_begin_at_zero(used: Site) -> None:
    assert used.tmsh("reset-stats") == ""
    assert packets(used) == 0


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ("frob", 'Syntax Error: unexpected argument "frob"'),
        ("net", "Syntax Error: net has no counters of its own"),
        ("net self", "Syntax Error: net self has no counters of its own"),
        ("net vlan internal", 'Syntax Error: unexpected argument "internal"'),
        ("ltm virtual nosuch", "01020036:3: The requested Virtual Server (/Common/nosuch) was not found."),
        ("net ike-evt-stat x", 'Syntax Error: unexpected argument "x"'),
        ("net ipsec ipsec-sa frob", 'Syntax Error: unexpected argument "frob"'),
        ("net ipsec ipsec-sa spi x", 'Syntax Error: "x" is not allowed for spi'),
        ("net ipsec traffic-selector nosuch", "01020036:3: The requested IPsec traffic selector (/Common/nosuch) was"),
        ("net ipsec-stat raw", 'Syntax Error: unexpected argument "raw"'),
        ("net ipsec drops x", 'Syntax Error: unexpected argument "x"'),
    ],
)
def test_what_names_nothing_resets_nothing(used: Site, words: str, told: str) -> None:
    assert used.type(f"reset-stats {words}")[0].startswith(told)
    assert packets(used) == 1


@pytest.mark.parametrize(
    ("words", "labels"),
    [
        ("ltm virtual", ["/Common/far", "/Common/forward"]),
        ("ltm virtual all", ["/Common/far", "/Common/forward"]),
        ("ltm virtual far", ["/Common/far"]),
        ("ltm virtual f*d", ["/Common/forward"]),
        ("net ike-evt-stat", []),
        ("net ike-msg-stat", []),
    ],
)
def test_only_what_is_named_is_reset(
    used: Site, monkeypatch: pytest.MonkeyPatch, words: str, labels: list[str]
) -> None:
    used.tmsh("create ltm virtual far destination 10.9.0.0/24:any ip-forward")
    used.tmsh("create ltm virtual off destination 10.8.0.0/24:any ip-forward disabled")
    asked: list[list[str]] = []
    monkeypatch.setattr(used.plane, "reset_stats", lambda forwarders=None: asked.append(sorted(forwarders)))
    assert used.tmsh(f"reset-stats {words}") == ""
    assert asked == [labels]


def counts(site: Site) -> dict[str, list[int]]:
    """The counters of each show, all fields of all records together."""
    shown = {what: site.call("show", what=what) for what in COUNTED}
    return {
        what: [own[word] for own in shown[what] for word in counted.counters if isinstance(own.get(word), int)]
        for what, counted in COUNTED.items()
    }


@pytest.mark.parametrize("what", COUNTED)
def test_one_show_alone_counts_from_a_reset_on(used: Site, what: str) -> None:
    used.plane.outbound(bytes(IP(src="10.1.0.10", dst="10.77.0.10") / ICMP()), NOW)
    used.plane.inbound(bytes(IP(src="3.3.3.3", dst="2.2.2.2", proto=50) / bytes(40)), NOW)
    before, true = counts(used), used.plane.usage()
    assert any(before[what])
    assert used.tmsh(f"reset-stats {what}") == ""
    after = counts(used)
    assert not any(after[what])
    assert {word: own for word, own in after.items() if word != what} == {
        word: own for word, own in before.items() if word != what
    }
    assert used.plane.usage() == true, "sequences, lives and true counters go on"
    used.plane.outbound(bytes(IP(src="10.1.0.10", dst="10.2.0.10") / ICMP()), NOW)
    used.plane.inbound(bytes(IP(src="3.3.3.3", dst="2.2.2.2", proto=50) / bytes(40)), NOW)
    again = counts(used)[what]
    assert 0 < sum(again) <= sum(before[what])


@pytest.mark.parametrize(
    ("words", "left"),
    [
        ("net ipsec ipsec-sa spi 1001", {"/Common/sa-out": 0, "/Common/sa-in": 0}),
        ("net ipsec ipsec-sa spi 1002", {"/Common/sa-out": 1, "/Common/sa-in": 0}),
        ("net ipsec ipsec-sa traffic-selector ts-out", {"/Common/sa-out": 0, "/Common/sa-in": 0}),
    ],
)
def test_those_sas_begin_again_that_the_filters_leave(used: Site, words: str, left: dict[str, int]) -> None:
    assert used.tmsh(f"reset-stats {words}") == ""
    assert {own["name"]: own["packets"] for own in used.call("show", what="net ipsec ipsec-sa")} == left


def test_a_selector_begins_again_by_its_name(used: Site) -> None:
    def shown() -> dict[str, int]:
        return {own["name"]: own["packets"] for own in used.call("show", what="net ipsec traffic-selector")}

    assert used.tmsh("reset-stats net ipsec traffic-selector ts-in") == "" and shown()["/Common/ts-out"] == 1
    assert used.tmsh("reset-stats net ipsec traffic-selector ts-out") == "" and shown()["/Common/ts-out"] == 0
    used.plane.outbound(bytes(IP(src="10.1.0.10", dst="10.2.0.10") / ICMP()), NOW)
    assert shown()["/Common/ts-out"] == 1


def test_what_all_counters_forgot_is_taken_off_nothing(used: Site) -> None:
    used.tmsh("reset-stats net ipsec ipsec-sa")
    used.tmsh("reset-stats")
    used.plane.outbound(bytes(IP(src="10.1.0.10", dst="10.2.0.10") / ICMP()), NOW)
    assert packets(used) == 1


def test_a_counter_that_fell_below_its_reset_is_shown_as_it_is(used: Site) -> None:
    used.plane.outbound(bytes(IP(src="10.1.0.10", dst="10.2.0.10") / ICMP()), NOW)
    used.tmsh("reset-stats net ipsec ipsec-sa")
    used.plane.reset_stats()  # Behind the gateway's back.
    used.plane.outbound(bytes(IP(src="10.1.0.10", dst="10.2.0.10") / ICMP()), NOW)
    assert packets(used) == 1
    used.plane.outbound(bytes(IP(src="10.1.0.10", dst="10.2.0.10") / ICMP()), NOW)
    assert packets(used) == 2


def test_a_limit_of_a_keys_life_knows_no_reset(used: Site) -> None:
    used.tmsh("modify net ipsec manual-security-association sa-out lifetime-packets 3")
    sent = bytes(IP(src="10.1.0.10", dst="10.2.0.10") / ICMP())
    used.plane.outbound(sent, NOW)
    used.tmsh("reset-stats net ipsec ipsec-sa")
    out = next(own for own in used.call("show", what="net ipsec ipsec-sa") if own["name"] == "/Common/sa-out")
    assert (out["packets"], out["hard_lifetime"]["packets"], out["sequence"]) == (0, 1, 2)

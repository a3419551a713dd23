"""`reset-stats`: everything, or what is named, and never more than that."""

import pytest
from scapy.layers.inet import ICMP, IP

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
        *(
            (f"{what}{more}", f"Syntax Error: {what} can't be reset by itself: the packet process sets all")
            for what in ("net ipsec ipsec-sa", "net ipsec traffic-selector", "net ipsec drops", "net ipsec-stat")
            for more in ("", " spi 1001")
        ),
    ],
)
def test_what_cannot_be_reset_by_itself_stays(used: Site, words: str, told: str) -> None:
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

"""The network map: what is drawn, how it is judged, and that it shows nobody what isn't theirs to see."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from culvert.web import network
from culvert.web.condition import ATTENTION, DEAD, MATURE, MISSING, SOFT, State
from culvert.web.findings import sorted_out
from culvert.web.moments import ago
from culvert.web.tunnels import POLICY
from tests.web.watching import Two, way, words

OUT, BACK = ("2.2.2.2", "4.4.4.4", "out", 3000), ("4.4.4.4", "2.2.2.2", "in", 4000)


@pytest.fixture
def two(tmp_path: Path) -> Iterator[Two]:
    made = Two(tmp_path)
    yield made
    made.close()


def state_of(page: str) -> str:
    """Of the first tunnel, by the words on its card."""
    return words(page.partition('<li class="card')[2].partition("</h2>")[0].partition(">")[2]).split(" 2.")[0]


def test_an_empty_gateway_says_what_to_do(two: Two) -> None:
    page = two.open("/map")
    assert "There is no tunnel yet" in words(page)
    assert 'href="/wizard"' in page
    steps = [f"/objects/{kind}/new" for kind in ("ltm/virtual", "net/ipsec/ipsec-policy", "net/ipsec/traffic-selector")]
    assert all(f'href="{step}"' in page for step in (*steps, "/objects/net/ipsec/manual-security-association/new"))
    assert page.count('class="is-done"') == 0
    two.load()
    assert two.open("/map").count('class="is-done"') == 2


def test_who_changes_nothing_gets_no_buttons_for_it(two: Two) -> None:
    two.user("gus", "guest")
    page = two.open("/map", user="gus")
    assert "There is no tunnel yet" in words(page)
    assert "/wizard" not in page.partition("<main")[2]
    assert "/new" not in page


def test_it_is_where_a_login_leads_to(two: Two) -> None:
    assert two.ask("GET", "/").headers["Location"] == "/map"


def test_a_tunnel_that_works(two: Two) -> None:
    two.tunnel()
    two.go(3)
    two.come(2)
    page = two.open("/map")
    assert state_of(page) == "Mature"
    told = words(page)
    for part in (
        "2.2.2.2/8",
        "3.3.3.3",
        "10.1.0.0/16",
        "10.2.0.0/16",
        "SPI 1000",
        "SPI 2000",
        "3 packets",
        "2 packets",
    ):
        assert part in told
    for kind, name in (
        ("net/ipsec/manual-security-association", "sa-1000"),
        ("net/ipsec/traffic-selector", "selector-2000"),
        ("net/ipsec/ipsec-policy", "policy-2000"),
        ("net/vlan", "external"),
        ("net/self", "outside"),
    ):
        assert f'href="/objects/{kind}/~Common~{name}"' in page
    drawing = page.partition("<figure")[2].partition("</figure>")[0]
    links = set(re.findall(r'href="([^"]+)"', drawing))
    assert len(links) == 6, "two SAs, the selector of both networks, the peer's policy, VLAN and self IP"
    assert {two.ask("GET", link).status for link in links} == {200}


@pytest.mark.parametrize(
    ("lifetime", "later", "state", "sentence"),
    [
        ("    soft-lifetime-seconds 10\n", 11, SOFT, "sa-1000 is past its soft lifetime"),
        ("    lifetime-seconds 10\n", 11, DEAD, "sa-1000 is behind its hard lifetime"),
        ("    lifetime-seconds 10\n", 9, MATURE, ""),
    ],
)
def test_the_life_of_a_key(two: Two, lifetime: str, later: int, state: State, sentence: str) -> None:
    two.tunnel(lifetime)
    two.now += later
    page = two.open("/map")
    assert state_of(page) == state.title
    assert sentence in words(page)


def test_a_dead_sa_beside_one_that_lives_is_no_dead_tunnel(two: Two) -> None:
    two.tunnel("    lifetime-seconds 10\n")
    two.now += 11
    for number, policy in (("1001", "1000"), ("2001", "2000")):
        old = two.here.call("list", kind="net ipsec manual-security-association", names=[f"sa-{policy}"])[0]
        properties = {**old["properties"], "spi": number, "lifetime-seconds": "0"}
        properties |= {"auth-key": f"0x{int(number):040x}", "encrypt-key": f"0x{int(number):032x}"}
        two.here.call(
            "create", kind="net ipsec manual-security-association", name=f"new-{policy}", properties=properties
        )
    page = two.open("/map")
    assert "SPI 1000 and 1 more" in words(page)
    assert '<span class="told warn">' in page.partition('<p class="card-way">')[2].partition("</p>")[0]
    assert "Dead" not in words(page.partition('class="chips"')[2].partition("</nav>")[0].replace("At fault", ""))


def test_a_selector_without_sa_is_said_at_its_tunnel(two: Two) -> None:
    two.tunnel()
    two.here.call("delete", kind="net ipsec manual-security-association", names=["sa-2000"])
    page = two.open("/map")
    assert state_of(page) == MISSING.title
    assert "selector selector-2000: no inbound SA has ipsec-policy policy-2000" in words(page)
    drawing = page.partition("<figure")[2].partition("</figure>")[0]
    assert 'class="way bad ring"' in drawing
    assert "no SA" in words(drawing)


def test_many_tunnels_are_shown_before_they_are_verified(two: Two, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(network, "VERIFIED_AT_ONCE", 0)
    two.tunnel()
    two.here.call("delete", kind="net ipsec manual-security-association", names=["sa-2000"])
    sentence = "selector selector-2000: no inbound SA has ipsec-policy policy-2000"
    first = two.open("/map")
    assert "Not verified yet" in words(first) and sentence not in words(first) and 'hx-trigger="every 1s"' in first
    assert state_of(first) == MISSING.title
    renewed = two.ask("GET", "/map?renew=1", **{"hx-request": "true"}).octets.decode()
    for second in (renewed, two.open("/map")):
        assert sentence in words(second) and "Not verified yet" not in words(second)


def test_what_was_wrong_before_a_change_is_not_told_after_it(two: Two, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(network, "VERIFIED_AT_ONCE", 0)
    two.tunnel()
    two.here.tmsh("delete net route default")
    assert "no route to" not in words(two.open("/map")) and "no route to" in words(two.open("/map"))
    two.here.tmsh("create net route default gw 2.2.2.1 network default")
    page = two.open("/map")
    assert state_of(page) == MATURE.title and "no route to" not in words(page)


def test_whoever_has_no_script_sees_them_verified_the_second_time(two: Two, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(network, "VERIFIED_AT_ONCE", 0)
    two.tunnel()
    assert "Not verified yet" in words(two.open("/map"))
    assert "Not verified yet" not in words(two.open("/map"))


def test_policies_that_are_not_mirrored_are_said_at_their_tunnels(two: Two) -> None:
    two.load(way(*OUT), way("5.5.5.5", "2.2.2.2", "in", 4000))
    page = words(two.open("/map"))
    assert "policy policy-3000 goes from 2.2.2.2 to 4.4.4.4, and no policy of direction in comes back" in page
    assert "policy policy-4000 goes from 5.5.5.5 to 2.2.2.2, and no policy of direction out comes back" in page


def test_what_has_no_selector_yet_is_said_too(two: Two) -> None:
    two.load()
    ends = {"mode": "tunnel", "tunnel-local-address": "2.2.2.2", "tunnel-remote-address": "4.4.4.4"}
    two.here.call("create", kind="net ipsec ipsec-policy", name="only", properties=ends)
    page = words(two.open("/map"))
    assert "no outbound traffic selector names the policy only" in page
    assert "no inbound policy has these ends" in page


def test_several_tunnels_to_one_peer_are_drawn_at_one_box(two: Two) -> None:
    far = "4.4.4.4"
    two.load(way(*OUT), way(*BACK), way("2.2.2.3", far, "out", 3001), way(far, "2.2.2.3", "in", 4001))
    page = two.open("/map")
    assert page.count('<g class="peer') == 1
    assert page.count('<g class="way') == 4
    assert "2 tunnels to 1 peer" in words(page)
    ids = re.findall(r'\sid="([^"]+)"', page)
    assert len(ids) == len(set(ids))


def test_many_networks_of_a_peer_are_counted(two: Two) -> None:
    two.load(way(*OUT), way(*BACK))
    for number in range(9):
        ends = {"source-address": "10.1.0.0/16", "destination-address": f"192.168.{number}.0/24"}
        properties = {**ends, "direction": "out", "ipsec-policy": "policy-3000"}
        two.here.call("create", kind="net ipsec traffic-selector", name=f"more-{number}", properties=properties)
    told = words(two.open("/map"))
    assert "and 6 more networks" in told
    assert "and 6 more" in told.partition("The same as a table")[2]


def test_the_worst_stands_first_and_states_are_counted(two: Two) -> None:
    ways = [way(*OUT), way(*BACK)]
    for peer in range(30):
        ways += [
            way("2.2.2.2", f"7.0.0.{peer}", "out", 5000 + peer),
            way(f"7.0.0.{peer}", "2.2.2.2", "in", 6000 + peer),
        ]
    two.load(*ways)
    two.here.call("delete", kind="net ipsec manual-security-association", names=["sa-5023"])
    page = two.open("/map")
    assert re.findall(r"<b>([\d,]+)</b> ([\w-]+)", page)[:1] == [("31", "tunnels")]
    assert "1 Missing" in words(page)
    assert "Tunnels 1 to 10 of 31, worst first" in words(page)
    assert words(page.partition('<ul class="cards">')[2].partition("</h2>")[0]) == "Missing 2.2.2.2 ↔ and 7.0.0.23"
    assert "7.0.0.23" not in words(two.open("/map?page=2").partition("<figure")[2])
    assert words(two.open("/map?state=missing")).count("Tunnels 1 to") == 0
    assert two.open("/map?state=missing").count('<li class="card') == 1
    assert two.open("/map?page=99").count('<li class="card') == 1


@pytest.mark.parametrize("search", ["4.4.4.4", "SELECTOR-3000", "3000", "172.4.", "policy-4"])
def test_search(two: Two, search: str) -> None:
    two.load(way(*OUT), way(*BACK), way("2.2.2.2", "9.9.9.9", "out", 7017), way("9.9.9.9", "2.2.2.2", "in", 8017))
    page = two.open(f"/map?search={search}")
    assert page.count('<li class="card') == 1
    assert "4.4.4.4" in words(page.partition('<ul class="cards">')[2].partition("</ul>")[0])
    assert "No tunnel fits" in words(two.open(f"/map?search={search}&state=dead"))


def test_what_is_renewed_is_the_part_alone_and_keeps_no_session_alive(two: Two) -> None:
    two.tunnel()
    page = two.open("/map?search=3.3&page=1")
    address = re.search(r'hx-get="(/map[^"]*renew[^"]*)" hx-trigger="every (\d+)s"', page)
    assert address is not None
    assert int(address[2]) >= 3
    two.door.calls.clear()
    part = two.ask("GET", address[1].replace("&amp;", "&"), **{"hx-request": "true"}).octets.decode()
    assert part.lstrip().startswith('<div id="map"')
    assert "<html" not in part
    assert "extend" not in two.door.calls
    assert set(re.findall(r' id="([^"]+)"', part)) <= set(re.findall(r' id="([^"]+)"', page))
    assert "hx-trigger" not in two.open("/map?still=1").partition('<div id="map"')[2]


def test_going_back_in_the_browser_gets_a_whole_page(two: Two) -> None:
    headers = {"hx-request": "true", "hx-history-restore-request": "true"}
    assert b"<html" in two.ask("GET", "/map", **headers).octets


def test_no_id_is_there_twice_and_nothing_is_inline(two: Two) -> None:
    two.tunnel()
    page = two.open("/map")
    ids = re.findall(r'\sid="([^"]+)"', page)
    assert len(ids) == len(set(ids))
    assert not any(" " in own for own in ids)
    assert not re.search(r"\sstyle=|<style|<script(?! src)|\son\w+=", page)


def test_the_configuration_is_asked_for_when_it_was_changed_alone(two: Two) -> None:
    two.tunnel()
    two.open("/map")
    two.door.calls.clear()
    two.open("/map")
    assert "list" not in two.door.calls
    two.here.call("modify", kind="net vlan", name="external", properties={"description": "changed"})
    two.open("/map")
    assert "list" in two.door.calls


def test_nobody_sees_what_another_may_see(two: Two) -> None:
    two.tunnel()
    two.here.call("create", kind="auth partition", name="Sales", properties={})
    ends = {"mode": "tunnel", "tunnel-local-address": "2.2.2.2", "tunnel-remote-address": "8.8.4.4"}
    two.here.call("create", kind="net ipsec ipsec-policy", name="/Sales/hidden", properties=ends)
    two.here.call("create", kind="auth partition", name="Other", properties={})
    two.user("gus", "guest", "Other")
    two.user("sue", "guest", "Sales")
    assert "8.8.4.4" in two.open("/map", user="sue")
    assert "8.8.4.4" not in two.open("/map", user="gus")
    assert "8.8.4.4" in two.open("/map", user="sue")


def test_there_is_nothing_to_send_to_it(two: Two) -> None:
    assert two.ask("POST", "/map", {}).status == 405
    assert two.ask("GET", "/map/further").status == 404


def test_what_is_typed_into_the_address_is_only_words(two: Two) -> None:
    two.tunnel()
    page = two.open("/map?search=%22%3E%3Cscript%3Ealert(1)%3C/script%3E&state=%3Cb%3E&page=-1")
    assert "<script>alert" not in page
    assert "No tunnel fits" in words(page)


def test_keys_never_come_into_a_page(two: Two) -> None:
    two.tunnel()
    assert "$M$" not in two.open("/map")
    assert f"{1007:032x}" not in two.open("/map")


def test_findings_by_what_they_are_about() -> None:
    def finding(sentence: str, *about: tuple[str, str], verdict: str = "fail") -> dict[str, object]:
        objects = [{"kind": kind, "name": name} for kind, name in about]
        return {"check": "c", "verdict": verdict, "sentence": sentence, "repair": "", "objects": objects}

    one, other, link = (POLICY, "/Common/a b"), (POLICY, "/P/p"), ("net vlan", "/Common/external")
    harmless = finding("v", one, verdict="pass")
    found = sorted_out([finding("x", one), finding("y", one, other), finding("z", link), finding("w"), harmless])
    told = {about: [own.sentence for own in each] for about, each in found.of.items()}
    assert told == {one: ["x", "y"], other: ["y"]}
    assert [own.sentence for own in found.others] == ["z", "w"]


@pytest.mark.parametrize(
    ("seconds", "told"),
    [(0, "0 s ago"), (119, "119 s ago"), (120, "2 min ago"), (7200, "2 h ago"), (200000, "2 d ago")],
)
def test_ago(seconds: int, told: str) -> None:
    assert ago(1000.0, 1000.0 + seconds) == told
    assert ago(0.0, seconds) == "never"


def test_attention_is_worse_than_mature() -> None:
    assert [own.rank for own in (DEAD, MISSING, SOFT, ATTENTION, MATURE)] == [0, 1, 3, 4, 5]

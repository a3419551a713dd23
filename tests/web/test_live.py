"""Live traffic: rates that are true, drops with their words, the replay window, and rights."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from culvert.web import chart
from culvert.web.remembered import Remembered
from culvert.web.replay_window import came_late, ranges, replay_window
from culvert.web.session import Session
from culvert.web.throughput import FOLLOWED_MOST, SPAN_SECONDS, Point, Rate, Watch
from tests.web.watching import Two, words

CHOSEN = "/live?sa=/Common/sa-2000"


@pytest.fixture
def two(tmp_path: Path) -> Iterator[Two]:
    made = Two(tmp_path)
    made.tunnel()
    yield made
    made.close()


def sa(name: str, packets: int, octets: int, direction: str = "in") -> dict[str, object]:
    return {"name": name, "packets": packets, "bytes": octets, "direction": direction}


def test_counters_drops_and_workers_are_there(two: Two) -> None:
    two.go(3)
    two.come(5)
    replay = two.come(1)[0]
    two.arrive(replay)
    told = words(two.open("/live"))
    assert "replay 1 0 The sequence number was seen before or is behind the replay window." in told
    assert "A captured packet sent again" in told
    assert "0 TUNNEL ESP 6" in told
    assert "tmm 0: running" in told
    assert re.search(r"sa-2000 In 2000 3\.3\.3\.3 0 0 6 1", told)


def test_an_empty_gateway(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    empty = Two(tmp_path / "empty")
    told = words(empty.open("/live"))
    assert "There is no security association yet" in told
    assert "No packet was dropped" in told
    empty.close()


def test_the_window_shows_what_came_what_is_missing_and_the_edge(two: Two) -> None:
    two.come(10)
    late = two.come(2, arrive=False)
    two.come(5)
    page = two.open(CHOSEN)
    told = words(page)
    assert "Accepted now: 11 to 12, and everything above 17." in told
    assert "received: 15" in told
    assert "missing, may still come: 2" in told
    assert page.partition('class="cells"')[2].partition("</div>")[0].count('class="cell is-missing"') == 2
    two.arrive(late[0])
    told = words(two.open(CHOSEN))
    assert "came late while you looked: 1 (11)" in told
    assert "missing, may still come: 1" in told
    two.arrive(late[0])
    assert "Refused as replays: 1 ." in words(two.open(CHOSEN))


def test_numbers_that_the_window_left_behind_are_lost_and_too_old(two: Two) -> None:
    two.come(2)
    two.come(3, arrive=False)
    two.come(100)
    told = words(two.open(CHOSEN))
    assert "Left behind without having come: 3 ." in told
    assert "Refused: 41 and below as too old" in told
    assert "everything above 105" in told


def test_before_the_first_packet_there_is_no_window_to_draw(two: Two) -> None:
    assert "No packet has come yet. The first number that is accepted is 1." in words(two.open(CHOSEN))


def test_replay_protection_that_is_off_is_said(tmp_path: Path) -> None:
    (tmp_path / "off").mkdir()
    off = Two(tmp_path / "off")
    off.tunnel("    replay-window-size 0\n")
    off.come(3)
    assert "Replay protection is off" in words(off.open(CHOSEN))
    off.close()


def test_an_outbound_sa_has_no_window(two: Two) -> None:
    two.go(4)
    told = words(two.open("/live?sa=/Common/sa-1000"))
    assert "Last number sent 4" in told
    assert "Replay window" not in told


def test_a_plane_that_does_not_tell_gets_no_cells_that_are_made_up() -> None:
    record = {"sequence": 500, "replay_window": 64, "lost": 2, "drops": {"replay": 1}, "window_seen": None}
    window = replay_window(record, frozenset())
    assert (window.known, window.rows, window.bottom, window.lost, window.refused) == (False, (), 437, 2, 1)


def test_of_a_wide_window_the_newest_are_drawn() -> None:
    record = {"sequence": 5000, "replay_window": 1024, "lost": 0, "drops": {}, "window_seen": f"{2**64 - 1 - 2:016x}"}
    window = replay_window(record, frozenset())
    assert (window.drawn, window.bottom, window.numbers("missing")) == (64, 3977, "4999")
    assert [cell.is_edge for row in window.rows for cell in row] == [False] * 63 + [True]


def test_came_late() -> None:
    assert came_late((10, 0b1101), (10, 0b1111)) == {9}
    assert came_late((10, 0b1101), (12, 0b110111)) == set()
    assert came_late((10, 0b1101), (12, 0b111111)) == {9}
    assert came_late((10, 0b1101), (200, 2**64 - 1)) == set()


def test_ranges() -> None:
    assert ranges([9, 7, 10, 11, 20]) == "7, 9 to 11, 20"
    assert ranges(range(0, 40, 2)).endswith("22 and 8 more")


def test_rates_are_what_was_added_each_second() -> None:
    watch = Watch()
    watch.note(100.0, [sa("a", 10, 1000), sa("b", 0, 0, "out")], {})
    watch.note(102.0, [sa("a", 30, 5000), sa("b", 2, 100, "out")], {("drop", "replay"): (4, 0)})
    assert watch.rate("a") == Rate(10.0, 16000.0)
    assert watch.all()[-1] == Point(102.0, Rate(10.0, 16000.0), Rate(1.0, 400.0))
    assert watch.rate(("drop", "replay")).packets == 0.0
    watch.note(104.0, [sa("a", 4, 400)], {("drop", "replay"): (10, 0)})
    assert watch.rate("a") == Rate(2.0, 1600.0)
    assert watch.rate(("drop", "replay")).packets == 3.0


def test_looks_that_are_too_near_are_one_and_a_pause_is_a_gap() -> None:
    watch = Watch()
    watch.note(100.0, [sa("a", 0, 0)], {})
    watch.note(100.5, [sa("a", 50, 0)], {})
    assert len(watch.all()) == 1
    watch.note(102.0, [sa("a", 100, 0)], {})
    assert watch.rate("a").packets == 50.0
    watch.note(300.0, [sa("a", 900, 0)], {})
    assert watch.all()[-1].into is None
    watch.note(302.0, [sa("a", 902, 0)], {})
    made = chart.chart(watch.all(), 302.0, SPAN_SECONDS, lambda own: own.packets)
    assert len(made.into.lines) == 2


def test_a_chart_shows_no_more_time_than_it_takes() -> None:
    def of(first: float, now: float) -> float:
        return chart.span([Point(first, None, None)], now)

    assert [of(0, 1), of(0, 61), of(0, 121), of(0, 299), of(0, 900)] == [60, 120, 300, 300, 300]
    points = [Point(at, Rate(10, 80), Rate(5, 40)) for at in (0.0, 60.0)]
    made = chart.chart(points, 60.0, 60.0, lambda own: own.packets)
    assert (made.into.lines, made.out.lines) == (("M 0.0 0.0 L 600.0 0.0",), ("M 0.0 90.0 L 600.0 90.0",))
    assert (made.into.now, made.out.highest, made.top, made.minutes) == (10, 5, 10, 1)


def test_what_is_kept_is_bounded() -> None:
    watch = Watch()
    for second in range(1000):
        watch.follow([f"sa{second}"])
        watch.note(float(second), [sa(f"sa{second}", second, second)], {})
    assert watch.all()[0].at >= 999 - SPAN_SECONDS
    assert watch.of("sa1") == []
    assert sum(bool(watch.of(f"sa{number}")) for number in range(1000)) <= FOLLOWED_MOST


def test_sessions_are_kept_apart_and_only_some_of_them() -> None:
    now = [0.0]
    kept: Remembered[Watch] = Remembered(Watch, lambda: now[0], 2, 10.0)

    def session(token: str) -> Session:
        return Session(None, token, "")  # type: ignore[arg-type]

    first = kept.of(session("a"))
    assert kept.of(session("a")) is first
    assert kept.of(session("b")) is not first
    kept.of(session("a"))
    kept.of(session("c"))
    assert len(kept) == 2
    assert kept.of(session("a")) is first
    now[0] = 11.0
    assert kept.of(session("a")) is not first
    assert len(kept) == 1


@pytest.mark.parametrize(("number", "told"), [(0, 1), (1, 1), (1.5, 2), (7, 10), (20, 20), (201, 500), (1e9, 1e9)])
def test_the_edge_of_a_chart_is_a_round_number(number: float, told: float) -> None:
    assert chart.nice(number) == told


def test_reset_sets_counters_to_zero(two: Two) -> None:
    two.come(3)
    page = two.open("/live")
    assert "Reset counters" in words(page)
    answer = two.ask("POST", "/live", {"do": "reset"})
    assert (answer.status, answer.headers["Location"]) == (303, "/live?said=reset")
    assert "The counters began at zero." in words(two.open("/live?said=reset"))
    assert all(own["packets"] == 0 for own in two.here.call("show", what="net ipsec ipsec-sa", filters={}))


@pytest.mark.parametrize(("role", "may"), [("operator", True), ("manager", True), ("guest", False), ("auditor", False)])
def test_reset_is_for_who_may(two: Two, role: str, may: bool) -> None:
    two.user("ann", role)
    two.come(3)
    assert ("Reset counters" in words(two.open("/live", user="ann"))) is may
    assert two.ask("POST", "/live", {"do": "reset"}, user="ann").status == (303 if may else 403)
    shown = two.here.call("show", what="net ipsec ipsec-sa", filters={})
    assert any(own["packets"] for own in shown) is not may


def test_reset_takes_the_proof_of_the_session_and_something_to_do(two: Two) -> None:
    assert two.ask("POST", "/live", {"do": "reset", "csrf": "x"}).status == 403
    assert two.ask("POST", "/live", {"do": "dance"}).status == 400


def test_nobody_sees_the_sas_of_another_partition(two: Two) -> None:
    two.here.call("create", kind="auth partition", name="Sales", properties={})
    two.user("gus", "guest", "Sales")
    two.open("/live?sa=/Sales/x", user="root")
    told = words(two.open("/live", user="gus"))
    assert "sa-2000" in told
    assert words(two.open("/live?sa=/Sales/x", user="gus")).count("Edge of the window") == 0


def test_what_is_renewed_is_the_part_alone_and_keeps_no_session_alive(two: Two) -> None:
    page = two.open(CHOSEN)
    address = re.search(r'hx-get="(/live[^"]*renew[^"]*)" hx-trigger="every (\d+)s"', page)
    assert address is not None
    two.door.calls.clear()
    part = two.ask("GET", address[1].replace("&amp;", "&"), **{"hx-request": "true"}).octets.decode()
    assert part.lstrip().startswith('<div id="live"')
    assert "extend" not in two.door.calls
    assert "sa-2000: SPI 2000" in words(part)


def test_search_finds_by_name_spi_and_address(two: Two) -> None:
    for text in ("SA-2000", "2000", "0x7d0"):
        page = two.open(f"/live?search={text}").partition('class="sas"')[2].partition("</table>")[0]
        assert "sa-2000" in page
        assert "sa-1000" not in page
    assert "Nothing fits the search" in words(two.open("/live?search=nothing"))


def test_no_id_is_there_twice_and_nothing_is_inline(two: Two) -> None:
    two.come(70)
    page = two.open(CHOSEN)
    ids = re.findall(r'\sid="([^"]+)"', page)
    assert len(ids) == len(set(ids))
    assert not re.search(r"\sstyle=|<style|<script(?! src)|\son\w+=", page)


def test_what_is_typed_into_the_address_is_only_words(two: Two) -> None:
    assert "<script>alert" not in two.open("/live?search=%3Cscript%3Ealert(1)%3C/script%3E&sa=%3Cscript%3Ealert(1)")

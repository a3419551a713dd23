"""Ratios are taken within a round, and what was measured survives being saved."""

import xml.etree.ElementTree as ElementTree
from pathlib import Path

from bench import page, plot, results
from bench.results import Results, Row, Spread
from bench.stage import Links


def run_of_three() -> Results:
    """The machine halves its speed in the second round, and doubles it in the third."""
    found = Results({"processor": "p", "cores": "2", "kernel": "k", "system": "s", "date": "d"}, 3, 1.0)
    plain = Row("plain", "plain forwarding", Links.WHOLE)
    plain.rounds = {0: {"tcp": 10e9, "rtt50": 50.0}, 1: {"tcp": 5e9, "rtt50": 100.0}, 2: {"tcp": 20e9, "rtt50": 25.0}}
    ours = Row("culvert-udp", "Culvert", Links.WHOLE, seen="9 x ESP")
    ours.rounds = {0: {"tcp": 5e9, "rtt50": 90.0}, 1: {"tcp": 2.5e9, "rtt50": 160.0}, 2: {"tcp": 12e9, "rtt50": 50.0}}
    absent = Row("culvert-xdp", "Culvert, AF_XDP", Links.WHOLE, absent="there is no AF_XDP")
    cut = Row("culvert-udp", "Culvert", Links.SEGMENTED, failures=["round 1: it broke"])
    cut.rounds = {0: {"tcp": 1e9}}
    found.rows = [plain, ours, absent, cut]
    return found


def test_a_ratio_is_that_of_the_same_round() -> None:
    found = run_of_three()
    assert found.ratio(found.rows[1], "tcp") == Spread(0.5, 0.5, 0.6)
    assert found.value(found.rows[1], "tcp") == Spread(5e9, 2.5e9, 12e9)
    assert found.added(found.rows[1], "rtt50") == Spread(40.0, 25.0, 60.0)


def test_what_was_not_measured_has_no_ratio() -> None:
    found = run_of_three()
    assert found.ratio(found.rows[2], "tcp") is None
    assert found.ratio(found.rows[3], "rtt50") is None


def test_a_round_without_plain_forwarding_has_no_ratio() -> None:
    found = run_of_three()
    del found.rows[0].rounds[1]
    assert found.ratio(found.rows[1], "tcp") == Spread(0.55, 0.5, 0.6)


def test_saved_results_are_the_same(tmp_path: Path) -> None:
    found = run_of_three()
    found.save(tmp_path / "deep" / "results.json")
    assert results.load(tmp_path / "deep" / "results.json") == found


def test_the_page_has_everybody_and_says_who_could_not(tmp_path: Path) -> None:
    text = page.written(run_of_three(), tmp_path / "performance.md")
    assert "| Culvert | 5.00 (2.50..12.0) | **0.500** (0.500..0.600) |" in text
    assert "there is no AF_XDP" in text
    assert "round 1: it broke" in text
    assert "noise" in text, "three rounds are few"


def test_what_was_written_by_hand_stays(tmp_path: Path) -> None:
    path = tmp_path / "performance.md"
    path.write_text(f"old\n{page.BY_HAND}\n\n## The limit\n\nIt is the copy.\n")
    for _ in range(2):
        path.write_text(page.written(run_of_three(), path))
    assert path.read_text().endswith(f"{page.BY_HAND}\n\n## The limit\n\nIt is the copy.\n")
    assert path.read_text().count(page.BY_HAND) == 1


def test_the_plot_is_well_formed_and_has_a_dot_for_every_ratio() -> None:
    tree = ElementTree.fromstring(plot.drawn(run_of_three()))
    assert len(tree.findall("{*}circle")) == 5


def test_a_flood_that_nothing_survived_can_be_drawn() -> None:
    found = run_of_three()
    for values in found.rows[1].rounds.values():
        values["tcp"] = 0.0
    assert "nan" not in plot.drawn(found)

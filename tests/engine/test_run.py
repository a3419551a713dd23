"""`make same` on a few packets: every pair, and that a run goes on where it was and finds what is there to be found."""

from pathlib import Path

import pytest

pytest.importorskip("culvert_native", reason="the native engine isn't built: it needs cargo (tools/engine)")

from culvert.ipsec import esp, icmp
from culvert.ipsec.algorithms import AUTHS, CIPHERS
from culvert.ipsec.drops import TABLE, Reason
from tests.engine import ledger as ledgers
from tests.engine.chance import Chance
from tests.engine.ledger import Ledger
from tests.engine.pairs import PAIRS
from tests.engine.piece import run_piece
from tests.engine.run import ELSEWHERE, REACHABLE, compare, never_met, pieces, table
from tests.engine.same import ENGINES
from tests.fuzz.scenarios import SCENARIOS
from tests.ipsec import test_drops

FEW = 300
NAMES = ["esp-null-tunnel", "ah-sha1-transport"]


def test_the_pairs_are_every_algorithm_in_both_modes_and_every_scenario() -> None:
    for mode in ("tunnel", "transport"):
        assert {f"esp-{name}-{mode}" for name in CIPHERS} <= PAIRS.keys()
        assert {f"esp-{name}-{mode}" for name, row in AUTHS.items() if not row.only_ah} <= PAIRS.keys()
        assert {f"ah-{name}-{mode}" for name in AUTHS} <= PAIRS.keys()
    assert {f"scenario-{scenario.name}" for scenario in SCENARIOS} <= PAIRS.keys()


@pytest.mark.parametrize("pair", PAIRS)
def test_a_pair_comes_to_the_same(pair: str) -> None:
    outcome = run_piece(pair, 1, FEW)
    assert outcome.difference == ""
    assert outcome.packets >= FEW and sum(outcome.words.values()) == outcome.packets
    assert outcome.words["send"]


def test_a_seed_is_always_the_same_packets() -> None:
    assert run_piece(NAMES[0], 3, FEW) == run_piece(NAMES[0], 3, FEW) != run_piece(NAMES[0], 4, FEW)


def test_the_casts_come_by_both_families_and_by_extended_numbers() -> None:
    chance = Chance("casts")
    casts = [PAIRS["esp-aes128-tunnel"].cast(chance) for _ in range(100)]
    assert {each.outer for each in casts} == {4, 6}
    assert {each.settings["esn"] for each in casts} == {True, False}
    assert {each.settings["auth"] for each in casts} == {name for name, row in AUTHS.items() if not row.only_ah}


def test_the_reasons_that_a_run_has_to_meet_are_those_of_the_gateway() -> None:
    given = {TABLE[reason].word for reason in test_drops.GIVEN} - {TABLE[Reason.COUNTER_JOURNAL].word}
    assert set(REACHABLE) == given
    assert {*test_drops.ELSEWHERE, Reason.COUNTER_JOURNAL} == ELSEWHERE


# The ledger


def test_a_run_goes_on_where_it_was(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "ledger.jsonl"
    assert compare(NAMES[:1], FEW, 1, Ledger(path)) == 0
    with path.open("a") as file:
        file.write('{"pair": "esp-')
    again = Ledger(path)
    assert again.packets(NAMES[0]) >= FEW
    assert list(pieces(NAMES, FEW, again)) == [(NAMES[1], 0, FEW)]
    left = 2 * FEW - again.packets(NAMES[0])
    assert list(pieces(NAMES, 2 * FEW, again)) == [(NAMES[0], 1, left), (NAMES[1], 0, 2 * FEW)]
    assert NAMES[0] in table(NAMES, again)
    assert "all the same" in capsys.readouterr().out
    assert list(pieces(NAMES[:1], FEW, Ledger(path, fresh=True))) == [(NAMES[0], 0, FEW)]


def test_what_was_compared_of_other_sources_does_not_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "ledger.jsonl"
    Ledger(path).write(run_piece(NAMES[0], 0, FEW))
    assert Ledger(path).packets(NAMES[0])
    monkeypatch.setattr(ledgers, "sources", lambda: "others")
    assert not Ledger(path).packets(NAMES[0])


def test_the_sources_are_those_of_both_sides(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("src/culvert/ipsec/esp.py", "engine/src/lib.rs"):
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).write_text("")
    monkeypatch.setattr(ledgers, "ROOT", tmp_path)
    digests = {ledgers.sources()}
    for name in ("src/culvert/ipsec/esp.py", "engine/src/lib.rs"):
        (tmp_path / name).write_text("changed")
        digests.add(ledgers.sources())
    assert len(digests) == 3


def test_a_long_run_that_never_met_a_reason_says_so(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "ledger.jsonl")
    outcome = run_piece(NAMES[0], 0, FEW)._replace(words={"send": 1_000_000})
    ledger.write(outcome)
    assert never_met(list(PAIRS), ledger) == REACHABLE
    assert never_met(NAMES, ledger) == []


# What is there to be found


def test_a_difference_ends_the_run_with_a_report(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(esp, "_PADDING", bytes(range(2, 256)) + b"?")
    ledger = Ledger(tmp_path / "ledger.jsonl")
    assert compare(NAMES[:1], FEW, 1, ledger) == 1
    assert not ledger.packets(NAMES[0])
    report = (tmp_path / f"difference-{NAMES[0]}-0.txt").read_text()
    assert report in capsys.readouterr().out
    assert f"--pair {NAMES[0]} --seed 0" in report
    assert f"\n{ENGINES[0]} says ['send'" in report
    again = run_piece(NAMES[0], 0, 10 * FEW)
    assert again.difference and again.difference in report


def test_a_difference_in_counts_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("culvert.ipsec.sadb.Usage.count_drop", lambda *_: None)
    assert "counts" in run_piece(NAMES[0], 0, FEW).difference


def test_a_difference_in_what_is_believed_of_the_path_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(icmp.FLOORS, 4, 580)
    assert "learned" in run_piece("scenario-tunnel", 0, 40 * FEW).difference

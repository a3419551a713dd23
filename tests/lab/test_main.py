"""The lab's command line where there is no lab."""

import os

import pytest

from culvert.lab.main import run

PREFIX = f"cvm{os.getpid()}"


@pytest.mark.parametrize(
    "words", [[], ["fly"], ["--prefix", "a/b", "up"], ["--prefix", "", "up"], ["demo", "--size", "0"]]
)
def test_a_senseless_line_ends_2(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        run(words)
    assert caught.value.code == 2
    assert "usage: culvert lab" in capsys.readouterr().err


def test_without_root_it_says_so(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert run(["--prefix", PREFIX, "status"]) == 1
    assert "needs root" in capsys.readouterr().out


@pytest.mark.skipif(os.geteuid() != 0, reason="network namespaces need root")
@pytest.mark.parametrize("words", [["status"], ["exec", "client", "true"], ["tmsh", "a", "list"], ["verify"]])
def test_a_lab_that_is_not_up_is_said_so(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["--prefix", PREFIX, *words]) == 1
    assert "the lab is not up" in capsys.readouterr().out


@pytest.mark.skipif(os.geteuid() != 0, reason="network namespaces need root")
def test_down_has_nothing_against_nothing() -> None:
    assert run(["--prefix", PREFIX, "down"]) == 0
    assert run(["--prefix", PREFIX, "down"]) == 0

"""The program `culvert`."""

import pytest

import culvert
from culvert.cli.main import TOOLS, run


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["--version"]) == 0
    assert capsys.readouterr().out == f"culvert {culvert.__version__}\n"


def test_help_names_every_tool(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["help"]) == 0
    out = capsys.readouterr().out
    assert all(f"  {name} " in out for name in TOOLS)


@pytest.mark.parametrize("words", [[], ["fly"], ["--versions"]])
def test_nonsense_ends_2_on_standard_error(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert run(words) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "usage: culvert TOOL" in captured.err

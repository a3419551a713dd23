"""The program `culvert`."""

import os
import signal
import subprocess
import sys

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


@pytest.mark.parametrize("words", [["help"], ["lab", "--prefix", "no-such-lab", "down"]])
def test_a_reader_who_has_read_enough_ends_it_quietly(words: list[str]) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    try:
        done = subprocess.run(
            [sys.executable, "-m", "culvert.cli.main", *words], stdout=writing, stderr=subprocess.PIPE, check=False
        )
    finally:
        os.close(writing)
    assert (done.returncode, done.stderr) == (128 + signal.SIGPIPE, b"")


@pytest.mark.parametrize("words", [[], ["fly"], ["--versions"]])
def test_nonsense_ends_2_on_standard_error(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert run(words) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "usage: culvert TOOL" in captured.err

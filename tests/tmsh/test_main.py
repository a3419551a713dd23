"""The program itself, with what stands on its standard input."""

import io
from pathlib import Path

import pytest

from culvert.tmsh import main


def test_an_octet_that_is_no_text_ends_no_script(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """It came to a UnicodeDecodeError before the first command."""
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"pwd\nlist net\xff\npwd\n"), encoding="utf-8"))
    assert main.main(["--socket", str(tmp_path / "absent")]) == 1
    told = capsys.readouterr()
    assert told.out == "/Common\n/Common\n"
    assert told.err == "Syntax Error: an octet here is not UTF-8\n"

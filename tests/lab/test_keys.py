"""Key files."""

import json
from pathlib import Path

import pytest

from culvert.lab import keys
from culvert.lab.errors import LabError


def document() -> dict[str, dict[str, object]]:
    return {
        name: {"spi": 5000 + number, "auth-key": "0x" + "ab" * 20, "encrypt-key": "0x" + "cd" * 16}
        for number, name in enumerate(keys.ASSOCIATIONS)
    }


def test_a_key_file_gives_what_it_says(tmp_path: Path) -> None:
    path = tmp_path / "keys.json"
    path.write_text(json.dumps(document()))
    assert keys.load(path)["b-to-a"] == keys.Keys(5001, "0x" + "ab" * 20, "0x" + "cd" * 16)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"a-to-b": 3}', "not json 0xabab", '{"a-to-b": {"spi": "x"}}'])
def test_no_key_file_is_refused_without_quoting_it(tmp_path: Path, text: str) -> None:
    path = tmp_path / "keys.json"
    path.write_text(text)
    with pytest.raises(LabError) as caught:
        keys.load(path)
    assert "is no key file" in str(caught.value)
    assert "abab" not in str(caught.value)


def test_a_missing_key_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(LabError, match="No such file"):
        keys.load(tmp_path / "none.json")

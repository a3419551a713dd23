"""docs/properties.md names every property that the vendor doesn't have, with its default, and every algorithm."""

from culvert.ipsec.algorithms import AUTHS, CIPHERS
from culvert.model.registry import KINDS
from tests.house.tree import ROOT

PAGE = (ROOT / "docs" / "properties.md").read_text()


def test_every_property_beyond_the_vendor_is_there() -> None:
    missing = [own.word for kind in KINDS.values() for own in kind.fields if own.beyond and f"`{own.word}`" not in PAGE]
    assert missing == []


def test_its_defaults_are_true() -> None:
    lines = [line for line in PAGE.splitlines() if line.startswith("|")]
    cells = [[cell.strip().strip("`") for cell in line.split("|")] for line in lines]
    rows = {row[1]: row[3] for row in cells}
    fields = [own for kind in KINDS.values() for own in kind.fields if own.beyond and own.word in rows]
    assert len(fields) > 12
    assert {own.word: rows[own.word] for own in fields} == {own.word: own.type.raw(own.default) for own in fields}


def test_every_algorithm_is_there() -> None:
    names = {name.removesuffix("-icv8").removesuffix("-icv12") for name in (*AUTHS, *CIPHERS)}
    assert [name for name in sorted(names) if f"`{name}`" not in PAGE] == []

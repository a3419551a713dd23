"""The GUI over a gateway in memory, for every test of it."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.web.clean import suspicions
from tests.web.looking import Browser, House


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    """At the end, whatever was asked of it, every answer was a clean one."""
    made = House(tmp_path)
    made.furnish()
    yield made
    made.close()
    found = {each for answer in made.answers for each in suspicions(answer)}
    assert not found


@pytest.fixture
def ann(house: House) -> Browser:
    """An administrator who is logged in."""
    return house.browser()

"""A client of REST for every test of it."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.rest.asking import Web, web


@pytest.fixture
def client(tmp_path: Path) -> Iterator[Web]:
    found = web(tmp_path)
    yield found
    found.site.close()

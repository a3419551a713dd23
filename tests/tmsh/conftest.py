"""A gateway on the plane in memory, which the shell's commands really reach."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from sealing import SITE_A

from tests.control.conftest import place as place
from tests.control.live import Site


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    made = Site(tmp_path)
    made.call("load", text=SITE_A)
    yield made
    made.close()

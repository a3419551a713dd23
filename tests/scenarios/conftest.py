"""One lab for all scenarios of a run. Each scenario puts back what it changed, and the next one checks that."""

import io
import os
from collections.abc import Iterator

import pytest

from culvert.lab import keys
from culvert.lab.bringup import bring_up
from culvert.lab.lab import Lab
from culvert.lab.screen import Screen
from tests.scenarios.two_sites import Sites, wait_until


@pytest.fixture(scope="session")
def running() -> Iterator[Sites]:
    if os.geteuid() != 0:
        pytest.skip("network namespaces need root")
    lab, made = Lab(f"cvs{os.getpid()}"), keys.fresh()
    try:
        bring_up(lab, made, Screen(io.StringIO()))
        yield Sites(lab, made)
    finally:
        lab.down()


@pytest.fixture
def sites(running: Sites) -> Sites:
    """The lab, in order. On a busy machine an answer to a ping may come too late for it once."""
    try:
        wait_until(running.is_healthy)
    except AssertionError:
        pytest.fail("\n".join(running.show(node, "net ipsec drops") for node in "ab"))
    return running

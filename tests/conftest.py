"""How the tests are shared out among processes, where pytest-xdist is asked for some: `make test` asks for as many as
there are processors; a file that is named to pytest by hand runs in one, as ever.

A file stays in one process and in its order, for its tests share a gateway; the scenarios do so together, for they
share a lab. What moves packets waits more than it computes, the rest computes: one process begins with the former, the
next with the latter, so that neither sort is alone with the machine and the long files aren't left for last. A test
that measures time is marked `alone`: while it runs, the other processes wait.
"""

import fcntl
import os
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from xdist.scheduler import LoadFileScheduling
from xdist.workermanage import WorkerController

SCENARIOS = "tests/scenarios/"
DOOR, ROOM = Path(__file__), Path(__file__).parent
"""What the processes of this clone lock, each to let the others know; nothing is written to it."""


class FromBothEnds(LoadFileScheduling):
    """Each process is given the next file from its own end of the list."""

    def _split_scope(self, nodeid: str) -> str:
        return SCENARIOS if nodeid.startswith(SCENARIOS) else super()._split_scope(nodeid)

    def _assign_work_unit(self, node: WorkerController) -> None:
        if self.nodes.index(node) % 2:
            self.workqueue.move_to_end(next(reversed(self.workqueue)), last=False)
        super()._assign_work_unit(node)


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> FromBothEnds:
    return FromBothEnds(config, log)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """The list that the processes share: the scenarios, other files that make networks of their own, the rest."""
    if _is_one_of_several(config):
        waiting = {item.path for item in items if item.get_closest_marker("network")}
        items.sort(key=lambda item: (not item.nodeid.startswith(SCENARIOS), item.path not in waiting))


# First of all, so that what a test waits here doesn't count for its own limit of time.
@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    if not _is_one_of_several(item.config):
        return (yield)
    with _turn(alone=item.get_closest_marker("alone") is not None):
        return (yield)


def _is_one_of_several(config: pytest.Config) -> bool:
    return hasattr(config, "workerinput")


@contextmanager
def _turn(*, alone: bool) -> Iterator[None]:
    """Inside with others, or alone. Who waits until the room is empty stands in the door: nobody slips in meanwhile."""
    door, room = (os.open(path, os.O_RDONLY) for path in (DOOR, ROOM))
    try:
        fcntl.flock(door, fcntl.LOCK_EX)
        fcntl.flock(room, fcntl.LOCK_EX if alone else fcntl.LOCK_SH)
        fcntl.flock(door, fcntl.LOCK_UN)
        yield
    finally:
        # By name: what a test has forked holds the same lock, and lets go of it only when it ends.
        fcntl.flock(room, fcntl.LOCK_UN)
        os.close(door)
        os.close(room)

"""How the tests are shared out among processes, where pytest-xdist is asked for some: `make test` asks for as many as
there are processors, a file named to pytest by hand runs in one.

A file stays in one process and in its order, for its tests share a gateway; the scenarios do so together, for they
share a lab. What moves packets waits more than it computes, the rest computes: one process begins with the former, the
next with the latter, so that neither sort is alone with the machine and the long files aren't left for last.
"""

from typing import Any

import pytest
from xdist.scheduler import LoadFileScheduling
from xdist.workermanage import WorkerController

SCENARIOS = "tests/scenarios/"


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
    """The list that the processes share: files that make networks of their own, then the others."""
    if hasattr(config, "workerinput"):
        waiting = {item.path for item in items if item.get_closest_marker("network")}
        items.sort(key=lambda item: item.path not in waiting)

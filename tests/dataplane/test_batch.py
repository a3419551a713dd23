"""All or nothing."""

import pytest

from culvert.change import Change
from culvert.dataplane.batch import apply_all, undo_all
from culvert.dataplane.plane import PlaneError
from tests.dataplane.sites import forwarder

ONE, TWO, THREE = (forwarder("10.0.0.0/8", label) for label in ("one", "two", "three"))


def test_failure_undoes_in_reverse() -> None:
    steps: list[Change] = []

    def step(change: Change) -> None:
        if change == THREE:
            raise OSError(5, "broken")
        steps.append(change)

    with pytest.raises(PlaneError, match="broken") as caught:
        apply_all([ONE, TWO, THREE], step)
    assert caught.value.change == THREE
    assert steps == [ONE, TWO, TWO.inverse(), ONE.inverse()]


def test_undo_that_fails_is_told_and_does_not_stop_the_others() -> None:
    steps: list[Change] = []

    def step(change: Change) -> None:
        if change == TWO.inverse():
            raise ValueError("stuck")
        steps.append(change)

    assert undo_all([ONE, TWO], step) == ["and could not be undone: stuck"]
    assert steps == [ONE.inverse()]

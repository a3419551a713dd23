"""The replay window: a truth table, and the same answers as a set of integers."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from culvert.ipsec.replay import Window
from culvert.ipsec.sa import REPLAY_WINDOW_DEFAULT, REPLAY_WINDOW_MAX

LAST = 2**32 - 1


class Reference:
    """What RFC 4303 section 3.4.3 says, with no thought of speed."""

    def __init__(self, size: int, top: int) -> None:
        self.size = size
        self.top = top
        self.start = top
        self.seen: set[int] = set()

    def check(self, number: int) -> bool:
        if number == 0:
            return False
        if not self.size:
            return True
        return number > self.top - self.size and number > self.start and number not in self.seen

    def mark(self, number: int) -> None:
        self.seen.add(number)
        self.top = max(self.top, number)


def arrive(window: Window | Reference, number: int) -> bool:
    if not window.check(number):
        return False
    window.mark(number)
    return True


# Number, then whether it is accepted; one story from top to bottom, for a window of 64.
STORY = [
    (0, False),
    (1, True),
    (1, False),
    (9, True),
    (8, True),
    (7, True),
    (7, False),
    (64, True),
    (63, True),
    (63, False),
    (2, True),
    (0, False),
    (65, True),
    (66, True),
    (3, True),
    (2, False),
    (200, True),
    (136, False),
    (137, True),
    (199, True),
    (200, False),
    (1 << 31, True),
    (201, False),
    (LAST - 64, True),
    (LAST, True),
    (LAST, False),
    (LAST - 63, True),
    (LAST - 64, False),
    (0, False),
    (1, False),
]


def test_the_story_of_a_window() -> None:
    window = Window(64)
    assert [(number, arrive(window, number)) for number, _ in STORY] == STORY


def numbers(top: int) -> st.SearchStrategy[int]:
    near = st.integers(max(0, top - 200), min(LAST, top + 200))
    edges = st.sampled_from((0, 1, 2, LAST - 1, LAST))
    return near | edges | st.integers(0, LAST)


@pytest.mark.parametrize("size", [0, 1, 2, 31, 32, 33, 63, REPLAY_WINDOW_DEFAULT, 65, 1024, REPLAY_WINDOW_MAX])
@given(data=st.data())
def test_the_window_is_a_set_of_integers(size: int, data: st.DataObject) -> None:
    start = data.draw(st.sampled_from((0, 0, 1, 63, 64, 2**31, LAST - 100, LAST)))
    window, reference = Window(size, start), Reference(size, start)
    for _ in range(data.draw(st.integers(1, 40))):
        number = data.draw(numbers(reference.top))
        assert arrive(window, number) == arrive(reference, number), number
        if size:
            assert window.top == reference.top


@pytest.mark.parametrize("size", [1, 64, REPLAY_WINDOW_MAX])
def test_both_edges_at_the_end_of_the_numbers(size: int) -> None:
    window = Window(size)
    assert arrive(window, LAST)
    assert not window.check(LAST)
    assert not window.check(LAST - size)
    assert size == 1 or (arrive(window, LAST - size + 1) and not arrive(window, LAST - size + 1))


def test_all_up_to_the_number_given_counts_as_seen() -> None:
    window = Window(64, 1000)
    assert not any(window.check(number) for number in range(1001))
    assert window.check(1001)


def test_checking_moves_nothing() -> None:
    window = Window(64, 5)
    assert window.check(LAST)
    assert window.top == 5
    assert window.check(6)


def test_marking_what_is_far_behind_changes_nothing_and_costs_nothing() -> None:
    window = Window(64)
    window.mark(LAST)
    window.mark(1)
    assert window.top == LAST
    assert not window.check(1)
    assert window.check(LAST - 1)


def test_a_window_restarts_where_it_is_told() -> None:
    window = Window(64)
    window.mark(500)
    window.restart()
    assert window.check(1) and window.check(500)
    window.restart(500)
    assert not window.check(500) and window.check(501)


def test_sixty_four_bit_numbers_need_no_other_window() -> None:
    window = Window(64, 2**32 - 2)
    for number in (2**32 + 1, 2**32 - 1, 2**32):
        assert arrive(window, number)
        assert not arrive(window, number)
    assert not window.check(2**32 - 2)

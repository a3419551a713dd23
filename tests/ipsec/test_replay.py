"""The replay window: a truth table, and the same answers as a set of integers; extended numbers and their ends."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from culvert.ipsec.replay import NUMBER_MAX, TOLD_MOST, Window
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
        if number <= 0 or number > 2**64 - 1:
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


Step = tuple[str, int]
steps = st.lists(st.tuples(st.sampled_from(("near", "near", "edge", "any")), st.integers(0, NUMBER_MAX)), max_size=40)


def number_at(step: Step, top: int, last: int = LAST) -> int:
    """A number near the right edge of the window, at an end of the numbers, or any."""
    kind, value = step
    if kind == "near":
        return min(last, max(0, top - 200 + value % 401))
    return (0, 1, 2, LAST - 1, LAST, last - 1, last)[value % 7] if kind == "edge" else value % (last + 1)


@pytest.mark.parametrize("size", [0, 1, 2, 31, 32, 33, 63, REPLAY_WINDOW_DEFAULT, 65, 1024, REPLAY_WINDOW_MAX])
@given(st.sampled_from((0, 0, 1, 63, 64, 2**31, LAST - 100, LAST)), steps)
@settings(max_examples=60)
def test_the_window_is_a_set_of_integers(size: int, start: int, story: list[Step]) -> None:
    window, reference = Window(size, start), Reference(size, start)
    for step in story:
        number = number_at(step, reference.top)
        assert arrive(window, number) == arrive(reference, number), number
        if size:
            assert window.top == reference.top
        seen = [not window.check(own) or own <= 0 for own in range(window.top, window.top - min(size, TOLD_MOST), -1)]
        assert [bool(window.newest() >> behind & 1) for behind in range(len(seen))] == seen
        assert window.newest() >> len(seen) == 0


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


# Extended numbers

STARTS = (0, 1, 63, 64, 2**31, LAST - 100, LAST, 2**32, 2**32 + 10, 2**33 - 1, 2**33, 2**63, 2**64 - 200, 2**64 - 1)


def appendix_a2(top: int, size: int, low: int) -> int:
    """RFC 4303 appendix A2.2, line by line; the upper half of a number before the first is -1."""
    top_high, top_low = top >> 32, top & LAST
    if top_low >= size - 1:
        high = top_high if low >= top_low - size + 1 else top_high + 1
    else:
        # The window spans two subspaces.
        high = top_high - 1 if low >= (top_low - size + 1) % 2**32 else top_high
    return (high << 32) + low


@pytest.mark.parametrize("size", [1, 2, 32, 64, 1024, REPLAY_WINDOW_MAX])
@given(st.sampled_from(STARTS) | st.integers(0, NUMBER_MAX), st.integers(0, LAST), st.integers(-5000, 5000))
def test_the_number_behind_32_bits_is_that_of_the_rfc(size: int, top: int, low: int, offset: int) -> None:
    window = Window(size, top, extended=True)
    for bits in (low, top + offset & LAST):
        assert window.number_of(bits) == appendix_a2(top, size, bits)


@pytest.mark.parametrize("top", STARTS)
def test_the_number_is_the_only_one_that_begins_at_the_window(top: int) -> None:
    """By search: of all numbers with these low bits, the lowest that isn't behind the window."""
    window = Window(64, top, extended=True)
    for low in (0, 1, 63, 64, LAST, top & LAST, (top - 63) & LAST, (top - 64) & LAST, (top + 1) & LAST):
        high = -1
        while (high << 32) + low < top - 63:
            high = max(high + 1, (top >> 32) - 1)
        assert window.number_of(low) == (high << 32) + low


def test_without_extension_the_bits_are_the_number() -> None:
    window = Window(64, LAST)
    assert [window.number_of(low) for low in (0, 1, LAST)] == [0, 1, LAST]


@pytest.mark.parametrize("size", [1, 32, 64, 1024])
@given(st.sampled_from(STARTS), steps)
@settings(max_examples=60)
def test_an_extended_window_is_a_set_of_integers_too(size: int, start: int, story: list[Step]) -> None:
    window, reference = Window(size, start, extended=True), Reference(size, start)
    for step in story:
        number = number_at(step, reference.top, NUMBER_MAX)
        # What the receiver makes of the bits that it sees, which is another number if they are too far apart.
        found = window.number_of(number & LAST)
        assert found == appendix_a2(reference.top, size, number & LAST)
        assert arrive(window, found) == arrive(reference, found), number
        assert window.top == reference.top


def test_the_end_of_64_bits() -> None:
    window = Window(64, NUMBER_MAX - 2, extended=True)
    for low in (LAST - 1, LAST):
        assert arrive(window, window.number_of(low))
    assert window.top == NUMBER_MAX
    # The next number would be 2**64: no such packet can be sent, and none is accepted.
    assert window.number_of(0) == 2**64
    assert not any(arrive(window, window.number_of(low)) for low in (0, 1, 2**31, LAST - 64))
    assert window.top == NUMBER_MAX


def test_before_the_first_number() -> None:
    window = Window(64, 5, extended=True)
    assert window.number_of(LAST) == -1
    assert not window.check(window.number_of(LAST)) and not window.check(window.number_of(LAST - 57))


@given(st.sampled_from((0, 1, 4, 32)), st.lists(st.integers(1, 80), max_size=30))
def test_lost_counts_what_was_left_behind_unseen(size: int, arrivals: list[int]) -> None:
    window, seen = Window(size), set()
    for number in arrivals:
        if arrive(window, number):
            seen.add(number)
    behind = range(1, window.top - max(size, 1) + 1)
    if size:
        assert window.lost == sum(number not in seen for number in behind)
    # At the end of a long silence, everything in the window counts as lost too, unless it was seen.
    window.mark(window.top + 1000)
    if size:
        assert window.lost == window.top - size - sum(number <= window.top - size for number in seen)

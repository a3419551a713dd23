"""The table of reasons."""

import re

import pytest

from culvert.ipsec.drops import TABLE, Reason

# Counter files on disk are indexed by these: a number never changes.
NUMBERS = [
    "malformed-header",
    "no-sa-in",
    "replay",
    "integrity",
    "padding",
    "runt",
    "inner-mismatch",
    "inner-malformed",
    "dummy",
    "fragment",
    "no-policy",
    "no-sa-out",
    "discard",
    "sequence-exhausted",
    "too-big",
    "hop-limit",
    "send-failed",
    "outer-mismatch",
    "protocol-mismatch",
    "clear-inbound",
    "not-forwarded",
    "leak-stopped",
    "not-allowed",
    "congestion",
]


def test_every_reason_has_a_row() -> None:
    assert set(TABLE) == set(Reason)


def test_numbers_stay() -> None:
    assert [TABLE[Reason(number)].word for number in range(len(NUMBERS))] == NUMBERS


@pytest.mark.parametrize("reason", list(Reason), ids=lambda reason: reason.name)
def test_a_row_is_words(reason: Reason) -> None:
    row = TABLE[reason]
    assert row.word == reason.name.lower().replace("_", "-")
    assert re.fullmatch(r"\S.*[^.\s]", row.sentence) and re.fullmatch(r"\S.*[^.\s]", row.hint)

"""Copies that share: each is as a dictionary would be, and none changes another."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from culvert.config import overlay
from culvert.config.overlay import Overlay, copied

KEYS = st.integers(0, 12)
EDITS = st.lists(st.tuples(st.sampled_from(["put", "take", "copy"]), KEYS, st.integers()), max_size=40)


@given(st.dictionaries(KEYS, st.integers()), EDITS)
def test_a_copy_is_as_a_dictionary_and_leaves_the_others(
    start: dict[int, int], edits: list[tuple[str, int, int]]
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(overlay, "SMALL", 2)
        patch.setattr(overlay, "CHANGES_MAX", 4)
        made, model = copied(start), dict(start)
        kept = [(start, dict(start))]
        for verb, key, value in edits:
            if verb == "put":
                made[key] = model[key] = value
            elif verb == "take":
                assert made.pop(key, None) == model.pop(key, None)
            else:
                kept.append((made, dict(model)))
                made = copied(made)
            assert dict(made.items()) == model and len(made) == len(model) and sorted(made) == sorted(model)
            assert (key in made, made.get(key)) == (key in model, model.get(key))
        assert all(dict(own.items()) == was for own, was in kept)


def test_what_is_gone_is_missing() -> None:
    made = copied({number: str(number) for number in range(overlay.SMALL + 1)})
    assert isinstance(made, Overlay)
    del made[7]
    for ask in (lambda: made[7], lambda: made.__delitem__(7)):
        with pytest.raises(KeyError):
            ask()


def test_many_changes_end_the_sharing() -> None:
    made = copied(dict.fromkeys(range(overlay.SMALL + 1)))
    made.update(dict.fromkeys(range(overlay.CHANGES_MAX)))
    assert isinstance(copied(made), Overlay)
    made[-1] = None
    assert isinstance(copied(made), dict)

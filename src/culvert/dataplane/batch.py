"""All or nothing: the steps of a batch, and the way back when one of them fails."""

from collections.abc import Callable, Sequence
from typing import Protocol

from culvert.change import Change
from culvert.dataplane.plane import PlaneError


class Undoable(Protocol):
    """A change, or something like one that a plane made of changes."""

    def inverse(self) -> "Undoable": ...


def apply_all(changes: Sequence[Undoable], step: Callable[..., None]) -> None:
    """Do `step` for every change; when one fails, undo those before it in reverse and raise PlaneError.

    `step` raises PlaneError, OSError or ValueError for a change that can't be made, and has then done nothing.
    """
    for position, change in enumerate(changes):
        try:
            step(change)
        except (PlaneError, OSError, ValueError) as error:
            sentences = [_sentence(error), *undo_all(changes[:position], step)]
            blamed = change if isinstance(change, Change) else None
            raise PlaneError(blamed, "; ".join(sentences)) from error


def undo_all(changes: Sequence[Undoable], step: Callable[..., None]) -> list[str]:
    """Do the inverses in reverse order. An inverse that fails doesn't stop the others; its words come back."""
    sentences = []
    for change in reversed(changes):
        try:
            step(change.inverse())
        except (PlaneError, OSError, ValueError) as error:
            sentences.append(f"and could not be undone: {_sentence(error)}")
    return sentences


def _sentence(error: Exception) -> str:
    return error.sentence if isinstance(error, PlaneError) else str(error)

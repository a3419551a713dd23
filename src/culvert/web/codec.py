"""Forms whose fields aren't the model's: the vendor's screen says in one field what the properties say in two."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from culvert.model.fields import Field

Raw = Any


@dataclass(frozen=True, slots=True)
class Codec:
    """`show` takes raw properties to the form's fields, `read` takes those back.

    `fields` stand in the form besides the model's, `hides` are properties that they speak for, and `words` says for
    each of these at which field what is wrong with it is told. `read` raises BadField.
    """

    fields: tuple[Field, ...]
    hides: frozenset[str]
    words: Mapping[str, str]
    show: Callable[[Mapping[str, Raw]], dict[str, Raw]]
    read: Callable[[Mapping[str, Raw]], dict[str, Raw]]


class BadField(ValueError):
    """What was typed into a field of the form alone isn't what it takes."""

    def __init__(self, word: str, sentence: str) -> None:
        super().__init__(sentence)
        self.word, self.sentence = word, sentence

"""What can be wrong with a configuration, as values: where it is and what to do about it."""

from dataclasses import dataclass, replace


@dataclass(frozen=True, slots=True)
class Presence:
    """What is wrong is only that something is there, or isn't: the vendor has messages of their own for that."""

    there: bool
    title: str
    name: str


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong. `line` and `column` count from 1; 0 when there is no text to point at."""

    sentence: str
    title: str = ""
    name: str = ""
    word: str = ""
    line: int = 0
    column: int = 0
    presence: Presence | None = None

    def __str__(self) -> str:
        where = f"line {self.line}, column {self.column}: " if self.line else ""
        owner = f"{self.title} ({self.name}): " if self.name else (f"{self.title}: " if self.title else "")
        what = f"{self.word}: " if self.word else ""
        return f"{where}{owner}{what}{self.sentence}"

    def at(self, line: int, column: int) -> "Problem":
        return replace(self, line=line, column=column)

    def of(self, title: str, name: str) -> "Problem":
        return replace(self, title=title, name=name)


class Invalid(Exception):
    """A configuration that can't be had. Carries every problem found, not only the first."""

    def __init__(self, *problems: Problem) -> None:
        super().__init__("; ".join(map(str, problems)))
        self.problems = problems


class BadSyntax(Exception):
    """Text that is no sentence of the brace language. `line` and `column` count from 1."""

    def __init__(self, sentence: str, line: int = 0, column: int = 0) -> None:
        super().__init__(sentence)
        self.sentence = sentence
        self.line = line
        self.column = column


class BadValue(ValueError):
    """A value that its field does not take. The sentence says what was given and what is allowed."""


class BadItem(BadValue):
    """An item that can't be added to a list because it is `there`, or can't be changed because it isn't."""

    def __init__(self, sentence: str, item: str, *, there: bool) -> None:
        super().__init__(sentence)
        self.item = item
        self.there = there

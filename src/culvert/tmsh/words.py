"""The words of one command on their way to a verb, and the prefixes that stand for whole words."""

from collections import deque
from collections.abc import Iterable, Sequence

from culvert.model import tokens
from culvert.model.problems import BadSyntax
from culvert.model.tokens import Block, Token, Word


class Words:
    """The tokens of a command, taken from the front. Everything that does not fit raises BadSyntax."""

    def __init__(self, items: Iterable[Token]) -> None:
        self._items = deque(items)

    @classmethod
    def of(cls, line: str) -> "Words":
        return cls(tokens.parse(line))

    def __bool__(self) -> bool:
        return bool(self._items)

    def peek(self) -> str:
        """The next word's text; "" before a block and at the end."""
        return self._items[0].text if self._items and isinstance(self._items[0], Word) else ""

    def leading(self) -> list[str]:
        """The words in front of the first block, none taken."""
        found: list[str] = []
        for item in self._items:
            if isinstance(item, Block):
                break
            found.append(item.text)
        return found

    def take(self, wanted: str = "a word") -> str:
        """The next word's text."""
        if not self._items:
            raise BadSyntax(f"incomplete command: {wanted} is expected")
        item = self._items.popleft()
        if isinstance(item, Block):
            raise BadSyntax('unexpected argument "{"')
        return item.text

    def take_several(self, wanted: str) -> list[str]:
        """The next word, or the words in the next braces."""
        if self._items and isinstance(block := self._items[0], Block):
            self._items.popleft()
            return [item.text for item in block.items if isinstance(item, Word)]
        return [self.take(wanted)]

    def without(self, option: str) -> "Words":
        """These words but an option that may stand anywhere, even within a path."""
        return Words(item for item in self._items if isinstance(item, Block) or item.text != option)

    def skip(self, count: int) -> None:
        for _ in range(count):
            self._items.popleft()

    def rest(self) -> list[Token]:
        """Everything left, taken; one block that holds it all is opened."""
        found = list(self._items)
        self._items.clear()
        if len(found) == 1 and isinstance(found[0], Block):
            return list(found[0].items)
        return found

    def end(self) -> None:
        """Nothing may be left."""
        if self._items:
            raise unexpected(self.take())


def unexpected(word: str) -> BadSyntax:
    return BadSyntax(f'unexpected argument "{word}"')


def matches(word: str, candidates: Iterable[str]) -> list[str]:
    """The candidates that `word` stands for: itself alone when it is one, else those that it begins."""
    known = list(dict.fromkeys(candidates))
    if word in known:
        return [word]
    return [own for own in known if word and own.startswith(word)]


def whole(word: str, candidates: Sequence[str]) -> str | None:
    """The one candidate that `word` is or begins; None when there is none. Several are BadSyntax."""
    found = matches(word, candidates)
    if len(found) > 1:
        raise BadSyntax(f'"{word}" may be {", ".join(sorted(found))}')
    return found[0] if found else None

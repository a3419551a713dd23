"""How two texts of a configuration differ: object by object, and within an object line by line."""

import difflib
from collections.abc import Iterator
from dataclasses import dataclass, field

LINES_MOST = 2000
STANZA_LINES_MOST = 2000
CONTEXT = 3
ADDED, REMOVED, SAME = "added", "removed", "same"
SIGNS = {ADDED: "+", REMOVED: "-", SAME: " "}


@dataclass(frozen=True, slots=True)
class Line:
    """One line of one object, and which of the texts has it."""

    sort: str
    text: str

    @property
    def sign(self) -> str:
        return SIGNS[self.sort]


@dataclass(frozen=True, slots=True)
class Change:
    """One object that differs. `sort`: added, removed or changed."""

    title: str
    sort: str
    lines: tuple[Line, ...]


@dataclass(slots=True)
class Difference:
    """All that differs; `left` counts objects whose lines are too many to show."""

    changes: list[Change] = field(default_factory=list)
    left: int = 0

    @property
    def total(self) -> int:
        return len(self.changes) + self.left

    def count(self, sort: str) -> int:
        """How many lines were added, or removed."""
        return sum(line.sort == sort for change in self.changes for line in change.lines)


def difference(before: str, after: str) -> Difference:
    """What `after` has that `before` hasn't, and the other way round, in the order of `after`.

    Objects are told apart by their first line, so that ten thousand of them are compared as fast as they are read.
    """
    old, new = dict(_stanzas(before)), dict(_stanzas(after))
    found, shown = Difference(), 0
    for title in [*(each for each in old if each not in new), *new]:
        if old.get(title) == new.get(title):
            continue
        change = _change(title, old.get(title, ()), new.get(title, ()))
        shown += len(change.lines)
        if shown > LINES_MOST and found.changes:
            found.left += 1
        else:
            found.changes.append(change)
    return found


def _stanzas(text: str) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Each object's first line, made one of a kind, and its lines."""
    held: list[str] = []
    seen: dict[str, int] = {}
    for line in text.splitlines():
        if held and not line.startswith((" ", "\t", "}")):
            yield _titled(held, seen), tuple(held)
            held = []
        if line or held:
            held.append(line)
    if held:
        yield _titled(held, seen), tuple(held)


def _titled(lines: list[str], seen: dict[str, int]) -> str:
    title = lines[0].removesuffix("{ }").removesuffix("{").strip()
    seen[title] = seen.get(title, 0) + 1
    return title if seen[title] == 1 else f"{title} ({seen[title]})"


def _change(title: str, old: tuple[str, ...], new: tuple[str, ...]) -> Change:
    if not old or not new:
        sort = ADDED if new else REMOVED
        return Change(title, sort, tuple(Line(sort, text) for text in (new or old)[:STANZA_LINES_MOST]))
    if max(len(old), len(new)) > STANZA_LINES_MOST:
        lines = [Line(REMOVED, "(the object as it was)"), Line(ADDED, "(the object as it is: too long to show)")]
    else:
        lines = list(_lines(old, new))
    return Change(title, "changed", tuple(lines))


def _lines(old: tuple[str, ...], new: tuple[str, ...]) -> Iterator[Line]:
    """The lines of one object, without those far from any change."""
    matcher = difflib.SequenceMatcher(None, old, new, autojunk=False)
    for group in matcher.get_grouped_opcodes(CONTEXT):
        for tag, old_from, old_to, new_from, new_to in group:
            if tag == "equal":
                yield from (Line(SAME, text) for text in old[old_from:old_to])
                continue
            yield from (Line(REMOVED, text) for text in old[old_from:old_to])
            yield from (Line(ADDED, text) for text in new[new_from:new_to])

"""Stanzas in the very form in which `text.render` writes those of which no property has braces or spaces.

    net ipsec ipsec-policy /Common/pol-out {
        mode tunnel
    }

Of a large file nearly all stanzas are of that form, so they are read by the line, in a tenth of the time that words and
blocks take. Whatever is of another form, or not right, is left to the reader of words and blocks: it reads these alike,
and knows what to say of all others.
"""

import re
from collections.abc import Mapping
from functools import cache
from typing import NamedTuple

from culvert.model.fields import Raw, Shape
from culvert.model.kind import Kind, Naming, Path

_STANZA = re.compile(
    r'(?:^|\n)\n*+(?P<header>[a-z][^\s{}"]*+(?: [^\s{}"]++)*+) \{\n'
    r'(?P<body>(?:    [^\s{}"#][^\s{}"]*+ [^\s{}"]++\n)*+)\}(?=\n)',
    re.MULTILINE,
)
COLUMN = 5
"""Where properties stand in their lines."""


class Regular(NamedTuple):
    """One stanza: where its header stands, and where it ends. `places`: line and column of each property."""

    kind: Kind
    name: str
    raw: dict[str, Raw]
    places: dict[str, tuple[int, int]]
    line: int
    end: int
    last_line: int


def read(text: str, at: int, line: int, kinds: Mapping[Path, Kind]) -> Regular | None:
    """The stanza at `at`, which is in this line, or behind the line's end; None unless one is there and all right."""
    found = _STANZA.match(text, at)
    if found is None:
        return None
    *path, name = found["header"].split(" ")
    kind = kinds.get(tuple(path))
    if kind is None or kind.naming is Naming.SINGLE or (*path, name) in kinds:
        return None
    words, known = found["body"].split(), _single_words(kind)
    try:
        raw = {known[word]: value for word, value in zip(words[::2], words[1::2], strict=True)}
    except KeyError:
        return None
    if 2 * len(raw) < len(words):
        return None  # One is given twice.
    first = line + text.count("\n", at, found.start("header"))
    places = {word: (number, COLUMN) for number, word in enumerate(raw, first + 1)}
    return Regular(kind, name, raw, places, first, found.end(), first + len(raw) + 1)


@cache
def _single_words(kind: Kind) -> Mapping[str, str]:
    """The properties that take one word, by every word that may begin them; the line `partition P` is none."""
    own = (each for each in kind.fields if each.type.shape is Shape.WORD)
    return {word: each.word for each in own for word in each.input_words if word != "partition"}

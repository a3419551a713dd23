"""Keys and passwords that stand in clear in what is kept of a vendor's file: found by the word in front of them.

Never quoted by a problem, never listed; a saved file has them, since they have to be written back as they were.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from culvert.model.fields import NONE
from culvert.model.problems import Problem

HIDDEN = "********"
SEALED = "$M$"
_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"|[{}\n]|[^\s{}"]+', re.DOTALL)
_SECRETIVE = ("secret", "password", "passphrase")


@dataclass(frozen=True, slots=True)
class ClearKey:
    """A value in clear: the property's word, and where the word and the value stand in the text."""

    word: str
    at: int
    start: int
    end: int
    hidden: bool


def found(text: str) -> Iterator[ClearKey]:
    """Every value in clear, and every one that `hide` hid, in a text of the brace language."""
    word, at = "", 0
    for token in _TOKEN.finditer(text):
        value = token.group()
        if word and value not in "{}\n" and not _is_harmless(word, value.strip('"')):
            yield ClearKey(word, at, token.start(), token.end(), value.strip('"') == HIDDEN)
        word, at = (value, token.start()) if _is_secretive(value) else ("", 0)


def _is_secretive(word: str) -> bool:
    bare = word.removesuffix("-encrypted")
    return word[0] != '"' and (bare.endswith("-key") or any(part in word for part in _SECRETIVE))


def _is_harmless(word: str, value: str) -> bool:
    """Nothing, or no more than a sealed key or the hash of a password."""
    return value in ("", NONE) or value.startswith(SEALED) or ("encrypted" in word and value.startswith("$"))


def hide(text: str) -> str:
    """`text` with stars in place of every value in clear."""
    pieces, end = [], 0
    for own in found(text):
        pieces += [text[end : own.start], HIDDEN]
        end = own.end
    return "".join([*pieces, text[end:]])


def problems(text: str, line: int, *, of_ipsec: bool) -> Iterator[Problem]:
    """What may not be kept of a stanza that begins in `line`: keys of IPsec in clear, and what only a list had."""
    for own in found(text):
        if not (own.hidden or of_ipsec):
            continue
        asked = "loading a list again needs the value itself, or its removal"
        if not own.hidden:
            encrypted = own.word if own.word.endswith("-encrypted") else f"{own.word}-encrypted"
            asked = f"a key in clear is not kept; give it as {encrypted} {SEALED}..., or leave it out"
        row = text.count("\n", 0, own.at)
        column = own.at - text.rfind("\n", 0, own.at)
        yield Problem(asked, word=own.word, line=line + row, column=column)

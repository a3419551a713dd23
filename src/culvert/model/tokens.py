"""The words of the brace language: words, quoted words and blocks, each with its place in the text.

Line ends carry no meaning (a whole object may stand on one line), except that `#` starts a comment where
it is the first thing on a line. Inside double quotes, backslash takes the next character as it is.
"""

import re
from collections.abc import Iterator
from typing import NamedTuple

from culvert.model.problems import BadSyntax

DEPTH_MAX = 64
_TOKEN = re.compile(
    r"""[^\S\n]*(?:(?P<word>[^\s{}"]+) | (?P<newline>(?:\n[^\S\n]*(?:\#[^\n]*)?)+) | (?P<open>\{) | (?P<close>\})
      | (?P<quoted>"(?:[^"\\]|\\.)*") | (?P<stray>.) | (?P<end>\Z))""",
    re.VERBOSE | re.DOTALL,
)
_FIRST_COMMENT = re.compile(r"\s*#[^\n]*")
_ESCAPED = re.compile(r"\\(.)", re.DOTALL)
_PLAIN = re.compile(r"[^\s{}\"\\;#\x00-\x1f\x7f]+")


class Word(NamedTuple):
    text: str
    line: int
    column: int
    quoted: bool = False


class Block(NamedTuple):
    """`end` and `last_line`: where the text goes on behind it."""

    items: "tuple[Word | Block, ...]"
    line: int
    column: int
    end: int = 0
    last_line: int = 0


Token = Word | Block


def decode(data: bytes) -> str:
    """The text behind `data`, or BadSyntax with the place of the first octet that is not UTF-8."""
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        before = data[: error.start]
        line = before.count(b"\n") + 1
        column = error.start - (before.rfind(b"\n") + 1) + 1
        raise BadSyntax(f"octet 0x{data[error.start]:02x} is not UTF-8", line, column) from None


def refuse_octets(text: str) -> None:
    """BadSyntax with the place of the first character that no text has: a NUL, or half a character.

    The latter is an octet that a program's arguments carried over, and can't be saved.
    """
    at, sentence = text.find("\0"), "a NUL character is not allowed"
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        at, sentence = error.start, "an octet here is not UTF-8"
    if at >= 0:
        raise BadSyntax(sentence, text.count("\n", 0, at) + 1, at - text.rfind("\n", 0, at))


def parse(text: str) -> tuple[Token, ...]:
    """The tokens of `text`; blocks hold theirs. Raises BadSyntax with line and column."""
    refuse_octets(text)
    return tuple(items(text))


def items(text: str, begin: int = 0, first_line: int = 1) -> Iterator[Token]:
    """The outermost tokens of `text` from `begin` on, which is in `first_line` and no comment's beginning.

    Each comes as soon as it is whole, so that a reader may stop early. Raises BadSyntax with line and column; a block
    that no word announces is one too.
    """
    stack: list[tuple[int, int, list[Token]]] = []
    announced = False
    for sort, value, line, column, end in _scan(text, begin, first_line):
        if sort == "open":
            if len(stack) >= DEPTH_MAX:
                raise BadSyntax(f"braces nested more than {DEPTH_MAX} deep", line, column)
            if not stack and not announced:
                raise BadSyntax('unexpected argument "{"', line, column)
            stack.append((line, column, []))
            continue
        token: Token
        if sort == "close":
            if not stack:
                raise BadSyntax('unexpected "}"', line, column)
            opened_line, opened_column, inner = stack.pop()
            token = Block(tuple(inner), opened_line, opened_column, end, line)
        else:
            token = Word(value, line, column, sort == "quoted")
        if stack:
            stack[-1][2].append(token)
        else:
            announced = sort != "close"
            yield token
    if stack:
        line, column, _ = stack[-1]
        raise BadSyntax('"{" is never closed', line, column)


def quote(text: str) -> str:
    """`text` as one word, in double quotes where it would not stand bare."""
    if _PLAIN.fullmatch(text):
        return text
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _scan(text: str, begin: int, line: int) -> Iterator[tuple[str, str, int, int, int]]:
    """Sort, value, line, column, and where the text goes on."""
    if not begin and (comment := _FIRST_COMMENT.match(text)):
        begin = comment.end()
        line += text.count("\n", 0, begin)
    line_start = text.rfind("\n", 0, begin) + 1
    for found in _TOKEN.finditer(text, begin):
        sort = str(found.lastgroup)
        value = found[sort]
        start = found.start(sort)
        if sort == "newline":
            line, line_start = line + value.count("\n"), start + value.rfind("\n") + 1
        elif sort == "end":
            return
        elif sort == "stray":
            raise BadSyntax("a double quote is never closed", line, start - line_start + 1)
        else:
            quoted = sort == "quoted"
            word = _ESCAPED.sub(r"\1", value[1:-1]) if quoted else value
            yield sort, word, line, start - line_start + 1, found.end()
            if quoted and (newlines := value.count("\n")):
                line, line_start = line + newlines, start + value.rfind("\n") + 1

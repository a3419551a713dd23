"""Commands out of text: argument vectors, semicolons, lines that go on."""

from collections.abc import Iterable, Iterator, Sequence

from culvert.model import tokens
from culvert.model.problems import BadSyntax


def join(words: Sequence[str]) -> str:
    """The command behind the words of an argument vector, whose own quotes the shell took away.

    A single word that holds the whole command is taken as it is, and so are braces; a word with spaces was quoted.
    """
    if len(words) == 1:
        return words[0]
    return " ".join(word if _is_syntax(word) else tokens.quote(word) for word in words)


def _is_syntax(word: str) -> bool:
    """Whether an argument is words and braces of the language, and no value that a shell's quotes held together."""
    braces = word.startswith("{") or word.endswith(("{", "}"))
    return bool(word) and '"' not in word and "\\" not in word and (braces or not set(word) & set(" {}"))


def split(line: str) -> list[str]:
    """The commands of a line, at semicolons outside double quotes."""
    parts, quoted, escaped = [""], False, False
    for character in line:
        if character == ";" and not quoted:
            parts.append("")
            continue
        quoted ^= character == '"' and not escaped
        escaped = character == "\\" and not escaped
        parts[-1] += character
    return [part.strip() for part in parts if part.strip()]


def statements(lines: Iterable[str]) -> Iterator[str]:
    """Whole commands out of lines: one goes on while a brace or a quote is open."""
    held = ""
    for line in lines:
        held += line
        if not is_open(held):
            yield from split(held.strip()) if held.count("\n") < 2 else [held.strip().rstrip(";")]
            held = ""
    if held.strip():
        yield held


def is_open(text: str) -> bool:
    """Whether a brace or a quote waits for its end."""
    try:
        tokens.parse(text)
    except BadSyntax as error:
        return "never closed" in error.sentence
    return False

"""`tmsh`: one command from the command line, several with -c, or a script on standard input."""

import argparse
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from culvert.control.client import Client
from culvert.control.errors import ControlError
from culvert.model import tokens
from culvert.model.problems import BadSyntax
from culvert.tmsh import command
from culvert.tmsh.session import Session


def main(arguments: Sequence[str] | None = None) -> int:
    """The exit status: 0 when every command worked, else 1."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    options = _options(given)
    session = Session(Client(Path(options.socket) if options.socket else None))
    if options.c is not None:
        return run_all(split(options.c), session)
    if options.words:
        return run_all([join(options.words)], session)
    if sys.stdin.isatty() and not options.q:
        from culvert.tmsh.shell import (
            Shell,  # The shell's library takes a tenth of a second that one command needn't pay.
        )

        return Shell(session).run()
    return run_all(statements(sys.stdin), session)


def _options(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="tmsh", description="Configure and watch a Culvert gateway.")
    parser.add_argument("-c", metavar="COMMANDS", help="run these commands; a semicolon stands between two")
    parser.add_argument("-q", action="store_true", help="no prompt")
    parser.add_argument("-a", action="store_true", help="accepted for scripts; changes nothing")
    parser.add_argument("--socket", help="the daemon's control socket (default: $CULVERT_SOCKET)")
    parser.add_argument("words", nargs=argparse.REMAINDER, help="one command")
    return parser.parse_args(arguments)


def run_all(commands: Iterable[str], session: Session) -> int:
    """Run commands in turn, errors on standard error; going on after one that fails."""
    status = 0
    for line in commands:
        try:
            if answer := command.run(line, session):
                print(answer, flush=True)
        except ControlError as error:
            print(error.text, file=sys.stderr, flush=True)
            status = 1
        except BrokenPipeError:
            return 1
        if session.over:
            break
    return status


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


if __name__ == "__main__":
    sys.exit(main())

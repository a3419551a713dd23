"""`tmsh`: one command from the command line, several with -c, or a script on standard input."""

import argparse
import contextlib
import os
import sys
from collections.abc import Iterable, Sequence
from io import TextIOWrapper
from pathlib import Path

from culvert.control.client import Client
from culvert.control.errors import ControlError
from culvert.tmsh import command, password
from culvert.tmsh.script import join, split, statements
from culvert.tmsh.session import Session
from culvert.tmsh.shell import Shell

INTERRUPTED = 130
"""What a shell calls the exit of a program that ctrl-C ended."""


def main(arguments: Sequence[str] | None = None) -> int:
    """The exit status: 0 when every command worked, else 1."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    options = _options(given)
    _take_any_octet()
    client = Client(Path(options.socket) if options.socket else None)
    session = Session(client, stream=client.stream, tell=_print_all, secret=password.ask)
    if options.c is not None:
        return run_all(split(options.c), session)
    if options.words:
        return run_all([join(options.words)], session)
    if sys.stdin.isatty() and not options.q:
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


def _take_any_octet() -> None:
    """What is no text is then refused by the command that has it, and what the terminal can't show is shown escaped."""
    if isinstance(sys.stdin, TextIOWrapper):
        sys.stdin.reconfigure(errors="surrogateescape")
    if isinstance(sys.stdout, TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")


def run_all(commands: Iterable[str], session: Session) -> int:
    """Run commands in turn, errors on standard error; going on after one that fails."""
    status = 0
    # What keeps the daemon from saying what is preferred, it says to the first command too.
    with contextlib.suppress(ControlError):
        session.begin()
    for line in commands:
        try:
            if answer := command.run(line, session):
                print(answer, flush=True)
        except ControlError as error:
            print(error.text, file=sys.stderr, flush=True)
            status = 1
        except BrokenPipeError:
            _give_up_output()
            return 1
        except KeyboardInterrupt:
            return INTERRUPTED
        if session.over:
            break
    return status


def _print_all(pieces: Iterable[str]) -> None:
    for piece in pieces:
        print(piece, flush=True)


def _give_up_output() -> None:
    """Who read our output is gone; what is left in its buffer would be tried, and complained about, at the end."""
    with contextlib.suppress(OSError, ValueError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)


if __name__ == "__main__":
    sys.exit(main())

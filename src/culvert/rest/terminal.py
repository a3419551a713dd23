"""Commands of tmsh, run for the one who asks: what has no shape of its own in REST has tmsh's text.

They run in this process, as everything that REST does, and ask culvertd as the asker. What needs a terminal or the
host's shell isn't there.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from culvert.control.errors import ControlError, Refused
from culvert.model.problems import BadSyntax
from culvert.rest.door import Door
from culvert.rest.exchange import Request
from culvert.tmsh import command
from culvert.tmsh.script import split
from culvert.tmsh.session import Session
from culvert.tmsh.words import Words, whole

ELSEWHERE = ("edit", "run")
COMMANDS_MAX = 1000


@dataclass(frozen=True, slots=True)
class _Asker:
    """A session's way to the daemon."""

    door: Door
    request: Request

    def call(self, name: str, /, **args: object) -> Any:
        return self.door.call(self.request.credentials(), name, **args)


class Terminal:
    """Runs the commands of one script in a session of their own."""

    def __init__(self, door: Door) -> None:
        self._door = door

    def run(self, request: Request, script: str) -> str:
        """What tmsh prints, errors too. Raises Unauthorized as every request does."""
        return "".join(f"{text}\n" for text in self._answers(request, script) if text)

    def one(self, request: Request, line: str) -> str:
        """What one command prints. Raises ControlError for what it would print as one."""
        _refuse_what_needs_a_host(line)
        return f"{command.run(line, Session(_Asker(self._door, request)))}\n"

    def _answers(self, request: Request, script: str) -> Iterator[str]:
        session = Session(_Asker(self._door, request))
        for line in split(script)[:COMMANDS_MAX]:
            try:
                _refuse_what_needs_a_host(line)
                yield command.run(line, session)
            except ControlError as error:
                if error.http == 401:
                    raise
                yield error.text


def _refuse_what_needs_a_host(line: str) -> None:
    try:
        words = Words.of(line)
        verb = whole(words.peek(), list(command.VERBS)) if words else None
    except BadSyntax:
        return  # The command itself says what is wrong with it.
    if verb in ELSEWHERE:
        raise Refused(f"{verb} needs a terminal of the host, which there is none of here")
    if verb == "load" and any(word.startswith("from-") for word in words.leading()):
        raise Refused("from-terminal needs a terminal, which there is none of here")

"""What tmsh prints, for engineers who copy it: its own text, run as the user who looks at the page."""

from collections.abc import Mapping
from dataclasses import dataclass

from culvert.model.tokens import quote
from culvert.rest.exchange import TOKEN_HEADER, Request
from culvert.rest.terminal import Terminal
from culvert.web.visit import Visit

LINES_MOST = 5000


@dataclass(frozen=True, slots=True)
class Printout:
    """A command and what it prints. `cut`: whether there was more."""

    command: str
    text: str
    cut: bool = False


def command(words: str, arguments: Mapping[str, str], *options: str) -> str:
    """A command line; whatever the arguments hold stays one word each."""
    given = [part for word, value in arguments.items() for part in (word, quote(value))]
    return " ".join([words, *given, *options])


def printed(visit: Visit, line: str, most: int = LINES_MOST) -> Printout:
    """Raises ControlError for what tmsh would print as one."""
    own = visit.session
    asker = Request("GET", (), headers={TOKEN_HEADER: own.token}, address=own.address)
    lines = Terminal(own.door).one(asker, line).splitlines()
    return Printout(line, "\n".join(lines[:most]), len(lines) > most)

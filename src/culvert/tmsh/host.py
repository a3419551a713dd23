"""Commands about the running programs: counters to zero, the journal's trust, the host's shell."""

import os
import shlex
import subprocess

from culvert.control.errors import Refused
from culvert.model import shows
from culvert.model.names import full
from culvert.model.problems import BadSyntax
from culvert.tmsh import selection, tree
from culvert.tmsh.session import Session
from culvert.tmsh.words import Words, unexpected

BASH = ("util", "bash")
JOURNAL = ("sys", "counter-journal")


def run(words: Words, session: Session) -> str:
    node = tree.walk(words, session.module)
    if node.path == BASH:
        return _bash(words, session)
    if node.path == JOURNAL and words.peek() == "trust":
        words.take()
        words.end()
        doubt = session.call("trust-counter-journal")["doubt"]
        return f"trusted from now on, though {doubt}" if doubt else "the counter journal is not in doubt"
    if words:
        raise unexpected(words.take())
    raise BadSyntax("incomplete command: util bash, or sys counter-journal trust, is expected")


def reset_stats(words: Words, session: Session) -> str:
    """Counters begin at zero again, all of them or those of what is named. Sequence numbers and windows stay."""
    if not words:
        session.call("reset-stats")
        return ""
    node = tree.walk(words, session.module, "reset-stats")
    what = " ".join(node.path)
    if what not in shows.COUNTED:
        raise unexpected(words.take()) if words else BadSyntax(f"{what} has no counters of its own")
    if what in shows.FILTERS:
        session.call("reset-stats", what=what, filters=selection.filters(words, what, session))
        return ""
    names = words.leading() if what in shows.NAMED else []
    words.skip(len(names))
    words.end()
    if names == [selection.ALL]:
        names = []
    session.call("reset-stats", what=what, names=[full(name, session.folder) for name in names])
    return ""


def restart(words: Words, session: Session) -> str:
    """`restart sys service tmm`: end the packet process; the daemon starts the next one, behind the counter journal."""
    given = [word.removeprefix("/") for word in words.leading()]
    if given[:2] != ["sys", "service"] or given[2:] != ["tmm"]:
        raise BadSyntax("restart knows: sys service tmm")
    words.skip(3)
    words.end()
    return str(session.call("restart-tmm")["sentence"])


def _bash(words: Words, session: Session) -> str:
    """The host's shell, for those whom the daemon lets: it runs as the user who asks, with that user's rights."""
    command = ""
    if words:
        if words.take() != "-c":
            raise BadSyntax('run util bash knows: -c "COMMAND"')
        command = words.take("a command")
    words.end()
    if not session.call("access", call="bash")["allowed"]:
        raise Refused("run util bash is for users of the role admin whose shell is bash")
    arguments = ["bash", "-c", command] if command else ["bash"]
    done = subprocess.run(arguments, check=False, env={**os.environ, "CULVERT_TMSH": "1"})
    if done.returncode and command:
        raise Refused(f"{shlex.quote(command)} ended with status {done.returncode}")
    return ""

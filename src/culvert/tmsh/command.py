"""One tmsh command: its verb, and who carries it out."""

from collections.abc import Callable
from dataclasses import dataclass

from culvert.control.errors import SyntaxProblem
from culvert.model.problems import BadSyntax
from culvert.tmsh import changes, files, host, listing, navigation, password, showing, tree
from culvert.tmsh.session import Session
from culvert.tmsh.words import Words, unexpected, whole


@dataclass(frozen=True, slots=True)
class Verb:
    """What a verb does with the words behind it, and its one line of help."""

    run: Callable[[Words, Session], str]
    help: str


def _modify(words: Words, session: Session) -> str:
    node, count = tree.resolve(words.leading(), session.module, "modify")
    if node.path != tree.PASSWORD:
        return changes.modify(words, session)
    words.skip(count)
    return password.change(words, session)


VERBS = {
    "cd": Verb(navigation.cd, "Change the folder"),
    "cp": Verb(changes.copy, "Copy an object"),
    "create": Verb(changes.create, "Create an object, or begin a transaction"),
    "delete": Verb(changes.delete, "Delete objects"),
    "edit": Verb(files.edit, "Change objects in a text editor"),
    "exit": Verb(navigation.leave, "Leave the module, and from the top the shell"),
    "help": Verb(navigation.help_, "Tell about a module or a component"),
    "list": Verb(listing.run, "Show the configuration"),
    "load": Verb(files.load, "Load a configuration"),
    "modify": Verb(_modify, "Change an object"),
    "mv": Verb(changes.move, "Give an object another name or folder"),
    "pwd": Verb(navigation.pwd, "Show the folder"),
    "quit": Verb(navigation.quit_, "Leave the shell"),
    "reset-stats": Verb(host.reset_stats, "Set counters to zero: all, or some"),
    "restart": Verb(host.restart, "Restart a service"),
    "run": Verb(host.run, "Run a program"),
    "save": Verb(files.save, "Save the configuration"),
    "show": Verb(showing.run, "Show what runs, and counters"),
    "submit": Verb(changes.submit, "Carry a transaction out"),
}


def run(line: str, session: Session) -> str:
    """Run one command; the answer's text, without a line end. Raises ControlError."""
    session.line = line.strip()
    try:
        words = Words.of(line)
        if not words:
            return ""
        verb = whole(words.peek(), list(VERBS)) if words.peek() not in _modules(session) else None
        if verb is None:
            return _enter(words, session)
        words.take()
        return VERBS[verb].run(words, session)
    except BadSyntax as error:
        place = (error.line, error.column) if error.line > 1 else (None, None)
        raise SyntaxProblem(error.sentence, *place) from None


def _modules(session: Session) -> set[str]:
    """Words that are a module here and no verb, so that they need no guessing."""
    return {word for word in session.module_words if word not in VERBS}


def _enter(words: Words, session: Session) -> str:
    first = words.peek()
    try:
        return navigation.enter(words, session)
    except BadSyntax as error:
        known = first in session.module_words or first.startswith("/")
        raise error if known else unexpected(first) from None

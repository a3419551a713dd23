"""`modify auth password [USER]`: a new password that is asked for twice, and never part of a command."""

import getpass
import sys

from culvert.control.errors import Refused
from culvert.model.auth import USER_KIND
from culvert.model.problems import BadSyntax
from culvert.tmsh import changes
from culvert.tmsh.session import Session
from culvert.tmsh.words import Words


def change(words: Words, session: Session) -> str:
    """Of oneself, or of another for whoever may change users; those who may not are asked for the old one first."""
    if session.batch is not None:
        raise BadSyntax("a password is changed by itself and not in a transaction")
    if not session.about:
        session.look()
    user = words.take() if words else str(session.about["user"])
    words.end()
    old = ""
    if user == session.about["user"] and not session.call("access")["admin"]:
        old = session.secret("(current) password: ")
    new = session.secret("new password: ")
    if session.secret("confirm password: ") != new:
        raise Refused("the two passwords are not the same; nothing was changed")
    properties = {"password": new}
    operation = {"verb": "modify", "kind": USER_KIND.word, "names": [user], "properties": properties}
    return changes.warn(session.change(operation | {"old_password": old}))


def ask(question: str) -> str:
    """A password from the terminal without showing it, or the next line of what a script gives."""
    if sys.stdin.isatty():
        try:
            return getpass.getpass(question)
        except EOFError:
            raise Refused("no password was given") from None
    return sys.stdin.readline().rstrip("\n")

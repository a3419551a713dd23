"""One's own account: the password, and where else one is logged in."""

import contextlib
from datetime import UTC, datetime
from typing import Any

from culvert.control.errors import ControlError, Unauthorized
from culvert.rest.exchange import Answer, not_found
from culvert.web import session
from culvert.web.rendering import framed
from culvert.web.session import Session
from culvert.web.visit import Visit, elsewhere, page

Json = Any
HERE = "/account"
CHANGED, ENDED = "changed", "ended"


class Account:
    """Answers under /account."""

    def answer(self, visit: Visit) -> Answer:
        """The page, or what a form of it asks for. Raises ControlError, BadRequest."""
        if visit.rest:
            raise not_found(visit.request)
        if not visit.posts:
            return _drawn(visit, {})
        deeds = {"password": _change, "end": _end, "everywhere": _leave}
        deed = deeds.get(visit.form.one("do"))
        return deed(visit) if deed else elsewhere(HERE)


def _user(visit: Visit) -> str:
    return str(visit.session.call("describe")["user"])


def _change(visit: Visit) -> Answer:
    """The old password is asked for from everybody: an open browser may be in somebody else's hands.

    A new one ends all sessions of the user, this one too; so a new one begins.
    """
    old, new, again = (visit.form.one(word) for word in ("old", "new", "again"))
    if wrong := _missing(old, new, again):
        return _drawn(visit, wrong, 400)
    own, user = visit.session, _user(visit)
    try:
        session.ended(session.begun(own.door, user, old, own.address))
    except Unauthorized:
        return _drawn(visit, {"old": "That is not the old password."}, 403)
    try:
        operation = {"verb": "modify", "kind": "auth user", "names": [user], "properties": {"password": new}}
        own.call("transaction", operations=[{**operation, "old_password": old}])
    except ControlError as error:
        sentences = [each["sentence"] for each in error.problems] or [error.message]
        return _drawn(visit, {"new": " ".join(sentences)}, error.http)
    made = session.begun(own.door, user, new, own.address)
    return elsewhere(HERE, _told(made, CHANGED), {"Set-Cookie": session.cookie(made.token)})


def _missing(old: str, new: str, again: str) -> dict[str, str]:
    if not old:
        return {"old": "The old password is missing."}
    if not new:
        return {"new": "A new password is missing."}
    return {} if new == again else {"again": "These two are not the same."}


def _end(visit: Visit) -> Answer:
    visit.session.call("logout", token=visit.form.one("handle"))
    return elsewhere(HERE, _told(visit.session, ENDED))


def _leave(visit: Visit) -> Answer:
    """Everywhere else first: when this session is over, it can end no other."""
    here = visit.session.call("token")["started"]
    for own in sorted(visit.session.call("tokens"), key=lambda own: own["started"] == here):
        with contextlib.suppress(ControlError):
            visit.session.call("logout", token=str(own["token"]))
    return elsewhere("/login", headers={"Set-Cookie": session.cookie("")})


def _told(own: Session, said: str) -> dict[str, str]:
    return {"said": said, "sign": own.sign(said)}


def _drawn(visit: Visit, wrong: dict[str, str], status: int = 200) -> Answer:
    said, here = visit.asked("said"), visit.session.call("token")
    text = framed(
        visit.session,
        "account.html",
        title="Account",
        here=HERE,
        wrong=wrong,
        said=said if visit.asked("sign") == visit.session.sign(said) else "",
        tokens=[_row(own, here["started"]) for own in reversed(visit.session.call("tokens"))],
    )
    return page(text, status)


def _row(own: dict[str, Json], here: float) -> dict[str, str]:
    moments = {word: datetime.fromtimestamp(float(own[word]), UTC) for word in ("started", "expires")}
    return {
        "handle": str(own["token"]),
        "address": str(own["address"]),
        "here": " (this one)" if own["started"] == here else "",
        **{word: moment.strftime("%Y-%m-%d %H:%M:%S") for word, moment in moments.items()},
    }

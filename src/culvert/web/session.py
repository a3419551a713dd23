"""Who looks at a page: the token of a login, kept in a cookie that no script reads and no other site can send.

The token is culvertd's own: it knows the address, ends by time, by logout, and when its user is changed. The cookie
opens pages alone; the REST API doesn't look at it, so another site's request can't ride on it there. Every form
carries a value that only who can read our pages knows (`csrf`), besides the browser's own words about where a
request comes from.
"""

import hashlib
import hmac
from dataclasses import dataclass
from typing import Any

from culvert.control.errors import ControlError
from culvert.rest.door import Door
from culvert.rest.exchange import Request

Json = Any
COOKIE = "__Host-culvert"
IDLE_SECONDS = 1200
READERS = frozenset({"guest", "auditor", "no-access"})
"""Roles that change nothing: their pages have no buttons for it."""


@dataclass(frozen=True, slots=True)
class Session:
    """One login. Whatever is asked through it is asked as its user."""

    door: Door
    token: str
    address: str

    def call(self, name: str, /, **args: Json) -> Json:
        """culvertd's answer. Raises ControlError; Unauthorized when the session is over."""
        return self.door.call({"token": self.token, "address": self.address}, name, **args)

    @property
    def csrf(self) -> str:
        """What forms carry: it follows from the token, and doesn't give it away."""
        return hmac.new(self.token.encode(), b"culvert web forms", hashlib.sha256).hexdigest()

    def is_own(self, csrf: str) -> bool:
        """Whether a form was one of this session's pages."""
        return hmac.compare_digest(self.csrf.encode(), csrf.encode("utf-8", "replace"))

    def sign(self, text: str) -> str:
        """What shows that a text in an address was put there by a page of this session."""
        return hmac.new(self.token.encode(), text.encode("utf-8", "replace"), hashlib.sha256).hexdigest()[:32]

    def stay(self) -> None:
        """Somebody is there: the session's time begins anew. Pages that renew themselves don't say so."""
        self.call("extend", timeout=IDLE_SECONDS)


@dataclass(frozen=True, slots=True)
class Who:
    """The user of a session, as the frame of every page names them."""

    user: str
    hostname: str
    version: str
    roles: tuple[str, ...]
    may_change: bool
    is_admin: bool


def who(session: Session) -> Who:
    """Asks culvertd. Raises Unauthorized when the session is over."""
    described, rights = session.call("describe"), session.call("access")
    held = rights["roles"]
    told = tuple(f"{role} in {place}" if place != "all-partitions" else role for place, role in held.items())
    may_change = any(role not in READERS for role in held.values())
    return Who(described["user"], described["hostname"], described["version"], told, may_change, rights["admin"])


def of(request: Request, door: Door) -> Session | None:
    """The session that a request's cookie names; whether it lives is culvertd's to say."""
    # By hand: what another program on this host has put into its cookies, and how, is no matter of ours.
    pairs = (each.strip().partition("=") for each in request.headers.get("cookie", "").split(";"))
    token = next((value for name, _, value in pairs if name == COOKIE), "")
    return Session(door, token, request.address) if token.isascii() and token.isalnum() else None


def begun(door: Door, user: str, password: str, address: str) -> Session:
    """A login. Raises Unauthorized, TooMany."""
    made = door.call(None, "login", username=user, password=password, address=address)
    return Session(door, str(made["token"]), address)


def ended(session: Session) -> None:
    """A logout; one that is over already is over."""
    try:
        session.call("logout", token=session.token)
    except ControlError:
        return


def cookie(token: str) -> str:
    """The header's value that sets the cookie; with "" it goes."""
    gone = "" if token else "; Max-Age=0"
    return f"{COOKIE}={token}; Path=/; Secure; HttpOnly; SameSite=Strict{gone}"

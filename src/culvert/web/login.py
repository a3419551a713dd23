"""Login and logout."""

from culvert.control.errors import ControlError, TooMany, Unauthorized
from culvert.rest.door import Door
from culvert.rest.exchange import Answer, Request
from culvert.web import session
from culvert.web.rendering import render
from culvert.web.visit import HTML, elsewhere, form_of, page

START = "/map"
NEXT_MOST = 500


class Login:
    """Answers at /login and /logout."""

    def __init__(self, door: Door) -> None:
        self._door = door

    def login(self, request: Request) -> Answer:
        """The form, or what was typed into it."""
        if request.method != "POST":
            return self._form(_wanted(request.query.get("next", "")), over="over" in request.query)
        form = form_of(request)
        user, wanted = form.one("username").strip(), _wanted(form.one("next"))
        try:
            made = session.begun(self._door, user, form.one("password"), request.address)
        except Unauthorized:
            return self._form(wanted, user, "The user name or the password is wrong.", 401)
        except TooMany as error:
            return self._form(wanted, user, f"Too many attempts failed: {error.message}.", 429)
        except ControlError as error:
            return self._form(wanted, user, error.message, error.http)
        return elsewhere(wanted or START, headers={"Set-Cookie": session.cookie(made.token)})

    def logout(self, own: session.Session) -> Answer:
        """The token is given back, and the cookie goes."""
        session.ended(own)
        return elsewhere("/login", headers={"Set-Cookie": session.cookie("")})

    def _form(self, wanted: str, user: str = "", error: str = "", status: int = 200, *, over: bool = False) -> Answer:
        return page(render("login.html", wanted=wanted, user=user, error=error, over=over), status)


def to_login(request: Request, *, over: bool) -> Answer:
    """Who isn't logged in goes there, and comes back; a part of a page sends its whole page there."""
    parameters = {"next": request.path} if request.method == "GET" and request.segments else {}
    if over:
        parameters["over"] = "1"
    if request.headers.get("hx-request") == "true":
        return Answer(b"", 200, {"HX-Redirect": "/login?over=1"}, HTML)
    return elsewhere("/login", parameters, {"Set-Cookie": session.cookie("")} if over else None)


def _wanted(path: str) -> str:
    """Where to go after the login: a page of ours, and nothing that a browser could take for another site."""
    fits = path.startswith("/") and not path.startswith(("//", "/\\", "/login", "/logout")) and path.isprintable()
    return path if fits and len(path) <= NEXT_MOST and path.isascii() else ""

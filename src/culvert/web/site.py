"""Every page's address, and who answers there. It answers what the REST API doesn't."""

import contextlib
from collections.abc import Mapping
from typing import Protocol

from culvert.control.errors import ControlError, Unauthorized
from culvert.rest.door import Door
from culvert.rest.exchange import Answer, BadRequest, Request, not_allowed, not_found
from culvert.web import login, session
from culvert.web.account import Account
from culvert.web.audit import AuditLog
from culvert.web.capture import Capture
from culvert.web.checklist import Checklist
from culvert.web.configuration import Configuration
from culvert.web.diagnostics import Diagnostics
from culvert.web.live import Live
from culvert.web.login import Login, to_login
from culvert.web.logs import Logs
from culvert.web.network_map import NetworkMap
from culvert.web.objects import Objects, Suggestions
from culvert.web.rendering import ASSETS, asset, framed, render
from culvert.web.visit import HEADERS, Form, Visit, elsewhere, form_of, page
from culvert.web.why import Why
from culvert.web.wizard import Wizard

METHODS = ("GET", "HEAD", "POST")
FOR_EVER = "public, max-age=31536000, immutable"


class Pages(Protocol):
    """Who answers for the addresses that begin with one word."""

    def answer(self, visit: Visit) -> Answer: ...


class Site:
    """Answers requests one at a time; many threads may ask at once."""

    def __init__(self, door: Door) -> None:
        self._door = door
        self._login = Login(door)
        self._pages: Mapping[str, Pages] = {
            "account": Account(),
            "audit": AuditLog(),
            "capture": Capture(),
            "checklist": Checklist(),
            "configuration": Configuration(),
            "diagnostics": Diagnostics(),
            "live": Live(),
            "logs": Logs(),
            "map": NetworkMap(),
            "objects": Objects(),
            "suggest": Suggestions(),
            "why": Why(),
            "wizard": Wizard(),
        }

    def answer(self, request: Request) -> Answer:
        """Never raises for what a client can do."""
        try:
            return self._answer(request)
        except Unauthorized:
            return to_login(request, over=True)
        except (ControlError, BadRequest) as error:
            return self._failed(request, error)

    def _answer(self, request: Request) -> Answer:
        if request.method not in METHODS:
            raise not_allowed(request, *METHODS)
        first = request.segments[0] if request.segments else ""
        if first == "assets":
            return _asset(request)
        if request.segments == ("favicon.ico",):
            return elsewhere("/assets/culvert.svg")
        if request.segments == ("login",):
            return self._login.login(request)
        own = session.of(request, self._door)
        if own is None:
            return to_login(request, over=False)
        form = self._form(request, own)
        if request.segments == ("logout",) and request.method == "POST":
            return self._login.logout(own)
        if not first:
            return elsewhere(login.START)
        if "renew" not in request.query:
            own.stay()
        pages = self._pages.get(first)
        if pages is None:
            own.call("describe")
            raise not_found(request)
        return pages.answer(Visit(request, own, request.segments[1:], form))

    def _form(self, request: Request, own: session.Session) -> Form:
        """What was posted, if it was posted from a page of this session."""
        if request.method != "POST":
            return Form({})
        form = form_of(request)
        if not own.is_own(form.one("csrf")):
            raise BadRequest(403, "This form is of another login, or of no page of this gateway. Open the page again.")
        return form

    def _failed(self, request: Request, error: ControlError | BadRequest) -> Answer:
        status = error.status if isinstance(error, BadRequest) else error.http
        headers = dict(error.headers) if isinstance(error, BadRequest) else {}
        own = session.of(request, self._door)
        words = {"status": status, "sentence": error.message}
        if request.headers.get("hx-request") == "true":
            return page(render("trouble-part.html", **words), status, headers)
        if own is not None:
            with contextlib.suppress(ControlError):
                return page(framed(own, "trouble.html", title="Not possible", here="", **words), status, headers)
        return page(render("trouble-bare.html", **words), status, headers)


def _asset(request: Request) -> Answer:
    name = request.segments[1] if len(request.segments) == 2 else ""
    if name not in ASSETS:
        raise not_found(request)
    return Answer(asset(name), 200, {**HEADERS, "Cache-Control": FOR_EVER, "Pragma": ""}, ASSETS[name])

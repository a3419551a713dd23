"""System > Logs: the log of IPsec, by level and text, renewed when wanted, and as a file."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from culvert.model.net_ipsec import LOG_LEVELS
from culvert.rest.exchange import Answer, not_found
from culvert.web.rendering import framed, render
from culvert.web.visit import Visit, download, page

Json = Any
HERE = "/logs"
DAEMON = "net ipsec ike-daemon"
SIZES = (50, 100, 500, 1000)
READ_MOST = 10_000
SECONDS = 5
SEARCH_MOST = 200
_LINE = re.compile(r"(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d): ([A-Z0-9]+): (.*)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Event:
    """One line of the log. `level` is "" for a line of another shape, which then is all in `text`."""

    moment: str
    level: str
    text: str

    @property
    def line(self) -> str:
        return f"{self.moment}: {self.level.upper()}: {self.text}" if self.level else self.text


@dataclass(frozen=True, slots=True)
class View:
    """What of the log is looked at. `level`: "" for all, else one of LOG_LEVELS and what is worse."""

    level: str
    search: str
    size: int
    follows: bool

    def link(self, **changes: str | int) -> str:
        """The parameters of this view with some changed."""
        own = {"level": self.level, "search": self.search, "lines": self.size, "follow": int(self.follows)}
        return "?" + urlencode({**own, **changes})


class Logs:
    """Answers under /logs."""

    def answer(self, visit: Visit) -> Answer:
        """The page, the lines alone for htmx, or a file. Raises ControlError, BadRequest."""
        view = _view(visit)
        if visit.rest == ("ipsec.log",):
            found = _events(visit, view, READ_MOST)
            content = "".join(f"{own.line}\n" for own in found)
            return download(content.encode(), "ipsec.log", "text/plain; charset=utf-8")
        if visit.rest:
            raise not_found(visit.request)
        events = _events(visit, view, view.size)
        words = {"view": view, "events": events[::-1], "seconds": SECONDS}
        if visit.is_part:
            return page(render("logs-lines.html", **words))
        text = framed(
            visit.session,
            "logs.html",
            title="Logs",
            here=HERE,
            levels=LOG_LEVELS,
            sizes=SIZES,
            daemon=_daemon(visit),
            report=visit.session.call("show", what="sys log", filters={})[0],
            **words,
        )
        return page(text)


def _view(visit: Visit) -> View:
    level, size = visit.asked("level"), visit.asked("lines")
    return View(
        level=level if level in LOG_LEVELS else "",
        search=visit.asked("search").strip()[:SEARCH_MOST],
        size=int(size) if size in map(str, SIZES) else SIZES[1],
        follows=visit.asked("follow") == "1",
    )


def _events(visit: Visit, view: View, most: int) -> list[Event]:
    """The newest that fit, oldest first. A filter looks at as many lines as culvertd gives, not only at those shown."""
    asked = READ_MOST if view.level or view.search else most
    records = visit.session.call("show", what="sys log ipsec", filters={"lines": str(asked)})
    found = [_event(str(own["line"])) for own in records]
    return [own for own in found if _fits(own, view)][-most:]


def _event(line: str) -> Event:
    parts = _LINE.fullmatch(line)
    return Event(parts[1], parts[2].lower(), parts[3]) if parts else Event("", "", line)


def _fits(own: Event, view: View) -> bool:
    return _is_grave(own, LOG_LEVELS, view.level) and view.search.casefold() in own.line.casefold()


def _is_grave(own: Event, levels: Sequence[str], least: str) -> bool:
    if not least:
        return True
    return own.level in levels and levels.index(own.level) <= levels.index(least)


def _daemon(visit: Visit) -> dict[str, Json]:
    """The level and the publisher, as the ike-daemon object has them."""
    found = visit.session.call("list", kind=DAEMON, folder="/", recursive=True)
    own: Mapping[str, Json] = next((each["properties"] for each in found if each["kind"] == DAEMON), {})
    return {"level": own.get("log-level", ""), "publisher": own.get("log-publisher", "none")}

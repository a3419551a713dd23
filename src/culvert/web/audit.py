"""System > Audit: who changed what, from where, and how it ended; and whether the lines shown are whole."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from culvert.control.errors import Refused
from culvert.rest.exchange import Answer, not_found
from culvert.web.rendering import framed, render
from culvert.web.visit import Visit, page

Json = Any
HERE = "/audit"
LINES_MOST = 1000
SIZES = (25, 50, 100, 250)
RESULTS = ("ok", "failed")
SEARCH_MOST = 200
COLUMNS = ("time", "user", "from", "call", "what", "result")


@dataclass(frozen=True, slots=True)
class View:
    """What of the log is looked at. `number` counts pages from 1."""

    search: str
    result: str
    size: int
    number: int

    def link(self, **changes: str | int) -> str:
        """The parameters of this view with some changed."""
        own = {"search": self.search, "result": self.result, "size": self.size, "page": self.number}
        return "?" + urlencode({**own, **changes})


class AuditLog:
    """Answers under /audit."""

    def answer(self, visit: Visit) -> Answer:
        """The page, or for htmx the table alone; a plain sentence for who may not see it. Raises ControlError."""
        if visit.rest:
            raise not_found(visit.request)
        try:
            found = visit.session.call("audit", lines=LINES_MOST, checked=True)
        except Refused as error:
            sentence = f"{error.message}. The audit log is for admin, resource-admin, user-manager and auditor."
            return page(framed(visit.session, "trouble.html", title="Audit", here=HERE, sentence=sentence), 403)
        view = _view(visit)
        rows = [own for own in reversed(found["lines"]) if _fits(own, view)]
        words = {
            "view": view,
            "rows": rows[(view.number - 1) * view.size : view.number * view.size],
            "total": len(rows),
            "pages": max(1, -(-len(rows) // view.size)),
            "read": len(found["lines"]),
        }
        if visit.is_part:
            return page(render("audit-table.html", **words))
        numbers = [own["number"] for own in found["lines"]]
        text = framed(
            visit.session,
            "audit.html",
            title="Audit",
            here=HERE,
            fault=found["fault"],
            first=numbers[0] if numbers else 0,
            last=numbers[-1] if numbers else 0,
            sizes=SIZES,
            results=RESULTS,
            **words,
        )
        return page(text)


def _view(visit: Visit) -> View:
    size, number, result = visit.asked("size"), visit.asked("page"), visit.asked("result")
    return View(
        search=visit.asked("search").strip()[:SEARCH_MOST],
        result=result if result in RESULTS else "",
        size=int(size) if size in map(str, SIZES) else SIZES[1],
        number=int(number) if number.isascii() and number.isdigit() and int(number[:9]) > 0 else 1,
    )


def _fits(own: Mapping[str, Json], view: View) -> bool:
    went_well = own["result"] == "ok"
    if view.result and went_well is not (view.result == "ok"):
        return False
    return any(view.search.casefold() in str(own[word]).casefold() for word in COLUMNS)

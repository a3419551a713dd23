"""Network > IPsec > Diagnostics: what runs, as the manual's commands show it, with those commands' own text to copy."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from culvert.model.fields import Choice
from culvert.model.net_ipsec import IKE_DAEMON_KIND
from culvert.rest.exchange import Answer, BadRequest, not_found
from culvert.web import associations, printouts, remedies, why
from culvert.web.paging import SIZES, page_of
from culvert.web.rendering import framed, render
from culvert.web.visit import HEADERS, Visit, done, elsewhere, news, page

Json = Any
ADDRESS = "/diagnostics"
TEXT = "text"
DAEMON = "/Common/ikedaemon"
ACTING = frozenset({"admin", "resource-admin", "manager", "operator"})
"""Roles whose pages have buttons that take SAs out; whether it is allowed is culvertd's to say."""


@dataclass(frozen=True, slots=True)
class View:
    """One section. `command`: what tmsh calls it; `records`: what its template gets.

    `renews`: the browser fetches it again by itself, as a part.
    """

    title: str
    command: str
    records: Callable[[Visit], Mapping[str, Json]]
    options: tuple[str, ...] = ()
    renews: bool = False


class Diagnostics:
    """Answers under /diagnostics."""

    def answer(self, visit: Visit) -> Answer:
        """A section, the text that tmsh has for it, or what a button asks for. Raises ControlError, BadRequest."""
        if visit.rest not in ((), (TEXT,)):
            raise not_found(visit.request)
        if visit.posts:
            return _done(visit)
        name = visit.asked("show", "ipsec-sa")
        view = VIEWS.get(name)
        if view is None:
            raise BadRequest(404, f"There is nothing to show under {name[:50]}.")
        if visit.rest:
            return _text(visit, view)
        words = {"name": name, "view": view, "raw": visit.asked("raw") == "1", **view.records(visit)}
        if visit.is_part and view.renews:
            return page(render(f"diagnostics-{name}.html", **words))
        lines = _lines(visit, view)
        asked = {key: value for key, value in visit.request.query.items() if key != "renew"}
        text = framed(
            visit.session,
            "diagnostics.html",
            title="IPsec Diagnostics",
            here=ADDRESS,
            views=VIEWS,
            lines=lines,
            asked=asked,
            **words,
            **news(visit),
        )
        return page(text)


def _lines(visit: Visit, view: View) -> list[str]:
    """The commands of tmsh that print this section."""
    given = associations.filters(visit) if view.command.endswith(associations.WHAT) else {}
    return [printouts.command(view.command, given, *option.split()) for option in ("", *view.options)]


def _text(visit: Visit, view: View) -> Answer:
    """What tmsh prints: a part for the page, or plain text."""
    lines, number = _lines(visit, view), visit.asked("form", "0")
    if number not in map(str, range(len(lines))):
        raise not_found(visit.request)
    if visit.is_part:
        return page(render("printout.html", printout=printouts.printed(visit, lines[int(number)])))
    whole = printouts.printed(visit, lines[int(number)], most=10**9).text
    return Answer(f"{whole}\n".encode(), 200, HEADERS, "text/plain; charset=utf-8")


def _done(visit: Visit) -> Answer:
    if visit.form.one("do") == "log-level":
        operation = {
            "verb": "modify",
            "kind": IKE_DAEMON_KIND.word,
            "names": [DAEMON],
            "properties": {"log-level": visit.form.one("log-level")},
        }
        warnings = visit.session.call("transaction", operations=[operation])["warnings"]
        return elsewhere(ADDRESS, {"show": "ike-daemon", **done(visit, "updated", DAEMON, warnings)})
    if visit.form.one("do") != "delete" and not visit.form.one("sa"):
        raise BadRequest(400, "This page has no such button.")
    count = associations.delete(visit)
    return elsewhere(
        ADDRESS, {"show": "ipsec-sa", **associations.filters(visit), **done(visit, "reinstalled", str(count))}
    )


def _sas(visit: Visit) -> dict[str, Json]:
    held = visit.session.call("access")["roles"].values()
    found, trouble = associations.shown(visit)
    return {
        "page": found,
        "trouble": trouble,
        "filters": associations.filters(visit),
        "typed": {word: visit.asked(word) for word in associations.FILTERS},
        "sizes": SIZES,
        "acts": bool(ACTING & set(held)),
    }


def _stats(visit: Visit) -> dict[str, Json]:
    return {"rows": visit.session.call("show", what="net ipsec-stat")}


def _ike_sas(visit: Visit) -> dict[str, Json]:
    return {"rows": visit.session.call("show", what="net ipsec ike-sa")}


def _drops(visit: Visit) -> dict[str, Json]:
    rows = [
        own
        | {
            "when": associations.moment(own["when"]),
            "why": why.from_drop(own["last"]),
            "links": remedies.of(own["hint"]),
        }
        for own in visit.session.call("show", what="net ipsec drops")
    ]
    return {"rows": sorted(rows, key=lambda own: -own["packets"])}


def _selectors(visit: Visit) -> dict[str, Json]:
    found = page_of(visit, visit.session.call("show", what="net ipsec traffic-selector"), {"show": "traffic-selector"})
    rows = [
        own
        | {
            "used": associations.moment(own["last_use"]),
            "link": remedies.to_object("net ipsec traffic-selector", own["name"]),
            "policy": remedies.to_object("net ipsec ipsec-policy", own["ipsec_policy"]),
        }
        for own in found.rows
    ]
    return {"page": found, "rows": rows, "sizes": SIZES}


def _tmm(visit: Visit) -> dict[str, Json]:
    rows = visit.session.call("show", what="sys tmm-info")
    events = [own | {"when": associations.moment(own["when"])} for own in (rows[0]["events"] if rows else [])]
    journal = rows[0]["journal"] if rows else None
    if journal:
        journal = journal | {"written": associations.moment(journal["written"])}
    version = visit.session.call("show", what="sys version")[0]
    return {"rows": rows, "events": events, "journal": journal, "version": version}


def _daemon(visit: Visit) -> dict[str, Json]:
    own = visit.session.call("list", kind=IKE_DAEMON_KIND.word, folder="/", recursive=True)[0]
    level = IKE_DAEMON_KIND.field("log-level")
    assert level is not None and isinstance(level.type, Choice)
    return {
        "daemon": own["properties"],
        "levels": level.type.words,
        "publisher": remedies.to_object("sys log-config publisher", str(own["properties"]["log-publisher"])),
    }


VIEWS: Mapping[str, View] = {
    "ipsec-sa": View("IPsec SAs", "show net ipsec ipsec-sa", _sas, ("all-properties",)),
    "ipsec-stat": View("IPsec Stats", "show net ipsec-stat", _stats, ("raw",), renews=True),
    "ike-sa": View("IKE SAs", "show net ipsec ike-sa", _ike_sas, ("all-properties",)),
    "drops": View("Drops", "show net ipsec drops", _drops),
    "traffic-selector": View("Traffic Selectors", "show net ipsec traffic-selector", _selectors),
    "tmm-info": View("TMM", "show sys tmm-info", _tmm),
    "ike-daemon": View("IKE Daemon", "list net ipsec ike-daemon", _daemon),
}

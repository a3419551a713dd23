"""Live traffic: rates, drops and workers now and in the last minutes, and one SA with its replay window.

Rates are made from what culvertd shows to the very user who looks, and are kept for that login alone; nothing is asked
while nobody looks.
"""

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from culvert.model import net_ipsec
from culvert.rest.exchange import Answer, BadRequest, not_found
from culvert.web import chart
from culvert.web.chart import Side
from culvert.web.moments import ago
from culvert.web.network import SHARE
from culvert.web.remembered import Remembered
from culvert.web.rendering import framed, render
from culvert.web.replay_window import ReplayWindow, came_late, newest, replay_window
from culvert.web.session import Session
from culvert.web.throughput import Rate, Watch
from culvert.web.visit import Visit, elsewhere, page

Record = Mapping[str, Any]
HERE = "/live"
RENEW_SECONDS = 2
TOP, FOUND_MOST = 10, 30
SESSIONS_MOST, SESSION_SECONDS = 32, 600.0
SEARCH_MOST = 255
ACTS = frozenset({"admin", "resource-admin", "manager", "operator"})
"""Roles that set counters to zero, held in all partitions: they are of the whole system."""
IN = "in"
SAS = "net ipsec ipsec-sa"
WORDS = ["name", "source", "destination", "spi", "direction", "packets", "bytes", "drops"]
"""What is asked about every SA; about the chosen one everything is."""


@dataclass(frozen=True, slots=True)
class View:
    """What is looked at. `chosen`: the name of an SA; `still`: the page doesn't renew itself."""

    search: str
    chosen: str
    still: bool

    def link(self, **changes: str | int) -> str:
        """The address of this view with something changed."""
        own = {"search": self.search, "sa": self.chosen, "still": int(self.still), **changes}
        kept = {word: value for word, value in own.items() if value not in ("", 0)}
        return f"{HERE}?{urlencode(kept)}" if kept else HERE


@dataclass(frozen=True, slots=True)
class Line:
    """An SA of the table."""

    own: Record
    rate: Rate
    trend: Side

    @property
    def drops(self) -> int:
        return sum(self.own["drops"].values())


@dataclass(frozen=True, slots=True)
class Loss:
    """Packets that died for one reason."""

    own: Record
    rate: float


class Live:
    """Answers under /live. Times of charts are `clock`'s, which never jumps; those of records are `now`'s."""

    def __init__(self, clock: Callable[[], float] = time.monotonic, now: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._now = now
        self._watches: Remembered[Watch] = Remembered(Watch, clock, SESSIONS_MOST, SESSION_SECONDS)

    def answer(self, visit: Visit) -> Answer:
        """The page, or for htmx what of it is renewed; or the counters go to zero. Raises ControlError."""
        if visit.rest:
            raise not_found(visit.request)
        if visit.posts:
            return self._reset(visit)
        started = time.monotonic()
        words = self._words(visit)
        words["every"] = max(RENEW_SECONDS, math.ceil(SHARE * (time.monotonic() - started)))
        if visit.is_part:
            return page(render("live-part.html", **words))
        may_reset = visit.session.call("access")["roles"].get("all-partitions") in ACTS
        said = "The counters began at zero." if visit.asked("said") == "reset" else ""
        title = "Live Traffic"
        return page(framed(visit.session, "live.html", title=title, here=HERE, may_reset=may_reset, said=said, **words))

    def _reset(self, visit: Visit) -> Answer:
        if visit.form.one("do") != "reset":
            raise BadRequest(400, "There is nothing to do in this form.")
        visit.session.call("reset-stats")
        return elsewhere(HERE, {"said": "reset"})

    def _words(self, visit: Visit) -> dict[str, Any]:
        session, at = visit.session, self._clock()
        watch, associations = self._watches.of(session), _show(session, SAS, select=WORDS)
        drops, stats = _show(session, "net ipsec drops"), _show(session, "net ipsec-stat")
        watch.note(at, associations, _others(drops, stats))
        view, by_name = _view(visit), {own["name"]: own for own in associations}
        shown = _shown(view, associations, watch)
        chosen = _whole(session, by_name[view.chosen]) if view.chosen in by_name else None
        watch.follow([*(own["name"] for own in shown), *([view.chosen] if view.chosen in by_name else [])])
        points = watch.all()
        span = chart.span(points, at)
        return {
            "view": view,
            "total": len(associations),
            "lines": [
                Line(own, watch.rate(own["name"]), chart.small(watch.of(own["name"]), at, span)) for own in shown
            ],
            "packets": chart.chart(points, at, span, lambda own: own.packets),
            "bits": chart.chart(points, at, span, lambda own: own.bits),
            "losses": [Loss(own, watch.rate(("drop", own["reason"])).packets) for own in drops],
            "workers": _workers(stats, watch),
            "processes": _show(session, "sys tmm-info"),
            "chosen": self._chosen(chosen, watch, at, span) if chosen else None,
            "reasons": {own["reason"]: own for own in drops},
            "now": self._now(),
            "clock": time.strftime("%H:%M:%S UTC", time.gmtime(self._now())),
            "kind": net_ipsec.MANUAL_SA_KIND,
            "ago": ago,
        }

    def _chosen(self, own: Record, watch: Watch, at: float, span: float) -> dict[str, Any]:
        """One SA in full."""
        points = watch.of(own["name"])
        return {
            "own": own,
            "rate": watch.rate(own["name"]),
            "packets": chart.chart(points, at, span, lambda own: own.packets),
            "bits": chart.chart(points, at, span, lambda own: own.bits),
            "window": _window(own, watch) if own["direction"] == IN else None,
            "is_short": len(points) < 2,
        }


def _window(own: Record, watch: Watch) -> ReplayWindow:
    name, now = own["name"], (own["sequence"], newest(own))
    edge, bits, late = watch.windows.get(name, (*now, frozenset[int]()))
    late |= came_late((edge, bits), now)
    kept = frozenset(number for number in late if number > now[0] - own["replay_window"])
    watch.windows = {name: (*now, kept)}
    return replay_window(own, kept)


def _others(drops: Sequence[Record], stats: Sequence[Record]) -> dict[Any, tuple[int, ...]]:
    """What else is counted, for its rates."""
    found: dict[Any, tuple[int, ...]] = {("drop", own["reason"]): (own["packets"], 0) for own in drops}
    for own in stats:
        for way in ("in", "out"):
            found[_row(own), way] = (own[f"packets_{way}"], own[f"bytes_{way}"])
    return found


def _row(own: Record) -> tuple[int, str, str]:
    return own["worker"], own["mode"], own["protocol"]


def _workers(stats: Sequence[Record], watch: Watch) -> list[tuple[Record, Rate, Rate]]:
    """The rows of the workers that had a packet, each with its rates in and out."""
    used = [own for own in stats if own["packets_in"] or own["packets_out"]]
    return [(own, watch.rate((_row(own), "in")), watch.rate((_row(own), "out"))) for own in used]


def _shown(view: View, associations: Sequence[Record], watch: Watch) -> list[Record]:
    """The busiest SAs, or those that fit a search."""
    most = TOP
    if view.search:
        text, most = view.search.casefold(), FOUND_MOST
        associations = [own for own in associations if any(text in word for word in _words_of(own))]

    def busy(own: Record) -> tuple[float, int, str]:
        return -watch.rate(own["name"]).bits, -own["packets"], own["name"]

    return sorted(associations, key=busy)[:most]


def _words_of(own: Record) -> tuple[str, ...]:
    return own["name"].casefold(), str(own["spi"]), hex(own["spi"]), own["source"], own["destination"]


def _view(visit: Visit) -> View:
    return View(
        search=visit.asked("search").strip()[:SEARCH_MOST],
        chosen=visit.asked("sa")[:SEARCH_MOST],
        still=visit.asked("still") == "1",
    )


def _show(session: Session, what: str, filters: Mapping[str, str] | None = None, **args: Any) -> list[Record]:
    found: list[Record] = session.call("show", what=what, filters=filters or {}, **args)
    return found


def _whole(session: Session, own: Record) -> Record | None:
    """All that is told of an SA; None if it was taken away just now."""
    found = _show(session, SAS, {"spi": str(own["spi"])})
    return next((each for each in found if each["name"] == own["name"]), None)

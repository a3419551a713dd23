"""The table of security associations: filters, pages, every property, and the button that takes one out."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from culvert.control.errors import NotFound, SyntaxProblem
from culvert.rest.exchange import BadRequest
from culvert.web import remedies
from culvert.web.paging import Page, page_of
from culvert.web.remedies import Link
from culvert.web.visit import Visit

Json = Any
WHAT = "net ipsec ipsec-sa"
FILTERS = ("traffic-selector", "spi", "src-addr", "dst-addr")
STATES = {"mature": "ok", "dying": "warn", "dead": "fail"}


@dataclass(frozen=True, slots=True)
class Association:
    """One line. `key` is what its button sends; `properties` are those that only a click shows."""

    own: Mapping[str, Json]
    link: Link | None
    verdict: str
    key: str
    properties: tuple[tuple[str, str], ...]


def filters(visit: Visit) -> dict[str, str]:
    """Those that the address or a form gives."""
    given = visit.form.one if visit.posts else visit.asked
    return {word: text for word in FILTERS if (text := given(word).strip()[:300])}


def shown(visit: Visit) -> tuple[Page[Association], str]:
    """A page of those that the filters leave, and what is wrong with the filters. Raises ControlError."""
    given, trouble = filters(visit), ""
    try:
        found = visit.session.call("show", what=WHAT, filters=given)
    except (NotFound, SyntaxProblem) as error:
        found, trouble = [], error.message
    page = page_of(visit, found, {"show": "ipsec-sa", **given})
    rows = [_association(own) for own in page.rows]
    return Page(rows, page.total, page.number, page.size, page.parameters), trouble


def delete(visit: Visit) -> int:
    """Take out the one whose button was pressed, or all that the filters leave. Returns how many were put back."""
    chosen = filters(visit)
    if key := visit.form.one("sa"):
        words = key.split(" ")
        if len(words) != 3:
            raise BadRequest(400, "This is no security association.")
        chosen = dict(zip(("spi", "src-addr", "dst-addr"), words, strict=True))
    return int(visit.session.call("delete-sas", filters=chosen)["reinstalled"])


def moment(seconds: float) -> str:
    """A time, in UTC; `never` for none."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%S UTC") if seconds else "never"


def _association(own: Mapping[str, Json]) -> Association:
    return Association(
        own=own,
        link=remedies.to_object("net ipsec manual-security-association", own["name"]),
        verdict=STATES.get(own["state"], "aside"),
        key=f"{own['spi']} {own['source']} {own['destination']}",
        properties=tuple(_properties(own).items()),
    )


def _properties(own: Mapping[str, Json]) -> dict[str, str]:
    found = {
        "Name": own["name"],
        "SPI": f"{own['spi']} (0x{own['spi']:x})",
        "ReqID": f"{own['reqid']} (0x{own['reqid']:x})",
        "Mode": own["mode"],
        **_algorithms(own),
        "Current usage": f"{own['bytes']} bytes, {own['packets']} packets",
        "Sequence": f"{own['sequence']}" + (", extended numbers" if own["esn"] else ""),
        "Hard lifetime": _left(own["hard_lifetime"]),
        "Soft lifetime": _left(own["soft_lifetime"]),
        "Replay window size": str(own["replay_window"]),
        "Created": moment(own["created"]),
        "Last use": moment(own["last_use"]),
        "Path MTU": str(own["path_mtu"] or "unknown"),
    }
    if own["direction"] == "in":
        found["Lost"] = f"{own['lost']} numbers that the window left behind unseen"
    if own["encapsulation"]:
        found["UDP encapsulation"] = "{} to {}".format(*own["encapsulation"])
    if own["compression"]:
        found["Compression"] = own["compression"]
    found["Drops"] = ", ".join(f"{word} {count}" for word, count in own["drops"].items()) or "none"
    return found


def _algorithms(own: Mapping[str, Json]) -> dict[str, str]:
    if own["combined"]:
        return {"Authenticated encryption": own["encryption"]}
    encryption = {} if own["protocol"] == "ah" else {"Encryption": own["encryption"]}
    return {**encryption, "Authentication": own["authentication"]}


def _left(limits: Mapping[str, int | None]) -> str:
    """What is left of a lifetime, in words."""
    given = [f"{left} {unit}" for unit, left in limits.items() if left is not None]
    return ", ".join(given) if given else "unlimited"

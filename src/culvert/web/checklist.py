"""The manual's verification as a list that runs: what is in order, what isn't, and what to do about it.

Two runs are compared by what the address says of the first: nobody has to remember anything between them.
"""

import contextlib
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import ip_network
from typing import Any

from culvert.rest.exchange import Answer, BadRequest, not_found
from culvert.web import remedies, why
from culvert.web.remedies import Link
from culvert.web.rendering import framed
from culvert.web.visit import Visit, elsewhere, page

Json = Any
ADDRESS = "/checklist"
DAEMON_KIND, DAEMON = "net ipsec ike-daemon", "/Common/ikedaemon"
LEVELS = ("info", "debug", "debug2")
TOLD_MOST = 20
"""Of one check's findings; at ten thousand tunnels a missing route is found ten thousand times."""
SELECTORS_SHOWN = 5
LOG_LINES, LOG_SHOWN = 500, 8
ORDER = ("ok", "warn", "fail")
ABOUT = {
    "VLANs and links": ("Each VLAN has an interface, and its link is up.", Link("VLANs", "/objects/net/vlan")),
    "self IPs": ("The end of each tunnel here is a self IP of this system.", Link("Self IPs", "/objects/net/self")),
    "routes to the peers": ("The other end of each tunnel can be reached.", Link("Routes", "/objects/net/route")),
    "virtual servers": (
        "Forwarding virtual servers accept what the traffic selectors speak of, in both directions.",
        Link("Virtual Servers", "/objects/ltm/virtual"),
    ),
    "IPsec policies": (
        "For each policy there is one of the other direction, with its addresses turned round.",
        Link("IPsec Policies", "/objects/net/ipsec/ipsec-policy"),
    ),
    "traffic selectors": (
        "Each has security associations to use, and one for the way back.",
        Link("Traffic Selectors", "/objects/net/ipsec/traffic-selector"),
    ),
    "security associations": (
        "They are alive, come in pairs, and traffic selectors lead to them.",
        Link("IPsec SAs", "/diagnostics?show=ipsec-sa"),
    ),
    "MTU": ("Packets of 1280 octets, which every IPv6 host may send, fit through.", Link("VLANs", "/objects/net/vlan")),
    "traffic": ("Packets went out, and others came back.", Link("IPsec stats", "/diagnostics?show=ipsec-stat")),
    "drops": ("Packets that died, by reason.", Link("Drops", "/diagnostics?show=drops")),
    "log": ("Events of IPsec go to a destination.", Link("Log Publishers", "/objects/sys/log-config/publisher")),
}


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that isn't in order."""

    verdict: str
    sentence: str
    repair: str
    links: tuple[Link, ...]


@dataclass(frozen=True, slots=True)
class Check:
    """A line of the list. `more`: how many findings are left out."""

    title: str
    about: str
    verdict: str
    findings: tuple[Finding, ...]
    more: int
    link: Link | None


@dataclass(frozen=True, slots=True)
class Counted:
    """Packets through the tunnels, at a time in seconds since the epoch."""

    packets_in: int
    packets_out: int
    at: int


class Checklist:
    """Answers under /checklist. `now` in seconds since the epoch."""

    def __init__(self, now: Callable[[], float] = time.time) -> None:
        self._now = now

    def answer(self, visit: Visit) -> Answer:
        """The list, freshly run; or what one of its buttons does. Raises ControlError, BadRequest."""
        if visit.rest:
            raise not_found(visit.request)
        if visit.posts:
            return _done(visit)
        checks = _checks(visit.session.call("verify"))
        words = {own: sum(check.verdict == own for check in checks) for own in ORDER}
        text = framed(
            visit.session,
            "checklist.html",
            title="Verification",
            here=ADDRESS,
            checks=checks,
            counts=words,
            said=visit.asked("said"),
            said_of=visit.asked("name"),
            **self._steps(visit),
        )
        return page(text)

    def _steps(self, visit: Visit) -> dict[str, Json]:
        """Present values of the manual's steps to see whether traffic passes."""
        show = visit.session.call
        counted = self._counted(show("show", what="net ipsec-stat"))
        before = _before(visit)
        daemon = show("list", kind=DAEMON_KIND, folder="/", recursive=True)
        sas = show("show", what="net ipsec ipsec-sa", select=["direction", "state"])
        log = show("show", what="sys log ipsec", filters={"lines": LOG_LINES})
        words = ["name", "direction", "source", "destination"]
        selectors = show("show", what="net ipsec traffic-selector", select=words)
        selectors = [own for own in selectors if own["direction"] == "out"]
        return {
            "level": daemon[0]["properties"]["log-level"] if daemon else "",
            "levels": LEVELS,
            "selectors": [_probe(own) for own in selectors[:SELECTORS_SHOWN]],
            "selectors_more": max(0, len(selectors) - SELECTORS_SHOWN),
            "sas": {way: _states(own for own in sas if own["direction"] == way) for way in ("out", "in")},
            "counted": counted,
            "before": before,
            "grown": _grown(before, counted),
            "log": [own["line"] for own in log if "IPsec-SA" in own["line"]][-LOG_SHOWN:],
        }

    def _counted(self, rows: Sequence[Mapping[str, Json]]) -> Counted:
        packets_in, packets_out = (sum(own[word] for own in rows) for word in ("packets_in", "packets_out"))
        return Counted(packets_in, packets_out, int(self._now()))


def _checks(found: Sequence[Mapping[str, str]]) -> list[Check]:
    """The findings by check, in the gateway's order."""
    grouped: dict[str, list[Finding]] = {}
    for own in found:
        group = grouped.setdefault(own["check"], [])
        if own["verdict"] != "pass":
            group.append(Finding(own["verdict"], own["sentence"], own["repair"], remedies.of(own["repair"])))
    return [_check(title, findings) for title, findings in grouped.items()]


def _check(title: str, findings: Sequence[Finding]) -> Check:
    about, link = ABOUT.get(title, ("", None))
    worst = max((own.verdict for own in findings), key=ORDER.index, default="ok")
    told = sorted(findings, key=lambda own: -ORDER.index(own.verdict))[:TOLD_MOST]
    return Check(title, about, worst, tuple(told), len(findings) - len(told), link)


def _before(visit: Visit) -> Counted | None:
    given = [visit.asked(word) for word in ("in", "out", "at")]
    if not all(own.isascii() and own.isdigit() and len(own) < 19 for own in given):
        return None
    return Counted(*map(int, given))


def _grown(before: Counted | None, now: Counted) -> dict[str, int] | None:
    if before is None or now.packets_in < before.packets_in or now.packets_out < before.packets_out:
        return None  # Somebody reset the counters meanwhile, or this is the first run.
    return {
        "in": now.packets_in - before.packets_in,
        "out": now.packets_out - before.packets_out,
        "seconds": max(0, now.at - before.at),
    }


def _states(sas: Any) -> dict[str, int]:
    """How many SAs there are in each state."""
    found: dict[str, int] = {}
    for own in sas:
        found[own["state"]] = found.get(own["state"], 0) + 1
    return found


def _probe(selector: Mapping[str, Json]) -> dict[str, Json]:
    """The networks that a selector protects traffic between."""
    link = remedies.to_object("net ipsec traffic-selector", selector["name"])
    source, destination = _host(selector["source"]), _host(selector["destination"])
    ping = why.link({"from": source, "to": destination, "protocol": "icmp"}) if source and destination else ""
    return {"source": selector["source"], "destination": selector["destination"], "link": link, "ping": ping}


def _host(network: str) -> str:
    """A host of a network; "" where that would be any host at all."""
    with contextlib.suppress(ValueError):
        parsed = ip_network(network)
        return str(parsed[min(1, parsed.num_addresses - 1)]) if parsed.prefixlen else ""
    return ""


def _done(visit: Visit) -> Answer:
    """What a button asks for. Raises ControlError."""
    action = visit.form.one("do")
    if action == "log-level" and visit.form.one("level") in LEVELS:
        level = visit.form.one("level")
        operation = {"verb": "modify", "kind": DAEMON_KIND, "names": [DAEMON], "properties": {"log-level": level}}
        visit.session.call("transaction", operations=[operation])
        return elsewhere(ADDRESS, {"said": "level", "name": level})
    if action == "reinstall":
        made = visit.session.call("delete-sas", filters={})
        return elsewhere(ADDRESS, {"said": "reinstalled", "name": str(made["reinstalled"])})
    raise BadRequest(400, "This page has no such button.")

"""The network map: this gateway, its networks, its peers and the tunnels between, as they are now. The start page."""

import math
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from culvert.model import ltm, net, net_ipsec
from culvert.model.kind import Kind
from culvert.rest.exchange import Answer, not_allowed, not_found
from culvert.web.condition import MEANINGS, STATES, SeenTunnel
from culvert.web.drawing import drawn
from culvert.web.moments import ago
from culvert.web.network import SHARE, Configured, Network, eyes
from culvert.web.rendering import framed, render
from culvert.web.session import who
from culvert.web.visit import Visit, page, place

HERE = "/map"
TUNNELS_EACH = 10
RENEW_SECONDS = 3
SEARCH_MOST = 200


@dataclass(frozen=True, slots=True)
class View:
    """What of the map is looked at. `number` counts pages from 1; `still`: it doesn't renew itself."""

    search: str
    state: str
    number: int
    still: bool

    def link(self, **changes: str | int) -> str:
        """The address of this view with something changed."""
        own = {"search": self.search, "state": self.state, "page": self.number, "still": int(self.still), **changes}
        kept = {word: value for word, value in own.items() if value not in ("", 0) and (word, value) != ("page", 1)}
        return f"{HERE}?{urlencode(kept)}" if kept else HERE


@dataclass(frozen=True, slots=True)
class Step:
    """One of the things to do on an empty gateway. `there`: how many are made already; `wanted`: how many it takes."""

    title: str
    words: str
    address: str
    button: str
    there: int
    wanted: int

    @property
    def done(self) -> bool:
        return self.there >= self.wanted


class NetworkMap:
    """Answers under /map."""

    def __init__(self, now: Callable[[], float] = time.time) -> None:
        self._now = now
        self._eyes = eyes()

    def answer(self, visit: Visit) -> Answer:
        """The page, or for htmx what of it is renewed. Raises ControlError."""
        if visit.rest:
            raise not_found(visit.request)
        if visit.posts:
            raise not_allowed(visit.request, "GET", "HEAD")
        started = time.monotonic()
        # The page comes at once; what verify has to say comes with its first renewal.
        hurry = not visit.is_part and visit.asked("still") != "1"
        network = self._eyes.of(visit.session).look(visit.session, hurry)
        words = self._words(visit, network)
        taken = math.ceil(SHARE * (time.monotonic() - started))
        words["every"] = max(RENEW_SECONDS, taken) if network.verified else 1
        if visit.is_part:
            return page(render("map-part.html", **words))
        return page(framed(visit.session, "map.html", title="Network Map", here=HERE, **words))

    def _words(self, visit: Visit, network: Network) -> dict[str, Any]:
        view, own, now = _view(visit), who(visit.session), self._now()
        fitting = [each for each in network.seen if _fits(each, view)]
        ordered = _worst_first(fitting)
        pages = max(1, -(-len(ordered) // TUNNELS_EACH))
        view = View(view.search, view.state, min(view.number, pages), view.still)
        shown = ordered[(view.number - 1) * TUNNELS_EACH : view.number * TUNNELS_EACH]
        return {
            "view": view,
            "pages": pages,
            "total": len(network.seen),
            "fitting": len(fitting),
            "peers": len({each.tunnel.far for each in network.seen}),
            "first": (view.number - 1) * TUNNELS_EACH + 1,
            "shown": shown,
            "drawing": drawn(network, shown, own.hostname, now),
            "counts": [(state, sum(each.state is state for each in network.seen)) for state in STATES],
            "meanings": MEANINGS,
            "others": network.findings.others,
            "verified": network.verified,
            "steps": steps(network.configured),
            "may_change": own.may_change,
            "now": now,
            "clock": time.strftime("%H:%M:%S UTC", time.gmtime(now)),
            "kinds": _KINDS,
            "ago": ago,
        }


_KINDS = {
    "policy": net_ipsec.IPSEC_POLICY_KIND,
    "selector": net_ipsec.TRAFFIC_SELECTOR_KIND,
    "association": net_ipsec.MANUAL_SA_KIND,
}


def steps(configured: Configured) -> list[Step]:
    """What there has to be before a tunnel works, in the order of the vendor's procedure."""
    return [
        _step(
            configured,
            net.SELF_KIND,
            "Addresses",
            "A VLAN on an interface for each side, and a self IP on it. The outer one is this end of the tunnel.",
            "New Self IP",
            1,
        ),
        _step(
            configured,
            ltm.VIRTUAL_KIND,
            "Forwarding virtual server",
            "It takes the traffic of the networks here and sends it over the tunnel. Type: Forwarding (IP).",
            "New Virtual Server",
            1,
        ),
        _step(
            configured,
            net_ipsec.IPSEC_POLICY_KIND,
            "IPsec policies",
            "Two, of mode Tunnel: one for outbound traffic, one for inbound with the two addresses turned round.",
            "New Policy",
            2,
        ),
        _step(
            configured,
            net_ipsec.MANUAL_SA_KIND,
            "Manual security associations",
            "Two: SPI, addresses and keys of each direction, the same on both systems.",
            "New Security Association",
            2,
        ),
        _step(
            configured,
            net_ipsec.TRAFFIC_SELECTOR_KIND,
            "Traffic selectors",
            "Two: which networks' traffic goes out through the tunnel, and which has to come in through it.",
            "New Traffic Selector",
            2,
        ),
    ]


def _step(configured: Configured, kind: Kind, title: str, words: str, button: str, wanted: int) -> Step:
    return Step(title, words, f"{place(kind)}/new", button, configured.counts.get(kind.word, 0), wanted)


def _view(visit: Visit) -> View:
    number, state = visit.asked("page"), visit.asked("state")
    return View(
        search=visit.asked("search").strip()[:SEARCH_MOST],
        state=state if state in {own.word for own in STATES} else "",
        number=int(number) if number.isascii() and number.isdigit() and 0 < int(number[:9]) == int(number) else 1,
        still=visit.asked("still") == "1",
    )


def _fits(own: SeenTunnel, view: View) -> bool:
    if view.state and own.state.word != view.state:
        return False
    return not view.search or own.tunnel.speaks_of(view.search.casefold())


def _worst_first(found: Iterable[SeenTunnel]) -> list[SeenTunnel]:
    """By peer: the peers, and the tunnels of each, with what is worst in front."""
    by_peer: dict[str, list[SeenTunnel]] = {}
    for own in found:
        by_peer.setdefault(own.tunnel.far, []).append(own)
    for held in by_peer.values():
        held.sort(key=lambda own: own.state.rank)
    peers = sorted(by_peer.values(), key=lambda held: held[0].state.rank)
    return [own for held in peers for own in held]

"""The map as geometry: where this gateway, its networks, the peers and the lines between them stand.

    networks here --- this gateway ==== outbound ===> peer, networks behind it
                                   <=== inbound  ====

Coordinates are those of the SVG, whose width is fixed; it is as high as it has to be.
"""

import textwrap
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from culvert.model import net, net_ipsec
from culvert.model.kind import Kind
from culvert.web.condition import SeenTunnel, SeenWay, State
from culvert.web.findings import Finding
from culvert.web.network import Network
from culvert.web.tunnels import OUT, Selector
from culvert.web.visit import place

WIDTH = 1200
TOP, HEIGHT_LEAST = 24, 170
NEAR_X, NEAR_WIDTH = 8, 176
GATE_X, GATE_WIDTH = 244, 206
GATE_RIGHT = GATE_X + GATE_WIDTH
LANE_X, LANE_RIGHT = 540, 858
PEER_X, PEER_WIDTH = 872, 320
ROW, GAP = 30, 10
LANE, WAY = 104, 50
PEER_HEAD, PEER_ROW = 66, 20
FAULT_ROW, FAULT_CHARACTERS = 19, 100
FAULTS_MOST, NETWORKS_MOST, SELVES_MOST, NEAR_MOST = 3, 4, 8, 14
CENTRE_MOST = 330
"""The gateway stands no lower, so that it is seen before anybody scrolls."""


@dataclass(frozen=True, slots=True)
class Text:
    """A line of words; a link where `address` is given, and then `ident` is its name in the page."""

    words: str
    y: float
    address: str = ""
    style: str = ""
    ident: str = ""


@dataclass(frozen=True, slots=True)
class Box:
    """A rectangle with lines in it."""

    x: float
    y: float
    width: float
    height: float
    lines: tuple[Text, ...]

    @property
    def middle(self) -> float:
        return self.y + self.height / 2


@dataclass(frozen=True, slots=True)
class Arrow:
    """One direction of a tunnel."""

    seen: SeenWay
    path: str
    y: float
    address: str
    what: str
    flows: bool


@dataclass(frozen=True, slots=True)
class Lane:
    """A tunnel: its arrows, and the lines that say what is wrong with it."""

    seen: SeenTunnel
    y: float
    arrows: tuple[Arrow, ...]
    faults: tuple[tuple[str, Text], ...]


@dataclass(frozen=True, slots=True)
class Peer:
    """The far end of one or more tunnels."""

    name: str
    state: State
    box: Box
    lanes: tuple[Lane, ...]


@dataclass(frozen=True, slots=True)
class Drawing:
    """All of it. `threads`: from the networks here to the gateway."""

    height: float
    gateway: Box
    near: tuple[Box, ...]
    threads: tuple[str, ...]
    peers: tuple[Peer, ...]


def drawn(network: Network, chosen: Sequence[SeenTunnel], hostname: str, now: float) -> Drawing:
    """The tunnels `chosen`, those to one peer one behind the other."""
    gateway_lines = tuple(_gateway_lines(network, hostname))
    gateway_height = gateway_lines[-1].y + 18
    networks = _named(chosen, lambda own: own.near)
    near_height = (ROW + GAP) * min(len(networks), NEAR_MOST + 1) - GAP
    heights = [_peer_height(each) for each in _by_peer(chosen)]
    lanes_height = sum(heights) + GAP * 2 * max(0, len(heights) - 1)
    height = max(gateway_height, near_height, lanes_height, HEIGHT_LEAST) + 2 * TOP
    centre = min(height / 2, max(CENTRE_MOST, TOP + gateway_height / 2, TOP + near_height / 2))
    gateway = Box(GATE_X, centre - gateway_height / 2, GATE_WIDTH, gateway_height, gateway_lines)
    near = tuple(_near(networks, centre - near_height / 2))
    peers, y = [], (height - lanes_height) / 2
    for each, own_height in zip(_by_peer(chosen), heights, strict=True):
        peers.append(_peer(each, y, own_height, centre, now))
        y += own_height + 2 * GAP
    threads = tuple(_curve(NEAR_X + NEAR_WIDTH, own.middle, GATE_X, centre) for own in near)
    return Drawing(height, gateway, near, threads, tuple(peers))


def link_to(kind: Kind, name: str) -> str:
    """The address of an object's Properties."""
    return place(kind, name)


def cut(words: str, most: int) -> str:
    """A text that has to fit."""
    return words if len(words) <= most else f"{words[: most - 1]}\N{HORIZONTAL ELLIPSIS}"


def _by_peer(chosen: Iterable[SeenTunnel]) -> list[list[SeenTunnel]]:
    found: dict[str, list[SeenTunnel]] = {}
    for own in chosen:
        found.setdefault(own.tunnel.far, []).append(own)
    return list(found.values())


def _gateway_lines(network: Network, hostname: str) -> Iterable[Text]:
    yield Text("This gateway", 24, style="soft")
    yield Text(cut(hostname, 24), 46, style="strong")
    y, shown = 72, 0
    for vlan, selves in network.configured.selves.items():
        if shown >= SELVES_MOST:
            break
        state = network.links.get(vlan, "missing")
        words = cut(vlan.removeprefix("/Common/"), 20) + ("" if state == "up" else f" ({state})")
        yield _link(words, y, link_to(net.VLAN_KIND, vlan), "soft" if state == "up" else "bad")
        for own in selves[: SELVES_MOST - shown]:
            y += 19
            shown += 1
            yield _link(cut(str(own["address"]), 25), y, link_to(net.SELF_KIND, str(own["name"])))
        y += 24
    more = sum(map(len, network.configured.selves.values())) - shown
    if more > 0:
        yield _link(f"and {more} more self IPs", y, place(net.SELF_KIND), "soft")
    elif not shown:
        yield _link("no self IP", y, place(net.SELF_KIND), "bad")


def _link(words: str, y: float, address: str, style: str = "", ident: str = "") -> Text:
    """A link of the drawing. It keeps the focus when the drawing is renewed, by its name."""
    return Text(words, y, address, style, f"d{ident}-{address}")


def _selector_link(words: str, y: float, name: str, ident: str) -> Text:
    """A network: what knows of it is a traffic selector."""
    return _link(words, y, link_to(net_ipsec.TRAFFIC_SELECTOR_KIND, name), ident=ident)


def _near(networks: Mapping[str, str], y: float) -> Iterable[Box]:
    lines = [_selector_link(cut(each, 22), 20, name, "n") for each, name in list(networks.items())[:NEAR_MOST]]
    if len(networks) > NEAR_MOST:
        lines.append(Text(f"and {len(networks) - NEAR_MOST} more", 20))
    for line in lines:
        yield Box(NEAR_X, y, NEAR_WIDTH, ROW, (line,))
        y += ROW + GAP


def _faults_height(own: SeenTunnel) -> float:
    return FAULT_ROW * len(_fault_lines(own, 0)) + (8 if own.faults else 0)


def _peer_height(tunnels: Sequence[SeenTunnel]) -> float:
    networks = _networks(tunnels)
    rows = min(len(networks), NETWORKS_MOST + 1)
    return max(PEER_HEAD + PEER_ROW * rows, LANE * len(tunnels)) + sum(map(_faults_height, tunnels))


def _networks(tunnels: Sequence[SeenTunnel]) -> dict[str, str]:
    return _named(tunnels, lambda own: own.far)


def _named(tunnels: Sequence[SeenTunnel], network: Callable[[Selector], str]) -> dict[str, str]:
    """Networks of some tunnels, each with the name of the first selector that speaks of it."""
    found: dict[str, str] = {}
    for own in (own for each in tunnels for way in each.tunnel.ways for own in way.selectors):
        found.setdefault(network(own), own.name)
    return found


def _peer(tunnels: Sequence[SeenTunnel], y: float, height: float, centre: float, now: float) -> Peer:
    room, far = height - sum(map(_faults_height, tunnels)), tunnels[0].tunnel.far
    state = min((own.state for own in tunnels), key=lambda own: own.rank)
    if len(tunnels) == 1:
        lane = _lane(tunnels[0], y + max(0.0, room - LANE) / 2, y + max(room, LANE), centre, now)
        return Peer(far, state, _peer_box(tunnels, y, room), (lane,))
    lanes, top = [], y
    for own in tunnels:
        lanes.append(_lane(own, top, top + LANE, centre, now))
        top += LANE + _faults_height(own)
    return Peer(far, state, _peer_box(tunnels, y, height, whole=True), tuple(lanes))


def _peer_box(tunnels: Sequence[SeenTunnel], y: float, room: float, *, whole: bool = False) -> Box:
    """In the middle of the room that there is, or as high as that."""
    networks, far = _networks(tunnels), tunnels[0].tunnel.far
    policy = next(name for way in tunnels[0].tunnel.ways for name in way.policies)
    to_policy = link_to(net_ipsec.IPSEC_POLICY_KIND, policy)
    lines = [Text("Peer", 22, style="soft"), _link(cut(far, 30), 43, to_policy, "strong", f"p-{far}")]
    for at, (each, name) in enumerate(list(networks.items())[:NETWORKS_MOST]):
        lines.append(_selector_link(cut(each, 34), PEER_HEAD + PEER_ROW * at, name, f"f-{far}"))
    if len(networks) > NETWORKS_MOST:
        more = f"and {len(networks) - NETWORKS_MOST} more networks"
        lines.append(Text(more, PEER_HEAD + PEER_ROW * NETWORKS_MOST, style="soft"))
    height = PEER_HEAD - 4 + PEER_ROW * min(len(networks), NETWORKS_MOST + 1)
    top = y if whole else y + max(0.0, room - height) / 2
    return Box(PEER_X, top, PEER_WIDTH, max(height, room) if whole else height, tuple(lines))


def _lane(own: SeenTunnel, y: float, faults_y: float, centre: float, now: float) -> Lane:
    arrows = tuple(_arrow(way, y + 30 + WAY * at, centre - 7 + 14 * at, now) for at, way in enumerate(own.ways))
    return Lane(own, y, arrows, _fault_lines(own, faults_y + 14))


def _arrow(way: SeenWay, y: float, gate_y: float, now: float) -> Arrow:
    end = LANE_RIGHT if way.way.direction == OUT else PEER_X
    path = f"{_curve(GATE_RIGHT, gate_y, LANE_X, y)} L {end} {y:g}"
    worst = way.associations[0] if way.associations else None
    what = "no SA" if worst is None else f"SPI {worst.spi}"
    if len(way.associations) > 1:
        what += f" and {len(way.associations) - 1} more"
    address = _way_address(way)
    return Arrow(way, path, y, address, what, bool(way.last_use) and now - way.last_use < 10)


def _way_address(way: SeenWay) -> str:
    """What a line leads to: its worst SA, or else what names it."""
    if way.associations:
        return link_to(net_ipsec.MANUAL_SA_KIND, way.associations[0].name)
    if way.way.selectors:
        return link_to(net_ipsec.TRAFFIC_SELECTOR_KIND, way.way.selectors[0].name)
    if way.way.policies:
        return link_to(net_ipsec.IPSEC_POLICY_KIND, way.way.policies[0])
    return place(net_ipsec.IPSEC_POLICY_KIND)


def _fault_lines(own: SeenTunnel, y: float) -> tuple[tuple[str, Text], ...]:
    """What is wrong, in lines; the first of a sentence with its verdict in front."""
    found: list[tuple[str, Text]] = []
    for fault in own.faults[:FAULTS_MOST]:
        for at, words in enumerate(_wrapped(fault)):
            found.append((fault.verdict if at == 0 else "", Text(words, y + FAULT_ROW * len(found))))
    if len(own.faults) > FAULTS_MOST:
        more = f"and {len(own.faults) - FAULTS_MOST} more, in the table below"
        found.append(("", Text(more, y + FAULT_ROW * len(found))))
    return tuple(found)


def _wrapped(fault: Finding) -> list[str]:
    return textwrap.wrap(fault.sentence, FAULT_CHARACTERS) or [""]


def _curve(x: float, y: float, to_x: float, to_y: float) -> str:
    half = (x + to_x) / 2
    return f"M {x:g} {y:g} C {half:g} {y:g} {half:g} {to_y:g} {to_x:g} {to_y:g}"

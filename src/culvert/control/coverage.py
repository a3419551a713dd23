"""Which part of a selector's traffic the virtual servers accept: boxes of addresses, protocols and ports, cut away."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from culvert.change import Forwarder
from culvert.ipsec.sa import Direction
from culvert.ipsec.selector import ICMP_BASE, IPNetwork, PortRange, Selector
from culvert.ipsec.spd import Policy
from culvert.model.services import PROTOCOLS
from culvert.plan.intent import Intent

Range = tuple[int, int]
Box = tuple[Range, ...]
"""Ranges of source, destination, protocol and destination port; both ends included."""

NO_PORT = -1
ANY_PORT = (NO_PORT, ICMP_BASE + 255)
PIECES_MAX = 2000
"""Pieces behind which a rest is taken for one: nobody names so many ports and networks that add up to a whole."""


@dataclass(frozen=True, slots=True)
class Coverage:
    """What the virtual servers do about one selector. `whole`: they accept all of it, from wherever it comes.

    `partial`: those that accept some of it. `unheard`: links that it comes from, and that none of those listens on.
    """

    whole: bool
    partial: tuple[Forwarder, ...] = ()
    unheard: tuple[str, ...] = ()


def coverage(policy: Policy, intent: Intent) -> Coverage:
    """How much of what the policy's selector speaks of is forwarded, from every link where it may come from."""
    box = _box(policy.selector)
    everywhere = (own for own in intent.forwarders if own.links is None and not own.excluded_links)
    if enough := next((own for own in everywhere if _holds(_box_of(own), box)), None):
        return Coverage(True, (enough,))
    near = [own for own in intent.forwarders if own.links != () and _cut(box, _box_of(own))]
    arrivals: Sequence[str | None] = [None] if policy.direction is Direction.IN else _arrivals(policy, intent)
    heard = {link: [own for own in near if _listens(own, link)] for link in arrivals}
    unheard = tuple(link for link, accepting in heard.items() if link is not None and not accepting)
    whole = all(_is_whole(box, accepting) for accepting in heard.values())
    partial = {own.label: own for accepting in heard.values() for own in accepting}
    return Coverage(whole, tuple(partial.values()), unheard if partial else ())


def words(forwarder: Forwarder) -> str:
    """What it accepts: `10.1.0.9/32 to 10.2.0.5/32, tcp, port 80`."""
    found = [f"{forwarder.source} to {forwarder.destination}"]
    if forwarder.protocol is not None:
        found.append(next((word for word, own in PROTOCOLS.items() if own == forwarder.protocol), "another protocol"))
    if forwarder.ports is not None:
        found.append(f"port {forwarder.ports.first}")
    return ", ".join(found)


def _listens(forwarder: Forwarder, link: str | None) -> bool:
    """Whether it takes packets from a link; None stands for the tunnels."""
    if link is None:
        return forwarder.links is None
    return link not in forwarder.excluded_links and (forwarder.links is None or link in forwarder.links)


def _arrivals(policy: Policy, intent: Intent) -> list[str | None]:
    """The links behind which the selector's sources are; where nothing says which, all of them.

    The link towards the peer counts only if it is the only one: a selector of all sources doesn't mean that side.
    """
    source = policy.selector.source
    networks = {own.interface.network: own.link for own in intent.addresses}
    behind = [link for network, link in networks.items() if _overlap(network, source)]
    for route in intent.routes:
        link = route.link or next((networks[own] for own in networks if route.gateway and route.gateway in own), None)
        behind += [link] if link and _overlap(route.destination, source) else []
    peer = policy.tunnel_destination
    outer = {link for network, link in networks.items() if peer and peer in network}
    outer |= {
        link
        for route in intent.routes
        if peer and peer in route.destination
        for network, link in networks.items()
        if route.gateway in network
    }
    found = list(dict.fromkeys(behind)) or [own.name for own in intent.links]
    return [link for link in found if link not in outer] or [*found]


def _overlap(one: IPNetwork, other: IPNetwork) -> bool:
    return one.version == other.version and one.overlaps(other)


def _is_whole(box: Box, accepting: Iterable[Forwarder]) -> bool:
    left = [box]
    for own in accepting:
        left = [piece for each in left for piece in _rest(each, _box_of(own))]
        if len(left) > PIECES_MAX:
            return False
    return not left


def _box(selector: Selector) -> Box:
    protocol = (0, 255) if selector.protocol is None else (selector.protocol, selector.protocol)
    return _span(selector.source), _span(selector.destination), protocol, _ports(selector.destination_ports)


def _box_of(forwarder: Forwarder) -> Box:
    protocol = (0, 255) if forwarder.protocol is None else (forwarder.protocol, forwarder.protocol)
    return _span(forwarder.source), _span(forwarder.destination), protocol, _ports(forwarder.ports)


def _span(network: IPNetwork) -> Range:
    # IPv6 lies above every IPv4 address, so that the families never meet.
    base = 2**32 if network.version == 6 else 0
    return base + int(network.network_address), base + int(network.broadcast_address)


def _ports(ports: PortRange | None) -> Range:
    return (ports.first, ports.last) if ports else ANY_PORT


def _holds(outer: Box, inner: Box) -> bool:
    return all(one[0] <= two[0] and two[1] <= one[1] for one, two in zip(outer, inner, strict=True))


def _cut(box: Box, other: Box) -> list[Range]:
    """What two boxes have in common; empty when they are apart."""
    common = [(max(one[0], two[0]), min(one[1], two[1])) for one, two in zip(box, other, strict=True)]
    return common if all(first <= last for first, last in common) else []


def _rest(box: Box, other: Box) -> Iterator[Box]:
    """`box` without `other`, in boxes that don't overlap."""
    common = _cut(box, other)
    if not common:
        yield box
        return
    for at, (first, last) in enumerate(common):
        head, tail = tuple(common[:at]), box[at + 1 :]
        if box[at][0] < first:
            yield (*head, (box[at][0], first - 1), *tail)
        if last < box[at][1]:
            yield (*head, (last + 1, box[at][1]), *tail)

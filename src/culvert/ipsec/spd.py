"""The security policy database: ordered, directional entries, first match wins (RFC 4301 section 4.4.1).

Theory of operation of the lookup. A linear scan is right but slow, so entries are grouped by *shape*: the
lengths of both prefixes, and which of protocol and single ports they name. Within a shape, all that an
entry wants of a packet is one tuple, so one dictionary access finds the few entries that may fit (they
differ in port ranges only). A lookup asks every shape, in the order of the shapes' best entries, and stops
as soon as no shape left can hold a better one. Real configurations have few shapes however many entries.

In front of it stands a cache from flow to result. It is emptied by every change of the entries, and when
it is full.
"""

from bisect import insort
from dataclasses import dataclass, field
from enum import Enum
from ipaddress import ip_address
from typing import NamedTuple

from culvert.ipsec.sa import Direction, IPAddress, Mode, Protocol
from culvert.ipsec.selector import Flow, FlowKey, PortRange, Selector


class Action(Enum):
    """What happens to a packet that an entry matches."""

    PROTECT = "protect"
    DISCARD = "discard"


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """One SPD entry. `order` is tried from low to high, then `label`. `reqid` names the SAs that serve it.

    `bundle_ah`: what its ESP SA made is signed by an AH SA of the same reqid, in transport mode (RFC 4301 section 5).
    """

    direction: Direction
    selector: Selector
    order: int
    label: str
    reqid: int
    action: Action = Action.PROTECT
    protocol: Protocol = Protocol.ESP
    mode: Mode = Mode.TUNNEL
    bundle_ah: bool = False
    tunnel_source: IPAddress | None = None
    tunnel_destination: IPAddress | None = None


class DuplicatePolicy(ValueError):
    """The very same entry is there already."""


class UnknownPolicy(ValueError):
    """There is no such entry."""


class BadPolicy(ValueError):
    """An entry that no packet could ever match."""


FLOW_CACHE_MAX = 16384

Rank = tuple[int, str, int]
"""Order, label, and a serial number so that equals stay in the order they came in."""
_Entry = tuple[Rank, Policy]
_Want = tuple[int, int, int | None, int | None, int | None]


class _Shape(NamedTuple):
    """Which bits of a flow the entries of one group look at."""

    octets: int
    source_shift: int
    destination_shift: int
    protocol: bool
    source_port: bool
    destination_port: bool


@dataclass(slots=True)
class _Group:
    """The entries of one shape. `best` may be lower than the best rank left: it isn't raised by removals."""

    shape: _Shape
    best: Rank
    entries: dict[_Want, list[_Entry]] = field(default_factory=dict)


def _is_single(ports: PortRange | None) -> bool:
    return ports is not None and ports.first == ports.last


def _shape(selector: Selector) -> _Shape:
    bits = selector.source.max_prefixlen
    return _Shape(
        bits // 8,
        bits - selector.source.prefixlen,
        bits - selector.destination.prefixlen,
        selector.protocol is not None,
        _is_single(selector.source_ports),
        _is_single(selector.destination_ports),
    )


def _want(shape: _Shape, key: FlowKey) -> _Want:
    source, destination, protocol, source_port, destination_port = key
    return (
        int.from_bytes(source) >> shape.source_shift,
        int.from_bytes(destination) >> shape.destination_shift,
        protocol if shape.protocol else None,
        source_port if shape.source_port else None,
        destination_port if shape.destination_port else None,
    )


def _sample(selector: Selector) -> FlowKey:
    """A flow that the selector matches."""
    return (
        selector.source.network_address.packed,
        selector.destination.network_address.packed,
        selector.protocol or 0,
        selector.source_ports.first if selector.source_ports else None,
        selector.destination_ports.first if selector.destination_ports else None,
    )


def _ports_fit(selector: Selector, key: FlowKey) -> bool:
    return (selector.source_ports is None or key[3] in selector.source_ports) and (
        selector.destination_ports is None or key[4] in selector.destination_ports
    )


class _Table:
    """The entries of one direction."""

    def __init__(self) -> None:
        self._ranks: dict[Policy, Rank] = {}
        self._groups: dict[_Shape, _Group] = {}
        self._in_order: list[_Group] | None = None
        self._cache: dict[FlowKey, Policy | None] = {}
        self._asking: dict[Policy, None] = {}
        self._asked: dict[tuple[bytes, bytes, int], bool] = {}
        self._serial = 0

    def add(self, policy: Policy) -> None:
        if policy in self._ranks:
            raise DuplicatePolicy(f"{policy.label} is there already")
        if policy.selector.source.version != policy.selector.destination.version:
            raise BadPolicy(f"{policy.label}: source and destination are of different families")
        self._serial += 1
        rank = self._ranks[policy] = (policy.order, policy.label, self._serial)
        shape = _shape(policy.selector)
        group = self._groups.setdefault(shape, _Group(shape, rank))
        group.best = min(group.best, rank)
        want = _want(shape, _sample(policy.selector))
        insort(group.entries.setdefault(want, []), (rank, policy), key=_rank)
        if policy.selector.source_ports or policy.selector.destination_ports:
            self._asking[policy] = None
        self._changed()

    def remove(self, policy: Policy) -> None:
        rank = self._ranks.pop(policy, None)
        if rank is None:
            raise UnknownPolicy(f"{policy.label} is not there")
        shape = _shape(policy.selector)
        group = self._groups[shape]
        want = _want(shape, _sample(policy.selector))
        self._asking.pop(policy, None)
        left = [entry for entry in group.entries.pop(want) if entry[0] != rank]
        if left:
            group.entries[want] = left
        elif not group.entries:
            del self._groups[shape]
        self._changed()

    def _changed(self) -> None:
        self._in_order = None
        self._cache.clear()
        self._asked.clear()

    def find(self, key: FlowKey) -> Policy | None:
        try:
            return self._cache[key]
        except KeyError:
            pass
        if len(self._cache) >= FLOW_CACHE_MAX:
            self._cache.clear()
        policy = self._cache[key] = self._search(key)
        return policy

    def _search(self, key: FlowKey) -> Policy | None:
        if self._in_order is None:
            self._in_order = sorted(self._groups.values(), key=_best)
        octets = len(key[0])
        found: _Entry | None = None
        for group in self._in_order:
            if found is not None and found[0] < group.best:
                break
            if group.shape.octets != octets:
                continue
            for entry in group.entries.get(_want(group.shape, key), ()):
                if _ports_fit(entry[1].selector, key):
                    found = entry if found is None or entry[0] < found[0] else found
                    break
        return found[1] if found else None

    def needs_ports(self, key: FlowKey) -> bool:
        """Whether the first entry that may fit a packet without ports would ask for them."""
        flow = key[:3]
        if flow not in self._asked:
            if len(self._asked) >= FLOW_CACHE_MAX:
                self._asked.clear()
            ends = ip_address(key[0]), ip_address(key[1])
            plain = self.find((*flow, None, None))
            self._asked[flow] = any(
                (plain is None or self._ranks[policy] < self._ranks[plain])
                and _fits_but_for_ports(policy.selector, *ends, key[2])
                for policy in self._asking
            )
        return self._asked[flow]

    def policies(self) -> list[Policy]:
        return sorted(self._ranks, key=self._ranks.__getitem__)


def _fits_but_for_ports(selector: Selector, source: IPAddress, destination: IPAddress, protocol: int) -> bool:
    return (
        selector.protocol in (None, protocol)
        and source.version == selector.source.version
        and source in selector.source
        and destination in selector.destination
    )


def _rank(entry: _Entry) -> Rank:
    return entry[0]


def _best(group: _Group) -> Rank:
    return group.best


class Spd:
    """All entries of both directions."""

    def __init__(self) -> None:
        self._tables = {direction: _Table() for direction in Direction}
        self.find_out = self._tables[Direction.OUT].find
        self.find_in = self._tables[Direction.IN].find

    def needs_ports(self, direction: Direction, key: FlowKey) -> bool:
        """Whether an entry may speak of a packet that shows no ports, and asks for ports (RFC 4301 section 7)."""
        return self._tables[direction].needs_ports(key)

    def add(self, policy: Policy) -> None:
        self._tables[policy.direction].add(policy)

    def remove(self, policy: Policy) -> None:
        self._tables[policy.direction].remove(policy)

    def lookup(self, direction: Direction, flow: Flow) -> Policy | None:
        """The first entry, by order, that matches."""
        return self._tables[direction].find(flow.key)

    def policies(self, direction: Direction) -> list[Policy]:
        """The entries of one direction, in the order in which they are tried."""
        return self._tables[direction].policies()

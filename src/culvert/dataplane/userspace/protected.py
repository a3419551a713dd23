"""Traffic selectors as nftables sets: which packets need protection.

Selectors are grouped by *shape* (prefix lengths, and which of protocol and ports are given): within one shape two
address prefixes are equal or disjoint. One shape is one set and one rule. Without ports the rule masks the packet's
addresses and asks a hash table, so a hundred thousand selectors of the usual few shapes cost what ten do. Ports are
ranges, which only a set of intervals holds: a packet looks at a bit of each of its elements, and it refuses
elements that overlap partly. So ports of selectors that are equal in everything else are cut at each other's edges:
these too are equal or disjoint. Type and code of ICMP stand where a source port does, so they are looked up as one:
type times 256 plus code.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from functools import lru_cache
from ipaddress import IPv4Network, IPv6Network
from itertools import pairwise

from culvert.ipsec.selector import ICMP_BASE, IPNetwork, PortRange, Selector

PORT_MAX = 65535
EVERY_PORT = PortRange(0, PORT_MAX)
EVERY_TYPE = PortRange(ICMP_BASE, ICMP_BASE + 255)
ICMP_PROTOCOLS = (1, 58)
ELEMENTS_PER_LINE = 64
NETWORKS_KEPT = 65536
"""Networks that are not written again: each stands in three sets, and in every later state of them."""

Span = tuple[int, int]


@dataclass(frozen=True, slots=True, order=True)
class Shape:
    """What the selectors of one set have in common."""

    version: int
    source_bits: int
    destination_bits: int
    protocol: bool
    source_ports: bool
    destination_ports: bool

    @property
    def has_ranges(self) -> bool:
        """Whether its elements are intervals."""
        return self.source_ports or self.destination_ports

    @property
    def fields(self) -> list[str]:
        """The nftables expressions that the elements spell out; a field that is any is left out."""
        return self._expressions(masked=False)

    @property
    def keys(self) -> list[str]:
        """What of a packet is looked up among them."""
        return self._expressions(masked=not self.has_ranges)

    def _expressions(self, *, masked: bool) -> list[str]:
        family = "ip" if self.version == 4 else "ip6"
        source, destination = (
            _mask(self.version, bits) if masked else "" for bits in (self.source_bits, self.destination_bits)
        )
        candidates = [
            (self.source_bits > 0, f"{family} saddr{source}"),
            (self.destination_bits > 0, f"{family} daddr{destination}"),
            (self.protocol, "meta l4proto"),
            (self.source_ports, "th sport"),
            (self.destination_ports, "th dport"),
        ]
        return [expression for given, expression in candidates if given]


def _mask(version: int, bits: int) -> str:
    """Behind an address; nothing where all of it counts."""
    if bits == (32 if version == 4 else 128):
        return ""
    network = IPv4Network((0, bits)) if version == 4 else IPv6Network((0, bits))
    return f" & {network.netmask}"


@dataclass(frozen=True, slots=True)
class ProtectedSet:
    """One set of one shape. No elements: the shape has no field and matches the whole address family."""

    name: str
    shape: Shape
    elements: tuple[str, ...]

    @property
    def match(self) -> str:
        """The condition of a rule that looks a packet up."""
        family = "ipv4" if self.shape.version == 4 else "ipv6"
        condition = f"meta nfproto {family}"
        if self._ports_without_protocol:
            condition += " meta l4proto { 6, 17, 33, 132, 136 }"
        if not self.shape.fields:
            return condition
        return f"{condition} {' . '.join(self.shape.keys)} @{self.name}"

    @property
    def _ports_without_protocol(self) -> bool:
        """`th dport` reads any four octets behind the IP header, so only protocols with ports may get there."""
        return not self.shape.protocol and self.shape.has_ranges

    def declaration(self) -> list[str]:
        """The lines within `set name { ... }`; none where there is no element."""
        if not self.elements:
            return []
        starts = range(0, len(self.elements), ELEMENTS_PER_LINE)
        lines = [", ".join(self.elements[start : start + ELEMENTS_PER_LINE]) + "," for start in starts]
        flags = ["flags interval"] if self.shape.has_ranges else []
        return [f"typeof {' . '.join(self.shape.fields)}", *flags, "elements = {", *lines, "}"]


def protected_sets(prefix: str, selectors: Iterable[Selector]) -> list[ProtectedSet]:
    """The sets, named `prefix`0.., that together match exactly the packets which some selector matches."""
    shapes: dict[tuple[int, int, int, bool, bool, bool], list[Selector]] = defaultdict(list)
    for selector in selectors:
        for each in _in_ports(selector):
            shapes[_shape(each)].append(each)
    return [
        ProtectedSet(f"{prefix}{number}", shape := Shape(*key), tuple(sorted(set(_elements(shape, shapes[key])))))
        for number, key in enumerate(sorted(shapes))
    ]


def _in_ports(selector: Selector) -> Iterator[Selector]:
    """The same with what the kernel reads for ports; none for what no packet can fit."""
    if selector.source_ports is None and selector.destination_ports is None:
        yield selector
        return
    if selector.protocol not in ICMP_PROTOCOLS:
        source, destination = (
            _common(each, EVERY_PORT) for each in (selector.source_ports, selector.destination_ports)
        )
        if (source or not selector.source_ports) and (destination or not selector.destination_ports):
            yield replace(selector, source_ports=source, destination_ports=destination)
    types = _common(selector.source_ports or EVERY_TYPE, EVERY_TYPE)
    codes = _common(selector.destination_ports or EVERY_TYPE, EVERY_TYPE)
    if types and codes and selector.protocol in (None, *ICMP_PROTOCOLS):
        for protocol in ICMP_PROTOCOLS if selector.protocol is None else (selector.protocol,):
            for span in _types_and_codes(types, codes):
                yield replace(selector, protocol=protocol, source_ports=span, destination_ports=None)


def _types_and_codes(types: PortRange, codes: PortRange) -> Iterator[PortRange]:
    first, last = types.first - ICMP_BASE << 8, types.last - ICMP_BASE << 8
    if codes == EVERY_TYPE:
        yield PortRange(first, last | 0xFF)
        return
    for kind in range(first, last + 1, 256):
        yield PortRange(kind | codes.first - ICMP_BASE, kind | codes.last - ICMP_BASE)


def _common(ports: PortRange | None, limits: PortRange) -> PortRange | None:
    if ports is None:
        return None
    first, last = max(ports.first, limits.first), min(ports.last, limits.last)
    return PortRange(first, last) if first <= last else None


def _shape(selector: Selector) -> tuple[int, int, int, bool, bool, bool]:
    """The fields of its Shape, as what is quickly looked up."""
    return (
        selector.source.version,
        selector.source.prefixlen,
        selector.destination.prefixlen,
        selector.protocol is not None,
        selector.source_ports is not None,
        selector.destination_ports is not None,
    )


def _span(ports: PortRange | None) -> Span:
    return (0, PORT_MAX) if ports is None else (ports.first, ports.last)


def _elements(shape: Shape, selectors: Iterable[Selector]) -> Iterator[str]:
    rivals: dict[tuple[IPNetwork, IPNetwork, int | None], set[tuple[Span, Span]]] = defaultdict(set)
    for selector in selectors:
        spans = _span(selector.source_ports), _span(selector.destination_ports)
        rivals[selector.source, selector.destination, selector.protocol].add(spans)
    for (source, destination, protocol), rectangles in rivals.items():
        for sport, dport in _disjoint(rectangles):
            if element := _element(shape, source, destination, protocol, sport, dport):
                yield element


def _element(
    shape: Shape, source: IPNetwork, destination: IPNetwork, protocol: int | None, sport: Span, dport: Span
) -> str:
    parts = []
    if shape.source_bits:
        parts.append(_network(source, as_range=shape.has_ranges))
    if shape.destination_bits:
        parts.append(_network(destination, as_range=shape.has_ranges))
    if shape.protocol:
        parts.append(str(protocol))
    if shape.source_ports:
        parts.append(_ports(sport))
    if shape.destination_ports:
        parts.append(_ports(dport))
    return " . ".join(parts)


@lru_cache(NETWORKS_KEPT)
def _network(network: IPNetwork, *, as_range: bool) -> str:
    is_range = as_range and network.prefixlen < network.max_prefixlen
    return str(network) if is_range else str(network.network_address)


def _ports(span: Span) -> str:
    return str(span[0]) if span[0] == span[1] else f"{span[0]}-{span[1]}"


def _disjoint(rectangles: set[tuple[Span, Span]]) -> set[tuple[Span, Span]]:
    """The same port pairs as rectangles that are equal or disjoint."""
    if len(rectangles) == 1:
        return rectangles
    columns = [sport for sport, _ in rectangles]
    rows = [dport for _, dport in rectangles]
    return {
        (sport, dport)
        for whole_sport, whole_dport in rectangles
        for sport in _cut(whole_sport, columns)
        for dport in _cut(whole_dport, rows)
    }


def _cut(whole: Span, others: Iterable[Span]) -> list[Span]:
    """`whole` in pieces, cut wherever one of `others` begins or ends inside it."""
    starts = {whole[0]}
    for first, last in others:
        starts.update(edge for edge in (first, last + 1) if whole[0] < edge <= whole[1])
    ordered = [*sorted(starts), whole[1] + 1]
    return [(first, following - 1) for first, following in pairwise(ordered)]

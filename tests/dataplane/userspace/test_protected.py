"""Selectors as sets: exactly the packets that a selector matches, and no two elements that overlap partly."""

import itertools
from collections.abc import Sequence
from ipaddress import ip_address, ip_network

from hypothesis import given
from hypothesis import strategies as st

from culvert.dataplane.userspace.protected import ProtectedSet, protected_sets
from culvert.ipsec.selector import ICMP_BASE, Flow, PortRange, Selector

ADDRESSES = [f"10.{a}.0.{b}" for a in range(2) for b in range(4)]
NETWORKS = ["0.0.0.0/0", "10.0.0.0/8", "10.0.0.0/16", "10.1.0.0/16", "10.0.0.0/30", "10.0.0.2/31", "10.1.0.3/32"]
PORTS = range(1, 9)
TYPES = [ICMP_BASE + number for number in (0, 1, 3, 4, 8)]

networks = st.sampled_from(NETWORKS).map(ip_network)


def ranges(ends: Sequence[int]) -> st.SearchStrategy[PortRange]:
    return st.tuples(st.sampled_from(ends), st.sampled_from(ends)).map(lambda pair: PortRange(*sorted(pair)))


port_ranges = st.none() | ranges(PORTS) | ranges(TYPES)
every_code = st.just(PortRange(ICMP_BASE, ICMP_BASE + 255))
selectors = st.builds(
    Selector,
    source=networks,
    destination=networks,
    protocol=st.sampled_from([None, 6, 17, 1, 58]),
    source_ports=port_ranges,
    destination_ports=port_ranges | every_code,
    # A code of every type is 256 elements, too many for comparing all with all.
).filter(lambda selector: not (selector.is_icmp and selector.source_ports is None))
flows = st.builds(
    Flow,
    source=st.sampled_from(ADDRESSES).map(ip_address),
    destination=st.sampled_from(ADDRESSES).map(ip_address),
    protocol=st.sampled_from([6, 17]),
    source_port=st.sampled_from(PORTS),
    destination_port=st.sampled_from(PORTS),
) | st.builds(
    Flow,
    source=st.sampled_from(ADDRESSES).map(ip_address),
    destination=st.sampled_from(ADDRESSES).map(ip_address),
    protocol=st.sampled_from([1, 58]),
    source_port=st.sampled_from(TYPES),
    destination_port=st.sampled_from(TYPES),
)

PORTS_ONLY = "meta l4proto { 6, 17, 33, 132, 136 }"
Interval = tuple[int, int]


def intervals(element: str) -> list[Interval]:
    """Each field of an element as first and last value."""
    found = []
    for part in element.split(" . "):
        if "." in part:
            network = ip_network(part)
            found.append((int(network[0]), int(network[-1])))
        else:
            first, _, last = part.partition("-")
            found.append((int(first), int(last or first)))
    return found


def masked(expression: str, values: dict[str, int]) -> int:
    """What the kernel makes of a packet before it looks it up."""
    field, _, mask = expression.partition(" & ")
    return values[field] & int(ip_address(mask)) if mask else values[field]


def matches(protected: ProtectedSet, flow: Flow) -> bool:
    """What the kernel does with a set."""
    first_octets = flow.source_port or 0, flow.destination_port or 0
    if flow.protocol in (1, 58):
        first_octets = (first_octets[0] - ICMP_BASE) * 256 + first_octets[1] - ICMP_BASE, 0
    if PORTS_ONLY in protected.match and flow.protocol in (1, 58):
        return False
    values = {
        "ip saddr": int(flow.source),
        "ip daddr": int(flow.destination),
        "meta l4proto": flow.protocol,
        "th sport": first_octets[0],
        "th dport": first_octets[1],
    }
    packet = [masked(each, values) for each in protected.shape.keys]
    if not packet:
        return True
    return any(
        all(first <= value <= last for value, (first, last) in zip(packet, intervals(element), strict=True))
        for element in protected.elements
    )


@given(st.lists(selectors, max_size=6), st.lists(flows, min_size=1, max_size=20))
def test_sets_match_what_selectors_match(wanted: list[Selector], packets: list[Flow]) -> None:
    sets = protected_sets("out", wanted)
    for flow in packets:
        assert any(each.matches(flow) for each in wanted) == any(matches(each, flow) for each in sets)


@given(st.lists(selectors, max_size=8))
def test_elements_of_a_set_are_disjoint(wanted: list[Selector]) -> None:
    for protected in protected_sets("out", wanted):
        boxes = [intervals(element) for element in protected.elements]
        for one, other in itertools.combinations(boxes, 2):
            assert any(a[1] < b[0] or b[1] < a[0] for a, b in zip(one, other, strict=True)), (one, other)


def test_without_ports_a_set_is_a_hash_table() -> None:
    """The kernel walks through all of a set of intervals for each packet."""
    networks = [(ip_network(f"10.0.{number}.0/24"), ip_network(f"fd00:{number}::/32")) for number in range(3)]
    four = [Selector(source=ip_network("10.9.0.1/32"), destination=each, protocol=6) for each, _ in networks]
    six = [Selector(source=ip_network("::/0"), destination=each) for _, each in networks]
    ports = [Selector(source=four[0].source, destination=each, source_ports=PortRange(1, 9)) for each, _ in networks]
    ranged, plain, wide = protected_sets("out", [*four, *six, *ports])
    assert plain.match == "meta nfproto ipv4 ip saddr . ip daddr & 255.255.255.0 . meta l4proto @out1"
    assert plain.elements == tuple(f"10.9.0.1 . 10.0.{number}.0 . 6" for number in range(3))
    assert wide.match == "meta nfproto ipv6 ip6 daddr & ffff:ffff:: @out2"
    assert wide.elements == ("fd00:1::", "fd00:2::", "fd00::")
    assert "flags interval" not in plain.declaration() + wide.declaration()
    assert "flags interval" in ranged.declaration()
    assert " & " not in ranged.match


def test_families_are_kept_apart() -> None:
    anything = Selector(source=ip_network("0.0.0.0/0"), destination=ip_network("0.0.0.0/0"))
    anything6 = Selector(source=ip_network("::/0"), destination=ip_network("::/0"))
    four, six = protected_sets("out", [anything6, anything])
    assert four.match == "meta nfproto ipv4"
    assert six.match == "meta nfproto ipv6"
    assert six.declaration() == []


def test_ports_of_any_protocol_are_looked_up_only_where_there_are_ports() -> None:
    selector = Selector(
        source=ip_network("0.0.0.0/0"), destination=ip_network("10.0.0.0/8"), destination_ports=PortRange(53, 53)
    )
    (only,) = protected_sets("out", [selector])
    assert only.match == "meta nfproto ipv4 meta l4proto { 6, 17, 33, 132, 136 } ip daddr . th dport @out0"


def test_all_ports_still_ask_for_a_port() -> None:
    """As Selector.matches does: a range, even the whole one, fits no packet that shows no port."""
    ends = {"source": ip_network("10.0.0.0/8"), "destination": ip_network("10.0.0.0/8")}
    without, whole = protected_sets("out", [Selector(**ends), Selector(**ends, source_ports=PortRange(0, 65535))])
    assert "th sport" not in without.match
    assert whole.elements == ("10.0.0.0/8 . 10.0.0.0/8 . 0-65535",)


def test_types_and_codes_of_icmp_stand_where_a_source_port_does() -> None:
    ends = {"source": ip_network("10.0.0.0/8"), "destination": ip_network("10.0.0.0/8")}
    echo = PortRange(ICMP_BASE + 8, ICMP_BASE + 8)
    needed = {
        "source_ports": PortRange(ICMP_BASE + 3, ICMP_BASE + 4),
        "destination_ports": PortRange(*[ICMP_BASE + 4] * 2),
    }
    (only,) = protected_sets(
        "out", [Selector(**ends, protocol=1, source_ports=echo), Selector(**ends, protocol=1, **needed)]
    )
    assert only.match == "meta nfproto ipv4 ip saddr . ip daddr . meta l4proto . th sport @out0"
    assert only.elements == (
        "10.0.0.0/8 . 10.0.0.0/8 . 1 . 1028",
        "10.0.0.0/8 . 10.0.0.0/8 . 1 . 2048-2303",
        "10.0.0.0/8 . 10.0.0.0/8 . 1 . 772",
    )


def test_types_for_another_protocol_fit_nothing() -> None:
    ends = {"source": ip_network("10.0.0.0/8"), "destination": ip_network("10.0.0.0/8")}
    types, ports = PortRange(ICMP_BASE, ICMP_BASE + 8), PortRange(1, 2)
    assert protected_sets("out", [Selector(**ends, protocol=6, source_ports=types)]) == []
    assert protected_sets("out", [Selector(**ends, protocol=1, source_ports=ports)]) == []

"""The SPD: first match by order, and the index equal to a linear scan."""

import time
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from culvert.ipsec import spd as spd_module
from culvert.ipsec.sa import Direction, IPAddress
from culvert.ipsec.selector import ICMP_BASE, Flow, IPNetwork, PortRange, Selector
from culvert.ipsec.spd import BadPolicy, DuplicatePolicy, Policy, Spd, UnknownPolicy
from tests.ipsec.building import make_policy, make_selector

OUT, IN = Direction.OUT, Direction.IN
FLOW = Flow(ip_address("10.1.2.3"), ip_address("10.9.9.9"), 6, 1000, 443)

# Few values, so that selectors overlap and flows hit.
ADDRESSES: dict[int, list[IPAddress]] = {
    4: [IPv4Address(0x0A000000 + low) for low in (0, 1, 2, 128, 255, 256)],
    6: [IPv6Address((0xFD << 120) + low) for low in (0, 1, 2, 1 << 63, 1 << 64)],
}
LENGTHS = {4: (0, 8, 24, 25, 31, 32), 6: (0, 8, 64, 127, 128)}
PORTS = (0, 1, 22, 53, 65535)


def networks(version: int) -> st.SearchStrategy[IPNetwork]:
    return st.builds(
        lambda address, length: (
            ip_network((int(address), length), strict=False)
            if version == 4
            else ip_network(f"{address}/{length}", strict=False)
        ),
        st.sampled_from(ADDRESSES[version]),
        st.sampled_from(LENGTHS[version]),
    )


ranges = st.none() | st.tuples(st.sampled_from(PORTS), st.sampled_from(PORTS)).map(
    lambda ends: PortRange(min(ends), max(ends))
)


@st.composite
def policies(draw: st.DrawFn) -> Policy:
    version = draw(st.sampled_from((4, 6)))
    selector = Selector(
        source=draw(networks(version)),
        destination=draw(networks(version)),
        protocol=draw(st.sampled_from((None, 0, 6, 17))),
        source_ports=draw(ranges),
        destination_ports=draw(ranges),
    )
    order, label = draw(st.integers(0, 3)), draw(st.sampled_from("abc"))
    return make_policy(
        draw(st.sampled_from(Direction)), selector, order=order, label=label, reqid=draw(st.integers(1, 3))
    )


@st.composite
def flows(draw: st.DrawFn) -> Flow:
    version = draw(st.sampled_from((4, 6)))
    source, destination = (draw(st.sampled_from(ADDRESSES[version])) for _ in range(2))
    ports = draw(st.none() | st.tuples(st.sampled_from(PORTS), st.sampled_from(PORTS))) or (None, None)
    return Flow(source, destination, draw(st.sampled_from((0, 1, 6, 17))), *ports)


def scan(entries: list[Policy], direction: Direction, flow: Flow) -> Policy | None:
    """RFC 4301 section 4.4.1, word for word; `sorted` is stable, so equals stay as they came."""
    for policy in sorted(entries, key=lambda policy: (policy.order, policy.label)):
        if policy.direction is direction and policy.selector.matches(flow):
            return policy
    return None


@settings(max_examples=60)
@given(
    st.lists(policies(), max_size=25, unique=True),
    st.lists(flows(), min_size=1, max_size=25),
    st.data(),
)
def test_the_index_is_a_linear_scan(entries: list[Policy], seen: list[Flow], data: st.DataObject) -> None:
    spd = Spd()
    for policy in entries:
        spd.add(policy)
    for _round in range(2):
        for flow in seen:
            for direction in Direction:
                assert spd.lookup(direction, flow) is scan(entries, direction, flow)
        for policy in data.draw(st.lists(st.sampled_from(entries), unique=True)) if entries else ():
            spd.remove(policy)
            entries.remove(policy)


def test_first_match_by_order_then_label() -> None:
    spd = Spd()
    everything = make_selector("0.0.0.0/0", "0.0.0.0/0")
    wide = make_policy(OUT, everything, order=2, label="a")
    narrow = make_policy(OUT, make_selector("10.1.0.0/16", "10.9.9.9/32", 6, None, (443, 443)), order=3, label="a")
    spd.add(narrow)
    assert spd.lookup(OUT, FLOW) is narrow
    spd.add(wide)
    assert spd.lookup(OUT, FLOW) is wide
    first = make_policy(OUT, everything, order=1, label="b")
    sooner = make_policy(OUT, make_selector("10.0.0.0/8", "10.0.0.0/8"), order=1, label="a")
    spd.add(first)
    assert spd.lookup(OUT, FLOW) is first
    spd.add(sooner)
    assert spd.lookup(OUT, FLOW) is sooner
    assert spd.policies(OUT) == [sooner, first, wide, narrow]
    assert spd.policies(IN) == [] and spd.lookup(IN, FLOW) is None
    spd.remove(sooner)
    spd.remove(first)
    spd.remove(wide)
    assert spd.lookup(OUT, FLOW) is narrow


def test_a_group_whose_best_entry_does_not_fit_hides_no_better_match_of_another() -> None:
    """The shape asked first (its best has order 1) finds order 5; the shape asked second has order 3."""
    spd = Spd()
    spd.add(make_policy(OUT, make_selector("192.0.2.0/24", "192.0.2.0/24"), order=1))
    spd.add(make_policy(OUT, make_selector("10.1.2.0/24", "10.9.9.0/24"), order=5))
    better = make_policy(OUT, make_selector("10.0.0.0/8", "10.0.0.0/8"), order=3)
    spd.add(better)
    assert spd.lookup(OUT, FLOW) is better


def test_ports_that_a_packet_does_not_show_fit_no_port_selector() -> None:
    spd = Spd()
    spd.add(make_policy(OUT, make_selector("0.0.0.0/0", "0.0.0.0/0", 6, None, (0, 65535)), order=1))
    later_fragment = Flow(FLOW.source, FLOW.destination, 6)
    assert spd.lookup(OUT, FLOW)
    assert spd.lookup(OUT, later_fragment) is None
    spd.add(make_policy(OUT, make_selector("0.0.0.0/0", "0.0.0.0/0", 6), order=9))
    found = spd.lookup(OUT, later_fragment)
    assert found and found.order == 9


def test_a_change_is_seen_by_flows_that_were_looked_up_before() -> None:
    spd = Spd()
    assert spd.lookup(OUT, FLOW) is None
    policy = make_policy(OUT)
    spd.add(policy)
    assert spd.lookup(OUT, FLOW) is policy
    spd.remove(policy)
    assert spd.lookup(OUT, FLOW) is None


def test_the_very_same_entry_twice_and_entries_that_are_not_there() -> None:
    spd = Spd()
    spd.add(make_policy(OUT))
    with pytest.raises(DuplicatePolicy, match="/Common/ts"):
        spd.add(make_policy(OUT))
    for absent in (make_policy(IN), make_policy(OUT, order=2), make_policy(OUT, reqid=99)):
        with pytest.raises(UnknownPolicy, match="/Common/ts"):
            spd.remove(absent)
    spd.remove(make_policy(OUT))
    assert spd.policies(OUT) == []


def test_an_entry_of_two_families_is_refused() -> None:
    selector = Selector(source=ip_network("10.0.0.0/8"), destination=ip_network("fd00::/8"))
    with pytest.raises(BadPolicy, match="different families"):
        Spd().add(make_policy(OUT, selector))


def test_the_flow_cache_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spd_module, "FLOW_CACHE_MAX", 10)
    spd = Spd()
    spd.add(make_policy(OUT, make_selector("0.0.0.0/0", "0.0.0.0/0", 6)))
    for port in range(35):
        flow = Flow(FLOW.source, FLOW.destination, 6, port, port)
        assert spd.lookup(OUT, flow) and spd.lookup(OUT, flow)
        assert len(spd._tables[OUT]._cache) <= 10


def test_ten_thousand_selectors_are_loaded_and_asked_quickly() -> None:
    spd = Spd()
    entries = [
        make_policy(OUT, make_selector(f"10.{index >> 8}.{index & 255}.0/24", "10.200.0.0/16"), order=index)
        for index in range(10_000)
    ]
    started = time.perf_counter()
    for policy in entries:
        spd.add(policy)
    for index in range(0, 10_000, 7):
        flow = Flow(ip_address(f"10.{index >> 8}.{index & 255}.9"), ip_address("10.200.1.1"), 17, 1, 2)
        assert spd.lookup(OUT, flow) is entries[index]
    for policy in entries:
        spd.remove(policy)
    # A linear scan takes minutes.
    assert time.perf_counter() - started < 10


# RFC 4301 section 7: what a packet without ports may still be asked for.

LATER = Flow(FLOW.source, FLOW.destination, 6)


@pytest.mark.parametrize(
    ("source", "destination", "protocol", "source_ports", "destination_ports", "asked"),
    [
        ("0.0.0.0/0", "0.0.0.0/0", 6, None, (443, 443), True),
        ("0.0.0.0/0", "0.0.0.0/0", 6, (1, 2), None, True),
        ("0.0.0.0/0", "0.0.0.0/0", None, (1, 2), (3, 4), True),
        ("10.1.2.3/32", "10.9.9.9/32", 6, None, (443, 443), True),
        ("0.0.0.0/0", "0.0.0.0/0", 6, None, None, False),
        ("0.0.0.0/0", "0.0.0.0/0", 17, None, (443, 443), False),
        ("10.1.2.4/32", "0.0.0.0/0", 6, None, (443, 443), False),
        ("0.0.0.0/0", "10.9.9.8/32", 6, None, (443, 443), False),
        ("::/0", "::/0", 6, None, (443, 443), False),
    ],
)
def test_which_entries_ask_for_ports(
    source: str,
    destination: str,
    protocol: int | None,
    source_ports: tuple[int, int] | None,
    destination_ports: tuple[int, int] | None,
    asked: bool,
) -> None:
    spd = Spd()
    policy = make_policy(OUT, make_selector(source, destination, protocol, source_ports, destination_ports))
    spd.add(policy)
    assert spd.needs_ports(OUT, LATER.key) is asked
    assert not spd.needs_ports(IN, LATER.key)
    spd.remove(policy)
    assert not spd.needs_ports(OUT, LATER.key)


@settings(max_examples=60)
@given(st.lists(policies(), max_size=12, unique=True), flows())
def test_ports_are_needed_just_if_some_would_change_the_answer(entries: list[Policy], flow: Flow) -> None:
    """By trial, in order: the first entry that fits as it is ends it; one before it that fits by its ports asks."""
    spd = Spd()
    for policy in entries:
        spd.add(policy)
    bare = Flow(flow.source, flow.destination, flow.protocol)
    for direction in Direction:
        expected = False
        for policy in sorted(entries, key=lambda policy: (policy.order, policy.label)):
            selector = policy.selector
            if policy.direction is direction and selector.matches(bare):
                break
            shown = Flow(
                bare.source,
                bare.destination,
                bare.protocol,
                selector.source_ports.first if selector.source_ports else None,
                selector.destination_ports.first if selector.destination_ports else None,
            )
            expected |= policy.direction is direction and selector.matches(shown)
        assert spd.needs_ports(direction, bare.key) is expected
        assert spd.needs_ports(direction, bare.key) is expected


def test_what_is_known_about_ports_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spd_module, "FLOW_CACHE_MAX", 10)
    spd = Spd()
    spd.add(make_policy(OUT, make_selector("0.0.0.0/0", "0.0.0.0/0", 6, None, (443, 443))))
    for protocol in range(35):
        flow = Flow(FLOW.source, FLOW.destination, protocol)
        assert spd.needs_ports(OUT, flow.key) is (protocol == 6)
        assert len(spd._tables[OUT]._asked) <= 10


def test_icmp_types_are_found_and_taken_for_no_port() -> None:
    spd = Spd()
    echo = make_policy(OUT, make_selector("0.0.0.0/0", "0.0.0.0/0", 1, (ICMP_BASE + 8, ICMP_BASE + 8)))
    ports = make_policy(OUT, make_selector("0.0.0.0/0", "0.0.0.0/0", None, (0, 65535)), order=9)
    spd.add(echo)
    spd.add(ports)
    for kind, found in ((8, echo), (0, None)):
        assert spd.lookup(OUT, Flow(FLOW.source, FLOW.destination, 1, ICMP_BASE + kind, ICMP_BASE)) is found
    assert spd.lookup(OUT, Flow(FLOW.source, FLOW.destination, 17, 8, 0)) is ports

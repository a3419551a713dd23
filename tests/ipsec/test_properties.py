"""What holds for every packet and every setting of an SA, whatever they are."""

import random as seeded
import time
from ipaddress import ip_network
from itertools import pairwise
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from culvert.ipsec import ip
from culvert.ipsec.algorithms import AUTHS, CIPHERS, NONE
from culvert.ipsec.drops import Reason
from culvert.ipsec.gateway import Gateway, Learned
from culvert.ipsec.icmp import FLOORS
from culvert.ipsec.ipcomp import CPI_DEFLATE
from culvert.ipsec.sa import Copy, Direction, Fragmentation, HeaderRules, Mode, Protocol, UdpPorts
from culvert.ipsec.selector import ICMP_BASE, PortRange, Selector
from culvert.ipsec.spd import Action, Policy
from culvert.ipsec.verdict import Bypass, Deliver, Drop, Hold, Send
from tests.ipsec.building import (
    INNER,
    NOW,
    OUTER,
    dice,
    end_to_end,
    ipv4,
    ipv6,
    make_policy,
    packet_of,
    parsed,
    receiver,
    sender,
    udp,
)
from tests.ipsec.matrix import Shape, shapes

# open(seal(packet)) == packet

rules = st.builds(
    HeaderRules,
    dscp=st.none() | st.integers(0, 63),
    ecn=st.booleans(),
    dont_fragment=st.sampled_from(Copy),
    hops=st.none() | st.integers(1, 255),
    flow_label=st.booleans(),
)
payloads = st.builds(
    lambda seed, octets, plain: bytes(octets) if plain else seeded.Random(seed).randbytes(octets),
    st.integers(0, 9999),
    st.sampled_from((0, 1, 2, 3, 15, 16, 17, 89, 90, 500, 1199, 1432, 1500, 3000, 9000)) | st.integers(0, 2000),
    st.booleans(),
)


@st.composite
def sas(draw: st.DrawFn) -> dict[str, Any]:
    """Settings that go together, as `sender` takes them."""
    protocol = draw(st.sampled_from((Protocol.ESP, Protocol.ESP, Protocol.AH)))
    cipher = draw(st.sampled_from(sorted(CIPHERS))) if protocol is Protocol.ESP else "null"
    auths = [NONE] if CIPHERS[cipher].combined else sorted(AUTHS)
    if protocol is Protocol.ESP:
        auths = [name for name in auths if name == NONE or not AUTHS[name].only_ah]
    esn, in_udp = draw(st.booleans()), draw(st.booleans())
    # AH covers what a NAT changes: the rules of the configuration keep it away from UDP.
    esp = protocol is Protocol.ESP
    bundle = esp and not in_udp and draw(st.booleans())
    # The AH SA of a bundle has 32 bits here, and begins where the ESP SA does.
    far = (2**32 - 2, 2**40, 2**63) if esn and not bundle else ()
    return {
        "protocol": protocol,
        "cipher": cipher,
        "auth": draw(st.sampled_from(auths)),
        "mode": draw(st.sampled_from(Mode)),
        "esn": esn,
        "sequence": draw(st.sampled_from((0, 2**31, 2**32 - 40, *far))),
        "replay_window": draw(st.sampled_from((32, 64, 4096))),
        "compression": draw(st.sampled_from((0, CPI_DEFLATE))),
        "encapsulation": UdpPorts() if esp and in_udp else None,
        "header": draw(rules),
        "fragmentation": draw(st.sampled_from(Fragmentation)),
        "path_mtu": draw(st.sampled_from((0, 0, 1280, 1500))),
        "tfc_octets": draw(st.sampled_from((0, 0, 700))),
        "bundle_ah": bundle,
    }


def whole(version: int, mode: Mode, payload: bytes, ecn: int, may_cut: bool) -> bytes:
    make = end_to_end if mode is Mode.TRANSPORT else packet_of
    flags = {} if version == 6 else {"flags": 0 if may_cut else ip.DONT_FRAGMENT}
    return make(version, udp(data=payload), traffic_class=0xB8 | ecn, **flags)


def put_together(packets: list[bytes]) -> tuple[int, bytes, bool]:
    """Where what these packets carry begins, its octets, and whether more must follow."""
    parts = []
    for packet in packets:
        datagram = parsed(packet)
        place = datagram.fragment
        parts.append(
            (place.offset if place else 0, packet[datagram.offset : datagram.length], bool(place and place.more))
        )
    parts.sort()
    for (at, octets, more), (following, _, _) in pairwise(parts):
        assert at + len(octets) == following and more, "a hole, or a piece too many"
    return parts[0][0], b"".join(octets for _, octets, _ in parts), parts[-1][2]


@settings(max_examples=600, deadline=None)
@given(
    sa=sas(),
    outer=st.sampled_from((4, 6)),
    inner=st.sampled_from((4, 6)),
    payload=payloads,
    ecn=st.sampled_from((0, 1, 2)),
    may_cut=st.booleans(),
    seed=st.integers(0, 99),
)
def test_what_is_sealed_opens_as_it_was(
    sa: dict[str, Any], outer: int, inner: int, payload: bytes, ecn: int, may_cut: bool, seed: int
) -> None:
    inner = outer if sa["mode"] is Mode.TRANSPORT else inner
    packet = whole(inner, sa["mode"], payload, ecn, may_cut)
    here, there = sender(outer=outer, **sa), receiver(outer=outer, **sa)
    verdict = here.outbound(packet, NOW)
    if isinstance(verdict, Drop):
        assert verdict.reason is Reason.TOO_BIG and sa["path_mtu"] and len(packet) > sa["path_mtu"] - 150
        return
    assert isinstance(verdict, Send)
    pieces = [verdict.packet, *verdict.rest]
    assert not sa["path_mtu"] or max(map(len, pieces)) <= sa["path_mtu"]
    seeded.Random(seed).shuffle(pieces)
    results = [there.inbound(piece, NOW) for piece in pieces]
    assert {type(result) for result in results} <= {Deliver, Hold}, results
    arrived = [result.packet for result in results if isinstance(result, Deliver)]
    assert put_together(arrived) == put_together([packet])
    if len(arrived) == 1:
        assert arrived[0] == packet


# The SPD through packets


PLACES = ("10.1.0.0/16", "10.1.0.8/29", "0.0.0.0/0", "10.9.0.0/16")
PORTS = st.none() | st.tuples(st.sampled_from((0, 22, 53, 1000)), st.sampled_from((22, 53, 65535))).map(
    lambda ends: PortRange(min(ends), max(ends))
)
TYPES = st.none() | st.tuples(st.sampled_from((0, 3, 8)), st.sampled_from((3, 8, 255))).map(
    lambda ends: PortRange(ICMP_BASE + min(ends), ICMP_BASE + max(ends))
)


@st.composite
def entries(draw: st.DrawFn) -> Policy:
    protocol = draw(st.sampled_from((None, 1, 6, 17)))
    values = TYPES if protocol == 1 else PORTS
    selector = Selector(
        source=ip_network(draw(st.sampled_from(PLACES))),
        destination=ip_network(draw(st.sampled_from(("10.2.0.0/16", "0.0.0.0/0", "10.2.0.9/32")))),
        protocol=protocol,
        source_ports=draw(values),
        destination_ports=draw(values),
    )
    order, label = draw(st.integers(0, 3)), draw(st.sampled_from("abcdef"))
    return make_policy(Direction.OUT, selector, order=order, label=label, action=Action.DISCARD)


def fits_but_for_ports(policy: Policy, protocol: int) -> bool:
    selector = policy.selector
    addresses = INNER[4][0] in selector.source and INNER[4][1] in selector.destination
    return addresses and selector.protocol in (None, protocol)


def fits(policy: Policy, protocol: int, first: int | None, second: int | None) -> bool:
    """As RFC 4301 section 4.4.1.1 puts it, field by field."""
    selector = policy.selector
    return fits_but_for_ports(policy, protocol) and all(
        ports is None or (value is not None and ports.first <= value <= ports.last)
        for ports, value in ((selector.source_ports, first), (selector.destination_ports, second))
    )


def first_that_fits(policies: list[Policy], protocol: int, first: int | None, second: int | None) -> Policy | None:
    return next((policy for policy in ranked(policies) if fits(policy, protocol, first, second)), None)


def ranked(policies: list[Policy]) -> list[Policy]:
    return sorted(policies, key=lambda policy: (policy.order, policy.label))


def gateway_with(policies: list[Policy]) -> tuple[Gateway, list[Policy]]:
    made, kept = Gateway(dice()), list(dict.fromkeys(policies))
    for policy in kept:
        made.add_policy(policy)
    return made, kept


def chosen_by(gateway: Gateway, packet: bytes) -> Policy | Reason | None:
    verdict = gateway.outbound(packet, NOW)
    if isinstance(verdict, Bypass):
        return None
    assert isinstance(verdict, Drop)
    return verdict.policy or verdict.reason


@settings(max_examples=600, deadline=None)
@given(
    policies=st.lists(entries(), max_size=8),
    protocol=st.sampled_from((1, 6, 17, 47)),
    first=st.sampled_from((0, 3, 8, 22, 53, 60000)),
    second=st.sampled_from((0, 3, 22, 53, 60000)),
)
def test_the_selector_of_a_packet_is_that_of_a_linear_scan(
    policies: list[Policy], protocol: int, first: int, second: int
) -> None:
    gateway, policies = gateway_with(policies)
    icmp = protocol == 1
    start = bytes((first & 255, second & 255)) if icmp else first.to_bytes(2) + second.to_bytes(2)
    packet = ipv4(start + bytes(20), protocol=protocol)
    shown = (ICMP_BASE + (first & 255), ICMP_BASE + (second & 255)) if icmp else (first, second)
    expected = first_that_fits(policies, protocol, *((None, None) if protocol == 47 else shown))
    assert chosen_by(gateway, packet) == expected
    assert chosen_by(gateway, packet) == expected, "the second time out of the cache"


@settings(max_examples=600, deadline=None)
@given(
    policies=st.lists(entries(), max_size=8),
    protocol=st.sampled_from((6, 17)),
    port=st.sampled_from((0, 22, 53, 60000)),
    seen=st.booleans(),
)
def test_a_later_fragment_goes_the_way_of_its_first_one(
    policies: list[Policy], protocol: int, port: int, seen: bool
) -> None:
    """And without it, by the first selector that fits as far as it shows, unless that one asks for ports."""
    gateway, policies = gateway_with(policies)
    head = ipv4(port.to_bytes(2) * 2 + bytes(20), protocol=protocol, flags=ip.MORE_FRAGMENTS)
    later = ipv4(bytes(24), protocol=protocol, flags=3)
    exact = first_that_fits(policies, protocol, port, port)
    if seen:
        assert chosen_by(gateway, head) == exact
        assert chosen_by(gateway, later) == exact
        return
    nearest = next((each for each in ranked(policies) if fits_but_for_ports(each, protocol)), None)
    asks = nearest is not None and (nearest.selector.source_ports or nearest.selector.destination_ports)
    assert chosen_by(gateway, later) == (Reason.FRAGMENT_PORTS if asks else nearest)


# Any octets


ALL_SHAPES = [shape for shape in shapes() if shape.cipher in ("null", "aes128", "aes-ctr128", "aes-gcm256", "3des")]
CHANGES = st.lists(st.tuples(st.integers(0, 2000), st.integers(0, 255)), min_size=1, max_size=6)


def changed(packet: bytes, changes: list[tuple[int, int]], cut: int, more: bytes) -> bytes:
    octets = bytearray(packet)
    for at, octet in changes:
        octets[at % len(octets)] = octet
    return bytes(octets[: len(octets) - cut % len(octets)] if cut % 3 else octets) + more


def in_time(call: Any, packet: bytes) -> Any:
    started = time.process_time()
    verdict = call(packet, NOW)
    assert time.process_time() - started < 0.5, "a packet that keeps the gateway busy"
    return verdict


@settings(max_examples=500, deadline=None)
@given(st.sampled_from(ALL_SHAPES), CHANGES, st.integers(0, 400), st.binary(max_size=8), st.binary(max_size=200))
def test_a_changed_packet_never_raises_and_nothing_false_comes_of_it(
    shape: Shape, changes: list[tuple[int, int]], cut: int, more: bytes, data: bytes
) -> None:
    here, there = shape.gateway(Direction.OUT), shape.gateway(Direction.IN)
    make = end_to_end if shape.mode is Mode.TRANSPORT else packet_of
    clear = make(shape.inner, udp(data=data))
    good = here.outbound(clear, NOW)
    assert isinstance(good, Send)
    verdict = in_time(there.inbound, changed(good.packet, changes, cut, more))
    if isinstance(verdict, Deliver):
        payload = verdict.packet[parsed(verdict.packet).offset :]
        assert payload == clear[parsed(clear).offset :]
    in_time(here.outbound, changed(clear, changes, cut, more))
    in_time(here.inbound, changed(clear, changes, cut, more))


def complaint(version: int, quoted: bytes, mtu: int) -> bytes:
    source, destination = OUTER[version]
    if version == 4:
        message = b"\3\4\0\0" + mtu.to_bytes(4) + quoted
        return ipv4(message, protocol=1, source=destination, destination=source)
    return ipv6(b"\2\0\0\0" + mtu.to_bytes(4) + quoted, protocol=58, source=destination, destination=source)


@settings(max_examples=500, deadline=None)
@given(
    shape=st.sampled_from(ALL_SHAPES),
    changes=CHANGES | st.just([]),
    cut=st.integers(0, 400),
    mtu=st.integers(0, 65535),
    quoted=st.none() | st.binary(max_size=120),
)
def test_a_changed_complaint_never_raises_and_is_never_believed_below_the_floor(
    shape: Shape, changes: list[tuple[int, int]], cut: int, mtu: int, quoted: bytes | None
) -> None:
    here = shape.gateway(Direction.OUT)
    make = end_to_end if shape.mode is Mode.TRANSPORT else packet_of
    good = here.outbound(make(shape.inner), NOW)
    assert isinstance(good, Send)
    genuine = complaint(shape.outer, good.packet if quoted is None else quoted, mtu)
    learned = in_time(here.told_too_big, changed(genuine, changes, cut, b"") if changes else genuine)
    assert isinstance(learned, Learned | Drop | Bypass)
    for record in here.sadb.all_outbound():
        assert record.mtu(NOW) >= FLOORS[shape.outer]
    if not changes and quoted is None:
        assert isinstance(learned, Learned), learned
        assert learned.mtu == max(FLOORS[shape.outer], min(mtu, learned.record.mtu(NOW)) or learned.mtu)

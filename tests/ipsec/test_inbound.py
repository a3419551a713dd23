"""The way in: what finds no SA, what is refused on the way through its layers, and what no selector allows."""

import hmac
import struct
from ipaddress import ip_address
from typing import Any

import pytest

from culvert.ipsec.drops import Reason
from culvert.ipsec.fragment import split
from culvert.ipsec.gateway import Gateway
from culvert.ipsec.sa import Direction, Mode, Protocol
from culvert.ipsec.sadb import Inbound, Outbound
from culvert.ipsec.selector import ICMP_BASE
from culvert.ipsec.spd import Action
from culvert.ipsec.tunnel import CE
from culvert.ipsec.verdict import Drop, Hold
from tests.ipsec.building import (
    AH_SPI,
    AUTH_KEY,
    NOW,
    OUTER,
    REQID,
    SPI,
    around_it,
    delivered,
    dropped,
    end_to_end,
    gateway_of,
    ipv4,
    make_policy,
    make_sa,
    make_selector,
    packet_of,
    parsed,
    receiver,
    sender,
    sent,
    udp,
)

IN, OUT = Direction.IN, Direction.OUT
EVERYTHING = ("0.0.0.0/0", "0.0.0.0/0")


def sealed(inner: bytes, count: int = 1, **sa: Any) -> bytes:
    here = sender(**sa)
    return [sent(here.outbound(inner, NOW)).packet for _ in range(count)][-1]


def around(clear: bytes, sequence: int = 1) -> bytes:
    """An authentic outer packet of the NULL cipher around any clear text."""
    authenticated = struct.pack("!II", SPI, sequence) + clear
    return end_to_end(4, authenticated + hmac.digest(AUTH_KEY, authenticated, "sha1")[:12], protocol=50)


def reason_of(gateway: Gateway, packet: bytes) -> Reason:
    return dropped(gateway.inbound(packet, NOW)).reason


@pytest.mark.parametrize("packet", [b"", b"E", bytes(40), packet_of(4)[:-1], packet_of(6)[:50]])
def test_damaged_headers(packet: bytes) -> None:
    assert receiver().inbound(packet, NOW) == Drop(Reason.MALFORMED_HEADER)


def test_what_carries_no_ipsec() -> None:
    for packet in (packet_of(4, protocol=6), packet_of(6, protocol=58), packet_of(4, bytes(20), protocol=108)):
        assert receiver().inbound(packet, NOW) == Drop(Reason.PROTOCOL_MISMATCH)


@pytest.mark.parametrize("outer", [4, 6])
def test_fragments_are_put_together_before_anything_else(outer: int) -> None:
    """RFC 4303 section 3.4.1."""
    packet = sealed(packet_of(4, bytes(200)), outer=outer)
    there = receiver(outer=outer)
    first, *others = split(packet, parsed(packet), 140, 9)
    assert [there.inbound(piece, NOW) for piece in others] == [Hold()] * len(others)
    assert delivered(there.inbound(first, NOW)).packet == packet_of(4, bytes(200))
    assert there.inbound(first, NOW) == Hold() and there.inbound(first, NOW) == Hold()
    odd = end_to_end(4, bytes(9), protocol=50, flags=0x2000)
    assert receiver().inbound(odd, NOW) == Drop(Reason.FRAGMENT)
    # Nothing of a stranger's is kept, so none can fill the place where the peer's fragments wait.
    strange = ipv4(bytes(16), protocol=50, source=OUTER[4][1], destination=OUTER[4][0], flags=0x2000)
    assert receiver().inbound(strange, NOW) == Drop(Reason.NO_SA_IN)


def test_in_an_atomic_fragment_or_behind_options_it_is_whole() -> None:
    packet = sealed(packet_of(4), outer=6)
    delivered(receiver(outer=6).inbound(end_to_end(6, b"\x32" + bytes(7) + packet[40:], protocol=44), NOW))
    packet = sealed(packet_of(4))
    wrapped = end_to_end(4, packet[20:], protocol=50, options=b"\1" * 8)
    delivered(receiver().inbound(wrapped + b"link padding", NOW))


@pytest.mark.parametrize(("protocol", "least"), [(50, 8), (51, 12)])
def test_runts(protocol: int, least: int) -> None:
    for count in range(least):
        assert receiver().inbound(ipv4(bytes(count), protocol=protocol), NOW) == Drop(Reason.RUNT)
    assert receiver().inbound(ipv4(bytes(least), protocol=protocol), NOW) == Drop(Reason.NO_SA_IN)


def test_without_an_sa() -> None:
    there = receiver()
    good = sealed(packet_of(4))
    assert there.inbound(good[:23] + b"\0" + good[24:], NOW) == Drop(Reason.NO_SA_IN)
    assert there.inbound(end_to_end(4, good[20:], protocol=51), NOW) == Drop(Reason.NO_SA_IN)
    elsewhere = ipv4(good[20:], protocol=50, source=OUTER[4][0], destination=ip_address("192.0.2.3"))
    assert there.inbound(elsewhere, NOW) == Drop(Reason.NO_SA_IN)
    delivered(there.inbound(good, NOW))


def test_our_own_packet_sent_back_to_us() -> None:
    here = sender()
    assert here.inbound(sent(here.outbound(packet_of(4), NOW)).packet, NOW) == Drop(Reason.WRONG_DIRECTION)


def test_from_another_source() -> None:
    there = receiver()
    forged = ipv4(sealed(packet_of(4))[20:], protocol=50, source=ip_address("192.0.2.9"), destination=OUTER[4][1])
    drop = dropped(there.inbound(forged, NOW))
    assert drop.reason is Reason.OUTER_MISMATCH
    assert drop.sa == make_sa(IN) and drop.policy is None
    assert isinstance(drop.record, Inbound) and drop.record.usage.drops == {Reason.OUTER_MISMATCH: 1}
    assert drop.record.sequence == 0


@pytest.mark.parametrize("case", [{}, {"protocol": Protocol.AH}, {"mode": Mode.TRANSPORT}], ids=str)
def test_replay_and_integrity_are_counted_on_the_sa(case: dict[str, Any]) -> None:
    there = receiver(**case)
    packet = sealed(end_to_end(4), **case)
    delivered(there.inbound(packet, NOW))
    assert reason_of(there, packet) is Reason.REPLAY
    number_at = 31 if case.get("protocol") is Protocol.AH else 27
    assert reason_of(there, packet[:number_at] + b"\2" + packet[number_at + 1 :]) is Reason.INTEGRITY
    (record,) = there.sadb
    assert record.usage.drops == {Reason.REPLAY: 1, Reason.INTEGRITY: 1}
    assert record.usage.packets == 1


def test_dummies_are_dropped_quietly_and_count_as_seen() -> None:
    there = receiver("null")
    assert reason_of(there, around(b"no\0\x3b")) is Reason.DUMMY
    assert reason_of(there, around(b"no\0\x3b")) is Reason.REPLAY


@pytest.mark.parametrize("next_header", [0, 6, 17, 43, 50, 58, 60, 255])
def test_what_is_no_tunnel_payload(next_header: int) -> None:
    clear = udp() + b"\1\2\2" + bytes((next_header,))
    assert len(clear) % 4 == 0
    assert reason_of(receiver("null"), around(clear)) is Reason.MODE_MISMATCH


@pytest.mark.parametrize(
    "clear",
    [
        b"\1\2\2\4",
        b"nothing of IP!\0\4",
        packet_of(4) + b"\1\2\2\x29",
        packet_of(6) + b"\1\2\2\4",
        packet_of(4)[:24] + b"\1\2\2\4",
        packet_of(6)[:36] + b"\1\2\2\x29",
    ],
)
def test_what_is_no_ip_packet_inside(clear: bytes) -> None:
    while len(clear) % 4:
        clear = b"x" + clear
    assert reason_of(receiver("null"), around(clear)) is Reason.INNER_MALFORMED


def test_headers_inside_transport_mode_that_contradict_the_packet() -> None:
    """Options of a destination that say they are longer than what is there."""
    packet = end_to_end(6, bytes((17, 0)) + bytes(6) + udp(), protocol=60)
    here = sender("null", outer=6, mode=Mode.TRANSPORT)
    (record,) = here.sadb
    assert isinstance(record, Outbound)
    body = record.sealer.seal(b"", 1, 60, bytes((17, 9)) + bytes(6))
    assert isinstance(body, bytes)
    there = receiver("null", outer=6, mode=Mode.TRANSPORT)
    assert reason_of(there, end_to_end(6, body, protocol=50)) is Reason.INNER_MALFORMED
    delivered(there.inbound(sealed(packet, 2, cipher="null", outer=6, mode=Mode.TRANSPORT), NOW))


def test_traffic_flow_padding_is_cut_off() -> None:
    packet = ipv4(udp(data=b"data"))
    clear = packet + bytes(500) + b"\1\2\2\4"
    assert delivered(receiver("null").inbound(around(clear), NOW)).packet == packet


# What the selectors say (RFC 4301 section 5.2)


def filtering(*selectors: tuple[str, str, int, int]) -> Gateway:
    """A receiver whose inbound entries are (source, destination, reqid, order)."""
    there = gateway_of(make_sa(IN), policies=False)
    for source, destination, reqid, order in selectors:
        there.add_policy(make_policy(IN, make_selector(source, destination), reqid=reqid, order=order))
    return there


def test_what_no_selector_allows() -> None:
    there = filtering(("10.1.0.0/24", "10.3.0.0/24", REQID, 1))
    there.add_policy(make_policy(OUT))
    drop = dropped(there.inbound(sealed(packet_of(4)), NOW))
    assert drop.reason is Reason.INNER_MISMATCH and drop.sa is not None and drop.policy is None


def test_what_only_another_sas_selector_allows() -> None:
    there = filtering(("10.1.0.0/24", "10.2.0.0/24", REQID + 1, 1))
    drop = dropped(there.inbound(sealed(packet_of(4)), NOW))
    assert drop.reason is Reason.SA_MISMATCH and drop.policy is not None
    assert drop.policy.reqid == REQID + 1
    # The first match decides, even where a later one would allow the packet.
    there.add_policy(make_policy(IN, order=2))
    assert reason_of(there, sealed(packet_of(4), 2)) is Reason.SA_MISMATCH
    there.add_policy(make_policy(IN, order=0))
    delivered(there.inbound(sealed(packet_of(4), 3), NOW))


def test_discard() -> None:
    there = filtering(("10.1.0.0/24", "10.2.0.0/24", REQID, 5))
    there.add_policy(make_policy(IN, order=1, action=Action.DISCARD))
    drop = dropped(there.inbound(sealed(packet_of(4)), NOW))
    assert drop.reason is Reason.DISCARD_IN and drop.policy is not None and drop.policy.order == 1


@pytest.mark.parametrize("mode", list(Mode))
@pytest.mark.parametrize("policy_mode", list(Mode))
@pytest.mark.parametrize("protocol", list(Protocol))
@pytest.mark.parametrize("policy_protocol", list(Protocol))
def test_policy_and_sa_must_agree(protocol: Protocol, policy_protocol: Protocol, mode: Mode, policy_mode: Mode) -> None:
    there = gateway_of(make_sa(IN, protocol=protocol, mode=mode), policies=False)
    there.add_policy(make_policy(IN, protocol=policy_protocol, mode=policy_mode))
    verdict = there.inbound(sealed(end_to_end(4), protocol=protocol, mode=mode), NOW)
    if (protocol, mode) == (policy_protocol, policy_mode):
        delivered(verdict)
    else:
        assert dropped(verdict).reason is Reason.PROTOCOL_MISMATCH


def test_ports_and_types() -> None:
    there = gateway_of(make_sa(IN), policies=False)
    there.add_policy(make_policy(IN, make_selector(*EVERYTHING, 17, (1000, 2000), (53, 53)), label="ports"))
    echo = (ICMP_BASE + 8, ICMP_BASE + 8)
    there.add_policy(make_policy(IN, make_selector(*EVERYTHING, 1, echo), label="types"))
    packets = [
        (packet_of(4, udp(1000, 53)), True),
        (packet_of(4, udp(999, 53)), False),
        (packet_of(4, b"\x08\0" + bytes(6), protocol=1), True),
        (packet_of(4, b"\x00\0" + bytes(6), protocol=1), False),
    ]
    for count, (packet, fits) in enumerate(packets, start=1):
        verdict = there.inbound(sealed(packet, count), NOW)
        if fits:
            assert delivered(verdict).packet == packet
        else:
            assert dropped(verdict).reason is Reason.INNER_MISMATCH


def test_a_later_fragment_follows_its_first_one() -> None:
    there = gateway_of(make_sa(IN), policies=False)
    there.add_policy(make_policy(IN, make_selector(*EVERYTHING, 17, None, (53, 53))))
    story = [
        (ipv4(bytes(8), flags=0x0002, identification=1), Reason.FRAGMENT_PORTS),
        (ipv4(udp(data=bytes(8)), flags=0x2000, identification=1), None),
        (ipv4(bytes(8), flags=0x0002, identification=1), None),
        (ipv4(udp(1, 54, bytes(8)), flags=0x2000, identification=2), Reason.INNER_MISMATCH),
        (ipv4(bytes(8), flags=0x0002, identification=2), Reason.INNER_MISMATCH),
        (ipv4(bytes(8), flags=0x0002, identification=3, protocol=6), Reason.INNER_MISMATCH),
    ]
    for count, (packet, reason) in enumerate(story, start=1):
        verdict = there.inbound(sealed(packet, count), NOW)
        if reason is None:
            assert delivered(verdict).packet == packet
        else:
            assert dropped(verdict).reason is reason


# Bundles: AH around ESP is what the policy wants, or it isn't


def bundle_receiver(mode: Mode, bundle_ah: bool = True) -> Gateway:
    sa = make_sa(IN, mode=mode)
    there = gateway_of(sa, around_it(sa), policies=False)
    there.add_policy(make_policy(IN, mode=mode, bundle_ah=bundle_ah))
    return there


@pytest.mark.parametrize("mode", list(Mode))
def test_a_bundle_and_nothing_less(mode: Mode) -> None:
    packet = end_to_end(4)
    both = sealed(packet, mode=mode, bundle_ah=True)
    esp = sealed(packet, mode=mode)
    ah = sealed(packet, protocol=Protocol.AH, mode=Mode.TRANSPORT, spi=AH_SPI)
    back = delivered(bundle_receiver(mode).inbound(both, NOW))
    assert back.packet == packet and back.bundled is not None
    assert (back.record.sa.protocol, back.bundled.sa.protocol) == (Protocol.ESP, Protocol.AH)
    for part in (esp, ah):
        assert reason_of(bundle_receiver(mode), part) is Reason.SA_MISMATCH
    assert reason_of(bundle_receiver(mode, bundle_ah=False), both) is Reason.SA_MISMATCH
    delivered(bundle_receiver(mode, bundle_ah=False).inbound(esp, NOW))


def test_both_layers_count_and_both_windows_move() -> None:
    there = receiver(bundle_ah=True)
    both = sealed(packet_of(4), bundle_ah=True)
    delivered(there.inbound(both, NOW))
    assert [(record.sequence, record.usage.packets) for record in there.sadb] == [(1, 1), (1, 1)]
    assert reason_of(there, both) is Reason.REPLAY
    # A new AH around the old ESP: the outer layer is in order, the inner one isn't.
    again = sender(bundle_ah=True)
    outer = next(record for record in again.sadb if record.sa.protocol is Protocol.AH)
    assert isinstance(outer, Outbound)
    header = both[:20]
    resigned = outer.sealer.seal(header, 2, 50, both[44:])
    assert isinstance(resigned, bytes)
    drop = dropped(there.inbound(header + resigned, NOW))
    assert drop.reason is Reason.REPLAY and drop.record is not None and drop.record.sa.protocol is Protocol.ESP


def test_the_ah_of_another_policy_makes_no_bundle() -> None:
    esp = make_sa(IN)
    there = gateway_of(esp, policies=False)
    there.add_sa(make_sa(IN, spi=AH_SPI, protocol=Protocol.AH, mode=Mode.TRANSPORT, reqid=REQID + 1), now=NOW)
    there.add_policy(make_policy(IN, bundle_ah=True))
    assert reason_of(there, sealed(packet_of(4), bundle_ah=True)) is Reason.SA_MISMATCH


def twice(*, first: Protocol, second: Protocol, mode: Mode = Mode.TRANSPORT) -> bytes:
    """What one SA in transport mode made, inside another one."""
    inner = sealed(end_to_end(4), protocol=first, mode=mode)
    here = gateway_of(make_sa(OUT, spi=SPI + 5, protocol=second, mode=Mode.TRANSPORT))
    return sent(here.outbound(inner, NOW)).packet


@pytest.mark.parametrize(("first", "second"), [(first, second) for first in Protocol for second in Protocol])
def test_two_layers_that_are_no_bundle(first: Protocol, second: Protocol) -> None:
    """AH inside ESP, or the same protocol twice: opened, and then refused by the policy."""
    there = gateway_of(
        make_sa(IN, protocol=first, mode=Mode.TRANSPORT),
        make_sa(IN, spi=SPI + 5, protocol=second, mode=Mode.TRANSPORT),
        policies=False,
    )
    there.add_policy(make_policy(IN, mode=Mode.TRANSPORT, protocol=first, bundle_ah=first is Protocol.ESP))
    verdict = there.inbound(twice(first=first, second=second), NOW)
    if (first, second) == (Protocol.ESP, Protocol.AH):
        delivered(verdict)
    else:
        assert dropped(verdict).reason is Reason.SA_MISMATCH


def test_three_layers_are_too_many() -> None:
    here = gateway_of(make_sa(OUT, spi=SPI + 9, mode=Mode.TRANSPORT))
    packet = sent(here.outbound(twice(first=Protocol.ESP, second=Protocol.AH), NOW)).packet
    there = gateway_of(
        make_sa(IN, mode=Mode.TRANSPORT),
        make_sa(IN, spi=SPI + 5, protocol=Protocol.AH, mode=Mode.TRANSPORT),
        make_sa(IN, spi=SPI + 9, mode=Mode.TRANSPORT),
    )
    assert reason_of(there, packet) is Reason.NESTING


# Congestion (RFC 6040 section 4.2)


def test_congestion() -> None:
    plain, capable = packet_of(4), packet_of(4, traffic_class=2)
    for packet in (plain, capable):
        marked = bytearray(sealed(packet))
        marked[1] |= CE
        verdict = receiver().inbound(bytes(marked), NOW)
        if packet is plain:
            drop = dropped(verdict)
            assert drop.reason is Reason.CONGESTION and drop.policy is not None
        else:
            assert delivered(verdict).packet == packet_of(4, traffic_class=3)


def test_in_transport_mode_the_mark_is_the_packets_own() -> None:
    marked = bytearray(sealed(end_to_end(4), mode=Mode.TRANSPORT))
    marked[1] |= CE
    assert delivered(receiver(mode=Mode.TRANSPORT).inbound(bytes(marked), NOW)).packet == end_to_end(
        4, traffic_class=CE
    )


def test_a_random_source_is_never_asked_on_the_way_in() -> None:
    def refuse(_count: int) -> bytes:
        raise AssertionError

    there = Gateway(refuse)
    there.add_sa(make_sa(IN), now=NOW)
    there.add_policy(make_policy(IN))
    delivered(there.inbound(sealed(packet_of(4)), NOW))

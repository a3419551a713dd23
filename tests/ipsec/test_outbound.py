"""The way out: which policy and SA, what is cut where, what is never sent."""

from typing import Any

import pytest
from scapy.layers.inet import IP, defragment

from culvert.ipsec.drops import Reason
from culvert.ipsec.gateway import Gateway
from culvert.ipsec.sa import Copy, Direction, Fragmentation, HeaderRules, Mode, Protocol, UdpPorts
from culvert.ipsec.sadb import Outbound
from culvert.ipsec.selector import ICMP_BASE
from culvert.ipsec.spd import Action
from culvert.ipsec.verdict import Bypass, Deliver, Drop
from tests.ipsec.building import (
    NOW,
    REQID,
    around_it,
    delivered,
    dice,
    dropped,
    end_to_end,
    gateway_of,
    ipv4,
    ipv6,
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
LAST = 2**32 - 1
DF = 0x4000


def test_what_follows_the_inner_packet_is_not_sealed() -> None:
    packet = packet_of(4)
    assert len(sent(sender().outbound(packet + bytes(100), NOW)).packet) == len(
        sent(sender().outbound(packet, NOW)).packet
    )


def test_the_counter_goes_on_where_it_was() -> None:
    packet = sent(sender(sequence=41).outbound(packet_of(4), NOW)).packet
    assert int.from_bytes(packet[24:28]) == 42
    assert dropped(receiver(sequence=42).inbound(packet, NOW)).reason is Reason.REPLAY
    delivered(receiver(sequence=41).inbound(packet, NOW))


@pytest.mark.parametrize(("esn", "last"), [(False, LAST), (True, 2**64 - 1)])
@pytest.mark.parametrize("case", [{}, {"protocol": Protocol.AH}, {"mode": Mode.TRANSPORT}], ids=str)
def test_the_counter_never_wraps(case: dict[str, Any], esn: bool, last: int) -> None:
    """RFC 4303 section 3.3.3."""
    here, there = sender(sequence=last - 1, esn=esn, **case), receiver(sequence=last - 1, esn=esn, **case)
    packet = end_to_end(4) if "mode" in case else packet_of(4)
    out = sent(here.outbound(packet, NOW))
    assert out.record.sequence == last
    assert delivered(there.inbound(out.packet, NOW)).record.sequence == last
    for _ in range(3):
        drop = dropped(here.outbound(packet, NOW))
        assert drop.reason is Reason.SEQUENCE_EXHAUSTED
        assert isinstance(drop.record, Outbound) and drop.record.sequence == last
    (record,) = here.sadb
    assert record.usage.packets == 1
    assert record.usage.drops == {Reason.SEQUENCE_EXHAUSTED: 3}


def test_the_counter_goes_from_32_bits_into_64() -> None:
    here, there = sender(sequence=LAST - 1, esn=True), receiver(sequence=LAST - 1, esn=True)
    for number in (LAST, LAST + 1, LAST + 2):
        out = sent(here.outbound(packet_of(4), NOW))
        assert (out.record.sequence, int.from_bytes(out.packet[24:28])) == (number, number & LAST)
        assert delivered(there.inbound(out.packet, NOW)).record.sequence == number


@pytest.mark.parametrize("which", ["esp", "ah"])
def test_in_a_bundle_neither_counter_wraps(which: str) -> None:
    esp = make_sa(OUT)
    here = Gateway(dice())
    here.add_sa(esp, sequence=LAST - 1 if which == "esp" else 0, now=NOW)
    here.add_sa(around_it(esp), sequence=LAST - 1 if which == "ah" else 0, now=NOW)
    here.add_policy(make_policy(OUT, bundle_ah=True))
    sent(here.outbound(packet_of(4), NOW))
    assert dropped(here.outbound(packet_of(4), NOW)).reason is Reason.SEQUENCE_EXHAUSTED
    assert sorted(record.sequence for record in here.sadb) == [1, LAST]


def test_pieces_that_outlive_the_counter_are_not_sent_at_all() -> None:
    for fragmentation in Fragmentation:
        here = sender(sequence=LAST - 1, path_mtu=1000, fragmentation=fragmentation)
        verdict = here.outbound(ipv4(bytes(1800)), NOW)
        if fragmentation is Fragmentation.AFTER:
            sent(verdict)
        else:
            assert dropped(verdict).reason is Reason.SEQUENCE_EXHAUSTED
    here = sender(sequence=LAST, path_mtu=1000, fragmentation=Fragmentation.AFTER)
    assert dropped(here.outbound(ipv4(bytes(1800)), NOW)).reason is Reason.SEQUENCE_EXHAUSTED


def test_a_packet_that_cannot_be_sent_uses_no_number() -> None:
    here = sender()
    assert dropped(here.outbound(ipv4(bytes(65515), flags=DF), NOW)).reason is Reason.TOO_BIG
    assert sent(here.outbound(packet_of(4), NOW)).record.sequence == 1


@pytest.mark.parametrize(("outer", "room"), [(4, 65535 - 20), (6, 65535)])
def test_the_largest_packet(outer: int, room: int) -> None:
    # SPI and sequence number, IV, ICV; then whole blocks that hold the trailer too.
    largest = min((room - 8 - 16 - 12) // 16 * 16 - 2, 65535)
    packet = ipv4(bytes(largest - 20), flags=DF)
    here, there = sender(outer=outer), receiver(outer=outer)
    assert delivered(there.inbound(sent(here.outbound(packet, NOW)).packet, NOW)).packet == packet
    assert dropped(here.outbound(ipv4(bytes(largest - 19), flags=DF), NOW)).reason is Reason.TOO_BIG
    pieces = sent(here.outbound(ipv4(bytes(largest - 19)), NOW))
    assert len(pieces.rest) == 1


def test_what_no_outer_packet_could_hold_is_not_cut_after_either() -> None:
    here = sender(fragmentation=Fragmentation.AFTER, header=HeaderRules(dont_fragment=Copy.CLEAR))
    assert dropped(here.outbound(ipv4(bytes(65515), flags=DF), NOW)).reason is Reason.TOO_BIG


def test_without_a_policy_it_is_bypassed() -> None:
    here = gateway_of(make_sa(OUT), policies=False)
    here.add_policy(make_policy(OUT, make_selector("10.1.0.0/16", "10.2.0.0/16", 17, None, (53, 53))))
    here.add_policy(make_policy(IN, make_selector(*EVERYTHING)))
    packet = packet_of(4, udp(destination_port=54))
    assert here.outbound(packet, NOW) == Bypass(packet)
    sent(here.outbound(packet_of(4, udp(destination_port=53)), NOW))


def test_discard() -> None:
    here = sender()
    policy = make_policy(OUT, order=0, action=Action.DISCARD)
    here.add_policy(policy)
    assert here.outbound(packet_of(4), NOW) == Drop(Reason.DISCARD, None, policy)
    here.remove_policy(policy)
    sent(here.outbound(packet_of(4), NOW))


def test_without_an_sa_it_fails_closed() -> None:
    here = sender()
    here.remove_sa(make_sa(OUT))
    here.add_sa(make_sa(OUT, protocol=Protocol.AH), now=NOW)
    drop = dropped(here.outbound(packet_of(4), NOW))
    assert (drop.reason, drop.sa, drop.record) == (Reason.NO_SA_OUT, None, None)
    assert drop.policy is not None and drop.policy.reqid == REQID


@pytest.mark.parametrize("mode", list(Mode))
@pytest.mark.parametrize("policy_mode", list(Mode))
@pytest.mark.parametrize("protocol", list(Protocol))
def test_policy_and_sa_must_agree_on_the_mode(protocol: Protocol, mode: Mode, policy_mode: Mode) -> None:
    here = gateway_of(make_sa(OUT, mode=mode, protocol=protocol), policies=False)
    here.add_policy(make_policy(OUT, mode=policy_mode, protocol=protocol))
    verdict = here.outbound(end_to_end(4), NOW)
    if mode is policy_mode:
        sent(verdict)
    else:
        drop = dropped(verdict)
        assert drop.reason is Reason.PROTOCOL_MISMATCH and drop.sa is not None and drop.policy is not None


# Bundles


def test_a_bundle_needs_both_of_its_sas() -> None:
    here = gateway_of(make_sa(OUT), policies=False)
    here.add_policy(make_policy(OUT, bundle_ah=True))
    assert dropped(here.outbound(packet_of(4), NOW)).reason is Reason.NO_BUNDLE_SA
    here.add_sa(around_it(make_sa(OUT)), now=NOW)
    sent(here.outbound(packet_of(4), NOW))
    here.remove_sa(make_sa(OUT))
    assert dropped(here.outbound(packet_of(4), NOW)).reason is Reason.NO_SA_OUT


def test_the_ah_of_a_bundle_is_in_transport_mode() -> None:
    here = gateway_of(make_sa(OUT), make_sa(OUT, protocol=Protocol.AH, mode=Mode.TUNNEL), policies=False)
    here.add_policy(make_policy(OUT, bundle_ah=True))
    assert dropped(here.outbound(packet_of(4), NOW)).reason is Reason.PROTOCOL_MISMATCH


def test_ah_stands_around_esp() -> None:
    """RFC 4301 section 5: what ESP made is signed with the outer header."""
    out = sent(sender(bundle_ah=True).outbound(packet_of(4), NOW))
    assert (out.packet[9], out.packet[20]) == (51, 50)
    alone = sent(sender().outbound(packet_of(4), NOW)).packet
    assert out.packet[44:] == alone[20:]
    assert out.bundled is not None and (out.record.sa.protocol, out.bundled.sa.protocol) == (Protocol.ESP, Protocol.AH)


# Options that AH can't sign

DAMAGED = bytes.fromhex("07ff0000")


@pytest.mark.parametrize("case", [{"protocol": Protocol.AH}, {"bundle_ah": True}], ids=str)
def test_damaged_options_are_not_signed(case: dict[str, Any]) -> None:
    here = sender(mode=Mode.TRANSPORT, **case)
    assert dropped(here.outbound(end_to_end(4, options=DAMAGED), NOW)).reason is Reason.MALFORMED_HEADER
    large = end_to_end(4, bytes(3000), options=DAMAGED)
    here = sender(mode=Mode.TRANSPORT, path_mtu=1400, **case)
    assert dropped(here.outbound(large, NOW)).reason is Reason.MALFORMED_HEADER


# What is never forwarded


@pytest.mark.parametrize("packet", [b"", b"E", bytes(40), packet_of(4)[:-1], packet_of(6)[:50]])
def test_damaged_headers(packet: bytes) -> None:
    assert sender().outbound(packet, NOW) == Drop(Reason.MALFORMED_HEADER)


@pytest.mark.parametrize("hops", [64, None])
def test_a_packet_that_may_go_no_further(hops: int | None) -> None:
    """RFC 1122 section 3.2.1.7, RFC 8200 section 3."""
    here = sender(header=HeaderRules(hops=hops))
    for version in (4, 6):
        assert dropped(here.outbound(packet_of(version, hops=0), NOW)).reason is Reason.HOP_LIMIT
        sent(here.outbound(packet_of(version, hops=1), NOW))
    transport = sender(mode=Mode.TRANSPORT)
    assert dropped(transport.outbound(end_to_end(4, hops=0), NOW)).reason is Reason.HOP_LIMIT


# What is too large. By the rule for DF and the place to cut; for IPv4 without and with DF, and IPv6 inside:
# `inner` is cut before, `outer` behind, `told` dropped and the source told.

CUTTING = {
    (Copy.COPY, Fragmentation.BEFORE): ("inner", "told", "told"),
    (Copy.COPY, Fragmentation.AFTER): ("outer", "told", "told"),
    (Copy.SET, Fragmentation.BEFORE): ("inner", "told", "told"),
    (Copy.SET, Fragmentation.AFTER): ("inner", "told", "told"),
    (Copy.CLEAR, Fragmentation.BEFORE): ("inner", "outer", "outer"),
    (Copy.CLEAR, Fragmentation.AFTER): ("outer", "outer", "outer"),
}
LARGE = (ipv4(bytes(1480)), ipv4(bytes(1480), flags=DF), ipv6(bytes(1460)))


@pytest.mark.parametrize("outer", [4, 6])
@pytest.mark.parametrize(
    "case", [{}, {"bundle_ah": True}, {"cipher": "aes-gcm128", "encapsulation": UdpPorts()}], ids=str
)
@pytest.mark.parametrize(("rules", "ways"), CUTTING.items(), ids=str)
def test_where_a_large_packet_is_cut(
    rules: tuple[Copy, Fragmentation], ways: tuple[str, str, str], case: dict[str, Any], outer: int
) -> None:
    header, fragmentation = HeaderRules(dont_fragment=rules[0]), rules[1]
    for packet, way in zip(LARGE, ways, strict=True):
        here = sender(outer=outer, path_mtu=1500, header=header, fragmentation=fragmentation, **case)
        there = receiver(outer=outer, **case)
        verdict = here.outbound(packet, NOW)
        if way == "told":
            drop = dropped(verdict)
            assert drop.reason is Reason.TOO_BIG and drop.answer is not None
            continue
        out = sent(verdict)
        pieces = (out.packet, *out.rest)
        assert len(pieces) == 2 and all(len(piece) <= 1500 for piece in pieces)
        is_cut_outside = parsed(out.packet).fragment is not None
        assert is_cut_outside is (way == "outer")
        assert out.record.sequence == (1 if way == "outer" else 2)
        assert out.record.usage.packets == 1 and out.record.usage.octets == len(packet)
        verdicts = [there.inbound(piece, NOW) for piece in pieces]
        arrived = [verdict.packet for verdict in verdicts if isinstance(verdict, Deliver)]
        assert arrived == [packet] if way == "outer" else len(arrived) == 2


def test_pieces_cut_before_arrive_as_fragments_that_scapy_puts_together() -> None:
    packet = ipv4(udp(data=dice(4)(4000)))
    here, there = sender(path_mtu=1500), receiver()
    out = sent(here.outbound(packet, NOW))
    inner = [delivered(there.inbound(piece, NOW)).packet for piece in (out.packet, *out.rest)]
    (whole,) = defragment([IP(piece) for piece in inner])
    assert bytes(whole) == packet


def test_a_path_too_small_for_ipv4_inside_is_cut_behind() -> None:
    """68 octets of IPv4 and no less may be asked of anybody (RFC 791 section 3.2)."""
    here, there = sender(path_mtu=120, outer=4), receiver()
    out = sent(here.outbound(ipv4(bytes(300)), NOW))
    assert len(out.rest) > 1 and all(len(piece) <= 120 for piece in (out.packet, *out.rest))
    assert delivered([there.inbound(piece, NOW) for piece in (out.packet, *out.rest)][-1]).packet == ipv4(bytes(300))


def test_who_sets_df_on_a_path_too_small_sends_nothing_and_tells_nobody_nonsense() -> None:
    here = sender(path_mtu=1280, header=HeaderRules(dont_fragment=Copy.SET))
    drop = dropped(here.outbound(ipv6(bytes(1240)), NOW))
    assert (drop.reason, drop.answer) == (Reason.TOO_BIG, None)


# Traffic flow confidentiality (RFC 4303 section 2.7)


@pytest.mark.parametrize("inner", [4, 6])
def test_short_packets_are_padded_to_one_size(inner: int) -> None:
    here, there = sender(tfc_octets=600), receiver()
    sizes = set()
    for count in (0, 100, 500):
        packet = packet_of(inner, bytes(count))
        out = sent(here.outbound(packet, NOW)).packet
        sizes.add(len(out))
        assert delivered(there.inbound(out, NOW)).packet == packet
    assert len(sizes) == 1
    assert sizes == {len(sent(sender().outbound(ipv4(bytes(580)), NOW)).packet)}
    assert len(sent(here.outbound(packet_of(inner, bytes(900)), NOW)).packet) > min(sizes)


def test_padding_never_makes_a_packet_too_large() -> None:
    here = sender(tfc_octets=65535, path_mtu=1500)
    for count in (0, 1000, 1418):
        out = sent(here.outbound(ipv4(bytes(count), flags=DF), NOW))
        assert not out.rest and len(out.packet) == len(sent(sender().outbound(ipv4(bytes(1418)), NOW)).packet)


# Ports, types and fragments (RFC 4301 sections 4.4.1.1 and 7)


def port_gateway(*ports: tuple[int, int], protocol: int = 17) -> Gateway:
    here = gateway_of(make_sa(OUT), policies=False)
    here.add_policy(
        make_policy(OUT, make_selector(*EVERYTHING, protocol, *([None] if len(ports) == 1 else []), *ports))
    )
    return here


def test_ranges_of_ports() -> None:
    here = port_gateway((1000, 2000), (80, 90))
    for source, destination, fits in (
        (1000, 80, 1),
        (2000, 90, 1),
        (999, 80, 0),
        (2001, 80, 0),
        (1000, 79, 0),
        (1000, 91, 0),
    ):
        verdict = here.outbound(packet_of(4, udp(source, destination)), NOW)
        assert isinstance(verdict, Bypass) is not bool(fits)


def test_types_and_codes() -> None:
    here = port_gateway((ICMP_BASE + 8, ICMP_BASE + 8), (ICMP_BASE, ICMP_BASE), protocol=1)
    for kind, code, fits in ((8, 0, True), (0, 0, False), (8, 1, False)):
        packet = packet_of(4, bytes((kind, code)) + bytes(6), protocol=1)
        assert isinstance(here.outbound(packet, NOW), Bypass) is not fits


def test_a_later_fragment_follows_its_first_one() -> None:
    here = port_gateway((53, 53))
    for number, port, fits in ((1, 53, True), (2, 54, False)):
        first = ipv4(udp(destination_port=port, data=bytes(8)), flags=0x2000, identification=number)
        later = ipv4(bytes(8), flags=0x0002, identification=number)
        for packet in (first, later, later):
            assert isinstance(here.outbound(packet, NOW + 29), Bypass) is not fits


@pytest.mark.parametrize("version", [4, 6])
def test_a_later_fragment_alone_shows_no_ports_to_a_selector_that_asks(version: int) -> None:
    later = (
        ipv4(bytes(8), flags=0x0002)
        if version == 4
        else ipv6(bytes((17, 0, 0, 16, 0, 0, 0, 1)) + bytes(8), protocol=44)
    )
    here = gateway_of(make_sa(OUT), policies=False)
    assert here.outbound(later, NOW) == Bypass(later)
    everything = EVERYTHING if version == 4 else ("::/0", "::/0")
    here.add_policy(make_policy(OUT, make_selector(*everything, 6, None, (53, 53)), label="other protocol"))
    assert here.outbound(later, NOW) == Bypass(later)
    here.add_policy(make_policy(OUT, make_selector(*everything, 17), order=9))
    sent(here.outbound(later, NOW))
    # Even where one without ports would fit: it may belong to the other one's packet.
    here.add_policy(make_policy(OUT, make_selector(*everything, 17, None, (53, 53))))
    assert here.outbound(later, NOW) == Drop(Reason.FRAGMENT_PORTS)


def test_it_does_not_follow_for_ever_nor_another_packets() -> None:
    here = port_gateway((53, 53))
    sent(here.outbound(ipv4(udp(data=bytes(8)), flags=0x2000, identification=1), NOW))
    sent(here.outbound(ipv4(bytes(8), flags=0x0002, identification=1), NOW + 29))
    for number, when in ((1, NOW + 30), (2, NOW)):
        later = ipv4(bytes(8), flags=0x0002, identification=number)
        assert here.outbound(later, when) == Drop(Reason.FRAGMENT_PORTS)


def test_a_fragment_in_a_tunnel_is_sealed_as_it_is() -> None:
    here, there = sender(), receiver()
    for packet in (ipv4(udp(data=bytes(8)), flags=0x2000), ipv4(bytes(8), flags=0x0002)):
        assert delivered(there.inbound(sent(here.outbound(packet, NOW)).packet, NOW)).packet == packet

"""The packet path: every verdict and every reason there is."""

import hmac
import struct
from ipaddress import ip_address

import pytest

from culvert.ipsec import ip
from culvert.ipsec.algorithms import CIPHERS
from culvert.ipsec.drops import Reason
from culvert.ipsec.gateway import Bypass, Deliver, Drop, Gateway, Send
from culvert.ipsec.sa import Direction, Mode, Protocol
from culvert.ipsec.sadb import DuplicateSa, Inbound, Outbound
from culvert.ipsec.spd import Action
from culvert.ipsec.tunnel import CE
from tests.ipsec.building import (
    AUTH_KEY,
    NOW,
    OUTER,
    REQID,
    SPI,
    delivered,
    dice,
    dropped,
    ipv4,
    ipv6,
    make_policy,
    make_sa,
    make_selector,
    packet_of,
    receiver,
    sender,
    sent,
    udp,
)

IN, OUT = Direction.IN, Direction.OUT
LAST = 2**32 - 1


def sealed(inner: bytes, cipher: str = "aes128", outer: int = 4) -> bytes:
    return sent(sender(cipher, outer).outbound(inner, NOW)).packet


def around(clear: bytes, sequence: int = 1) -> bytes:
    """An authentic outer packet of the NULL cipher around any clear text."""
    authenticated = struct.pack("!II", SPI, sequence) + clear
    esp = authenticated + hmac.digest(AUTH_KEY, authenticated, "sha1")[:12]
    return ipv4(esp, protocol=50, source=OUTER[4][0], destination=OUTER[4][1])


def reason_of(gateway: Gateway, packet: bytes) -> Reason:
    return dropped(gateway.inbound(packet, NOW)).reason


@pytest.mark.parametrize("cipher", CIPHERS)
@pytest.mark.parametrize("outer", [4, 6])
@pytest.mark.parametrize("inner", [4, 6])
def test_what_one_sends_the_other_delivers(cipher: str, outer: int, inner: int) -> None:
    here, there = sender(cipher, outer), receiver(cipher, outer)
    for count in range(1, 20):
        packet = packet_of(inner, udp(data=bytes(count)))
        out = sent(here.outbound(packet, NOW + count))
        assert out.destination == OUTER[outer][1]
        assert out.sa is out.record.sa and out.policy.label == f"/Common/ts{inner}"
        assert out.record.sequence == count
        back = delivered(there.inbound(out.packet, NOW + count))
        assert back.packet == packet
        assert back.sa is back.record.sa and back.policy.label == f"/Common/ts{inner}"
        assert back.record.sequence == count
    for record in (*here.sadb, *there.sadb):
        assert record.usage.packets == 19 and record.usage.drops == {}
        assert record.usage.octets == sum(len(packet_of(inner, udp(data=bytes(count)))) for count in range(1, 20))
        assert (record.usage.created, record.usage.last_use) == (NOW, NOW + 19)


def test_what_follows_the_inner_packet_is_not_sealed() -> None:
    packet = packet_of(4)
    assert len(sealed(packet + bytes(100))) == len(sealed(packet))


def test_the_counter_goes_on_where_it_was() -> None:
    here = sender(sequence=41)
    packet = sent(here.outbound(packet_of(4), NOW)).packet
    assert int.from_bytes(packet[24:28]) == 42
    assert reason_of(receiver(sequence=42), packet) is Reason.REPLAY
    delivered(receiver(sequence=41).inbound(packet, NOW))


def test_the_counter_never_wraps() -> None:
    here = sender(sequence=LAST - 1)
    assert sent(here.outbound(packet_of(4), NOW)).record.sequence == LAST
    for _ in range(3):
        drop = dropped(here.outbound(packet_of(4), NOW))
        assert drop.reason is Reason.SEQUENCE_EXHAUSTED
        assert isinstance(drop.record, Outbound) and drop.record.sequence == LAST
    (record,) = here.sadb
    assert record.usage.packets == 1
    assert record.usage.drops == {Reason.SEQUENCE_EXHAUSTED: 3}


def test_a_packet_that_cannot_be_sent_uses_no_number() -> None:
    here = sender()
    assert dropped(here.outbound(ipv4(bytes(65515)), NOW)).reason is Reason.TOO_BIG
    assert sent(here.outbound(packet_of(4), NOW)).record.sequence == 1


@pytest.mark.parametrize(("outer", "room"), [(4, 65535 - 20), (6, 65535)])
def test_the_largest_packet(outer: int, room: int) -> None:
    # SPI and sequence number, IV, ICV; then whole blocks that hold the trailer too.
    largest = (room - 8 - 16 - 12) // 16 * 16 - 2
    packet = ipv4(bytes(largest - 20))
    here, there = sender(outer=outer), receiver(outer=outer)
    assert delivered(there.inbound(sent(here.outbound(packet, NOW)).packet, NOW)).packet == packet
    assert dropped(here.outbound(ipv4(bytes(largest - 19)), NOW)).reason is Reason.TOO_BIG


def test_outbound_without_a_policy_is_bypassed() -> None:
    here = Gateway(dice())
    here.add_sa(make_sa(OUT), now=NOW)
    here.add_policy(make_policy(OUT, make_selector("10.1.0.0/16", "10.2.0.0/16", 17, None, (53, 53))))
    here.add_policy(make_policy(IN, make_selector("0.0.0.0/0", "0.0.0.0/0")))
    packet = packet_of(4, udp(destination_port=54))
    assert here.outbound(packet, NOW) == Bypass(packet)
    sent(here.outbound(packet_of(4, udp(destination_port=53)), NOW))


def test_outbound_discard() -> None:
    here = sender()
    policy = make_policy(OUT, order=0, action=Action.DISCARD)
    here.add_policy(policy)
    assert here.outbound(packet_of(4), NOW) == Drop(Reason.DISCARD, None, policy)
    here.remove_policy(policy)
    sent(here.outbound(packet_of(4), NOW))


def test_outbound_without_an_sa_fails_closed() -> None:
    here = sender()
    here.remove_sa(make_sa(OUT))
    drop = dropped(here.outbound(packet_of(4), NOW))
    assert (drop.reason, drop.sa, drop.record) == (Reason.NO_SA_OUT, None, None)
    assert drop.policy is not None and drop.policy.reqid == REQID


@pytest.mark.parametrize("protocol", list(Protocol))
@pytest.mark.parametrize("mode", list(Mode))
@pytest.mark.parametrize("policy_protocol", list(Protocol))
@pytest.mark.parametrize("policy_mode", list(Mode))
def test_policy_and_sa_must_agree(protocol: Protocol, mode: Mode, policy_protocol: Protocol, policy_mode: Mode) -> None:
    here = Gateway(dice())
    here.add_sa(make_sa(OUT, protocol=protocol, mode=mode), now=NOW)
    here.add_policy(make_policy(OUT, protocol=policy_protocol, mode=policy_mode))
    verdict = here.outbound(packet_of(4), NOW)
    if {protocol, policy_protocol} == {Protocol.ESP} and {mode, policy_mode} == {Mode.TUNNEL}:
        sent(verdict)
    else:
        drop = dropped(verdict)
        assert drop.reason is Reason.PROTOCOL_MISMATCH and drop.sa is not None and drop.policy is not None


@pytest.mark.parametrize("packet", [b"", b"E", bytes(40), packet_of(4)[:-1], packet_of(6)[:50]])
def test_damaged_headers(packet: bytes) -> None:
    assert sender().outbound(packet, NOW) == Drop(Reason.MALFORMED_HEADER)
    assert receiver().inbound(packet, NOW) == Drop(Reason.MALFORMED_HEADER)


def test_a_packet_whose_fragments_hide_its_ports_is_not_taken_for_another() -> None:
    here = Gateway(dice())
    here.add_sa(make_sa(OUT), now=NOW)
    here.add_policy(make_policy(OUT, make_selector("0.0.0.0/0", "0.0.0.0/0", 17, None, (53, 53))))
    later = ipv4(udp(), flags=0x0010)
    assert here.outbound(later, NOW) == Bypass(later)
    here.add_policy(make_policy(OUT, make_selector("0.0.0.0/0", "0.0.0.0/0", 17), order=9))
    sent(here.outbound(later, NOW))


def test_inbound_what_carries_no_ipsec() -> None:
    for packet in (packet_of(4), packet_of(6), packet_of(4, udp(4500, 4500)), packet_of(4, bytes(20), protocol=108)):
        assert receiver().inbound(packet, NOW) == Drop(Reason.PROTOCOL_MISMATCH)


def test_inbound_fragments() -> None:
    packet = bytearray(sealed(packet_of(4)))
    for flags in (0x2000, 0x0001, 0x3FFF):
        packet[6:8] = flags.to_bytes(2)
        assert receiver().inbound(bytes(packet), NOW) == Drop(Reason.FRAGMENT)
    assert receiver(outer=6).inbound(ipv6(b"\x32\0\0\1" + bytes(28), protocol=44), NOW) == Drop(Reason.FRAGMENT)


def test_inbound_in_an_atomic_fragment_or_behind_options_is_whole() -> None:
    packet = sealed(packet_of(4), outer=6)
    atomic = b"\x32" + bytes(7)
    source, destination = OUTER[6]
    wrapped = ipv6(atomic + packet[40:], protocol=44, source=source, destination=destination)
    delivered(receiver(outer=6).inbound(wrapped, NOW))
    packet = sealed(packet_of(4))
    source, destination = OUTER[4]
    wrapped = ipv4(packet[20:], protocol=50, source=source, destination=destination, options=b"\1" * 8)
    delivered(receiver().inbound(wrapped + b"link padding", NOW))


@pytest.mark.parametrize("protocol", [50, 51])
def test_inbound_runts(protocol: int) -> None:
    for count in range(8):
        assert receiver().inbound(ipv4(bytes(count), protocol=protocol), NOW) == Drop(Reason.RUNT)


def test_inbound_without_an_sa() -> None:
    there = receiver()
    good = sealed(packet_of(4))
    source, destination = OUTER[4]
    assert there.inbound(good[:23] + b"\0" + good[24:], NOW) == Drop(Reason.NO_SA_IN)
    assert there.inbound(ipv4(good[20:], protocol=51, source=source, destination=destination), NOW) == Drop(
        Reason.NO_SA_IN
    )
    elsewhere = ipv4(good[20:], protocol=50, source=source, destination=ip_address("192.0.2.3"))
    assert there.inbound(elsewhere, NOW) == Drop(Reason.NO_SA_IN)
    delivered(there.inbound(good, NOW))


def test_inbound_from_another_source() -> None:
    there = receiver()
    forged = ipv4(sealed(packet_of(4))[20:], protocol=50, source=ip_address("192.0.2.9"), destination=OUTER[4][1])
    drop = dropped(there.inbound(forged, NOW))
    assert drop.reason is Reason.OUTER_MISMATCH
    assert drop.sa == make_sa(IN) and drop.policy is None
    assert isinstance(drop.record, Inbound) and drop.record.usage.drops == {Reason.OUTER_MISMATCH: 1}
    assert drop.record.sequence == 0


@pytest.mark.parametrize(("protocol", "mode"), [(Protocol.AH, Mode.TUNNEL), (Protocol.ESP, Mode.TRANSPORT)])
def test_inbound_for_an_sa_that_is_not_opened_here(protocol: Protocol, mode: Mode) -> None:
    there = Gateway(dice())
    there.add_sa(make_sa(IN, protocol=protocol, mode=mode), now=NOW)
    start = struct.pack("!I", SPI) if protocol is Protocol.ESP else struct.pack("!II", 0x04040000, SPI)
    source, destination = OUTER[4]
    packet = ipv4(start + bytes(40), protocol=protocol, source=source, destination=destination)
    drop = dropped(there.inbound(packet, NOW))
    assert drop.reason is Reason.PROTOCOL_MISMATCH and drop.sa is not None


def test_inbound_replay_and_integrity_are_counted_on_the_sa() -> None:
    there = receiver()
    packet = sealed(packet_of(4))
    delivered(there.inbound(packet, NOW))
    assert reason_of(there, packet) is Reason.REPLAY
    assert reason_of(there, packet[:27] + b"\2" + packet[28:]) is Reason.INTEGRITY
    (record,) = there.sadb
    assert record.usage.drops == {Reason.REPLAY: 1, Reason.INTEGRITY: 1}
    assert record.usage.packets == 1


def test_inbound_dummies_are_dropped_quietly_and_count_as_seen() -> None:
    there = receiver("null")
    assert reason_of(there, around(b"no\0\x3b")) is Reason.DUMMY
    assert reason_of(there, around(b"no\0\x3b")) is Reason.REPLAY


@pytest.mark.parametrize("next_header", [0, 6, 17, 43, 50, 58, 60, 255])
def test_inbound_what_is_no_tunnel_payload(next_header: int) -> None:
    clear = udp() + b"\1\2\2" + bytes((next_header,))
    assert len(clear) % 4 == 0
    assert reason_of(receiver("null"), around(clear)) is Reason.PROTOCOL_MISMATCH


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
def test_inbound_what_is_no_ip_packet_inside(clear: bytes) -> None:
    while len(clear) % 4:
        clear = b"x" + clear
    assert reason_of(receiver("null"), around(clear)) is Reason.INNER_MALFORMED


def test_inbound_traffic_flow_padding_is_cut_off() -> None:
    packet = ipv4(udp(data=b"data"))
    clear = packet + bytes(500) + b"\1\2\2\4"
    assert delivered(receiver("null").inbound(around(clear), NOW)).packet == packet


def filtering(*selectors: tuple[str, str, int, int]) -> Gateway:
    """A receiver whose inbound entries are (source, destination, reqid, order)."""
    there = Gateway(dice())
    there.add_sa(make_sa(IN), now=NOW)
    for source, destination, reqid, order in selectors:
        there.add_policy(make_policy(IN, make_selector(source, destination), reqid=reqid, order=order))
    return there


def test_inbound_what_no_selector_allows() -> None:
    there = filtering(("10.1.0.0/24", "10.3.0.0/24", REQID, 1))
    there.add_policy(make_policy(OUT))
    drop = dropped(there.inbound(sealed(packet_of(4)), NOW))
    assert drop.reason is Reason.INNER_MISMATCH and drop.sa is not None and drop.policy is None


def test_inbound_what_only_another_sas_selector_allows() -> None:
    there = filtering(("10.1.0.0/24", "10.2.0.0/24", REQID + 1, 1))
    drop = dropped(there.inbound(sealed(packet_of(4)), NOW))
    assert drop.reason is Reason.INNER_MISMATCH and drop.policy is not None
    assert drop.policy.reqid == REQID + 1
    # The first match decides, even where a later one would allow the packet.
    there.add_policy(make_policy(IN, order=2))
    assert reason_of(there, sealed_second()) is Reason.INNER_MISMATCH
    there.add_policy(make_policy(IN, order=0))
    delivered(there.inbound(sealed_second(3), NOW))


def sealed_second(count: int = 2) -> bytes:
    here = sender()
    return [sent(here.outbound(packet_of(4), NOW)).packet for _ in range(count)][-1]


def test_inbound_discard() -> None:
    there = filtering(("10.1.0.0/24", "10.2.0.0/24", REQID, 5))
    there.add_policy(make_policy(IN, order=1, action=Action.DISCARD))
    drop = dropped(there.inbound(sealed(packet_of(4)), NOW))
    assert drop.reason is Reason.DISCARD and drop.policy is not None and drop.policy.order == 1


@pytest.mark.parametrize(("protocol", "mode"), [(Protocol.AH, Mode.TUNNEL), (Protocol.ESP, Mode.TRANSPORT)])
def test_inbound_policy_and_sa_must_agree(protocol: Protocol, mode: Mode) -> None:
    there = filtering()
    there.add_policy(make_policy(IN, protocol=protocol, mode=mode))
    assert reason_of(there, sealed(packet_of(4))) is Reason.PROTOCOL_MISMATCH


def test_inbound_congestion() -> None:
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


@pytest.mark.parametrize("traffic_class", [0, 1, 2, 3, 0xB8, 0xFF])
@pytest.mark.parametrize("outer", [4, 6])
@pytest.mark.parametrize("inner", [4, 6])
def test_dscp_and_ecn_are_copied_out(traffic_class: int, outer: int, inner: int) -> None:
    datagram = ip.parse(sealed(packet_of(inner, traffic_class=traffic_class), outer=outer))
    assert datagram and datagram.traffic_class == traffic_class


def test_an_sa_is_changed_without_the_other_noticing() -> None:
    here = sender()
    here.add_sa(make_sa(OUT, spi=5000, reqid=8), now=NOW)
    with pytest.raises(DuplicateSa):
        here.add_sa(make_sa(OUT), now=NOW)
    sent(here.outbound(packet_of(4), NOW))
    record = here.remove_sa(make_sa(OUT, spi=5000, reqid=8))
    assert record.usage.packets == 0
    assert sent(here.outbound(packet_of(4), NOW)).record.sequence == 2


def test_verdicts_can_be_taken_apart_by_name_and_place() -> None:
    verdict = sender().outbound(packet_of(4), NOW)
    match verdict:
        case Send(packet, destination, sa, policy):
            assert (packet, destination) == (verdict.packet, OUTER[4][1])
            assert (sa.label, policy.label) == ("/Common/sa-out", "/Common/ts4")
        case _:
            pytest.fail("no Send")
    match receiver().inbound(packet, NOW):
        case Deliver(inner, sa, policy):
            assert inner == packet_of(4) and sa.label == "/Common/sa-in" and policy.label == "/Common/ts4"
        case _:
            pytest.fail("no Deliver")

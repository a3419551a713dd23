"""Transport mode: where the security header goes, and what goes through it."""

import zlib

import pytest
from scapy.layers.inet import IP
from scapy.layers.inet6 import IPv6
from scapy.layers.ipsec import split_for_transport

from culvert.ipsec import transport
from culvert.ipsec.drops import Reason
from culvert.ipsec.fragment import split
from culvert.ipsec.sa import Direction, Fragmentation, Mode, Protocol
from culvert.ipsec.verdict import Drop, Hold
from tests.ipsec.building import (
    NOW,
    OUTER,
    delivered,
    dropped,
    end_to_end,
    gateway_of,
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

TRANSPORT = Mode.TRANSPORT
HOP, ROUTE, DESTINATION = 0, 43, 60


def chain(*kinds: int) -> tuple[int, bytes]:
    """Extension headers that do nothing, UDP behind them; the kind of the first."""
    kinds = (*kinds, 17)
    return kinds[0], b"".join(bytes((after, 0)) + bytes(6) for after in kinds[1:])


# Headers, and how many of them stay in front of ESP (RFC 4303 section 3.1.1).
PLACES = [
    ((), 0),
    ((HOP,), 1),
    ((ROUTE,), 1),
    ((HOP, ROUTE), 2),
    ((HOP, DESTINATION, ROUTE), 3),
    ((HOP, DESTINATION, ROUTE, DESTINATION), 3),
    ((DESTINATION,), 0),
    ((HOP, DESTINATION), 1),
]


@pytest.mark.parametrize(("kinds", "in_front"), PLACES, ids=str)
def test_the_place_in_ipv6(kinds: tuple[int, ...], in_front: int) -> None:
    first, headers = chain(*kinds)
    packet = end_to_end(6, headers + udp(), protocol=first)
    found = transport.place(packet + b"behind", parsed(packet))
    assert found.header + found.payload == packet
    assert len(found.header) == 40 + 8 * in_front
    assert found.header[found.protocol_at] == found.protocol == (*kinds, 17)[in_front]


@pytest.mark.parametrize("kinds", [kinds for kinds, _ in PLACES if DESTINATION not in kinds], ids=str)
def test_scapy_agrees_on_the_place(kinds: tuple[int, ...]) -> None:
    first, headers = chain(*kinds)
    packet = end_to_end(6, headers + udp(), protocol=first)
    header, protocol, payload = split_for_transport(IPv6(packet), 50)
    found = transport.place(packet, parsed(packet))
    assert (found.protocol, found.payload) == (protocol, bytes(payload))
    assert len(found.header) == len(bytes(header))


def test_the_place_in_ipv4_is_behind_the_options() -> None:
    packet = end_to_end(4, udp(), options=b"\x94\4\0\0")
    assert transport.place(packet, parsed(packet)) == (packet[:24], 9, 17, udp())


@pytest.mark.parametrize("protocol", list(Protocol))
@pytest.mark.parametrize("version", [4, 6])
def test_only_the_protocol_and_the_length_of_the_header_change(version: int, protocol: Protocol) -> None:
    fields = {"traffic_class": 0xBB, "hops": 7}
    packet = end_to_end(version, **fields)
    out = sent(sender(outer=version, mode=TRANSPORT, protocol=protocol).outbound(packet, NOW)).packet
    before, after = ((IP if version == 4 else IPv6)(each) for each in (packet, out))
    changed = {name for name in before.fields if before.fields[name] != after.fields.get(name)}
    assert changed == ({"len", "proto", "chksum"} if version == 4 else {"plen", "nh"})
    assert version == 6 or IP(bytes(IP(out))).chksum == IP(out).chksum
    there = receiver(outer=version, mode=TRANSPORT, protocol=protocol)
    assert delivered(there.inbound(out, NOW)).packet == packet


@pytest.mark.parametrize("bundle_ah", [False, True])
@pytest.mark.parametrize(("kinds", "in_front"), PLACES, ids=str)
def test_extension_headers_come_through(kinds: tuple[int, ...], in_front: int, bundle_ah: bool) -> None:
    first, headers = chain(*kinds)
    packet = end_to_end(6, headers + udp(), protocol=first)
    out = sent(sender(outer=6, mode=TRANSPORT, bundle_ah=bundle_ah).outbound(packet, NOW)).packet
    assert parsed(out).protocol == (51 if bundle_ah else 50) and parsed(out).offset == 40 + 8 * in_front
    assert delivered(receiver(outer=6, mode=TRANSPORT, bundle_ah=bundle_ah).inbound(out, NOW)).packet == packet


def test_the_fragment_header_of_a_whole_packet_is_protected_with_it() -> None:
    """RFC 6946."""
    packet = end_to_end(6, bytes((17, 0, 0, 0, 1, 2, 3, 4)) + udp(), protocol=44)
    out = sent(sender(outer=6, mode=TRANSPORT).outbound(packet, NOW)).packet
    assert parsed(out).protocol == 50 and parsed(out).offset == 40
    assert delivered(receiver(outer=6, mode=TRANSPORT).inbound(out, NOW)).packet == packet


@pytest.mark.parametrize("version", [4, 6])
def test_it_protects_only_what_goes_from_end_to_end(version: int) -> None:
    source, destination = OUTER[version]
    for packet in (
        packet_of(version),
        packet_of(version, source=source),
        packet_of(version, destination=destination),
        packet_of(10 - version),
    ):
        assert dropped(sender(outer=version, mode=TRANSPORT).outbound(packet, NOW)).reason is Reason.NOT_AN_END


@pytest.mark.parametrize("version", [4, 6])
def test_pieces_are_put_together_first_and_cut_again_behind(version: int) -> None:
    """RFC 4303 section 3.3.4: whole packets only."""
    packet = end_to_end(version, udp(data=bytes(3000)))
    here = sender(outer=version, mode=TRANSPORT, path_mtu=1400)
    *holds, last = (here.outbound(piece, NOW) for piece in reversed(pieces_of(packet, 1500)))
    assert holds == [Hold()] * 2
    out = sent(last)
    assert all(len(piece) <= 1400 for piece in (out.packet, *out.rest)) and len(out.rest) == 2
    (record,) = here.sadb
    assert (record.usage.packets, record.sequence) == (1, 1)
    there = receiver(outer=version, mode=TRANSPORT)
    *holds, last = (there.inbound(piece, NOW) for piece in (*out.rest, out.packet))
    assert holds == [Hold()] * 2
    assert delivered(last).packet == packet


def pieces_of(packet: bytes, mtu: int) -> list[bytes]:
    return split(packet, parsed(packet), mtu, 77)


def test_pieces_that_contradict_each_other_are_dropped_on_the_way_out() -> None:
    here = sender(mode=TRANSPORT)
    piece, *_ = pieces_of(end_to_end(4, bytes(3000)), 1500)
    assert here.outbound(piece, NOW) == Hold()
    assert here.outbound(piece, NOW) == Hold()
    drop = dropped(here.outbound(piece[:-1] + b"x", NOW))
    assert (drop.reason, drop.policy is not None) == (Reason.REASSEMBLY, True)


@pytest.mark.parametrize("reserved", [0, 1, 255])
def test_a_fragment_of_a_fragment_is_never_whole(reserved: int) -> None:
    """RFC 4303 section 3.3.4 and 3.4.1. The reserved octet stands where other headers have their length."""
    pieces = [
        end_to_end(
            6, bytes((44, reserved, 0, 1, 0, 0, 0, 1)) + bytes((17, 0, 0, 1, 0, 0, 0, 2)) + bytes(8), protocol=44
        ),
        end_to_end(
            6, bytes((44, reserved, 0, 1, 0, 0, 0, 1)) + bytes((17, 0, 0, 8, 0, 0, 0, 2)) + bytes(8), protocol=44
        ),
    ]
    here, there = sender(outer=6, mode=TRANSPORT), receiver(outer=6, mode=TRANSPORT)
    for judge in (here.outbound, there.inbound):
        assert judge(pieces[0], NOW) == Hold()
        assert dropped(judge(pieces[1], NOW)).reason is Reason.FRAGMENT


@pytest.mark.parametrize("fragmentation", list(Fragmentation))
def test_what_is_too_large_is_cut_behind_or_told(fragmentation: Fragmentation) -> None:
    for version, flags in ((4, 0), (4, 0x4000), (6, 0)):
        fields = {"flags": flags} if version == 4 else {}
        packet = end_to_end(version, udp(data=bytes(1400)), **fields)
        here = sender(outer=version, mode=TRANSPORT, path_mtu=1400, fragmentation=fragmentation)
        verdict = here.outbound(packet, NOW)
        if version == 4 and not flags:
            assert len(sent(verdict).rest) == 1
        else:
            drop = dropped(verdict)
            assert drop.reason is Reason.TOO_BIG and drop.answer is not None


@pytest.mark.parametrize("version", [4, 6])
def test_a_long_header_in_front_of_what_just_fitted_a_short_one(version: int) -> None:
    """The length field counts the options of IPv4 and the extension headers of IPv6."""
    here = sender("null", outer=version, mode=TRANSPORT)
    reasons = set()
    for size in range(65435, 65475, 4):
        if version == 4:
            packet = end_to_end(4, bytes(size), options=b"\1" * 40)
        else:
            packet = end_to_end(6, bytes((17, 7)) + bytes(62) + bytes(size), protocol=HOP)
        verdict = here.outbound(packet, NOW)
        reasons.add(verdict.reason if isinstance(verdict, Drop) else None)
        if not isinstance(verdict, Drop):
            assert delivered(receiver("null", outer=version, mode=TRANSPORT).inbound(sent(verdict).packet, NOW))
    assert reasons == {None, Reason.TOO_BIG}


def test_what_decompresses_to_more_than_an_ip_packet_is_refused() -> None:
    """65515 octets behind a header of 20 are the most."""
    for size, fits in ((65515, True), (65516, False)):
        here, there = sender(mode=TRANSPORT), receiver(mode=TRANSPORT, compression=2)
        state = zlib.compressobj(wbits=-15)
        payload = bytes((17, 0, 0, 2)) + state.compress(bytes(size)) + state.flush()
        verdict = there.inbound(sent(here.outbound(end_to_end(4, payload, protocol=108), NOW)).packet, NOW)
        if fits:
            assert delivered(verdict).packet == end_to_end(4, bytes(size))
        else:
            assert dropped(verdict).reason is Reason.DECOMPRESSION


# RFC 4301 section 5.2: what is inside must be what the selector speaks of. A tunnel inside isn't asked who it is.
@pytest.mark.parametrize("version", [4, 6])
@pytest.mark.parametrize("inside", [4, 41])
def test_a_tunnel_inside_only_if_the_selector_names_it(version: int, inside: int) -> None:
    packet = end_to_end(version, packet_of(4 if inside == 4 else 6), protocol=inside)
    out = sent(sender(outer=version, mode=TRANSPORT).outbound(packet, NOW)).packet
    assert dropped(receiver(outer=version, mode=TRANSPORT).inbound(out, NOW)).reason is Reason.MODE_MISMATCH
    everything = ("0.0.0.0/0",) * 2 if version == 4 else ("::/0",) * 2
    for named, reason in ((inside, None), (None, Reason.MODE_MISMATCH)):
        there = gateway_of(make_sa(Direction.IN, outer=version, mode=TRANSPORT), policies=False)
        there.add_policy(make_policy(Direction.IN, make_selector(*everything, named), mode=TRANSPORT))
        verdict = there.inbound(out, NOW)
        if reason is None:
            assert delivered(verdict).packet == packet
        else:
            assert dropped(verdict).reason is reason


def test_a_tunnel_hidden_behind_options_is_found_too() -> None:
    first, headers = DESTINATION, bytes((41, 0)) + bytes(6)
    packet = end_to_end(6, headers + ipv6(udp()), protocol=first)
    out = sent(sender(outer=6, mode=TRANSPORT).outbound(packet, NOW)).packet
    assert dropped(receiver(outer=6, mode=TRANSPORT).inbound(out, NOW)).reason is Reason.MODE_MISMATCH

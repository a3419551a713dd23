"""Packets cut, put together and followed; and everything that somebody who plays with fragments can try."""

import random as seeded
import struct
from collections.abc import Sequence

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scapy.layers.inet import IP, defragment
from scapy.layers.inet import fragment as scapy_fragment
from scapy.layers.inet6 import IPv6, defragment6

from culvert.ipsec import fragment, ip
from culvert.ipsec.drops import Reason
from culvert.ipsec.fragment import Reassembler, Trail, key_of, split, unfragmentable
from tests.ipsec.building import INNER, NOW, ipv4, ipv6, packet_of, parsed

NUMBER = 0x5EED1234
COPIED, NOT_COPIED = bytes.fromhex("94040000"), bytes.fromhex("0707040a0000010100")[:7] + b"\x01"


def octets(count: int) -> bytes:
    return seeded.Random(count).randbytes(count)


def cut(packet: bytes, mtu: int) -> list[bytes]:
    return split(packet, parsed(packet), mtu, NUMBER)


def together(pieces: Sequence[bytes], reassembler: Reassembler | None = None) -> list[bytes | Reason | None]:
    ready = Reassembler() if reassembler is None else reassembler
    return [ready.add(piece, parsed(piece), NOW) for piece in pieces]


def plain4(packet: bytes) -> bytes:
    """Without what putting together can't know: the DF bit."""
    changed = bytearray(packet)
    changed[6:8] = changed[10:12] = bytes(2)
    changed[10:12] = ip.checksum(bytes(changed[: 4 * (packet[0] & 15)])).to_bytes(2)
    return bytes(changed)


def chained(payload: bytes) -> bytes:
    """IPv6 with options for every router, a route, and options for the destination only."""
    chain = bytes((60, 0)) + bytes(6) + bytes((43, 0)) + bytes(6)
    chain += bytes((60, 2, 0, 0)) + bytes(20) + bytes((17, 0)) + bytes(6)
    return ipv6(chain + payload, protocol=0)


# Cutting


@pytest.mark.parametrize("mtu", [68, 100, 576, 1280, 1500])
@pytest.mark.parametrize("size", [0, 1, 47, 48, 49, 1480, 1481, 9000])
def test_scapy_puts_our_ipv4_pieces_together(size: int, mtu: int) -> None:
    packet = ipv4(octets(size), identification=77, options=COPIED)
    pieces = cut(packet, mtu)
    assert all(len(piece) <= mtu and ip.checksum(piece[: 4 * (piece[0] & 15)]) == 0 for piece in pieces)
    (whole,) = defragment([IP(piece) for piece in pieces])
    assert bytes(whole) == packet


@pytest.mark.parametrize("mtu", [1280, 1500])
@pytest.mark.parametrize("size", [1232, 1233, 1460, 9000, 65000])
def test_scapy_puts_our_ipv6_pieces_together(size: int, mtu: int) -> None:
    packet = ipv6(octets(size), protocol=59)
    pieces = cut(packet, mtu)
    assert all(len(piece) <= mtu for piece in pieces)
    if len(pieces) > 1:
        whole = defragment6([IPv6(piece) for piece in pieces])
        assert bytes(whole) == packet
        assert {IPv6(piece)[1].id for piece in pieces} == {NUMBER}
    else:
        assert pieces == [packet] and len(packet) <= mtu


@pytest.mark.parametrize("size", [100, 1000, 4000])
def test_ipv4_pieces_are_those_of_scapy(size: int) -> None:
    packet = ipv4(octets(size), identification=9)
    assert cut(packet, 20 + 504) == [bytes(piece) for piece in scapy_fragment(IP(packet), 504)]


def test_only_options_with_the_copied_bit_are_in_every_piece() -> None:
    """RFC 791 section 3.1; what fills up to a multiple of four is left to the end."""
    pieces = cut(ipv4(octets(100), options=b"\x01" + NOT_COPIED + COPIED[:4] + bytes(3)), 92)
    assert len(pieces) > 1
    assert pieces[0][20:36] == b"\x01" + NOT_COPIED + COPIED + bytes(3)
    assert {piece[20 : 4 * (piece[0] & 15)] for piece in pieces[1:]} == {COPIED}


@pytest.mark.parametrize("options", ["8301", "83000000", "830900ff", "00940400", "010183"])
def test_damaged_options_end_what_is_copied(options: str) -> None:
    damaged = bytes.fromhex(options)
    damaged += bytes(-len(damaged) % 4)
    if options == "010183":
        damaged = b"\x01\x01\x01\x83"
    pieces = cut(ipv4(octets(100), options=damaged), 60)
    assert {piece[0] for piece in pieces[1:]} == {0x45}
    assert together(pieces)[-1] == ipv4(octets(100), options=damaged)


def test_a_piece_cut_again_stays_a_piece() -> None:
    packet = ipv4(octets(3000))
    pieces = [again for piece in cut(packet, 1500) for again in cut(piece, 300)]
    assert together(pieces)[-1] == packet
    assert [parsed(piece).fragment.more for piece in pieces] == [True] * (len(pieces) - 1) + [False]  # type: ignore[union-attr]


def test_an_absurd_size_gives_pieces_of_eight_octets() -> None:
    for packet in (ipv4(octets(100)), ipv6(octets(100))):
        for mtu in (0, 8, 27):
            assert together(cut(packet, mtu))[-1] == packet


@pytest.mark.parametrize("mtu", [-8, 0, 19, 1280])
def test_what_has_nothing_behind_its_headers_stays_whole(mtu: int) -> None:
    large = ipv6(bytes((59, 180)) + bytes(8 * 181 - 2), protocol=0)
    for packet in (ipv4(b""), ipv4(b"", options=COPIED * 10), ipv6(b""), large):
        assert cut(packet, mtu) == [packet]
        assert split(packet + b"padding", parsed(packet), mtu, NUMBER) == [packet]


def test_what_follows_the_packet_is_in_no_piece() -> None:
    for packet in (ipv4(octets(100)), ipv6(octets(100))):
        for mtu in (60, 1500):
            assert split(packet + b"padding", parsed(packet), mtu, NUMBER) == cut(packet, mtu)


def test_headers_for_routers_are_in_every_ipv6_piece() -> None:
    """RFC 8200 section 4.5: hop-by-hop, and destination options only in front of a routing header."""
    packet = chained(octets(100))
    assert unfragmentable(packet, parsed(packet)) == (40 + 8 + 8 + 24, 56)
    pieces = cut(packet, 140)
    assert len(pieces) > 1
    for piece in pieces:
        assert piece[40:56] == packet[40:56] and piece[56] == 44 and piece[57:80] == packet[57:80]
        assert piece[80] == 60
    assert together(pieces)[-1] == packet
    no_route = ipv6(bytes((60, 0)) + bytes(6) + bytes((17, 0)) + bytes(6) + octets(40), protocol=0)
    assert unfragmentable(no_route, parsed(no_route)) == (48, 40)


# Putting together


@settings(max_examples=150, deadline=None)
@given(st.sampled_from((4, 6, 60)), st.integers(0, 2000), st.integers(48, 700), st.data())
def test_cut_and_put_together_is_the_same_in_any_order(kind: int, size: int, mtu: int, data: st.DataObject) -> None:
    make = {4: ipv4, 6: ipv6, 60: chained}[kind]
    packet = make(octets(size))
    mtu += 60 if kind == 60 else 20 if kind == 6 else 0
    pieces = data.draw(st.permutations(cut(packet, mtu)))
    if len(pieces) == 1:
        assert pieces == [packet]
        return
    assume(len(pieces) <= fragment.PIECES_MAX)
    reassembler = Reassembler()
    *before, last = together(pieces, reassembler)
    assert before == [None] * len(before) and last == packet
    assert (len(reassembler), reassembler._octets) == (0, 0)


@settings(max_examples=100, deadline=None)
@given(st.sampled_from((4, 6)), st.data())
def test_an_exact_duplicate_changes_nothing(version: int, data: st.DataObject) -> None:
    """RFC 8200 section 4.5: networks say things twice; what differs by one bit kills its packet (RFC 5722)."""
    packet = packet_of(version, octets(1000))
    pieces = data.draw(st.permutations(cut(packet, 300)))
    at = data.draw(st.integers(0, len(pieces) - 2))
    reassembler = Reassembler()
    found = together([*pieces[: at + 1], pieces[at], *pieces[at + 1 :]], reassembler)
    assert found[:-1] == [None] * len(pieces) and found[-1] == packet
    assert (len(reassembler), reassembler._octets) == (0, 0)
    other = pieces[at][:-1] + bytes((pieces[at][-1] ^ 1,))
    assert together([*pieces[: at + 1], other], reassembler)[-1] is Reason.REASSEMBLY
    assert (len(reassembler), reassembler._octets) == (0, 0)


def piece4(start: int, count: int, more: bool, number: int = 1, **fields: int) -> bytes:
    flags = start // 8 | (0x2000 if more else 0)
    return ipv4(octets(count), flags=flags, identification=number, **fields)


def piece6(start: int, count: int, more: bool, number: int = 1, protocol: int = 17, **fields: int) -> bytes:
    return ipv6(struct.pack("!BBHI", protocol, 0, start | more, number) + octets(count), protocol=44, **fields)


@pytest.mark.parametrize("piece", [piece4, piece6])
@pytest.mark.parametrize(
    "pieces",
    [
        [(0, 16, True), (8, 16, True)],
        [(8, 16, True), (0, 16, True)],
        [(0, 32, True), (8, 8, True)],
        [(8, 8, True), (0, 32, True)],
        [(16, 8, False), (16, 16, True)],
        [(16, 8, False), (24, 8, True)],
        [(16, 8, False), (24, 8, False)],
        [(16, 8, False), (8, 4, False)],
        [(16, 8, True), (8, 8, False)],
        [(32, 8, True), (16, 8, True), (24, 24, False)],
    ],
    ids=str,
)
def test_overlaps_and_contradictions(piece, pieces: list[tuple[int, int, bool]]) -> None:  # type: ignore[no-untyped-def]
    reassembler = Reassembler()
    *before, last = together([piece(*each) for each in pieces], reassembler)
    assert before == [None] * len(before) and last is Reason.REASSEMBLY
    assert (len(reassembler), reassembler._octets) == (0, 0)


@pytest.mark.parametrize("piece", [piece4, piece6])
def test_pieces_that_are_part_of_no_packet(piece) -> None:  # type: ignore[no-untyped-def]
    for start, count, more in ((0, 9, True), (8, 15, True), (8, 0, False), (0, 0, True), (65528, 8, False)):
        reassembler = Reassembler()
        assert together([piece(start, count, more)], reassembler) == [Reason.FRAGMENT]
        assert len(reassembler) == 0
    assert together([piece(65528, 7, False)]) == [None]


def test_a_packet_that_would_be_larger_than_its_length_field() -> None:
    pieces = [piece4(start, 8000, True) for start in range(0, 64000, 8000)]
    assert together([*pieces, piece4(64000, 1516, False)])[-1] is Reason.FRAGMENT
    last = together([*pieces, piece4(64000, 1515, False)])[-1]
    assert isinstance(last, bytes) and len(last) == 65535
    pieces = [piece6(start, 8000, True) for start in range(0, 64000, 8000)]
    last = together([*pieces, piece6(64000, 1535, False)])[-1]
    assert isinstance(last, bytes) and len(last) == 40 + 65535
    chain = bytes((44, 0)) + bytes(6)
    first = ipv6(chain + pieces[0][40:], protocol=0)
    assert together([first, *pieces[1:], piece6(64000, 1535, False)])[-1] is Reason.FRAGMENT


def test_too_many_pieces() -> None:
    reassembler = Reassembler()
    pieces = [piece4(8 * at, 8, True) for at in range(fragment.PIECES_MAX + 1)]
    *before, last = together(pieces, reassembler)
    assert before == [None] * fragment.PIECES_MAX and last is Reason.REASSEMBLY
    assert len(reassembler) == 0


def test_too_many_packets_refuse_new_ones_and_keep_the_old() -> None:
    reassembler = Reassembler()
    first = [piece4(0, 8, True, number) for number in range(fragment.PACKETS_MAX)]
    assert together(first, reassembler) == [None] * fragment.PACKETS_MAX
    assert together([piece4(0, 8, True, 9999)], reassembler) == [Reason.REASSEMBLY]
    assert isinstance(together([piece4(8, 8, False, 5)], reassembler)[0], bytes)
    assert together([piece4(0, 8, True, 9999)], reassembler) == [None]


def test_memory_is_bounded() -> None:
    reassembler = Reassembler()
    results = [
        reassembler.add(piece, parsed(piece), NOW)
        for number in range(100)
        for piece in (piece4(60000 * place // 8 * 8, 59992, True, number) for place in (0, 1))
        if parsed(piece).fragment.offset + 59992 < 65536  # type: ignore[union-attr]
    ]
    assert Reason.REASSEMBLY in results and results[0] is None
    assert reassembler._octets <= fragment.OCTETS_MAX
    assert reassembler._octets == sum(each.octets for each in reassembler._waiting.values())


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 6), st.integers(0, 40), st.booleans(), st.integers(0, 3)), max_size=40))
def test_accounts_stay_right_whatever_comes(story: list[tuple[int, int, bool, int]]) -> None:
    reassembler = Reassembler()
    for place, count, more, number in story:
        piece = piece4(8 * place, count, more, number)
        datagram = parsed(piece)
        if datagram.fragment is not None:
            result = reassembler.add(piece, datagram, NOW)
            if isinstance(result, bytes):
                assert parsed(result).fragment is None
    assert reassembler._octets == sum(each.octets for each in reassembler._waiting.values())
    waiting = len(reassembler)
    assert len(list(reassembler.expire(NOW + fragment.WAIT_SECONDS))) == waiting
    assert (len(reassembler), reassembler._octets) == (0, 0)


@pytest.mark.parametrize("piece", [piece4, piece6])
def test_only_what_belongs_together_is_put_together(piece) -> None:  # type: ignore[no-untyped-def]
    first = piece(0, 8, True)
    other = INNER[first[0] >> 4][0]
    for later in (piece(8, 8, False, number=2), piece(8, 8, False, source=other, destination=other)):
        assert together([first, later]) == [None, None]


def test_the_protocol_tells_packets_apart_in_ipv4_only() -> None:
    """RFC 791 section 3.2; RFC 8200 section 4.5: only the first fragment's counts."""
    assert together([piece4(0, 8, True), piece4(8, 8, False, protocol=6)]) == [None, None]
    last = together([piece6(8, 8, False, protocol=6), piece6(0, 8, True)])[-1]
    assert isinstance(last, bytes) and last[6] == 17


def test_the_reserved_octet_of_a_fragment_header_is_no_length() -> None:
    """In front of it one that says the packet is whole (RFC 6946), with an octet set that is to be ignored."""
    chain = bytes((60, 1)) + bytes(6) + bytes((44, 0)) + bytes(6)
    pieces = [ipv6(chain + struct.pack("!BBHI", 17, 0, place, 7) + octets(8), protocol=44) for place in (0 | 1, 8)]
    named = bytes((60, 1)) + bytes(6) + bytes((17, 0)) + bytes(6)
    assert together(pieces) == [None, ipv6(named + octets(8) + octets(8), protocol=44)]


def test_what_waited_too_long_is_given_up_oldest_first() -> None:
    reassembler = Reassembler()
    for number in range(3):
        piece = piece4(0, 8, True, number)
        assert reassembler.add(piece, parsed(piece), NOW + number) is None
    late = piece4(16, 8, True, 0)
    assert reassembler.add(late, parsed(late), NOW + 20) is None
    assert list(reassembler.expire(NOW + 29.9)) == []
    assert list(reassembler.expire(NOW + 31)) == [late, piece4(0, 8, True, 1)]
    assert len(reassembler) == 1
    assert list(reassembler.expire(NOW + 99)) == [piece4(0, 8, True, 2)]
    assert list(reassembler.expire(NOW + 99)) == []


# Marks of two pieces, and of the whole. RFC 3168 section 5.3.
MARKS = {(0, 0): 0, (2, 2): 2, (1, 1): 1, (2, 3): 3, (3, 2): 3, (1, 3): 3, (3, 3): 3, (0, 3): None, (3, 0): None}


@pytest.mark.parametrize("piece", [piece4, piece6])
@pytest.mark.parametrize(("marks", "whole"), MARKS.items(), ids=str)
def test_no_mark_of_congestion_is_lost(piece, marks: tuple[int, int], whole: int | None) -> None:  # type: ignore[no-untyped-def]
    first, second = piece(0, 8, True, traffic_class=0xA8 | marks[0]), piece(8, 8, False, traffic_class=0xA8 | marks[1])
    for pieces in ([first, second], [second, first]):
        result = together(pieces)[-1]
        if whole is None:
            assert result is Reason.CONGESTION
        else:
            assert isinstance(result, bytes) and parsed(result).traffic_class == 0xA8 | whole
            assert result[0] >> 4 == 6 or ip.checksum(result[:20]) == 0


# Following


def test_a_trail_is_followed_for_a_while() -> None:
    trail: Trail[str] = Trail()
    trail.lay("packet", "came to a", NOW)
    assert trail.follow("packet", NOW + 29) == "came to a"
    assert trail.follow("packet", NOW + 30) is None and trail.follow("other", NOW) is None
    trail.lay("packet", "came to b", NOW + 29)
    assert trail.follow("packet", NOW + 58) == "came to b"
    trail.clear()
    assert trail.follow("packet", NOW + 29) is None


def test_a_trail_forgets_the_oldest() -> None:
    trail: Trail[int] = Trail()
    for number in range(fragment.TRAIL_MAX + 1):
        trail.lay(number, number, NOW)
        trail.lay(1, 1, NOW)
    assert trail.follow(0, NOW) is None
    assert trail.follow(1, NOW) == 1 and trail.follow(fragment.TRAIL_MAX, NOW) == fragment.TRAIL_MAX


def test_the_key_of_a_fragment() -> None:
    source, destination = INNER[4]
    assert key_of(parsed(piece4(8, 8, True, 77))) == (source.packed, destination.packed, 17, 77)
    source, destination = INNER[6]
    assert key_of(parsed(piece6(8, 8, True, 77))) == (source.packed, destination.packed, 0, 77)

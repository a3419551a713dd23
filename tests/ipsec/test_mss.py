"""TCP's segment size in SYNs: made smaller, never larger, and every checksum stays right."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scapy.layers.inet import IP, TCP
from scapy.layers.inet6 import IPv6, in6_chksum
from scapy.utils import checksum as scapy_checksum

from culvert.ipsec import mss
from culvert.ipsec.sa import Direction, Mode, Protocol
from tests.ipsec.building import (
    INNER,
    NOW,
    OUTER,
    delivered,
    gateway_of,
    make_sa,
    parsed,
    receiver,
    sender,
    sent,
)

OPTIONS = [("NOP", None), ("SAckOK", b""), ("WScale", 7), ("Timestamp", (1, 2))]


def segment(version: int, options: list[tuple[str, Any]], flags: str = "S", data: bytes = b"", **ends: Any) -> bytes:
    source, destination = ends.get("ends", INNER[version])
    network = (IP if version == 4 else IPv6)(src=str(source), dst=str(destination))
    return bytes(network / TCP(sport=1111, dport=443, flags=flags, options=options) / data)


def size_in(packet: bytes) -> int | None:
    options = dict(first_two for first_two in read(packet)[TCP].options if len(first_two) == 2)
    return options.get("MSS")


def read(packet: bytes) -> Any:
    return (IP if packet[0] >> 4 == 4 else IPv6)(packet)


def is_right(packet: bytes) -> bool:
    """By scapy: the TCP checksum of the octets as they are."""
    network = read(packet)
    octets = bytes(packet[parsed(packet).offset : parsed(packet).length])
    if network.version == 6:
        return in6_chksum(6, network, octets) in (0, 0xFFFF)
    pseudo = packet[12:20] + b"\0\6" + len(octets).to_bytes(2)
    return scapy_checksum(pseudo + octets) == 0


def clamped(packet: bytes, largest: int) -> bytes:
    return mss.clamped(packet, parsed(packet), largest)


@settings(max_examples=150, deadline=None)
@given(
    st.sampled_from((4, 6)),
    st.lists(st.sampled_from(OPTIONS), max_size=4),
    st.integers(1, 65535),
    st.integers(1, 65535),
    st.sampled_from(("S", "SA", "SEC")),
    st.binary(max_size=9),
)
def test_a_syn_asks_for_no_more_and_its_checksum_is_right(
    version: int, before: list[tuple[str, Any]], wanted: int, largest: int, flags: str, data: bytes
) -> None:
    """Options of odd length in front put the value at an odd place of the segment."""
    packet = segment(version, [*before[:3], ("MSS", wanted)], flags, data)
    assert is_right(packet)
    changed = clamped(packet + b"behind", largest)[: len(packet)]
    assert size_in(changed) == min(wanted, largest)
    assert is_right(changed)
    value_at = [at for at in range(len(packet)) if packet[at] != changed[at]]
    assert wanted > largest or not value_at


@pytest.mark.parametrize("fill", [0, 1])
def test_both_places(fill: int) -> None:
    packet = segment(4, [("NOP", None)] * fill + [("MSS", 1460)])
    assert (packet.index(b"\2\4\5\xb4") + 2 - 20) % 2 == fill
    changed = clamped(packet, 1300)
    assert size_in(changed) == 1300 and is_right(changed)


def test_a_wrong_checksum_stays_wrong() -> None:
    packet = bytearray(segment(4, [("MSS", 1460)]))
    packet[36] ^= 0x55
    assert not is_right(clamped(bytes(packet), 1300))


def test_what_is_left_alone() -> None:
    wanted = [("MSS", 1460)]
    fragment = bytearray(segment(4, wanted))
    fragment[6] = 0x20
    short = segment(4, wanted)[:39]
    short = short[:2] + (39).to_bytes(2) + short[4:]
    other = segment(4, wanted)
    other = other[:9] + b"\x11" + other[10:]
    for packet in (segment(4, wanted, "A"), segment(4, [("SAckOK", b"")]), bytes(fragment), short, other):
        assert clamped(packet, 100) == packet


@pytest.mark.parametrize(
    ("options", "found"),
    [
        ("02040fff", True),
        ("0101010102040fff", True),
        ("0002040fff010101", False),
        ("0201020402040fff", False),
        ("0300020402040fff", False),
        ("01010204", False),
        ("1e0602040fff0101", False),
        ("02060fff00000000", False),
        ("01010102", False),
        ("", False),
    ],
)
def test_options_as_they_may_come(options: str, found: bool) -> None:
    octets = bytes.fromhex(options)
    octets += bytes(-len(octets) % 4)
    plain = segment(4, [])
    header = bytearray(plain + octets)
    header[2:4] = len(header).to_bytes(2)
    header[32] = (5 + len(octets) // 4) << 4
    assert (clamped(bytes(header), 100) != bytes(header)) is found


def test_a_data_offset_that_lies() -> None:
    packet = bytearray(segment(4, [("MSS", 1460)]))
    for words in range(16):
        packet[32] = words << 4
        assert (clamped(bytes(packet), 100) != bytes(packet)) is (words >= 6)


# Through a gateway


CASES: list[dict[str, Any]] = [
    {},
    {"cipher": "aes-gcm128"},
    {"protocol": Protocol.AH},
    {"bundle_ah": True},
    {"mode": Mode.TRANSPORT},
    {"mode": Mode.TRANSPORT, "bundle_ah": True},
]


@pytest.mark.parametrize("case", CASES, ids=str)
@pytest.mark.parametrize("outer", [4, 6])
def test_segments_of_the_size_let_by_fit(outer: int, case: dict[str, Any]) -> None:
    ends = OUTER[outer] if "mode" in case else INNER[outer]
    syn = segment(outer, [("MSS", 9000)], ends=ends)
    out = sent(sender(outer=outer, mss=0, path_mtu=1492, **case).outbound(syn, NOW))
    there = receiver(outer=outer, **case)
    size = size_in(delivered(there.inbound(out.packet, NOW)).packet)
    assert size is not None
    full = segment(outer, [], "A", bytes(size), ends=ends)
    assert not sent(sender(outer=outer, path_mtu=1492, **case).outbound(full, NOW)).rest
    over = sender(outer=outer, path_mtu=1492, **case).outbound(segment(outer, [], "A", bytes(size + 1), ends=ends), NOW)
    assert not hasattr(over, "rest") or over.rest
    # The way back is as wide as the way in.
    unchanged = sent(sender(outer=outer, **case).outbound(syn, NOW)).packet
    there = receiver(outer=outer, mss=0, path_mtu=1492, **case)
    assert size_in(delivered(there.inbound(unchanged, NOW)).packet) == size


@pytest.mark.parametrize(("setting", "result"), [(None, 1460), (0, 1398), (1300, 1300), (1450, 1398), (1, 1)])
def test_the_setting(setting: int | None, result: int) -> None:
    """1500 octets: a packet of 1438 fits (overhead tests), and 40 of them are headers."""
    syn = segment(4, [("MSS", 1460)])
    here = sender(mss=setting, path_mtu=1500)
    assert size_in(delivered(receiver().inbound(sent(here.outbound(syn, NOW)).packet, NOW)).packet) == result
    there = receiver(mss=setting, path_mtu=1500)
    assert size_in(delivered(there.inbound(sent(sender().outbound(syn, NOW)).packet, NOW)).packet) == result


def test_where_no_segment_fits_it_is_one() -> None:
    syn = segment(4, [("MSS", 1460)])
    here = gateway_of(make_sa(Direction.OUT, mss=0, path_mtu=100))
    out = sent(here.outbound(syn, NOW))
    there = receiver()
    results = [there.inbound(piece, NOW) for piece in (out.packet, *out.rest)]
    assert size_in(delivered(results[-1]).packet) == 1

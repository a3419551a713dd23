""" "Too big": what inner sources are told, and what is believed of routers."""

import struct
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scapy.layers.inet import ICMP, IP
from scapy.layers.inet6 import ICMPv6PacketTooBig, IPv6, in6_chksum
from scapy.utils import checksum

from culvert.ipsec import icmp
from culvert.ipsec.drops import Reason
from culvert.ipsec.gateway import Gateway, Learned
from culvert.ipsec.icmp import Allowance, Complaint, parse_too_big, too_big
from culvert.ipsec.sa import Mode, Protocol, UdpPorts
from culvert.ipsec.verdict import Bypass, Drop
from tests.ipsec.building import (
    AH_SPI,
    INNER,
    NOW,
    OUTER,
    SPI,
    dropped,
    end_to_end,
    ipv4,
    ipv6,
    packet_of,
    parsed,
    sender,
    sent,
    udp,
)

DF = 0x4000

# Said


def answer(packet: bytes, mtu: int = 1400) -> bytes | None:
    return too_big(packet, parsed(packet), mtu)


@pytest.mark.parametrize("size", [0, 1, 519, 520, 521, 2000])
def test_what_an_ipv4_source_is_told(size: int) -> None:
    """RFC 1191 section 4; no more than 576 octets (RFC 1812 section 4.3.2.3)."""
    packet = ipv4(bytes(range(256)) * 8 if size == 2000 else bytes(size), flags=DF)
    told = answer(packet)
    assert told is not None and len(told) <= 576
    read = IP(told)
    assert checksum(told[:20]) == checksum(told[20:]) == 0
    assert (read.src, read.dst) == tuple(map(str, reversed(INNER[4])))
    assert (read[ICMP].type, read[ICMP].code, read[ICMP].nexthopmtu) == (3, 4, 1400)
    assert told[28:] == packet[:548]


@pytest.mark.parametrize("size", [0, 1, 1191, 1192, 1193, 2001])
def test_what_an_ipv6_source_is_told(size: int) -> None:
    """RFC 4443 section 3.2: as much of the packet as fits the minimum of 1280."""
    packet = ipv6(bytes(size))
    told = answer(packet)
    assert told is not None and len(told) <= 1280
    read = IPv6(told)
    assert in6_chksum(58, read, told[40:]) == 0
    assert (read.src, read.dst) == tuple(map(str, reversed(INNER[6])))
    assert (read[ICMPv6PacketTooBig].code, read[ICMPv6PacketTooBig].mtu) == (0, 1400)
    assert told[48:] == packet[:1232]


@given(st.binary(max_size=600), st.integers(68, 65535))
def test_every_checksum_is_right(payload: bytes, mtu: int) -> None:
    told = answer(ipv4(payload), mtu)
    assert told is not None
    assert checksum(told[:20]) == checksum(told[20:]) == 0


@pytest.mark.parametrize(
    ("packet", "is_told"),
    [
        # RFC 1122 section 3.2.2, RFC 4443 section 2.4 e: nobody is told about errors, or about what is for many.
        *((ipv4(bytes((kind, 0)) + bytes(6), protocol=1), kind not in (3, 4, 5, 11, 12)) for kind in range(20)),
        *((ipv6(bytes((kind, 0)) + bytes(6), protocol=58), kind >= 128) for kind in (1, 2, 3, 4, 127, 128, 129)),
        (ipv4(b"", protocol=1), True),
        (ipv4(udp(), flags=0x2000), True),
        (ipv4(udp(), flags=0x0001), False),
        (ipv4(udp(), source=type(INNER[4][0])("0.0.0.0")), False),
        (ipv4(udp(), source=type(INNER[4][0])("224.0.0.1")), False),
        (ipv4(udp(), destination=type(INNER[4][0])("239.1.1.1")), False),
        (ipv4(udp(), destination=type(INNER[4][0])("255.255.255.255")), False),
        (ipv6(udp(), source=type(INNER[6][0])("::")), False),
        (ipv6(udp(), destination=type(INNER[6][0])("ff02::1")), False),
        (ipv6(bytes((3, 0)), protocol=1), False),
    ],
)
def test_who_is_told(packet: bytes, is_told: bool) -> None:
    assert (answer(packet) is not None) is is_told


def test_answers_are_limited() -> None:
    """RFC 4443 section 2.4 f."""
    allowance = Allowance()
    assert [allowance.take(NOW) for _ in range(51)] == [True] * 50 + [False]
    assert [allowance.take(NOW + 0.125) for _ in range(13)] == [True] * 12 + [False]
    assert not allowance.take(NOW)
    assert [allowance.take(NOW + 99) for _ in range(51)] == [True] * 50 + [False]


def test_a_limited_answer_is_still_a_drop() -> None:
    here = sender(path_mtu=1400)
    packet = ipv4(bytes(1400), flags=DF)
    answers = [dropped(here.outbound(packet, NOW)).answer for _ in range(60)]
    assert answers.count(None) == 10 and answers[0] is not None
    (record,) = here.sadb
    assert record.usage.drops == {Reason.TOO_BIG: 60}


CASES: list[dict[str, Any]] = [
    {},
    {"cipher": "aes-gcm128"},
    {"protocol": Protocol.AH},
    {"bundle_ah": True},
    {"encapsulation": UdpPorts()},
    {"compression": 2},
    {"tfc_octets": 1000},
    {"mode": Mode.TRANSPORT},
    {"mode": Mode.TRANSPORT, "bundle_ah": True},
    {"mode": Mode.TRANSPORT, "protocol": Protocol.AH},
]


@pytest.mark.parametrize("case", CASES, ids=str)
@pytest.mark.parametrize("outer", [4, 6])
@pytest.mark.parametrize("inner", [4, 6])
def test_a_packet_of_the_size_told_fits(outer: int, inner: int, case: dict[str, Any]) -> None:
    if "mode" in case and inner != outer:
        return
    make: Callable[..., bytes] = end_to_end if "mode" in case else packet_of
    fields = {"flags": DF} if inner == 4 else {}
    here = sender(outer=outer, path_mtu=1492, **case)
    noise = sender().sadb._random(3000)
    told = dropped(here.outbound(make(inner, noise, **fields), NOW)).answer
    assert told is not None
    mtu = IP(told)[ICMP].nexthopmtu if inner == 4 else IPv6(told)[ICMPv6PacketTooBig].mtu
    header = 20 if inner == 4 else 40
    out = sent(here.outbound(make(inner, noise[: mtu - header], **fields), NOW))
    assert len(out.packet) <= 1492 and not out.rest
    # No more than is needed: one more octet is too much, or is no longer when ciphers have blocks.
    larger = here.outbound(make(inner, noise[: mtu - header + 1], **fields), NOW)
    assert dropped(larger).reason is Reason.TOO_BIG


def test_nobody_is_told_less_than_every_path_passes() -> None:
    """RFC 8200 section 5: so the tunnel cuts by itself (RFC 2473 section 7.1)."""
    packet = ipv6(bytes(1300))
    out = sent(sender(outer=4, path_mtu=1280).outbound(packet, NOW))
    assert out.rest and all(len(piece) <= 1280 for piece in (out.packet, *out.rest))


# Heard


def quoted(outer: int, sealed: bytes, mtu: int, octets: int | None = None) -> bytes:
    """What a router on the way says about a packet of ours."""
    quotation = sealed[: octets or (548 if outer == 4 else 1232)]
    start = struct.pack("!BBHI", *((3, 4) if outer == 4 else (2, 0)), 0, mtu)
    router = type(OUTER[outer][0])("198.51.100.9" if outer == 4 else "2001:db8:9::9")
    return packet_of(
        outer, start + quotation, protocol=1 if outer == 4 else 58, source=router, destination=OUTER[outer][0]
    )


HEARD: list[dict[str, Any]] = [
    {},
    {"protocol": Protocol.AH},
    {"bundle_ah": True},
    {"encapsulation": UdpPorts()},
    {"esn": True},
]


def speaker(outer: int, case: dict[str, Any]) -> tuple[Gateway, bytes]:
    here = sender(outer=outer, **case)
    return here, sent(here.outbound(packet_of(4), NOW)).packet


@pytest.mark.parametrize("case", HEARD, ids=str)
@pytest.mark.parametrize("outer", [4, 6])
def test_what_is_learned(outer: int, case: dict[str, Any]) -> None:
    here, sealed = speaker(outer, case)
    learned = here.told_too_big(quoted(outer, sealed, 1400), NOW)
    assert isinstance(learned, Learned) and learned.mtu == 1400
    assert learned.record.sa.spi == (AH_SPI if "bundle_ah" in case else SPI)
    assert all(
        len(piece) <= 1400
        for out in [sent(here.outbound(ipv4(bytes(3000)), NOW + 599))]
        for piece in (out.packet, *out.rest)
    )
    # RFC 1191 section 6.3, RFC 8201 section 5.2: after ten minutes, whether more gets through is tried again.
    assert not sent(here.outbound(ipv4(bytes(3000)), NOW + 600)).rest


@pytest.mark.parametrize(("outer", "floor"), [(4, 576), (6, 1280)])
def test_there_is_a_floor(outer: int, floor: int) -> None:
    here, sealed = speaker(outer, {})
    for mtu in (68, floor - 1):
        assert here.told_too_big(quoted(outer, sealed, mtu), NOW) == Learned(next(iter(here.sadb)), floor)


def test_a_router_that_says_no_size() -> None:
    """RFC 1191 section 7.1: the next plateau below what the quoted packet's header says."""
    for length, plateau in ((1500, 1492), (1493, 1492), (1492, 1006), (1000, 576), (60, 576), (65535, 32000)):
        here, sealed = speaker(4, {})
        said = sealed[:2] + length.to_bytes(2) + sealed[4:]
        learned = here.told_too_big(quoted(4, said, 0), NOW)
        assert isinstance(learned, Learned) and learned.mtu == plateau
    assert parse_too_big(quoted(6, speaker(6, {})[1], 0)).mtu == 576  # type: ignore[union-attr]


def test_what_is_wider_than_what_is_known_teaches_nothing() -> None:
    here, sealed = speaker(4, {})
    assert isinstance(here.told_too_big(quoted(4, sealed, 1300), NOW), Learned)
    late = quoted(4, sealed, 1400)
    assert here.told_too_big(late, NOW + 1) == Bypass(late)
    (record,) = here.sadb.all_outbound()
    assert record.mtu(NOW + 1) == 1300


def is_forged(here: Gateway, packet: bytes) -> bool:
    verdict = here.told_too_big(packet, NOW)
    if isinstance(verdict, Drop):
        assert verdict.reason is Reason.FORGED_TOO_BIG
        return True
    assert isinstance(verdict, Learned)
    return False


@pytest.mark.parametrize(
    ("last", "said", "is_believed"),
    [
        (1, 1, True),
        (1, 0, False),
        (1, 2, False),
        (1, 2**32 - 1, False),
        (70000, 70000, True),
        (70000, 70000 - 65535, True),
        (70000, 70000 - 65536, False),
        (70000, 70001, False),
        (2**32 - 1, 0, False),
        (2**32 + 5, 5, True),
        (2**32 + 5, 2**32 - 1, True),
        (2**32 + 5, 6, False),
        (2**32 + 70000, 70000 - 65536, False),
    ],
)
def test_only_numbers_that_were_sent_lately(last: int, said: int, is_believed: bool) -> None:
    here = sender(sequence=last - 1, esn=last >= 2**32)
    sealed = sent(here.outbound(packet_of(4), NOW)).packet
    packet = sealed[:24] + said.to_bytes(4) + sealed[28:]
    assert is_forged(here, quoted(4, packet, 1300)) is not is_believed


def test_who_is_not_believed() -> None:
    here, sealed = speaker(4, {})
    source, destination = OUTER[4]
    assert is_forged(here, quoted(4, sealed[:20] + b"\0\0\1\1" + sealed[24:], 1300))
    assert is_forged(here, quoted(4, sealed[:12] + destination.packed * 2 + sealed[20:], 1300))
    assert is_forged(here, quoted(4, sealed[:16] + source.packed + sealed[20:], 1300))
    assert is_forged(
        here, quoted(4, sealed[:9] + b"\x33" + sealed[10:16] + sealed[16:20] + bytes(4) + sealed[20:], 1300)
    )
    assert is_forged(sender(), quoted(4, sealed, 1300))
    (record,) = here.sadb.all_outbound()
    assert record.mtu(NOW) == 65535
    # Counted where the SA is known: of the second only its source is wrong.
    assert record.usage.drops == {Reason.FORGED_TOO_BIG: 1}


def test_udp_of_others_is_theirs() -> None:
    """What isn't of an SA of ours in UDP, of just these ports, may be of any program of this host."""
    here, sealed = speaker(4, {"encapsulation": UdpPorts(4500, 4501)})
    for other in (sealed[:22] + (4500).to_bytes(2) + sealed[24:], sealed[:28] + bytes(4) + sealed[32:]):
        packet = quoted(4, other, 1300)
        assert here.told_too_big(packet, NOW) == Bypass(packet)
    bare, sealed_bare = speaker(4, {})
    assert is_forged(here, quoted(4, sealed_bare, 1300))
    packet = quoted(4, sealed, 1300)
    assert bare.told_too_big(packet, NOW) == Bypass(packet)
    assert isinstance(here.told_too_big(packet, NOW), Learned)


def test_as_much_as_routers_quote_is_enough() -> None:
    """RFC 792: a header and eight octets."""
    here, sealed = speaker(4, {})
    assert parse_too_big(quoted(4, sealed, 1300, 28)) == Complaint(
        1300, 50, SPI, 1, OUTER[4][0].packed, OUTER[4][1].packed, None
    )
    for octets in range(1, 28):
        assert parse_too_big(quoted(4, sealed, 1300, octets)) is None
    here, sealed = speaker(6, {})
    assert isinstance(here.told_too_big(quoted(6, sealed, 1300, 48), NOW), Learned)
    assert parse_too_big(quoted(6, sealed, 1300, 47)) is None


def test_what_says_nothing_of_the_kind() -> None:
    here, sealed = speaker(4, {})
    good = quoted(4, sealed, 1300)
    other_type, other_code = good[:20] + b"\x0b" + good[21:], good[:21] + b"\3" + good[22:]
    tcp = quoted(4, sealed[:9] + b"\6" + sealed[10:], 1300)
    six_in_four = quoted(4, sent(sender(outer=6).outbound(packet_of(4), NOW)).packet, 1300)
    fragment = good[:6] + b"\x20\0" + good[8:]
    echo6 = packet_of(6, b"\x80\0" + bytes(6) + bytes(60), protocol=58)
    for packet in (other_type, other_code, tcp, six_in_four, fragment, echo6, good[:26], b"", packet_of(4), sealed):
        assert parse_too_big(packet) is None
        assert here.told_too_big(packet, NOW) == Bypass(packet)
    assert icmp.PLATEAUS[-1] == 576

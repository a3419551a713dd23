"""ESP in UDP: the datagram, what else may come to its port, and NATs."""

import struct
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scapy.layers.inet import UDP
from scapy.layers.inet6 import IPv6, in6_chksum

from culvert.ipsec import udp
from culvert.ipsec.drops import Reason
from culvert.ipsec.sa import Mode, UdpPorts
from tests.ipsec.building import (
    NOW,
    OUTER,
    SPI,
    delivered,
    dropped,
    end_to_end,
    ipv6,
    packet_of,
    parsed,
    receiver,
    sender,
    sent,
)

PORTS = UdpPorts(4500, 40000)


@pytest.mark.parametrize("outer", [4, 6])
@pytest.mark.parametrize("case", [{}, {"mode": Mode.TRANSPORT}, {"cipher": "aes-gcm256", "esn": True}], ids=str)
def test_through_udp_and_back(outer: int, case: dict[str, Any]) -> None:
    packet = end_to_end(outer) if "mode" in case else packet_of(4)
    out = sent(sender(outer=outer, encapsulation=PORTS, **case).outbound(packet, NOW)).packet
    header = 20 if outer == 4 else 40
    assert parsed(out).key[2:] == (17, 4500, 40000)
    assert struct.unpack_from("!HI", out, header + 4)[0] == len(out) - header
    assert out[header + 8 : header + 12] == SPI.to_bytes(4)
    assert delivered(receiver(outer=outer, encapsulation=PORTS, **case).inbound(out, NOW)).packet == packet


def test_ipv4_has_no_checksum() -> None:
    """RFC 3948 section 2.1."""
    source, destination = OUTER[4]
    datagram = udp.wrap(PORTS, source.packed, destination.packed, b"payload")
    assert datagram == struct.pack("!HHHH", 4500, 40000, 15, 0) + b"payload"


@given(st.binary(min_size=1, max_size=60))
def test_ipv6_has_one_that_scapy_accepts(payload: bytes) -> None:
    source, destination = OUTER[6]
    datagram = udp.wrap(PORTS, source.packed, destination.packed, payload)
    assert UDP(datagram).chksum != 0
    packet = IPv6(ipv6(datagram, source=source, destination=destination))
    assert in6_chksum(17, packet, datagram) == 0


def test_a_checksum_of_zero_is_written_as_all_ones() -> None:
    """RFC 768: zero would mean that there is none. The payload is chosen so that the sum comes out that way."""
    source, destination = OUTER[6]
    made = {udp.wrap(PORTS, source.packed, destination.packed, first.to_bytes(2))[6:8] for first in range(65536)}
    assert bytes(2) not in made and b"\xff\xff" in made


def in_udp(payload: bytes, length: int | None = None) -> bytes:
    header = struct.pack("!HHHH", *PORTS, 8 + len(payload) if length is None else length, 0)
    return end_to_end(4, header + payload)


@pytest.mark.parametrize(
    ("packet", "reason"),
    [
        (in_udp(b"\xff"), Reason.KEEP_ALIVE),
        (in_udp(bytes(4)), Reason.IKE),
        (in_udp(bytes(4) + b"an IKE message"), Reason.IKE),
        (in_udp(b"\xfe"), Reason.RUNT),
        (in_udp(b"\xff\xff"), Reason.RUNT),
        (in_udp(b""), Reason.RUNT),
        (in_udp(b"\0\0\3"), Reason.RUNT),
        (in_udp(b"\0\0\3\xe9"), Reason.RUNT),
        (in_udp(b"\0\0\3\xe9\0\0\0"), Reason.RUNT),
        (in_udp(b"\0\0\3\xea\0\0\0\1"), Reason.NO_SA_IN),
        (in_udp(b"payload", 7), Reason.MALFORMED_HEADER),
        (in_udp(b"payload", 16), Reason.MALFORMED_HEADER),
        (in_udp(b"payload", 0), Reason.MALFORMED_HEADER),
        (end_to_end(4, b"\x11\x94\x11\x94\0\x07\0"), Reason.RUNT),
    ],
)
def test_what_else_may_come(packet: bytes, reason: Reason) -> None:
    assert dropped(receiver(encapsulation=PORTS).inbound(packet, NOW)).reason is reason


def test_what_follows_the_datagram_is_not_in_it() -> None:
    out = sent(sender(encapsulation=PORTS).outbound(packet_of(4), NOW)).packet
    longer = out[:2] + (len(out) + 4).to_bytes(2) + out[4:] + b"more"
    assert delivered(receiver(encapsulation=PORTS).inbound(longer, NOW)).packet == packet_of(4)


def test_a_nat_may_write_other_ports() -> None:
    """The SA is found by SPI and destination (RFC 3948 section 2.1); the checksum isn't looked at."""
    out = sent(sender(encapsulation=PORTS).outbound(packet_of(4), NOW)).packet
    other = out[:20] + struct.pack("!HH", 61234, 4500) + out[24:26] + b"\xab\xcd" + out[28:]
    delivered(receiver(encapsulation=PORTS).inbound(other, NOW))


def test_udp_for_an_sa_without_and_the_other_way_round() -> None:
    bare, wrapped = (sent(sender(**case).outbound(packet_of(4), NOW)).packet for case in ({}, {"encapsulation": PORTS}))
    assert dropped(receiver().inbound(wrapped, NOW)).reason is Reason.ENCAPSULATION_MISMATCH
    assert dropped(receiver(encapsulation=PORTS).inbound(bare, NOW)).reason is Reason.ENCAPSULATION_MISMATCH

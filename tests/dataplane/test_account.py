"""Dropped packets in words."""

import pytest
from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.inet6 import ICMPv6EchoRequest, IPv6, IPv6ExtHdrFragment
from scapy.layers.ipsec import AH, ESP
from scapy.packet import Packet, Raw

from culvert.dataplane.account import describe
from culvert.ipsec.drops import Reason
from culvert.ipsec.verdict import Drop
from tests.dataplane.sites import IN, association

ENDS4 = IP(src="2.2.2.2", dst="3.3.3.3")
ENDS6 = IPv6(src="fd0f::2", dst="fd0f::3", fl=0x12345)
SA = association("b", IN)
ESP_OCTETS = bytes.fromhex("000003e8 00000011".replace(" ", "")) + b"x" * 20


@pytest.mark.parametrize(
    ("packet", "words"),
    [
        (ENDS4 / ESP(spi=1000, seq=17, data=b"x"), "2.2.2.2 -> 3.3.3.3 SPI(0x3e8) seq 17 (/Common/sa-in-4)"),
        (ENDS4 / AH(spi=1000, seq=17), "2.2.2.2 -> 3.3.3.3 SPI(0x3e8) seq 17 (/Common/sa-in-4)"),
        (
            ENDS6 / ESP(spi=1000, seq=17, data=b"x"),
            "fd0f::2 -> fd0f::3 SPI(0x3e8) seq 17 flow 0x12345 (/Common/sa-in-4)",
        ),
        (ENDS4 / ICMP(type=3, code=4), "2.2.2.2 -> 3.3.3.3 protocol 1 type 3 code 4 (/Common/sa-in-4)"),
        (ENDS6 / ICMPv6EchoRequest(), "fd0f::2 -> fd0f::3 protocol 58 type 128 code 0 flow 0x12345 (/Common/sa-in-4)"),
        (ENDS4 / TCP(sport=1, dport=2), "2.2.2.2 -> 3.3.3.3 protocol 6 port 1 -> 2 (/Common/sa-in-4)"),
        (
            ENDS4 / UDP(sport=4500, dport=4500) / Raw(ESP_OCTETS),
            "2.2.2.2 -> 3.3.3.3 protocol 17 port 4500 -> 4500 SPI(0x3e8) seq 17 (/Common/sa-in-4)",
        ),
        (
            ENDS4 / UDP(sport=4500, dport=4500) / Raw(b"\xff"),
            "2.2.2.2 -> 3.3.3.3 protocol 17 port 4500 -> 4500 (/Common/sa-in-4)",
        ),
        (
            ENDS6 / IPv6ExtHdrFragment(offset=3, nh=50) / Raw(b"x" * 8),
            "fd0f::2 -> fd0f::3 protocol 50 fragment flow 0x12345 (/Common/sa-in-4)",
        ),
    ],
)
def test_arrived_packet_in_words(packet: Packet, words: str) -> None:
    assert describe(bytes(packet), Drop(Reason.REPLAY, SA), arrived=True) == words


def test_a_clear_packet_of_udp_has_no_spi() -> None:
    packet = bytes(ENDS4 / UDP(sport=4500, dport=4500) / Raw(ESP_OCTETS))
    assert describe(packet, Drop(Reason.NO_POLICY)) == "2.2.2.2 -> 3.3.3.3 protocol 17 port 4500 -> 4500"
    assert "SPI" not in describe(packet, Drop(Reason.IKE), arrived=True)


def test_what_is_no_packet() -> None:
    assert describe(b"\x45xyz", Drop(Reason.MALFORMED_HEADER)) == "4 octets that are no IP packet"
    assert describe(b"", Drop(Reason.SEQUENCE_EXHAUSTED, SA)) == "what the gateway sends by itself (/Common/sa-in-4)"

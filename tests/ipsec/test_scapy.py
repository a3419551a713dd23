"""An independent implementation, both directions: scapy seals what we open, and opens what we seal."""

import warnings
from typing import Any

import pytest
from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.inet6 import ICMPv6EchoRequest, IPv6, IPv6ExtHdrFragment, IPv6ExtHdrHopByHop
from scapy.layers.ipsec import ESP
from scapy.packet import Packet, Raw

from culvert.ipsec.algorithms import CIPHERS
from tests.ipsec.building import AUTH_KEY, CIPHER_KEYS, INNER, NOW, OUTER, SPI, delivered, receiver, sender, sent

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from scapy.layers.ipsec import SecurityAssociation

NAMES = {"null": "NULL", "3des": "3DES", "aes128": "AES-CBC", "aes192": "AES-CBC", "aes256": "AES-CBC"}
V4: dict[str, Any] = {"src": str(INNER[4][0]), "dst": str(INNER[4][1])}
V6: dict[str, Any] = {"src": str(INNER[6][0]), "dst": str(INNER[6][1])}

PACKETS: dict[int, dict[str, Packet]] = {
    4: {
        "tcp": IP(**V4) / TCP(sport=1024, dport=80, flags="S"),
        "udp": IP(**V4, tos=0xB8, flags="DF") / UDP(sport=5, dport=53) / Raw(b"question"),
        "icmp": IP(**V4) / ICMP() / Raw(bytes(56)),
        "one": IP(**V4) / UDP(sport=5, dport=53) / Raw(b"x"),
        "empty": IP(**V4, proto=59),
        "jumbo": IP(**V4) / UDP(sport=5, dport=53) / Raw(bytes(8972)),
        "first": IP(**V4, flags="MF", id=7) / UDP(sport=5, dport=53, len=100) / Raw(bytes(40)),
        "later": IP(**V4, frag=6, id=7, proto=17) / Raw(bytes(52)),
        "options": IP(**V4, options=[b"\x94\4\0\0"]) / ICMP(),
    },
    6: {
        "tcp": IPv6(**V6) / TCP(sport=1024, dport=80, flags="S"),
        "udp": IPv6(**V6, tc=0xB8, fl=99) / UDP(sport=5, dport=53) / Raw(b"question"),
        "icmp": IPv6(**V6) / ICMPv6EchoRequest(data=bytes(56)),
        "one": IPv6(**V6) / UDP(sport=5, dport=53) / Raw(b"x"),
        "empty": IPv6(**V6, nh=59),
        "jumbo": IPv6(**V6) / UDP(sport=5, dport=53) / Raw(bytes(8952)),
        "first": IPv6(**V6) / IPv6ExtHdrFragment(m=1, id=7) / UDP(sport=5, dport=53, len=100) / Raw(bytes(40)),
        "later": IPv6(**V6) / IPv6ExtHdrFragment(offset=6, id=7, nh=17) / Raw(bytes(52)),
        "options": IPv6(**V6) / IPv6ExtHdrHopByHop() / ICMPv6EchoRequest(),
    },
}
CASES = [(inner, kind) for inner, packets in PACKETS.items() for kind in packets]


def peer(cipher: str, outer: int) -> Any:
    source, destination = map(str, OUTER[outer])
    header = IP(src=source, dst=destination) if outer == 4 else IPv6(src=source, dst=destination)
    make: Any = SecurityAssociation
    return make(
        ESP,
        spi=SPI,
        crypt_algo=NAMES[cipher],
        crypt_key=CIPHER_KEYS[cipher],
        auth_algo="HMAC-SHA1-96",
        auth_key=AUTH_KEY,
        tunnel_header=header,
    )


def rebuilt(octets: bytes) -> Packet:
    return IP(octets) if octets[0] >> 4 == 4 else IPv6(octets)


@pytest.mark.parametrize("outer", [4, 6])
@pytest.mark.parametrize("cipher", CIPHERS)
@pytest.mark.parametrize(("inner", "kind"), CASES)
def test_scapy_opens_what_we_seal(cipher: str, outer: int, inner: int, kind: str) -> None:
    packet = bytes(PACKETS[inner][kind])
    here, there = sender(cipher, outer), peer(cipher, outer)
    for sequence in (1, 2):
        outside = rebuilt(sent(here.outbound(packet, NOW)).packet)
        assert (outside[ESP].spi, outside[ESP].seq) == (SPI, sequence)
        assert bytes(there.decrypt(outside)) == packet


@pytest.mark.parametrize("outer", [4, 6])
@pytest.mark.parametrize("cipher", CIPHERS)
@pytest.mark.parametrize(("inner", "kind"), CASES)
def test_we_open_what_scapy_seals(cipher: str, outer: int, inner: int, kind: str) -> None:
    packet = bytes(PACKETS[inner][kind])
    here, there = peer(cipher, outer), receiver(cipher, outer)
    for sequence in (1, 2):
        outside = bytes(here.encrypt(rebuilt(packet)))
        result = delivered(there.inbound(outside, NOW))
        assert result.packet == packet
        assert result.record.sequence == sequence

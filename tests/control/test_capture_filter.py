"""The filter's programs, run by the kernel itself: what is sent into a socket comes out of it only if it fits."""

import socket
from ipaddress import ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.inet6 import IPv6
from scapy.layers.l2 import ARP, Ether
from scapy.packet import Packet

from culvert.control.capture_filter import ETHERNET_OCTETS, KINDS, WITH_PORT, Wanted, attach, program
from culvert.control.sighting import sighting

SNAP = 60
FILL = b"\x11" * 80
V4, V6 = {"src": "192.0.2.1", "dst": "198.51.100.2"}, {"src": "2001:db8::1", "dst": "2001:db8:1::2"}
PACKETS: dict[str, Packet] = {
    "esp": IP(**V4, proto=50) / FILL,
    "esp of IPv6": IPv6(**V6, nh=50) / FILL,
    "esp in udp": IP(**V4) / UDP(sport=4500, dport=1024) / FILL,
    "esp in udp of IPv6": IPv6(**V6) / UDP(sport=1024, dport=4500) / FILL,
    "ah": IP(**V4, proto=51) / FILL,
    "ike": IP(**V4) / UDP(sport=500, dport=500) / FILL,
    "https": IP(**V4) / TCP(sport=40000, dport=443) / FILL,
    "https with options": IP(**V4, options=b"\x01\x01\x01\x01") / TCP(sport=443, dport=40000) / FILL,
    "https of IPv6": IPv6(**V6) / TCP(sport=40000, dport=443) / FILL,
    "ping": IP(**V4) / ICMP() / FILL,
    "later fragment": IP(**V4, frag=100, proto=17) / (b"\x11\x94\x01\xbb" * 20),
}


def takes(wanted: Wanted, frame: bytes, link_octets: int) -> int:
    """How many octets the kernel lets through; 0 for a frame that it drops."""
    sender, taker = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    with sender, taker:
        taker.setblocking(False)
        attach(taker, program(wanted, SNAP, link_octets))
        sender.send(frame)
        try:
            return len(taker.recv(4096))
        except BlockingIOError:
            return 0


def taken(wanted: Wanted) -> set[str]:
    """Those of PACKETS; the same with a link header and without."""
    bare = {name for name, packet in PACKETS.items() if takes(wanted, bytes(packet), 0)}
    framed = {name for name, packet in PACKETS.items() if takes(wanted, bytes(Ether() / packet), ETHERNET_OCTETS)}
    assert bare == framed
    return bare


ESP = {"esp", "esp of IPv6", "esp in udp", "esp in udp of IPv6"}
HTTPS = {"https", "https with options", "https of IPv6"}
OF_IPV6 = {name for name in PACKETS if name.endswith("IPv6")}


@pytest.mark.parametrize(
    ("wanted", "names"),
    [
        (Wanted(), set(PACKETS)),
        (Wanted("esp"), ESP),
        (Wanted("ah"), {"ah"}),
        (Wanted("ike"), {"ike", "esp in udp", "esp in udp of IPv6"}),
        (Wanted("icmp"), {"ping"}),
        (Wanted("tcp"), HTTPS),
        (Wanted("udp"), {"ike", "esp in udp", "esp in udp of IPv6", "later fragment"}),
        (Wanted("any", None, 443), HTTPS),
        (Wanted("udp", None, 443), set()),
        (Wanted("any", ip_address("198.51.100.2")), set(PACKETS) - OF_IPV6),
        (Wanted("any", ip_address("192.0.2.1")), set(PACKETS) - OF_IPV6),
        (Wanted("esp", ip_address("2001:db8:1::2")), ESP & OF_IPV6),
        (Wanted("tcp", ip_address("2001:db8::1"), 443), {"https of IPv6"}),
        (Wanted("any", ip_address("2001:db8::2")), set()),
        (Wanted("any", ip_address("192.0.2.2")), set()),
    ],
    # Sets are told in another order in each process.
    ids=lambda own: str(own) if isinstance(own, Wanted) else str(len(own)),
)
def test_what_a_few_words_mean(wanted: Wanted, names: set[str]) -> None:
    assert taken(wanted) == names


def test_what_is_no_ip_is_part_of_everything_alone() -> None:
    arp = bytes(Ether() / ARP())
    assert takes(Wanted(), arp, ETHERNET_OCTETS)
    assert not takes(Wanted("any", ip_address("192.0.2.1")), arp, ETHERNET_OCTETS)


def test_a_packet_is_cut_to_the_length_that_was_asked_for() -> None:
    assert takes(Wanted("tcp"), bytes(PACKETS["https"]), 0) == SNAP


HOSTS = st.one_of(st.none(), st.ip_addresses())
PORTS = st.one_of(st.none(), st.integers(0, 65535))


@given(st.sampled_from(sorted(KINDS)), HOSTS, PORTS, st.binary(max_size=100), st.sampled_from((0, ETHERNET_OCTETS)))
def test_the_kernel_accepts_every_program_whatever_comes(kind, host, port, octets, link_octets):  # type: ignore[no-untyped-def]
    takes(Wanted(kind, host, port if kind in WITH_PORT else None), octets, link_octets)


@given(st.binary(max_size=120), st.sampled_from((0, ETHERNET_OCTETS)))
def test_a_line_about_any_octets(octets: bytes, link_octets: int) -> None:
    found = sighting(octets, link_octets)
    assert found.keys() == {"protocol", "source", "destination", "spi", "sequence", "detail"}
    assert found["protocol"]


def test_lines_about_packets() -> None:
    esp = sighting(bytes(IP(**V4, proto=50) / bytes.fromhex("000003e900000011")), 0)
    assert (esp["protocol"], esp["spi"], esp["sequence"]) == ("ESP", 1001, 17)
    assert (esp["source"], esp["destination"]) == ("192.0.2.1", "198.51.100.2")
    in_udp = sighting(bytes(Ether() / PACKETS["esp in udp"]), ETHERNET_OCTETS)
    assert (in_udp["protocol"], in_udp["spi"]) == ("ESP in UDP", 0x11111111)
    assert sighting(bytes(PACKETS["https of IPv6"]), 0)["detail"] == "port 40000 to 443"
    assert sighting(bytes(PACKETS["later fragment"]), 0)["detail"] == "a later fragment"
    assert sighting(bytes(Ether() / ARP()), ETHERNET_OCTETS)["protocol"] == "ARP"

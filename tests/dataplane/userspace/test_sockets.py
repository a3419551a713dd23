"""What is received is what was sent, header and all, whatever the kernel shows of it."""

import errno
import os
import socket
from collections.abc import Callable

import pytest
from scapy.layers.inet import ICMP, IP, UDP
from scapy.layers.inet6 import (
    ICMPv6EchoRequest,
    ICMPv6PacketTooBig,
    IPv6,
    IPv6ExtHdrDestOpt,
    IPv6ExtHdrFragment,
    IPv6ExtHdrHopByHop,
    PadN,
    RouterAlert,
    fragment6,
)
from scapy.layers.ipsec import AH, ESP
from scapy.packet import Packet, Raw

from culvert.dataplane.userspace import sockets
from culvert.dataplane.userspace.sockets import UdpPort
from culvert.ipsec import ip
from culvert.ipsec.sa import Protocol
from tests.dataplane.topology import Namespace

pytestmark = pytest.mark.network

ENDS4 = IP(src="127.0.0.1", dst="127.0.0.1", tos=0xB8, ttl=33, id=77)
ENDS6 = IPv6(src="::1", dst="::1", tc=0xB8, hlim=33, fl=0x12345)
ESP_PACKET = ESP(spi=1000, seq=5, data=b"x" * 40)
AH_PACKET = AH(spi=1000, seq=5, icv=b"i" * 12, payloadlen=4, nh=59)
Open = Callable[[], socket.socket]


def received(namespace: Namespace, open_receiver: Open, *packets: Packet) -> bytes:
    """What a socket gives of packets that were sent to it."""

    def inside() -> bytes:
        family = socket.AF_INET if packets[0].version == 4 else socket.AF_INET6
        with open_receiver() as receiver, sockets.open_send(family) as sender:
            for packet in packets:
                sender.sendto(bytes(packet), (packets[0].dst, 0))
            return sockets.receiver(receiver)()

    return namespace.inside(inside)


@pytest.mark.parametrize(
    "packet",
    [
        ENDS4 / ESP_PACKET,
        ENDS4 / AH_PACKET,
        ENDS6 / ESP_PACKET,
        ENDS6 / AH_PACKET,
        ENDS6 / IPv6ExtHdrHopByHop(options=[RouterAlert(), PadN(optdata=b"")]) / AH_PACKET,
        ENDS6 / IPv6ExtHdrDestOpt(options=[PadN(optdata=bytes(4))]) / ESP_PACKET,
        ENDS6
        / IPv6ExtHdrHopByHop(options=[PadN(optdata=bytes(4))])
        / IPv6ExtHdrDestOpt(options=[PadN(optdata=bytes(3))])
        / AH_PACKET,
    ],
    ids=lambda packet: packet.summary(),
)
def test_raw_packets_come_as_they_were_sent(namespace: Namespace, packet: Packet) -> None:
    family = socket.AF_INET if packet.version == 4 else socket.AF_INET6
    protocol = Protocol.AH if packet.haslayer(AH) else Protocol.ESP
    assert received(namespace, lambda: sockets.open_receive(family, protocol), packet) == bytes(packet)


def test_what_is_not_said_in_full_is_no_packet(namespace: Namespace) -> None:
    options = b"".join(bytes((0x1E, size)) + bytes(size) for size in [255] * 7 + [245])
    front = b"".join(bytes((following, 255)) + options for following in [60] * 4 + [50])
    packet = IPv6(src="::1", dst="::1", nh=60) / Raw(front) / ESP_PACKET
    got = received(namespace, lambda: sockets.open_receive(socket.AF_INET6, Protocol.ESP), packet)
    assert got == sockets.NO_PACKET and ip.parse(got) is None


def test_fragments_of_ipv6_come_as_one(namespace: Namespace) -> None:
    options = IPv6ExtHdrHopByHop(options=[PadN(optdata=bytes(4))])
    whole = ENDS6 / options / AH_PACKET / Raw(bytes(range(256)) * 10)
    cut = ENDS6 / options / IPv6ExtHdrFragment(id=9) / AH_PACKET / Raw(bytes(range(256)) * 10)
    pieces = fragment6(cut, 1280)
    assert len(pieces) > 2
    got = received(namespace, lambda: sockets.open_receive(socket.AF_INET6, Protocol.AH), *pieces)
    assert got == bytes(whole)


@pytest.mark.parametrize("ends", [ENDS4, ENDS6], ids=["4", "6"])
def test_datagrams_get_their_header_back(namespace: Namespace, ends: Packet) -> None:
    packet = ends / UDP(sport=4711, dport=4500) / Raw(b"\0\0\3\xe8 and so on")
    if packet.version == 4:
        packet.chksum = 0
        packet.id = 0
    got = received(namespace, lambda: sockets.open_udp(UdpPort(packet.version, 4500)), packet)
    # The kernel has looked at the checksums, nobody looks again.
    packet[UDP].chksum = 0
    assert got == bytes(packet)


def test_port_that_is_taken_is_named(namespace: Namespace) -> None:
    def inside() -> str:
        with sockets.open_udp(UdpPort(4, 4500)), sockets.open_udp(UdpPort(6, 4500)):
            with pytest.raises(OSError, match="UDP port 4500 is taken") as caught:
                sockets.open_udp(UdpPort(4, 4500))
            return str(caught.value.errno)

    assert namespace.inside(inside) == str(errno.EADDRINUSE)


@pytest.mark.parametrize(
    ("noise", "complaint"),
    [
        (ENDS4 / ICMP(type=11) / Raw(bytes(28)), ENDS4 / ICMP(type=3, code=4, nexthopmtu=1000) / Raw(bytes(28))),
        (ENDS6 / ICMPv6EchoRequest(), ENDS6 / ICMPv6PacketTooBig(mtu=1300) / Raw(bytes(48))),
    ],
    ids=["4", "6"],
)
def test_only_complaints_are_heard(namespace: Namespace, noise: Packet, complaint: Packet) -> None:
    family = socket.AF_INET if noise.version == 4 else socket.AF_INET6
    assert received(namespace, lambda: sockets.open_complaints(family), noise, complaint) == bytes(complaint)


@pytest.mark.parametrize("ends", [ENDS4, ENDS6], ids=["4", "6"])
def test_kernel_says_which_size_the_link_takes(namespace: Namespace, ends: Packet) -> None:
    namespace.run("ip", "link", "set", "lo", "mtu", "1400")

    def inside() -> int:
        family = socket.AF_INET if ends.version == 4 else socket.AF_INET6
        with sockets.open_send(family) as sender:
            assert sockets.refused_mtu(sender) == 0
            for _ in range(20):
                with pytest.raises(OSError, match=os.strerror(errno.EMSGSIZE)):
                    sender.sendto(bytes(ends / ESP(spi=1000, seq=1, data=bytes(1500))), (ends.dst, 0))
                assert sockets.refused_mtu(sender) == 1400
            return sockets.refused_mtu(sender)

    assert namespace.inside(inside) == 0

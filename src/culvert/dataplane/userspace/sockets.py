"""The raw sockets that protected packets come and go through.

They are opened by the parent and inherited, so the packet process needs no privilege, and what arrives while
it is being restarted waits in them.
"""

import socket
import struct

from culvert.dataplane.userspace import marks

RECEIVE_BUFFER_OCTETS = 8 * 1024 * 1024
SEND_BUFFER_OCTETS = 4 * 1024 * 1024
PACKET_OCTETS_MAX = 65535
HEADER6_OCTETS = 40

# Constants of Linux that Python's socket module doesn't have.
SO_SNDBUFFORCE = 32
SO_RCVBUFFORCE = 33
IP_MTU_DISCOVER = 10
IP_PKTINFO = 8
IPV6_MTU_DISCOVER = 23
PMTUDISC_INTERFACE = 4
"""The link's MTU counts, not the path's."""
PMTUDISC_OMIT = 5
"""The same, and what is larger is fragmented."""

_HEADER6 = struct.Struct("!IHBB16s16s")
_PKTINFO6 = struct.Struct("16sI")
_INT = struct.Struct("i")
_ANCILLARY6_OCTETS = 128


def open_receive(family: socket.AddressFamily, protocol: int) -> socket.socket:
    """A socket for arriving packets of a security protocol; also the way out for what needs fragmenting."""
    opened = _open(family, protocol)
    opened.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, RECEIVE_BUFFER_OCTETS)
    if family == socket.AF_INET6:
        # A raw IPv6 socket shows no header: RFC 3542 section 4 gives its fields as ancillary data.
        for option in (socket.IPV6_RECVPKTINFO, socket.IPV6_RECVHOPLIMIT, socket.IPV6_RECVTCLASS):
            opened.setsockopt(socket.IPPROTO_IPV6, option, 1)
    _ignore_path_mtu(opened, PMTUDISC_OMIT)
    return opened


def open_send(family: socket.AddressFamily) -> socket.socket:
    """A socket that sends whole IP packets, header included."""
    opened = _open(family, socket.IPPROTO_RAW)
    # What arrives at an IPPROTO_RAW socket is nobody's; the kernel never queues there, but be sure.
    opened.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 0)
    _ignore_path_mtu(opened, PMTUDISC_INTERFACE)
    return opened


def _ignore_path_mtu(opened: socket.socket, how: int) -> None:
    """The kernel's path MTU of the peer may be the one that the gateway's own clear packets met at the TUN, where
    a selector equals the tunnel's addresses. For protected packets it is too small by just the protection."""
    if opened.family == socket.AF_INET6:
        opened.setsockopt(socket.IPPROTO_IPV6, IPV6_MTU_DISCOVER, how)
    else:
        opened.setsockopt(socket.IPPROTO_IP, IP_MTU_DISCOVER, how)


def _open(family: socket.AddressFamily, protocol: int) -> socket.socket:
    opened = socket.socket(family, socket.SOCK_RAW | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC, protocol)
    opened.setsockopt(socket.SOL_SOCKET, socket.SO_MARK, marks.OWN)
    opened.setsockopt(socket.SOL_SOCKET, SO_SNDBUFFORCE, SEND_BUFFER_OCTETS)
    return opened


def receive6(receiver: socket.socket) -> bytes:
    """One packet of a raw IPv6 socket, its header put together again."""
    payload, ancillary, _, sender = receiver.recvmsg(PACKET_OCTETS_MAX, _ANCILLARY6_OCTETS)
    traffic_class = hop_limit = 0
    destination = bytes(16)
    for _, kind, data in ancillary:
        if kind == socket.IPV6_PKTINFO:
            destination = data[:16]
        elif kind == socket.IPV6_HOPLIMIT:
            hop_limit = _INT.unpack(data)[0]
        elif kind == socket.IPV6_TCLASS:
            traffic_class = _INT.unpack(data)[0]
    source = socket.inet_pton(socket.AF_INET6, sender[0].partition("%")[0])
    version = 6 << 28 | traffic_class << 20
    return _HEADER6.pack(version, len(payload), receiver.proto, hop_limit, source, destination) + payload


def send_fragmented(receiver: socket.socket, packet: bytes, address: tuple[str, int]) -> None:
    """Send an outer packet that is larger than the link: without its header, which the kernel writes anew."""
    if packet[0] >> 4 == 4:
        header_octets = (packet[0] & 15) * 4
        ancillary = [
            (socket.IPPROTO_IP, socket.IP_TTL, _INT.pack(packet[8])),
            (socket.IPPROTO_IP, socket.IP_TOS, _INT.pack(packet[1])),
            (socket.IPPROTO_IP, IP_PKTINFO, struct.pack("i4s4s", 0, packet[12:16], bytes(4))),
        ]
    else:
        header_octets = HEADER6_OCTETS
        traffic_class = int.from_bytes(packet[:2]) >> 4 & 0xFF
        ancillary = [
            (socket.IPPROTO_IPV6, socket.IPV6_HOPLIMIT, _INT.pack(packet[7])),
            (socket.IPPROTO_IPV6, socket.IPV6_TCLASS, _INT.pack(traffic_class)),
            (socket.IPPROTO_IPV6, socket.IPV6_PKTINFO, _PKTINFO6.pack(packet[8:24], 0)),
        ]
    receiver.sendmsg([packet[header_octets:]], ancillary, 0, address)


def may_fragment(packet: bytes) -> bool:
    """Whether the outer header allows it. The source of an IPv6 packet may always (RFC 8200 section 4.5)."""
    return packet[0] >> 4 == 6 or not packet[6] & 0x40

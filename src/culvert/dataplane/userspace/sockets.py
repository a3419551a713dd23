"""The sockets that protected packets come and go through, and that routers' complaints come by.

They are opened by the parent and inherited, so the packet process needs no privilege, and what arrives while
it is being restarted waits in them.

Whatever the socket, what is received is a whole IP packet. Where the kernel gives no header (raw IPv6, UDP), it is
built from what the ancillary data say, as far as IPsec looks at it: AH has signed addresses and extension headers.
"""

import errno
import socket
import struct
from collections.abc import Callable, Iterable
from typing import NamedTuple

from culvert.dataplane.userspace import marks, shares
from culvert.dataplane.userspace.shares import named
from culvert.ipsec import ip
from culvert.ipsec.ip import NextHeader
from culvert.ipsec.sa import Protocol

RECEIVE_BUFFER_OCTETS = 8 * 1024 * 1024
COMPLAINT_BUFFER_OCTETS = 256 * 1024
SEND_BUFFER_OCTETS = 4 * 1024 * 1024
PACKET_OCTETS_MAX = 65535

# Constants of Linux that Python's socket module doesn't have.
SO_SNDBUFFORCE = 32
SO_RCVBUFFORCE = 33
SOL_RAW = 255
ICMP_FILTER = 1
ICMP6_FILTER = 1
IP_PKTINFO = 8
SO_EE_ORIGIN_LOCAL = 1
IP_MTU_DISCOVER = 10
IP_RECVERR = 11
IP_RECVTTL = 12
IP_RECVTOS = 13
IPV6_FLOWINFO = 11
IPV6_MTU_DISCOVER = 23
IPV6_RECVERR = 25
PMTUDISC_INTERFACE = 4
"""The link's MTU counts, not the path's. The kernel takes no router's word for it."""

FRAGMENTATION_NEEDED_TYPE = 3
PACKET_TOO_BIG_TYPE = 2

_IPV4 = struct.Struct("!BBHHHBBH4s4s")
_IPV6 = struct.Struct("!IHBB16s16s")
_UDP = struct.Struct("!HHHH")
_INT = struct.Struct("i")
_EXTENDED_ERROR = struct.Struct("=IBBBBII")
_ANCILLARY_OCTETS = 4 * (16 + 2048) + 320
"""Four extension headers of 2,048 octets, which are all that RFC 8200 section 4.1 allows, and what else is said."""
NO_PACKET = b"\0"
"""In the place of one of whose headers the kernel couldn't say all: it dies as one whose header is damaged."""
_EXTENSIONS = {
    socket.IPV6_HOPOPTS: NextHeader.HOP_BY_HOP,
    socket.IPV6_RTHDR: NextHeader.ROUTING,
    socket.IPV6_DSTOPTS: NextHeader.DESTINATION_OPTIONS,
}

Receive = Callable[[], bytes]
Ancillary = Iterable[tuple[int, int, bytes]]


class UdpPort(NamedTuple):
    """A port of this host that ESP in UDP arrives at."""

    version: int
    port: int

    @property
    def name(self) -> str:
        """As the packet process knows its socket."""
        return f"udp{self.version}-{self.port}"


FAMILIES = {4: socket.AF_INET, 6: socket.AF_INET6}


def open_all(workers: int = 1) -> dict[str, socket.socket]:
    """All but those of UDP, by the names that the packet process knows them by. A host without IPv6 does without."""
    opened = {}
    for version, family in FAMILIES.items():
        try:
            for worker in range(workers):
                opened[named(f"send{version}", worker)] = open_send(family)
        except OSError:
            if version == 4:
                raise
            continue
        for protocol in Protocol:
            receivers = open_receivers(family, protocol, min(workers, shares.HEARERS_MAX))
            opened |= {named(f"{protocol.name.lower()}{version}", at): each for at, each in enumerate(receivers)}
        opened[f"icmp{version}"] = open_complaints(family)
    return opened


def open_receivers(family: socket.AddressFamily, protocol: Protocol, workers: int) -> list[socket.socket]:
    """One for each worker, which hears of its own SAs."""
    opened = [open_receive(family, protocol) for _ in range(workers)]
    if workers > 1:
        for worker, each in enumerate(opened):
            shares.take_share(each, protocol, worker, workers)
    return opened


def open_receive(family: socket.AddressFamily, protocol: int) -> socket.socket:
    """A socket for arriving packets of a security protocol."""
    opened = _open(family, protocol)
    opened.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, RECEIVE_BUFFER_OCTETS)
    if family == socket.AF_INET6:
        _ask_for_header6(opened)
        for option in (socket.IPV6_RECVHOPOPTS, socket.IPV6_RECVRTHDR, socket.IPV6_RECVDSTOPTS):
            opened.setsockopt(socket.IPPROTO_IPV6, option, 1)
    return opened


def open_complaints(family: socket.AddressFamily) -> socket.socket:
    """A socket for ICMP messages about packets that were too big, and for no others."""
    if family == socket.AF_INET:
        opened = _open(family, NextHeader.ICMP)
        opened.setsockopt(SOL_RAW, ICMP_FILTER, struct.pack("=I", 0xFFFFFFFF ^ 1 << FRAGMENTATION_NEEDED_TYPE))
    else:
        opened = _open(family, NextHeader.ICMPV6)
        words = [0xFFFFFFFF ^ 1 << PACKET_TOO_BIG_TYPE, *[0xFFFFFFFF] * 7]
        opened.setsockopt(NextHeader.ICMPV6, ICMP6_FILTER, struct.pack("=8I", *words))
        _ask_for_header6(opened)
    opened.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, COMPLAINT_BUFFER_OCTETS)
    return opened


def open_ports(port: UdpPort, workers: int) -> list[socket.socket]:
    """Sockets of one port, for each worker one. The first is bound alone, so a port of another program's is noticed."""
    opened = [open_udp(port)]
    for _ in range(1, workers):
        opened[0].setsockopt(socket.SOL_SOCKET, shares.SO_REUSEPORT, 1)
        opened.append(open_udp(port, shared=True))
    return opened


def open_udp(port: UdpPort, *, shared: bool = False) -> socket.socket:
    """A socket for ESP in UDP (RFC 3948). Without UDP_ENCAP: the kernel has no SA for it, we have."""
    kind = socket.SOCK_DGRAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC
    opened = socket.socket(FAMILIES[port.version], kind)
    try:
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_MARK, marks.OWN)
        opened.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, RECEIVE_BUFFER_OCTETS)
        if port.version == 6:
            opened.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            # Else the kernel makes datagrams smaller for whoever knows addresses and ports. For IPv4 the packet process
            # chooses, with the DF bit.
            opened.setsockopt(socket.IPPROTO_IPV6, IPV6_MTU_DISCOVER, PMTUDISC_INTERFACE)
            _ask_for_header6(opened)
        else:
            for option in (IP_PKTINFO, IP_RECVTTL, IP_RECVTOS):
                opened.setsockopt(socket.IPPROTO_IP, option, 1)
        if shared:
            opened.setsockopt(socket.SOL_SOCKET, shares.SO_REUSEPORT, 1)
        opened.bind(("", port.port))
    except OSError as error:
        opened.close()
        if error.errno == errno.EADDRINUSE:
            sentence = f"UDP port {port.port} is taken by another program of this host, such as an IKE daemon: stop it"
            raise OSError(error.errno, sentence) from error
        raise
    return opened


def open_send(family: socket.AddressFamily) -> socket.socket:
    """A socket that sends whole IP packets, header included."""
    opened = _open(family, socket.IPPROTO_RAW)
    # What arrives at an IPPROTO_RAW socket is nobody's. The room is for errors: see `refused_mtu`.
    opened.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 0)
    # The kernel's path MTU of the peer may be the one that the gateway's own clear packets met at the TUN, where
    # a selector equals the tunnel's addresses. For protected packets it is too small by just the protection.
    if family == socket.AF_INET6:
        opened.setsockopt(socket.IPPROTO_IPV6, IPV6_MTU_DISCOVER, PMTUDISC_INTERFACE)
        opened.setsockopt(socket.IPPROTO_IPV6, IPV6_RECVERR, 1)
    else:
        opened.setsockopt(socket.IPPROTO_IP, IP_MTU_DISCOVER, PMTUDISC_INTERFACE)
        opened.setsockopt(socket.IPPROTO_IP, IP_RECVERR, 1)
    return opened


def _open(family: socket.AddressFamily, protocol: int) -> socket.socket:
    opened = socket.socket(family, socket.SOCK_RAW | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC, protocol)
    opened.setsockopt(socket.SOL_SOCKET, socket.SO_MARK, marks.OWN)
    opened.setsockopt(socket.SOL_SOCKET, SO_SNDBUFFORCE, SEND_BUFFER_OCTETS)
    return opened


def _ask_for_header6(opened: socket.socket) -> None:
    """RFC 3542 section 4: the fields of the header that isn't shown."""
    for option in (socket.IPV6_RECVPKTINFO, socket.IPV6_RECVHOPLIMIT, socket.IPV6_RECVTCLASS, IPV6_FLOWINFO):
        opened.setsockopt(socket.IPPROTO_IPV6, option, 1)


def refused_mtu(sender: socket.socket) -> int:
    """The MTU of the link that a packet was too large for a moment ago; 0 where the kernel doesn't say.

    Only what the kernel says by itself counts: an ICMP message can be anybody's; `Gateway.told_too_big` judges those.
    """
    mtu = 0
    while True:
        try:
            _, ancillary, _, _ = sender.recvmsg(0, 512, socket.MSG_ERRQUEUE)
        except OSError:
            return mtu
        for _, kind, data in ancillary:
            if kind in (IP_RECVERR, IPV6_RECVERR) and len(data) >= _EXTENDED_ERROR.size:
                number, origin, *_, info, _ = _EXTENDED_ERROR.unpack_from(data)
                mtu = info if number == errno.EMSGSIZE and origin == SO_EE_ORIGIN_LOCAL else mtu


# Receiving


def receiver(opened: socket.socket) -> Receive:
    """What gives the next packet of a socket, from its IP header on; OSError where there is none."""
    if opened.type == socket.SOCK_DGRAM:
        port = opened.getsockname()[1]
        receive = _receive_udp6 if opened.family == socket.AF_INET6 else _receive_udp4
        return lambda: receive(opened, port)
    if opened.family == socket.AF_INET6:
        return lambda: receive6(opened)
    recv = opened.recv
    return lambda: recv(PACKET_OCTETS_MAX)


def receive6(opened: socket.socket) -> bytes:
    """One packet of a raw IPv6 socket, its header and the extension headers in front of its protocol put back."""
    payload, ancillary, flags, sender = opened.recvmsg(PACKET_OCTETS_MAX, _ANCILLARY_OCTETS)
    return NO_PACKET if flags & socket.MSG_CTRUNC else _header6(ancillary, sender[0], opened.proto, payload)


def _header6(ancillary: Ancillary, source: str, protocol: int, payload: bytes) -> bytes:
    word, hop_limit, destination = 6 << 28, 0, bytes(16)
    next_header, extensions = protocol, b""
    for _, kind, data in ancillary:
        if kind == socket.IPV6_PKTINFO:
            destination = data[:16]
        elif kind == socket.IPV6_HOPLIMIT:
            hop_limit = _INT.unpack(data)[0]
        elif kind == socket.IPV6_TCLASS:
            word |= _INT.unpack(data)[0] << 20
        elif kind == IPV6_FLOWINFO:
            word |= int.from_bytes(data) & 0xFFFFF
        elif kind in _EXTENSIONS:
            # The kernel gives them in the order of the packet, and each names what follows it.
            next_header = next_header if extensions else _EXTENSIONS[kind]
            extensions += data
    packed = socket.inet_pton(socket.AF_INET6, source.partition("%")[0])
    length = len(extensions) + len(payload)
    return _IPV6.pack(word, length, next_header, hop_limit, packed, destination) + extensions + payload


def _receive_udp6(opened: socket.socket, port: int) -> bytes:
    payload, ancillary, flags, sender = opened.recvmsg(PACKET_OCTETS_MAX, _ANCILLARY_OCTETS)
    if flags & socket.MSG_CTRUNC:
        return NO_PACKET
    return _header6(ancillary, sender[0], NextHeader.UDP, _datagram(sender[1], port, payload))


def _receive_udp4(opened: socket.socket, port: int) -> bytes:
    payload, ancillary, flags, sender = opened.recvmsg(PACKET_OCTETS_MAX, _ANCILLARY_OCTETS)
    if flags & socket.MSG_CTRUNC:
        return NO_PACKET
    tos, ttl, destination = 0, 0, bytes(4)
    for _, kind, data in ancillary:
        if kind == IP_PKTINFO:
            # struct in_pktinfo: link, local address, the packet's destination.
            destination = data[8:12]
        elif kind == socket.IP_TTL:
            ttl = _INT.unpack(data)[0]
        elif kind == socket.IP_TOS:
            tos = data[0]
    length = ip.IPV4_HEADER_OCTETS + _UDP.size + len(payload)
    source = socket.inet_aton(sender[0])
    header = _IPV4.pack(0x45, tos, length, 0, 0, ttl, NextHeader.UDP, 0, source, destination)
    return header + _datagram(sender[1], port, payload)


def _datagram(source: int, destination: int, payload: bytes) -> bytes:
    """Without checksum, which the kernel has looked at."""
    return _UDP.pack(source, destination, _UDP.size + len(payload), 0) + payload

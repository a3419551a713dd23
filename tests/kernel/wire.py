"""The link between both sides: what crosses it, and sending it once more."""

import socket
import struct
import time
from typing import NamedTuple

from tests.dataplane.topology import ETH_P_ALL, Namespace
from tests.kernel.rows import Row

ETHERNET = 14
SO_RCVBUFFORCE = 33
IPV4, IPV6 = b"\x08\x00", b"\x86\xdd"
ICMPV6, FRAGMENT, UDP = 58, 44, 17
NUMBERS = {"esp": 50, "ah": 51}


class Frame(NamedTuple):
    """`by_kernel`: the kernel's side sent it."""

    octets: bytes
    by_kernel: bool

    @property
    def packet(self) -> bytes:
        return self.octets[ETHERNET:]

    @property
    def protocol(self) -> int:
        """Of the outer header, behind a fragment header."""
        if self.is_ipv4:
            return self.packet[9]
        return self.packet[40] if self.packet[6] == FRAGMENT else self.packet[6]

    @property
    def is_ipv4(self) -> bool:
        return self.packet[0] >> 4 == 4

    @property
    def is_whole(self) -> bool:
        if self.is_ipv4:
            return not struct.unpack_from("!H", self.packet, 6)[0] & 0x3FFF
        return self.packet[6] != FRAGMENT

    @property
    def header(self) -> int:
        return 20 if self.is_ipv4 else 40

    @property
    def is_discovery(self) -> bool:
        """Neighbour discovery or a multicast listener's report."""
        if self.is_ipv4:
            return False
        return self.packet[24] == 0xFF or (self.packet[6] == ICMPV6 and 133 <= self.packet[40] <= 137)


class Wire:
    """Sockets on both ends of the link.

    It is heard on our end: on its own the kernel shows what it took out of a tunnel as if that had come over the link.
    """

    def __init__(self, ours: Namespace, kernel: Namespace) -> None:
        self._ours = ours.inside(lambda: _packet_socket(ETH_P_ALL))
        self._kernel = kernel.inside(lambda: _packet_socket(0))

    def frames(self, settle_seconds: float = 0.0) -> list[Frame]:
        """The IP packets since the last call."""
        time.sleep(settle_seconds)
        found = []
        while True:
            try:
                octets, sender = self._ours.recvfrom(65535)
            except BlockingIOError:
                break
            if octets[12:14] in (IPV4, IPV6):
                found.append(Frame(octets, sender[2] != socket.PACKET_OUTGOING))
        return [frame for frame in found if not frame.is_discovery]

    def inject(self, frame: Frame) -> None:
        """Towards the side that did not send it."""
        (self._kernel if frame.by_kernel else self._ours).send(frame.octets)

    def close(self) -> None:
        self._ours.close()
        self._kernel.close()


def _packet_socket(protocol: int) -> socket.socket:
    """Protocol 0: only to send."""
    opened = socket.socket(socket.AF_PACKET, socket.SOCK_RAW | socket.SOCK_NONBLOCK, socket.htons(protocol))
    opened.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 32 << 20)
    opened.bind(("wan", protocol))
    return opened


def outermost(row: Row) -> int:
    """The protocol number of all that may be seen."""
    if row.bundle:
        return NUMBERS["ah"]
    return UDP if row.udp else NUMBERS[row.protocol]


def foreign(row: Row, frames: list[Frame]) -> list[str]:
    """What is there that shouldn't be."""
    wanted = outermost(row)
    return [
        f"protocol {frame.protocol}: {frame.packet[:64].hex()}"
        for frame in frames
        if frame.is_ipv4 != (row.outer == 4) or frame.protocol != wanted or _is_other_udp(row, frame)
    ]


def _is_other_udp(row: Row, frame: Frame) -> bool:
    ports = struct.unpack_from("!HH", frame.packet, frame.header)
    return row.udp and not row.bundle and frame.is_whole and ports != (4500, 4500)

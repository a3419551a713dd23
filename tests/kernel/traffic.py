"""Packets with known content from end to end, by sockets of both ends."""

import random
import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from tests.dataplane.topology import Namespace
from tests.kernel.ground import Ground
from tests.kernel.keys import OURS, THEIRS, ends
from tests.kernel.rows import Row

SECONDS = 8.0
PING_SIZES = (0, 56, 1000)
DATAGRAM_SIZES = (1, *range(93, 110), 512, 1200, 1400, 3000)
"""A run of lengths meets every padding."""
STREAM_OCTETS = 30000
IP_MTU_DISCOVER, IPV6_MTU_DISCOVER = 10, 23
PMTUDISC_DONT, PMTUDISC_DO = 0, 2
ECHO = {4: (8, 0), 6: (128, 129)}
"""ICMP types of request and answer."""


def content(size: int, number: int) -> bytes:
    """By turns what can be compressed and what can't."""
    if number % 2:
        return random.Random(number).randbytes(size)
    return (f"packet {number} of a row, " * (size // 16 + 1)).encode()[:size]


def family(row: Row) -> socket.AddressFamily:
    return socket.AF_INET if row.inner == 4 else socket.AF_INET6


class Pair:
    """One UDP socket at each end, connected to each other."""

    def __init__(self, ground: Ground, row: Row) -> None:
        self.row = row
        addresses = ends(row)
        self.near = ground.near_end(row).inside(lambda: bound(row, addresses[OURS]))
        self.far = ground.kernel.inside(lambda: bound(row, addresses[THEIRS]))
        self.near.connect((addresses[THEIRS], self.far.getsockname()[1]))
        self.far.connect((addresses[OURS], self.near.getsockname()[1]))

    def close(self) -> None:
        self.near.close()
        self.far.close()

    def there(self, octets: bytes) -> None:
        """From Culvert's side to the kernel's."""
        _cross(self.near, self.far, octets, "to the kernel")

    def back(self, octets: bytes) -> None:
        _cross(self.far, self.near, octets, "from the kernel")


@contextmanager
def pair(ground: Ground, row: Row) -> Iterator[Pair]:
    made = Pair(ground, row)
    try:
        yield made
    finally:
        made.close()


def bound(row: Row, address: str) -> socket.socket:
    """A UDP socket whose datagrams may be cut."""
    opened = socket.socket(family(row), socket.SOCK_DGRAM)
    opened.settimeout(SECONDS)
    _discover(opened, row, PMTUDISC_DONT)
    opened.bind((address, 0))
    return opened


def forbid_cutting(opened: socket.socket, row: Row) -> None:
    """The DF bit, in IPv4."""
    _discover(opened, row, PMTUDISC_DO)


def _discover(opened: socket.socket, row: Row, how: int) -> None:
    level, option = (socket.IPPROTO_IP, IP_MTU_DISCOVER) if row.inner == 4 else (socket.IPPROTO_IPV6, IPV6_MTU_DISCOVER)
    opened.setsockopt(level, option, how)


def _cross(sender: socket.socket, receiver: socket.socket, octets: bytes, way: str) -> None:
    sender.send(octets)
    try:
        received = receiver.recv(65535)
    except TimeoutError:
        raise AssertionError(f"a datagram of {len(octets)} octets {way} did not arrive") from None
    assert received == octets, f"a datagram of {len(octets)} octets {way} arrived damaged"


def datagrams(ground: Ground, row: Row, sizes: tuple[int, ...] = DATAGRAM_SIZES) -> None:
    """Each size both ways."""
    with pair(ground, row) as both:
        for number, size in enumerate(sizes):
            both.there(content(size, number))
            both.back(content(size, number + 1))


def pings(ground: Ground, row: Row) -> None:
    """Echo requests from both ends; the other end's kernel answers."""
    addresses = ends(row)
    ways = ((ground.near_end(row), OURS, THEIRS), (ground.kernel, THEIRS, OURS))
    for namespace, source, destination in ways:
        for number, size in enumerate(PING_SIZES):
            _ping(namespace, row, addresses[source], addresses[destination], content(size, number), number)


def _ping(namespace: Namespace, row: Row, source: str, destination: str, octets: bytes, number: int) -> None:
    protocol = socket.IPPROTO_ICMP if row.inner == 4 else socket.IPPROTO_ICMPV6
    request, reply = ECHO[row.inner]
    echo = struct.pack("!HH", 0x5E5E, number) + octets
    with namespace.inside(lambda: socket.socket(family(row), socket.SOCK_RAW, protocol)) as opened:
        opened.settimeout(SECONDS)
        opened.bind((source, 0))
        message = struct.pack("!BBH", request, 0, 0) + echo
        opened.sendto(_with_sum(message) if row.inner == 4 else message, (destination, 0))
        try:
            while not _is_answer(opened.recv(65535), row, reply, echo):
                pass
        except TimeoutError:
            raise AssertionError(f"no answer to a ping of {len(octets)} octets from {source}") from None


def _is_answer(received: bytes, row: Row, reply: int, echo: bytes) -> bool:
    message = received[20:] if row.inner == 4 else received
    return message[0] == reply and message[4:] == echo


def _with_sum(message: bytes) -> bytes:
    even = message + b"\0" * (len(message) % 2)
    total = sum(struct.unpack(f"!{len(even) // 2}H", even))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return message[:2] + struct.pack("!H", 0xFFFF - total) + message[4:]


def stream(ground: Ground, row: Row) -> None:
    """A TCP connection whose far end sends everything back."""
    octets = content(STREAM_OCTETS // 2, 1) + content(STREAM_OCTETS // 2, 2)
    addresses = ends(row)
    with ExitStack() as closing:
        listener = closing.enter_context(ground.kernel.inside(lambda: _listener(row, addresses[THEIRS])))
        near = closing.enter_context(
            ground.near_end(row).inside(lambda: socket.socket(family(row), socket.SOCK_STREAM))
        )
        near.settimeout(SECONDS * 2)
        near.bind((addresses[OURS], 0))
        echo = threading.Thread(target=_echo, args=(listener,))
        echo.start()
        try:
            near.connect(listener.getsockname()[:2])
            received = _converse(near, octets)
        except TimeoutError:
            raise AssertionError("a TCP connection got stuck") from None
        finally:
            near.close()
            echo.join()
    assert received == octets, f"{len(received)} of {len(octets)} octets came back over TCP"


def _listener(row: Row, address: str) -> socket.socket:
    opened = socket.socket(family(row), socket.SOCK_STREAM)
    opened.settimeout(SECONDS)
    opened.bind((address, 0))
    opened.listen(1)
    return opened


def _converse(near: socket.socket, octets: bytes) -> bytes:
    sending = threading.Thread(target=_send_all, args=(near, octets))
    sending.start()
    received = b""
    while piece := near.recv(65535):
        received += piece
    sending.join()
    return received


def _send_all(near: socket.socket, octets: bytes) -> None:
    near.sendall(octets)
    near.shutdown(socket.SHUT_WR)


def _echo(listener: socket.socket) -> None:
    try:
        far, _ = listener.accept()
    except TimeoutError:
        return
    with far:
        far.settimeout(SECONDS * 2)
        try:
            while piece := far.recv(65535):
                far.sendall(piece)
        except OSError:
            # The near end reports it.
            return

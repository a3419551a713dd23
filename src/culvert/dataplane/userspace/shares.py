"""Which worker of the packet process hears of an arriving packet: all packets of one SA come to the same one.

So the replay window of an SA, and the order of its packets, are one worker's. Where workers have raw sockets, each
one's has a filter (of "classic" BPF, see Linux Documentation/networking/filter.rst) that takes the SPIs of its share.
Of a UDP port each worker has a socket too (SO_REUSEPORT), among which the kernel chooses by the peer's address and
port, and not by SPI: it may have put datagrams of several SAs of one peer together before.

(With AF_XDP a packet is the worker's whose receive queue it came by; what the program at the link leaves to the kernel
comes by the raw sockets, as above. So two workers may have packets of one SA: both may use its replay window, and the
order across the two is not kept.)
"""

import ctypes
import socket
import struct

from culvert.ipsec.sa import Protocol

HEARERS_MAX = 4
"""More workers have no raw sockets: the kernel copies the head of each packet for every one of them."""

# Constants of Linux that Python's socket module doesn't have.
SO_ATTACH_FILTER = 26
SO_REUSEPORT = 15

_LOAD, _LOAD_BEHIND, _LOAD_LENGTH = 0x20, 0x40, 0x80
_INDEX_BEHIND_HEADER, _TO_INDEX, _FROM_INDEX = 0xB1, 0x07, 0x87
_ADD, _MODULO = 0x04, 0x94
_IF_EQUAL, _IF_LEAST, _IF_LEAST_INDEX = 0x15, 0x35, 0x3D
_RETURN = 0x06
_ALL = 0xFFFFFFFF
_SPI_OCTETS = 4

Step = tuple[int, int, int, int]
"""Code, jump if true, jump if false, number."""


def named(name: str, worker: int) -> str:
    """A descriptor of this worker, as the packet process knows it."""
    return f"{name}.{worker}" if worker else name


def take_share(opened: socket.socket, protocol: Protocol, worker: int, workers: int) -> None:
    """Have a raw socket hear only of those SAs that are this worker's."""
    at = 4 if protocol is Protocol.AH else 0
    take = [
        (_MODULO, 0, 0, workers),
        (_IF_EQUAL, 0, 1, worker),
        (_RETURN, 0, 0, _ALL),
        (_RETURN, 0, 0, 0),
        # What is too short for an SPI is the first worker's to drop.
        (_RETURN, 0, 0, 0 if worker else _ALL),
    ]
    if opened.family == socket.AF_INET6:
        # Of IPv6 a raw socket sees what is behind the headers.
        find = [(_LOAD_LENGTH, 0, 0, 0), (_IF_LEAST, 0, 5, at + _SPI_OCTETS), (_LOAD, 0, 0, at)]
    else:
        find = [
            (_INDEX_BEHIND_HEADER, 0, 0, 0),
            (_FROM_INDEX, 0, 0, 0),
            (_ADD, 0, 0, at + _SPI_OCTETS),
            (_TO_INDEX, 0, 0, 0),
            (_LOAD_LENGTH, 0, 0, 0),
            (_IF_LEAST_INDEX, 0, 6, 0),
            (_INDEX_BEHIND_HEADER, 0, 0, 0),
            (_LOAD_BEHIND, 0, 0, at),
        ]
    _attach(opened, [*find, *take])


def _attach(opened: socket.socket, steps: list[Step]) -> None:
    program = b"".join(struct.pack("=HBBI", *step) for step in steps)
    place = ctypes.create_string_buffer(program, len(program))
    opened.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, struct.pack("@HP", len(steps), ctypes.addressof(place)))

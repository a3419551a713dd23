"""The program at a link that picks out our ESP: BPF, written out so that no compiler is needed. Pure: values to code.

It reads a frame as far as a look-up of destination and SPI needs, and says pass to everything that isn't whole,
unfragmented ESP of one of our inbound SAs: see `xdp`.
"""

import socket
import struct
from collections.abc import Iterable, Iterator
from ipaddress import IPv4Address, IPv6Address
from typing import NamedTuple

from culvert.dataplane.userspace.bpf import Instruction
from culvert.ipsec.sa import Protocol

LINK_HEADER_OCTETS = 14
KEY = struct.Struct("=16s4s")
"""Destination, IPv4 as IPv6 has it (RFC 4291 section 2.5.5.2), and SPI."""
XDP_PASS = 2

_ETHERNET_IPV4, _ETHERNET_IPV6 = socket.htons(0x0800), socket.htons(0x86DD)
_MORE_OR_OFFSET = socket.htons(0x3FFF)
_LOOK_UP, _REDIRECT = 1, 51
"""Helpers: bpf_map_lookup_elem, bpf_redirect_map."""
_OCTET, _SHORT, _LONG = 0x71, 0x69, 0x61
"""Loads by size."""
_ON_STACK = -KEY.size


class _Jump(NamedTuple):
    """With an offset that is known when all is laid out."""

    to: str
    code: int
    destination: int = 0
    source: int = 0
    immediate: int = 0


_Item = Instruction | _Jump | str
"""A string is a label."""


def key_of(destination: IPv4Address | IPv6Address, spi: int) -> bytes:
    """What the program looks for in the map of our SAs."""
    octets = destination.packed
    return KEY.pack(octets if len(octets) == 16 else bytes(10) + b"\xff\xff" + octets, spi.to_bytes(4))


def program(sas: int, sockets: int) -> list[Instruction]:
    """`sas`: the map of ours; `sockets`: that of this link's sockets by queue. Both are descriptors."""
    return list(_laid_out([*_BEGINNING, *_FOUR, *_SIX, *_found(sas, sockets)]))


def _laid_out(items: list[_Item]) -> Iterator[Instruction]:
    places: dict[str, int] = {}
    count = 0
    for item in items:
        if isinstance(item, str):
            places[item] = count
        else:
            count += 1
    at = 0
    for item in items:
        if isinstance(item, str):
            continue
        at += 1
        if isinstance(item, _Jump):
            yield Instruction(item.code, item.destination, item.source, places[item.to] - at, item.immediate)
        else:
            yield item


def _needs(octets: int) -> list[_Item]:
    """A frame that is shorter passes. Registers: 2 is its begin, 3 its end."""
    return [Instruction(0xBF, 4, 2), Instruction(0x07, 4, 0, 0, octets), _Jump("pass", 0x2D, 4, 3)]


def _has(load: int, at: int, value: int) -> list[_Item]:
    """A frame with something else there passes."""
    return [Instruction(load, 5, 2, at), _Jump("pass", 0x55, 5, 0, value)]


def _copied(pairs: Iterable[tuple[int, int]]) -> list[_Item]:
    """Four octets each, from the frame to the key."""
    return [
        each
        for source, to in pairs
        for each in (Instruction(_LONG, 5, 2, source), Instruction(0x63, 10, 5, _ON_STACK + to))
    ]


def _stored(to: int, octets: bytes) -> Instruction:
    return Instruction(0x62, 10, 0, _ON_STACK + to, struct.unpack("=i", octets)[0])


_BEGINNING: list[_Item] = [
    Instruction(0xBF, 6, 1),
    Instruction(_LONG, 2, 6, 0),
    Instruction(_LONG, 3, 6, 4),
    *_needs(LINK_HEADER_OCTETS),
    Instruction(_SHORT, 5, 2, LINK_HEADER_OCTETS - 2),
    _Jump("four", 0x15, 5, 0, _ETHERNET_IPV4),
    _Jump("six", 0x15, 5, 0, _ETHERNET_IPV6),
    _Jump("pass", 0x05),
]
_FOUR: list[_Item] = [
    "four",
    *_needs(LINK_HEADER_OCTETS + 24),
    *_has(_OCTET, LINK_HEADER_OCTETS, 0x45),
    *_has(_OCTET, LINK_HEADER_OCTETS + 9, Protocol.ESP),
    Instruction(_SHORT, 5, 2, LINK_HEADER_OCTETS + 6),
    Instruction(0x57, 5, 0, 0, _MORE_OR_OFFSET),
    _Jump("pass", 0x55, 5, 0, 0),
    _stored(0, bytes(4)),
    _stored(4, bytes(4)),
    _stored(8, b"\0\0\xff\xff"),
    *_copied([(LINK_HEADER_OCTETS + 16, 12), (LINK_HEADER_OCTETS + 20, 16)]),
    _Jump("look", 0x05),
]
_SIX: list[_Item] = [
    "six",
    *_needs(LINK_HEADER_OCTETS + 44),
    *_has(_OCTET, LINK_HEADER_OCTETS + 6, Protocol.ESP),
    *_copied((LINK_HEADER_OCTETS + 24 + at, at) for at in (0, 4, 8, 12)),
    *_copied([(LINK_HEADER_OCTETS + 40, 16)]),
]


def _found(sas: int, sockets: int) -> list[_Item]:
    """One of ours goes to its queue's socket, or on to the kernel where there is none."""
    return [
        "look",
        *_map(1, sas),
        Instruction(0xBF, 2, 10),
        Instruction(0x07, 2, 0, 0, _ON_STACK),
        Instruction(0x85, 0, 0, 0, _LOOK_UP),
        _Jump("pass", 0x15, 0, 0, 0),
        Instruction(_LONG, 2, 6, 16),
        *_map(1, sockets),
        Instruction(0xB7, 3, 0, 0, XDP_PASS),
        Instruction(0x85, 0, 0, 0, _REDIRECT),
        Instruction(0x95),
        "pass",
        Instruction(0xB7, 0, 0, 0, XDP_PASS),
        Instruction(0x95),
    ]


def _map(register: int, fd: int) -> list[_Item]:
    """A map's address, which the kernel fills in; it takes the room of two instructions."""
    return [Instruction(0x18, register, 1, 0, fd), Instruction(0x00)]

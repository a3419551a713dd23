"""Which packets a capture takes: a few words, made into a program that the kernel runs before it copies anything.

Classic BPF (the kernel's Documentation/networking/filter.rst). A program has no loop and is built from the tables
here, so that whatever was asked for, the kernel spends a bounded time and nothing of a user's words gets anywhere else.
"""

import ctypes
import socket
import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address

IPAddress = IPv4Address | IPv6Address
TCP, UDP = 6, 17
KINDS: Mapping[str, Mapping[int, Sequence[int]]] = {
    "any": {},
    "esp": {50: (), UDP: (4500,)},
    "ah": {51: ()},
    "ike": {UDP: (500, 4500)},
    "icmp": {1: (), 58: ()},
    "tcp": {TCP: ()},
    "udp": {UDP: ()},
}
"""By word the IP protocols that it means, each with its ports; () is all of them, and no protocol is every one."""
WITH_PORT = frozenset({"any", "tcp", "udp"})
ETHERNET_OCTETS = 14

_LOAD_WORD, _LOAD_HALF, _LOAD_BYTE, _LOAD_HALF_AT_X = 0x20, 0x28, 0x30, 0x48
_LOAD_HEADER_LENGTH, _SHIFT_RIGHT, _RETURN = 0xB1, 0x74, 0x06
_EQUAL, _ANY_BIT = 0x15, 0x45
_ATTACH = 26
"""SO_ATTACH_FILTER, which Python's socket has no name for."""
_FRAGMENT_OFFSET = 0x1FFF
TAKE, LEAVE = "take", "leave"


@dataclass(frozen=True, slots=True)
class Wanted:
    """`kind`: a word of KINDS. `host`: source or destination; `port` likewise, of TCP and UDP. None: whichever."""

    kind: str = "any"
    host: IPAddress | None = None
    port: int | None = None

    def __str__(self) -> str:
        host = f" host {self.host}" if self.host else ""
        return f"{self.kind}{host}" + ("" if self.port is None else f" port {self.port}")

    @property
    def protocols(self) -> Mapping[int, Sequence[int]]:
        """As KINDS has them, with the port in place of theirs."""
        if self.port is None:
            return KINDS[self.kind]
        return dict.fromkeys(KINDS[self.kind] or (TCP, UDP), (self.port,))


EVERYTHING = Wanted()


@dataclass(frozen=True, slots=True)
class _Line:
    """An instruction. `yes` and `no` are labels to jump to, "" for the next line."""

    code: int
    operand: int = 0
    yes: str = ""
    no: str = ""
    label: str = ""


def program(wanted: Wanted, snap_octets: int, link_octets: int) -> bytes:
    """The program for frames with a link header of 14 (Ethernet) or 0 octets (IP alone)."""
    lines: list[_Line] = []
    if wanted != EVERYTHING:  # Whoever wants anything gets ARP too.
        lines += _families(link_octets)
        for version in (4, 6):
            lines += _family(version, wanted, link_octets)
    lines += [_Line(_RETURN, snap_octets, label=TAKE), _Line(_RETURN, 0, label=LEAVE)]
    return _assembled(lines)


def attach(taker: socket.socket, code: bytes) -> None:
    """From now on `taker` gets what the program takes, cut to what it returned. Raises OSError."""
    held = ctypes.create_string_buffer(code, len(code))
    taker.setsockopt(socket.SOL_SOCKET, _ATTACH, struct.pack("HP", len(code) // 8, ctypes.addressof(held)))


def _families(link_octets: int) -> Iterator[_Line]:
    if link_octets:
        yield _Line(_LOAD_HALF, link_octets - 2)
        yield _Line(_EQUAL, 0x0800, yes="v4")
        yield _Line(_EQUAL, 0x86DD, yes="v6", no=LEAVE)
    else:
        yield _Line(_LOAD_BYTE, 0)
        yield _Line(_SHIFT_RIGHT, 4)
        yield _Line(_EQUAL, 4, yes="v4")
        yield _Line(_EQUAL, 6, yes="v6", no=LEAVE)


def _family(version: int, wanted: Wanted, at: int) -> Iterator[_Line]:
    start, matched = f"v{version}", f"v{version}-host"
    if wanted.host is not None:
        if wanted.host.version != version:
            yield _Line(_RETURN, 0, label=start)
            return
        yield from _host(wanted.host, at, start, matched)
    yield _Line(_LOAD_BYTE, at + (9 if version == 4 else 6), label=start if wanted.host is None else matched)
    for protocol, ports in wanted.protocols.items():
        yield _Line(_EQUAL, protocol, yes=TAKE if not ports else f"v{version}-{protocol}")
    yield _Line(_EQUAL, 0, yes=LEAVE, no=LEAVE) if wanted.protocols else _Line(_EQUAL, 0, yes=TAKE, no=TAKE)
    for protocol, ports in wanted.protocols.items():
        if ports:
            yield from _ports(version, ports, at, f"v{version}-{protocol}")


def _host(host: IPAddress, at: int, start: str, matched: str) -> Iterator[_Line]:
    """Its words as the source, else as the destination."""
    words = [int.from_bytes(host.packed[word : word + 4]) for word in range(0, len(host.packed), 4)]
    first = at + (12 if host.version == 4 else 8)
    for place, label, missed in ((0, start, f"{start}-to"), (len(host.packed), f"{start}-to", LEAVE)):
        for number, word in enumerate(words):
            yield _Line(_LOAD_WORD, first + place + 4 * number, label=label if number == 0 else "")
            is_last = number == len(words) - 1
            yield _Line(_EQUAL, word, yes=matched if is_last else "", no=missed)


def _ports(version: int, ports: Sequence[int], at: int, label: str) -> Iterator[_Line]:
    """Either port; only the first fragment of IPv4 has any (RFC 791 section 3.2)."""
    if version == 4:
        yield _Line(_LOAD_HALF, at + 6, label=label)
        yield _Line(_ANY_BIT, _FRAGMENT_OFFSET, yes=LEAVE)
        yield _Line(_LOAD_HEADER_LENGTH, at)
    for place in (0, 2):
        if version == 4:
            yield _Line(_LOAD_HALF_AT_X, at + place)
        else:
            yield _Line(_LOAD_HALF, at + 40 + place, label=label if place == 0 else "")
        for port in ports:
            yield _Line(_EQUAL, port, yes=TAKE)
    yield _Line(_EQUAL, 0, yes=LEAVE, no=LEAVE)


def _assembled(lines: Sequence[_Line]) -> bytes:
    """Jumps are counted in lines, from the one behind."""
    places = {line.label: number for number, line in enumerate(lines) if line.label}

    def jump(number: int, label: str) -> int:
        return places[label] - number - 1 if label else 0

    return b"".join(
        struct.pack("=HBBI", line.code, jump(number, line.yes), jump(number, line.no), line.operand)
        for number, line in enumerate(lines)
    )

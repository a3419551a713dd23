"""The named counters of our table, asked of the kernel itself (netlink, linux/netfilter/nf_tables.h).

The `nft` program reads all that a table has before it lists anything of it: with the sets of ten thousand tunnels that
is a fifth of a second of work, and this is asked every second.
"""

import os
import socket
import struct
from collections.abc import Iterator

from culvert.dataplane.userspace import marks

NETLINK_NETFILTER = 12
GET, NEW = 10 << 8 | 19, 10 << 8 | 18
"""NFT_MSG_GETOBJ and NFT_MSG_NEWOBJ of the subsystem NFNL_SUBSYS_NFTABLES."""
REQUEST_DUMP = 0x301
INTERRUPTED = 0x10
"""NLM_F_DUMP_INTR: something changed while it was read."""
ERROR, DONE = 2, 3
INET = 1
TABLE, NAME, TYPE, DATA = 1, 2, 3, 4
COUNTER = 1
OCTETS, PACKETS = 1, 2
NESTED = 0x8000
TRIES = 3
TIMEOUT_SECONDS = 5.0
_HEADER = struct.Struct("=IHHII")
_FAMILY = struct.Struct(">BBH")
_CODE = struct.Struct("=i")
_ATTRIBUTE = struct.Struct("=HH")

Counts = dict[str, tuple[int, int]]


def read() -> Counts:
    """Packets and octets by name; empty where there is no table of ours. Raises OSError."""
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, NETLINK_NETFILTER) as asking:
        asking.settimeout(TIMEOUT_SECONDS)
        asking.bind((0, 0))
        for number in range(1, TRIES + 1):
            asking.send(request(number))
            found, is_whole = _answer(asking, number)
            if is_whole:
                break
        return found


def request(number: int) -> bytes:
    """All counters of the table."""
    body = _FAMILY.pack(INET, 0, 0) + _attribute(TABLE, marks.NFT_TABLE.encode() + b"\0")
    body += _attribute(TYPE, COUNTER.to_bytes(4))
    return _HEADER.pack(_HEADER.size + len(body), GET, REQUEST_DUMP, number, 0) + body


def _attribute(kind: int, value: bytes) -> bytes:
    return (_ATTRIBUTE.pack(_ATTRIBUTE.size + len(value), kind) + value).ljust(_padded(4 + len(value)), b"\0")


def _padded(length: int) -> int:
    return (length + 3) & ~3


def _answer(asking: socket.socket, number: int) -> tuple[Counts, bool]:
    found: Counts = {}
    is_whole = True
    while True:
        for kind, flags, sequence, body in messages(asking.recv(1 << 16)):
            if sequence != number:
                continue
            is_whole &= not flags & INTERRUPTED
            if kind == NEW:
                found |= counter(body)
            elif kind == DONE:
                return found, is_whole
            elif kind == ERROR:
                code = -_CODE.unpack_from(body)[0]
                raise OSError(code, os.strerror(code))


def messages(octets: bytes) -> Iterator[tuple[int, int, int, bytes]]:
    """Kind, flags, number and body of each."""
    while len(octets) >= _HEADER.size:
        length, kind, flags, number, _ = _HEADER.unpack_from(octets)
        if not _HEADER.size <= length <= len(octets):
            raise OSError("a netlink message is cut off")
        yield kind, flags, number, octets[_HEADER.size : length]
        octets = octets[_padded(length) :]


def counter(body: bytes) -> Counts:
    """The counter that a message is about; nothing where it is another object."""
    own = _attributes(body[_FAMILY.size :])
    if own.get(TABLE, b"").rstrip(b"\0").decode() != marks.NFT_TABLE or own.get(TYPE) != COUNTER.to_bytes(4):
        return {}
    data = _attributes(own.get(DATA, b""))
    packets, octets = (int.from_bytes(data.get(kind, b"")) for kind in (PACKETS, OCTETS))
    return {own[NAME].rstrip(b"\0").decode(): (packets, octets)}


def _attributes(octets: bytes) -> dict[int, bytes]:
    found = {}
    while len(octets) >= _ATTRIBUTE.size:
        length, kind = _ATTRIBUTE.unpack_from(octets)
        if length < _ATTRIBUTE.size:
            break
        found[kind & ~NESTED] = octets[_ATTRIBUTE.size : length]
        octets = octets[_padded(length) :]
    return found

"""The kernel's BPF: maps, programs, and what holds a program at a link. Each goes with the last descriptor of it.

Only what `xdp` needs. Raises OSError with the kernel's number.
"""

import ctypes
import os
import platform
import struct
from collections.abc import Iterable
from typing import NamedTuple

NUMBERS = {"x86_64": 321, "aarch64": 280}
"""Of the system call, by machine."""
MAP_CREATE, MAP_UPDATE, MAP_DELETE, PROG_LOAD, LINK_CREATE = 0, 2, 3, 5, 28
MAP_HASH, MAP_XSK = 1, 17
NO_PREALLOCATION = 1
PROGRAM_XDP, ATTACH_XDP = 6, 37
LOG_OCTETS = 16384

libc = ctypes.CDLL(None, use_errno=True)


class Instruction(NamedTuple):
    """One, as the kernel has it; see its Documentation/bpf/standardization/instruction-set.rst."""

    code: int
    destination: int = 0
    source: int = 0
    offset: int = 0
    immediate: int = 0

    def packed(self) -> bytes:
        registers = self.source << 4 | self.destination
        return struct.pack("=BBhi", self.code, registers, self.offset, self.immediate)


def create_map(kind: int, key_octets: int, value_octets: int, entries: int, flags: int = 0) -> int:
    """A new map's descriptor."""
    return _bpf(MAP_CREATE, struct.pack("=IIIII", kind, key_octets, value_octets, entries, flags))


def update(fd: int, key: bytes, value: bytes) -> None:
    """Put an element, or another value in its place."""
    at = _Pinned(key, value)
    _bpf(MAP_UPDATE, struct.pack("=IIQQQ", fd, 0, *at.addresses, 0))


def delete(fd: int, key: bytes) -> None:
    """Take an element away."""
    at = _Pinned(key)
    _bpf(MAP_DELETE, struct.pack("=IIQQQ", fd, 0, *at.addresses, 0, 0))


def load_xdp(instructions: Iterable[Instruction], name: str) -> int:
    """A program's descriptor."""
    code = b"".join(each.packed() for each in instructions)
    at = _Pinned(code, b"Apache-2.0\0", bytes(LOG_OCTETS))
    octets, licence, log = at.addresses
    head = struct.pack("=IIQQIIQII", PROGRAM_XDP, len(code) // 8, octets, licence, 1, LOG_OCTETS, log, 0, 0)
    try:
        return _bpf(PROG_LOAD, head + name.encode()[:15].ljust(16, b"\0"))
    except OSError as error:
        why = at.buffers[2].value.decode(errors="replace").strip().splitlines()
        raise OSError(error.errno, f"{error.strerror}: {why[-1] if why else 'the kernel says no more'}") from error


def hold_at(program: int, link: int, flags: int) -> int:
    """A program at a link, by its index, as long as the descriptor is open."""
    return _bpf(LINK_CREATE, struct.pack("=IIII", program, link, ATTACH_XDP, flags))


class _Pinned:
    """Octets at addresses that the kernel can be told."""

    def __init__(self, *values: bytes) -> None:
        self.buffers = [ctypes.create_string_buffer(value, len(value)) for value in values]
        self.addresses = [ctypes.addressof(buffer) for buffer in self.buffers]


def _bpf(command: int, attributes: bytes) -> int:
    number = NUMBERS.get(platform.machine())
    if number is None:
        raise OSError(f"the number of bpf(2) on {platform.machine()} isn't known")
    buffer = ctypes.create_string_buffer(attributes, len(attributes))
    result: int = libc.syscall(number, command, buffer, len(attributes))
    if result < 0:
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error))
    return result

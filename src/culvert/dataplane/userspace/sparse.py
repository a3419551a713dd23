"""A file that loses its beginning: its data in pieces without the holes, and a hole in the place of what is over."""

import ctypes
import errno
import os
from collections.abc import Iterator

PIECE_OCTETS = 1 << 20
BLOCK_OCTETS = 4096
_KEEP_SIZE, _PUNCH_HOLE = 1, 2
"""Of linux/falloc.h."""


def data_from(fd: int, at: int) -> int:
    """Where the first data at or behind this place is; the end of the file where there is none."""
    try:
        return os.lseek(fd, at, os.SEEK_DATA)
    except OSError as error:
        if error.errno == errno.ENXIO:
            return max(at, os.fstat(fd).st_size)
        if error.errno == errno.EINVAL:
            # A file system that knows of no holes.
            return at
        raise


def pieces(fd: int, at: int) -> Iterator[tuple[int, bytes]]:
    """The data behind this place, and where each piece of it begins; holes that are as large as a piece are skipped."""
    while True:
        at = max(at, data_from(fd, at))
        octets = os.pread(fd, PIECE_OCTETS, at)
        if not octets:
            return
        yield at, octets
        at += len(octets)


def punch(fd: int, end: int) -> None:
    """Give the disk back what is before `end`; the file stays as long as it is. OSError where that can't be."""
    end -= end % BLOCK_OCTETS
    if end <= 0:
        return
    libc = ctypes.CDLL(None, use_errno=True)
    fallocate = getattr(libc, "fallocate64", libc.fallocate)
    fallocate.argtypes = (ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64)
    if fallocate(fd, _PUNCH_HOLE | _KEEP_SIZE, 0, end):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))

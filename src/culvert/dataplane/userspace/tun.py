"""The TUN device: where the kernel hands over clear packets, and takes them back."""

import contextlib
import errno
import fcntl
import os
import struct
from pathlib import Path

from culvert.dataplane.userspace.kernel import HostError

CLONE_DEVICE = Path("/dev/net/tun")
TUNSETIFF = 0x400454CA
TUNSETPERSIST = 0x400454CB
IFF_TUN = 0x0001
IFF_NO_PI = 0x1000
IFF_VNET_HDR = 0x4000


def open_tun(name: str, *, offloads: bool = False) -> int:
    """Make the device, or take over the one that a predecessor left, and return its descriptor.

    It is persistent: when no process reads it any more, its route still leads into it, so that what should be
    protected is lost rather than sent in clear. `offloads`: packets have a virtio header in front.
    """
    try:
        fd = os.open(CLONE_DEVICE, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise HostError(error.errno, f"this host has no TUN: {CLONE_DEVICE}: {error.strerror}") from error
    flags = IFF_TUN | IFF_NO_PI | (IFF_VNET_HDR if offloads else 0)
    try:
        fcntl.ioctl(fd, TUNSETIFF, struct.pack("16sH22x", name.encode(), flags))
        fcntl.ioctl(fd, TUNSETPERSIST, 1)
    except OSError as error:
        os.close(fd)
        raise HostError(error.errno, f"{_trouble(error)} {name}: {error.strerror}") from error
    return fd


def _trouble(error: OSError) -> str:
    return "another program uses" if error.errno == errno.EBUSY else "can't make or take over"


def close_tun(fd: int) -> None:
    """Let the device vanish."""
    with contextlib.suppress(OSError):
        fcntl.ioctl(fd, TUNSETPERSIST, 0)
    os.close(fd)

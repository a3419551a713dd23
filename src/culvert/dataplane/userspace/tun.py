"""The TUN device: where the kernel hands over clear packets, and takes them back.

With several queues the kernel gives each flow to one of them, by a hash of the flow, which is the same for both ways.
But it remembers the queue that something of a flow was last written to, and gives the flow to that one from then on,
whatever still waits in the other: packets would overtake each other. So nothing is written to a queue that is read
from: for writing each worker has one more, which was attached and detached again, and of which the kernel remembers
nothing.
"""

import contextlib
import errno
import fcntl
import os
import struct
from collections.abc import Mapping
from pathlib import Path

from culvert.dataplane.userspace.kernel import HostError
from culvert.dataplane.userspace.shares import named

CLONE_DEVICE = Path("/dev/net/tun")
TUNSETIFF = 0x400454CA
TUNSETPERSIST = 0x400454CB
TUNSETQUEUE = 0x400454D9
IFF_TUN = 0x0001
IFF_MULTI_QUEUE = 0x0100
IFF_DETACH_QUEUE = 0x0400
IFF_NO_PI = 0x1000
IFF_VNET_HDR = 0x4000

OUT = "tun-out"
_REQUEST = struct.Struct("16sH22x")


def open_tun(name: str, *, offloads: bool = False, queues: int = 1) -> dict[str, int]:
    """Make the device, or take over the one that a predecessor left; its descriptors, as the packet process knows them.

    It is persistent: when no process reads it any more, its route still leads into it, so that what should be
    protected is lost rather than sent in clear. `offloads`: packets have a virtio header in front.
    """
    flags = IFF_TUN | IFF_NO_PI | (IFF_VNET_HDR if offloads else 0) | (IFF_MULTI_QUEUE if queues > 1 else 0)
    opened: dict[str, int] = {}
    try:
        # Those that are only written to come first: each keeps the number of a queue that there is.
        outs = [named(OUT, number) for number in range(queues)] if queues > 1 else []
        for each in (*outs, *(named("tun", number) for number in range(queues))):
            opened[each] = _attached(name, flags) if opened else _first(name, flags)
            fcntl.ioctl(opened[each], TUNSETPERSIST, 1)
        for each in outs:
            fcntl.ioctl(opened[each], TUNSETQUEUE, _REQUEST.pack(name.encode(), IFF_DETACH_QUEUE))
    except OSError as error:
        for fd in opened.values():
            os.close(fd)
        if isinstance(error, HostError):
            raise
        raise HostError(error.errno, f"{_trouble(error)} {name}: {error.strerror}") from error
    return opened


def _first(name: str, flags: int) -> int:
    try:
        return _attached(name, flags)
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
    # A predecessor's, which had several queues where one is wanted, or one for several. That can't be changed.
    close_tun({"tun": _attached(name, flags ^ IFF_MULTI_QUEUE)})
    return _attached(name, flags)


def _attached(name: str, flags: int) -> int:
    """One more queue of the device, which is made where there is none."""
    try:
        fd = os.open(CLONE_DEVICE, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise HostError(error.errno, f"this host has no TUN: {CLONE_DEVICE}: {error.strerror}") from error
    try:
        fcntl.ioctl(fd, TUNSETIFF, _REQUEST.pack(name.encode(), flags))
    except OSError:
        os.close(fd)
        raise
    return fd


def _trouble(error: OSError) -> str:
    return "another program uses" if error.errno == errno.EBUSY else "can't make or take over"


def close_tun(fds: Mapping[str, int]) -> None:
    """Let the device vanish."""
    with contextlib.suppress(OSError):
        fcntl.ioctl(fds["tun"], TUNSETPERSIST, 0)
    for fd in fds.values():
        os.close(fd)

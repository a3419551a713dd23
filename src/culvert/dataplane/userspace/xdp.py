"""Plain ESP past the kernel's network stack: AF_XDP (Linux Documentation/networking/af_xdp.rst).

Theory of operation. At each link that plain ESP arrives by hangs a small program, which looks at every frame before
the kernel does. Unfragmented ESP with the destination and the SPI of one of our inbound SAs it gives to a socket of the
packet process; everything else, ESP of others included, passes to the kernel as before, and our own that is special
(fragments, IP options, extension headers) reaches us by the raw sockets. So the program is no filter, and where it
can't be, nothing is missing but speed.

Out, the packet process writes whole frames. Where they have to go it asks the kernel, by a socket of routes; what it
has no answer for leaves by a raw socket, which makes the kernel find out.

A packet that goes this way is seen by no nftables rule of the host and by no packet capture at the link. Therefore it
is a choice: CULVERT_IO in the daemon's environment, `xdp` or `raw`; `auto`, the default, is `raw`.

With `xdp` the program hangs in the link's driver, or, where that has no place for it, in the kernel's stack;
`xdp-driver` and `xdp-generic` are one of both and nothing else. A veth link has such a place, but copies each packet to
get it there, a little slower than the stack does, and passes no super-packets any more: with `xdp` it is the stack.

A socket belongs to one receive queue; one of the workers receives from it, all send by it. It has memory (UMEM) of its
own, which is a memfd, since we register it and the packet process uses it. With every start of the packet process all
of it comes anew.
"""

import contextlib
import ctypes
import errno
import fcntl
import mmap
import os
import socket
import struct
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from culvert.dataplane.userspace import bpf, watch
from culvert.dataplane.userspace.shares import named
from culvert.dataplane.userspace.sockets import SEND_BUFFER_OCTETS, SO_SNDBUFFORCE
from culvert.dataplane.userspace.xdp_program import KEY, LINK_HEADER_OCTETS, key_of, program
from culvert.ipsec.sa import Direction, Protocol, SecurityAssociation

CHOICE = "CULVERT_IO"
AUTO, RAW, XDP, XDP_DRIVER, XDP_GENERIC = "auto", "raw", "xdp", "xdp-driver", "xdp-generic"
CHOICES = (AUTO, RAW, XDP, XDP_DRIVER, XDP_GENERIC)

QUEUES_MAX = 16
FRAMES = 4096
"""Of one socket: the first half to receive into, the other to send from."""
RING = FRAMES // 2
HEADROOM_OCTETS = 256
"""What the kernel keeps in front of a frame."""
SAS_MAX = 1 << 20

AF_XDP = 44
SOL_XDP = 283
XDP_RX_RING, XDP_TX_RING, XDP_UMEM_REG, XDP_UMEM_FILL_RING, XDP_UMEM_COMPLETION_RING = 2, 3, 4, 5, 6
COPY, USE_NEED_WAKEUP = 1 << 1, 1 << 3
AT_DRIVER, AT_STACK = 1 << 2, 1 << 1
DRIVER, GENERIC = "driver", "generic"
"""Where the program hangs: in the link's driver, or, slower with most, where every link can."""
PLACES = {DRIVER: AT_DRIVER, GENERIC: AT_STACK}
SLOW_DRIVERS = ("veth",)
BUSY_SECONDS = 1.0
"""So long the kernel may need to let go of a queue that a socket had."""

GROUPS = watch.ROUTE_GROUPS | 0x4
"""And neighbours."""

SIOCETHTOOL, ETHTOOL_GDRVINFO = 0x8946, 3

_ADDRESS = struct.Struct("=HHIII")
_REQUEST = struct.Struct("@16sP16x")
"""struct ifreq with a pointer."""
_DRIVER = struct.Struct("=I32s160x")
"""struct ethtool_drvinfo, as far as the driver's name."""


class NoSuchIo(OSError):
    """What CULVERT_IO asks for is nothing that there is."""


def chosen() -> str:
    """RAW, XDP, XDP_DRIVER or XDP_GENERIC."""
    choice = os.environ.get(CHOICE, AUTO)
    if choice not in CHOICES:
        raise NoSuchIo(f"{CHOICE}: {choice!r} is none of {', '.join(CHOICES)}")
    return RAW if choice == AUTO else choice


def is_steered(sa: SecurityAssociation) -> bool:
    """Whether the program looks for it."""
    return sa.direction is Direction.IN and sa.protocol is Protocol.ESP and sa.encapsulation is None


# Sockets


@dataclass(frozen=True, slots=True)
class _Queue:
    """One of a link's: its socket, and that one's memory."""

    number: int
    socket: int
    memory: int


class FastLink:
    """A link with the program, and a socket for each of its receive queues. All are descriptors."""

    def __init__(self, index: int) -> None:
        """Nothing is open yet."""
        self.name = socket.if_indextoname(index)
        self.index = index
        self.mode = ""
        self.frame_octets = 0
        self._queues: list[_Queue] = []
        self._held: dict[str, int] = {}

    def open(self, sas: int, choice: str) -> None:
        """`sas`: the map of our SAs; `choice`: see the module. OSError where the link or the kernel can't."""
        try:
            self._open(sas, choice)
        except OSError:
            self.close()
            raise

    def _open(self, sas: int, choice: str) -> None:
        count = max(1, len(list(Path(f"/sys/class/net/{self.name}/queues").glob("rx-*"))))
        if count > QUEUES_MAX:
            raise OSError(errno.E2BIG, f"it has {count} receive queues, and {QUEUES_MAX} are the most: see ethtool -L")
        self.frame_octets = _frame_octets(self.name)
        sockets = self._held["sockets"] = bpf.create_map(bpf.MAP_XSK, 4, 4, count)
        # Without sockets in the map, the program lets everything pass.
        self._hang(bpf.load_xdp(program(sas, sockets), "culvert"), self.modes(choice))
        for number in range(count):
            queue = _opened(self.index, number, self.mode, self.frame_octets)
            self._queues.append(queue)
            bpf.update(sockets, number.to_bytes(4, sys.byteorder), queue.socket.to_bytes(4, sys.byteorder))

    def modes(self, choice: str) -> tuple[str, ...]:
        """That this choice allows here, the best one first."""
        if choice == XDP_DRIVER:
            return (DRIVER,)
        return (GENERIC,) if choice == XDP_GENERIC or _driver(self.name) in SLOW_DRIVERS else (DRIVER, GENERIC)

    def _hang(self, code: int, modes: tuple[str, ...]) -> None:
        self._held["program"] = code
        *others, self.mode = modes
        for mode in others:
            with contextlib.suppress(OSError):
                self._held[mode] = bpf.hold_at(code, self.index, PLACES[mode])
                self.mode = mode
                return
        self._held[self.mode] = bpf.hold_at(code, self.index, PLACES[self.mode])

    def fds(self) -> Iterator[tuple[str, int]]:
        """As the packet process knows them; those of `hold` are only kept there, for a successor of ours."""
        for each in self._queues:
            yield f"xsk{self.index}-{each.number}", each.socket
            yield f"umem{self.index}-{each.number}", each.memory
        for name, fd in self._held.items():
            yield f"hold{self.index}-{name}", fd

    def inherit(self, fds: dict[str, int]) -> None:
        """Take out of these, named so, what is this link's."""
        for name in [name for name in fds if name.startswith(f"xsk{self.index}-")]:
            number = name.partition("-")[2]
            self._queues.append(_Queue(int(number), fds.pop(name), fds.pop(f"umem{self.index}-{number}")))
        for name in [name for name in fds if name.startswith(f"hold{self.index}-")]:
            self._held[name.partition("-")[2]] = fds.pop(name)
        self.mode = DRIVER if DRIVER in self._held else GENERIC
        self.frame_octets = os.fstat(self._queues[0].memory).st_size // FRAMES

    def close(self) -> None:
        """Now or, where the packet process has them too, when that one ends."""
        for fd in self._held.values():
            os.close(fd)
        for each in self._queues:
            os.close(each.socket)
            os.close(each.memory)
        self._held.clear()
        self._queues.clear()


def _driver(name: str) -> str:
    """As `ethtool -i` says; empty for a link that says nothing."""
    answer = ctypes.create_string_buffer(_DRIVER.pack(ETHTOOL_GDRVINFO, b""), _DRIVER.size)
    request = _REQUEST.pack(os.fsencode(name), ctypes.addressof(answer))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
        try:
            fcntl.ioctl(asking.fileno(), SIOCETHTOOL, request)
        except OSError:
            return ""
    words: bytes = _DRIVER.unpack(answer.raw)[1]
    return words.partition(b"\0")[0].decode(errors="replace")


def _opened(link: int, number: int, mode: str, frame: int) -> _Queue:
    memory = os.memfd_create("culvert-frames", os.MFD_CLOEXEC)
    with ExitStack() as undo:
        undo.callback(os.close, memory)
        os.ftruncate(memory, FRAMES * frame)
        opened = undo.enter_context(socket.socket(AF_XDP, socket.SOCK_RAW | socket.SOCK_CLOEXEC))
        opened.setsockopt(socket.SOL_SOCKET, SO_SNDBUFFORCE, SEND_BUFFER_OCTETS)
        _register(opened, memory, frame)
        for ring in (XDP_UMEM_FILL_RING, XDP_UMEM_COMPLETION_RING, XDP_RX_RING, XDP_TX_RING):
            opened.setsockopt(SOL_XDP, ring, RING)
        # A driver that takes the socket's memory for itself has no place for what the stack receives.
        _bind(opened, link, number, USE_NEED_WAKEUP if mode == DRIVER else USE_NEED_WAKEUP | COPY)
        undo.pop_all()
    return _Queue(number, opened.detach(), memory)


def _frame_octets(name: str) -> int:
    """A power of two that a frame of the link fits, behind what the kernel keeps in front."""
    mtu = int(Path(f"/sys/class/net/{name}/mtu").read_text())
    for octets in (2048, 4096):
        if HEADROOM_OCTETS + LINK_HEADER_OCTETS + mtu <= octets:
            return octets
    raise OSError(errno.EMSGSIZE, f"its MTU of {mtu} is more than fits a page")


def _register(opened: socket.socket, memory: int, frame: int) -> None:
    """The kernel keeps the pages of the mapping, which isn't needed beyond this call."""
    with mmap.mmap(memory, FRAMES * frame) as mapped:
        place = ctypes.c_char.from_buffer(mapped)
        try:
            terms = struct.pack("=QQII", ctypes.addressof(place), FRAMES * frame, frame, 0)
            opened.setsockopt(SOL_XDP, XDP_UMEM_REG, terms)
        finally:
            del place


def _bind(opened: socket.socket, link: int, queue: int, flags: int) -> None:
    """Python's own `bind` doesn't know such addresses. A queue whose socket was just closed isn't free at once."""
    address = _ADDRESS.pack(AF_XDP, flags, link, queue, 0)
    deadline = time.monotonic() + BUSY_SECONDS
    while bpf.libc.bind(opened.fileno(), address, len(address)) < 0:
        error = ctypes.get_errno()
        if error != errno.EBUSY or time.monotonic() > deadline:
            raise OSError(error, os.strerror(error))
        time.sleep(0.002)


@dataclass(frozen=True, order=True, slots=True)
class _Asked:
    """A link as it was when its sockets were opened, or could not be."""

    name: str
    index: int
    frame_octets: int
    """0 where none is large enough."""


def _asked(name: str, index: int) -> _Asked:
    try:
        return _Asked(name, index, _frame_octets(name))
    except OSError:
        return _Asked(name, index, 0)


class FastLinks:
    """All of them, and which SAs their programs look for."""

    def __init__(self, choice: str, workers: int = 1) -> None:
        """`choice`: as `chosen` says."""
        self._choice = choice
        self._workers = workers
        self._sas = -1
        self._routes: dict[str, int] = {}
        self._links: list[FastLink] = []
        self._asked: frozenset[_Asked] = frozenset()
        self._steered: set[bytes] = set()
        self.sentences: list[str] = []

    def inherit(self, fds: dict[str, int]) -> None:
        """Take out of these what is ours, and go on with it."""
        indices = {int(name.removeprefix("xsk").partition("-")[0]) for name in fds if name.startswith("xsk")}
        for index in sorted(indices):
            # A link that is gone has no name any more; what was open there goes with the old packet process.
            with contextlib.suppress(OSError):
                link = FastLink(index)
                link.inherit(fds)
                self._links.append(link)
        self._sas = fds.pop("sas", -1)
        self._routes = {name: fds.pop(name) for name in list(fds) if name.startswith("routes")}
        for name in [name for name in fds if name.startswith(("xsk", "umem", "hold"))]:
            os.close(fds.pop(name))
        self._asked = frozenset(_Asked(link.name, link.index, link.frame_octets) for link in self._links)

    @property
    def words(self) -> str:
        """Which links, and how; empty for none."""
        return ", ".join(f"{link.name} ({link.mode})" for link in self._links)

    def differs(self, names: Iterable[str]) -> bool:
        """Whether the packet process has to be given others. A link that was made anew is another one, and so is one
        whose MTU asks for other frames; a predecessor may have had another choice.
        """
        as_chosen = all(link.mode in link.modes(self._choice) for link in self._links)
        return self._asked != self._indexed(names) or not as_chosen

    def _indexed(self, names: Iterable[str]) -> frozenset[_Asked]:
        if self._choice == RAW:
            return frozenset()
        indices = {name: index for index, name in socket.if_nameindex()}
        return frozenset(_asked(name, indices[name]) for name in names if name in indices)

    def renew(self, names: Iterable[str]) -> None:
        """Open those links, whatever was open; one that can't is told of and left to the raw sockets."""
        self.close()
        self._asked = self._indexed(names)
        if not self._asked:
            return
        try:
            self._sas = bpf.create_map(bpf.MAP_HASH, KEY.size, 1, SAS_MAX, bpf.NO_PREALLOCATION)
            for worker in range(self._workers):
                self._routes[named("routes", worker)] = _routes()
        except OSError as error:
            self.sentences.append(f"AF_XDP can't be used here, raw sockets are: {error.strerror}")
            return
        for asked in sorted(self._asked):
            try:
                link = FastLink(asked.index)
                link.open(self._sas, self._choice)
            except OSError as error:
                self.sentences.append(f"{asked.name}: AF_XDP can't be used, raw sockets are: {error.strerror}")
            else:
                self._links.append(link)

    def steer(self, sas: Iterable[SecurityAssociation]) -> None:
        """These are all that the programs look for from now on, but for what a predecessor left in the map."""
        if not self._links:
            return
        wanted = {key_of(sa.destination, sa.spi) for sa in sas if is_steered(sa)}
        for key in self._steered - wanted:
            with contextlib.suppress(OSError):
                bpf.delete(self._sas, key)
        for key in wanted - self._steered:
            bpf.update(self._sas, key, b"\1")
        self._steered = wanted

    def fds(self) -> dict[str, int]:
        """What the packet process inherits."""
        found = dict(each for link in self._links for each in link.fds())
        return {**found, "sas": self._sas, **self._routes} if found else {}

    def close(self) -> None:
        for link in self._links:
            link.close()
        for fd in (self._sas, *self._routes.values()):
            if fd >= 0:
                os.close(fd)
        self._links, self._sas, self._routes = [], -1, {}
        self._asked, self._steered = frozenset(), set()


def _routes() -> int:
    """To ask the kernel where packets go, and to hear when that changes."""
    kind = socket.SOCK_RAW | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC
    opened = socket.socket(socket.AF_NETLINK, kind, socket.NETLINK_ROUTE)
    opened.bind((0, GROUPS))
    return opened.detach()

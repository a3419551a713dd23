"""Hearing at once when the packet process ends or somebody changes links, routes, rules or nftables."""

import contextlib
import os
import select
import socket
import struct
import time
from collections.abc import Iterator
from dataclasses import dataclass

from culvert.dataplane.userspace import marks

NETLINK_NETFILTER = 12
RTMGRP_LINK, RTMGRP_IPV4_IFADDR, RTMGRP_IPV4_ROUTE, RTMGRP_IPV4_RULE = 0x1, 0x10, 0x40, 0x80
RTMGRP_IPV6_IFADDR, RTMGRP_IPV6_ROUTE, RTMGRP_IPV6_RULE = 0x100, 0x400, 0x40000
ROUTE_GROUPS = (
    RTMGRP_LINK
    | RTMGRP_IPV4_IFADDR
    | RTMGRP_IPV4_ROUTE
    | RTMGRP_IPV4_RULE
    | RTMGRP_IPV6_IFADDR
    | RTMGRP_IPV6_ROUTE
    | RTMGRP_IPV6_RULE
)
SETTING_GROUPS = 1 << 23 | 1 << 24
"""RTNLGRP_IPV4_NETCONF and RTNLGRP_IPV6_NETCONF: forwarding and the reverse path filter, which are no link's own."""
ROUTE_KINDS = (24, 25)
"""RTM_NEWROUTE and RTM_DELROUTE. A routing daemon makes many; those of small tables are nothing that we put right."""
RTM_TABLE = 4
RT_TABLE_COMPAT = bytes((252,))
"""What stands there for a table whose number takes more than an octet, as ours does (and others' may)."""
NFTABLES_GROUPS = 0x40
NFNL_SUBSYS_NFTABLES = 10
NFT_MSG_NEWGEN = 15
NFTA_GEN_PROC_PID = 2
NFTA_TABLE_NAME = 1
"""The same number names the table in messages about chains, rules and sets."""

_HEADER = struct.Struct("=IHHII")
_ATTRIBUTE = struct.Struct("=HH")
_GENERIC_OCTETS = 4
RECEIVE_OCTETS = 1 << 18
LOOK_SECONDS = 10.0
"""So old what was seen of the host may be, though nothing was heard since: not everything makes a sound."""


@dataclass(frozen=True, slots=True)
class Events:
    """What was heard. `steering`: somebody else changed our nftables table, or may have."""

    process: bool = False
    host: bool = False
    steering: bool = False
    stop: bool = False


class Watch:
    """Two netlink sockets, the packet process's pidfd, and a way to be woken."""

    def __init__(self) -> None:
        self._routes = _subscribe(socket.NETLINK_ROUTE, ROUTE_GROUPS | SETTING_GROUPS)
        self._nftables = _subscribe(NETLINK_NETFILTER, NFTABLES_GROUPS)
        self._stop = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._pidfd = -1
        self._poller = select.epoll()
        for fd in (self._routes.fileno(), self._nftables.fileno(), self._stop):
            self._poller.register(fd, select.EPOLLIN)
        self.own_loads: set[int] = set()
        """Process ids of the `nft` runs that were ours, until the kernel has reported them."""
        self._look_at = 0.0
        """When the host is to be looked at again, in the clock's seconds since the machine started."""

    def follow(self, pidfd: int) -> None:
        """Hear the end of this process from now on, and of no other; -1 for none."""
        if self._pidfd >= 0:
            with contextlib.suppress(OSError):
                self._poller.unregister(self._pidfd)
        self._pidfd = pidfd
        if pidfd >= 0:
            self._poller.register(pidfd, select.EPOLLIN)

    def wait(self, seconds: float | None) -> None:
        """Return when something is to be heard, or after `seconds`."""
        self._poller.poll(seconds)

    def hear(self) -> Events:
        """All that was to be heard, without waiting."""
        ready = {fd for fd, _ in self._poller.poll(0)}
        host = self._routes.fileno() in ready and self._host_changed()
        if host:
            self._look_at = 0.0
        return Events(
            process=self._pidfd in ready,
            host=host,
            steering=self._nftables.fileno() in ready and self._foreign_steering(),
            stop=self._stop in ready,
        )

    @property
    def must_look(self) -> bool:
        """Whether the host may differ from what was last seen of it: something was heard, or long ago nothing."""
        return time.monotonic() >= self._look_at

    def looked(self) -> None:
        """All that was heard of the host so far has been looked after, and put right."""
        self._look_at = time.monotonic() + LOOK_SECONDS

    def _host_changed(self) -> bool:
        """Whether it was about anything that is looked at; to have missed something is that as well."""
        heard = False
        while True:
            try:
                octets = self._routes.recv(RECEIVE_OCTETS)
            except BlockingIOError:
                return heard
            except OSError:
                heard = True
                continue
            heard |= any(
                kind not in ROUTE_KINDS or body[RTM_TABLE : RTM_TABLE + 1] == RT_TABLE_COMPAT
                for kind, body in _split(octets)
            )

    def _foreign_steering(self) -> bool:
        touched = foreign = overrun = False
        while True:
            try:
                octets = self._nftables.recv(RECEIVE_OCTETS)
            except BlockingIOError:
                break
            except OSError:
                # ENOBUFS: more happened than the kernel could tell. A load of ours does that too. What was told before
                # is still to be read, and says who it was.
                overrun = True
                foreign |= not self.own_loads
                continue
            for kind, attributes in _messages(octets):
                if kind != NFT_MSG_NEWGEN:
                    touched |= attributes.get(NFTA_TABLE_NAME, b"").rstrip(b"\0") == marks.NFT_TABLE.encode()
                    continue
                author = int.from_bytes(attributes.get(NFTA_GEN_PROC_PID, b""))
                foreign |= touched and author not in self.own_loads
                self.own_loads.discard(author)
                touched = False
        if overrun:
            # Who isn't heard of by now never will be.
            self.own_loads.clear()
        return foreign

    def stop(self) -> None:
        """Wake the one who waits, for the last time."""
        os.eventfd_write(self._stop, 1)

    def close(self) -> None:
        self._poller.close()
        self._routes.close()
        self._nftables.close()
        os.close(self._stop)


def _subscribe(family: int, groups: int) -> socket.socket:
    opened = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC, family)
    opened.bind((0, groups))
    return opened


def _split(octets: bytes) -> Iterator[tuple[int, bytes]]:
    """The netlink messages of one read: kind and what is behind the header."""
    while len(octets) >= _HEADER.size:
        length, kind, _, _, _ = _HEADER.unpack_from(octets)
        if length < _HEADER.size:
            break
        yield kind, octets[_HEADER.size : length]
        octets = octets[length + 3 & ~3 :]


def _messages(octets: bytes) -> list[tuple[int, dict[int, bytes]]]:
    """The nftables messages of one read: kind and attributes."""
    return [
        (kind & 0xFF, _attributes(body[_GENERIC_OCTETS:]))
        for kind, body in _split(octets)
        if kind >> 8 == NFNL_SUBSYS_NFTABLES
    ]


def _attributes(octets: bytes) -> dict[int, bytes]:
    found = {}
    while len(octets) >= _ATTRIBUTE.size:
        length, kind = _ATTRIBUTE.unpack_from(octets)
        if length < _ATTRIBUTE.size:
            break
        found[kind & 0x3FFF] = octets[_ATTRIBUTE.size : length]
        octets = octets[length + 3 & ~3 :]
    return found

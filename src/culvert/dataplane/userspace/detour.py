"""The way of steered packets: a routing rule for their mark, a table of its own, and the TUN that it leads to.

Behind the TUN's route stands a blackhole route: without the TUN, a steered packet is lost, never sent in clear.
Everything here has a fixed name or number that is ours alone, so what a killed predecessor left is taken over
as it is, and all of it goes at the end.

Reverse path filter. A decapsulated packet comes out of the TUN with a source that the main table reaches by
another link, or not at all, so a strict filter drops it. Such packets carry a mark that only the filter's
reverse question honours (`src_valid_mark`; the kernel asks it with `iif lo`), and a rule answers it: the TUN.

ICMP errors. What the kernel itself answers to a decapsulated packet quotes it, and may have a source that no
selector protects: in clear it would give the packet away. Such an answer takes over the mark (`fwmark_reflect`),
so the same rule leads it into the TUN, where it is protected or dropped (RFC 4301 section 8.2).
"""

import contextlib
import os
import socket

from culvert.dataplane.userspace import marks, sysctl
from culvert.dataplane.userspace.kernel import FAMILIES, HostError, Kernel
from culvert.dataplane.userspace.tun import close_tun, open_tun

RULES = (
    (socket.AF_INET, marks.STEERED),
    (socket.AF_INET6, marks.STEERED),
    (socket.AF_INET, marks.UNWRAPPED),
    (socket.AF_INET6, marks.UNWRAPPED),
)
SETTINGS = (
    ("ipv4/conf/{}/src_valid_mark", "1"),
    ("ipv4/conf/{}/send_redirects", "0"),
    ("ipv4/conf/{}/accept_redirects", "0"),
    ("ipv6/conf/{}/accept_redirects", "0"),
    ("ipv6/conf/{}/accept_ra", "0"),
    # No link-local address: the kernel would send neighbour discovery into the tunnel.
    ("ipv6/conf/{}/addr_gen_mode", "1"),
)


class Detour:
    """The TUN and what leads to it. `fd` is the TUN's descriptor, which the packet process inherits."""

    def __init__(self, kernel: Kernel, tun_name: str) -> None:
        self._kernel = kernel
        self._name = tun_name
        self._index = 0
        self._mtu = marks.TUN_MTU_MIN
        self.fd = -1

    def open(self, mtu: int) -> None:
        """Make the TUN, then the routes, then the rules."""
        self._mtu = max(mtu, marks.TUN_MTU_MIN)
        if self.fd < 0:
            self._open_tun()
        self._dress()
        for family, mark in RULES:
            self._kernel.add_rule(family, mark)

    def _open_tun(self) -> None:
        self.fd = open_tun(self._name)
        self._index = self._kernel.index(self._name)
        for name, value in SETTINGS:
            with contextlib.suppress(OSError):
                sysctl.write(name.format(self._name), value)

    def _dress(self) -> None:
        self._kernel.set_link(self._name, mtu=self._mtu)
        self._kernel.set_link(self._name, state="up")
        for family in FAMILIES:
            self._kernel.add_detour_route(family, None)
            self._kernel.add_detour_route(family, self._index)

    def set_mtu(self, mtu: int) -> None:
        self._mtu = max(mtu, marks.TUN_MTU_MIN)
        self._kernel.set_link(self._name, mtu=self._mtu)

    def heal(self) -> tuple[list[str], bool]:
        """Put back what somebody took away: what it was, and whether the TUN is a new one (so `fd` is too)."""
        sentences = []
        facts = self._kernel.link(self._name)
        is_new = facts is None or facts.index != self._index
        if is_new:
            os.close(self.fd)
            self.fd = -1
            self._open_tun()
            sentences.append(f"the tunnel device {self._name} was deleted; made a new one")
        if is_new or not facts or not facts.up or facts.mtu != self._mtu or self._lacks_routes():
            self._dress()
            sentences += [] if is_new else [f"{self._name} or its routes were changed; put them back"]
        missing = set(RULES) - self._kernel.rules()
        for family, mark in missing:
            self._kernel.add_rule(family, mark)
        sentences += ["routing rules for steered packets were deleted; put them back"] if missing else []
        return sentences, is_new

    def _lacks_routes(self) -> bool:
        wanted = {(int(family), kind) for family in FAMILIES for kind in (True, False)}
        return not wanted <= self._kernel.detour_routes(self._index)

    def close(self) -> None:
        """Take everything away, a predecessor's too: rules first, TUN last."""
        for family, mark in RULES:
            with contextlib.suppress(HostError):
                self._kernel.delete_rule(family, mark)
        for family in FAMILIES:
            with contextlib.suppress(HostError):
                self._kernel.delete_detour_route(family, None)
        with contextlib.suppress(HostError):
            if self.fd < 0 and self._kernel.link(self._name) is not None:
                self.fd = open_tun(self._name)
        if self.fd >= 0:
            close_tun(self.fd)
            self.fd = -1

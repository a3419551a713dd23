"""The way of steered packets: a routing rule for their mark, a table of its own, and the TUN that it leads to.

Behind the TUN's route stands a blackhole route: without the TUN, a steered packet is lost, never sent in clear.
Everything here has a fixed name or number that is ours alone, so what a killed predecessor left is taken over
as it is, and all of it goes at the end.

Marks say where a packet was met, and `iif` who asks the routing rules: for an arriving packet its link, for a packet
of the kernel's own `lo`. The reverse path filter asks as well ("by which link would I answer?", with the mark where
`src_valid_mark` is set), but with `lo` or the link that the packet will leave by.

* STEERED, a transit packet: to the TUN. What the kernel itself answers to it (too big, TTL exceeded; `fwmark_reflect`
  gives an answer the same mark) goes back by the host's other rules, as does the reverse question.
* ORIGINATED, a packet of this host, or one that goes from tunnel to tunnel: to the TUN, and answers to it too.
* UNWRAPPED, a packet out of the TUN: by the host's other rules. Its source is reached by another link there or not at
  all, so a strict reverse path filter would drop it; the reverse question is answered with the TUN. What the kernel
  answers to it quotes it, and may have a source that no selector protects: in clear it would give the packet away. It
  goes to the TUN, to be protected or dropped (RFC 4301 section 8.2).
"""

import contextlib
import os

from culvert.dataplane.userspace import marks, sysctl
from culvert.dataplane.userspace.kernel import FAMILIES, HostError, Kernel, Rule
from culvert.dataplane.userspace.tun import close_tun, open_tun

SETTINGS = (
    ("ipv4/conf/{}/src_valid_mark", "1"),
    ("ipv4/conf/{}/send_redirects", "0"),
    ("ipv4/conf/{}/accept_redirects", "0"),
    ("ipv6/conf/{}/accept_redirects", "0"),
    ("ipv6/conf/{}/accept_ra", "0"),
    # No link-local address: the kernel would send neighbour discovery into the tunnel.
    ("ipv6/conf/{}/addr_gen_mode", "1"),
)


def rules(tun_name: str) -> tuple[Rule, ...]:
    """In the order in which they are added: first where to skip to, last what leads to the TUN."""
    before, here, behind = marks.TABLE - 1, marks.TABLE, marks.TABLE + 1
    return tuple(
        rule
        for family in FAMILIES
        for rule in (
            Rule(family, behind),
            Rule(family, before, marks.STEERED, "lo", skip_to=behind),
            Rule(family, before, marks.STEERED, tun_name, skip_to=behind),
            Rule(family, before, marks.UNWRAPPED, tun_name, skip_to=behind),
            Rule(family, here, marks.STEERED, table=marks.TABLE),
            Rule(family, here, marks.ORIGINATED, table=marks.TABLE),
            Rule(family, here, marks.UNWRAPPED, table=marks.TABLE),
        )
    )


class Detour:
    """The TUN and what leads to it. `fds` are the TUN's descriptors, which the packet process inherits."""

    def __init__(self, kernel: Kernel, tun_name: str, *, offloads: bool = False, queues: int = 1) -> None:
        """`offloads`: whoever reads the TUN takes super-packets. `queues`: as many read it."""
        self._kernel = kernel
        self._name = tun_name
        self._offloads, self._queues = offloads, queues
        self._rules = rules(tun_name)
        self._index = 0
        self._mtu = marks.TUN_MTU_MIN
        self.fds: dict[str, int] = {}

    def inherit(self, fds: dict[str, int]) -> None:
        """Go on with a TUN that is open already. HostError where the device is gone."""
        self.fds = fds
        self._index = self._kernel.index(self._name)

    def forget(self) -> None:
        """The device is gone, or as good as gone."""
        for fd in self.fds.values():
            os.close(fd)
        self.fds = {}

    def open(self, mtu: int) -> None:
        """Make the TUN, then the routes, then the rules."""
        self._mtu = max(mtu, marks.TUN_MTU_MIN)
        if not self.fds:
            self._open_tun()
        self._dress()
        for rule in self._rules:
            self._kernel.add_rule(rule)

    def _open_tun(self) -> None:
        self.fds = self._opened()
        self._index = self._kernel.index(self._name)
        for name, value in SETTINGS:
            with contextlib.suppress(OSError):
                sysctl.write(name.format(self._name), value)

    def _opened(self) -> dict[str, int]:
        return open_tun(self._name, offloads=self._offloads, queues=self._queues)

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
            self.forget()
            self._open_tun()
            sentences.append(f"the tunnel device {self._name} was deleted; made a new one")
        if is_new or not facts or not facts.up or facts.mtu != self._mtu or self._lacks_routes():
            self._dress()
            sentences += [] if is_new else [f"{self._name} or its routes were changed; put them back"]
        there = self._kernel.rules()
        missing = [rule for rule in self._rules if rule not in there]
        for rule in missing:
            self._kernel.add_rule(rule)
        sentences += ["routing rules for steered packets were deleted; put them back"] if missing else []
        return sentences, is_new

    def _lacks_routes(self) -> bool:
        wanted = {(int(family), kind) for family in FAMILIES for kind in (True, False)}
        return not wanted <= self._kernel.detour_routes(self._index)

    def close(self) -> None:
        """Take everything away, a predecessor's too: rules first, TUN last."""
        for rule in reversed(self._rules):
            with contextlib.suppress(HostError):
                self._kernel.delete_rule(rule)
        for family in FAMILIES:
            with contextlib.suppress(HostError):
                self._kernel.delete_detour_route(family, None)
        with contextlib.suppress(HostError):
            if not self.fds and self._kernel.link(self._name) is not None:
                self.fds = self._opened()
        if self.fds:
            close_tun(self.fds)
            self.fds = {}

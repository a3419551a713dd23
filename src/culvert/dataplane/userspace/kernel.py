"""Rtnetlink in the words of this package: each call makes one thing so, or raises HostError with a sentence.

Adding returns whether it was added (False: it was there already); removing what is gone is no error.
"""

import errno
import os
import socket
import struct
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, NamedTuple

from pyroute2 import IPRoute
from pyroute2.netlink import NLM_F_REQUEST
from pyroute2.netlink.exceptions import NetlinkError
from pyroute2.netlink.rtnl import RTM_GETLINK, RTM_NEWLINK
from pyroute2.netlink.rtnl.ifinfmsg import ifinfmsg

from culvert.change import IPInterface, Route
from culvert.dataplane.userspace import marks

IFA_F_NODAD = 0x02
ARPHRD_ETHER = 1
IFF_UP = 0x1
IFF_LOWER_UP = 0x10000
BLACKHOLE_METRIC = 4096
FAMILIES = (socket.AF_INET, socket.AF_INET6)
GONE = (errno.ENOENT, errno.ENODEV, errno.ESRCH, errno.EADDRNOTAVAIL, errno.ENXIO)
UNREACHABLE = (errno.ENETUNREACH, errno.ENETDOWN, errno.EHOSTUNREACH)


RT_SCOPE_LINK = 253
ANSWER_OCTETS = 1 << 16
_QUESTION = struct.Struct("=IHHIIIiII")
"""struct nlmsghdr, then struct ifinfomsg: family and kind, index, flags, which of them."""


class HostError(OSError):
    """The host can't be as it was wanted. The text is a whole sentence, so no number in front of it."""

    def __str__(self) -> str:
        return str(self.strerror)


@dataclass(frozen=True, slots=True)
class LinkFacts:
    """A link as it is now. `ethernet`: it has frames, as what a VLAN stands on has; loopback and tunnels have none."""

    index: int
    up: bool
    carrier: bool
    mtu: int
    mac: str
    ethernet: bool = True


class Rule(NamedTuple):
    """A routing rule: `mark` 0 and `link` "" are any. It leads to `table`, or to priority `skip_to`, or nowhere."""

    family: int
    priority: int
    mark: int = 0
    link: str = ""
    table: int = 0
    skip_to: int = 0


class Kernel:
    """One rtnetlink socket."""

    def __init__(self) -> None:
        self._ipr = IPRoute()
        self._question = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, socket.NETLINK_ROUTE)
        self._number = 0

    def close(self) -> None:
        self._ipr.close()
        self._question.close()

    # Links

    def link(self, name: str) -> LinkFacts | None:
        """None: there is no such link."""
        try:
            message = self._asked(socket.if_nametoindex(name))
        except OSError:
            return None
        if message is None:
            return None
        flags = message["flags"]
        return LinkFacts(
            index=message["index"],
            up=bool(flags & IFF_UP),
            carrier=bool(flags & IFF_LOWER_UP),
            mtu=message.get("mtu") or 0,
            mac=message.get("address") or "",
            ethernet=message["ifi_type"] == ARPHRD_ETHER,
        )

    def names(self) -> list[str]:
        """Of all links that this network namespace has."""
        return [name for _, name in socket.if_nameindex()]

    def _asked(self, index: int) -> ifinfmsg | None:
        """The kernel's word on a link. Asked here, again and again for each: `IPRoute.link("get")` wants an
        acknowledgement as well, which it then never reads, so that memory grows.
        """
        self._number += 1
        self._question.send(_QUESTION.pack(_QUESTION.size, RTM_GETLINK, NLM_F_REQUEST, self._number, 0, 0, index, 0, 0))
        octets = self._question.recv(ANSWER_OCTETS)
        if int.from_bytes(octets[4:6], sys.byteorder) != RTM_NEWLINK:
            return None
        message = ifinfmsg(octets)
        message.decode()
        return message

    def set_link(self, name: str, **settings: Any) -> None:
        """`state` ("up" or "down"), `mtu`, ..."""
        with _sentence(f"can't set {_words(settings)} on link {name}"):
            self._ipr.link("set", index=self.index(name), **settings)

    def index(self, name: str) -> int:
        try:
            return socket.if_nametoindex(name)
        except OSError:
            raise HostError(errno.ENODEV, f"there is no link {name}") from None

    def add_tagged(self, name: str, parent: str, tag: int) -> None:
        index = self.index(parent)
        with _sentence(f"can't make 802.1Q link {name} on {parent}"):
            self._ipr.link("add", ifname=name, kind="vlan", link=index, vlan_id=tag)

    def delete_link(self, name: str) -> None:
        with _sentence(f"can't remove link {name}"), _unless_gone():
            self._ipr.link("del", index=self.index(name))

    def can_tag(self) -> bool:
        """Whether this kernel can make 802.1Q links. One without a parent is refused differently by those that can."""
        try:
            self._ipr.link("add", ifname="culvert-probe", kind="vlan", vlan_id=1)
        except NetlinkError as error:
            return bool(error.code != errno.EOPNOTSUPP)
        return True

    # Addresses

    def add_address(self, link: str, interface: IPInterface) -> bool:
        # Without duplicate address detection: a tentative address can't send, so tunnels would start late.
        flags = {"flags": IFA_F_NODAD} if interface.version == 6 else {}
        index = self.index(link)
        with _sentence(f"can't add address {interface} to link {link}"):
            return _added(self._ipr.addr, index=index, **_address(interface), **flags)

    def delete_address(self, link: str, interface: IPInterface) -> None:
        with _sentence(f"can't remove address {interface} from link {link}"), _unless_gone():
            self._ipr.addr("del", index=self.index(link), **_address(interface))

    # Routes

    def add_route(self, route: Route) -> bool:
        settings = self._route(route)
        with _sentence(f"can't add route {_way(route)}"):
            if _added(self._ipr.route, proto="static", **settings):
                return True
        if not self._has_route(route, settings):
            raise HostError(errno.EEXIST, f"the host has another route to {route.destination} already")
        return False

    def delete_route(self, route: Route) -> None:
        with _sentence(f"can't remove route {_way(route)}"), _unless_gone():
            self._ipr.route("del", **self._route(route))

    def _route(self, route: Route) -> dict[str, Any]:
        settings: dict[str, Any] = {
            "dst": str(route.destination),
            "family": socket.AF_INET if route.destination.version == 4 else socket.AF_INET6,
        }
        if route.gateway is not None:
            settings["gateway"] = str(route.gateway)
        if route.link is not None:
            settings["oif"] = self.index(route.link)
            if route.gateway is None and route.destination.version == 4:
                # Without it the kernel refuses to use such a destination as the gateway of another route.
                settings["scope"] = RT_SCOPE_LINK
        if route.gateway is None and route.link is None:
            settings["type"] = "blackhole"
        if route.mtu:
            settings["metrics"] = {"mtu": route.mtu}
        return settings

    def _has_route(self, route: Route, settings: dict[str, Any]) -> bool:
        destination = route.destination
        for message in self._ipr.get_routes(family=settings["family"], table=marks.MAIN_TABLE):
            network = message.get("dst") or ("0.0.0.0" if destination.version == 4 else "::")
            same_end = network == str(destination.network_address) and message["dst_len"] == destination.prefixlen
            if same_end and message.get("gateway") == settings.get("gateway"):
                return "oif" not in settings or message.get("oif") == settings["oif"]
        return False

    # The detour of steered packets

    def rules(self) -> set[Rule]:
        """All rules that there are, as far as a Rule can say them."""
        with _sentence("can't read the routing rules"):
            messages = self._ipr.get_rules()
        return {
            Rule(
                family=message["family"],
                priority=message.get("priority") or 0,
                mark=message.get("fwmark") or 0,
                link=message.get("iifname") or "",
                table=message.get("table") or 0,
                skip_to=message.get("goto") or 0,
            )
            for message in messages
        }

    def add_rule(self, rule: Rule) -> None:
        with _sentence("can't add the routing rule for steered packets"):
            _added(self._ipr.rule, **_rule(rule))

    def delete_rule(self, rule: Rule) -> None:
        with _sentence("can't remove the routing rule for steered packets"), _unless_gone():
            self._ipr.rule("del", **_rule(rule))

    def detour_routes(self, tun_index: int) -> set[tuple[int, bool]]:
        """Which of our table's routes are there: family, and True for the TUN, False for the blackhole."""
        with _sentence("can't read the routes for steered packets"):
            messages = list(self._ipr.get_routes(table=marks.TABLE))
        found = set()
        for message in messages:
            if message.get("oif") == tun_index:
                found.add((message["family"], True))
            elif message["type"] == 6:
                found.add((message["family"], False))
        return found

    def add_detour_route(self, family: int, tun_index: int | None) -> None:
        """Everything in our table goes to the TUN; or, worse metric, `tun_index` None, nowhere."""
        with _sentence("can't add the route for steered packets"):
            _added(self._ipr.route, **_detour(family, tun_index))

    def delete_detour_route(self, family: int, tun_index: int | None) -> None:
        with _sentence("can't remove the route for steered packets"), _unless_gone():
            self._ipr.route("del", **_detour(family, tun_index))


def _address(interface: IPInterface) -> dict[str, Any]:
    family = socket.AF_INET if interface.version == 4 else socket.AF_INET6
    return {"address": str(interface.ip), "prefixlen": interface.network.prefixlen, "family": family}


def _rule(rule: Rule) -> dict[str, Any]:
    settings: dict[str, Any] = {"family": rule.family, "priority": rule.priority}
    if rule.mark:
        settings["fwmark"] = rule.mark
    if rule.link:
        settings["iifname"] = rule.link
    if rule.table:
        return {**settings, "table": rule.table}
    return {**settings, "action": "goto", "goto": rule.skip_to} if rule.skip_to else {**settings, "action": "nop"}


def _detour(family: int, tun_index: int | None) -> dict[str, Any]:
    everything = "0.0.0.0/0" if family == socket.AF_INET else "::/0"
    settings = {"dst": everything, "family": family, "table": marks.TABLE}
    if tun_index is None:
        return {**settings, "type": "blackhole", "priority": BLACKHOLE_METRIC}
    return {**settings, "oif": tun_index, "priority": 1}


def _added(call: Any, **settings: Any) -> bool:
    try:
        call("add", **settings)
    except NetlinkError as error:
        if error.code != errno.EEXIST:
            raise
        return False
    return True


def _way(route: Route) -> str:
    via = f" via {route.gateway}" if route.gateway else ""
    on = f" on {route.link}" if route.link else ""
    return f"{route.destination}{via}{on}"


def _words(settings: dict[str, Any]) -> str:
    return ", ".join(f"{name} {value}" for name, value in settings.items())


@contextmanager
def _sentence(what: str) -> Iterator[None]:
    try:
        yield
    except NetlinkError as error:
        raise HostError(error.code, f"{what}: {os.strerror(error.code)}") from error


@contextmanager
def _unless_gone() -> Iterator[None]:
    try:
        yield
    except NetlinkError as error:
        if error.code not in GONE:
            raise
    except HostError as error:
        if error.errno not in GONE:
            raise

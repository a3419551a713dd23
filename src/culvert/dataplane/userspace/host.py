"""The host's links, addresses, routes and settings: changed as the gateway needs, and put back.

Theory of operation. The journal remembers, before each change, how the thing was. What was there already is
adopted: used, and left in place when we go. What is wanted is kept as well, so that `heal` can put back what
vanished on its own: a link that goes down takes its routes along, and IPv6 addresses too.

Forwarding. IPv4 forwards per arriving link, so only our links are switched. IPv6 does so only with
`force_forwarding` (Linux 6.17); before that, the switch for all links is the only one, and the other links
get their own setting back, which then only says whether they act as hosts or as routers.
"""

import contextlib
import errno
from ipaddress import ip_address, ip_interface, ip_network

from culvert.change import (
    AddAddress,
    AddLink,
    Address,
    AddRoute,
    Link,
    RemoveAddress,
    RemoveLink,
    RemoveRoute,
    Route,
)
from culvert.dataplane.plane import LinkState
from culvert.dataplane.userspace import sysctl
from culvert.dataplane.userspace.journal import Journal, Value
from culvert.dataplane.userspace.kernel import UNREACHABLE, HostError, Kernel, LinkFacts
from culvert.dataplane.userspace.replacing import HostChange, Replace

FORCE_FORWARDING = "ipv6/conf/all/force_forwarding"
FORWARDING6_ALL = ("ipv6/conf/default/forwarding", "ipv6/conf/all/forwarding")

REFLECT = ("ipv4/fwmark_reflect", "ipv6/fwmark_reflect")
"""What the kernel itself answers to a packet, such as an ICMP error, gets that packet's mark. See `detour`."""


class Host:
    """What is wanted of the host, and what has been done about it."""

    def __init__(self, journal: Journal, kernel: Kernel) -> None:
        self._journal = journal
        self._kernel = kernel
        self._links: dict[str, Link] = {}
        self._addresses: list[Address] = []
        self._routes: list[Route] = []
        self._seen: dict[str, tuple[int, bool]] = {}
        """Index and up of every wanted link when last looked at."""
        self._disturbed = False
        """Something was taken away, and the kernel may have taken addresses or routes of ours along."""
        self.sentences: list[str] = []

    def step(self, change: HostChange) -> None:
        """Make one change so. Raises HostError, and has then done nothing."""
        match change:
            case AddLink(link):
                self._add_link(link)
            case RemoveLink(link):
                self._remove_link(link)
            case AddAddress(address):
                self._add_address(address)
            case RemoveAddress(address):
                self._remove_address(address)
            case AddRoute(route):
                self._add_route(route)
            case RemoveRoute(route):
                self._remove_route(route)
            case Replace(Link() as old, Link() as new):
                self._replace_link(old, new)
            case Replace(Address() as old, Address() as new):
                self._addresses[self._addresses.index(old)] = new
            case Replace(Route() as old, Route() as new):
                self._routes[self._routes.index(old)] = new

    def settle(self) -> None:
        """After a batch: put back what the kernel took along with something that was removed.

        Removing the first IPv4 address of a network may remove the others of it; removing the last one of a
        link, or taking the link down, removes its routes.
        """
        if self._disturbed:
            self._disturbed = False
            for name in self._links:
                self._refill_addresses(name)
            self._refill_routes()

    # Links

    def _add_link(self, link: Link) -> None:
        if link.name in self._links:
            raise HostError(errno.EEXIST, f"link {link.name} is in use as {self._links[link.name].label} already")
        if link.tag is not None:
            self._make_tagged(link)
        if self._kernel.link(link.name) is None:
            raise HostError(errno.ENODEV, f"{link.label}: there is no link {link.name} on this host")
        try:
            self._dress(link)
        except HostError:
            self._undress(link.name)
            raise
        self._links[link.name] = link

    def _make_tagged(self, link: Link) -> None:
        if self._kernel.link(link.name) is not None:
            return
        if not self._kernel.can_tag():
            raise HostError(
                errno.EOPNOTSUPP,
                f"{link.label}: this host's kernel can't make 802.1Q links (CONFIG_VLAN_8021Q), "
                f"so {link.parent} can't have tag {link.tag}",
            )
        self._journal.remember(f"made {link.name}")
        try:
            self._kernel.add_tagged(link.name, link.parent or "", link.tag or 0)
        except HostError:
            self._journal.forget(f"made {link.name}")
            raise

    def _dress(self, link: Link) -> None:
        """Give a link its MTU and state, and note how it was."""
        facts = self._kernel.link(link.name)
        if facts is None:
            return
        if facts.mtu != link.mtu:
            self._journal.remember(f"mtu {link.name}", facts.mtu)
            self._kernel.set_link(link.name, mtu=link.mtu)
        if facts.up != link.enabled:
            self._journal.remember(f"up {link.name}", facts.up)
            self._kernel.set_link(link.name, state="up" if link.enabled else "down")
        self._seen[link.name] = facts.index, link.enabled

    def _replace_link(self, old: Link, new: Link) -> None:
        try:
            self._dress(new)
        except HostError:
            self._dress(old)
            raise
        self._links[new.name] = new
        self._disturbed = True

    def _undress(self, name: str) -> None:
        owned = [key for key in self._journal.entries if _link_of(key) == name]
        for key in reversed(owned):
            self._undo(key)

    def _remove_link(self, link: Link) -> None:
        if self._links.pop(link.name, None) is None:
            raise HostError(errno.ENODEV, f"link {link.name} is not in use")
        self._seen.pop(link.name, None)
        self._undress(link.name)
        self._disturbed = True

    # Addresses and routes

    def _add_address(self, address: Address) -> None:
        key = f"address {address.link} {address.interface}"
        known = key in self._journal.entries
        self._journal.remember(key)
        try:
            if not self._kernel.add_address(address.link, address.interface) and not known:
                self._journal.forget(key)
        except HostError:
            self._journal.forget(key)
            raise
        self._addresses.append(address)

    def _remove_address(self, address: Address) -> None:
        self._addresses.remove(address)
        self._undo(f"address {address.link} {address.interface}")
        self._disturbed = True

    def _add_route(self, route: Route) -> None:
        key = _route_key(route)
        known = key in self._journal.entries
        self._journal.remember(key, _route_value(route))
        try:
            if not self._kernel.add_route(route) and not known:
                self._journal.forget(key)
        except HostError as error:
            if error.errno not in UNREACHABLE or not self._any_link_down():
                self._journal.forget(key)
                raise
            # The way is down for now. `heal` adds the route when the link comes up.
            self.sentences.append(f"{route.label} waits for its link to come up")
        self._routes.append(route)

    def _any_link_down(self) -> bool:
        facts = [self._kernel.link(name) for name in self._links]
        return any(each is None or not each.up for each in facts)

    def _remove_route(self, route: Route) -> None:
        self._routes.remove(route)
        self._undo(_route_key(route))

    # Settings

    def set(self, name: str, value: str) -> None:
        """A kernel setting, its old value remembered. A kernel without it does without."""
        old = sysctl.read(name)
        if old is None or old == value:
            return
        self._journal.remember(f"sysctl {name}", old)
        self._write(name, value)

    def _write(self, name: str, value: str) -> None:
        try:
            sysctl.write(name, value)
        except OSError as error:
            raise HostError(error.errno, f"can't set /proc/sys/net/{name}: {error.strerror}") from error

    def reflect(self) -> None:
        """See REFLECT."""
        for name in REFLECT:
            self.set(name, "1")

    def open_forwarding(self, tun_name: str) -> None:
        """Let the kernel forward what arrives on our links and on the TUN."""
        self.reflect()
        names = [name for name in (*self._links, tun_name) if self._kernel.link(name) is not None]
        for name in names:
            self.set(f"ipv4/conf/{name}/forwarding", "1")
            if _is_strict(name):
                self.set(f"ipv4/conf/{name}/rp_filter", "2")
        if sysctl.read(FORCE_FORWARDING) is None:
            self._open_forwarding6_everywhere()
        for name in names:
            self.set(f"ipv6/conf/{name}/forwarding", "1")
            self.set(f"ipv6/conf/{name}/force_forwarding", "1")

    def _open_forwarding6_everywhere(self) -> None:
        if sysctl.read(FORWARDING6_ALL[-1]) in (None, "1"):
            return
        others = sysctl.links_with("ipv6/conf/*/forwarding")
        before = [(name, sysctl.read(name) or "0") for name in (*others, *FORWARDING6_ALL)]
        # `all` is remembered last and so undone first: writing it overwrites every link's own setting.
        for name, old in before:
            self._journal.remember(f"sysctl {name}", old)
        self._write(FORWARDING6_ALL[-1], "1")
        for name, old in before[:-1]:
            self._write(name, old)

    def close_forwarding(self) -> None:
        """Put the forwarding settings back."""
        for key in reversed(list(self._journal.entries)):
            if key.startswith("sysctl ") and key.endswith("forwarding"):
                self._undo(key)

    # What happens on its own

    def links(self) -> list[LinkState]:
        """Those that are wanted, and behind them what else there is that a VLAN could stand on."""
        states = []
        for name, link in self._links.items():
            facts = self._kernel.link(name)
            states.append(LinkState(name, _state(facts), facts.mac if facts else "", facts.mtu if facts else link.mtu))
        for name in self._kernel.names():
            facts = self._kernel.link(name) if name not in self._links else None
            if facts is not None and facts.ethernet:
                states.append(LinkState(name, _state(facts), facts.mac, facts.mtu))
        return states

    def heal(self) -> None:
        """Put back what went away with a link that is up again. `sentences` tell of links that came or went."""
        for name, link in self._links.items():
            facts = self._kernel.link(name)
            before = self._seen.get(name)
            now = None if facts is None else (facts.index, facts.up)
            if now == before:
                continue
            if now is None or facts is None:
                del self._seen[name]
                self.sentences.append(f"{link.label}: link {name} is gone")
                continue
            self._seen[name] = now
            self._meet_again(link, facts, is_new=before is None or before[0] != facts.index)

    def _meet_again(self, link: Link, facts: LinkFacts, *, is_new: bool) -> None:
        with contextlib.suppress(HostError):
            if is_new:
                # Another device under the old name: nothing that we noted of the old one is true of it.
                self._forget_link(link.name)
                self.sentences.append(f"{link.label}: link {link.name} is back")
                self._dress(link)
            elif facts.up:
                self.sentences.append(f"{link.label}: link {link.name} is up")
            else:
                self.sentences.append(f"{link.label}: link {link.name} is down")
                return
            self._refill_addresses(link.name)
            self._refill_routes()

    def _forget_link(self, name: str) -> None:
        for key in list(self._journal.entries):
            if _link_of(key) == name:
                self._journal.forget(key)

    def _refill_addresses(self, link: str) -> None:
        for address in self._addresses:
            if address.link == link:
                key = f"address {address.link} {address.interface}"
                with contextlib.suppress(HostError):
                    if self._kernel.add_address(address.link, address.interface):
                        self._journal.remember(key)

    def _refill_routes(self) -> None:
        for route in self._routes:
            with contextlib.suppress(HostError):
                if self._kernel.add_route(route):
                    self._journal.remember(_route_key(route), _route_value(route))

    # The way back

    def drop_inherited(self) -> None:
        """Take back what a predecessor left and nobody has asked for since."""
        for key in [key for key in self._journal.entries if key in self._journal.inherited]:
            # What a predecessor noted of a link that we use too is still how the link was before both of us.
            if not key.startswith("sysctl ") and _link_of(key) not in self._links:
                self._undo(key)

    def undo_all(self) -> None:
        """Take back everything, last first."""
        for key in reversed(list(self._journal.entries)):
            self._undo(key)

    def _undo(self, key: str) -> None:
        if key not in self._journal.entries:
            return
        value = self._journal.entries[key]
        kind, _, rest = key.partition(" ")
        try:
            self._undo_kind(kind, rest, value)
        except OSError as error:
            if error.errno not in (errno.ENOENT, errno.ENODEV):
                self.sentences.append(f"can't put back {key}: {error}")
        self._journal.forget(key)

    def _undo_kind(self, kind: str, rest: str, value: Value) -> None:
        match kind:
            case "sysctl":
                sysctl.write(rest, str(value))
            case "mtu":
                self._kernel.set_link(rest, mtu=value)
            case "up":
                self._kernel.set_link(rest, state="up" if value else "down")
            case "made":
                self._kernel.delete_link(rest)
            case "address":
                link, interface = rest.split(" ")
                self._kernel.delete_address(link, ip_interface(interface))
            case "route":
                self._kernel.delete_route(_parse_route(rest, str(value)))


def _state(facts: LinkFacts | None) -> str:
    if facts is None:
        return "missing"
    if not facts.up:
        return "disabled"
    return "up" if facts.carrier else "no-carrier"


def _is_strict(name: str) -> bool:
    """The kernel takes the higher of the two values; 1 is the strict reverse path filter of RFC 3704."""
    values = [sysctl.read(f"ipv4/conf/{each}/rp_filter") or "0" for each in ("all", name)]
    return max(map(int, values)) == 1


def _link_of(key: str) -> str:
    """The link that a journal key is about, "" for none. Addresses and routes have an entry of their own."""
    kind, _, rest = key.partition(" ")
    if kind == "sysctl":
        parts = rest.split("/")
        return parts[2] if parts[1] == "conf" else ""
    return rest if kind in ("mtu", "up", "made") else ""


def _route_key(route: Route) -> str:
    return f"route {route.destination}"


def _route_value(route: Route) -> str:
    return f"{route.gateway or '-'} {route.link or '-'}"


def _parse_route(destination: str, value: str) -> Route:
    gateway, link = value.split(" ")
    return Route(
        destination=ip_network(destination),
        label="",
        gateway=None if gateway == "-" else ip_address(gateway),
        link=None if link == "-" else link,
    )

"""All that has been asked of the plane and not taken back: one value, and what a batch makes of it."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, TypeVar

from culvert.change import (
    AddAddress,
    AddForwarder,
    AddLink,
    AddPolicy,
    Address,
    AddRoute,
    AddSa,
    Change,
    Forwarder,
    Link,
    RemoveAddress,
    RemoveForwarder,
    RemoveLink,
    RemovePolicy,
    RemoveRoute,
    RemoveSa,
    Route,
    SetTunnelMtu,
)
from culvert.dataplane.plane import PlaneError
from culvert.dataplane.userspace.sockets import UdpPort
from culvert.dataplane.userspace.steering import Steering
from culvert.dataplane.userspace.xdp import is_steered
from culvert.ipsec.sa import Direction, SaKey, SecurityAssociation
from culvert.ipsec.spd import Policy

Key = TypeVar("Key")
Value = TypeVar("Value")


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """Never changed in place, so what follows from all SAs is worked out once.

    The dictionaries keep the order in which things were asked for.
    """

    links: dict[str, Link] = field(default_factory=dict)
    addresses: dict[Address, None] = field(default_factory=dict)
    routes: dict[Route, None] = field(default_factory=dict)
    forwarders: dict[Forwarder, None] = field(default_factory=dict)
    policies: dict[Policy, None] = field(default_factory=dict)
    sas: dict[tuple[Direction, SaKey], SecurityAssociation] = field(default_factory=dict)
    tunnel_mtu: int = 0

    def after(self, changes: Sequence[Change]) -> "Wanted":
        """What is wanted after these changes. PlaneError for one that contradicts what there is."""
        # What no change is about is not copied: one SA more would otherwise cost a look at all there is.
        kinds = {_FIELDS[type(change)] for change in changes if not isinstance(change, SetTunnelMtu)}
        own: dict[str, Any] = {name: dict(getattr(self, name)) for name in kinds}
        copy = replace(self, **own)
        for change in changes:
            if isinstance(change, SetTunnelMtu):
                copy = replace(copy, tunnel_mtu=change.new)
            else:
                copy._edit(change)
        return copy

    def _edit(self, change: Change) -> None:
        """Only for the copy that `after` is still making."""
        # Those of which there may be tens of thousands come first.
        match change:
            case AddSa(sa):
                _put(change, self.sas, (sa.direction, sa.key), sa)
            case AddPolicy(policy):
                _put(change, self.policies, policy, None)
            case AddLink(link):
                _put(change, self.links, link.name, link)
            case RemoveLink(link):
                _take(change, self.links, link.name)
            case AddAddress(address):
                _put(change, self.addresses, address, None)
            case RemoveAddress(address):
                _take(change, self.addresses, address)
            case AddRoute(route):
                _put(change, self.routes, route, None)
            case RemoveRoute(route):
                _take(change, self.routes, route)
            case AddForwarder(forwarder):
                _put(change, self.forwarders, forwarder, None)
            case RemoveForwarder(forwarder):
                _take(change, self.forwarders, forwarder)
            case RemovePolicy(policy):
                _take(change, self.policies, policy)
            case RemoveSa(sa):
                _take(change, self.sas, (sa.direction, sa.key))

    def steering(self, tun_name: str) -> Steering:
        return Steering(
            tun=tun_name,
            links=frozenset(self.links),
            addresses=tuple(self.addresses),
            policies=tuple(self.policies),
            forwarders=tuple(self.forwarders),
            udp_ports=frozenset(each.port for each in self.udp_ports),
        )

    @cached_property
    def udp_ports(self) -> frozenset[UdpPort]:
        """Where ESP in UDP arrives."""
        in_udp = (sa for sa in self.sas.values() if sa.encapsulation is not None)
        return frozenset(port for sa in in_udp if (port := udp_port(sa)) is not None)

    @cached_property
    def esp_links(self) -> frozenset[str]:
        """Links with an address that plain ESP arrives at."""
        ends = {sa.destination for sa in self.sas.values() if is_steered(sa)}
        return frozenset(each.link for each in self.addresses if each.interface.ip in ends)

    def guarding_both(self, later: "Wanted") -> "Wanted":
        """The rules for the time of the change itself: what either of the two protects is protected."""
        names = ("links", "addresses", "policies", "sas")
        pairs = ((name, getattr(self, name), getattr(later, name)) for name in names)
        merged: dict[str, Any] = {name: {**before, **after} for name, before, after in pairs if before is not after}
        return replace(later, **merged) if merged else later


_FIELDS: dict[type, str] = {
    **dict.fromkeys((AddLink, RemoveLink), "links"),
    **dict.fromkeys((AddAddress, RemoveAddress), "addresses"),
    **dict.fromkeys((AddRoute, RemoveRoute), "routes"),
    **dict.fromkeys((AddForwarder, RemoveForwarder), "forwarders"),
    **dict.fromkeys((AddPolicy, RemovePolicy), "policies"),
    **dict.fromkeys((AddSa, RemoveSa), "sas"),
}
"""What each change is about."""


def udp_port(sa: SecurityAssociation) -> UdpPort | None:
    """The port of this host that an SA in UDP uses. Of an outbound one too: a keep-alive's mapping ends there."""
    ports = sa.encapsulation
    if ports is None:
        return None
    return UdpPort(sa.source.version, ports.source if sa.direction is Direction.OUT else ports.destination)


def _put(change: Change, things: dict[Key, Value], key: Key, value: Value) -> None:
    if key in things:
        raise PlaneError(change, f"{_label(change)} is there already")
    things[key] = value


def _take(change: Change, things: dict[Key, Value], key: Key) -> None:
    if key not in things:
        raise PlaneError(change, f"{_label(change)} is not there")
    del things[key]


def _label(change: Change) -> str:
    match change:
        case AddSa(thing) | RemoveSa(thing):
            return thing.label
        case AddPolicy(thing) | RemovePolicy(thing):
            return thing.label
        case AddForwarder(thing) | RemoveForwarder(thing):
            return thing.label
        case AddLink(thing) | RemoveLink(thing):
            return f"{thing.label} (link {thing.name})"
        case AddAddress(thing) | RemoveAddress(thing):
            return f"{thing.label} ({thing.interface})"
        case AddRoute(thing) | RemoveRoute(thing):
            return f"{thing.label} ({thing.destination})"
        case SetTunnelMtu():
            return "the tunnel MTU"

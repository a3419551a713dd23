"""From one intent to the next, as ordered changes.

Order is safety: what forwards goes first and comes last, and protection is in place before anything that could
carry traffic. Addresses and routes hang on links in the kernel, so they are taken off and put back around
a link that changes, and routes likewise around addresses.
"""

from collections.abc import Callable, Iterator
from typing import Any, TypeVar

from culvert.change import (
    AddAddress,
    AddForwarder,
    AddLink,
    AddPolicy,
    AddRoute,
    AddSa,
    Change,
    RemoveAddress,
    RemoveForwarder,
    RemoveLink,
    RemovePolicy,
    RemoveRoute,
    RemoveSa,
    SetTunnelMtu,
)
from culvert.plan.intent import Intent

T = TypeVar("T")


def steps(old: Intent, new: Intent) -> list[Change]:
    """The changes that lead from `old` to `new`."""
    links_gone, links_new = _difference(old.links, new.links)
    moved = {link.name for link in (*links_gone, *links_new)}
    addresses_gone, addresses_new = _difference(old.addresses, new.addresses, lambda own: own.link in moved)
    shaken = bool(moved or addresses_gone or addresses_new)
    routes_gone, routes_new = _difference(old.routes, new.routes, lambda own: shaken)
    forwarders_gone, forwarders_new = _difference(old.forwarders, new.forwarders)
    policies_gone, policies_new = _difference(old.policies, new.policies)
    sas_gone, sas_new = _difference(old.sas, new.sas)
    return [
        *map(RemoveForwarder, forwarders_gone),
        *map(RemoveRoute, routes_gone),
        *map(RemoveAddress, addresses_gone),
        *map(RemoveLink, links_gone),
        *map(RemovePolicy, policies_gone),
        *map(RemoveSa, sas_gone),
        *map(AddSa, sas_new),
        *map(AddPolicy, policies_new),
        *map(AddLink, links_new),
        *map(AddAddress, addresses_new),
        *map(AddRoute, routes_new),
        *_mtu(old, new),
        *map(AddForwarder, forwarders_new),
    ]


def _difference(
    old: tuple[T, ...], new: tuple[T, ...], again: Callable[[Any], bool] = lambda own: False
) -> tuple[list[T], list[T]]:
    if not old or not new:
        return list(old), list(new)
    before, after = set(old), set(new)
    gone = [own for own in old if own not in after or again(own)]
    come = [own for own in new if own not in before or again(own)]
    return gone, come


def _mtu(old: Intent, new: Intent) -> Iterator[Change]:
    if old.tunnel_mtu != new.tunnel_mtu:
        yield SetTunnelMtu(old.tunnel_mtu, new.tunnel_mtu)

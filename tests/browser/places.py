"""Every page to look at: what the menu leads to, and of objects each list, each form of a new one and one example."""

from collections.abc import Iterator
from dataclasses import dataclass

from culvert.model.kind import Naming
from culvert.model.registry import KINDS
from culvert.rest.resources import HIDDEN
from culvert.web.menu import MENU, Entry
from culvert.web.screens import may_make
from culvert.web.visit import place

EXAMPLES = {
    "/objects/net/vlan": "/Common/external",
    "/objects/net/self": "/Common/external-self",
    "/objects/net/route": "/Common/default-gateway",
    "/objects/net/interface": "wan0",
    "/objects/ltm/virtual": "/Common/forward-all",
    "/objects/net/ipsec/ipsec-policy": "/Common/policy-out",
    "/objects/net/ipsec/manual-security-association": "/Common/sa-out",
    "/objects/net/ipsec/traffic-selector": "/Common/selector-out",
    "/objects/auth/user": "admin",
    "/objects/sys/log-config/publisher": "/Common/default-ipsec-log-publisher",
}
"""Of lists, an object of the lab that stands there."""


@dataclass(frozen=True, slots=True)
class Place:
    """A page, and the name of its picture."""

    address: str
    name: str


def entries(within: tuple[Entry, ...] = MENU) -> Iterator[Entry]:
    """The entries of the menu that lead somewhere."""
    for own in within:
        if own.address:
            yield own
        yield from entries(own.entries)


def menu() -> list[Place]:
    return [Place("/login", "login"), *(Place(own.address, _name(own.address)) for own in entries())]


def forms() -> list[Place]:
    """Of every kind in the menu and out of it: the list, the form of a new object, and an object."""
    found = []
    for kind in (kind for path, kind in KINDS.items() if path not in HIDDEN):
        address = place(kind)
        addresses = [address]
        if may_make(kind):
            addresses.append(f"{address}/new?configuration=Advanced")
        if kind.naming is not Naming.SINGLE and address in EXAMPLES:
            addresses.append(place(kind, EXAMPLES[address]))
        found += [Place(own, _name(own)) for own in addresses]
    known = {own.address for own in menu()}
    return [own for own in found if own.address not in known]


def _name(address: str) -> str:
    words = address.partition("?")[0].replace("~Common~", "").strip("/").removeprefix("objects/")
    return words.replace("/", "-")

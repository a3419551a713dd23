"""The manual's procedure as a user clicks it: where, and what goes into which field, in the manual's order."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from culvert.lab.keys import Keys
from culvert.lab.sites import Family, Site
from tests.browser.window import Window

IPSEC = ("Network", "IPsec")


@dataclass(frozen=True, slots=True)
class Screen:
    """A New screen: the way there in the Main tab, its title, and what to do in it."""

    way: tuple[str, ...]
    title: str
    fields: Mapping[str, str] = field(repr=False)

    @property
    def name(self) -> str:
        return self.fields["Name"]


def screens(site: Site, keys: Mapping[str, Keys]) -> Iterator[Screen]:
    """Everything that one system is told, for IPv4."""
    family = site.families[0]
    yield from _network(family)
    yield Screen(("Local Traffic", "Virtual Servers"), "New Virtual Server", {
        "Name": "forward-all",
        "Type": "Forwarding (IP)",
        "Destination Address/Mask": "0.0.0.0/0",
        "Service Port": "*All Ports",
        "Protocol": "*All Protocols",
    })  # fmt: skip
    yield from _policies(family)
    yield from _associations(family, keys)
    yield from _selectors(family)


def _network(family: Family) -> Iterator[Screen]:
    for vlan, link in (("external", "wan0"), ("internal", "lan0")):
        yield Screen(("Network", "VLANs"), "New VLAN", {"Name": vlan, "Interfaces 1": link, "Tagged 1": "Untagged"})
    for vlan, address in (("external", family.external_self), ("internal", family.internal_self)):
        fields = {"Name": f"{vlan}-self", "IP Address": address, "VLAN / Tunnel": vlan}
        yield Screen(("Network", "Self IPs"), "New Self IP", fields)
    route = {
        "Name": family.default_name,
        "Destination": family.default_network,
        "Gateway Address": family.default_gateway,
    }
    yield Screen(("Network", "Routes"), "New Route", route)


def _policies(family: Family) -> Iterator[Screen]:
    for name, local, remote in (
        ("policy-out", family.tunnel_local, family.tunnel_remote),
        ("policy-in", family.tunnel_remote, family.tunnel_local),
    ):
        yield Screen((*IPSEC, "IPsec Policies"), "New Policy", {
            "Name": name,
            "Mode": "Tunnel",
            "Tunnel Local Address": local,
            "Tunnel Remote Address": remote,
        })  # fmt: skip


def _associations(family: Family, keys: Mapping[str, Keys]) -> Iterator[Screen]:
    for direction, association, source, destination in (
        ("out", family.association_out, family.tunnel_local, family.tunnel_remote),
        ("in", family.association_in, family.tunnel_remote, family.tunnel_local),
    ):
        key = keys[association]
        yield Screen((*IPSEC, "Manual Security Associations"), "New Security Association", {
            "Name": f"sa-{direction}",
            "Description": association,
            "SPI": str(key.spi),
            "Source Address": source,
            "Destination Address": destination,
            "Authentication Key": key.auth_key,
            "Encryption Algorithm": "aes128",
            "Encryption Key": key.encrypt_key,
            "IPsec Policy Name": f"policy-{direction}",
        })  # fmt: skip


def _selectors(family: Family) -> Iterator[Screen]:
    for direction, source, destination in (
        ("out", family.network_local, family.network_remote),
        ("in", family.network_remote, family.network_local),
    ):
        yield Screen((*IPSEC, "Traffic Selectors"), "New Traffic Selector", {
            "Name": f"selector-{direction}",
            "Description": f"{source} to {destination}",
            "Configuration": "Advanced",
            "Source IP Address or CIDR": source,
            "Source Port": "*All Ports",
            "Destination IP Address or CIDR": destination,
            "Destination Port": "*All Ports",
            "Protocol": "* All Protocols",
            "Direction": direction.capitalize(),
            "IPsec Policy Name": f"policy-{direction}",
        })  # fmt: skip


def click_through(own: Window, site: Site, keys: Mapping[str, Keys]) -> None:
    """The whole of it in one window that is logged in."""
    for screen in screens(site, keys):
        own.main_tab(*screen.way)
        own.create()
        assert own.title == screen.title
        own.fill(screen.fields)
        own.press("Finished")
        assert own.said and own.said[0] == f"{screen.name} was created.", (screen, own.said)
        assert own.title == screen.way[-1]
        own.page.get_by_role("link", name=screen.name, exact=True).wait_for()

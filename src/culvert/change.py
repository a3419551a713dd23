"""The vocabulary of change: what `plan` says and what a data plane obeys.

Every change is a frozen value that knows its inverse, so a batch that fails half-way can be undone: a
Remove carries the very thing that it removes.
"""

from dataclasses import dataclass
from ipaddress import IPv4Interface, IPv6Interface

from culvert.ipsec.sa import IPAddress, SecurityAssociation
from culvert.ipsec.selector import IPNetwork, PortRange
from culvert.ipsec.spd import Policy

IPInterface = IPv4Interface | IPv6Interface


@dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    """A network link of the host that the gateway uses.

    Untagged (`tag` None): `name` is an existing Linux link, `parent` is None. Tagged: an 802.1Q link
    `name` is made on `parent`. `mtu` in octets. `enabled` False: the link is held down.
    """

    name: str
    label: str
    parent: str | None = None
    tag: int | None = None
    mtu: int = 1500
    enabled: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """A protocol (IP number) and port that an address accepts; port 0 is every port."""

    protocol: int
    port: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """An address of the gateway on a link. `services` None: everything is accepted; (): only ICMP and IPsec."""

    link: str
    interface: IPInterface
    label: str
    services: tuple[Service, ...] | None = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """A static route: by gateway, by link, or blackhole (both None). `mtu` 0: the link's."""

    destination: IPNetwork
    label: str
    gateway: IPAddress | None = None
    link: str | None = None
    mtu: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Forwarder:
    """Which transit packets the gateway forwards at all; a packet that fits none is not forwarded.

    `protocol` None and `ports` None mean any. `links` None: packets from every link and from the tunnels;
    else only those that arrive on the links named. `excluded_links`: not from these.
    """

    label: str
    source: IPNetwork
    destination: IPNetwork
    protocol: int | None = None
    ports: PortRange | None = None
    links: tuple[str, ...] | None = None
    excluded_links: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class AddLink:
    link: Link

    def inverse(self) -> "RemoveLink":
        return RemoveLink(self.link)


@dataclass(frozen=True, slots=True)
class RemoveLink:
    link: Link

    def inverse(self) -> AddLink:
        return AddLink(self.link)


@dataclass(frozen=True, slots=True)
class AddAddress:
    address: Address

    def inverse(self) -> "RemoveAddress":
        return RemoveAddress(self.address)


@dataclass(frozen=True, slots=True)
class RemoveAddress:
    address: Address

    def inverse(self) -> AddAddress:
        return AddAddress(self.address)


@dataclass(frozen=True, slots=True)
class AddRoute:
    route: Route

    def inverse(self) -> "RemoveRoute":
        return RemoveRoute(self.route)


@dataclass(frozen=True, slots=True)
class RemoveRoute:
    route: Route

    def inverse(self) -> AddRoute:
        return AddRoute(self.route)


@dataclass(frozen=True, slots=True)
class AddForwarder:
    forwarder: Forwarder

    def inverse(self) -> "RemoveForwarder":
        return RemoveForwarder(self.forwarder)


@dataclass(frozen=True, slots=True)
class RemoveForwarder:
    forwarder: Forwarder

    def inverse(self) -> AddForwarder:
        return AddForwarder(self.forwarder)


@dataclass(frozen=True, slots=True)
class AddPolicy:
    policy: Policy

    def inverse(self) -> "RemovePolicy":
        return RemovePolicy(self.policy)


@dataclass(frozen=True, slots=True)
class RemovePolicy:
    policy: Policy

    def inverse(self) -> AddPolicy:
        return AddPolicy(self.policy)


@dataclass(frozen=True, slots=True)
class AddSa:
    sa: SecurityAssociation

    def inverse(self) -> "RemoveSa":
        return RemoveSa(self.sa)


@dataclass(frozen=True, slots=True)
class RemoveSa:
    sa: SecurityAssociation

    def inverse(self) -> AddSa:
        return AddSa(self.sa)


@dataclass(frozen=True, slots=True)
class SetTunnelMtu:
    """The largest inner packet, in octets, that fits every tunnel after protection."""

    old: int
    new: int

    def inverse(self) -> "SetTunnelMtu":
        return SetTunnelMtu(self.new, self.old)


Change = (
    AddLink
    | RemoveLink
    | AddAddress
    | RemoveAddress
    | AddRoute
    | RemoveRoute
    | AddForwarder
    | RemoveForwarder
    | AddPolicy
    | RemovePolicy
    | AddSa
    | RemoveSa
    | SetTunnelMtu
)

"""The picture as data: five nodes, four cables, and what a network engineer would have plugged in beforehand.

    client ---- a ==== wan ==== b ---- server

The gateways' links get no address here: that is the configuration's business. The wan is a plain router in the
middle. It knows the networks of the tunnel endpoints and nothing else: a packet that leaves a gateway in clear is
lost there, and seen.
"""

from dataclasses import dataclass

from culvert.lab.namespace import Namespace

CLIENT, SITE_A, WAN, SITE_B, SERVER = "client", "a", "wan", "b", "server"
NODES = (CLIENT, SITE_A, WAN, SITE_B, SERVER)
GATEWAYS = (SITE_A, SITE_B)
WAN_LINKS = ("a0", "b0")


@dataclass(frozen=True, slots=True)
class End:
    """One end of a cable: a link in a node."""

    node: str
    link: str


CABLES = (
    (End(CLIENT, "eth0"), End(SITE_A, "lan0")),
    (End(SITE_A, "wan0"), End(WAN, "a0")),
    (End(WAN, "b0"), End(SITE_B, "wan0")),
    (End(SITE_B, "lan0"), End(SERVER, "eth0")),
)

# node, link, address
ADDRESSES = (
    (CLIENT, "eth0", "10.1.0.10/24"),
    (CLIENT, "eth0", "fd00:1::10/64"),
    (WAN, "a0", "2.2.2.1/24"),
    (WAN, "a0", "2001:db8:2::1/64"),
    (WAN, "b0", "3.3.3.1/24"),
    (WAN, "b0", "2001:db8:3::1/64"),
    (SERVER, "eth0", "10.2.0.10/24"),
    (SERVER, "eth0", "fd00:2::10/64"),
)

# node, default gateway
ROUTES = (
    (CLIENT, "10.1.0.1"),
    (CLIENT, "fd00:1::1"),
    (SERVER, "10.2.0.1"),
    (SERVER, "fd00:2::1"),
)

CLIENT_ADDRESSES = ("10.1.0.10", "fd00:1::10")
SERVER_ADDRESSES = ("10.2.0.10", "fd00:2::10")


@dataclass(frozen=True, slots=True)
class Topology:
    """The namespaces and cables of one lab; `prefix` keeps labs apart."""

    prefix: str

    def namespace(self, node: str) -> Namespace:
        return Namespace(f"{self.prefix}-{node}")

    def namespaces(self) -> list[Namespace]:
        return [self.namespace(node) for node in NODES]

    @property
    def exists(self) -> bool:
        return any(namespace.exists for namespace in self.namespaces())

    def add(self) -> None:
        for namespace in self.namespaces():
            namespace.add()
            # Addresses are usable at once and only those that we gave: no address detection, no router advertisements.
            for scope in ("all", "default"):
                namespace.sysctl(f"net/ipv6/conf/{scope}/accept_dad", "0")
                namespace.sysctl(f"net/ipv6/conf/{scope}/accept_ra", "0")
        for left, right in CABLES:
            self._connect(left, right)
        for node, link, address in ADDRESSES:
            self.namespace(node).ip("address", "add", address, "dev", link)
        for node, gateway in ROUTES:
            self.namespace(node).ip("route", "add", "default", "via", gateway)
        self.namespace(WAN).sysctl("net/ipv4/ip_forward", "1")
        self.namespace(WAN).sysctl("net/ipv6/conf/all/forwarding", "1")

    def remove(self) -> None:
        """Take away what `add` made, whole or half-made. A namespace takes its links along."""
        for namespace in self.namespaces():
            namespace.remove()

    def _connect(self, left: End, right: End) -> None:
        here, there = self.namespace(left.node), self.namespace(right.node)
        here.ip("link", "add", left.link, "type", "veth", "peer", "name", right.link, "netns", there.name)
        for end, namespace in ((left, here), (right, there)):
            if end.node not in GATEWAYS:
                namespace.ip("link", "set", end.link, "up")

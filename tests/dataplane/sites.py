"""The changes that make one site, as `plan` would say them."""

from dataclasses import replace
from ipaddress import ip_address, ip_interface, ip_network

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
    Route,
    Service,
    SetTunnelMtu,
)
from culvert.ipsec.lifetime import Lifetime, Limits
from culvert.ipsec.sa import (
    Copy,
    Direction,
    Fragmentation,
    HeaderRules,
    Mode,
    Protocol,
    SecurityAssociation,
    UdpPorts,
)
from culvert.ipsec.secret import Secret
from culvert.ipsec.selector import PortRange, Selector
from culvert.ipsec.spd import Action, Policy

VOCABULARY = (Copy, Fragmentation, HeaderRules, Lifetime, Limits, UdpPorts)
"""What tests say in expressions besides the names of this module."""

OUT, IN = Direction.OUT, Direction.IN
NUMBER = {"a": 1, "b": 2}
OTHER = {"a": "b", "b": "a"}
WAN4 = {"a": "2.2.2.2", "b": "3.3.3.3"}
WAN6 = {"a": "fd0f::2", "b": "fd0f::3"}
NET4 = {"a": "10.1.0.0/16", "b": "10.2.0.0/16"}
NET6 = {"a": "fd01::/64", "b": "fd02::/64"}
KEY = b"the key of this test"


def association(
    side: str, direction: Direction, *, outer: int = 4, key: bytes = KEY, spi: int = 1000
) -> SecurityAssociation:
    """The SA from or to this side; `spi` 1000 from a to b, 1001 back."""
    wan = WAN4 if outer == 4 else WAN6
    sender = side if direction is OUT else OTHER[side]
    return SecurityAssociation(
        spi=spi + (sender == "b"),
        source=ip_address(wan[sender]),
        destination=ip_address(wan[OTHER[sender]]),
        direction=direction,
        auth="sha1",
        auth_key=Secret(key.ljust(20)[:20]),
        cipher="aes128",
        cipher_key=Secret(key.ljust(16)[:16]),
        reqid=outer,
        label=f"/Common/sa-{direction.value}-{outer}",
    )


def associations(side: str, *, outer: int = 4, key: bytes = KEY, spi: int = 1000) -> list[Change]:
    return [AddSa(association(side, direction, outer=outer, key=key, spi=spi)) for direction in (OUT, IN)]


def selector(
    direction: Direction, mine: str, theirs: str, *, outer: int = 4, order: int = 1, **fields: object
) -> AddPolicy:
    source, destination = (mine, theirs) if direction is OUT else (theirs, mine)
    return AddPolicy(
        Policy(
            direction=direction,
            selector=Selector(source=ip_network(source), destination=ip_network(destination), **fields),  # type: ignore[arg-type]
            order=order,
            label=f"/Common/ts-{direction.value}-{order}",
            reqid=outer,
            # Only the addresses count here; the family is the SA's.
            tunnel_source=None,
            tunnel_destination=None,
        )
    )


def selectors(side: str, *, inner: int = 4, outer: int = 4, order: int = 1) -> list[Change]:
    net = NET4 if inner == 4 else NET6
    return [selector(each, net[side], net[OTHER[side]], outer=outer, order=order) for each in (OUT, IN)]


def links(mtu: int = 1500) -> list[Change]:
    return [AddLink(Link(name=name, label=f"/Common/{name}", mtu=mtu)) for name in ("wan", "lan")]


def addresses(side: str) -> list[Change]:
    number = NUMBER[side]
    lan4, lan6 = f"10.{number}.0.1/16", f"fd0{number}::1/64"
    pairs = (("wan", WAN4[side] + "/32"), ("wan", WAN6[side] + "/64"), ("lan", lan4), ("lan", lan6))
    return [
        AddAddress(Address(link=link, interface=ip_interface(text), label=f"/Common/{text}")) for link, text in pairs
    ]


def routes(side: str) -> list[Change]:
    """To the peer, and to the network behind it: in clear, if nobody stopped it."""
    far = WAN4[OTHER[side]]
    return [
        AddRoute(Route(destination=ip_network(far), link="wan", label="/Common/peer")),
        AddRoute(
            Route(destination=ip_network(NET4[OTHER[side]]), gateway=ip_address(far), link="wan", label="/Common/far4")
        ),
        AddRoute(
            Route(
                destination=ip_network(NET6[OTHER[side]]),
                gateway=ip_address(WAN6[OTHER[side]]),
                link="wan",
                label="/Common/far6",
            )
        ),
    ]


def forwarder(network: str, label: str = "/Common/vs", **fields: object) -> AddForwarder:
    anywhere = "0.0.0.0/0" if ip_network(network).version == 4 else "::/0"
    return AddForwarder(
        Forwarder(label=label, source=ip_network(anywhere), destination=ip_network(network), **fields)  # type: ignore[arg-type]
    )


def ground(side: str) -> list[Change]:
    """Everything but the protection."""
    return [
        *links(),
        *addresses(side),
        *routes(side),
        forwarder("0.0.0.0/0"),
        forwarder("::/0", "/Common/vs6"),
        SetTunnelMtu(0, 1400),
    ]


def site(side: str, *, inner: int = 4, outer: int = 4, key: bytes = KEY, spi: int = 1000) -> list[Change]:
    """One side of a working tunnel."""
    protection = [*associations(side, outer=outer, key=key, spi=spi), *selectors(side, inner=inner, outer=outer)]
    return [*protection, *ground(side)]


def shaped(
    changes: list[Change], *, sa: dict[str, object] | None = None, policy: dict[str, object] | None = None
) -> list[Change]:
    """The same with other fields of every SA and of every selector's policy."""

    def shape(change: Change) -> Change:
        if isinstance(change, AddSa):
            return AddSa(replace(change.sa, **(sa or {})))  # type: ignore[arg-type]
        if isinstance(change, AddPolicy):
            return AddPolicy(replace(change.policy, **(policy or {})))  # type: ignore[arg-type]
        return change

    return [shape(change) for change in changes]


def signing(side: str, *, outer: int = 4) -> list[Change]:
    """The AH SAs of a bundle."""
    fields = {"protocol": Protocol.AH, "mode": Mode.TRANSPORT, "cipher": "null", "cipher_key": Secret(b"")}
    return shaped(associations(side, outer=outer, spi=2000), sa=fields)


def ends(side: str, *, outer: int = 4, services: tuple[Service, ...] | None = None, **sa: object) -> list[Change]:
    """The gateways themselves as the ends, in transport mode; unless `services` are given, all of theirs are open."""
    wan = WAN4 if outer == 4 else WAN6
    between = [selector(each, wan[side], wan[OTHER[side]], outer=outer) for each in (OUT, IN)]
    protection = [*associations(side, outer=outer), *between]
    host = ground(side)
    return [
        *shaped(protection, sa={"mode": Mode.TRANSPORT, **sa}, policy={"mode": Mode.TRANSPORT}),
        *(
            AddAddress(replace(each.address, services=services)) if isinstance(each, AddAddress) else each
            for each in host
        ),
    ]


AH = {"protocol": Protocol.AH, "cipher": "null", "cipher_key": Secret(b"")}


def discarding(change: AddPolicy) -> AddPolicy:
    return AddPolicy(replace(change.policy, action=Action.DISCARD))


def opened(old: AddAddress, *services: Service) -> list[Change]:
    """The same address with these services, or with all."""
    return [old.inverse(), AddAddress(replace(old.address, services=services or None))]


def ports(first: int, last: int | None = None) -> PortRange:
    return PortRange(first, last or first)

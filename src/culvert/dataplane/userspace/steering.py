"""The nftables rules that lead packets into the tunnel, and stop those that may not pass. Pure: values to text.

One table, `inet culvert`; `nftables` says how it gets from one state to the next without a moment with half of the
rules. The order of the questions matters and is the same in every chain:

1. Is it the gateway's own IPsec, or neighbour discovery? A selector may equal the tunnel's addresses, so that
   the gateway's own ESP, and the neighbour discovery that it needs, look like protected traffic.
2. Is it for this host? Then it is never led into the tunnel.
3. Does an outbound selector want it protected? Mark it; the routing rule for the mark leads to the TUN.
4. Does an inbound selector say it should have come protected? Drop it. This is asked after 3, so that a
   network which is on both sides of the tunnel still reaches the tunnel.

At the last hook two more: what an outbound selector protects may leave through the TUN only, and what would have to
come back protected may not leave in clear either: an outbound selector with a mistake in it must not leak.

Every packet pays for each rule that it passes, twice for its clear and its protected form. So a chain first asks what
lets most packets go (a mark, the protocol), and by one look at the protocol whether the rest is worth a rule for each.
"""

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from culvert.change import Address, Forwarder
from culvert.dataplane.userspace import marks
from culvert.dataplane.userspace.nftables import Ruleset
from culvert.dataplane.userspace.protected import ProtectedSet, protected_sets
from culvert.ipsec.drops import TABLE, Reason
from culvert.ipsec.sa import Direction
from culvert.ipsec.selector import IPNetwork, Selector
from culvert.ipsec.spd import Policy

IPSEC_PROTOCOLS = (50, 51, 108)
IKE_PORTS = frozenset((500, 4500))
LEAVING = ("meta l4proto 58 goto discovery", "meta l4proto 17 goto own_ike", "goto own_ipsec")
"""IPsec and IKE of others here, and neighbour discovery."""
KNOWN = "ct state { established, related } jump known"
PORT_PROTOCOLS = "meta l4proto { 6, 17, 33, 132, 136 }"
"""`th dport` reads any octets behind the IP header, so only protocols with ports may get there."""
NEIGHBOUR_DISCOVERY = "icmpv6 type 133-137 ip6 hoplimit 255 accept"
"""RFC 4861: only a neighbour can send a hop limit of 255, so this exception never covers a transit packet."""

REASONS = (Reason.CLEAR_INBOUND, Reason.NOT_FORWARDED, Reason.LEAK_STOPPED, Reason.NOT_ALLOWED, Reason.HALF_PROTECTED)
"""The reasons that the kernel counts for us."""


@dataclass(frozen=True, slots=True)
class Steering:
    """All that the rules depend on. `links` are Linux names."""

    tun: str
    links: frozenset[str] = frozenset()
    addresses: tuple[Address, ...] = ()
    policies: tuple[Policy, ...] = ()
    forwarders: tuple[Forwarder, ...] = ()
    udp_ports: frozenset[int] = frozenset()
    """Of this host, where ESP in UDP arrives."""

    @property
    def arriving_udp(self) -> str:
        """What is in UDP for our IPsec, or for an IKE daemon."""
        return _udp(IKE_PORTS | self.udp_ports)


def reason_counter(reason: Reason) -> str:
    """The nftables name of a drop counter."""
    return TABLE[reason].word


def forwarder_counter(label: str) -> str:
    """The nftables name of a forwarder's counter: labels have characters that nftables refuses."""
    return "forwarder-" + hashlib.sha256(label.encode()).hexdigest()[:16]


def render(steering: Steering) -> Ruleset:
    """What the table has to hold."""
    outbound = _sets("out", steering, Direction.OUT)
    inbound = _sets("in", steering, Direction.IN)
    returning = protected_sets("back", (each.mirrored() for each in _selectors(steering, Direction.IN)))
    protected = {each.name: each.declaration() for each in (*outbound, *inbound, *returning) if each.elements}
    return Ruleset(
        sets={**_endpoint_sets(steering), **_address_sets(steering), **protected},
        counters=_counters(steering),
        chains={
            "protect": [f"{each.match} meta mark set {marks.STEERED} accept" for each in outbound],
            "protect_own": [f"{each.match} meta mark set {marks.ORIGINATED} accept" for each in outbound],
            "stop_leak": [f"{each.match} {_drop(Reason.LEAK_STOPPED)}" for each in outbound],
            "stop_clear": [f"{each.match} {_drop(Reason.CLEAR_INBOUND)}" for each in inbound],
            "stop_half": [f"{each.match} {_drop(Reason.HALF_PROTECTED)}" for each in returning],
            "discovery": [NEIGHBOUR_DISCOVERY],
            "own_ipsec": list(_own_ipsec()),
            "own_ike": [f"{_udp(IKE_PORTS)} goto own_ipsec"],
            "arriving_udp": [f"{steering.arriving_udp} accept"],
            "arriving_icmp": [NEIGHBOUR_DISCOVERY, *_complaints(steering)],
            "arriving_protocols": [f"{_protocols()} accept", "meta l4proto 17 goto arriving_udp", "goto arriving_icmp"],
            "arriving": list(_arriving(steering)),
            "leaving": list(LEAVING),
            "unwrapped": list(_unwrapped()),
            "prerouting": [_hook("filter hook prerouting priority mangle"), *_prerouting(steering)],
            "output": [_hook("route hook output priority mangle"), *_output(steering)],
            "postrouting": [_hook("filter hook postrouting priority mangle"), *_postrouting(steering)],
            "known": ["ct direction reply accept", "ct state related accept"],
            "forward": [_hook("filter hook forward priority filter"), *_forward(steering)],
            "guard": list(_guard()),
            "input": [_hook("filter hook input priority filter"), *_input(steering)],
        },
    )


def _hook(words: str) -> str:
    return f"type {words}; policy accept;"


def _sets(prefix: str, steering: Steering, direction: Direction) -> list[ProtectedSet]:
    return protected_sets(prefix, _selectors(steering, direction))


def _selectors(steering: Steering, direction: Direction) -> list[Selector]:
    return [policy.selector for policy in steering.policies if policy.direction is direction]


def _counters(steering: Steering) -> list[str]:
    names = [reason_counter(reason) for reason in REASONS]
    return names + sorted({forwarder_counter(forwarder.label) for forwarder in steering.forwarders})


def _drop(reason: Reason) -> str:
    return f"counter name {reason_counter(reason)} drop"


def _set(kind: str, elements: Iterable[str]) -> list[str]:
    ordered = sorted(set(elements))
    return [f"typeof {kind}", *([f"elements = {{ {', '.join(ordered)} }}"] if ordered else [])]


def _endpoint_sets(steering: Steering) -> dict[str, list[str]]:
    pairs = [(policy.tunnel_source, policy.tunnel_destination) for policy in steering.policies]
    return {
        f"tunnels{version}": _set(
            f"{family} saddr . {family} daddr",
            (f"{source} . {remote}" for source, remote in pairs if source and source.version == version),
        )
        for version, family in ((4, "ip"), (6, "ip6"))
    }


def _address_sets(steering: Steering) -> dict[str, list[str]]:
    """What each address of ours accepts: `own`, `open` (all), `protocols` (all ports) and `services`."""
    found = {}
    for version, family in ((4, "ip"), (6, "ip6")):
        here = [address for address in steering.addresses if address.interface.version == version]
        listed = [(each.interface.ip, service) for each in here for service in each.services or ()]
        found[f"own{version}"] = _set(f"{family} daddr", (str(each.interface.ip) for each in here))
        found[f"open{version}"] = _set(
            f"{family} daddr",
            (str(each.interface.ip) for each in here if each.services is None),
        )
        found[f"protocols{version}"] = _set(
            f"{family} daddr . meta l4proto",
            (f"{address} . {service.protocol}" for address, service in listed if not service.port),
        )
        found[f"services{version}"] = _set(
            f"{family} daddr . meta l4proto . th dport",
            (f"{address} . {service.protocol} . {service.port}" for address, service in listed if service.port),
        )
    return found


def _names(links: Iterable[str]) -> str:
    quoted = ", ".join(f'"{link}"' for link in sorted(links))
    return f"{{ {quoted} }}"


def _udp(ports: Iterable[int]) -> str:
    return f"udp dport {{ {', '.join(map(str, sorted(ports)))} }}"


def _protocols(*others: int) -> str:
    """IPsec and these. A set, and not a map with verdicts: see `nftables`."""
    return f"meta l4proto {{ {', '.join(map(str, sorted((*IPSEC_PROTOCOLS, *others))))} }}"


def _own_ipsec() -> Iterator[str]:
    """The IPsec and IKE of this host's other programs; the packet process's own has a mark."""
    for family, version in (("ip", 4), ("ip6", 6)):
        yield f"{family} saddr . {family} daddr @tunnels{version} accept"


def _prerouting(steering: Steering) -> Iterator[str]:
    # The loopback device, whatever its name.
    yield "iif 1 accept"
    yield f'iifname "{steering.tun}" goto unwrapped'
    yield "fib daddr type local goto arriving"
    yield NEIGHBOUR_DISCOVERY
    yield "jump protect"
    if steering.links:
        yield f"iifname {_names(steering.links)} goto stop_clear"


def _unwrapped() -> Iterator[str]:
    yield f"meta mark set {marks.UNWRAPPED}"
    yield "fib daddr type local goto arriving"
    yield NEIGHBOUR_DISCOVERY
    yield "goto protect_own"


def _arriving(steering: Steering) -> Iterator[str]:
    yield f"{_protocols(1, 17, 58)} jump arriving_protocols"
    if steering.links:
        yield f"iifname {_names(steering.links)} goto stop_clear"


def _complaints(steering: Steering) -> Iterator[str]:
    """Routers on the way to the peer to which our IPsec was too big: it is what the packet they quote shows.

    An inbound selector may cover their addresses, but it can't have meant these messages: no peer protects them.
    """
    for kind, protocol_at, source_port_at in (("icmp type 3 icmp code 4", 136, 224), ("icmpv6 type 2", 112, 384)):
        yield f"{kind} @th,{protocol_at},8 {{ 50, 51 }} accept"
        if kind.startswith("icmpv6"):
            # Our own pieces of a larger packet: the fragment header says what is in them.
            yield f"{kind} @th,{protocol_at},8 44 @th,384,8 {{ 17, 50, 51 }} accept"
        if steering.udp_ports:
            ports = ", ".join(map(str, sorted(steering.udp_ports)))
            yield f"{kind} @th,{protocol_at},8 17 @th,{source_port_at},16 {{ {ports} }} accept"


def _output(steering: Steering) -> Iterator[str]:
    yield f"meta mark {marks.OWN} accept"
    # The kernel greets every new link with group membership reports; behind the TUN nobody is there to hear them.
    yield f'oifname "{steering.tun}" ip6 daddr ff02::/16 drop'
    yield f'oifname "{steering.tun}" ip daddr 224.0.0.0/24 drop'
    yield "oif 1 accept"
    yield "fib daddr type local accept"
    yield f"{_protocols(17, 58)} jump leaving"
    yield "jump protect_own"


def _postrouting(steering: Steering) -> Iterator[str]:
    yield f"meta mark {marks.OWN} accept"
    yield f"oifname {_names(('lo', steering.tun))} accept"
    yield f"{_protocols(17, 58)} jump leaving"
    yield "jump stop_leak"
    yield "jump stop_half"


def _forward(steering: Steering) -> Iterator[str]:
    yield f"iifname != {_names((*steering.links, steering.tun))} accept"
    # Only the answer is taken on trust. So a connection ends when the forwarder that allowed it is removed,
    # and a forwarder's counter sees every packet of the direction that it allows.
    yield KNOWN
    for forwarder in steering.forwarders:
        if forwarder.links == ():
            # It listens nowhere, and nftables refuses an empty set of names.
            continue
        yield f"{_forwarder_match(forwarder)} counter name {forwarder_counter(forwarder.label)} accept"
    yield _drop(Reason.NOT_FORWARDED)


def _forwarder_match(forwarder: Forwarder) -> str:
    parts = []
    if forwarder.links is not None:
        parts.append(f"iifname {_names(forwarder.links)}")
    if forwarder.excluded_links:
        parts.append(f"iifname != {_names(forwarder.excluded_links)}")
    parts.append("meta nfproto " + ("ipv4" if forwarder.source.version == 4 else "ipv6"))
    parts += _side("saddr", forwarder.source) + _side("daddr", forwarder.destination)
    if forwarder.protocol is not None:
        parts.append(f"meta l4proto {forwarder.protocol}")
    if forwarder.ports is not None:
        parts += [PORT_PROTOCOLS] if forwarder.protocol is None else []
        parts.append(f"th dport {forwarder.ports.first}-{forwarder.ports.last}")
    return " ".join(parts)


def _side(field: str, network: IPNetwork) -> list[str]:
    family = "ip" if network.version == 4 else "ip6"
    return [f"{family} {field} {network}"] if network.prefixlen else []


def _input(steering: Steering) -> Iterator[str]:
    # What no address of ours refuses; first, since of what arrives protected nothing else has to be known.
    yield f"{_protocols(1, 58)} accept"
    yield "meta l4proto 17 jump arriving_udp"
    yield f"iifname != {_names((*steering.links, steering.tun))} accept"
    yield "ip daddr @own4 goto guard"
    yield "ip6 daddr @own6 goto guard"


def _guard() -> Iterator[str]:
    yield KNOWN
    for family, version in (("ip", 4), ("ip6", 6)):
        yield f"{family} daddr @open{version} accept"
        yield f"{family} daddr . meta l4proto @protocols{version} accept"
        yield f"{family} daddr . meta l4proto . th dport @services{version} accept"
    yield _drop(Reason.NOT_ALLOWED)

"""What should be running, out of a snapshot: SAs, policies, forwarders, links, addresses and routes."""

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from ipaddress import ip_network

from culvert.change import Address, Forwarder, Link, Route, Service
from culvert.config.snapshot import Snapshot
from culvert.ipsec.sa import Direction, Mode, Protocol, SecurityAssociation
from culvert.ipsec.selector import ICMP_BASE, IPNetwork, PortRange, Selector
from culvert.ipsec.spd import Action, Policy
from culvert.model import ltm, net, net_ipsec, sys
from culvert.model.fields import OneAddress, Prefix
from culvert.model.kind import Kind, Object
from culvert.model.net_ipsec_rules import algorithm_rows
from culvert.model.problems import Invalid
from culvert.model.services import PROTOCOLS
from culvert.model.values import Destination
from culvert.plan.associations import LINK_MTU_DEFAULT, security_associations, tunnel_mtu, waits

REQID_SPACE = 2**31
DEFAULT_SELECTOR = "/Common/default-traffic-selector-interface"


@dataclass(frozen=True, slots=True, kw_only=True)
class Intent:
    """Everything that a plane is to have. `notes` are sentences about what can't run yet, and why.

    `sas` and `policies` stand in the order of their labels. `reqids`: the number of each ipsec-policy, by its name.
    """

    links: tuple[Link, ...] = ()
    addresses: tuple[Address, ...] = ()
    routes: tuple[Route, ...] = ()
    forwarders: tuple[Forwarder, ...] = ()
    policies: tuple[Policy, ...] = ()
    sas: tuple[SecurityAssociation, ...] = ()
    tunnel_mtu: int = LINK_MTU_DEFAULT
    notes: tuple[str, ...] = ()
    reqids: Mapping[str, int] = field(default_factory=dict)


def intend(snapshot: Snapshot, *, counter_journal: bool, journal_doubt: str = "") -> Intent:
    """The intent of a checked snapshot. Raises Invalid for what the plane can't do.

    `counter_journal`: the plane never uses a send counter twice, whatever happens to it. `journal_doubt`: why it might
    all the same.
    """
    refuse_what_cannot_run(snapshot, counter_journal=counter_journal)
    notes: list[str] = []
    links = links_of(snapshot)
    addresses = tuple(_addresses(snapshot, links, notes))
    reqids = _reqids(snapshot.all(net_ipsec.POLICY))
    sas = tuple(security_associations(snapshot, reqids, links, notes))
    settings = snapshot.get(sys.GLOBAL_SETTINGS, "")
    if journal_doubt and settings is not None and settings[sys.SET_BACK] == sys.REFUSE:
        sas = tuple(_trusted(sas, snapshot, journal_doubt, notes))
    return Intent(
        links=tuple(links.values()),
        addresses=addresses,
        routes=tuple(_routes(snapshot, links, notes)),
        forwarders=tuple(_forwarders(snapshot, links)),
        policies=tuple(policies_of(snapshot, reqids)),
        sas=sas,
        tunnel_mtu=tunnel_mtu(sas),
        notes=tuple(notes),
        reqids=reqids,
    )


def refuse_what_cannot_run(snapshot: Snapshot, *, counter_journal: bool) -> None:
    """Raises Invalid for what no plane here can do."""
    _refuse_route_domains(snapshot)
    if not counter_journal:
        _refuse_counter_modes(snapshot)


def policy_reqids(snapshot: Snapshot) -> dict[str, int]:
    """The number that ties each ipsec-policy to its SAs, by policy name."""
    return _reqids(snapshot.all(net_ipsec.POLICY))


def reqid_of(name: str) -> int:
    """The number of a policy, unless another one has it."""
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:4], "big") % (REQID_SPACE - 1) + 1


def _reqids(policies: Iterable[Object]) -> dict[str, int]:
    # By name, not by position: a new policy must not renumber (and so reinstall) the SAs of the others.
    taken: dict[int, str] = {}
    for policy in policies:
        number = reqid_of(policy.name)
        while number in taken:
            number = number % (REQID_SPACE - 1) + 1
        taken[number] = policy.name
    return {name: number for number, name in taken.items()}


def _refuse_route_domains(snapshot: Snapshot) -> None:
    problems = [
        own.problem(f"route domain {number} is not available: this data plane has route domain 0 only", word)
        for path in (net_ipsec.POLICY, net_ipsec.MANUAL_SA, net_ipsec.SELECTOR, net.SELF, net.ROUTE, ltm.VIRTUAL)
        for own in snapshot.all(path)
        for word, number in _route_domains(own)
        if number
    ]
    if problems:
        raise Invalid(*problems)


def _route_domains(own: Object) -> Iterator[tuple[str, int]]:
    for word in _addressed(own.kind):
        value = own.values[word]
        if isinstance(value, Destination):
            yield word, value.address.route_domain
        elif value is not None:
            yield word, value.route_domain


@cache
def _addressed(kind: Kind) -> tuple[str, ...]:
    """The words of a kind's addresses."""
    types = OneAddress | Prefix | net.Network | ltm.ListenAddress
    return tuple(own.word for own in kind.fields if isinstance(own.type, types))


def _refuse_counter_modes(snapshot: Snapshot) -> None:
    problems = [
        own.problem(
            f"{row.name} needs a send counter that is never used twice, and this data plane has no counter journal "
            "(RFC 8221 section 3)",
            word,
        )
        for own in snapshot.all(net_ipsec.MANUAL_SA)
        for word, row in algorithm_rows(own)
        if row.counter
    ]
    if problems:
        raise Invalid(*problems)


def _trusted(
    sas: Iterable[SecurityAssociation], snapshot: Snapshot, doubt: str, notes: list[str]
) -> Iterator[SecurityAssociation]:
    """All but those that would send by a counter of which nobody knows how far it was."""
    manual = snapshot.all(net_ipsec.MANUAL_SA)
    counting = {own.name for own in manual if any(row.counter for _, row in algorithm_rows(own))}
    for sa in sas:
        if sa.direction is Direction.OUT and sa.label in counting:
            why = (
                f"{doubt}, which may be of an earlier state of this machine; "
                "replace the keys of counter modes, then say: run sys counter-journal trust"
            )
            notes.append(waits(sa.label, why))
        else:
            yield sa


def links_of(snapshot: Snapshot) -> dict[str, Link]:
    """The Linux link of each VLAN that has one, by the VLAN's name."""
    links: dict[str, Link] = {}
    for vlan in snapshot.all(net.VLAN):
        for member, inner in vlan["interfaces"].items():
            interface = snapshot.get(net.INTERFACE, member)
            tagged = bool(inner["tagged"])
            links[vlan.name] = Link(
                name=f"{member}.{vlan['tag']}" if tagged else member,
                label=vlan.name,
                parent=member if tagged else None,
                tag=vlan["tag"] if tagged else None,
                mtu=vlan["mtu"],
                enabled=interface is None or interface["enabled"],
            )
    return links


def _addresses(snapshot: Snapshot, links: dict[str, Link], notes: list[str]) -> Iterator[Address]:
    settings = snapshot.get(net.SELF_ALLOW, "")
    defaults = net.DEFAULT_SERVICES if settings is None else settings["defaults"]
    for own in snapshot.all(net.SELF):
        link = links.get(own["vlan"])
        if link is None:
            notes.append(f"self IP {own.name} waits: VLAN {own['vlan']} has no interface")
            continue
        yield Address(
            link=link.name,
            interface=own["address"].interface,
            label=own.name,
            services=_services(own["allow-service"], defaults),
        )


def _services(words: tuple[str, ...], defaults: tuple[str, ...]) -> tuple[Service, ...] | None:
    if net.ALLOW_ALL in words:
        return None
    expanded = [word for word in words if word != net.ALLOW_DEFAULT]
    if net.ALLOW_DEFAULT in words:
        expanded += defaults
    return tuple(_service(word) for word in sorted(set(expanded)))


def _service(word: str) -> Service:
    protocol, _, port = word.partition(":")
    return Service(protocol=PROTOCOLS[protocol] if protocol in PROTOCOLS else int(protocol), port=int(port))


def _routes(snapshot: Snapshot, links: dict[str, Link], notes: list[str]) -> Iterator[Route]:
    for own in snapshot.all(net.ROUTE):
        link = links.get(own["interface"]) if own["interface"] else None
        if own["interface"] and link is None:
            notes.append(f"route {own.name} waits: VLAN {own['interface']} has no interface")
            continue
        yield Route(
            destination=own["network"].network,
            label=own.name,
            gateway=own["gw"].ip if own["gw"] else None,
            link=link.name if link else None,
            mtu=own["mtu"],
        )


def _forwarders(snapshot: Snapshot, links: dict[str, Link]) -> Iterator[Forwarder]:
    for own in snapshot.all(ltm.VIRTUAL):
        if not own["enabled"]:
            continue
        destination = ltm.destination_network(own)
        named = tuple(links[vlan].name for vlan in own["vlans"] if vlan in links)
        port = own["destination"].port
        yield Forwarder(
            label=own.name,
            source=_source(own["source"].network, destination),
            destination=destination,
            protocol=None if own["ip-protocol"] == "any" else PROTOCOLS[own["ip-protocol"]],
            ports=PortRange(port, port) if port else None,
            links=named if own["vlans-enabled"] else None,
            excluded_links=() if own["vlans-enabled"] else named,
        )


def _source(source: IPNetwork, destination: IPNetwork) -> IPNetwork:
    # 0.0.0.0/0 is the default of `source`; beside an IPv6 destination it means every IPv6 source.
    return (
        source if source.version == destination.version else ip_network("::/0" if destination.version == 6 else "0/0")
    )


def policies_of(
    snapshot: Snapshot, reqids: Mapping[str, int], names: Iterable[str] | None = None
) -> Iterator[Policy]:
    """The SPD entries of all selectors, or of those with `names`."""
    for own in snapshot.some(net_ipsec.SELECTOR, names):
        policy = snapshot.get(net_ipsec.POLICY, own["ipsec-policy"])
        assert policy is not None
        if own.name == DEFAULT_SELECTOR:
            continue
        if own["direction"] in ("out", "both"):
            yield _policy(own, policy, Direction.OUT, reqids, mirrored=False)
        if own["direction"] in ("in", "both"):
            yield _policy(own, policy, Direction.IN, reqids, mirrored=own["direction"] == "both")


def _policy(own: Object, policy: Object, direction: Direction, reqids: Mapping[str, int], *, mirrored: bool) -> Policy:
    selector = _selector(own)
    tunnel = [policy[f"tunnel-{end}-address"] for end in ("local", "remote")]
    tunnel_source, tunnel_destination = (
        None if end.unspecified else end.ip for end in (reversed(tunnel) if mirrored else tunnel)
    )
    return Policy(
        direction=direction,
        selector=selector.mirrored() if mirrored else selector,
        order=own["order"],
        label=own.name,
        reqid=reqids[policy.name],
        action=Action.PROTECT if own["action"] == "protect" else Action.DISCARD,
        protocol=Protocol.ESP if policy["protocol"] == "esp" else Protocol.AH,
        # The other modes carry nothing here; an entry in transport mode finds no SA, so its packets are dropped.
        mode=Mode.TUNNEL if policy["mode"] == "tunnel" else Mode.TRANSPORT,
        bundle_ah=policy["bundle-ah"] == "enabled",
        tunnel_source=tunnel_source,
        tunnel_destination=tunnel_destination,
    )


def _selector(own: Object) -> Selector:
    if own["icmp-type"]:
        first, second = _ports(own["icmp-type"], ICMP_BASE), _ports(own["icmp-code"], ICMP_BASE)
    else:
        first, second = _ports(own["source-port"]), _ports(own["destination-port"])
    return Selector(
        source=own["source-address"].network,
        destination=own["destination-address"].network,
        protocol=None if own["ip-protocol"] == net_ipsec.ANY_PROTOCOL else own["ip-protocol"],
        source_ports=first,
        destination_ports=second,
    )


def _ports(span: tuple[int, int] | None, base: int = 0) -> PortRange | None:
    return PortRange(base + span[0], base + span[1]) if span else None

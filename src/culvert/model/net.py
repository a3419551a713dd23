"""`net ...`: interfaces, VLANs, self IPs, routes and route domains."""

from collections.abc import Iterator
from dataclasses import dataclass

from culvert.model import names
from culvert.model.fields import (
    Choice,
    Field,
    Integer,
    Members,
    OneAddress,
    Prefix,
    Raw,
    Reader,
    Reference,
    Shape,
    Toggle,
    Words,
)
from culvert.model.kind import Kind, Naming, Object, Path, Unique, World
from culvert.model.net_ipsec import DESCRIPTION, MANUAL_SA, POLICY
from culvert.model.problems import BadValue, Problem
from culvert.model.services import PROTOCOLS, SERVICES
from culvert.model.values import ROUTE_DOMAIN_MAX, Interface, parse_interface, parse_number

INTERFACE = ("net", "interface")
VLAN = ("net", "vlan")
SELF = ("net", "self")
ROUTE = ("net", "route")
ROUTE_DOMAIN = ("net", "route-domain")
SELF_ALLOW = ("net", "self-allow")
TUNNEL = ("net", "tunnels", "tunnel")
PARTITION: Path = ("auth", "partition")

TAG_MAX = 4094
ALLOW_ALL, ALLOW_DEFAULT = "all", "default"
DEFAULT_SERVICES = (
    *("igmp:0", "ospf:0", "pim:0"),
    *("tcp:22", "tcp:53", "tcp:161", "tcp:443", "tcp:4353"),
    *("udp:53", "udp:161", "udp:520", "udp:1026", "udp:4353"),
)
_LINK_NAME_MAX = 15
LOCAL_GROUP = "/Common/traffic-group-local-only"


def parse_service(text: str, reader: Reader) -> str:
    """One entry of allow-service: all, default, or protocol:port, with port 0 for any."""
    if text in (ALLOW_ALL, ALLOW_DEFAULT):
        return text
    protocol, colon, port = text.partition(":")
    number = {"any": 0, "*": 0, **SERVICES}.get(port, parse_number(port))
    known = protocol in PROTOCOLS or 0 <= parse_number(protocol) < 256
    if not (colon and known and 0 <= number <= 65535):
        raise BadValue(f'"{text}" is not allowed; allowed: all, default, none, or protocol:port such as tcp:22')
    return f"{protocol}:{number}"


def parse_default(text: str, reader: Reader) -> str:
    """One of the services that `default` stands for, which can't be another such word."""
    if text in (ALLOW_ALL, ALLOW_DEFAULT):
        raise BadValue(f'"{text}" is not allowed; allowed: protocol:port such as tcp:22')
    return parse_service(text, reader)


def assign_tag(name: str, raw: dict[str, Raw], world: World) -> None:
    """A VLAN made, or replaced, without a tag gets the highest free one, as the vendor's systems do."""
    if "tag" not in raw:
        used = {vlan["tag"] for vlan in world.all(VLAN) if vlan.name != name}
        raw["tag"] = str(next(tag for tag in range(TAG_MAX, 0, -1) if tag not in used or tag == 1))


def address_from_name(name: str, raw: dict[str, Raw], world: World) -> None:
    """`create net self 10.1.1.1/24 ...` takes the name as the address."""
    _from_name("address", name, raw)


def network_from_name(name: str, raw: dict[str, Raw], world: World) -> None:
    """`create net route 10.2.0.0/24 ...` takes the name as the network."""
    _from_name("network", name, raw)


def _from_name(word: str, name: str, raw: dict[str, Raw]) -> None:
    last = name.split("/", 2)[-1]
    try:
        if last not in DEFAULT_NETWORKS:
            parse_interface(last)
    except BadValue:
        return
    raw.setdefault(word, last)


def vlan_has_one_interface(vlan: Object, world: World) -> Iterator[Problem]:
    """A VLAN is one Linux link: the interface itself, or an 802.1Q link on it."""
    members = list(vlan["interfaces"])
    if len(members) > 1:
        yield vlan.problem(f"one interface is allowed, not {len(members)} ({', '.join(members)})", "interfaces")
    for member in members:
        if len(member) > _LINK_NAME_MAX:
            yield vlan.problem(
                f'"{member}" is longer than the {_LINK_NAME_MAX} characters of a Linux link', "interfaces"
            )


def self_is_a_host(own: Object, world: World) -> Iterator[Problem]:
    """A self IP is a unicast host address on a VLAN."""
    vlan = own["vlan"]
    if vlan and world.get(VLAN, vlan) is None and world.get(TUNNEL, vlan) is not None:
        yield own.problem(f"{vlan} is a tunnel; a self IP stands on a VLAN here", "vlan")
    interface: Interface = own["address"]
    ip, network = interface.interface.ip, interface.network
    host_width = network.max_prefixlen - network.prefixlen
    if ip.is_unspecified or ip.is_multicast or ip.is_loopback:
        yield own.problem(f"{interface} is not an address of one system", "address")
    elif host_width > 1 and ip == network.network_address and ip.version == 4:
        yield own.problem(f"{interface} is the address of the network itself", "address")
    elif host_width > 1 and ip.version == 4 and ip == network.broadcast_address:
        yield own.problem(f"{interface} is the broadcast address of the network", "address")


def route_goes_one_way(route: Object, world: World) -> Iterator[Problem]:
    """Exactly one of gw, interface, blackhole; the gateway of the network's family and not itself."""
    given = [word for word in ("gw", "interface") if route[word] is not None]
    if route["blackhole"]:
        given.append("blackhole")
    if len(given) != 1:
        what = "none of them is" if not given else f"{' and '.join(given)} are"
        yield route.problem(f"one of gw, interface, blackhole is needed; {what} given")
    gateway, network = route["gw"], route["network"]
    if gateway is not None and gateway.ip.version != network.network.version:
        yield route.problem(f"{gateway} is not of the family of network {network}", "gw")
    elif gateway is not None and (gateway.unspecified or gateway.ip.is_multicast):
        yield route.problem(f"{gateway} is not an address of one system", "gw")


def _untagged(vlan: Object) -> Iterator[object]:
    for member, values in vlan["interfaces"].items():
        yield ("untagged", member) if not values["tagged"] else ("tagged", member, vlan["tag"])


def partitions_of(domain: Object, world: World) -> Iterator[Object]:
    """Whose addresses are in the route domain when they don't say another."""
    return (own for own in world.all(PARTITION) if own["default-route-domain"] == domain["id"])


def policies_with_this_end(own: Object, world: World) -> Iterator[Object]:
    """The policies of manual security associations that this system sends or receives at this self IP."""
    here = own["address"].address
    for sa in world.all(MANUAL_SA):
        if here in (sa["source-address"], sa["destination-address"].address):
            policy = world.get(POLICY, sa["ipsec-policy"])
            yield from (policy,) if policy else ()


DEFAULT_NETWORKS = {"default": "0.0.0.0/0", "default-inet6": "::/0"}


class Network(Prefix):
    """A prefix, or `default` and `default-inet6`."""

    def parse(self, raw: Raw, reader: Reader) -> Interface:
        return Prefix.parse(self, DEFAULT_NETWORKS.get(raw, raw) if isinstance(raw, str) else raw, reader)

    def raw(self, value: Interface) -> Raw:
        text = str(value)
        return next((word for word, network in DEFAULT_NETWORKS.items() if network == text), text)


@dataclass(frozen=True, slots=True)
class TrafficGroup:
    """The one traffic group that a single system has, by short or full name."""

    shape = Shape.WORD
    expects: str = "traffic-group-local-only"

    def parse(self, raw: Raw, reader: Reader) -> str:
        if raw not in (LOCAL_GROUP, names.relative(LOCAL_GROUP, names.COMMON)):
            raise BadValue(f'"{raw}" is not allowed; allowed: {self.expects}')
        return LOCAL_GROUP

    def raw(self, value: str) -> Raw:
        return value

    def short(self, text: str, folder: str) -> str:
        """The name as it is written in `folder`."""
        return names.relative(text, folder)


INTERFACE_KIND = Kind(
    path=INTERFACE,
    keeps=True,
    title="interface",
    help="A network link of the host",
    naming=Naming.PLAIN,
    implicit=True,
    fields=(
        DESCRIPTION,
        Field(
            "enabled",
            Toggle("enabled", "disabled"),
            "Whether the link is up",
            True,
            label="State",
        ),
    ),
)

VLAN_KIND = Kind(
    path=VLAN,
    keeps=True,
    stand_in=TUNNEL,
    title="VLAN",
    help="A layer 2 network: a Linux link, or an 802.1Q tag on one",
    rules=(vlan_has_one_interface,),
    unique=(Unique(_untagged, "the interface already belongs to {other} in the same way"),),
    complete=assign_tag,
    fields=(
        DESCRIPTION,
        Field(
            "interfaces",
            Members(
                (Field("tagged", Toggle("tagged", "untagged"), "Whether frames carry the tag", False),),
                suggests=INTERFACE,
            ),
            "Linux links, untagged or tagged",
            {},
            label="Interfaces",
        ),
        Field("mtu", Integer(576, 9198), "Largest packet in octets", 1500, label="MTU"),
        Field("tag", Integer(1, TAG_MAX), "802.1Q tag; chosen when not given", 0, always=True, label="Tag"),
    ),
)

SELF_KIND = Kind(
    path=SELF,
    keeps=True,
    title="self IP",
    help="An address of this system on a VLAN",
    naming=Naming.LOOSE,
    rules=(self_is_a_host,),
    unique=(Unique(lambda own: [own["address"].address], "the address is that of {other}"),),
    complete=address_from_name,
    concerns=policies_with_this_end,
    fields=(
        Field(
            "address",
            Prefix(keep_host_bits=True),
            "Address and prefix length",
            required=True,
            label="IP Address",
        ),
        Field(
            "allow-service",
            Words(parse_service, "all, default, none, or protocol:port in braces", alone=(ALLOW_ALL,)),
            "Which services the address accepts; ICMP and IPsec always",
            (),
            label="Port Lockdown",
        ),
        DESCRIPTION,
        Field(
            "traffic-group",
            TrafficGroup(),
            "Traffic group; there is one system, so only the local one",
            LOCAL_GROUP,
            always=True,
            label="Traffic Group",
        ),
        Field("vlan", Reference(VLAN), "VLAN that the address is on", required=True, label="VLAN / Tunnel"),
    ),
)

ROUTE_KIND = Kind(
    path=ROUTE,
    keeps=True,
    title="route",
    help="A static route",
    naming=Naming.LOOSE,
    rules=(route_goes_one_way,),
    unique=(Unique(lambda route: [str(route["network"])], "the network is that of {other}"),),
    complete=network_from_name,
    fields=(
        Field("blackhole", Toggle("blackhole"), "Drop what goes there", False),
        DESCRIPTION,
        Field("gw", OneAddress(none_allowed=True), "Next system on the way", label="Gateway Address"),
        Field(
            "interface",
            Reference(VLAN, none_allowed=True),
            "VLAN on which the network is",
            label="VLAN/Tunnel",
        ),
        Field("mtu", Integer(0, 9198), "Largest packet in octets; 0 is the link's", 0, label="MTU"),
        Field("network", Network(), "Where the route goes", required=True, always=True, label="Destination"),
    ),
)

ROUTE_DOMAIN_KIND = Kind(
    path=ROUTE_DOMAIN,
    keeps=True,
    title="route domain",
    help="A routing table of its own",
    naming=Naming.LOOSE,
    concerns=partitions_of,
    unique=(Unique(lambda domain: [domain["id"]], "the id is that of {other}"),),
    fields=(
        DESCRIPTION,
        Field("id", Integer(0, ROUTE_DOMAIN_MAX), "The number after % in addresses", required=True, always=True),
        Field("strict", Choice(("enabled", "disabled")), "Whether traffic stays inside", "enabled"),
        Field(
            "vlans",
            Words(lambda text, reader: names.check(names.full(text, reader.folder)), "VLANs in braces", VLAN),
            "VLANs that belong to the route domain",
            (),
        ),
    ),
)

SELF_ALLOW_KIND = Kind(
    path=SELF_ALLOW,
    keeps=True,
    title="self IP defaults",
    help="What allow-service default stands for",
    naming=Naming.SINGLE,
    implicit=True,
    fields=(
        Field(
            "defaults",
            Words(parse_default, "protocol:port in braces"),
            "Services that self IPs with allow-service default accept",
            tuple(sorted(DEFAULT_SERVICES)),
            always=True,
        ),
    ),
)

KINDS = (INTERFACE_KIND, ROUTE_KIND, ROUTE_DOMAIN_KIND, SELF_ALLOW_KIND, SELF_KIND, VLAN_KIND)

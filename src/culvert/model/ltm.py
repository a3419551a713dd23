"""`ltm virtual`, of the forwarding (IP) type: which transit traffic the gateway forwards at all."""

from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

from culvert.model import names
from culvert.model.fields import Choice, Field, Members, OneAddress, Prefix, Raw, Reader, Shape, Toggle, Words
from culvert.model.kind import Kind, Naming, Object, World
from culvert.model.net import VLAN
from culvert.model.net_ipsec import DESCRIPTION
from culvert.model.problems import BadValue, Problem
from culvert.model.services import PROTOCOLS, SERVICES
from culvert.model.values import Destination, IPNetwork, parse_interface, parse_number

VIRTUAL = ("ltm", "virtual")
VIRTUAL_ADDRESS = ("ltm", "virtual-address")
_PORTS = {"any": 0, "*": 0, **SERVICES}


@dataclass(frozen=True, slots=True)
class ListenAddress:
    """`/Common/0.0.0.0:0`, `0.0.0.0:any`, `10.2.0.0%1:80`, `::.any`, `2001:db8::1.443`; the port may be left out."""

    shape = Shape.WORD
    expects: str = "address:port, or address.port for IPv6; any stands for every address and every port"

    def parse(self, raw: Raw, reader: Reader) -> Destination:
        if not isinstance(raw, str):
            raise BadValue(f"{self.expects} is expected")
        folder, _, rest = names.full(raw, reader.folder).rpartition("/")
        if parse_number(rest) >= 0 and folder.count("/") > 1:
            raise BadValue(f'"{raw}" has a prefix length; give it as mask')
        host, port = self._split(rest)
        number = _PORTS.get(port, parse_number(port))
        if not 0 <= number <= 65535:
            raise BadValue(f'"{raw}": the port must be any, a service name or a number from 0 to 65535')
        return Destination(folder, parse_interface(host).address, number)

    def _split(self, text: str) -> tuple[str, str]:
        if text in ("any", "any6"):
            return text, "any"
        separator = ":" if text.count(":") < 2 and not text.startswith("any6") else "."
        host, found, port = text.rpartition(separator)
        return (host, port) if found and (separator == ":" or not _is_address(text)) else (text, "any")

    def raw(self, value: Destination) -> Raw:
        return str(value)

    def short(self, text: str, folder: str) -> str:
        """As `list` prints it: without the folder, `any` for port 0."""
        bare = names.relative(text, folder)
        return bare[:-1] + "any" if bare[-2:] in (":0", ".0") and bare[-1] == "0" else bare


@dataclass(frozen=True, slots=True)
class Mask:
    """A netmask: `255.255.255.0`, `ffff::`, `/24`; `any` and `any6` match everything."""

    shape = Shape.WORD
    expects: str = "a netmask such as 255.255.255.0 or ffff:ffff::, or any"

    def parse(self, raw: Raw, reader: Reader) -> str:
        text = str(raw)
        if text in ("any", "any6"):
            return text
        try:
            mask = ip_address(text)
        except ValueError:
            raise BadValue(f'"{text}" is not allowed; allowed: {self.expects}') from None
        prefix_of(mask, text)
        return "any" if mask == IPv4Address(0) else "any6" if mask == IPv6Address(0) else str(mask)

    def raw(self, value: str) -> Raw:
        return value


def prefix_of(mask: IPv4Address | IPv6Address, text: str) -> int:
    """The prefix length of a netmask; BadValue when its ones are not all in front."""
    width = mask.max_prefixlen
    ones = int(mask).bit_count()
    if int(mask) != ((1 << ones) - 1) << (width - ones):
        raise BadValue(f'"{text}" is no netmask: its ones are not all in front')
    return ones


def _is_address(text: str) -> bool:
    try:
        ip_address(text.split("%")[0])
    except ValueError:
        return False
    return True


def destination_network(virtual: Object) -> IPNetwork:
    """The network that a virtual server accepts, out of destination and mask. ValueError when they clash."""
    ip, mask = virtual["destination"].address.ip, virtual["mask"]
    if mask in ("any", "any6"):
        return ip_network((ip, 0)) if ip.is_unspecified else ip_network((ip, ip.max_prefixlen))
    parsed = ip_address(mask)
    if parsed.version != ip.version:
        raise ValueError(f"{mask} is not of the family of destination {ip}")
    return ip_network((ip, prefix_of(parsed, mask)))


def mask_from_destination(name: str, raw: dict[str, Raw], world: World) -> None:
    """`destination 10.2.0.0/24:any` gives the mask; without either, a wildcard is any and a host is itself."""
    text = raw.get("destination")
    if not isinstance(text, str):
        return
    head, slash, tail = text.rpartition("/")
    prefix, _, port = tail.replace(".", ":").partition(":")
    if slash and parse_number(prefix) >= 0 and (_is_address(head.rpartition("/")[2]) or "any" in head):
        host = head.rpartition("/")[2]
        version6 = ":" in host or host == "any6"
        raw["destination"] = f"{head}{'.' if version6 else ':'}{port or 'any'}"
        width = 128 if version6 else 32
        if int(prefix) <= width and "mask" not in raw:
            raw["mask"] = str(ip_network((0 if not version6 else IPv6Address(0), int(prefix))).netmask)
    version6 = text.count(":") > 1 or "any6" in text
    raw.setdefault("mask", "any6" if version6 else "any")
    if version6:
        raw.setdefault("source", "::/0")


def forwarding_only(virtual: Object, world: World) -> Iterator[Problem]:
    """Only the forwarding (IP) type exists here, and it never translates."""
    if not virtual["ip-forward"]:
        yield virtual.problem("only forwarding virtual servers exist here; add ip-forward", "ip-forward")
    for word in ("translate-address", "translate-port"):
        if virtual[word] == "enabled":
            yield virtual.problem("a forwarding virtual server does not translate; allowed: disabled", word)


def virtual_is_consistent(virtual: Object, world: World) -> Iterator[Problem]:
    """Destination, mask and source are of one family; VLANs named are used."""
    try:
        network = destination_network(virtual)
    except ValueError as error:
        yield virtual.problem(f"{error}", "mask")
        return
    source: IPNetwork = virtual["source"].network
    if source.version != network.version and source.prefixlen:
        yield virtual.problem(f"{source} is not of the family of destination {network}", "source")
    if virtual["vlans-enabled"] and not virtual["vlans"]:
        yield virtual.problem(
            "no VLAN is named, so nothing would be accepted; name vlans or use vlans-disabled", "vlans"
        )
    if virtual["destination"].port and virtual["ip-protocol"] not in ("any", "tcp", "udp", "sctp"):
        yield virtual.problem(f"{virtual['ip-protocol']} has no ports; allowed: any, tcp, udp, sctp", "ip-protocol")


VIRTUAL_KIND = Kind(
    path=VIRTUAL,
    keeps=True,
    title="Virtual Server",
    help="A forwarding (IP) virtual server",
    complete=mask_from_destination,
    rules=(forwarding_only, virtual_is_consistent),
    fields=(
        DESCRIPTION,
        Field(
            "destination",
            ListenAddress(),
            "Addresses and port it accepts",
            required=True,
            label="Destination Address/Mask",
        ),
        Field("enabled", Toggle("enabled", "disabled"), "Whether it forwards", True, label="State"),
        Field(
            "ip-forward",
            Toggle("ip-forward"),
            "Forward without translation",
            False,
            label="Type: Forwarding (IP)",
        ),
        Field("ip-protocol", Choice(("any", *PROTOCOLS)), "Protocol it accepts", "any", label="Protocol"),
        Field("mask", Mask(), "Netmask of the destination", "any", always=True),
        Field(
            "profiles",
            Members(target=("ltm", "profile", "fastl4")),
            "Profiles",
            {"/Common/fastL4": {}},
            always=True,
        ),
        Field(
            "source",
            Prefix(),
            "Sources it accepts",
            parse_interface("0.0.0.0/0"),
            always=True,
            label="Source Address",
        ),
        Field(
            "source-port",
            Choice(("preserve", "preserve-strict", "change")),
            "Source port handling",
            "preserve",
        ),
        Field(
            "translate-address",
            Choice(("enabled", "disabled")),
            "Address translation",
            "disabled",
            always=True,
        ),
        Field("translate-port", Choice(("enabled", "disabled")), "Port translation", "disabled", always=True),
        Field(
            "vlans",
            Words(lambda text, reader: names.check(names.full(text, reader.folder)), "VLANs in braces", VLAN),
            "VLANs that vlans-enabled and vlans-disabled speak of",
            (),
        ),
        Field(
            "vlans-enabled",
            Toggle("vlans-enabled", "vlans-disabled"),
            "Accept only from the VLANs named, or from all but those",
            False,
            label="VLAN and Tunnel Traffic",
        ),
    ),
)

FASTL4_KIND = Kind(
    path=("ltm", "profile", "fastl4"),
    keeps=True,
    title="profile",
    help="The profile of forwarding virtual servers",
    fields=(DESCRIPTION,),
)

VIRTUAL_ADDRESS_KIND = Kind(
    path=VIRTUAL_ADDRESS,
    title="Virtual Address",
    help="Comes with the virtual servers that listen on it, and goes with the last of them",
    naming=Naming.LOOSE,
    fixed=True,
    derived=True,
    fields=(
        Field("address", OneAddress(any_allowed=True), "The address itself", always=True),
        Field("arp", Choice(("disabled",)), "A network's addresses are other systems'", "disabled", always=True),
        Field("auto-delete", Choice(("true",)), "Goes with its last virtual server", "true"),
        Field("icmp-echo", Choice(("disabled",)), "The destinations answer themselves", "disabled", always=True),
        Field("mask", Mask(), "Netmask of the address", always=True),
    ),
)

KINDS = (FASTL4_KIND, VIRTUAL_KIND, VIRTUAL_ADDRESS_KIND)

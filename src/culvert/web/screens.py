"""The screens of objects: which fields stand where, by what name, and which of them belong to a choice made above.

Every kind has a screen without any line here: its fields in the model's order. What is written here is the vendor's
order and words for the kinds of the main tab. A property that no section names stands in the last one, under Advanced.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from culvert.model import auth, ltm, net, net_ipsec, sys
from culvert.model.kind import Kind, Naming, Path
from culvert.model.services import SERVICES
from culvert.web import virtual
from culvert.web.codec import Codec

Option = tuple[str, str]
BASIC, ADVANCED = "Basic", "Advanced"


@dataclass(frozen=True, slots=True)
class Section:
    """A part of a form. `advanced`: words that only Advanced shows."""

    title: str
    words: tuple[str, ...]
    advanced: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Screen:
    """How objects of one kind are listed and changed. `codec` is there where the form's fields aren't the model's."""

    kind: Kind
    title: str
    one: str
    columns: tuple[str, ...]
    sections: tuple[Section, ...]
    codec: Codec | None = None

    @property
    def new(self) -> str:
        return f"New {self.one}"


IN_TUNNEL = {"mode": ("tunnel",)}
RELATED: Mapping[Path, Mapping[str, Mapping[str, tuple[str, ...]]]] = {
    net_ipsec.POLICY: {
        "tunnel-local-address": IN_TUNNEL,
        "tunnel-remote-address": IN_TUNNEL,
        "ipcomp-cpi": {"ipcomp": ("deflate",)},
        "udp-encapsulation": {"protocol": ("esp",)},
        "udp-port": {"udp-encapsulation": ("enabled",)},
        "nat-keep-alive": {"udp-encapsulation": ("enabled",)},
        "bundle-ah": {"protocol": ("esp",)},
        "tfc-padding": {"protocol": ("esp",)},
        "dummy-interval": {"protocol": ("esp",)},
        **dict.fromkeys(("df-bit", "dscp", "ecn", "hop-limit", "flow-label", "fragmentation"), IN_TUNNEL),
    },
    net_ipsec.MANUAL_SA: {
        "encrypt-algorithm": {"protocol": ("esp",)},
        "encrypt-key": {"protocol": ("esp",)},
    },
    net_ipsec.SELECTOR: {
        "source-port": {"ip-protocol": ("255", "6", "17", "132", "136")},
        "destination-port": {"ip-protocol": ("255", "6", "17", "132", "136")},
        "icmp-type": {"ip-protocol": ("1", "58")},
        "icmp-code": {"ip-protocol": ("1", "58")},
    },
    ltm.VIRTUAL: {"vlans": {virtual.TRAFFIC: (virtual.ENABLED_ON, virtual.DISABLED_ON)}},
}
"""By kind and word: the choices that a field belongs to. It is shown while all of them are made."""

_PORTS = (("any", "*All Ports"), *((str(number), name.upper()) for name, number in list(SERVICES.items())[1:14]))
PICKS: Mapping[Path, Mapping[str, tuple[Option, ...]]] = {
    net_ipsec.SELECTOR: {
        "source-port": _PORTS,
        "destination-port": _PORTS,
        "ip-protocol": (("255", "* All Protocols"), ("6", "TCP"), ("17", "UDP"), ("1", "ICMP")),
        "direction": (("both", "Both"), ("in", "In"), ("out", "Out")),
    },
    net_ipsec.POLICY: {
        "protocol": (("esp", "ESP"), ("ah", "AH")),
        "mode": (
            ("transport", "Transport"),
            ("tunnel", "Tunnel"),
            ("interface", "IPsec Interface"),
            ("isession", "iSession"),
        ),
        "ipcomp": (("none", "None"), ("deflate", "DEFLATE"), ("null", "NULL")),
    },
    ltm.VIRTUAL: {
        virtual.PORT: (("any", "*All Ports"), *_PORTS[1:]),
        "ip-protocol": (("any", "*All Protocols"), ("tcp", "TCP"), ("udp", "UDP"), ("icmp", "ICMP")),
    },
}
"""Words of a list for values of a field; a value that isn't there is typed behind Other, where the field takes more."""

HINTS: Mapping[Path, Mapping[str, str]] = {
    net_ipsec.POLICY: {
        "tunnel-local-address": "Outbound policy: the local system. Inbound policy: the remote system. "
        "n.n.n.n%ID names a route domain.",
        "tunnel-remote-address": "Outbound policy: the remote system. Inbound policy: the local system.",
        "ike-phase2-lifetime": "Minutes.",
    },
    net_ipsec.MANUAL_SA: {
        "spi": "256 to 4294967295; the same on both systems.",
        "source-address": "The Tunnel Local Address of the IPsec policy.",
        "destination-address": "The Tunnel Remote Address of the IPsec policy.",
        "auth-key": "Exactly the algorithm's length as characters, or 0x and hexadecimal digits.",
        "encrypt-key": "Exactly the algorithm's length as characters, or 0x and hexadecimal digits.",
    },
    net_ipsec.SELECTOR: {
        "source-address": "address or address/prefix; traffic that comes from there.",
        "destination-address": "address or address/prefix; traffic that goes there.",
    },
    auth.USER: {
        "password": "For these pages and the REST API; without one nobody logs in there. "
        "A new one ends the user's sessions.",
        "partition-access": "A role in all-partitions, or one in each of some partitions. admin: everything. "
        "resource-admin: everything but users. user-manager: users. manager: what stands in the partition. "
        "operator: switches and descriptions. auditor: looks at everything. guest: looks at the partition.",
        "shell": "What the user may have on a terminal of the host.",
    },
}
"""What stands beside a field, where it is more than the model's help."""


def _screen(
    kind: Kind,
    title: str,
    one: str,
    columns: str,
    *sections: Section,
    codec: Codec | None = None,
) -> Screen:
    return Screen(kind, title, one, tuple(columns.split()), sections, codec)


GENERAL = "General Properties"
_ALL = (
    _screen(
        ltm.VIRTUAL_KIND,
        "Virtual Servers",
        "Virtual Server",
        f"enabled {virtual.NETWORK} {virtual.PORT} {virtual.TYPE} ip-protocol",
        Section(
            GENERAL,
            ("description", virtual.TYPE, "source", virtual.NETWORK, virtual.PORT, "enabled"),
        ),
        Section(
            "Configuration",
            ("ip-protocol", virtual.TRAFFIC, "vlans"),
            ("source-port", "profiles", "translate-address", "translate-port"),
        ),
        codec=virtual.CODEC,
    ),
    _screen(
        net.INTERFACE_KIND,
        "Interfaces",
        "Interface",
        "enabled description",
        Section(GENERAL, ("description", "enabled")),
    ),
    _screen(
        net.VLAN_KIND,
        "VLANs",
        "VLAN",
        "tag interfaces mtu",
        Section(GENERAL, ("description", "tag")),
        Section("Resources", ("interfaces",)),
        Section("Configuration", ("mtu",)),
    ),
    _screen(
        net.SELF_KIND,
        "Self IPs",
        "Self IP",
        "address vlan traffic-group",
        Section("Configuration", ("description", "address", "vlan", "allow-service", "traffic-group")),
    ),
    _screen(
        net.ROUTE_KIND,
        "Routes",
        "Route",
        "network gw interface blackhole",
        Section("Properties", ("description", "network", "gw", "interface", "blackhole", "mtu")),
    ),
    _screen(
        net.ROUTE_DOMAIN_KIND,
        "Route Domains",
        "Route Domain",
        "id vlans description",
        Section(GENERAL, ("id", "description")),
        Section("Configuration", ("strict", "vlans")),
    ),
    _screen(
        net_ipsec.IPSEC_POLICY_KIND,
        "IPsec Policies",
        "Policy",
        "protocol mode tunnel-local-address tunnel-remote-address description",
        Section(GENERAL, ("description",)),
        Section(
            "Configuration",
            ("protocol", "mode", "tunnel-local-address", "tunnel-remote-address"),
            ("udp-encapsulation", "udp-port", "nat-keep-alive", "bundle-ah"),
        ),
        Section(
            "IKE Phase 2",
            (
                *("ike-phase2-auth-algorithm", "ike-phase2-encrypt-algorithm", "ike-phase2-perfect-forward-secrecy"),
                *("ipcomp", "ipcomp-cpi", "ike-phase2-lifetime"),
            ),
            ("ike-phase2-lifetime-kilobytes",),
        ),
        Section(
            "Outer Header and Size",
            (),
            ("df-bit", "dscp", "ecn", "hop-limit", "flow-label", "fragmentation", "tcp-mss"),
        ),
    ),
    _screen(
        net_ipsec.MANUAL_SA_KIND,
        "Manual Security Associations",
        "Security Association",
        "spi source-address destination-address protocol encrypt-algorithm ipsec-policy",
        Section(GENERAL, ("description",)),
        Section(
            "Configuration",
            (
                *("spi", "source-address", "destination-address", "protocol", "auth-algorithm", "auth-key"),
                *("encrypt-algorithm", "encrypt-key", "ipsec-policy"),
            ),
        ),
        Section("Life of the Key", ()),
    ),
    _screen(
        net_ipsec.TRAFFIC_SELECTOR_KIND,
        "Traffic Selectors",
        "Traffic Selector",
        "order direction source-address destination-address ip-protocol ipsec-policy",
        Section(GENERAL, ("description",)),
        Section(
            "Configuration",
            (
                *("source-address", "source-port", "destination-address", "destination-port", "ip-protocol"),
                *("icmp-type", "icmp-code", "direction", "ipsec-policy"),
            ),
            ("order", "action"),
        ),
    ),
    _screen(
        net_ipsec.IKE_DAEMON_KIND,
        "IKE Daemon",
        "IKE Daemon",
        "log-level log-publisher",
        Section(
            "Configuration", ("log-level", "log-publisher"), ("isakmp-port", "isakmp-natt-port", "natt-keep-alive")
        ),
    ),
    _screen(
        auth.USER_KIND,
        "Users",
        "User",
        "partition-access shell description",
        Section("Account Properties", ("description", "password", "partition-access", "shell")),
    ),
    _screen(
        auth.PARTITION_KIND,
        "Partitions",
        "Partition",
        "default-route-domain description",
        Section("Properties", ("description", "default-route-domain")),
    ),
    _screen(
        sys.PUBLISHER_KIND,
        "Log Publishers",
        "Log Publisher",
        "destinations description",
        Section(GENERAL, ("description",)),
        Section("Log Destinations", ("destinations",)),
    ),
)
SCREENS: Mapping[Path, Screen] = {own.kind.path: own for own in _ALL}


def screen_of(kind: Kind) -> Screen:
    """The screen of a kind; one made of the model alone where none is written here."""
    if kind.path in SCREENS:
        return SCREENS[kind.path]
    title = kind.title[:1].upper() + kind.title[1:]
    columns = tuple(own.word for own in kind.fields)[:4]
    several = f"{title}es" if title.endswith("s") else f"{title}s"
    return Screen(kind, several, title, columns, (Section("Properties", tuple(own.word for own in kind.fields)),))


def may_make(kind: Kind) -> bool:
    """Whether objects of a kind come and go by hand."""
    return not (kind.fixed or kind.implicit or kind.derived or kind.naming is Naming.SINGLE)

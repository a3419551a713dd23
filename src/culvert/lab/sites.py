"""The two systems as a network engineer types them: the manual-key procedure, line by line.

Every line is a tmsh command. The names follow the procedure: two policies, two manual security associations and two
traffic selectors for each system, and the same again for IPv6.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from culvert.lab.keys import Keys

MASK = "********"


@dataclass(frozen=True, slots=True)
class Line:
    """One command line. `secrets` are the parts that nobody may see."""

    text: str = field(repr=False)
    secrets: tuple[str, ...] = field(default=(), repr=False)

    @property
    def shown(self) -> str:
        text = self.text
        for secret in self.secrets:
            text = text.replace(secret, MASK)
        return text

    @property
    def by_stdin(self) -> bool:
        """Quoted text would not survive a shell as it stands, and a key has no place in a process list."""
        return bool(self.secrets) or '"' in self.text


@dataclass(frozen=True, slots=True)
class Family:
    """One address family of one system: where its tunnel starts and ends and which networks it joins."""

    suffix: str
    tunnel_local: str
    tunnel_remote: str
    network_local: str
    network_remote: str
    external_self: str
    internal_self: str
    default_name: str
    default_network: str
    default_gateway: str
    virtual_destination: str
    virtual_mask: str
    association_out: str
    association_in: str


@dataclass(frozen=True, slots=True)
class Site:
    hostname: str
    families: tuple[Family, ...]


def _ipv4(*, own: int, peer: int, out: str, inbound: str) -> Family:
    local, remote = f"{own + 1}.{own + 1}.{own + 1}", f"{peer + 1}.{peer + 1}.{peer + 1}"
    return Family(
        suffix="", tunnel_local=f"{local}.{own + 1}", tunnel_remote=f"{remote}.{peer + 1}",
        network_local=f"10.{own}.0.0/24", network_remote=f"10.{peer}.0.0/24",
        external_self=f"{local}.{own + 1}/24", internal_self=f"10.{own}.0.1/24",
        default_name="default-gateway", default_network="default", default_gateway=f"{local}.1",
        virtual_destination="0.0.0.0:any", virtual_mask="any", association_out=out, association_in=inbound,
    )


def _ipv6(*, own: int, peer: int, out: str, inbound: str) -> Family:
    local, remote = f"2001:db8:{own + 1}::", f"2001:db8:{peer + 1}::"
    return Family(
        suffix="-v6", tunnel_local=f"{local}{own + 1}", tunnel_remote=f"{remote}{peer + 1}",
        network_local=f"fd00:{own}::/64", network_remote=f"fd00:{peer}::/64",
        external_self=f"{local}{own + 1}/64", internal_self=f"fd00:{own}::1/64",
        default_name="default-gateway-v6", default_network="default-inet6", default_gateway=f"{local}1",
        virtual_destination="::.any", virtual_mask="any6", association_out=out, association_in=inbound,
    )


SITES = {
    "a": Site("culvert-a.lab", (
        _ipv4(own=1, peer=2, out="a-to-b", inbound="b-to-a"),
        _ipv6(own=1, peer=2, out="a-to-b-v6", inbound="b-to-a-v6"),
    )),
    "b": Site("culvert-b.lab", (
        _ipv4(own=2, peer=1, out="b-to-a", inbound="a-to-b"),
        _ipv6(own=2, peer=1, out="b-to-a-v6", inbound="a-to-b-v6"),
    )),
}


def lines(site: Site, keys: Mapping[str, Keys]) -> Iterator[Line]:
    """Everything that one system is told, in the order of the procedure."""
    yield Line(f"modify sys global-settings hostname {site.hostname}")
    yield from _vlans()
    for family in site.families:
        yield from _addresses(family)
    for family in site.families:
        yield _virtual(family)
    for family in site.families:
        yield from _policies(family)
        yield from _associations(family, keys)
        yield from _selectors(family)


def _vlans() -> Iterator[Line]:
    yield Line("create net vlan external { interfaces add { wan0 { untagged } } }")
    yield Line("create net vlan internal { interfaces add { lan0 { untagged } } }")


def _addresses(family: Family) -> Iterator[Line]:
    for vlan, address in (("external", family.external_self), ("internal", family.internal_self)):
        yield Line(f"create net self {vlan}-self{family.suffix} address {address} vlan {vlan} allow-service default")
    yield Line(f"create net route {family.default_name} network {family.default_network} gw {family.default_gateway}")


def _virtual(family: Family) -> Line:
    return Line(
        f"create ltm virtual forward-all{family.suffix} destination {family.virtual_destination} "
        f"mask {family.virtual_mask} ip-forward ip-protocol any profiles add {{ fastL4 }}"
    )


def _policies(family: Family) -> Iterator[Line]:
    # For the inbound policy the roles are swapped: "local" is the system that starts the traffic.
    for name, local, remote in (
        ("policy-out", family.tunnel_local, family.tunnel_remote),
        ("policy-in", family.tunnel_remote, family.tunnel_local),
    ):
        yield Line(
            f"create net ipsec ipsec-policy {name}{family.suffix} protocol esp mode tunnel "
            f"tunnel-local-address {local} tunnel-remote-address {remote} "
            "ike-phase2-perfect-forward-secrecy none ipcomp none ike-phase2-lifetime 1440"
        )


def _associations(family: Family, keys: Mapping[str, Keys]) -> Iterator[Line]:
    length = "128" if ":" in family.tunnel_local else "32"
    for name, policy, association, source, destination in (
        ("sa-out", "policy-out", family.association_out, family.tunnel_local, family.tunnel_remote),
        ("sa-in", "policy-in", family.association_in, family.tunnel_remote, family.tunnel_local),
    ):
        key = keys[association]
        yield Line(
            f"create net ipsec manual-security-association {name}{family.suffix} "
            f'description "{association}" spi {key.spi} source-address {source} '
            f'destination-address {destination}/{length} auth-key "{key.auth_key}" encrypt-algorithm aes128 '
            f'encrypt-key "{key.encrypt_key}" ipsec-policy {policy}{family.suffix}',
            (key.auth_key, key.encrypt_key),
        )


def _selectors(family: Family) -> Iterator[Line]:
    for direction, source, destination in (
        ("out", family.network_local, family.network_remote),
        ("in", family.network_remote, family.network_local),
    ):
        yield Line(
            f"create net ipsec traffic-selector selector-{direction}{family.suffix} "
            f'description "{source} to {destination}" source-address {source} source-port any '
            f"destination-address {destination} destination-port any ip-protocol any direction {direction} "
            f"ipsec-policy policy-{direction}{family.suffix}"
        )

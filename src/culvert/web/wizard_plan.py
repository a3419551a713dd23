"""What a tunnel is made of: the objects of one system, the mirror image of them, and both as tmsh commands."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from ipaddress import ip_network
from typing import Any

from culvert.model import ltm, net_ipsec
from culvert.model.fields import NONE
from culvert.model.kind import Kind
from culvert.model.names import folder_of
from culvert.model.suites import Suite
from culvert.model.tokens import quote
from culvert.model.values import IPNetwork, parse_interface
from culvert.web import virtual
from culvert.web.wizard_keys import Keys

Raw = Any
OUT, IN = "out", "in"
SIDES = (OUT, IN)
WILDCARDS: Mapping[int, tuple[str, str, str]] = {
    4: ("forward", "0.0.0.0:any", "any"),
    6: ("forward6", "::.any", "any6"),
}
"""By IP version: the last part of a virtual server's name, its destination and its mask."""


@dataclass(frozen=True, slots=True)
class Wish:
    """A tunnel as one system sees it. `name`: the full path that the names of its objects begin with."""

    name: str
    local: str
    remote: str
    local_networks: tuple[str, ...]
    remote_networks: tuple[str, ...]
    suite: Suite
    spi_out: int
    spi_in: int
    in_udp: bool = False
    ipcomp: str = NONE

    def of(self, kind: str) -> str:
        """The name of one of its objects."""
        return f"{self.name}_{kind}"

    def ends(self, side: str) -> tuple[str, str]:
        """Where packets of a direction come from, and where they go."""
        return (self.local, self.remote) if side == OUT else (self.remote, self.local)

    def spi(self, side: str) -> int:
        return self.spi_out if side == OUT else self.spi_in

    def pairs(self, side: str) -> list[tuple[str, str]]:
        """Every network of one site with every one of the other, if they are of one family."""
        first, second = self.local_networks, self.remote_networks
        found = [(own, other) for own in first for other in second if version(own) == version(other)]
        return found if side == OUT else [(other, own) for own, other in found]

    def mirrored(self) -> "Wish":
        """The same tunnel as the peer sees it. Route domains are this system's own affair."""
        return replace(
            self,
            name=f"/Common/{self.name.rpartition('/')[2]}",
            local=bare(self.remote),
            remote=bare(self.local),
            local_networks=tuple(map(bare, self.remote_networks)),
            remote_networks=tuple(map(bare, self.local_networks)),
            spi_out=self.spi_in,
            spi_in=self.spi_out,
        )


@dataclass(frozen=True, slots=True)
class Part:
    """One object of a tunnel. `about` says in words what it is for; `keys` stands apart, so that nobody prints it."""

    kind: Kind
    name: str
    properties: Mapping[str, Raw]
    about: str
    keys: Keys | None = None

    def operation(self, verb: str = "create") -> dict[str, Raw]:
        """What culvertd is asked for."""
        properties = {**self.properties, **(self.keys.properties() if self.keys else {})}
        return {
            "verb": verb,
            "kind": self.kind.word,
            "names": [self.name],
            "folder": folder_of(self.name),
            "properties": properties,
        }

    def command(self, verb: str = "create") -> str:
        """The same as somebody types it into tmsh in /Common."""
        properties = {**self.properties, **(self.keys.properties() if self.keys else {})}
        words = [word if value is True else f"{word} {quote(str(value))}" for word, value in properties.items()]
        return f"{verb} {self.kind.word} {quote(self.name.removeprefix('/Common/'))} {{ {' '.join(words)} }}"


def parts(wish: Wish, keys: Mapping[str, Keys]) -> list[Part]:
    """Policies, associations and selectors, in the order of the procedure."""
    made = [_policy(wish, side) for side in SIDES]
    made += [_association(wish, side, keys.get(side)) for side in SIDES]
    return made + [each for side in SIDES for each in _selectors(wish, side)]


def _policy(wish: Wish, side: str) -> Part:
    source, destination = wish.ends(side)
    properties: dict[str, Raw] = {
        "description": f"{source} to {destination}",
        "protocol": "esp",
        "mode": "tunnel",
        "tunnel-local-address": source,
        "tunnel-remote-address": destination,
    }
    if wish.in_udp:
        properties["udp-encapsulation"] = "enabled"
    if wish.ipcomp != NONE:
        properties["ipcomp"] = wish.ipcomp
    about = f"{'Outbound' if side == OUT else 'Inbound'}: ESP, tunnel mode, {source} to {destination}"
    return Part(net_ipsec.IPSEC_POLICY_KIND, wish.of(side), properties, about)


def _association(wish: Wish, side: str, keys: Keys | None) -> Part:
    source, destination = wish.ends(side)
    properties = {
        "description": f"{source} to {destination}",
        "spi": str(wish.spi(side)),
        "source-address": source,
        "destination-address": destination,
        "auth-algorithm": wish.suite.auth,
        "encrypt-algorithm": wish.suite.encrypt,
        "ipsec-policy": _here(wish, wish.of(side)),
    }
    about = f"SPI {wish.spi(side)}, {wish.suite.title}, {source} to {destination}"
    return Part(net_ipsec.MANUAL_SA_KIND, wish.of(side), properties, about, keys)


def _selectors(wish: Wish, side: str) -> Iterator[Part]:
    for number, (source, destination) in enumerate(wish.pairs(side), 1):
        properties = {
            "description": f"{source} to {destination}",
            "source-address": source,
            "destination-address": destination,
            "direction": side,
            "ipsec-policy": _here(wish, wish.of(side)),
        }
        about = f"{'Out' if side == OUT else 'In'}: {source} to {destination}"
        yield Part(net_ipsec.TRAFFIC_SELECTOR_KIND, wish.of(f"{side}_{number}"), properties, about)


def _here(wish: Wish, name: str) -> str:
    """A name as the commands have it: they are typed in /Common."""
    return name.removeprefix("/Common/")


def forwarders(wish: Wish, versions: Sequence[int]) -> list[Part]:
    """Forwarding virtual servers for everything of these IP versions."""
    made = []
    for each in versions:
        word, destination, mask = WILDCARDS[each]
        properties = {"destination": destination, "mask": mask, "ip-forward": True, "ip-protocol": "any"}
        about = f"Forwarding (IP), all of IPv{each}, all ports, all protocols, all VLANs and tunnels"
        made.append(Part(ltm.VIRTUAL_KIND, wish.of(word), properties, about))
    return made


def versions(wish: Wish) -> list[int]:
    """The IP versions of the traffic."""
    return sorted({version(source) for source, _ in wish.pairs(OUT)})


def uncovered(wish: Wish, virtuals: Sequence[Mapping[str, Raw]]) -> list[int]:
    """The IP versions of which no virtual server by itself forwards all the traffic, both ways."""
    accepting = [found for found in map(_accepted, virtuals) if found is not None]
    pairs = [(_network(source), _network(to)) for side in SIDES for source, to in wish.pairs(side)]
    return sorted(
        {
            source.version
            for source, to in pairs
            if not any(_within(source, own[0]) and _within(to, own[1]) for own in accepting)
        }
    )


def _accepted(properties: Mapping[str, Raw]) -> tuple[IPNetwork, IPNetwork] | None:
    """From where to where a virtual server forwards everything; None for one that asks for more than addresses."""
    shown = virtual.show(properties)
    everything = shown[virtual.PORT] == "any" and shown.get("ip-protocol") == "any"
    if not (everything and shown[virtual.TRAFFIC] == virtual.EVERYWHERE and shown.get("enabled", True)):
        return None
    destination = _network(str(shown[virtual.NETWORK]))
    source = _network(str(shown.get("source") or "0.0.0.0/0"))
    if source.version != destination.version and not source.prefixlen:
        source = ip_network("::/0" if destination.version == 6 else "0.0.0.0/0")
    return source, destination


def _within(inner: IPNetwork, outer: IPNetwork) -> bool:
    return inner.version == outer.version and inner.subnet_of(outer)  # type: ignore[arg-type]


def _network(text: str) -> IPNetwork:
    return parse_interface({"any/0": "0.0.0.0/0", "any6/0": "::/0"}.get(text, text)).network


def version(network: str) -> int:
    """4 or 6."""
    return _network(network).version


def bare(text: str) -> str:
    """An address or network without its route domain."""
    address, slash, prefix = text.partition("/")
    return f"{address.partition('%')[0]}{slash}{prefix}"

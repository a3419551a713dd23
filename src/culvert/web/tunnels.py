"""Tunnels as they are configured: which ends, which policies, selectors and SAs belong together, seen from here."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from culvert.model import net_ipsec
from culvert.model.fields import NONE

Record = Mapping[str, Any]
POLICY, SELECTOR, ASSOCIATION = (" ".join(own) for own in (net_ipsec.POLICY, net_ipsec.SELECTOR, net_ipsec.MANUAL_SA))
OUT, IN, BOTH = "out", "in", "both"
NOWHERE = frozenset({"any", "any6", NONE, ""})
ANY_PROTOCOL = "255"


@dataclass(frozen=True, slots=True)
class Selector:
    """What goes into a tunnel, or is expected out of it. `near` and `far`: the networks on this side and the other."""

    name: str
    policy: str
    near: str
    far: str
    what: str


@dataclass(frozen=True, slots=True)
class Association:
    """A manual SA as it is configured."""

    name: str
    policy: str
    spi: str


@dataclass(slots=True)
class Way:
    """One direction of a tunnel."""

    direction: str
    policies: list[str] = field(default_factory=list)
    selectors: list[Selector] = field(default_factory=list)
    associations: list[Association] = field(default_factory=list)

    @property
    def names(self) -> Iterator[tuple[str, str]]:
        """Everything that it is made of, as kind and name."""
        yield from ((POLICY, name) for name in self.policies)
        yield from ((SELECTOR, own.name) for own in self.selectors)
        yield from ((ASSOCIATION, own.name) for own in self.associations)

    @property
    def is_there(self) -> bool:
        return bool(self.policies)


@dataclass(slots=True)
class Tunnel:
    """What runs between one address here and one of a peer."""

    near: str
    far: str
    out: Way = field(default_factory=lambda: Way(OUT))
    back: Way = field(default_factory=lambda: Way(IN))

    @property
    def ways(self) -> tuple[Way, Way]:
        return self.out, self.back

    @property
    def near_networks(self) -> list[str]:
        return list(dict.fromkeys(own.near for way in self.ways for own in way.selectors))

    @property
    def far_networks(self) -> list[str]:
        return list(dict.fromkeys(own.far for way in self.ways for own in way.selectors))

    def speaks_of(self, text: str) -> bool:
        """Whether a text to search for is in an address, a name or an SPI of it."""
        words = [self.near, self.far, *(name for way in self.ways for _, name in way.names)]
        words += [word for way in self.ways for own in way.selectors for word in (own.near, own.far)]
        words += [own.spi for way in self.ways for own in way.associations]
        return any(text in word.casefold() for word in words)


def tunnels(
    policies: Iterable[Record], selectors: Iterable[Record], associations: Iterable[Record], own: frozenset[str]
) -> list[Tunnel]:
    """The tunnels that objects of these kinds make, as `list` gives them. `own`: the addresses of this system."""
    protecting: dict[str, list[Record]] = {}
    for each in selectors:
        if each["properties"]["action"] == "protect":
            protecting.setdefault(each["properties"]["ipsec-policy"], []).append(each)
    keyed: dict[str, list[Record]] = {}
    for each in associations:
        keyed.setdefault(each["properties"]["ipsec-policy"], []).append(each)
    found: dict[tuple[str, str], Tunnel] = {}
    for policy in policies:
        name = policy["name"]
        _lay(found, policy, protecting.get(name, []), keyed.get(name, []), own)
    return sorted(found.values(), key=lambda each: (_order(each.far), _order(each.near)))


def _lay(
    found: dict[tuple[str, str], Tunnel],
    policy: Record,
    selectors: Sequence[Record],
    associations: Sequence[Record],
    own: frozenset[str],
) -> None:
    """Put one policy, with what names it, into the tunnels that it is of."""
    if policy["properties"]["mode"] == "interface":
        return
    for source, destination in _ends(policy, selectors, associations):
        for direction in _directions(selectors, source, destination, own):
            # A selector of both directions has one policy, whose addresses are those of the way out.
            turned = direction == IN and not any(each["properties"]["direction"] == BOTH for each in selectors)
            near, far = (destination, source) if turned else (source, destination)
            tunnel = found.setdefault((near, far), Tunnel(near, far))
            way = tunnel.out if direction == OUT else tunnel.back
            way.policies.append(policy["name"])
            way.selectors += [
                _selector(each, direction) for each in selectors if each["properties"]["direction"] in (direction, BOTH)
            ]
            way.associations += [_association(each) for each in associations if _goes(each, (near, far), direction)]


def _ends(policy: Record, selectors: Sequence[Record], associations: Sequence[Record]) -> Iterable[tuple[str, str]]:
    """Between which addresses a policy's packets go: its own, those of its SAs, or those that its selectors name."""
    source, destination = (policy["properties"][f"tunnel-{end}-address"] for end in ("local", "remote"))
    if policy["properties"]["mode"] == "tunnel" and source not in NOWHERE and destination not in NOWHERE:
        return [(source, destination)]
    named = associations or selectors
    return dict.fromkeys(
        (each["properties"]["source-address"], each["properties"]["destination-address"]) for each in named
    )


def _directions(selectors: Sequence[Record], source: str, destination: str, own: frozenset[str]) -> list[str]:
    """The selectors say it; without any, the end that is here does."""
    said = {each["properties"]["direction"] for each in selectors}
    if said:
        return [way for way in (OUT, IN) if way in said or BOTH in said]
    return [IN] if destination in own and source not in own else [OUT]


def _selector(own: Record, direction: str) -> Selector:
    words = own["properties"]
    source, destination = words["source-address"], words["destination-address"]
    turned = direction == IN and words["direction"] == IN
    near, far = (destination, source) if turned else (source, destination)
    return Selector(own["name"], words["ipsec-policy"], near, far, _what(words))


def _what(words: Mapping[str, str]) -> str:
    """What a selector narrows beside the addresses."""
    told = [] if words["ip-protocol"] == ANY_PROTOCOL else [f"protocol {words['ip-protocol']}"]
    told += [f"{end} port {words[f'{end}-port']}" for end in ("source", "destination") if words[f"{end}-port"] != "any"]
    return ", ".join(told)


def _association(own: Record) -> Association:
    return Association(own["name"], own["properties"]["ipsec-policy"], own["properties"]["spi"])


def _goes(association: Record, ends: tuple[str, str], direction: str) -> bool:
    """Whether an SA is of this way, where its policy serves several."""
    source = association["properties"]["source-address"]
    return source == ends[direction == IN] or source not in ends


def _order(address: str) -> tuple[bool, list[int], str]:
    """IPv4 by its numbers, then everything else."""
    parts = address.partition("%")[0].partition("/")[0].split(".")
    numbers = [int(part) for part in parts] if all(part.isdigit() for part in parts) else []
    return (not numbers, numbers, address)

"""Values that are more than text: addresses with a route domain, prefixes, virtual destinations, keys."""

import re
from dataclasses import dataclass, field
from functools import lru_cache
from ipaddress import (
    IPv4Address,
    IPv4Interface,
    IPv4Network,
    IPv6Address,
    IPv6Interface,
    IPv6Network,
)

from culvert.ipsec.secret import Secret
from culvert.model.problems import BadValue

IPAddress = IPv4Address | IPv6Address
IPNetwork = IPv4Network | IPv6Network
IPInterface = IPv4Interface | IPv6Interface

ROUTE_DOMAIN_MAX = 65534
ANY_WORDS: dict[str, IPAddress] = {"any": IPv4Address(0), "any6": IPv6Address(0)}


_HEXADECIMAL = re.compile(rb"0[xX]((?:[0-9a-fA-F]{2})+)")
PARSED_KEPT = 16384
"""Addresses that are not parsed again: in a configuration of many tunnels each stands in several objects."""


@dataclass(frozen=True, slots=True)
class Address:
    """`n.n.n.n%ID`; `any` and `any6` stand for the unspecified addresses."""

    ip: IPAddress
    route_domain: int = 0

    @property
    def unspecified(self) -> bool:
        return self.ip.is_unspecified

    def __str__(self) -> str:
        word = {4: "any", 6: "any6"}[self.ip.version] if self.unspecified else str(self.ip)
        return word + _suffix(self.route_domain)


@dataclass(frozen=True, slots=True)
class Interface:
    """An address with a prefix length that keeps its host bits: `10.1.0.1%2/24`."""

    interface: IPInterface
    route_domain: int = 0
    address: Address = field(init=False, repr=False, compare=False)
    """Made once: rules and indexes ask for it again and again."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "address", Address(self.interface.ip, self.route_domain))

    @property
    def network(self) -> IPNetwork:
        return self.interface.network

    def __str__(self) -> str:
        return f"{self.interface.ip}{_suffix(self.route_domain)}/{self.interface.network.prefixlen}"


@dataclass(frozen=True, slots=True)
class Destination:
    """Where a virtual server listens: an address in a folder, and a port (0 is any)."""

    folder: str
    address: Address
    port: int

    def __str__(self) -> str:
        separator = ":" if self.address.ip.version == 4 else "."
        word = f"{self.address.ip}{_suffix(self.address.route_domain)}"
        return f"{self.folder}/{word}{separator}{self.port}"


@dataclass(frozen=True, slots=True)
class KeyText:
    """Key text as typed (kept secret) and as it may be shown (sealed under the master key)."""

    secret: Secret
    sealed: str
    _digits: Secret | None = field(init=False, repr=False, compare=False)
    """What the text means if it is 0x and hexadecimal digits."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "_digits", _digits(self.secret.reveal()))

    def octets(self, length: int) -> Secret | None:
        """The key of so many octets that the text means, by the rules of setkey(8); None where it means none."""
        if len(self.secret) == length:
            return self.secret
        return self._digits if self._digits is not None and len(self._digits) == length else None

    def __eq__(self, other: object) -> bool:
        # The same key sealed twice gives two texts; it is still the same key.
        return isinstance(other, KeyText) and self.secret == other.secret

    def __hash__(self) -> int:
        return hash(self.secret)

    def __repr__(self) -> str:
        return "KeyText(...)"


def _digits(text: bytes) -> Secret | None:
    found = _HEXADECIMAL.fullmatch(text)
    return Secret(bytes.fromhex(found[1].decode("ascii"))) if found else None


@lru_cache(PARSED_KEPT)
def parse_address(text: str, *, any_allowed: bool) -> Address:
    """`text` as an Address; raises BadValue."""
    bare, route_domain = _split_route_domain(text)
    if bare in ANY_WORDS:
        if not any_allowed:
            raise BadValue(f'"{text}" is not an address of one system')
        return Address(ANY_WORDS[bare], route_domain)
    try:
        ip: IPAddress = IPv6Address(bare) if ":" in bare else IPv4Address(bare)
    except ValueError:
        raise BadValue(f'"{text}" is not an IPv4 or IPv6 address (n.n.n.n or n.n.n.n%ID)') from None
    if isinstance(ip, IPv6Address) and ip.scope_id:
        raise BadValue(f'"{text}" has an IPv6 zone, which is not allowed')
    return Address(ip, route_domain)


@lru_cache(PARSED_KEPT)
def parse_interface(text: str) -> Interface:
    """`text` as address[%ID][/prefix]; a missing prefix is that of one host. Raises BadValue."""
    head, slash, prefix = text.partition("/")
    address = parse_address(head, any_allowed=True)
    width = address.ip.max_prefixlen
    if slash and not 0 <= parse_number(prefix) <= width:
        raise BadValue(f'"{text}": the prefix length must be a number from 0 to {width}')
    family = IPv4Interface if width == 32 else IPv6Interface
    return Interface(family((int(address.ip), int(prefix) if slash else width)), address.route_domain)


@lru_cache(PARSED_KEPT)
def parse_network(text: str) -> Interface:
    """As `parse_interface`, the host bits cut off. Raises BadValue."""
    parsed = parse_interface(text)
    first = parsed.network.network_address
    if parsed.address.ip == first:
        return parsed
    kept = parse_interface(f"{first}/{parsed.network.prefixlen}")
    return Interface(kept.interface, parsed.route_domain)


def parse_number(text: str) -> int:
    """`text` as a number of at most ten decimal digits; -1 when it is none. Never raises."""
    return int(text) if text.isascii() and text.isdigit() and len(text) <= 10 else -1


def _split_route_domain(text: str) -> tuple[str, int]:
    bare, percent, number = text.partition("%")
    if not percent:
        return bare, 0
    if not 0 <= parse_number(number) <= ROUTE_DOMAIN_MAX:
        raise BadValue(f'"{text}": the route domain after % must be a number from 0 to {ROUTE_DOMAIN_MAX}')
    return bare, int(number)


def _suffix(route_domain: int) -> str:
    return f"%{route_domain}" if route_domain else ""

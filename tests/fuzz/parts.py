"""Parts that the targets share: keys, addresses, and octets made into packets whose length fields are right."""

import random as seeded
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

from culvert.ipsec import ip
from culvert.ipsec.algorithms import NONE, auth_row, cipher_row
from culvert.ipsec.sa import Direction, SecurityAssociation
from culvert.ipsec.secret import Secret

NOW = 1_700_000_000.0
NEAR = {4: ip_address("192.0.2.1"), 6: ip_address("2001:db8::1")}
FAR = {4: ip_address("192.0.2.2"), 6: ip_address("2001:db8::2")}


def key_of(octets: int, first: int) -> Secret:
    return Secret(bytes((first + at) & 0xFF for at in range(octets)))


def make_sa(direction: Direction, *, outer: int = 4, to_near: bool = False, **settings: object) -> SecurityAssociation:
    """An SA from far to near or the other way round; the same settings give the same keys."""
    auth, cipher = str(settings.setdefault("auth", "sha1")), str(settings.setdefault("cipher", "aes128"))
    ends = (FAR, NEAR) if to_near else (NEAR, FAR)
    fields = {
        "spi": 0x1001 if to_near else 0x1002,
        "source": ends[0][outer],
        "destination": ends[1][outer],
        "auth_key": key_of(auth_row(auth).key_octets if auth != NONE else 0, 0x40),
        "cipher_key": key_of(cipher_row(cipher).key_octets, 0x80),
        "reqid": 7,
    }
    return SecurityAssociation(direction=direction, **(fields | settings))  # type: ignore[arg-type]


def dice(seed: int = 1) -> "seeded.Random.randbytes":  # type: ignore[name-defined]
    """Octets that look random and are the same in every run."""
    return seeded.Random(seed).randbytes


def stretched(octets: bytes, size: int) -> bytes:
    """At least `size` octets: what a short input says about a large packet. Sizes in between are only slow."""
    size = size if size >= 0xF000 else size & 0x7FF
    return octets + (octets[-1:] or b"\0") * (size - len(octets))


def with_true_length(packet: bytes) -> bytes:
    """The packet, saying how long it is, as far as its length field can."""
    if len(packet) < ip.IPV4_HEADER_OCTETS:
        return packet
    if packet[0] >> 4 == 4:
        return packet[:2] + min(len(packet), 0xFFFF).to_bytes(2) + packet[4:]
    if packet[0] >> 4 == 6 and len(packet) >= ip.IPV6_HEADER_OCTETS:
        return packet[:4] + min(len(packet) - ip.IPV6_HEADER_OCTETS, 0xFFFF).to_bytes(2) + packet[6:]
    return packet


def with_addresses(packet: bytes, source: bytes, destination: bytes) -> bytes:
    """The packet between these two, if it is of their family and has a header."""
    both = source + destination
    at, version = (12, 4) if len(source) == 4 else (8, 6)
    if len(packet) < at + len(both) or packet[0] >> 4 != version:
        return packet
    return packet[:at] + both + packet[at + len(both) :]


def sum16(octets: bytes) -> int:
    """The Internet checksum's sum, as a remainder."""
    return int.from_bytes(octets + b"\0" if len(octets) & 1 else octets) % 0xFFFF


def network(address: IPv4Address | IPv6Address, *, host: bool) -> IPv4Network | IPv6Network:
    """Of this address alone, or of every one of its family."""
    if host:
        return ip_network(address)
    return ip_network("0.0.0.0/0" if address.version == 4 else "::/0")

"""A packet out of words: addresses, protocol, ports and size, as people ask `explain` about one."""

import contextlib
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address

from culvert.model.services import PROTOCOLS, SERVICES

IPAddress = IPv4Address | IPv6Address
TCP, UDP, ICMP, ICMPV6 = 6, 17, 1, 58
HOPS = 64
OCTETS_MAX = 65535


class BadPacket(ValueError):
    """Words that make no packet. `word`: which of PacketWords it is, with - for _; "" when it is several of them."""

    def __init__(self, word: str, sentence: str) -> None:
        super().__init__(sentence)
        self.word = word


@dataclass(frozen=True, slots=True)
class PacketWords:
    """What a packet is asked to be. Ports, types and codes are names or numbers; "" for `kind`: an echo request.

    `kind` and `code` are those of ICMP. `df`: the packet may not be cut (RFC 791 section 3.1).
    """

    source: str
    destination: str
    protocol: str = "tcp"
    port: str = "0"
    from_port: str = "40000"
    kind: str = ""
    code: str = "0"
    size: str = "100"
    df: bool = False


def built(words: PacketWords) -> bytes:
    """The packet; its checksums are zero, since nobody looks at them. Raises BadPacket."""
    source, destination = _address("from", words.source), _address("to", words.destination)
    if source.version != destination.version:
        raise BadPacket("", f"{source} and {destination} are of different families")
    names = {**PROTOCOLS, "icmp": ICMP if source.version == 4 else ICMPV6}
    protocol = _number("protocol", words.protocol, names, 255)
    upper = _upper(protocol, words)
    header = 20 if source.version == 4 else 40
    size = _size(words.size, header + len(upper))
    payload = upper.ljust(size - header, b"\0")
    if source.version == 6:
        head = struct.pack("!IHBB", 6 << 28, len(payload), protocol, HOPS)
        return b"".join((head, source.packed, destination.packed, payload))
    flags = 0x4000 if words.df else 0
    head = struct.pack("!BBHHHBBH", 0x45, 0, size, 1, flags, HOPS, protocol, 0)
    return b"".join((head, source.packed, destination.packed, payload))


def _address(word: str, text: str) -> IPAddress:
    with contextlib.suppress(ValueError):
        found = ip_address(text)
        if not getattr(found, "scope_id", None):
            return found
    raise BadPacket(
        word, f"{text} is not allowed; allowed: an IPv4 or IPv6 address" if text else "an address is needed"
    )


def _upper(protocol: int, words: PacketWords) -> bytes:
    if protocol in (ICMP, ICMPV6):
        echo = 8 if protocol == ICMP else 128
        kind = _number("type", words.kind, {}, 255) if words.kind else echo
        return struct.pack("!BBHI", kind, _number("code", words.code, {}, 255), 0, 0)
    if protocol not in (TCP, UDP):
        return b""
    port = _number("port", words.port, SERVICES, 65535)
    other = _number("from-port", words.from_port, SERVICES, 65535)
    if protocol == TCP:
        return struct.pack("!HHIIBBHHH", other, port, 0, 0, 0x50, 0x02, 65535, 0, 0)
    return struct.pack("!HHHH", other, port, 8, 0)


def _size(text: str, least: int) -> int:
    if text.isascii() and text.isdigit() and least <= int(text[:9]) <= OCTETS_MAX:
        return int(text)
    raise BadPacket("size", f"{text} is not allowed; allowed: {least} to {OCTETS_MAX}")


def _number(word: str, text: str, names: Mapping[str, int], most: int) -> int:
    with contextlib.suppress(ValueError):
        number = names[text] if text in names else int(text)
        if 0 <= number <= most:
            return number
    a_name = "a name or a number" if names else "a number"
    raise BadPacket(word, f"{text} is not allowed; allowed: {a_name} from 0 to {most}")

"""Clear packets of every sort, about half of them damaged or odd. Headers are made once a play, packets out of them."""

from typing import NamedTuple

from culvert.ipsec import fragment, ip
from tests.engine.chance import Chance
from tests.engine.pairs import AWKWARD_PORTS
from tests.fuzz.parts import FAR, NEAR, with_addresses
from tests.fuzz.scenarios import Scenario
from tests.ipsec.building import INNER, ipv4, ipv6

EXTENSIONS = (
    b"\x00\x05\x02\0\0\x01\0",
    b"\x00\x1e\x04\1\2\3\4",
    b"\x02\x02\x02\0\0\0\0" + bytes(32),
    b"\0\0\0\0\0\0\x07",
)
"""Of IPv6, behind the octet that names what follows: options, a routing header, a fragment header."""
OPTIONS4 = (b"", b"", b"", b"\x94\x04\0\0", b"\x83\x07\x04\1\2\3\4\0", b"\x44\x04\x05\0\1\2\3\4")
PLACES4 = (*(0,) * 9, *(0x4000,) * 5, 0x2000, 0x2001, 0x00B9, 0x1FFF)
PROTOCOLS = (17, 17, 17, 6, 6, 6, 1, 58, 47, 4, 41, 50, 51, 59, 108)
PORTS = (53, 53, 80, 1111, 4500, *AWKWARD_PORTS)
STUBS = 80


class Stub(NamedTuple):
    """Headers without payload; the length field stands at `length_at` and doesn't count `before` octets."""

    octets: bytes
    length_at: int
    before: int


def chained(chance: Chance, protocol: int) -> tuple[int, bytes]:
    """Some extension headers in front of that protocol, and what names the first of them."""
    chain = b""
    for _ in range(chance.pick((0, 0, 0, 0, 0, 0, 1, 1, 2, 3))):
        chain = bytes((protocol,)) + chance.pick(EXTENSIONS) + chain
        protocol = chance.pick((0, 43, 44, 60))
    return protocol, chain


def upper(chance: Chance, protocol: int) -> bytes:
    """What the upper protocol begins with."""
    ports = chance.pick(PORTS).to_bytes(2) + chance.pick(PORTS).to_bytes(2)
    if protocol == 17:
        return ports + chance.octets(4)
    if protocol == 6:
        asks = (b"\2\4\5\xb4", b"\1\1\2\4\2\0\1\0", b"\1\2\4\x23\0\0\0\0", b"\3\3\7\1\2\4\5\xb4", b"\2\3\5\xb4", b"")
        options = chance.pick(asks)
        flags = chance.pick((b"\x02", b"\x12", b"\x10"))
        return ports + bytes(8) + bytes(((20 + len(options)) << 2 & 0xF0,)) + flags + chance.octets(6) + options
    return chance.octets(chance.below(9))


class Clear:
    """The source of clear packets of one play."""

    def __init__(self, chance: Chance, scenario: Scenario) -> None:
        self._chance = chance
        versions = (scenario.outer,) * 9 + (10 - scenario.outer,) if scenario.mode.value == "transport" else (4, 6)
        ends = {version: (NEAR[version], FAR[version]) for version in (4, 6)}
        self._ends = ends if scenario.mode.value == "transport" else INNER
        self._stubs = [self._stub(chance.pick(versions)) for _ in range(STUBS)]

    def _stub(self, version: int) -> Stub:
        chance = self._chance
        protocol = chance.pick(PROTOCOLS)
        traffic_class, hops = chance.pick((0, 0, 1, 2, 3, 184, 255)), chance.pick((64, 64, 64, 64, 64, 1))
        source, destination = self._ends[version]
        if version == 4:
            head = ipv4(
                protocol=protocol, source=source, destination=destination, traffic_class=traffic_class,
                identification=chance.pick((0, 1, 7)), flags=chance.pick(PLACES4), options=chance.pick(OPTIONS4),
                hops=hops,
            )  # fmt: skip
            return Stub(head + upper(chance, protocol), 2, 0)
        first, chain = chained(chance, protocol)
        head = ipv6(protocol=first, source=source, destination=destination, traffic_class=traffic_class, hops=hops)
        return Stub(head + chain + upper(chance, protocol), 4, 40)

    def packet(self) -> bytes:
        """Nothing is wrong with it, as far as its headers go."""
        octets, length_at, before = self._chance.pick(self._stubs)
        payload = self._chance.octets(self._chance.size())
        length = min(len(octets) + len(payload) - before, 0xFFFF).to_bytes(2)
        return octets[:length_at] + length + octets[length_at + 2 :] + payload

    def packets(self) -> list[bytes]:
        """One, good or not; or the fragments of one."""
        packet, chance = self.packet(), self._chance
        if chance.fraction() < 0.6:
            return [packet]
        if chance.once_in(12):
            return in_pieces(chance, packet)
        if chance.once_in(8):
            return [packet[: -len(packet) // 2] + bytes(len(packet) // 2)]
        return [damaged(chance, packet)]


def damaged(chance: Chance, packet: bytes) -> bytes:
    """With something wrong."""
    kind = chance.below(8)
    if kind == 0:
        return packet[: chance.below(len(packet))]
    if kind == 1:
        return packet + chance.octets(chance.below(40))
    if kind == 2:
        return chance.octets(chance.below(80))
    if kind == 3:
        at = 8 if packet[:1] < b"P" else 7
        return packet[:at] + b"\0" + packet[at + 1 :]
    if kind == 4:
        octets = 4 if packet[:1] < b"P" else 16
        return with_addresses(packet, chance.octets(octets), chance.octets(octets))
    return flipped(chance, packet, 64)


def flipped(chance: Chance, packet: bytes, most: int = 0xFFFF) -> bytes:
    """One bit of its first octets is another one."""
    if not packet:
        return packet
    at = chance.below(min(most, len(packet)))
    return packet[:at] + bytes((packet[at] ^ 1 << chance.below(8),)) + packet[at + 1 :]


def in_pieces(chance: Chance, packet: bytes) -> list[bytes]:
    """Fragments: in order or not, some of them twice, lost, or of something else."""
    parsed = ip.parse(packet)
    if parsed is None or parsed.length < 100:
        return [packet]
    mtu = parsed.offset + 48 + chance.below(parsed.length)
    pieces = fragment.split(packet, parsed, max(mtu, len(packet) // 70), chance.below(1 << 32))
    kind = chance.below(8)
    if kind == 0:
        return chance.shuffled([*pieces, chance.pick(pieces)])
    if kind == 1:
        return pieces[1:]
    if kind == 2:
        return [flipped(chance, piece, parsed.offset + 8) for piece in pieces]
    return pieces if kind < 6 else chance.shuffled(pieces)

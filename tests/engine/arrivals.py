"""What becomes of sealed packets on a way on which somebody sits: about half arrive as they are."""

from collections import deque
from collections.abc import Callable

from culvert.ipsec import ip
from culvert.ipsec.sa import Mode
from culvert.ipsec.verdict import Send
from tests.engine.chance import Chance
from tests.engine.clear import flipped, in_pieces
from tests.engine.forger import Forger
from tests.fuzz.parts import FAR, NEAR, with_addresses, with_true_length
from tests.fuzz.scenarios import Scenario
from tests.ipsec.building import end_to_end

SPI, SPI_BACK = 0x1002, 0x1001
"""Of the SAs to the judged gateway and from it, see `parts.make_sa`."""
PAST = 400


class Arrivals:
    """What comes to the receiver of one play."""

    def __init__(self, chance: Chance, scenario: Scenario, forger: Forger) -> None:
        self._chance = chance
        self._forger = forger
        self._version = scenario.outer
        self._protocol = 51 if scenario.bundle else int(scenario.protocol)
        self._is_transport = scenario.mode is Mode.TRANSPORT
        self.past: deque[bytes] = deque([b""], PAST)
        """Some of what was sent."""
        self._ways: tuple[Callable[[bytes], list[bytes]], ...] = (
            self._flipped, self._flipped, self._cut, self._replayed, self._renumbered, self._misnamed,
            self._readdressed, self._marked, self._pieces, self._rewrapped, self._strange,
        )  # fmt: skip

    def of(self, sent: Send) -> list[bytes]:
        chance = self._chance
        if chance.fraction() < 0.6:
            self.past.append(sent.packet)
            return [sent.packet, *sent.rest]
        if chance.once_in(3):
            # The honest one comes too late, or is lost.
            forged = self._forger.packet(sent.record.sequence)
            return [forged] if chance.once_in(2) else [forged, sent.packet, *sent.rest]
        arriving = chance.pick(self._ways)(sent.packet)
        return [*arriving, sent.packet, *sent.rest] if chance.once_in(2) else arriving

    def late(self, number: int) -> list[bytes]:
        """What comes when nothing is sent any more."""
        return [self._chance.pick(self.past), self._forger.packet(number + 1)]

    def _flipped(self, packet: bytes) -> list[bytes]:
        return [flipped(self._chance, packet, self._chance.pick((48, 0xFFFF)))]

    def _cut(self, packet: bytes) -> list[bytes]:
        cut = packet[: self._chance.below(len(packet))]
        return [self._chance.pick((cut, with_true_length(cut), packet + cut[:30]))]

    def _replayed(self, packet: bytes) -> list[bytes]:
        return [self._chance.pick(self.past), packet, packet]

    def _at(self, packet: bytes) -> int:
        """Where the SPI stands."""
        at = len(end_to_end(self._version, b""))
        parsed = ip.parse(packet) if self._is_transport else None
        at = parsed.offset if parsed else at
        return at + (4 if self._protocol == 51 else 8 if packet[at - 1 : at] and self._is_udp(packet) else 0)

    def _is_udp(self, packet: bytes) -> bool:
        return packet[9 if self._version == 4 else 6] == 17

    def _renumbered(self, packet: bytes) -> list[bytes]:
        """Another sequence number, without another ICV."""
        at = self._at(packet) + 4
        number = int.from_bytes(packet[at : at + 4]) + self._chance.pick((1, -1, 64, -64, 1 << 31, 1 << 20))
        return [packet[:at] + (number & 0xFFFFFFFF).to_bytes(4) + packet[at + 4 :]]

    def _misnamed(self, packet: bytes) -> list[bytes]:
        """Of another SA, or another protocol."""
        if self._chance.once_in(3):
            at = 9 if self._version == 4 else 6
            return [packet[:at] + bytes((self._chance.pick((50, 51, 17, 4, 1, 60)),)) + packet[at + 1 :]]
        at = self._at(packet)
        spi = self._chance.pick((SPI_BACK, SPI + 1, 0, 255)).to_bytes(4)
        misnamed = packet[:at] + spi + packet[at + 4 :]
        if spi == SPI_BACK.to_bytes(4) and self._chance.once_in(2):
            ends = FAR[self._version].packed, NEAR[self._version].packed
            misnamed = with_addresses(misnamed, *ends)
        return [misnamed]

    def _readdressed(self, packet: bytes) -> list[bytes]:
        near, far = NEAR[self._version].packed, FAR[self._version].packed
        other = self._chance.octets(len(near))
        return [with_addresses(packet, *self._chance.pick(((other, far), (near, other), (far, near), (far, far))))]

    def _marked(self, packet: bytes) -> list[bytes]:
        """As congested, which is no offence."""
        if self._version == 4:
            return [packet[:1] + bytes((packet[1] | self._chance.pick((1, 2, 3)),)) + packet[2:]]
        return [packet[:1] + bytes((packet[1] | self._chance.pick((0x10, 0x20, 0x30)),)) + packet[2:]]

    def _pieces(self, packet: bytes) -> list[bytes]:
        return in_pieces(self._chance, packet)

    def _rewrapped(self, packet: bytes) -> list[bytes]:
        """In UDP, or without it."""
        parsed = ip.parse(packet)
        if parsed is None:
            return [packet]
        body = packet[parsed.offset : parsed.length]
        if parsed.protocol == 17:
            return [ip.with_length(packet[: parsed.offset], parsed.protocol_at, 50, len(body) - 8) + body[8:]]
        return [self._in_udp(body)]

    def _in_udp(self, body: bytes) -> bytes:
        said = len(body) + 8 if not self._chance.once_in(4) else self._chance.below(80)
        datagram = b"\x11\x94\x11\x94" + (said & 0xFFFF).to_bytes(2) + b"\0\0" + body
        return end_to_end(self._version, datagram[:65000], protocol=17)

    def _strange(self, _packet: bytes) -> list[bytes]:
        """What nobody sealed."""
        chance, noise = self._chance, self._chance.octets(self._chance.below(120))
        kind = chance.below(5)
        if kind == 0:
            return [noise]
        if kind == 1:
            return [self._in_udp(chance.pick((b"\xff", bytes(4) + noise, b"\xff\xff", b"")))]
        start = chance.octets(4) if self._protocol == 51 else b""
        spi = chance.pick((SPI, SPI_BACK)).to_bytes(4)
        protocol = chance.pick((self._protocol, self._protocol, 50, 51))
        return [end_to_end(self._version, start + spi + noise, protocol=protocol)]

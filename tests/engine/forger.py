"""Who has the keys and no manners: packets that are authentic, so that the checks behind the ICV are reached."""

import zlib

from culvert.ipsec import ah, ip, udp
from culvert.ipsec.drops import Reason
from culvert.ipsec.gateway import Gateway
from culvert.ipsec.sa import Protocol
from culvert.ipsec.sadb import Outbound
from tests.engine.chance import Chance
from tests.engine.clear import EXTENSIONS, OPTIONS4, Clear, damaged, flipped
from tests.fuzz.parts import FAR, NEAR
from tests.fuzz.scenarios import Scenario
from tests.ipsec.building import ipv4, ipv6

NEXT_HEADERS = (4, 4, 41, 41, 17, 6, 59, 108, 108, 50, 51, 1, 58, 44, 255)
PADDING = bytes(range(1, 256))


class Forger:
    """Seals what it likes, by a sender's SAs. `gateway` has these, and nobody else uses it."""

    def __init__(self, chance: Chance, scenario: Scenario, gateway: Gateway, clear: Clear) -> None:
        self._chance = chance
        self._clear = clear
        self._version = scenario.outer
        records = [each for each in gateway.sadb if isinstance(each, Outbound)]
        self._record = next(each for each in records if each.sa.protocol is scenario.protocol)
        self._around = next((each for each in records if each is not self._record), None) if scenario.bundle else None

    def packet(self, number: int) -> bytes:
        """One that carries this sequence number, or one near or far."""
        chance, record, sa = self._chance, self._record, self._record.sa
        protocol = 17 if sa.encapsulation else sa.protocol
        header, at = self._header()
        number = max(0, min(self._number(number), sa.sequence_max))
        next_header, payload = self._content()
        if sa.protocol is Protocol.ESP:
            body = self._esp(record, number, next_header, payload)
        else:
            octets = record.sealer.layout.sealed(len(payload))
            body = self._signed(record, ip.with_length(header, at, 51, octets), number, next_header, payload)
        if sa.encapsulation:
            body = udp.wrap(sa.encapsulation, sa.source.packed, sa.destination.packed, body)
        if self._around and not chance.once_in(10):
            octets = self._around.sealer.layout.sealed(len(body))
            body = self._signed(self._around, ip.with_length(header, at, 51, octets), number, protocol, body)
            protocol = 51
        return ip.with_length(header, at, protocol, len(body)) + body

    def _header(self) -> tuple[bytes, int]:
        """Up to IPsec, and which octet names it."""
        chance = self._chance
        traffic_class = chance.pick((0, 0, 1, 2, 3, 184))
        if self._version == 4:
            options = chance.pick(OPTIONS4)
            flags = chance.pick((0, 0x4000))
            header = ipv4(source=NEAR[4], destination=FAR[4], traffic_class=traffic_class, options=options, flags=flags)
            return header, 9
        chain = b"\0" + chance.pick(EXTENSIONS[:3]) if chance.once_in(4) else b""
        header = ipv6(
            chain, protocol=60 if chain else 50, source=NEAR[6], destination=FAR[6], traffic_class=traffic_class
        )
        return header, 40 if chain else 6

    def _number(self, number: int) -> int:
        chance, window = self._chance, self._record.sa.replay_window
        kind = chance.below(100)
        if kind < 85:
            return number
        if kind < 92:
            return number - chance.below(2 * window + 2)
        if kind < 97:
            return number + chance.below(4)
        return chance.pick((0, 1, number - (1 << 32), number + (1 << chance.below(64))))

    def _content(self) -> tuple[int, bytes]:
        chance, kind = self._chance, self._chance.below(10)
        if kind < 4:
            packet = self._clear.packet()
            if kind == 0:
                packet = damaged(chance, packet)
            if kind == 1:
                packet += bytes(chance.below(30))
            return (4 if packet[:1] < b"P" else 41), packet
        if kind < 6:
            return 108, self._compressed()
        ports = chance.pick((b"\0\x35\0\x35", b"\0\7\0\7", b"\0\x17\0\x17", b"\0\x0b\0\x0b", b"\x11\x94\x11\x94"))
        return chance.pick(NEXT_HEADERS), ports + chance.octets(chance.below(300))

    def _compressed(self) -> bytes:
        """As IPComp; sometimes damaged, of another index, or compressed twice."""
        chance = self._chance
        packet = self._clear.packet()[:1000]
        state = zlib.compressobj(1, zlib.DEFLATED, -15)
        octets = state.compress(packet) + state.flush()
        if chance.once_in(3):
            octets = damaged(chance, octets) if octets[:1] else octets
        index = self._record.sa.compression if not chance.once_in(4) else chance.pick((0, 2, 3, 700))
        inner = 108 if chance.once_in(8) else 4 if packet[:1] < b"P" else 41
        return (bytes((inner, 0)) + index.to_bytes(2) + octets)[: 3 if chance.once_in(20) else None]

    def _esp(self, record: Outbound, number: int, next_header: int, payload: bytes) -> bytes:
        """With a trailer that may be wrong."""
        chance, alignment = self._chance, record.sealer.layout.alignment
        pads = -(len(payload) + 2) % alignment
        if chance.once_in(8):
            pads += chance.below((255 - pads) // alignment + 1) * alignment
        padding, said = PADDING[:pads], pads
        if chance.once_in(8):
            padding = flipped(chance, padding)
        if chance.once_in(10):
            said = chance.below(256)
        clear = payload + padding + bytes((said, next_header))
        return record.sealer._suite.seal(number, clear)  # type: ignore[union-attr]

    def _signed(self, record: Outbound, header: bytes, number: int, next_header: int, payload: bytes) -> bytes:
        """AH and payload; of IPv4 sometimes with the padding that Linux has there and we haven't."""
        sealer = record.sealer
        if not isinstance(sealer, ah.Sealer) or self._version == 6 or not self._chance.once_in(6):
            body = sealer.seal(header, number, next_header, payload)
            return b"" if isinstance(body, Reason) else body
        layout, sealer.layout = sealer.layout, ah.Layout(-(-sealer.layout.header // 8) * 8, sealer.layout.icv)
        header = ip.with_length(header, 9, 51, sealer.layout.sealed(len(payload)))
        body = sealer.seal(header, number, next_header, payload)
        sealer.layout = layout
        return b"" if isinstance(body, Reason) else body

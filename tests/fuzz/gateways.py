"""Targets: whole gateways, and sequences of packets with a clock; steps as in `script.py`.

What arrives is either a stranger's, who has no key, or sealed for the occasion by the peer's keys. So a delivery of
anything a stranger sent is a finding, and so is the second delivery of anything.
"""

from collections.abc import Callable

from culvert.ipsec import ah, fragment, ip, udp
from culvert.ipsec.drops import Reason
from culvert.ipsec.fragment import OCTETS_MAX, PACKETS_MAX, TRAIL_MAX
from culvert.ipsec.gateway import Expired, Gateway, Learned
from culvert.ipsec.ip import Datagram, NextHeader
from culvert.ipsec.sa import Direction, Mode, Protocol
from culvert.ipsec.sadb import Inbound, Outbound
from culvert.ipsec.verdict import Bypass, Deliver, Drop, Hold, Send, Verdict
from tests.fuzz import script
from tests.fuzz.parts import FAR, NEAR, NOW, stretched, with_addresses, with_true_length
from tests.fuzz.scenarios import ENDS, Ends, made_new
from tests.fuzz.script import Step

EXCUSES = frozenset((Reason.EXPIRED_IN, Reason.FRAGMENT_PORTS, Reason.INNER_MISMATCH, Reason.REASSEMBLY))
"""Why the peer may refuse what a gateway sent: lives end there too, and fragments show no ports."""
SAID_TWICE = frozenset((4, 41, 17, 50, 51, 59, 108))
"""In transport mode, what the receiver takes for a layer of protection, a dummy or a tunnel."""


class Play:
    """One script on one pair of gateways."""

    def __init__(self, ends: Ends, now: float = NOW) -> None:
        self.ends = ends
        self.scenario, self.near, self.far = ends.scenario, ends.near, ends.far
        self.now = now
        self.last_sent = self.last_delivered = b""

    def run(self, steps: list[Step], acts: "tuple[Act, ...]") -> None:
        for step in steps:
            self.now += step.eighths / 8
            acts[step.kind % len(acts)](self, step.octets, step.kind // len(acts))
            self.judge_bounds()

    def judge_bounds(self) -> None:
        for gateway in (self.near, self.far):
            for way in (gateway._outgoing, gateway._incoming):
                assert len(way.reassembler) <= PACKETS_MAX and 0 <= way.reassembler._octets <= OCTETS_MAX
                assert len(way.trail._seen) <= TRAIL_MAX

    # What a stranger can do

    def forged(self, octets: bytes, _flags: int) -> None:
        """Any octets at all."""
        verdict = self.near.inbound(octets, self.now)
        assert isinstance(verdict, Drop | Hold), "a stranger's packet was delivered"

    def aimed(self, octets: bytes, flags: int) -> None:
        """Right addresses, protocol and SPI, so that every length reaches the security protocols."""
        spi = (0x1001).to_bytes(4)
        protocol = (self.scenario.protocol, Protocol.ESP, Protocol.AH, 17)[flags & 3]
        start = octets[:4] + spi if protocol == Protocol.AH else spi
        if self.scenario.settings.get("encapsulation") and protocol in (17, Protocol.ESP):
            protocol, start = 17, b"\x11\x94\x11\x94" + (len(octets) + 12).to_bytes(2) + b"\0\0" + spi
        windows = self._windows()
        self.forged(self._outer(protocol, start + octets), 0)
        assert self._windows() == windows, "a stranger moved the window"

    def _windows(self) -> list[tuple[int, int]]:
        return [(each.replay.top, each.replay._seen) for each in self.near.sadb if isinstance(each, Inbound)]

    def _outer(self, protocol: int, body: bytes) -> bytes:
        version = self.scenario.outer
        start = bytes.fromhex("45000000000000004000") if version == 4 else bytes.fromhex("6000000000000040")
        at = 9 if version == 4 else 6
        header = start[:at] + bytes((protocol,)) + start[at + 1 :] + (bytes(2) if version == 4 else b"")
        return with_true_length(header + FAR[version].packed + NEAR[version].packed + body)

    def again(self, octets: bytes, flags: int) -> None:
        """The last packet that was delivered, once more or tampered with."""
        packet = self.last_delivered
        if not packet:
            return
        outer = ip.parse(packet)
        assert outer is not None
        if flags & 1 and octets:
            body = outer.offset + (udp.HEADER_OCTETS if outer.protocol == NextHeader.UDP else 0)
            at = body + int.from_bytes(octets[:2]) % (outer.length - body)
            packet = packet[:at] + bytes((packet[at] ^ (octets[-1] or 1),)) + packet[at + 1 :]
        elif not self.scenario.settings.get("replay_window", 64):
            return
        self.forged(packet, 0)

    def told(self, octets: bytes, flags: int) -> None:
        """An ICMP message: any, or one that quotes what was sent last."""
        if flags & 1 and len(octets) >= 4 and self.last_sent:
            quoted = self.last_sent[: 64 + octets[-1]]
            kind, protocol = ((3, 4), 1) if self.last_sent[0] >> 4 == 4 else ((2, 0), 58)
            octets = self._outer(protocol, bytes(kind) + b"\0\0" + bytes(2) + octets[:2] + quoted)
        verdict = self.near.told_too_big(octets, self.now)
        assert isinstance(verdict, Learned | Drop | Bypass)
        if isinstance(verdict, Learned):
            assert verdict.mtu >= min(576, verdict.record._most) and verdict.mtu == verdict.record.mtu(self.now)

    # What the peer does

    def signed(self, octets: bytes, flags: int) -> None:
        """Any clear text under the peer's keys. `flags`: bit 0, the octets are the packet of our own addresses; bit 1,
        with the trailer of ESP inside; bit 2, after that as fragments; bit 3, a gap in the sequence numbers."""
        if len(octets) < 4:
            return
        size, next_header, clear = int.from_bytes(octets[:2]), octets[2], octets[4:]
        clear = stretched(clear, size)
        if flags & 1:
            clear = self._inner(clear, to_near=True)
        packet = self._sealed(next_header, clear, raw=bool(flags & 2), gap=octets[3] if flags & 8 else 1)
        if packet is None:
            return
        before = self._delivered()
        for piece in self._pieces(packet, 16 + octets[3] * 8) if flags & 4 else [packet]:
            verdict = self.near.inbound(piece, self.now)
            self._judge_delivery(verdict)
        if isinstance(verdict, Deliver):
            self.last_delivered = packet
            assert self._delivered() == before + 1

    def _delivered(self) -> int:
        (record,) = (each for each in self.near.sadb if isinstance(each, Inbound) and self._is_main(each))
        return record.usage.packets

    def _is_main(self, record: Inbound | Outbound) -> bool:
        return record.sa.protocol is self.scenario.protocol

    def _judge_delivery(self, verdict: Verdict) -> None:
        assert isinstance(verdict, Deliver | Drop | Hold)
        if not isinstance(verdict, Deliver):
            return
        inner = ip.parse(verdict.packet)
        assert inner is not None and verdict.policy.direction is Direction.IN
        assert inner.is_later_fragment or verdict.policy.selector.matches(inner.flow)
        assert (verdict.bundled is not None) == self.scenario.bundle

    def _sealed(self, next_header: int, clear: bytes, *, raw: bool, gap: int) -> bytes | None:
        """An outer packet of the peer's, by its own sealers."""
        records = [each for each in self.far.sadb if isinstance(each, Outbound)]
        (record,) = (each for each in records if self._is_main(each))
        record.sequence += gap
        if record.sequence > record.sa.sequence_max or len(clear) > 65000:
            return None
        ports, bundled = record.sa.encapsulation, next((each for each in records if each is not record), None)
        octets = record.sealer.layout.sealed(len(clear)) + (udp.HEADER_OCTETS if ports else 0)
        around = bundled.sealer.layout.sealed(octets) if bundled and self.scenario.bundle else octets
        header = self._outer(51 if self.scenario.bundle else 17 if ports else record.sa.protocol, bytes(around))
        header = header[: record.header.octets]
        if raw and record.sa.protocol is Protocol.ESP:
            clear += bytes(-len(clear) % record.sealer.layout.alignment)
            body: bytes | Reason = record.sealer._suite.seal(record.sequence, clear)  # type: ignore[union-attr]
        else:
            body = record.sealer.seal(header, record.sequence, next_header, clear)
        if isinstance(body, Reason) or len(body) + 128 > 65535:
            return None
        if ports:
            body = udp.wrap(ports, record.sa.source.packed, record.sa.destination.packed, body)
        if not self.scenario.bundle:
            return with_true_length(header + body)
        assert bundled is not None
        bundled.sequence += 1
        protocol = 17 if ports else record.sa.protocol
        signed = bundled.sealer.seal(header, bundled.sequence, protocol, body)
        return None if isinstance(signed, Reason) else with_true_length(header + signed)

    def _pieces(self, packet: bytes, mtu: int) -> list[bytes]:
        parsed = ip.parse(packet)
        mtu = max(mtu, len(packet) // 60)
        return [packet] if parsed is None else fragment.split(packet, parsed, mtu, 7)

    def _inner(self, octets: bytes, *, to_near: bool) -> bytes:
        """The octets as a packet between the ends, with its length right."""
        source, destination = (FAR, NEAR) if to_near else (NEAR, FAR)
        for version in (4, 6):
            octets = with_addresses(octets, source[version].packed, destination[version].packed)
        return with_true_length(octets)

    # The way out

    def clear(self, octets: bytes, flags: int) -> None:
        """A clear packet: what is made of it, the peer must take, and see what was sent."""
        if flags & 1 and len(octets) >= 2:
            octets = stretched(octets[2:], int.from_bytes(octets[:2]))
        packet = self._inner(octets, to_near=False) if flags & 2 else octets
        verdict = self.near.outbound(packet, self.now)
        assert isinstance(verdict, Send | Bypass | Drop | Hold)
        if isinstance(verdict, Bypass | Send):
            assert ip.parse(packet) is not None
        if isinstance(verdict, Drop) and verdict.answer is not None:
            assert ip.parse(verdict.answer) is not None and verdict.reason is Reason.TOO_BIG
        if isinstance(verdict, Send):
            self.last_sent = verdict.packet
            self._judge_sent(packet, verdict)

    def _judge_sent(self, packet: bytes, sent: Send) -> None:
        inner = ip.parse(packet)
        assert inner is not None
        whole = None if inner.fragment and self.scenario.mode is Mode.TRANSPORT else packet[: inner.length]
        got, refused = [], False
        for piece in (sent.packet, *sent.rest):
            outer = ip.parse(piece)
            assert outer is not None and outer.length == len(piece)
            verdict = self.far.inbound(piece, self.now)
            self._judge_delivery(verdict)
            if isinstance(verdict, Deliver):
                got.append(verdict.packet)
            elif isinstance(verdict, Drop):
                refused = True
                self._judge_refusal(verdict, inner, piece)
        if len(got) == 1 and not refused and whole is not None and self.scenario.settings.get("mss") is None:
            assert got[0][inner.offset :] == whole[inner.offset :]
            assert got[0][:4] == whole[:4] and got[0][12 : inner.offset] == whole[12 : inner.offset]
            assert got[0][4:6] == whole[4:6] or self._is_identified(inner, whole)

    def _is_identified(self, inner: Datagram, whole: bytes) -> bool:
        """In transport mode a packet that may be cut gets an identification where it has none: AH signs it."""
        may_be_cut = inner.version == 4 and not inner.dont_fragment
        return self.scenario.mode is Mode.TRANSPORT and may_be_cut and whole[4:6] == bytes(2)

    def _judge_refusal(self, drop: Drop, inner: Datagram, piece: bytes) -> None:
        if drop.reason in EXCUSES or (self.scenario.mode is Mode.TRANSPORT and inner.protocol in SAID_TWICE):
            return
        if self.scenario.mode is Mode.TRANSPORT and inner.fragment is not None:
            return
        outer = ip.parse(piece)
        assert outer is not None
        header = piece[: outer.offset]
        routed = ah.immutable(header, foretell=True) != ah.immutable(header, foretell=False)
        signed = self.scenario.protocol is Protocol.AH or self.scenario.bundle
        # What a source route foretells comes true on the way, which is left out here.
        assert drop.reason is Reason.INTEGRITY and signed and routed, drop.reason.name

    def by_itself(self, octets: bytes, _flags: int) -> None:
        """Keep-alives, dummies, and fragments that came too late."""
        self.now += int.from_bytes(octets[:2]) / 16
        for verdict in self.near.due(self.now):
            assert isinstance(verdict, Send | Drop)
            if isinstance(verdict, Send):
                answer = self.far.inbound(verdict.packet, self.now)
                assert isinstance(answer, Drop)
                assert answer.reason in (Reason.DUMMY, Reason.KEEP_ALIVE, Reason.EXPIRED_IN)
        for gateway in (self.near, self.far):
            for expired in gateway.expire(self.now):
                assert isinstance(expired, Expired) and expired.drop.reason is Reason.REASSEMBLY_TIMEOUT


Act = Callable[[Play, bytes, int], None]
INBOUND: tuple[Act, ...] = (Play.forged, Play.aimed, Play.signed, Play.signed, Play.again, Play.by_itself)
OUTBOUND: tuple[Act, ...] = (Play.clear, Play.clear, Play.clear, Play.told, Play.by_itself)
BOTH: tuple[Act, ...] = (*INBOUND, *OUTBOUND)


def _play(data: bytes, acts: tuple[Act, ...]) -> None:
    scenario, steps = script.parse(data)
    Play(made_new(ENDS[scenario % len(ENDS)])).run(steps, acts)


def judge_inbound(data: bytes) -> None:
    """Packets that come in, a stranger's and the peer's."""
    _play(data, INBOUND)


def judge_outbound(data: bytes) -> None:
    """Packets that go out, to a peer that must understand them."""
    _play(data, OUTBOUND)


def judge_gateway(data: bytes) -> None:
    """All of it in one sequence."""
    _play(data, BOTH)


def stranger(gateway: Gateway, packet: bytes, now: float) -> None:
    """One packet without a key, every way in: for tests that count what a gateway keeps of it."""
    assert isinstance(gateway.inbound(packet, now), Drop | Hold)
    gateway.outbound(packet, now)
    gateway.told_too_big(packet, now)

"""A piece of a run: one pair and one seed, so many packets. The same pair, seed and number come to the same packets."""

from collections import Counter
from collections.abc import Callable
from typing import NamedTuple

from culvert.ipsec import fragment
from culvert.ipsec.drops import TABLE, Reason
from culvert.ipsec.gateway import Gateway
from culvert.ipsec.sa import Direction
from culvert.ipsec.verdict import Send
from tests.engine.arrivals import SPI, Arrivals
from tests.engine.chance import Chance
from tests.engine.clear import Clear
from tests.engine.forger import Forger
from tests.engine.pairs import PAIRS, awkward_policies
from tests.engine.same import Differs, Same, with_plain_cbc
from tests.fuzz import scenarios
from tests.fuzz.parts import FAR, NEAR, NOW
from tests.fuzz.scenarios import Scenario
from tests.ipsec.building import ipv4, ipv6

PLAY_PACKETS = 3500
BATCHES = (1, 1, 2, 3, 17, 64)
SILENT_ROUNDS = 8
"""After so many in which nothing was sent that could arrive, the SA is at its end."""
FLOOD = fragment.TRAIL_MAX + 50
JUMP = 64
"""So far in front of the sender's numbers the receiver's window takes no honest packet any more."""


class Outcome(NamedTuple):
    """`words`: what became of the packets, and how often. `difference`: the report of the first one."""

    pair: str
    seed: int
    packets: int
    words: dict[str, int]
    difference: str = ""


class _Piece:
    """Two gateways that live through many plays."""

    def __init__(self, pair: str, seed: int) -> None:
        self._pair = PAIRS[pair]
        self.chance = Chance(f"{pair} {seed}")
        self.sender, self.receiver = Same(self.chance.octets), Same(self.chance.octets)
        self.now = NOW
        self.plays = 0

    @property
    def packets(self) -> int:
        return self.sender.asked + self.receiver.asked

    def run(self, most: int) -> None:
        while self.packets < most:
            self.plays += 1
            self._play(min(most, self.packets + PLAY_PACKETS))

    def _play(self, until: int) -> None:
        chance, scenario = self.chance, self._pair.cast(self.chance)
        self._begin(scenario)
        # Its dice are nobody else's, and nobody compares them.
        hand = scenarios.build(scenario, lambda _: Gateway(chance.octets), lambda _: Gateway(chance.octets)).near
        self._clear = Clear(chance, scenario)
        self._arrivals = Arrivals(chance, scenario, Forger(chance, scenario, hand, self._clear))
        self._version = scenario.outer
        self._last = b""
        silent = 0
        while self.packets < until and silent < SILENT_ROUNDS:
            silent = 0 if self._round() and not self._has_jumped() else silent + 1
            self.now += chance.fraction() / 100
            if chance.once_in(20):
                self._meanwhile()
        for gateway in (self.sender, self.receiver):
            gateway.compare_counts()

    def _begin(self, scenario: Scenario) -> None:
        """New SAs and policies in old gateways."""
        for gateway in (self.sender, self.receiver):
            for record in list(gateway.sadb):
                gateway.remove_sa(record.sa)
            for direction in Direction:
                for policy in gateway.spd.policies(direction):
                    gateway.remove_policy(policy)
        scenarios.build(scenario, lambda _: self.sender, lambda _: self.receiver, self.now)
        self._mine, self._theirs = (
            next(each for each in gateway.sadb if each.sa.spi == SPI and each.sa.protocol is scenario.protocol)
            for gateway in (self.sender, self.receiver)
        )
        if self.chance.once_in(2):
            for policy in awkward_policies(scenario, Direction.OUT):
                self.sender.add_policy(policy)
            for policy in awkward_policies(scenario, Direction.IN):
                self.receiver.add_policy(policy)

    def _has_jumped(self) -> bool:
        return self._theirs.sequence - self._mine.sequence > JUMP

    def _round(self) -> bool:
        """Some packets out and in, one by one or as batches; whether any was sent."""
        chance = self.chance
        clear = [packet for _ in range(chance.pick(BATCHES)) for packet in self._clear.packets()]
        if chance.once_in(2):
            verdicts = self.sender.outbound_batch(clear, self.now)
        else:
            verdicts = [self.sender.outbound(packet, self.now) for packet in clear]
        sent = [verdict for verdict in verdicts if isinstance(verdict, Send)]
        if sent:
            self._last = sent[-1].packet
        arriving = [packet for each in sent for packet in self._arrivals.of(each)]
        if not sent:
            arriving = self._arrivals.late(self._mine.sequence)
        if chance.once_in(10):
            arriving = chance.shuffled(arriving)
        if chance.once_in(2):
            self.receiver.inbound_batch(arriving, self.now)
        else:
            for packet in arriving:
                self.receiver.inbound(packet, self.now)
        return bool(sent)

    def _meanwhile(self) -> None:
        """Word of packets that were too big; time that passes; what a gateway does by itself."""
        chance = self.chance
        if self._last and chance.once_in(2):
            self.sender.told_too_big(self._complaint(), self.now)
        if chance.once_in(8):
            self.now += chance.pick((0.5, 10.0, 29.75, 30.25))
        if chance.once_in(40):
            self._flood()
        by_themselves = [each.packet for each in self.sender.due(self.now) if isinstance(each, Send)]
        self.receiver.inbound_batch(by_themselves, self.now)
        for gateway in (self.sender, self.receiver):
            list(gateway.expire(self.now))

    def _flood(self) -> None:
        """First fragments of more packets than anybody keeps in mind, and the second ones of some."""
        numbers = [self.chance.below(1 << 16) for _ in range(FLOOD)]
        later = numbers[: FLOOD // 10]
        ends = {"source": NEAR[4], "destination": FAR[4]}
        for number, place in [*((each, 0x2000) for each in numbers), *((each, 0x0002) for each in later)]:
            self.sender.outbound(ipv4(bytes(16), identification=number, flags=place, **ends), self.now)
            self.receiver.inbound(ipv4(bytes(16), identification=number, flags=place, protocol=50, **ends), self.now)

    def _complaint(self) -> bytes:
        """About the last packet sent, or an old one, or almost."""
        chance = self.chance
        quoted = (self._last if chance.once_in(2) else self._arrivals.past[0] or self._last)[:100]
        if chance.once_in(3):
            at = chance.below(len(quoted))
            quoted = quoted[:at] + chance.octets(1) + quoted[at + 1 :]
        mtu = chance.pick((0, 68, 576, 1000, 1280, 1400, 9000))
        ends = {"source": FAR[self._version], "destination": NEAR[self._version]}
        if self._version == 4:
            return ipv4(b"\3\4\0\0\0\0" + mtu.to_bytes(2) + quoted, protocol=1, **ends)
        return ipv6(b"\2\0\0\0" + mtu.to_bytes(4) + quoted, protocol=58, **ends)


def run_piece(pair: str, seed: int, packets: int) -> Outcome:
    """Until a difference, or to the end."""
    with with_plain_cbc():
        piece = _Piece(pair, seed)
        difference = _difference(piece, lambda: piece.run(packets))
    words: Counter[str] = Counter()
    for gateway in (piece.sender, piece.receiver):
        for outcome, count in gateway.outcomes.items():
            words[outcome if isinstance(outcome, str) else TABLE[Reason(outcome)].word] += count
    if difference:
        difference = f"{pair}, seed {seed}, play {piece.plays}, after {piece.packets} packets\n{difference}"
    return Outcome(pair, seed, piece.packets, dict(words), difference)


def _difference(piece: _Piece, run: Callable[[], None]) -> str:
    try:
        run()
    except Differs as found:
        return str(found)
    # The engine's panics are no Exception.
    except BaseException as found:
        if isinstance(found, KeyboardInterrupt | SystemExit):
            raise
        return f"{type(found).__name__}: {found}"
    return ""

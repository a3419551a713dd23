"""A gateway that is two: the readable one and the native engine, which must say the same of every packet.

Both draw from the same dice: what the readable one drew, the engine is given, and it may ask for neither more nor less.
For that, CBC takes its IV from the dice as it is (`plain_cbc`): which unpredictable IV a sender takes is its own
matter.
"""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import culvert_native
import pytest
from cryptography.hazmat.decrepit.ciphers.algorithms import TripleDES
from cryptography.hazmat.primitives.ciphers import Cipher, modes
from cryptography.hazmat.primitives.ciphers.algorithms import AES

from culvert.change import AddPolicy, AddSa, RemovePolicy, RemoveSa
from culvert.dataplane.userspace import wire
from culvert.ipsec.algorithms import CIPHERS
from culvert.ipsec.drops import Reason
from culvert.ipsec.gateway import Expired, Gateway, Learned
from culvert.ipsec.primitives import CipherPair
from culvert.ipsec.sa import SecurityAssociation
from culvert.ipsec.sadb import Inbound, Record
from culvert.ipsec.spd import Policy
from culvert.ipsec.verdict import Bypass, Deliver, Drop, Hold, Send, Verdict

ENGINES: list[str] = culvert_native.engines()
Answer = tuple[Any, ...]


def plain_cbc(algorithm: Any) -> Callable[[bytes, Any], CipherPair]:
    """CBC whose IV is what the dice say."""

    def prepare(key: bytes, random: Callable[[int], bytes]) -> CipherPair:
        keyed = algorithm(key)
        octets = keyed.block_size // 8

        def encrypt(_sequence: int, clear: bytes) -> bytes:
            initial = random(octets)
            return initial + Cipher(keyed, modes.CBC(initial)).encryptor().update(clear)

        def decrypt(ciphered: bytes) -> bytes:
            return Cipher(keyed, modes.CBC(ciphered[:octets])).decryptor().update(ciphered[octets:])

        return CipherPair(encrypt, decrypt)

    return prepare


def with_plain_cbc(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, row in CIPHERS.items():
        if name == "3des" or name in ("aes128", "aes192", "aes256"):
            prepare = plain_cbc(TripleDES if name == "3des" else AES)
            monkeypatch.setitem(CIPHERS, name, replace(row, prepare=prepare))


class Dice:
    """Recorded while one draws, played to the other."""

    def __init__(self, source: Callable[[int], bytes]) -> None:
        self._source = source
        self._drawn: deque[bytes] = deque()

    def draw(self, octets: int) -> bytes:
        drawn = self._source(octets)
        self._drawn.append(drawn)
        return drawn

    def again(self, octets: int) -> bytes:
        """The same octets, in whatever portions they are asked for."""
        taken = b""
        while len(taken) < octets:
            assert self._drawn, "the engine draws more"
            taken += self._drawn.popleft()
        if len(taken) > octets:
            self._drawn.appendleft(taken[octets:])
        return taken[:octets]

    def is_spent(self) -> bool:
        return not any(self._drawn)


def answer_of(verdict: Any) -> Answer:
    """A verdict of the readable gateway as the engine gives it."""
    match verdict:
        case Send():
            label = verdict.policy.label if verdict.policy else None
            packets = [verdict.packet, *verdict.rest]
            return ("send", packets, verdict.sa.spi, verdict.bundled.sa.spi if verdict.bundled else None, label)
        case Deliver():
            bundled = verdict.bundled.sa.spi if verdict.bundled else None
            return ("deliver", verdict.packet, verdict.sa.spi, bundled, verdict.policy.label)
        case Drop():
            spi = verdict.sa.spi if verdict.sa else None
            return ("drop", int(verdict.reason), spi, verdict.policy.label if verdict.policy else None, verdict.answer)
        case Learned():
            return ("learned", verdict.record.sa.spi, verdict.mtu)
        case Bypass():
            return ("bypass",)
        case Hold():
            return ("hold",)
    raise AssertionError(verdict)


class Same(Gateway):
    """See the module. Everything goes to both; what is returned is the readable one's."""

    engine = ENGINES[0]

    def __init__(self, random: Callable[[int], bytes]) -> None:
        self.dice = Dice(random)
        super().__init__(self.dice.draw)
        self.native = culvert_native.NativeGateway(self.engine, self.dice.again)
        readable_out, readable_in = self.outbound, self.inbound
        self.asked = 0

        def outbound(packet: bytes, now: float) -> Verdict:
            return self._same(readable_out(packet, now), self.native.outbound, packet, now)

        def inbound(packet: bytes, now: float) -> Verdict:
            return self._same(readable_in(packet, now), self.native.inbound, packet, now)

        self.outbound, self.inbound = outbound, inbound
        self.readable_out, self.readable_in = readable_out, readable_in

    def _same(self, verdict: Any, ask: Callable[..., Answer], packet: bytes, now: float) -> Any:
        self._compare(answer_of(verdict), ask(packet, now), packet)
        return verdict

    def _compare(self, wanted: Answer, given: Answer, packet: bytes) -> None:
        self.asked += 1
        if wanted != given:
            raise AssertionError(
                f"of {packet.hex()}\nthe readable gateway says {shown(wanted)}\nthe engine {shown(given)}"
            )
        assert self.dice.is_spent(), "the engine draws less"

    # Changes

    def add_sa(self, sa: SecurityAssociation, *, sequence: int = 0, now: float) -> Record:
        record = super().add_sa(sa, sequence=sequence, now=now)
        self._apply(AddSa(sa), sequence, now)
        return record

    def remove_sa(self, sa: SecurityAssociation) -> Record:
        record = super().remove_sa(sa)
        self._apply(RemoveSa(sa))
        return record

    def add_policy(self, policy: Policy) -> None:
        super().add_policy(policy)
        self._apply(AddPolicy(policy))

    def remove_policy(self, policy: Policy) -> None:
        super().remove_policy(policy)
        self._apply(RemovePolicy(policy))

    def _apply(self, change: wire.PacketChange, sequence: int = 0, now: float = 0.0) -> None:
        self.native.apply(wire.emit(wire.Apply((change,), (-1,))), sequence, now)

    # The rest

    def told_too_big(self, packet: bytes, now: float) -> Learned | Drop | Bypass:
        verdict = super().told_too_big(packet, now)
        self._compare(answer_of(verdict), self.native.told_too_big(packet, now), packet)
        return verdict

    def due(self, now: float) -> Iterator[Send | Drop]:
        verdicts = list(super().due(now))
        self._compare(tuple(map(answer_of, verdicts)), tuple(self.native.due(now)), b"")
        yield from verdicts

    def expire(self, now: float) -> Iterator[Expired]:
        expired = list(super().expire(now))
        self._compare(tuple(each.packet for each in expired), tuple(self.native.expire(now)), b"")
        yield from expired

    # Batches

    def outbound_batch(self, packets: Sequence[bytes], now: float) -> list[Verdict]:
        """Packet by packet by the one, all at once by the other; the dice may fall in another order."""
        verdicts = [self.readable_out(packet, now) for packet in packets]
        given = self.native.outbound_batch(list(packets), now)
        for packet, verdict, one in zip(packets, verdicts, given, strict=True):
            wanted = answer_of(verdict)
            if wanted[0] == "send":
                # What is framed in a batch doesn't remember its policy: nothing is to be said of it.
                wanted, one = wanted[:-1], one[:-1]
            self._compare(wanted, one, packet)
        return verdicts

    def inbound_batch(self, packets: Sequence[bytes], now: float) -> list[Verdict]:
        verdicts = [self.readable_in(packet, now) for packet in packets]
        given = self.native.inbound_batch(list(packets), now)
        for packet, verdict, one in zip(packets, verdicts, given, strict=True):
            self._compare(answer_of(verdict), one, packet)
        return verdicts

    # Counts

    def compare_counts(self) -> None:
        """Numbers and statistics of every SA."""
        for record in self.sadb:
            sa, usage = record.sa, record.usage
            drops = [usage.drops.get(reason, 0) for reason in Reason]
            lost, window = (record.replay.lost, record.replay.newest()) if isinstance(record, Inbound) else (0, 0)
            wanted = (record.sequence, usage.packets, usage.octets, usage.last_use, usage.life_packets)
            given = self.native.usage(sa.direction.value, sa.spi, str(sa.destination), int(sa.protocol))
            assert given == (*wanted, usage.life_octets, lost, window, drops), sa.label


def shown(answer: Answer) -> str:
    """For the reader of a failed test."""
    parts = [each.hex() if isinstance(each, bytes) else each for each in answer]
    parts = [[piece.hex() for piece in each] if isinstance(each, list) else each for each in parts]
    return f"{Reason(parts[1]).name} {parts}" if parts and parts[0] == "drop" else str(parts)

"""A gateway that is several: the readable one and every native engine, which must say the same of every packet.

All draw from the same dice: what the readable one drew, each engine is given, and it may ask for neither more nor less.
For that, CBC takes its IV from the dice as it is (`plain_cbc`): which unpredictable IV a sender takes is its own
matter.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from typing import Any
from unittest.mock import patch

import culvert_native
from cryptography.hazmat.decrepit.ciphers.algorithms import TripleDES
from cryptography.hazmat.primitives.ciphers import Cipher, modes
from cryptography.hazmat.primitives.ciphers.algorithms import AES

from culvert.change import AddPolicy, AddSa, RemovePolicy, RemoveSa
from culvert.dataplane.userspace import wire
from culvert.ipsec import primitives
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
Ask = Callable[[bytes, float], Answer]


def plain_cbc(algorithm: Any) -> Callable[[bytes, Any], CipherPair]:
    """CBC whose IV is what the dice say: the ordinary one is given dice out of which it makes just that IV."""

    def prepare(key: bytes, random: Callable[[int], bytes]) -> CipherPair:
        decipher = Cipher(algorithm(key), modes.ECB()).decryptor().update
        stands = b"\0"

        def turned(octets: int) -> bytes:
            wanted = int.from_bytes(decipher(random(octets))) ^ int.from_bytes(stands)
            return wanted.to_bytes(octets)

        def encrypt(sequence: int, clear: bytes) -> bytes:
            nonlocal stands
            ciphered = pair.encrypt(sequence, clear)
            stands = ciphered[-(algorithm.block_size // 8) :]
            return ciphered

        pair = primitives.cbc(algorithm)(key, turned)
        return CipherPair(encrypt, pair.decrypt)

    return prepare


def with_plain_cbc() -> AbstractContextManager[object]:
    """For SAs that are added meanwhile."""
    rows = {name: row for name, row in CIPHERS.items() if name in ("3des", "aes128", "aes192", "aes256")}
    plain = {name: replace(row, prepare=plain_cbc(TripleDES if name == "3des" else AES)) for name, row in rows.items()}
    return patch.dict(CIPHERS, plain)


class Dice:
    """Recorded while one draws, played to each of the others."""

    def __init__(self, source: Callable[[int], bytes], players: int) -> None:
        self._source = source
        self._even = b""
        self._taken = [0] * players
        self.drawn = b""

    def draw(self, octets: int) -> bytes:
        drawn = (self._even * octets)[:octets] if self._even else self._source(octets)
        self.drawn += drawn
        return drawn

    def again(self, player: int) -> Callable[[int], bytes]:
        """For one of the others: the same octets, in whatever portions they are asked for."""
        taken = self._taken

        def draw(octets: int) -> bytes:
            start = taken[player]
            taken[player] = end = start + octets
            assert end <= len(self.drawn), f"{ENGINES[player]} draws more"
            return self.drawn[start:end]

        return draw

    def begin_batch(self) -> None:
        """The same two octets again and again: a batch draws in another order. All portions are even."""
        self._even = self._source(2)

    def settle(self) -> None:
        """Everybody has drawn as much."""
        self._even = b""
        for engine, taken in zip(ENGINES, self._taken, strict=True):
            assert taken == len(self.drawn), f"{engine} draws less"
        self._taken[:] = [0] * len(self._taken)
        self.drawn = b""


class Differs(AssertionError):
    """An engine says something else."""

    def __init__(self, engine: str, packet: bytes, wanted: Answer, given: Answer) -> None:
        said = f"the readable gateway says {shown(wanted)}\n{engine} says {shown(given)}"
        super().__init__(f"of {packet.hex()}\n{said}")


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
    """See the module. Everything goes to all; what is returned is the readable one's.

    `asked`: packets compared. `outcomes`: how often which word of an answer, or number of a reason.
    """

    def __init__(self, random: Callable[[int], bytes]) -> None:
        self.dice = Dice(random, len(ENGINES))
        super().__init__(self.dice.draw)
        self.natives = [
            culvert_native.NativeGateway(engine, self.dice.again(player)) for player, engine in enumerate(ENGINES)
        ]
        self.readable_out, self.readable_in = self.outbound, self.inbound
        self.outbound = self._judging(self.outbound, (native.outbound for native in self.natives))
        self.inbound = self._judging(self.inbound, (native.inbound for native in self.natives))
        self._told = self._judging(super().told_too_big, (native.told_too_big for native in self.natives))
        self.asked = 0
        self.outcomes: dict[str | int, int] = {}

    def _judging(self, readable: Callable[[bytes, float], Any], asks: Iterable[Ask]) -> Callable[[bytes, float], Any]:
        by_name = list(zip(ENGINES, asks, strict=True))

        def judge(packet: bytes, now: float) -> Any:
            verdict = readable(packet, now)
            wanted = answer_of(verdict)
            for engine, ask in by_name:
                given = ask(packet, now)
                if given != wanted:
                    raise Differs(engine, packet, wanted, given)
            if self.dice.drawn:
                self.dice.settle()
            self._count(wanted)
            return verdict

        return judge

    def _count(self, answer: Answer) -> None:
        self.asked += 1
        outcome = answer[1] if answer[0] == "drop" else answer[0]
        self.outcomes[outcome] = self.outcomes.get(outcome, 0) + 1

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
        line = wire.emit(wire.Apply((change,), (-1,)))
        for native in self.natives:
            native.apply(line, sequence, now)

    # The rest

    def told_too_big(self, packet: bytes, now: float) -> Learned | Drop | Bypass:
        verdict: Learned | Drop | Bypass = self._told(packet, now)
        return verdict

    def due(self, now: float) -> Iterator[Send | Drop]:
        verdicts = list(super().due(now))
        wanted = [answer_of(verdict) for verdict in verdicts]
        for engine, native in zip(ENGINES, self.natives, strict=True):
            if (given := native.due(now)) != wanted:
                raise Differs(engine, b"", ("due", *wanted), ("due", *given))
        self.dice.settle()
        yield from verdicts

    def expire(self, now: float) -> Iterator[Expired]:
        expired = list(super().expire(now))
        wanted = [each.packet for each in expired]
        for engine, native in zip(ENGINES, self.natives, strict=True):
            if (given := native.expire(now)) != wanted:
                raise Differs(engine, b"", ("expire", wanted), ("expire", given))
        for each in expired:
            self._count(answer_of(each.drop))
        yield from expired

    # Batches

    def outbound_batch(self, packets: Sequence[bytes], now: float) -> list[Verdict]:
        """Packet by packet by the one, all at once by the others."""
        asks = [native.outbound_batch for native in self.natives]
        return self._batch(self.readable_out, asks, packets, now)

    def inbound_batch(self, packets: Sequence[bytes], now: float) -> list[Verdict]:
        return self._batch(self.readable_in, [native.inbound_batch for native in self.natives], packets, now)

    def _batch(
        self,
        readable: Callable[[bytes, float], Verdict],
        asks: Iterable[Callable[..., list[Answer]]],
        packets: Sequence[bytes],
        now: float,
    ) -> list[Verdict]:
        self.dice.begin_batch()
        verdicts = [readable(packet, now) for packet in packets]
        wanted = [answer_of(verdict) for verdict in verdicts]
        for engine, ask in zip(ENGINES, asks, strict=True):
            given = ask(packets, now)
            for packet, want, one in zip(packets, wanted, given, strict=True):
                if want != one and not _is_framed(want, one):
                    raise Differs(engine, packet, want, one)
        self.dice.settle()
        for want in wanted:
            self._count(want)
        return verdicts

    # Counts

    def compare_counts(self) -> None:
        """Numbers and statistics of every SA."""
        for record in self.sadb:
            sa, usage = record.sa, record.usage
            drops = [usage.drops.get(reason, 0) for reason in Reason]
            lost, window = (record.replay.lost, record.replay.newest()) if isinstance(record, Inbound) else (0, 0)
            numbers = (record.sequence, usage.packets, usage.octets, usage.last_use, usage.life_packets)
            wanted = (*numbers, usage.life_octets, lost, window, drops)
            for engine, native in zip(ENGINES, self.natives, strict=True):
                given = native.usage(sa.direction.value, sa.spi, str(sa.destination), int(sa.protocol))
                if given != wanted:
                    raise Differs(engine, b"", ("counts", sa.label, *wanted), ("counts", sa.label, *given))


def _is_framed(wanted: Answer, given: Answer) -> bool:
    """What is framed in a batch doesn't remember its policy: nothing is to be said of it."""
    return wanted[0] == "send" and given[-1] is None and wanted[:-1] == given[:-1]


def shown(answer: Answer) -> str:
    """For the reader of a failed test."""
    parts = [each.hex() if isinstance(each, bytes) else each for each in answer]
    parts = [
        [piece.hex() if isinstance(piece, bytes) else piece for piece in each] if isinstance(each, list) else each
        for each in parts
    ]
    return f"{Reason(parts[1]).name} {parts}" if parts and parts[0] == "drop" else str(parts)

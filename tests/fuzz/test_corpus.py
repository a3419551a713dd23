"""The committed corpora, judged without the fuzzer; and what the judges themselves must be able to see."""

import gc
import random
import sys
import time
from pathlib import Path

import pytest

from culvert.ipsec.drops import Reason
from culvert.ipsec.fragment import PACKETS_MAX, TRAIL_MAX
from culvert.ipsec.gateway import Gateway
from culvert.ipsec.sadb import Inbound
from culvert.ipsec.spd import FLOW_CACHE_MAX
from culvert.ipsec.verdict import Deliver
from tests.fuzz import script
from tests.fuzz.gateways import Play, stranger
from tests.fuzz.parts import NOW, with_true_length
from tests.fuzz.scenarios import ENDS, SCENARIOS, build, made_new
from tests.fuzz.targets import TARGETS

CORPUS = Path(__file__).parent / "corpus"
CPU_SECONDS_MAX = 2.0
OCTETS_MAX = 500 * 1024
ROUNDS = 6
BLOCKS_MAX = 300
BLOCKS_OF_PYTHON = 5


def corpus(name: str) -> list[bytes]:
    return [path.read_bytes() for path in sorted((CORPUS / name).iterdir())]


@pytest.mark.parametrize("name", TARGETS)
def test_every_input_of_the_corpus_is_judged_well(name: str) -> None:
    inputs = corpus(name)
    assert inputs
    for octets in inputs:
        started = time.process_time()
        TARGETS[name].judge(octets)
        assert time.process_time() - started < CPU_SECONDS_MAX


@pytest.mark.parametrize("name", TARGETS)
def test_nothing_is_left_of_an_input(name: str) -> None:
    """Error exits leak nothing: the same inputs again and again leave as many objects as before."""
    inputs, counts = corpus(name), []
    for _ in range(ROUNDS):
        for octets in inputs:
            TARGETS[name].judge(octets)
        gc.collect()
        counts.append(sys.getallocatedblocks())
    # Python keeps a little itself, of a pattern that matched and of a loop that was left early.
    assert counts[-1] - min(counts[1:3]) < max(BLOCKS_MAX, BLOCKS_OF_PYTHON * len(inputs)), counts


def test_the_corpora_are_small() -> None:
    assert sum(path.stat().st_size for path in CORPUS.rglob("*") if path.is_file()) < OCTETS_MAX
    assert {path.name for path in CORPUS.iterdir()} == set(TARGETS)


def hostile(chance: random.Random, packets: list[bytes]) -> bytes:
    """Another packet of a stranger's: from anywhere, often a fragment."""
    packet = bytearray(chance.choice(packets))
    for _ in range(3):
        packet[chance.randrange(len(packet))] = chance.randrange(256)
    at = 12 if packet[0] >> 4 == 4 else 8
    packet[at : at + 4] = chance.randbytes(4)
    return with_true_length(bytes(packet))


def kept(gateway: Gateway) -> int:
    """Objects alive, without the flow cache, which has a bound of its own."""
    for table in gateway.spd._tables.values():
        assert len(table._cache) <= FLOW_CACHE_MAX
        table._cache.clear()
    gc.collect()
    return sys.getallocatedblocks()


def test_a_gateway_keeps_a_bounded_amount_of_what_strangers_send() -> None:
    """One gateway, tens of thousands of packets that all are different: its tables fill up, and then stay."""
    chance, gateway, now = random.Random(1), build(SCENARIOS[0]).near, NOW
    packets = [octets for octets in corpus("ip") if len(octets) >= 40]
    counts = []
    for _ in range(6):
        for _ in range(4000):
            now += 0.002
            stranger(gateway, hostile(chance, packets), now)
        for way in (gateway._outgoing, gateway._incoming):
            assert len(way.reassembler) <= PACKETS_MAX and len(way.trail._seen) <= TRAIL_MAX
        counts.append(kept(gateway))
    # Room for the reassembler and both trails to be fuller or emptier than when the count began.
    assert counts[-1] - max(counts[:3]) < 20_000, counts
    assert all(set(record.usage.drops) <= set(Reason) for record in gateway.sadb)


def test_the_judge_notices_a_delivery_without_a_key() -> None:
    """A packet that the peer did seal, given out as a stranger's."""
    play = Play(made_new(ENDS[0]))
    clear = b"\x45" + bytes(8) + b"\x11" + bytes(10)
    packet = play._sealed(4, play._inner(clear, to_near=True), raw=False, gap=1)
    assert packet is not None
    with pytest.raises(AssertionError, match="stranger"):
        play.forged(packet, 0)


def test_the_harness_gets_behind_the_icv_in_every_scenario() -> None:
    """Else all the signing would judge nothing."""
    for ends in ENDS:
        play = Play(made_new(ends))
        # TCP to port 80, which every scenario lets through.
        if ends.scenario.outer == 4 or ends.scenario.mode.value == "tunnel":
            clear = b"\x45" + bytes(8) + b"\x06" + bytes(10) + b"\0\0\0\x50" + bytes(16)
        else:
            clear = b"\x60" + bytes(5) + b"\x06" + bytes(33) + b"\0\0\0\x50" + bytes(16)
        transport = ends.scenario.mode.value == "transport"
        inner = clear[20 if clear[0] == 0x45 else 40 :] if transport else play._inner(clear, to_near=True)
        packet = play._sealed(6 if transport else 4, inner, raw=False, gap=1)
        assert packet is not None
        assert isinstance(play.near.inbound(packet, NOW), Deliver), ends.scenario.name
        (record, *_) = (each for each in ends.near.sadb if isinstance(each, Inbound))
        assert record.usage.packets == 1


def test_any_octets_are_a_script() -> None:
    chance = random.Random(1)
    for octets in (b"", b"\0", *(chance.randbytes(size) for size in range(60))):
        scenario, steps = script.parse(octets)
        assert script.parse(script.emit(scenario, steps)) == (scenario, steps)
        changed = script.mutate(octets, 200, chance.randrange(99), lambda old, room: (old + b"\1")[:room])
        assert len(changed) <= 200

"""The native engine against the readable gateway, packet for packet: verdict, octets, reason, counts.

Packets are good, hostile and everything between, by the fuzzers' scripts and scenarios. CULVERT_SAME_PACKETS asks for
more of them: so many per scenario.
"""

# ruff: noqa: E402  (what is imported behind the first skip needs the engine)
import os
import random as seeded
from collections.abc import Iterator
from pathlib import Path

import pytest

culvert_native = pytest.importorskip(
    "culvert_native", reason="the native engine isn't built: it needs cargo (tools/engine)"
)

from culvert.ipsec.algorithms import AUTHS, CIPHERS, NONE
from culvert.ipsec.drops import TABLE, Reason
from culvert.ipsec.sa import Direction, Mode, Protocol
from culvert.ipsec.verdict import Deliver, Send
from tests.engine.clear import EXTENSIONS
from tests.engine.same import Same, with_plain_cbc
from tests.fuzz import gateways, scenarios, script
from tests.fuzz.gateways import BOTH, INBOUND, OUTBOUND, Act, Play
from tests.fuzz.parts import NOW
from tests.fuzz.scenarios import SCENARIOS, Scenario
from tests.fuzz.script import Step
from tests.ipsec.building import ipv4, ipv6, make_policy, make_sa
from tests.ipsec.building import udp as any_udp

STEPS = int(os.environ.get("CULVERT_SAME_PACKETS", "600"))


@pytest.fixture(autouse=True)
def cbc() -> Iterator[None]:
    with with_plain_cbc():
        yield


def test_the_table_of_reasons_is_the_same() -> None:
    assert culvert_native.reasons() == [(int(reason), TABLE[reason].word) for reason in Reason]


def chained(dice: seeded.Random, protocol: int, payload: bytes) -> tuple[int, bytes]:
    """The payload behind some extension headers, and what names the first of them."""
    for _ in range(dice.choice((0, 0, 0, 1, 2, 3))):
        payload = bytes((protocol,)) + dice.choice(EXTENSIONS) + payload
        protocol = dice.choice((0, 43, 44, 60))
    return protocol, payload


def clear_packet(dice: seeded.Random) -> bytes:
    """A clear packet of any sort, sometimes damaged."""
    size = dice.choice((0, 1, 7, 64, 512, 1200, 1372, 1400, 1448, 1500, 4000, 9000))
    protocol = dice.choice((17, 17, 6, 6, 1, 58, 47, 4, 41, 50, 51, 59, 108))
    payload = dice.randbytes(size) if dice.random() < 0.5 else bytes(size)
    traffic_class = dice.choice((0, 0, 1, 2, 3, 184, 255))
    if dice.random() < 0.5:
        options = dice.choice(
            (b"", b"", b"", b"\x94\x04\0\0", b"\x83\x07\x04\1\2\3\4\0", b"\x44\x04\x05\0" + dice.randbytes(4))
        )
        flags = dice.choice((0, 0, 0x4000, 0x2000, 0x2001, 0x00B9, 0x1FFF))
        identification = dice.choice((0, 1, 7))
        packet = bytearray(
            ipv4(
                payload,
                protocol=protocol,
                options=options,
                flags=flags,
                traffic_class=traffic_class,
                identification=identification,
                hops=dice.choice((64, 64, 1, 0)),
            )
        )
    else:
        protocol, payload = chained(dice, protocol, payload)
        packet = bytearray(ipv6(payload, protocol=protocol, traffic_class=traffic_class))
    for _ in range(dice.choice((0, 0, 0, 0, 1, 2, 5))):
        packet[dice.randrange(min(len(packet), 80))] ^= 1 << dice.randrange(8)
    if dice.random() < 0.05:
        del packet[dice.randrange(len(packet)) :]
    return bytes(packet)


def steps(dice: seeded.Random, count: int) -> Iterator[Step]:
    """Of a script: half of them have in front what the step reads there, see `Play.signed`."""
    for _ in range(count):
        clear = clear_packet(dice)
        if dice.random() < 0.5:
            next_header = dice.choice((4, 41, 17, 59, 108, dice.randrange(256)))
            clear = bytes((0, dice.randrange(256), next_header, dice.randrange(256))) + clear
        yield Step(eighths=dice.choice((0, 0, 0, 1, 8, 80)), kind=dice.randrange(256), octets=clear)


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.name)
def test_scripts_of_packets_come_to_the_same(scenario: Scenario) -> None:
    dice = seeded.Random(f"{scenario.name} {STEPS}")
    for _ in range(max(1, STEPS // 200)):
        play = Play(scenarios.build(scenario, Same))
        play.run(list(steps(dice, 200)), BOTH)
        assert isinstance(play.near, Same)
        play.near.compare_counts()


CORPUS = Path(gateways.__file__).parent / "corpus"
PLAYS: dict[str, tuple[Act, ...]] = {"inbound": INBOUND, "outbound": OUTBOUND, "gateway": BOTH}


@pytest.mark.parametrize("target", PLAYS)
def test_what_the_fuzzer_found_comes_to_the_same(target: str) -> None:
    played = 0
    for path in sorted((CORPUS / target).iterdir()):
        scenario, script_steps = script.parse(path.read_bytes())
        play = Play(scenarios.build(SCENARIOS[scenario % len(SCENARIOS)], Same))
        play.run(script_steps, PLAYS[target])
        assert isinstance(play.near, Same)
        play.near.compare_counts()
        played += 1
    assert played >= 40


ALGORITHMS = [(name, NONE) if row.combined else (name, "sha1") for name, row in CIPHERS.items()]
ALGORITHMS += [("aes128", name) for name, row in AUTHS.items() if not row.only_ah]


def both_ends(**settings: object) -> tuple[Same, Same]:
    """Sender and receiver of one SA, with a selector for each family."""
    ends = []
    for direction in (Direction.OUT, Direction.IN):
        gateway = Same(seeded.Random(3).randbytes)
        sa = make_sa(direction, **settings)  # type: ignore[arg-type]
        gateway.add_sa(sa, now=NOW)
        for inner in (4, 6):
            gateway.add_policy(
                make_policy(direction, inner=inner, label=f"/Common/{inner}", protocol=sa.protocol, mode=sa.mode)
            )
        ends.append(gateway)
    return ends[0], ends[1]


def sizes(dice: seeded.Random) -> list[int]:
    return [*range(0, 70), *(dice.randrange(70, 1500) for _ in range(30)), 8900]


@pytest.mark.parametrize("esn", [False, True], ids=["short", "esn"])
@pytest.mark.parametrize(("cipher", "auth"), ALGORITHMS, ids=lambda name: name)
def test_every_algorithm_of_esp_makes_the_same_octets(cipher: str, auth: str, esn: bool) -> None:
    dice = seeded.Random(f"{cipher} {auth}")
    sender, receiver = both_ends(cipher=cipher, auth=auth, esn=esn)
    for size in sizes(dice):
        sent = sender.outbound(ipv4(any_udp(data=dice.randbytes(size))), NOW)
        assert isinstance(sent, Send)
        damaged = bytearray(sent.packet)
        damaged[dice.randrange(20, len(damaged))] ^= 1 << dice.randrange(8)
        receiver.inbound(bytes(damaged), NOW)
        assert isinstance(receiver.inbound(sent.packet, NOW), Deliver)
    receiver.compare_counts()


@pytest.mark.parametrize("esn", [False, True], ids=["short", "esn"])
@pytest.mark.parametrize("outer", [4, 6])
@pytest.mark.parametrize("auth", AUTHS)
def test_every_algorithm_of_ah_makes_the_same_octets(auth: str, outer: int, esn: bool) -> None:
    dice = seeded.Random(auth)
    sender, receiver = both_ends(protocol=Protocol.AH, auth=auth, esn=esn, outer=outer)
    for size in sizes(dice):
        sent = sender.outbound(ipv6(any_udp(data=dice.randbytes(size))), NOW)
        assert isinstance(sent, Send)
        damaged = bytearray(sent.packet)
        damaged[dice.randrange(20 if outer == 4 else 40, len(damaged))] ^= 1 << dice.randrange(8)
        receiver.inbound(bytes(damaged), NOW)
        assert isinstance(receiver.inbound(sent.packet, NOW), Deliver)
    receiver.compare_counts()


BATCHES: list[dict[str, object]] = [
    {"cipher": "aes-gcm128"},
    {"cipher": "aes-gcm256", "esn": True, "outer": 6},
    {"cipher": "chacha20-poly1305", "replay_window": 0},
    {"cipher": "null", "auth": "sha256", "replay_window": 32},
    {"cipher": "aes-ctr128", "auth": "aes-xcbc", "path_mtu": 600},
    {"cipher": "aes-gcm128", "mss": 1000, "replay_window": 4096},
    {"cipher": "aes-gcm128", "mode": Mode.TRANSPORT},
    {"cipher": "aes-ccm128", "compression": 2, "tfc_octets": 200},
]


@pytest.mark.parametrize("settings", BATCHES, ids=lambda settings: "-".join(map(str, settings.values())))
def test_a_batch_comes_to_what_its_packets_come_to(settings: dict[str, object]) -> None:
    dice = seeded.Random(str(settings))
    sender, receiver = both_ends(**settings)
    pool: list[bytes] = []
    for _ in range(max(1, STEPS // 40)):
        clear = [with_df(clear_packet(dice)) for _ in range(dice.choice((1, 2, 17, 64)))]
        for verdict in sender.outbound_batch(clear, NOW):
            pool += [verdict.packet, *verdict.rest] if isinstance(verdict, Send) else []
        arriving = [hostile(dice, packet) for packet in dice.choices(pool, k=40)] if pool else []
        receiver.inbound_batch(arriving, NOW)
        del pool[:-100]
        sender.compare_counts()
        receiver.compare_counts()


def with_df(packet: bytes) -> bytes:
    """With the DF bit, so that no outer header asks the dice for an identification: a batch asks in another order."""
    return (
        packet[:6] + bytes((packet[6] | 0x40,)) + packet[7:] if packet[:1] == b"\x45" and len(packet) > 20 else packet
    )


def hostile(dice: seeded.Random, packet: bytes) -> bytes:
    if dice.random() < 0.7:
        return packet
    changed = bytearray(packet)
    changed[dice.randrange(len(changed))] ^= 1 << dice.randrange(8)
    return bytes(changed[: dice.randrange(len(changed) + 1)] if dice.random() < 0.3 else changed)

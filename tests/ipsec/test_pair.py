"""Two gateways over a memory link that loses, repeats, reorders and damages packets, with the clock in hand.

Whatever the link does: nothing is delivered twice, nothing altered is delivered, and every packet is delivered, held,
lost by the link or dropped for a reason, with sums that match.
"""

import random as seeded
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from culvert.ipsec.algorithms import CIPHERS
from culvert.ipsec.drops import Reason
from culvert.ipsec.fragment import WAIT_SECONDS
from culvert.ipsec.gateway import Gateway
from culvert.ipsec.ipcomp import CPI_DEFLATE
from culvert.ipsec.lifetime import Lifetime, Limits
from culvert.ipsec.sa import Copy, Fragmentation, HeaderRules, Mode, Protocol, UdpPorts
from culvert.ipsec.verdict import Deliver, Drop, Hold, Send
from tests.ipsec.building import NOW, dropped, end_to_end, packet_of, parsed, receiver, sender, sent, udp

WINDOW = 64
COUNT = 150
EDGE = 2**32 - COUNT // 2

AH: dict[str, Any] = {"protocol": Protocol.AH}
TRANSPORT: dict[str, Any] = {"mode": Mode.TRANSPORT}
CUT = {
    "path_mtu": 1280,
    "fragmentation": Fragmentation.AFTER,
    "header": HeaderRules(dont_fragment=Copy.CLEAR),
}
WAYS: dict[str, dict[str, Any]] = {
    "esp": {},
    "esp-gcm": {"cipher": "aes-gcm256"},
    "esp-transport": TRANSPORT,
    "ah": AH,
    "ah-transport": AH | TRANSPORT,
    "ah-gmac": AH | {"auth": "aes-gmac128"},
    "bundle": {"bundle_ah": True},
    "bundle-transport": TRANSPORT | {"bundle_ah": True},
    "udp": {"encapsulation": UdpPorts()},
    "udp-transport": TRANSPORT | {"encapsulation": UdpPorts()},
    "esn": {"esn": True, "sequence": EDGE},
    "esn-ah": AH | {"esn": True, "sequence": EDGE},
    "esn-chacha": {"cipher": "chacha20-poly1305", "esn": True, "sequence": EDGE},
    "ipcomp": {"compression": CPI_DEFLATE},
    "ipcomp-ah-transport": AH | TRANSPORT | {"compression": CPI_DEFLATE},
    "padded": {"tfc_octets": 1200},
    "cut-behind": CUT,
    "cut-behind-bundle": CUT | {"bundle_ah": True},
    "mortal": {"lifetime": Lifetime(hard=Limits(seconds=100))},
}


@dataclass
class Link:
    """What happens to packets between the two; every packet is counted."""

    dice: seeded.Random
    loss: float = 0.0
    duplication: float = 0.0
    corruption: float = 0.0
    reach: int = 0
    """How many places a packet may be late."""
    taken: int = 0
    lost: int = 0
    copies: int = 0
    waiting: list[tuple[int, int, bytes]] = field(default_factory=list)

    def put(self, packet: bytes, position: int) -> None:
        self.taken += 1
        if self.dice.random() < self.loss:
            self.lost += 1
            return
        times = 2 if self.dice.random() < self.duplication else 1
        self.copies += times - 1
        for copy in range(times):
            octets = self._damage(packet) if self.dice.random() < self.corruption else packet
            self.waiting.append((position + self.dice.randint(0, self.reach), copy, octets))

    def _damage(self, packet: bytes) -> bytes:
        octets = bytearray(packet)
        bit = self.dice.randrange(len(packet) * 8)
        octets[bit // 8] ^= 1 << bit % 8
        return bytes(octets)

    def take(self) -> list[bytes]:
        return [packet for _, _, packet in sorted(self.waiting, key=lambda entry: entry[:2])]


@dataclass
class Story:
    """What became of packets. `refused`: by the sender."""

    numbers: list[int] = field(default_factory=list)
    drops: Counter[Reason] = field(default_factory=Counter)
    refused: Counter[Reason] = field(default_factory=Counter)
    held: int = 0

    @property
    def arrived(self) -> int:
        return len(self.numbers) + self.drops.total() + self.held


Make = Callable[[int], bytes]


def maker(inner: int, way: dict[str, Any]) -> Make:
    """The packet of a number, which is in its last octets."""
    make = end_to_end if way.get("mode") is Mode.TRANSPORT else packet_of
    many = way is not WAYS["esp"]
    return lambda index: make(inner, udp(data=bytes(index % 37 * (60 if many else 1)) + index.to_bytes(4)))


def number(packet: bytes) -> int:
    return int.from_bytes(packet[-4:])


def is_same(packet: bytes, original: bytes, way: dict[str, Any]) -> bool:
    """In transport mode the header itself is not protected (of ESP), or parts of it may change (of AH)."""
    if way.get("mode") is not Mode.TRANSPORT:
        return packet == original
    return packet[parsed(packet).offset :] == original[parsed(original).offset :]


def run(here: Gateway, there: Gateway, link: Link, make: Make, way: dict[str, Any]) -> Story:
    story = Story()
    for index in range(COUNT):
        verdict = here.outbound(make(index), NOW + index)
        if isinstance(verdict, Drop):
            story.refused[verdict.reason] += 1
            continue
        for packet in (sent(verdict).packet, *sent(verdict).rest):
            link.put(packet, index)
    for packet in link.take():
        hear(there, packet, make, way, story)
    return story


def hear(there: Gateway, packet: bytes, make: Make, way: dict[str, Any], story: Story) -> None:
    verdict = there.inbound(packet, NOW + 50)
    if isinstance(verdict, Drop):
        story.drops[verdict.reason] += 1
    elif isinstance(verdict, Hold):
        story.held += 1
    else:
        assert isinstance(verdict, Deliver)
        index = number(verdict.packet)
        assert index < COUNT and is_same(verdict.packet, make(index), way), "something altered was delivered"
        story.numbers.append(index)


def pair(way: dict[str, Any], outer: int) -> tuple[Gateway, Gateway]:
    cut = {name: way[name] for name in way if name not in CUT}
    return sender(outer=outer, **way), receiver(outer=outer, replay_window=WINDOW, **cut)


@settings(max_examples=150, deadline=None)
@given(
    seed=st.integers(0, 2**32),
    name=st.sampled_from(sorted(WAYS)),
    outer=st.sampled_from((4, 6)),
    inner=st.sampled_from((4, 6)),
    loss=st.sampled_from((0.0, 0.1, 0.5)),
    duplication=st.sampled_from((0.0, 0.3)),
    corruption=st.sampled_from((0.0, 0.2)),
    reach=st.sampled_from((0, 10, 300)),
)
def test_nothing_false_arrives_and_nothing_is_uncounted(
    seed: int, name: str, outer: int, inner: int, loss: float, duplication: float, corruption: float, reach: int
) -> None:
    way = WAYS[name]
    make = maker(outer if way.get("mode") is Mode.TRANSPORT else inner, way)
    here, there = pair(way, outer)
    link = Link(seeded.Random(seed), loss, duplication, corruption, reach)
    story = run(here, there, link, make, way)
    assert len(story.numbers) == len(set(story.numbers)), "a packet was delivered twice"
    assert story.arrived == link.taken - link.lost + link.copies
    check_counts(here, there, story, way)
    if not corruption:
        check_harmless(story, link, name, reach, there)


def check_counts(here: Gateway, there: Gateway, story: Story, way: dict[str, Any]) -> None:
    went = COUNT - story.refused.total()
    for record in here.sadb:
        assert record.usage.packets == went
        assert record.sequence == way.get("sequence", 0) + went
    assert sum(story.refused.values()) == sum(sum(record.usage.drops.values()) for record in here.sadb)
    counted: Counter[Reason] = Counter()
    for record in there.sadb:
        assert record.usage.packets == len(story.numbers)
        counted.update(record.usage.drops)
    # What is dropped before the SA is known (a damaged SPI or address) is in no SA's count.
    assert counted <= story.drops


def check_harmless(story: Story, link: Link, name: str, reach: int, there: Gateway) -> None:
    """On a link that damages nothing, the only reasons are replays and fragments that lack others."""
    # What lies behind a window of extended numbers is taken for one of 2**32 later, and isn't signed as that.
    far_behind = {Reason.INTEGRITY} if "esn" in name and reach >= WINDOW else set()
    assert set(story.drops) <= {Reason.REPLAY, Reason.REASSEMBLY} | far_behind
    assert set(story.refused) <= ({Reason.EXPIRED_OUT} if name == "mortal" else set())
    assert (Reason.EXPIRED_OUT in story.refused) is (name == "mortal")
    list(there.expire(NOW + 50 + WAIT_SECONDS))
    if "cut" in name:
        return
    assert not story.held
    if reach < WINDOW:
        assert story.drops[Reason.REPLAY] == link.copies
        assert len(story.numbers) == link.taken - link.lost
    if reach < WINDOW and not link.loss:
        assert sorted(story.numbers) == list(range(COUNT - story.refused.total()))


@pytest.mark.parametrize("outer", [4, 6])
@pytest.mark.parametrize("name", sorted(WAYS))
def test_a_good_link_delivers_everything(name: str, outer: int) -> None:
    """Across the edge of 2**32 too, and in pieces."""
    way = WAYS[name]
    make = maker(outer, way)
    here, there = pair(way, outer)
    link = Link(seeded.Random(1), reach=20)
    story = run(here, there, link, make, way)
    assert sorted(story.numbers) == list(range(COUNT - story.refused.total()))
    assert not story.drops and story.refused == ({Reason.EXPIRED_OUT: 50} if name == "mortal" else {})
    assert link.taken > COUNT if "cut" in name else not story.held
    if way.get("esn"):
        (record,) = there.sadb
        assert record.sequence == EDGE + COUNT > 2**32


def test_pieces_that_lack_others_are_given_up_and_reported() -> None:
    way = WAYS["cut-behind"]
    here, there = pair(way, 4)
    make = maker(4, way)
    firsts = 0
    for index in range(COUNT):
        verdict = here.outbound(make(index), NOW)
        assert isinstance(verdict, Send)
        if verdict.rest:
            firsts += 1
            assert isinstance(there.inbound(verdict.packet, NOW), Hold)
    assert firsts > 50
    given_up = list(there.expire(NOW + WAIT_SECONDS))
    assert len(given_up) == firsts
    assert {each.drop.reason for each in given_up} == {Reason.REASSEMBLY_TIMEOUT}


@pytest.mark.parametrize("outer", [4, 6])
@pytest.mark.parametrize("name", ["esp", "ah", "bundle", "udp", "esn", "esn-ah", "ipcomp"])
def test_no_single_bit_makes_a_false_packet(name: str, outer: int) -> None:
    """Only what the outer header may change on the way, and this gateway has no use for, may be damaged: once."""
    way = WAYS[name]
    packet = sent(sender(outer=outer, **way).outbound(packet_of(4), NOW)).packet
    there = receiver(outer=outer, **way)
    delivered = 0
    for bit in range(len(packet) * 8):
        octets = bytearray(packet)
        octets[bit // 8] ^= 1 << bit % 8
        verdict = there.inbound(bytes(octets), NOW)
        if isinstance(verdict, Deliver):
            delivered += 1
            assert verdict.packet == packet_of(4)
            # The ports and the checksum of UDP are a NAT's to change.
            assert bit // 8 < (20 if outer == 4 else 40) + (8 if name == "udp" else 0)
            there = receiver(outer=outer, **way)
    assert delivered < 250
    assert isinstance(there.inbound(packet, NOW), Deliver)


@pytest.mark.parametrize("cipher", sorted(CIPHERS))
def test_a_restarted_sender_goes_on_counting_and_is_heard(cipher: str) -> None:
    there = receiver(cipher)
    for first in (0, 500, 2**20):
        here = sender(cipher, sequence=first, seed=first)
        for _ in range(5):
            assert isinstance(there.inbound(sent(here.outbound(packet_of(4), NOW)).packet, NOW), Deliver)


def test_a_sender_that_forgot_its_counter_is_a_replay() -> None:
    there = receiver()
    here = sender()
    packets = [sent(here.outbound(packet_of(4), NOW)).packet for _ in range(200)]
    assert all(isinstance(there.inbound(packet, NOW), Deliver) for packet in packets)
    again = there.inbound(sent(sender(seed=9).outbound(packet_of(4), NOW)).packet, NOW)
    assert dropped(again).reason is Reason.REPLAY

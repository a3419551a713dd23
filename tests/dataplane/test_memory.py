"""The plane in memory: two of them talk, with the test as network and clock."""

import os
from ipaddress import ip_address

import pytest
from scapy.layers.inet import ICMP, IP, UDP

from culvert.change import AddSa, Change, RemoveSa
from culvert.dataplane.memory import MemoryPlane
from culvert.dataplane.plane import PlaneError
from culvert.ipsec.drops import Reason
from culvert.ipsec.lifetime import Lifetime, Limits, State
from culvert.ipsec.verdict import Bypass, Deliver, Drop, Send
from tests.dataplane.sites import IN, OUT, association, forwarder, links, selectors, shaped, signing, site

PACKET = bytes(IP(src="10.1.0.5", dst="10.2.0.5") / UDP(sport=1, dport=2) / b"hello")


def plane(side: str = "") -> MemoryPlane:
    made = MemoryPlane(random=os.urandom, clock=lambda: 1000.0)
    if side:
        made.apply(site(side))
    return made


def sent(gateway: MemoryPlane, packet: bytes = PACKET, now: float = 1001.0) -> Send:
    verdict = gateway.outbound(packet, now)
    assert isinstance(verdict, Send)
    return verdict


def test_a_packet_goes_through_both() -> None:
    one, other = plane("a"), plane("b")
    outer = sent(one)
    assert outer.destination == ip_address("3.3.3.3")
    inner = other.inbound(outer.packet, 1002.0)
    assert isinstance(inner, Deliver)
    assert inner.packet == PACKET
    assert (one.worker_stats()[3].packets_out, one.worker_stats()[3].octets_out) == (1, len(PACKET))
    assert (other.worker_stats()[3].packets_in, other.worker_stats()[3].octets_in) == (1, len(PACKET))
    use = {each.sa.direction: each for each in other.usage()}
    assert (use[IN].packets, use[IN].octets, use[IN].last_use, use[IN].sequence) == (1, len(PACKET), 1002.0, 1)
    assert use[OUT].packets == 0


def test_drops_are_counted_and_described() -> None:
    one, other = plane("a"), plane("b")
    outer = sent(one).packet
    other.inbound(outer, 1002.0)
    assert isinstance(other.inbound(outer, 1003.0), Drop)
    (drop,) = other.drops()
    assert (drop.reason, drop.packets, drop.when) == (Reason.REPLAY, 1, 1003.0)
    assert drop.last == "2.2.2.2 -> 3.3.3.3 SPI(0x3e8) seq 1 (/Common/sa-in-4)"
    other.reset_stats()
    assert other.drops() == []
    assert all(each.packets == 0 and not each.drops for each in other.usage())
    assert [each.sequence for each in other.usage() if each.sa.direction is IN] == [1]


def test_what_no_selector_wants_is_the_callers() -> None:
    assert isinstance(plane().outbound(PACKET, 1.0), Bypass)


def test_same_keys_go_on_counting() -> None:
    one = plane("a")
    sent(one)
    one.apply([RemoveSa(association("a", OUT))])
    one.apply([RemoveSa(association("a", OUT)).inverse()])
    sent(one)
    assert one.usage()[-1].sequence == 2


def test_batch_is_all_or_nothing() -> None:
    one = plane("a")
    before = one.usage(), one.links()
    with pytest.raises(PlaneError) as caught:
        one.apply([forwarder("10.9.0.0/16", "/Common/more"), *selectors("a", inner=6), *links()])
    assert caught.value.change == links()[0]
    assert caught.value.sentence == "/Common/wan is there already"
    assert (one.usage(), one.links()) == before
    assert "/Common/more" not in [each.label for each in one.forwarder_stats()]
    one.apply(selectors("a", inner=6))


def test_every_change_can_be_taken_back() -> None:
    one = plane("a")
    one.apply([change.inverse() for change in reversed(site("a"))])
    assert one.usage() == one.links() == one.forwarder_stats() == []
    assert isinstance(one.outbound(PACKET, 1.0), Bypass)
    with pytest.raises(PlaneError, match="is not there"):
        one.apply([links()[0].inverse()])


def bundled(side: str) -> list[Change]:
    return [*shaped(site(side), policy={"bundle_ah": True}), *signing(side)]


def test_bundle_goes_through_both() -> None:
    one, other = plane(), plane()
    one.apply(bundled("a"))
    other.apply(bundled("b"))
    inner = other.inbound(sent(one).packet, 1002.0)
    assert isinstance(inner, Deliver)
    assert inner.packet == PACKET
    assert [row.packets_out for row in one.worker_stats()] == [1, 0, 0, 1]
    assert [row.packets_in for row in other.worker_stats()] == [1, 0, 0, 1]


def test_a_life_goes_on_when_its_sa_is_replaced() -> None:
    one = plane()
    limits = {"lifetime": Lifetime(soft=Limits(packets=2))}
    one.apply(shaped(site("a"), sa=limits))
    sent(one)
    one.reset_stats()
    old = shaped([AddSa(association("a", OUT))], sa=limits)
    one.apply([old[0].inverse(), *old])
    assert one.tick(1001.0) == []
    sent(one)
    use = one.usage()[-1]
    assert (use.packets, use.life_packets, use.life_octets, use.state) == (1, 2, 2 * len(PACKET), State.DYING)
    assert one.tick(1002.0) == ["IPsec-SA /Common/sa-out-4 spi=1000(0x3e8): soft lifetime of packets reached"]


def test_replays_are_audited() -> None:
    one, other = plane("a"), plane("b")
    outer = sent(one).packet
    for _ in range(3):
        other.inbound(outer, 1002.0)
    assert other.tick(1003.0) == [
        "audit: 2 packets dropped: replay (RFC 4303 section 3.4.3); the last: "
        "2.2.2.2 -> 3.3.3.3 SPI(0x3e8) seq 1 (/Common/sa-in-4)"
    ]
    assert other.tick(1004.0) == []


def test_path_mtu_is_told_and_not_forged() -> None:
    one = plane("a")
    outer = sent(one).packet
    one.told_too_big(bytes(IP(dst="2.2.2.2") / ICMP(type=3, code=4, nexthopmtu=900) / outer[:28]), 1001.0)
    assert one.usage()[-1].path_mtu == 900
    unknown = outer[:20] + bytes(8)
    one.told_too_big(bytes(IP(dst="2.2.2.2") / ICMP(type=3, code=4, nexthopmtu=800) / unknown), 1001.0)
    assert one.usage()[-1].path_mtu == 900
    assert [drop.reason for drop in one.drops()] == [Reason.FORGED_TOO_BIG]


def test_chores_send_dummies() -> None:
    one, other = plane(), plane("b")
    one.apply(shaped(site("a"), sa={"dummy_seconds": 5}))
    assert one.chores(1004.0) == []
    (dummy,) = one.chores(1005.0)
    verdict = other.inbound(dummy.packet, 1005.0)
    assert isinstance(verdict, Drop)
    assert verdict.reason is Reason.DUMMY

"""A gateway from end to end: what one sends the other delivers, what it does by itself, and how it is changed."""

from typing import Any

import pytest

from culvert.ipsec.algorithms import AUTHS, CIPHERS
from culvert.ipsec.drops import Reason
from culvert.ipsec.fragment import WAIT_SECONDS, split
from culvert.ipsec.gateway import Expired, Gateway
from culvert.ipsec.lifetime import Lifetime, Limits
from culvert.ipsec.sa import Direction, Mode, Protocol, UdpPorts
from culvert.ipsec.sadb import DuplicateSa, Outbound
from culvert.ipsec.verdict import Deliver, Drop, Hold, Send
from tests.ipsec.building import (
    NOW,
    OUTER,
    SPI,
    around_it,
    delivered,
    dropped,
    end_to_end,
    gateway_of,
    ipv4,
    make_policy,
    make_sa,
    make_selector,
    packet_of,
    parsed,
    receiver,
    sender,
    sent,
    udp,
)

IN, OUT = Direction.IN, Direction.OUT
PROTECTIONS: list[dict[str, Any]] = [
    *({"cipher": cipher} for cipher in CIPHERS),
    *({"protocol": Protocol.AH, "auth": auth} for auth in AUTHS),
    {"auth": "sha512", "esn": True},
    {"cipher": "aes-gcm128", "bundle_ah": True},
    {"encapsulation": UdpPorts(), "compression": 2, "tfc_octets": 200},
]


@pytest.mark.parametrize("protection", PROTECTIONS, ids=str)
@pytest.mark.parametrize("outer", [4, 6])
@pytest.mark.parametrize("mode", list(Mode))
def test_what_one_sends_the_other_delivers(mode: Mode, outer: int, protection: dict[str, Any]) -> None:
    here, there = sender(outer=outer, mode=mode, **protection), receiver(outer=outer, mode=mode, **protection)
    lengths = []
    for count in range(1, 20):
        inner = outer if mode is Mode.TRANSPORT else (4, 6)[count % 2]
        make = end_to_end if mode is Mode.TRANSPORT else packet_of
        packet = make(inner, udp(data=bytes(count * 10)))
        lengths.append(len(packet))
        out = sent(here.outbound(packet, NOW + count))
        assert (out.destination, out.rest) == (OUTER[outer][1], ())
        assert out.sa is out.record.sa and out.policy and out.policy.label == f"/Common/ts{inner}"
        assert out.record.sequence == count
        back = delivered(there.inbound(out.packet, NOW + count))
        assert back.packet == packet
        assert back.sa is back.record.sa and back.policy.label == f"/Common/ts{inner}"
        assert back.record.sequence == count
        for verdict in (out, back):
            assert (verdict.bundled is not None) is ("bundle_ah" in protection)
            assert verdict.bundled is None or verdict.bundled.sequence == count
    for record in (*here.sadb, *there.sadb):
        assert record.usage.packets == 19 and record.usage.drops == {}
        assert record.usage.octets == sum(lengths)
        assert (record.usage.created, record.usage.last_use) == (NOW, NOW + 19)


@pytest.mark.parametrize("traffic_class", [0, 1, 2, 3, 0xB8, 0xFF])
@pytest.mark.parametrize("outer", [4, 6])
@pytest.mark.parametrize("inner", [4, 6])
def test_dscp_and_ecn_are_copied_out(traffic_class: int, outer: int, inner: int) -> None:
    packet = packet_of(inner, traffic_class=traffic_class)
    assert parsed(sent(sender(outer=outer).outbound(packet, NOW)).packet).traffic_class == traffic_class


def test_an_sa_is_changed_without_the_other_noticing() -> None:
    here = sender()
    here.add_sa(make_sa(OUT, spi=5000, reqid=8), now=NOW)
    with pytest.raises(DuplicateSa):
        here.add_sa(make_sa(OUT), now=NOW)
    sent(here.outbound(packet_of(4), NOW))
    record = here.remove_sa(make_sa(OUT, spi=5000, reqid=8))
    assert record.usage.packets == 0
    assert sent(here.outbound(packet_of(4), NOW)).record.sequence == 2


def test_verdicts_can_be_taken_apart_by_name_and_place() -> None:
    verdict = sender().outbound(packet_of(4), NOW)
    match verdict:
        case Send(packet, destination, sa, policy):
            assert (packet, destination) == (verdict.packet, OUTER[4][1])
            assert policy and (sa.label, policy.label) == ("/Common/sa-out", "/Common/ts4")
        case _:
            pytest.fail("no Send")
    match receiver().inbound(packet, NOW):
        case Deliver(inner, sa, policy):
            assert inner == packet_of(4) and sa.label == "/Common/sa-in" and policy.label == "/Common/ts4"
        case _:
            pytest.fail("no Deliver")


# By itself


def due(gateway: Gateway, now: float) -> list[Send | Drop]:
    return list(gateway.due(now))


def test_nothing_is_sent_unasked() -> None:
    assert due(sender(), NOW + 1e6) == []
    assert due(receiver(), NOW + 1e6) == []


DUMMIES: list[dict[str, Any]] = [
    {},
    {"cipher": "aes-gcm128", "esn": True},
    {"protocol": Protocol.AH},
    {"encapsulation": UdpPorts()},
    {"mode": Mode.TRANSPORT},
    {"compression": 2},
]


@pytest.mark.parametrize("case", DUMMIES, ids=str)
@pytest.mark.parametrize("outer", [4, 6])
def test_the_dummy_of_a_silent_sa(outer: int, case: dict[str, Any]) -> None:
    """RFC 4303 section 2.6: next header 59; the receiver drops it without ado."""
    here, there = sender(outer=outer, dummy_seconds=10, **case), receiver(outer=outer, **case)
    assert due(here, NOW + 9) == []
    (dummy,) = due(here, NOW + 10)
    assert isinstance(dummy, Send) and dummy.policy is None and dummy.rest == ()
    assert (dummy.record.sequence, dummy.destination) == (1, OUTER[outer][1])
    assert parsed(dummy.packet).length == len(dummy.packet)
    drop = dropped(there.inbound(dummy.packet, NOW))
    assert drop.reason is Reason.DUMMY and drop.record is not None
    assert dropped(there.inbound(dummy.packet, NOW)).reason is Reason.REPLAY
    # Silence begins anew; a packet of the user's ends it too.
    assert due(here, NOW + 19) == [] and len(due(here, NOW + 20)) == 1
    packet = end_to_end(outer) if "mode" in case else packet_of(4)
    sent(here.outbound(packet, NOW + 25))
    assert due(here, NOW + 30) == [] and len(due(here, NOW + 35)) == 1


def test_a_dummy_is_no_traffic_of_the_users() -> None:
    here = sender(dummy_seconds=10)
    due(here, NOW + 10)
    (record,) = here.sadb
    assert (record.usage.packets, record.usage.octets) == (0, 0)


@pytest.mark.parametrize("tfc_octets", [0, 500, 65535])
@pytest.mark.parametrize("outer", [4, 6])
def test_a_dummy_is_as_large_as_what_is_padded_and_fits_the_path(outer: int, tfc_octets: int) -> None:
    for path_mtu in (0, 1500, 100):
        here = sender(outer=outer, dummy_seconds=1, tfc_octets=tfc_octets, path_mtu=path_mtu)
        (dummy,) = due(here, NOW + 1)
        assert isinstance(dummy, Send)
        length = len(dummy.packet)
        assert length <= (path_mtu or 65575)
        if path_mtu == 1500 and tfc_octets == 500:
            assert length == len(sent(here.outbound(ipv4(bytes(480)), NOW)).packet)
        assert dropped(receiver(outer=outer).inbound(dummy.packet, NOW)).reason is Reason.DUMMY


def test_no_dummy_of_the_dead_and_none_without_a_number() -> None:
    here = sender(dummy_seconds=1, lifetime=Lifetime(hard=Limits(seconds=100)))
    assert len(due(here, NOW + 99)) == 1
    assert due(here, NOW + 1000) == []
    here = sender(dummy_seconds=1, sequence=2**32 - 1)
    (drop,) = due(here, NOW + 1)
    assert isinstance(drop, Drop) and drop.reason is Reason.SEQUENCE_EXHAUSTED
    (record,) = here.sadb
    assert isinstance(record, Outbound) and record.sequence == 2**32 - 1


@pytest.mark.parametrize("outer", [4, 6])
def test_keep_alives(outer: int) -> None:
    """RFC 3948 section 2.3: one octet, from the ports of the SA, when nothing was sent for a while."""
    ports = UdpPorts(4500, 40000)
    here, there = (make(outer=outer, encapsulation=ports, **more) for make, more in
                   ((sender, {"keep_alive_seconds": 20}), (receiver, {})))  # fmt: skip
    assert due(here, NOW + 19) == []
    (alive,) = due(here, NOW + 20)
    assert isinstance(alive, Send) and alive.policy is None
    assert parsed(alive.packet).key[2:] == (17, 4500, 40000)
    assert alive.packet[-1:] == b"\xff" and len(alive.packet) == (20 if outer == 4 else 40) + 9
    assert there.inbound(alive.packet, NOW) == Drop(Reason.KEEP_ALIVE)
    assert alive.record.sequence == 0 and alive.record.usage.packets == 0
    assert due(here, NOW + 39) == [] and len(due(here, NOW + 40)) == 1
    sent(here.outbound(packet_of(4), NOW + 45))
    assert due(here, NOW + 64) == [] and len(due(here, NOW + 65)) == 1


# Fragments that wait


def test_fragments_whose_rest_does_not_come_are_given_up() -> None:
    here, there = sender(mode=Mode.TRANSPORT, path_mtu=1400), receiver(mode=Mode.TRANSPORT)
    clear = end_to_end(4, udp(data=bytes(3000)))
    first, *_ = split(clear, parsed(clear), 1500, 0)
    assert here.outbound(first, NOW) == Hold()
    out = sent(sender(mode=Mode.TRANSPORT, path_mtu=1400).outbound(clear, NOW))
    assert there.inbound(out.packet, NOW) == Hold()
    for gateway, piece in ((here, first), (there, out.packet)):
        assert list(gateway.expire(NOW + WAIT_SECONDS - 1)) == []
        assert list(gateway.expire(NOW + WAIT_SECONDS)) == [Expired(piece, Drop(Reason.REASSEMBLY_TIMEOUT))]
        assert list(gateway.expire(NOW + 999)) == []


@pytest.mark.parametrize("change", ["add", "remove"])
def test_a_change_of_the_policies_forgets_where_first_fragments_went(change: str) -> None:
    here = gateway_of(make_sa(OUT), policies=False)
    everything = ("0.0.0.0/0", "0.0.0.0/0")
    here.add_policy(make_policy(OUT, make_selector(*everything, 17, None, (53, 53))))
    other = make_policy(OUT, make_selector("10.9.0.0/16", "10.9.0.0/16"), order=5, label="other")
    if change == "remove":
        here.add_policy(other)
    first, later = ipv4(udp(data=bytes(8)), flags=0x2000), ipv4(bytes(8), flags=0x0002)
    sent(here.outbound(first, NOW))
    sent(here.outbound(later, NOW))
    (here.add_policy if change == "add" else here.remove_policy)(other)
    assert dropped(here.outbound(later, NOW)).reason is Reason.FRAGMENT_PORTS


def test_the_sas_of_a_bundle_are_two() -> None:
    gateway = gateway_of(make_sa(OUT), bundle_ah=True)
    assert [record.sa.spi for record in gateway.sadb] == [SPI, around_it(make_sa(OUT)).spi]

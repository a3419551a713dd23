"""How long an SA lives: by time, octets and packets, soft and hard."""

import pytest

from culvert.ipsec.drops import Reason
from culvert.ipsec.lifetime import UNLIMITED, Lifetime, Limits, State
from culvert.ipsec.sa import Direction
from culvert.ipsec.sadb import Record
from tests.ipsec.building import (
    NOW,
    around_it,
    delivered,
    dropped,
    gateway_of,
    ipv4,
    make_policy,
    make_sa,
    packet_of,
    receiver,
    sender,
    sent,
)

LIMITS = Limits(seconds=100, octets=1000, packets=10)


@pytest.mark.parametrize(
    ("used", "word"),
    [
        ((0.0, 0, 0), ""),
        ((99.9, 999, 9), ""),
        ((100.0, 0, 0), "seconds"),
        ((0.0, 1000, 0), "bytes"),
        ((0.0, 0, 10), "packets"),
        ((500.0, 5000, 50), "seconds"),
        ((0.0, 5000, 50), "bytes"),
    ],
)
def test_which_limit_is_reached(used: tuple[float, int, int], word: str) -> None:
    assert LIMITS.reached(*used) == word
    assert Limits().reached(*used) == ""


def test_states() -> None:
    life = Lifetime(Limits(packets=5), Limits(packets=10))
    assert [life.state(1e9, 10**12, packets) for packets in (4, 5, 9, 10, 11)] == [
        State.MATURE,
        State.DYING,
        State.DYING,
        State.DEAD,
        State.DEAD,
    ]
    assert UNLIMITED.state(1e9, 10**18, 10**18) is State.MATURE
    assert Lifetime(hard=LIMITS).state(0, 0, 10) is State.DEAD
    assert Lifetime(soft=LIMITS).state(0, 0, 10) is State.DYING


def test_which_lives_end() -> None:
    assert not UNLIMITED and not Limits()
    for limits in (Limits(seconds=1), Limits(octets=1), Limits(packets=1)):
        assert limits and Lifetime(soft=limits) and Lifetime(hard=limits)


def only(records: object) -> Record:
    (record,) = records  # type: ignore[misc]
    return record  # type: ignore[no-any-return]


def test_packets() -> None:
    """The limit's own packet still goes: what is counted is what was carried."""
    life = Lifetime(Limits(packets=2), Limits(packets=3))
    here, there = sender(lifetime=life), receiver(lifetime=life)
    packets = [sent(sender(sequence=number).outbound(packet_of(4), NOW)).packet for number in range(4)]
    for gateway in (here, there):
        record = only(gateway.sadb)
        states = []
        for number in range(3):
            verdict = gateway.outbound(packet_of(4), NOW) if gateway is here else gateway.inbound(packets[number], NOW)
            (sent if gateway is here else delivered)(verdict)  # type: ignore[operator]
            states.append(record.usage.state(record.sa, NOW))
        assert states == [State.MATURE, State.DYING, State.DEAD]
    assert dropped(here.outbound(packet_of(4), NOW)).reason is Reason.EXPIRED_OUT
    assert dropped(there.inbound(packets[3], NOW)).reason is Reason.EXPIRED_IN
    # Nothing of the dead is looked at: not its number either.
    assert (only(here.sadb).sequence, only(there.sadb).sequence) == (3, 3)


def test_octets() -> None:
    life = Lifetime(Limits(octets=1000), Limits(octets=2000))
    here, there = sender(lifetime=life), receiver(lifetime=life)
    first, second = (sent(here.outbound(ipv4(bytes(980)), NOW)).packet for _ in range(2))
    assert dropped(here.outbound(packet_of(4), NOW)).reason is Reason.EXPIRED_OUT
    record = only(there.sadb)
    delivered(there.inbound(first, NOW))
    assert record.usage.state(record.sa, NOW) is State.DYING
    delivered(there.inbound(second, NOW))
    assert record.usage.state(record.sa, NOW) is State.DEAD


def test_seconds() -> None:
    life = Lifetime(Limits(seconds=60), Limits(seconds=3600))
    here, there = sender(lifetime=life), receiver(lifetime=life)
    record = only(here.sadb)
    assert record.usage.state(record.sa, NOW + 59) is State.MATURE
    assert record.usage.state(record.sa, NOW + 60) is State.DYING
    last = sent(here.outbound(packet_of(4), NOW + 3599)).packet
    assert dropped(here.outbound(packet_of(4), NOW + 3600)).reason is Reason.EXPIRED_OUT
    assert dropped(there.inbound(last, NOW + 3600)).reason is Reason.EXPIRED_IN
    delivered(there.inbound(last, NOW + 3599))


def test_statistics_may_be_reset_and_life_goes_on() -> None:
    here = sender(lifetime=Lifetime(hard=Limits(packets=2)))
    sent(here.outbound(packet_of(4), NOW))
    usage = only(here.sadb).usage
    usage.packets = usage.octets = 0
    sent(here.outbound(packet_of(4), NOW))
    assert (usage.packets, usage.life_packets) == (1, 2)
    assert dropped(here.outbound(packet_of(4), NOW)).reason is Reason.EXPIRED_OUT


def test_only_a_soft_limit_ends_nothing() -> None:
    here = sender(lifetime=Lifetime(soft=Limits(packets=1)))
    for _ in range(5):
        sent(here.outbound(packet_of(4), NOW))


def test_in_a_bundle_both_must_live() -> None:
    esp = make_sa(Direction.OUT)
    here = gateway_of(esp, around_it(esp, lifetime=Lifetime(hard=Limits(packets=1))), policies=False)
    here.add_policy(make_policy(Direction.OUT, bundle_ah=True))
    sent(here.outbound(packet_of(4), NOW))
    assert dropped(here.outbound(packet_of(4), NOW)).reason is Reason.EXPIRED_OUT

"""Sentences about lives and auditable events: once, and with all that an auditor needs."""

from dataclasses import replace

from culvert.dataplane.notices import Notices, Reading
from culvert.dataplane.plane import DropCount
from culvert.ipsec.drops import Reason
from culvert.ipsec.lifetime import Lifetime, Limits
from culvert.ipsec.sa import EXTENDED_SEQUENCE_MAX, SEQUENCE_MAX
from tests.dataplane.sites import OUT, association

LIMITED = replace(
    association("a", OUT), lifetime=Lifetime(Limits(octets=100, seconds=50), Limits(packets=10, seconds=90))
)
NAME = "IPsec-SA /Common/sa-out-4 spi=1000(0x3e8)"


def reading(octets: int = 0, packets: int = 0, sequence: int = 0) -> Reading:
    return Reading(LIMITED, sequence, 1000.0, octets, packets)


def test_each_step_of_a_life_is_told_once() -> None:
    notices = Notices()
    assert notices.lives([reading(99)], 1001.0) == []
    assert notices.lives([reading(100)], 1002.0) == [f"{NAME}: soft lifetime of bytes reached"]
    assert notices.lives([reading(200)], 1003.0) == []
    assert notices.lives([reading(200, 10)], 1004.0) == [f"{NAME}: hard lifetime of packets reached"]
    assert notices.lives([reading(200, 10)], 1099.0) == []


def test_time_is_a_limit_too() -> None:
    notices = Notices()
    assert notices.lives([reading()], 1050.0) == [f"{NAME}: soft lifetime of seconds reached"]
    assert notices.lives([reading()], 1090.0) == [f"{NAME}: hard lifetime of seconds reached"]


def test_another_sa_of_the_same_name_has_its_own_life() -> None:
    notices = Notices()
    assert notices.lives([reading(100)], 1001.0)
    renewed = replace(association("a", OUT, key=b"new"), lifetime=LIMITED.lifetime)
    assert notices.lives([Reading(renewed, 0, 1000.0, 0, 0)], 1002.0) == []
    assert notices.lives([Reading(renewed, 0, 1000.0, 100, 0)], 1003.0) == [f"{NAME}: soft lifetime of bytes reached"]


def test_an_sa_that_is_back_is_told_again() -> None:
    notices = Notices()
    assert notices.lives([reading(100)], 1001.0)
    assert notices.lives([], 1002.0) == []
    assert notices.lives([reading(100)], 1003.0)


def test_sequence_numbers_running_out_are_told() -> None:
    notices = Notices()
    told = [
        sentence
        for percent in (0, 49, 50, 51, 79, 80, 90, 95, 99, 100)
        for sentence in notices.lives([reading(sequence=-(-SEQUENCE_MAX * percent // 100))], 1001.0)
    ]
    assert told == [f"{NAME}: {percent} % of the sequence numbers are used" for percent in (50, 80, 95)]
    extended = replace(LIMITED, esn=True)
    assert Notices().lives([Reading(extended, SEQUENCE_MAX, 0.0, 0, 0)], 1001.0) == []
    assert Notices().lives([Reading(extended, EXTENDED_SEQUENCE_MAX, 0.0, 0, 0)], 1001.0) == [
        f"{NAME}: 95 % of the sequence numbers are used"
    ]


def test_audit_is_one_sentence_per_reason_with_the_count() -> None:
    notices = Notices()
    notices.begin([DropCount(Reason.REPLAY, 5), DropCount(Reason.TOO_BIG, 1)])
    last = "2.2.2.2 -> 3.3.3.3 SPI(0x3e9) seq 17 (/Common/sa-in)"
    drops = [DropCount(Reason.REPLAY, 17, 1.0, last), DropCount(Reason.TOO_BIG, 9), DropCount(Reason.CLEAR_INBOUND, 1)]
    assert notices.audit(drops) == [
        f"audit: 12 packets dropped: replay (RFC 4303 section 3.4.3); the last: {last}",
        "audit: 1 packet dropped: clear-inbound (RFC 4301 section 5.2)",
    ]
    assert notices.audit(drops) == []
    assert notices.audit([DropCount(Reason.REPLAY, 18, 1.0, last)]) != []


def test_after_a_reset_counting_begins_anew() -> None:
    notices = Notices()
    notices.begin([DropCount(Reason.REPLAY, 5)])
    assert "audit: 2 packets" in notices.audit([DropCount(Reason.REPLAY, 2)])[0]
    assert notices.audit([]) == []
    assert "audit: 2 packets" in notices.audit([DropCount(Reason.REPLAY, 2)])[0]

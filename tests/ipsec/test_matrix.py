"""Every way of protecting times every sort of packet, both ways against scapy. See `matrix.py` for the cases.

CULVERT_MATRIX=full in the environment asks for all of them (some minutes) instead of a covering array. Where scapy is
known to be wrong (docs/oracles.md) it has to be wrong still: so that we notice when it gets repaired.
"""

import pytest

from culvert.ipsec.algorithms import AUTHS, CIPHERS
from culvert.ipsec.sa import Direction
from culvert.ipsec.verdict import Deliver, Send, Verdict
from tests.ipsec.building import NOW
from tests.ipsec.matrix import KINDS, Case, chosen
from tests.ipsec.scapy_peer import Peer, opens_wrong, seals_wrong


def trouble(case: Case) -> str:
    """What went wrong, in words; empty for nothing."""
    packet, number = case.packet, case.shape.last + 1
    sealed = case.shape.gateway(Direction.OUT).outbound(packet, NOW)
    if not isinstance(sealed, Send) or sealed.rest or sealed.record.sequence != number:
        return f"not sent: {sealed}"
    if not arrived(case, case.shape.gateway(Direction.IN).inbound(sealed.packet, NOW)):
        return "not opened by ourselves"
    opened = opened_by_scapy(case, sealed.packet)
    if (opened == packet) is opens_wrong(case):
        return f"opened by scapy: {opened!r}"
    theirs = Peer(case.shape).seal(packet, number & 0xFFFFFFFF)
    verdict = case.shape.gateway(Direction.IN).inbound(theirs, NOW)
    return f"sealed by scapy: {verdict}" if arrived(case, verdict) is seals_wrong(case) else ""


def arrived(case: Case, verdict: Verdict) -> bool:
    return (
        isinstance(verdict, Deliver)
        and verdict.packet == case.packet
        and verdict.record.sequence == case.shape.last + 1
        and (verdict.bundled is not None) is bool(case.shape.around)
    )


def opened_by_scapy(case: Case, packet: bytes) -> bytes | Exception:
    try:
        return Peer(case.shape).open(packet)
    except Exception as error:
        return error


@pytest.mark.timeout(600)
@pytest.mark.parametrize("algorithms", chosen())
def test_scapy_and_we_understand_each_other(algorithms: str) -> None:
    found = [f"{case}: {words[:300]}" for case in chosen()[algorithms] if (words := trouble(case))]
    assert not found, f"{len(found)} of {len(chosen()[algorithms])}:\n" + "\n".join(found[:10])


def test_nothing_was_thinned_out_of_existence() -> None:
    cases = [case for each in chosen().values() for case in each]
    assert {case.shape.cipher for case in cases} == set(CIPHERS)
    assert {case.shape.auth for case in cases} | {case.shape.around for case in cases} == {"", "none", *AUTHS}
    assert {(case.shape.inner, case.kind) for case in cases} == {
        (version, kind) for version, kinds in KINDS.items() for kind in kinds
    }
    places = {(case.shape.mode, case.shape.outer, case.shape.inner, case.shape.esn) for case in cases}
    assert len(places) == 12
    kinds = {kind for each in KINDS.values() for kind in each}
    assert len({(case.shape.algorithms, case.kind) for case in cases}) == len(chosen()) * len(kinds)
    assert any(opens_wrong(case) for case in cases) and any(seals_wrong(case) for case in cases)

"""The table of reasons: complete, stable, documented, and every row of it reached."""

import re
from collections.abc import Callable
from typing import Any

import pytest

from culvert.ipsec.drops import TABLE, Reason
from culvert.ipsec.gateway import Gateway
from culvert.ipsec.lifetime import Lifetime, Limits
from culvert.ipsec.sa import Direction, Mode, UdpPorts
from culvert.ipsec.spd import Action
from culvert.ipsec.verdict import Drop, Verdict
from tests.house.tree import ROOT
from tests.ipsec.building import (
    NOW,
    OUTER,
    SPI,
    end_to_end,
    gateway_of,
    ipv4,
    make_policy,
    make_sa,
    make_selector,
    packet_of,
    receiver,
    sender,
    sent,
    udp,
)

IN, OUT = Direction.IN, Direction.OUT
DF = 0x4000

# Counter files on disk are indexed by these: a number never changes.
NUMBERS = [
    "malformed-header",
    "no-sa-in",
    "replay",
    "integrity",
    "padding",
    "runt",
    "inner-mismatch",
    "inner-malformed",
    "dummy",
    "fragment",
    "no-policy",
    "no-sa-out",
    "discard",
    "sequence-exhausted",
    "too-big",
    "hop-limit",
    "send-failed",
    "outer-mismatch",
    "protocol-mismatch",
    "clear-inbound",
    "not-forwarded",
    "leak-stopped",
    "not-allowed",
    "congestion",
    "half-protected",
    "expired-in",
    "expired-out",
    "discard-in",
    "mode-mismatch",
    "sa-mismatch",
    "encapsulation-mismatch",
    "wrong-direction",
    "decompression",
    "unsupported-payload",
    "nesting",
    "keep-alive",
    "ike",
    "reassembly",
    "reassembly-timeout",
    "fragment-ports",
    "not-an-end",
    "queue-full",
    "forged-too-big",
    "internal",
    "no-bundle-sa",
    "counter-journal",
    "ring-full",
    "buffer-full",
]


def test_every_reason_has_a_row() -> None:
    assert set(TABLE) == set(Reason)


def test_numbers_stay() -> None:
    assert [TABLE[Reason(number)].word for number in range(len(Reason))] == NUMBERS


@pytest.mark.parametrize("reason", list(Reason), ids=lambda reason: reason.name)
def test_a_row_is_words(reason: Reason) -> None:
    row = TABLE[reason]
    assert row.word == reason.name.lower().replace("_", "-")
    assert re.fullmatch(r"\S.*[^.\s]", row.sentence) and re.fullmatch(r"\S.*[^.\s]", row.hint)
    assert row.audit == "" or re.fullmatch(r"RFC \d{4} section [\d.]+\d", row.audit)


def test_what_the_rfcs_want_audited() -> None:
    """RFC 4303 section 4 and RFC 4301 section 5.2: those events, and no others."""
    assert {reason.name for reason, row in TABLE.items() if row.audit} == {
        "NO_SA_IN",
        "REPLAY",
        "INTEGRITY",
        "PADDING",
        "FRAGMENT",
        "SEQUENCE_EXHAUSTED",
        "INNER_MISMATCH",
        "PROTOCOL_MISMATCH",
        "CLEAR_INBOUND",
        "DISCARD_IN",
        "MODE_MISMATCH",
        "SA_MISMATCH",
    }


# Every reason that a gateway can give, given


def arriving(packet: bytes | None = None, at: Gateway | None = None, **sa: Any) -> Verdict:
    """What becomes of a packet at the receiver of an SA; left to itself, of a good one."""
    there = receiver(**sa) if at is None else at
    return there.inbound(good(**sa) if packet is None else packet, NOW)


def good(inner: bytes | None = None, **sa: Any) -> bytes:
    return sent(sender(**sa).outbound(packet_of(4) if inner is None else inner, NOW)).packet


def leaving(packet: bytes, at: Gateway | None = None, **sa: Any) -> Verdict:
    return (sender(**sa) if at is None else at).outbound(packet, NOW)


def holding(outbound: bytes, **sa: Any) -> bytes:
    """A packet of the sender's SA around octets that are no packet, by next header."""
    record = next(iter(sender(**sa).sadb))
    body = record.sealer.seal(b"", 1, outbound[0], outbound[1:])  # type: ignore[union-attr]
    return end_to_end(4, body, protocol=50)


def replay() -> Verdict:
    there = receiver()
    there.inbound(good(), NOW)
    return there.inbound(good(), NOW)


def wrong_cipher_key() -> Verdict:
    there = receiver(cipher_key=bytes(16), replay_window=1024)
    here = sender()
    verdicts = [there.inbound(sent(here.outbound(packet_of(4), NOW)).packet, NOW) for _ in range(20)]
    return next(verdict for verdict in verdicts if isinstance(verdict, Drop) and verdict.reason is Reason.PADDING)


def only_policy(direction: Direction, at: Gateway | None = None, **policy: Any) -> Gateway:
    gateway = gateway_of(make_sa(direction), policies=False) if at is None else at
    gateway.add_policy(make_policy(direction, **policy))
    return gateway


def congestion() -> Verdict:
    packet = bytearray(good())
    packet[1] |= 3
    return arriving(bytes(packet))


def dummy() -> Verdict:
    (send,) = sender(dummy_seconds=1).due(NOW + 1)
    return arriving(send.packet)  # type: ignore[union-attr]


def keep_alive() -> Verdict:
    (send,) = sender(encapsulation=UdpPorts(), keep_alive_seconds=1).due(NOW + 1)
    return arriving(send.packet)  # type: ignore[union-attr]


def nesting() -> Verdict:
    packet = end_to_end(4)
    sas = [{"spi": SPI + number, "mode": Mode.TRANSPORT} for number in range(3)]
    for sa in sas:
        packet = good(packet, **sa)
    return arriving(packet, gateway_of(*(make_sa(IN, **sa) for sa in sas)))  # type: ignore[arg-type]


def reassembly() -> Verdict:
    there = receiver()
    there.inbound(end_to_end(4, bytes(8), protocol=50, flags=0x2000), NOW)
    return there.inbound(end_to_end(4, b"anything", protocol=50, flags=0x2000), NOW)


def reassembly_timeout() -> Verdict:
    there = receiver()
    there.inbound(end_to_end(4, bytes(8), protocol=50, flags=0x2000), NOW)
    (expired,) = there.expire(NOW + 30)
    return expired.drop


def forged_too_big() -> Verdict:
    here = sender()
    about = good()[:24] + (999).to_bytes(4) + bytes(8)
    packet = ipv4(bytes((3, 4, 0, 0, 0, 0, 4, 0)) + about, protocol=1, destination=OUTER[4][0])
    return here.told_too_big(packet, NOW)  # type: ignore[return-value]


def unleased() -> Gateway:
    """A sender whose journal gives it no further number."""
    gateway = sender()
    (record,) = gateway.sadb.all_outbound()
    record.leased = record.sequence
    return gateway


LATER = ipv4(bytes(8), flags=0x0002)
ENDED = Lifetime(hard=Limits(seconds=1))
PORTS = make_selector("0.0.0.0/0", "0.0.0.0/0", 17, None, (53, 53))

GIVEN: dict[Reason, Callable[[], Verdict]] = {
    Reason.MALFORMED_HEADER: lambda: arriving(b"E"),
    Reason.NO_SA_IN: lambda: arriving(good(spi=SPI + 1)),
    Reason.REPLAY: replay,
    Reason.INTEGRITY: lambda: arriving(good()[:-1] + b"?"),
    Reason.PADDING: wrong_cipher_key,
    Reason.RUNT: lambda: arriving(end_to_end(4, bytes(7), protocol=50)),
    Reason.INNER_MISMATCH: lambda: arriving(at=gateway_of(make_sa(IN), policies=False)),
    Reason.INNER_MALFORMED: lambda: arriving(holding(b"\4no packet")),
    Reason.DUMMY: dummy,
    Reason.FRAGMENT: lambda: arriving(end_to_end(4, bytes(9), protocol=50, flags=0x2000)),
    Reason.NO_SA_OUT: lambda: leaving(packet_of(4), only_policy(OUT, reqid=99)),
    Reason.DISCARD: lambda: leaving(packet_of(4), only_policy(OUT, action=Action.DISCARD)),
    Reason.SEQUENCE_EXHAUSTED: lambda: leaving(packet_of(4), sequence=2**32 - 1),
    Reason.TOO_BIG: lambda: leaving(ipv4(bytes(2000), flags=DF), path_mtu=1500),
    Reason.HOP_LIMIT: lambda: leaving(packet_of(4, hops=0)),
    Reason.OUTER_MISMATCH: lambda: arriving(good()[:15] + b"\x09" + good()[16:]),
    Reason.PROTOCOL_MISMATCH: lambda: arriving(at=only_policy(IN, mode=Mode.TRANSPORT)),
    Reason.CONGESTION: congestion,
    Reason.EXPIRED_IN: lambda: receiver(lifetime=ENDED).inbound(good(), NOW + 1),
    Reason.EXPIRED_OUT: lambda: sender(lifetime=ENDED).outbound(packet_of(4), NOW + 1),
    Reason.DISCARD_IN: lambda: arriving(at=only_policy(IN, action=Action.DISCARD)),
    Reason.MODE_MISMATCH: lambda: arriving(holding(b"\x11" + udp())),
    Reason.SA_MISMATCH: lambda: arriving(at=only_policy(IN, reqid=99)),
    Reason.ENCAPSULATION_MISMATCH: lambda: arriving(good(encapsulation=UdpPorts())),
    Reason.WRONG_DIRECTION: lambda: arriving(at=sender()),
    Reason.DECOMPRESSION: lambda: arriving(holding(b"\x6c\4\0\0\2damage"), receiver(compression=2)),
    Reason.UNSUPPORTED_PAYLOAD: lambda: arriving(holding(b"\x6c\4\0\0\2\3\0")),
    Reason.NESTING: nesting,
    Reason.KEEP_ALIVE: keep_alive,
    Reason.IKE: lambda: arriving(end_to_end(4, udp(4500, 4500, bytes(4) + b"message"))),
    Reason.REASSEMBLY: reassembly,
    Reason.REASSEMBLY_TIMEOUT: reassembly_timeout,
    Reason.FRAGMENT_PORTS: lambda: leaving(LATER, only_policy(OUT, selector=PORTS)),
    Reason.NOT_AN_END: lambda: leaving(packet_of(4), mode=Mode.TRANSPORT),
    Reason.FORGED_TOO_BIG: forged_too_big,
    Reason.COUNTER_JOURNAL: lambda: unleased().outbound(packet_of(4), NOW),
    Reason.NO_BUNDLE_SA: lambda: leaving(packet_of(4), only_policy(OUT, bundle_ah=True)),
}

ELSEWHERE = {
    Reason.NO_POLICY: "dataplane/userspace/test_protection.py",
    Reason.SEND_FAILED: "dataplane/userspace/test_mover.py",
    Reason.CLEAR_INBOUND: "dataplane/userspace/test_traffic.py",
    Reason.NOT_FORWARDED: "dataplane/userspace/test_traffic.py",
    Reason.LEAK_STOPPED: "scenarios/test_faults.py",
    Reason.NOT_ALLOWED: "dataplane/userspace/test_protection.py",
    Reason.HALF_PROTECTED: "dataplane/test_admission.py",
    Reason.QUEUE_FULL: "dataplane/userspace/test_mover.py",
    Reason.INTERNAL: "dataplane/userspace/test_mover.py",
    Reason.RING_FULL: "dataplane/userspace/test_overflows.py",
    Reason.BUFFER_FULL: "dataplane/userspace/test_overflows.py",
}
"""Reasons that the data plane gives around the gateway, and the tests that reach them."""


def test_every_reason_is_reached_by_a_test() -> None:
    assert sorted([*GIVEN, *ELSEWHERE]) == list(Reason)


@pytest.mark.parametrize("reason", GIVEN, ids=lambda reason: reason.name)
def test_a_reason_given_by_the_gateway(reason: Reason) -> None:
    verdict = GIVEN[reason]()
    assert isinstance(verdict, Drop), verdict
    assert verdict.reason is reason
    if verdict.record is not None:
        assert verdict.record.usage.drops[reason] >= 1 and verdict.sa is verdict.record.sa


@pytest.mark.parametrize("reason", ELSEWHERE, ids=lambda reason: reason.name)
def test_a_reason_given_by_the_data_plane(reason: Reason) -> None:
    text = (ROOT / "tests" / ELSEWHERE[reason]).read_text()
    assert re.search(rf"\b({reason.name}|{TABLE[reason].word})\b", text)


# docs/drops.md

PAGE = (ROOT / "docs" / "drops.md").read_text()
XFRM = re.findall(
    r"\w+",
    """
    XfrmInError XfrmInBufferError XfrmInHdrError XfrmInNoStates XfrmInStateProtoError XfrmInStateModeError
    XfrmInStateSeqError XfrmInStateExpired XfrmInStateMismatch XfrmInStateInvalid XfrmInTmplMismatch XfrmInNoPols
    XfrmInPolBlock XfrmInPolError XfrmAcquireError XfrmFwdHdrError XfrmInStateDirError XfrmOutError
    XfrmOutBundleGenError XfrmOutBundleCheckError XfrmOutNoStates XfrmOutStateProtoError XfrmOutStateModeError
    XfrmOutStateSeqError XfrmOutStateExpired XfrmOutPolBlock XfrmOutPolDead XfrmOutPolError XfrmOutStateInvalid
    XfrmOutStateDirError
    """,
)
"""/proc/net/xfrm_stat of Linux, in its order but for the last of the way in."""
VPP = [
    "lost",
    "hand-off",
    "integrity failed",
    "decryption failed",
    "engine error",
    "replay",
    "runt",
    "no buffers",
    "oversized header",
    "no tail space",
    "no tunnel protocol",
    "unsupported payload",
    "sequence cycled",
    "queue full",
    "no encrypting SA",
    "fragment dropped",
]


def rows(heading: str) -> list[list[str]]:
    """The cells of the first table behind a heading."""
    lines = PAGE.partition(heading)[2].splitlines()
    start = next(number for number, line in enumerate(lines) if line.startswith("|---"))
    table = []
    for line in lines[start + 1 :]:
        if not line.startswith("|"):
            break
        table.append([cell.strip() for cell in line.strip("|").split("|")])
    return table


def test_the_page_has_every_reason_as_it_is() -> None:
    expected = [[f"`{row.word}`", row.sentence, row.hint, row.audit] for row in map(TABLE.__getitem__, Reason)]
    assert rows("# Why a packet was dropped") == expected


@pytest.mark.parametrize(
    ("heading", "names"), [("who know Linux", [f"`{name}`" for name in XFRM]), ("who know VPP", VPP)]
)
def test_every_name_of_others_has_reasons_of_ours_or_a_note(heading: str, names: list[str]) -> None:
    table = rows(heading)
    assert [row[0] for row in table] == names
    words = {row.word for row in TABLE.values()}
    for name, here, note in table:
        if here == "none":
            assert note, name
        else:
            assert set(re.findall(r"[^`, ]+", here)) <= words, name


def test_no_name_is_given_twice() -> None:
    assert len({*XFRM}) == len(XFRM) == 30 and len({*VPP}) == len(VPP) == 16

"""One test for every class of hole that IPsec implementations have had in ESP, AH and their headers.

The name says the class, and the CVE number where there is one. Those about memory and time are in test_cve_limits.py.
"""

import hmac
from collections import Counter
from itertools import pairwise
from typing import Any

import pytest

from culvert.ipsec import ah, esp, primitives
from culvert.ipsec.algorithms import AUTHS, CIPHERS, NONE, BadKeyLength
from culvert.ipsec.drops import Reason
from culvert.ipsec.gateway import Gateway
from culvert.ipsec.sa import Direction, Fragmentation, Mode, Protocol, SecurityAssociation, UdpPorts
from culvert.ipsec.sadb import BadSa
from culvert.ipsec.spd import Action
from culvert.ipsec.udp import wrap
from culvert.ipsec.verdict import Bypass, Deliver, Drop, Send, Verdict
from tests.ipsec.building import (
    AH_SPI,
    AUTH_KEYS,
    NOW,
    OUTER,
    SPI,
    around_it,
    delivered,
    dice,
    dropped,
    end_to_end,
    gateway_of,
    ipv4,
    ipv6,
    make_policy,
    make_sa,
    make_selector,
    packet_of,
    receiver,
    sender,
    sent,
    udp,
)

ESP_AUTHS = [name for name, row in AUTHS.items() if not row.only_ah]
PAIRS = [(cipher, NONE) for cipher, row in CIPHERS.items() if row.combined]
PAIRS += [(cipher, auth) for cipher, row in CIPHERS.items() if not row.combined for auth in ESP_AUTHS]
AH: dict[str, Any] = {"protocol": Protocol.AH}
ALL: list[dict[str, Any]] = [{"cipher": cipher, "auth": auth} for cipher, auth in PAIRS]
ALL += [AH | {"auth": auth} for auth in AUTHS]
TRANSPORT: dict[str, Any] = {"mode": Mode.TRANSPORT}


def named(sa: dict[str, Any]) -> str:
    return f"{'ah' if 'protocol' in sa else sa['cipher']}-{sa['auth']}"


def outside(version: int, protocol: int, body: bytes, front: bytes = b"") -> bytes:
    """A packet from the peer. `front`: IPv4 options, or IPv6 extension headers."""
    source, destination = OUTER[version]
    if version == 4:
        return ipv4(body, protocol=protocol, source=source, destination=destination, options=front)
    return ipv6(front + body, protocol=protocol, source=source, destination=destination)


def esp_of(clear: bytes, sequence: int = 1) -> bytes:
    """NULL and HMAC-SHA1, made by hand: what a peer who has the key could send."""
    covered = SPI.to_bytes(4) + sequence.to_bytes(4) + clear
    return covered + hmac.digest(AUTH_KEYS["sha1"], covered, "sha1")[:12]


# Runt and odd-length packets (OpenBSD 2.7, FreeS/WAN: LWN 16925)


@pytest.mark.parametrize("sa", ALL, ids=named)
@pytest.mark.parametrize("version", [4, 6])
def test_runt_and_odd_length_packets_openbsd_2_7(version: int, sa: dict[str, Any]) -> None:
    there = receiver(outer=version, **sa)
    (record,) = there.sadb
    for count in range(201):
        reason = dropped(there.inbound(runt(version, sa, count), NOW)).reason
        assert reason is (Reason.INTEGRITY if may_be_whole(version, sa, count) else Reason.RUNT), count
    assert (record.usage.packets, record.sequence) == (0, 0)


def runt(version: int, sa: dict[str, Any], count: int) -> bytes:
    if "protocol" in sa:
        words = (12 + AUTHS[sa["auth"]].icv_octets + (7 if version == 6 else 3)) // (8 if version == 6 else 4)
        front = bytes((17, words * (2 if version == 6 else 1) - 2, 0, 0))
        return outside(version, 51, (front + SPI.to_bytes(4) + (1).to_bytes(4) + bytes(200))[:count])
    return outside(version, 50, (SPI.to_bytes(4) + (1).to_bytes(4) + bytes(200))[:count])


def may_be_whole(version: int, sa: dict[str, Any], count: int) -> bool:
    """Whether a packet of so many octets can be one of this SA at all."""
    if "protocol" in sa:
        unit = 8 if version == 6 else 4
        return count >= -(-(12 + AUTHS[sa["auth"]].icv_octets) // unit) * unit
    row = CIPHERS[sa["cipher"]]
    auth = AUTHS[sa["auth"]].icv_octets if sa["auth"] != NONE else 0
    unit = max(4, row.block_octets)
    inside = count - 8 - row.iv_octets - row.icv_octets - auth
    return inside >= unit and inside % unit == 0


@pytest.mark.parametrize("version", [4, 6])
def test_runt_and_odd_length_packets_in_udp(version: int) -> None:
    there = receiver(outer=version, encapsulation=UdpPorts())
    source, destination = (address.packed for address in OUTER[version])
    for count in range(201):
        esp_octets = (SPI.to_bytes(4) + (1).to_bytes(4) + bytes(200))[:count]
        datagram = wrap(UdpPorts(), source, destination, esp_octets)
        for length in {len(datagram), count, 0, 7, 8, 0xFFFF}:
            lying = datagram[:4] + length.to_bytes(2) + datagram[6:]
            dropped(there.inbound(outside(version, 17, lying), NOW))
        dropped(there.inbound(outside(version, 17, datagram[:count]), NOW))


# Length fields that lie (FreeBSD-SA-18:01)


@pytest.mark.parametrize("version", [4, 6])
@pytest.mark.parametrize("auth", AUTHS)
def test_ah_length_field_lies_cve_2018_6916(version: int, auth: str) -> None:
    packet = sent(sender(outer=version, **AH, auth=auth).outbound(packet_of(4), NOW)).packet
    at = (20 if version == 4 else 40) + 1
    there = receiver(outer=version, **AH, auth=auth)
    for octet in {*range(256)} - {packet[at]}:
        for end in (len(packet), at + 11, at + 30):
            cut = outside(version, 51, packet[at - 1 : at] + bytes((octet,)) + packet[at + 1 : end])
            assert dropped(there.inbound(cut, NOW)).reason in (Reason.RUNT, Reason.INTEGRITY)
    delivered(there.inbound(packet, NOW))


@pytest.mark.parametrize("kind", [0, 1, 7, 68, 130, 131, 137, 148, 222])
def test_ipv4_option_length_lies_under_ah_cve_2018_6916(kind: int) -> None:
    """Both ways: we sign no such packet, or one that its receiver takes; and one that we are sent does no harm."""
    source, destination = OUTER[4]
    for length in range(256):
        options = bytes((kind, length, 4)) + bytes(5)
        here, there = sender(**AH, **TRANSPORT), receiver(**AH, **TRANSPORT)
        packet = ipv4(udp(), source=source, destination=destination, options=options)
        verdict = here.outbound(packet, NOW)
        if isinstance(verdict, Drop):
            assert verdict.reason is Reason.MALFORMED_HEADER
            body = sent(here.outbound(end_to_end(4), NOW)).packet[20:]
            assert dropped(there.inbound(outside(4, 51, body, options), NOW)).reason is Reason.INTEGRITY
        elif not ah.SOURCE_ROUTES & {kind, length}:
            # What is routed by its source has another destination on arrival.
            assert delivered(there.inbound(sent(verdict).packet, NOW)).packet == packet


@pytest.mark.parametrize("header", [0, 43, 60])
def test_ipv6_extension_header_length_lies_under_ah_cve_2018_6916(header: int) -> None:
    for length in range(256):
        extension = bytes((51, length, 5, 2, 0, 0, 1, 0))
        body = sent(sender(outer=6, **AH, **TRANSPORT).outbound(end_to_end(6), NOW)).packet[40:]
        verdict = receiver(outer=6, **AH, **TRANSPORT).inbound(outside(6, header, body, extension), NOW)
        reasons = (Reason.INTEGRITY, Reason.MALFORMED_HEADER, Reason.PROTOCOL_MISMATCH, Reason.NO_SA_IN, Reason.RUNT)
        assert dropped(verdict).reason in reasons


# Padding


def test_padding_that_lies() -> None:
    """Every length of padding in every place that it can stand, from a peer who has the key."""
    inner = packet_of(4)
    for pad_octets in range(256):
        clear = (inner + bytes(range(1, pad_octets + 1))).ljust(len(inner) + 6, b"\7")
        clear += bytes(-(len(clear) + 2) % 4) + bytes((pad_octets, 4))
        right = clear[-2 - pad_octets : -2] == bytes(range(1, pad_octets + 1))
        verdict = receiver("null").inbound(outside(4, 50, esp_of(clear)), NOW)
        if right:
            assert delivered(verdict).packet == inner
        else:
            assert dropped(verdict).reason is Reason.PADDING


def test_padding_is_no_oracle() -> None:
    """A forged packet is refused before anybody looks at its padding: the reason doesn't depend on it."""
    for octet in range(256):
        body = esp_of(packet_of(4) + bytes((octet,)) * 4)
        forged = body[:-1] + bytes((body[-1] ^ 1,))
        assert dropped(receiver("null").inbound(outside(4, 50, forged), NOW)).reason is Reason.INTEGRITY


# Replay (FreeBSD CVE-2019-5613)


@pytest.mark.parametrize("sa", [{}, AH, {"esn": True}, AH | {"esn": True}])
def test_replay_is_checked_before_and_committed_after_authentication_cve_2019_5613(sa: dict[str, Any]) -> None:
    here, there = sender(**sa), receiver(**sa)
    packets = [sent(here.outbound(packet_of(4), NOW)).packet for _ in range(100)]
    forged = packets[99][:-1] + bytes((packets[99][-1] ^ 1,))
    assert dropped(there.inbound(forged, NOW)).reason is Reason.INTEGRITY
    assert next(iter(there.sadb)).sequence == 0, "a forged number moved the window"
    for packet in reversed(packets[40:]):
        delivered(there.inbound(packet, NOW))
        assert dropped(there.inbound(packet, NOW)).reason is Reason.REPLAY
        damaged = packet[:-1] + bytes((packet[-1] ^ 1,))
        assert dropped(there.inbound(damaged, NOW)).reason is Reason.REPLAY, "cryptography for a replay"
    # What lies behind a window of extended numbers is taken for one of 2**32 later, and isn't signed as that.
    behind = Reason.INTEGRITY if sa.get("esn") else Reason.REPLAY
    assert dropped(there.inbound(packets[0], NOW)).reason is behind


@pytest.mark.parametrize("sa", [{}, AH, {"cipher": "aes-gcm128"}])
def test_sequence_numbers_do_not_wrap_cve_2019_5613(sa: dict[str, Any]) -> None:
    here, there = sender(sequence=2**32 - 2, **sa), receiver(sequence=2**32 - 2, **sa)
    delivered(there.inbound(sent(here.outbound(packet_of(4), NOW)).packet, NOW))
    for _ in range(3):
        assert dropped(here.outbound(packet_of(4), NOW)).reason is Reason.SEQUENCE_EXHAUSTED
    for number in (0, 1, 2, 64, 65):
        early = sent(sender(sequence=max(number - 1, 0), **sa).outbound(packet_of(4), NOW)).packet
        assert dropped(there.inbound(early, NOW)).reason is Reason.REPLAY


def test_an_sa_that_is_bundled_with_itself_does_not_wrap_either() -> None:
    """It takes two numbers for each packet, and has one left for the second."""
    own = make_sa(Direction.OUT, protocol=Protocol.AH, mode=Mode.TRANSPORT)
    here = gateway_of(own, sequence=2**32 - 4, policies=False)
    here.add_policy(make_policy(Direction.OUT, protocol=Protocol.AH, mode=Mode.TRANSPORT, bundle_ah=True))
    sent(here.outbound(end_to_end(4), NOW))
    assert dropped(here.outbound(end_to_end(4), NOW)).reason is Reason.SEQUENCE_EXHAUSTED
    assert next(iter(here.sadb)).sequence == 2**32 - 1


# Extended sequence numbers (CVE-2026-46193)


@pytest.mark.parametrize("sa", ALL, ids=named)
def test_the_high_word_is_authenticated_cve_2026_46193(sa: dict[str, Any]) -> None:
    number = 7 << 32 | 100
    packet = sent(sender(sequence=number - 1, esn=True, **sa).outbound(packet_of(4), NOW)).packet
    for wrong in (6 << 32 | 100, 8 << 32 | 100, 100):
        there = receiver(sequence=wrong - 1, esn=True, **sa)
        assert dropped(there.inbound(packet, NOW)).reason is Reason.INTEGRITY
    assert dropped(receiver(**sa).inbound(packet, NOW)).reason is Reason.INTEGRITY
    delivered(receiver(sequence=number - 1, esn=True, **sa).inbound(packet, NOW))


def test_the_high_word_of_both_layers_of_a_bundle_is_authenticated_cve_2026_46193() -> None:
    def pair(direction: Direction, ahead: int, ahead_around: int) -> Gateway:
        made = gateway_of(make_sa(direction, esn=True), sequence=ahead << 32 | 9, policies=False)
        made.add_sa(around_it(make_sa(direction), esn=True), sequence=ahead_around << 32 | 9, now=NOW)
        made.add_policy(make_policy(direction, bundle_ah=True))
        return made

    packet = sent(pair(Direction.OUT, 3, 4).outbound(packet_of(4), NOW)).packet
    for wrong in ((3, 3), (4, 4), (2, 4), (0, 0)):
        assert dropped(pair(Direction.IN, *wrong).inbound(packet, NOW)).reason is Reason.INTEGRITY
    delivered(pair(Direction.IN, 3, 4).inbound(packet, NOW))


# Nonces and initialization vectors


@pytest.mark.parametrize("cipher", ["3des", "aes128", "aes192", "aes256"])
def test_the_iv_of_cbc_is_not_predictable_cve_2022_46397(cipher: str) -> None:
    """Not the last block of the packet before, not a counter, no repetition, and another one for other chance."""
    octets = CIPHERS[cipher].iv_octets
    seen: list[bytes] = []
    for seed in (1, 2):
        here, before = sender(cipher, seed=seed), b""
        for _ in range(200):
            body = sent(here.outbound(packet_of(4), NOW)).packet[20:]
            initial = body[8 : 8 + octets]
            assert initial != before
            before = body[-12 - octets : -12]
            seen.append(initial)
    assert len(set(seen)) == 400
    numbers = [int.from_bytes(initial) for initial in seen]
    assert len({after - number for number, after in pairwise(numbers)}) == 399
    bits = sum(number.bit_count() for number in numbers)
    assert abs(bits - 400 * octets * 4) < 400 * octets * 8 * 0.03


COUNTERS = [
    sa for sa in ALL if CIPHERS[sa.get("cipher", "null")].counter or AUTHS.get(sa["auth"], AUTHS["sha1"]).counter
]


@pytest.mark.parametrize("cut", list(Fragmentation))
@pytest.mark.parametrize("sa", COUNTERS, ids=named)
def test_no_counter_is_used_twice_under_one_key(sa: dict[str, Any], cut: Fragmentation) -> None:
    """Whole packets, packets cut before and after, refused ones, dummies, and a restart that goes on counting."""
    seen: Counter[bytes] = Counter()
    number = 0
    for _ in range(2):
        here = sender(sequence=number, path_mtu=600, fragmentation=cut, **sa)
        (record,) = here.sadb
        for size in (0, 100, 700, 1400, 3000):
            verdict = here.outbound(packet_of(4, udp(data=bytes(size))), NOW)
            seen.update(initial for packet in all_of(verdict) if (initial := counter_of(packet, sa)))
            assert dropped(here.outbound(packet_of(4, bytes(3000), flags=0x4000), NOW)).reason is Reason.TOO_BIG
        number = record.sequence
    assert len(seen) >= 10 and set(seen.values()) == {1}
    assert len(seen) == number


def all_of(verdict: Verdict) -> list[bytes]:
    return [sent(verdict).packet, *sent(verdict).rest]


def counter_of(packet: bytes, sa: dict[str, Any]) -> bytes:
    """The IV on the wire; none in a later piece of an outer packet."""
    if int.from_bytes(packet[6:8]) & 0x1FFF:
        return b""
    return packet[32:40] if "protocol" in sa else packet[28:36]


def test_no_counter_is_used_twice_in_a_bundle() -> None:
    """AH with GMAC around ESP with GCM: each has its key and its own numbers."""
    sa = make_sa(Direction.OUT, cipher="aes-gcm128")
    here = gateway_of(sa, around_it(sa, auth="aes-gmac128"), policies=False)
    here.add_policy(make_policy(Direction.OUT, bundle_ah=True))
    packets = [sent(here.outbound(packet_of(4), NOW)).packet for _ in range(50)]
    assert all(packet[24:28] == AH_SPI.to_bytes(4) for packet in packets)
    assert len({packet[32:40] for packet in packets}) == 50
    assert len({packet[56 + 8 : 56 + 16] for packet in packets}) == 50


# Cryptography in borrowed memory (CVE-2026-43284)


@pytest.mark.parametrize("sa", ALL, ids=named)
def test_packets_are_not_changed_in_place_cve_2026_43284(sa: dict[str, Any]) -> None:
    clear = packet_of(4, udp(data=bytes(range(200))))
    clear_before = bytes(bytearray(clear))
    sealed = sent(sender(**sa).outbound(clear, NOW)).packet
    sealed_before = bytes(bytearray(sealed))
    there = receiver(**sa)
    damaged = sealed[:-1] + bytes((sealed[-1] ^ 1,))
    damaged_before = bytes(bytearray(damaged))
    dropped(there.inbound(damaged, NOW))
    assert delivered(there.inbound(sealed, NOW)).packet == clear_before
    assert (clear, sealed, damaged) == (clear_before, sealed_before, damaged_before)


# Encryption without authentication


@pytest.mark.parametrize("cipher", [name for name, row in CIPHERS.items() if not row.combined])
@pytest.mark.parametrize("auth", [NONE, "aes-gmac128"])
def test_encryption_without_authentication_is_refused(cipher: str, auth: str) -> None:
    for direction in Direction:
        with pytest.raises(esp.Unauthenticated):
            Gateway(dice()).add_sa(make_sa(direction, cipher=cipher, auth=auth), now=NOW)


def test_ah_without_authentication_is_refused() -> None:
    for direction in Direction:
        with pytest.raises(esp.Unauthenticated):
            Gateway(dice()).add_sa(make_sa(direction, **AH, auth=NONE), now=NOW)


# Clear text when an SA is missing (Moby CVE-2023-28840 and its siblings)


def without_sa() -> Gateway:
    here = sender()
    here.remove_sa(next(iter(here.sadb)).sa)
    return here


def with_half_a_bundle() -> Gateway:
    here = gateway_of(make_sa(Direction.OUT), policies=False)
    here.add_policy(make_policy(Direction.OUT, bundle_ah=True))
    return here


def with_another_mode() -> Gateway:
    here = gateway_of(make_sa(Direction.OUT, **TRANSPORT), policies=False)
    here.add_policy(make_policy(Direction.OUT))
    return here


@pytest.mark.parametrize(
    ("here", "reason"),
    [
        (without_sa(), Reason.NO_SA_OUT),
        (with_half_a_bundle(), Reason.NO_BUNDLE_SA),
        (with_another_mode(), Reason.PROTOCOL_MISMATCH),
        (sender(sequence=2**32 - 1), Reason.SEQUENCE_EXHAUSTED),
        (sender(path_mtu=380), Reason.TOO_BIG),
    ],
)
def test_nothing_leaves_in_clear_when_the_sa_is_missing_cve_2023_28840(here: Gateway, reason: Reason) -> None:
    verdict = here.outbound(packet_of(4, udp(data=bytes(300)), flags=0x4000), NOW)
    assert not isinstance(verdict, Bypass | Send)
    assert dropped(verdict).reason is reason


# The policy check after decryption


@pytest.mark.parametrize(
    ("policy", "reason"),
    [
        (None, Reason.INNER_MISMATCH),
        ({"reqid": 8}, Reason.SA_MISMATCH),
        ({"mode": Mode.TRANSPORT}, Reason.PROTOCOL_MISMATCH),
        ({"protocol": Protocol.AH}, Reason.PROTOCOL_MISMATCH),
        ({"bundle_ah": True}, Reason.SA_MISMATCH),
        ({"action": Action.DISCARD}, Reason.DISCARD_IN),
        ({"selector": make_selector("10.3.0.0/16", "10.2.0.0/16")}, Reason.INNER_MISMATCH),
        ({"selector": make_selector("10.1.0.0/16", "10.2.0.0/16", 6)}, Reason.INNER_MISMATCH),
    ],
)
def test_the_policy_is_asked_after_decryption(policy: dict[str, Any] | None, reason: Reason) -> None:
    there = gateway_of(make_sa(Direction.IN), policies=False)
    if policy is not None:
        there.add_policy(make_policy(Direction.IN, **policy))
    verdict = there.inbound(sent(sender().outbound(packet_of(4), NOW)).packet, NOW)
    assert dropped(verdict).reason is reason


def test_a_tunnel_inside_transport_mode_gets_nobody_by_the_policy() -> None:
    """An IP packet as the payload of transport mode: its addresses would never be compared."""
    here, there = sender(**TRANSPORT), receiver(**TRANSPORT)
    smuggled = end_to_end(4, packet_of(4), protocol=4)
    verdict = there.inbound(sent(here.outbound(smuggled, NOW)).packet, NOW)
    assert dropped(verdict).reason is Reason.MODE_MISMATCH


# SAs that come and go (CVE-2025-39965, CVE-2026-31663)


@pytest.mark.parametrize("spi", [0, 1, 255, 2**32])
def test_spi_zero_is_no_sa_cve_2025_39965(spi: int) -> None:
    for direction in Direction:
        with pytest.raises(BadSa):
            Gateway(dice()).add_sa(make_sa(direction, spi=spi), now=NOW)
    assert isinstance(receiver().inbound(outside(4, 50, bytes(100)), NOW), Drop)


def test_a_removed_sa_opens_nothing_more() -> None:
    here, there = sender(), receiver()
    record = next(iter(there.sadb))
    delivered(there.inbound(sent(here.outbound(packet_of(4), NOW)).packet, NOW))
    there.remove_sa(record.sa)
    assert dropped(there.inbound(sent(here.outbound(packet_of(4), NOW)).packet, NOW)).reason is Reason.NO_SA_IN
    there.add_sa(record.sa, sequence=record.sequence, now=NOW)
    assert isinstance(there.inbound(sent(here.outbound(packet_of(4), NOW)).packet, NOW), Deliver)


# Timing


@pytest.mark.parametrize("auth", AUTHS)
def test_tags_are_compared_in_constant_time(auth: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the library's function, over the whole value; a combined cipher leaves it to the library altogether."""
    compared: list[tuple[bytes, bytes]] = []

    def spy(one: bytes, other: bytes) -> bool:
        compared.append((one, other))
        return hmac.compare_digest(one, other)

    monkeypatch.setattr(primitives, "compare_digest", spy)
    sign, verify = AUTHS[auth].prepare(AUTH_KEYS[auth])
    right = sign(1, b"octets")
    assert verify(b"octets", right) and not verify(b"octets", right[:-1] + bytes((right[-1] ^ 1,)))
    tag = len(right) - AUTHS[auth].iv_octets
    assert [(len(one), len(other)) for one, other in compared] == [(tag, tag)] * 2


# Keys in texts


def wrong_keys() -> list[SecurityAssociation]:
    made = [make_sa(Direction.IN, cipher=name, cipher_key=b"sesame, open" * 9) for name in CIPHERS if name != "null"]
    made += [make_sa(Direction.IN, auth=name, auth_key=b"sesame, open" * 9) for name in ESP_AUTHS]
    return made + [make_sa(Direction.IN, **AH, auth=name, auth_key=b"sesame, open" * 9) for name in AUTHS]


@pytest.mark.parametrize("sa", wrong_keys(), ids=lambda sa: f"{sa.protocol.name}-{sa.cipher}-{sa.auth}")
def test_a_refused_key_is_not_told(sa: SecurityAssociation) -> None:
    with pytest.raises(BadKeyLength) as caught:
        Gateway(dice()).add_sa(sa, now=NOW)
    told = f"{caught.value} {caught.value!r} {caught.value.args} {sa!r}"
    assert "sesame" not in told and b"sesame".hex() not in told

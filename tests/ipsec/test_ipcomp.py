"""IPComp: smaller or left alone, damaged or too large refused, and an SA at work with it."""

import struct
import zlib
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from culvert.ipsec import ipcomp
from culvert.ipsec.drops import Reason
from culvert.ipsec.ipcomp import REST_PACKETS_MAX, WORTH_OCTETS, Compressor, decompress
from tests.ipsec.building import NOW, delivered, dice, dropped, ipv4, packet_of, parsed, receiver, sender, sent, udp

CPI = 2
NOISE = dice(9)(600)


def deflated(octets: bytes) -> bytes:
    """RFC 2394: DEFLATE without zlib's header, as another program would make it."""
    state = zlib.compressobj(9, zlib.DEFLATED, -15)
    return state.compress(octets) + state.flush()


def packed(octets: bytes, next_header: int = 4, cpi: int = CPI, flags: int = 0) -> bytes:
    return struct.pack("!BBH", next_header, flags, cpi) + deflated(octets)


@settings(deadline=None)
@given(st.binary(max_size=60), st.integers(1, 60), st.integers(0, 107))
def test_what_was_compressed_decompresses(part: bytes, times: int, next_header: int) -> None:
    octets = part * times
    kind, payload = Compressor(CPI).compress(next_header, octets)
    if kind == 108:
        # RFC 3173 section 2.2: smaller, header included; below a threshold not even tried.
        assert len(payload) < len(octets) >= WORTH_OCTETS
        assert payload[:4] == struct.pack("!BBH", next_header, 0, CPI)
        assert zlib.decompress(payload[4:], -15) == octets
        assert decompress(CPI, payload) == (next_header, octets)
    else:
        assert (kind, payload) == (next_header, octets)


def test_what_does_not_shrink_goes_as_it_is() -> None:
    assert Compressor(CPI).compress(4, NOISE) == (4, NOISE)
    assert Compressor(CPI).compress(4, bytes(WORTH_OCTETS - 1)) == (4, bytes(WORTH_OCTETS - 1))
    assert Compressor(CPI).compress(4, bytes(WORTH_OCTETS))[0] == 108


def rest_after(compressor: Compressor, failures: int) -> int:
    """How many packets that would shrink go by uncompressed after so many that don't."""
    for _ in range(failures):
        assert compressor.compress(4, NOISE)[0] == 4
    rested = 0
    while compressor.compress(4, bytes(500))[0] == 4:
        rested += 1
    return rested


def test_it_rests_after_a_run_of_failures_and_longer_every_time() -> None:
    """RFC 3173 section 2.2: an adaptive algorithm."""
    assert [rest_after(Compressor(CPI), failures) for failures in range(5)] == [0, 0, 0, 0, 4]
    compressor, tries = Compressor(CPI), []
    for number in range(400):
        before = compressor._failures
        compressor.compress(4, NOISE)
        if compressor._failures != before:
            tries.append(number)
    gaps = [later - sooner for sooner, later in pairwise(tries)]
    assert gaps[:8] == [1, 1, 1, 5, 9, 17, 33, 65] and set(gaps[8:]) == {REST_PACKETS_MAX + 1}
    rest_after(compressor, 0)
    assert rest_after(compressor, 3) == 0


def test_decompression_takes_what_others_made() -> None:
    assert decompress(CPI, packed(b"text " * 50)) == (4, b"text " * 50)
    # RFC 3173 section 3.1: flags are zero and ignored.
    assert decompress(CPI, packed(b"text", flags=0xFF)) == (4, b"text")
    assert decompress(CPI, packed(b"")) == (4, b"")


@pytest.mark.parametrize(
    ("payload", "reason"),
    [
        (b"", Reason.DECOMPRESSION),
        (packed(b"text")[:3], Reason.DECOMPRESSION),
        (packed(b"text")[:4], Reason.DECOMPRESSION),
        (packed(bytes(500))[:-1], Reason.DECOMPRESSION),
        (packed(b"text")[:4] + b"\xff" * 20, Reason.DECOMPRESSION),
        (packed(b"text", cpi=3), Reason.UNSUPPORTED_PAYLOAD),
        (packed(b"text", cpi=0), Reason.UNSUPPORTED_PAYLOAD),
        (packed(packed(b"text"), 108), Reason.NESTING),
        (packed(bytes(65536)), Reason.DECOMPRESSION),
        (packed(bytes(10_000_000)), Reason.DECOMPRESSION),
    ],
)
def test_what_is_refused(payload: bytes, reason: Reason) -> None:
    assert decompress(CPI, payload) is reason
    assert decompress(0, packed(b"text")) is Reason.UNSUPPORTED_PAYLOAD


def test_the_largest_packet_that_is_taken() -> None:
    assert decompress(CPI, packed(bytes(65535))) == (4, bytes(65535))


# An SA at work


def test_what_is_sealed_is_smaller_and_arrives_whole() -> None:
    packet = ipv4(udp(data=bytes(1400)))
    out = sent(sender(compression=CPI).outbound(packet, NOW)).packet
    assert len(out) < 200
    there = receiver(compression=CPI)
    assert delivered(there.inbound(out, NOW)).packet == packet
    (record,) = there.sadb
    assert record.usage.octets == len(packet)


def test_a_packet_that_only_fits_because_it_shrinks() -> None:
    packet = ipv4(bytes(65515), flags=0x4000)
    out = sent(sender(compression=CPI, path_mtu=1500).outbound(packet, NOW))
    assert not out.rest
    assert delivered(receiver(compression=CPI).inbound(out.packet, NOW)).packet == packet


def test_uncompressed_packets_arrive_with_it_on_and_compressed_ones_do_not_with_it_off() -> None:
    assert delivered(receiver(compression=CPI).inbound(sent(sender().outbound(packet_of(4), NOW)).packet, NOW))
    out = sent(sender(compression=CPI).outbound(ipv4(bytes(500)), NOW)).packet
    assert dropped(receiver().inbound(out, NOW)).reason is Reason.UNSUPPORTED_PAYLOAD
    assert dropped(receiver(compression=3).inbound(out, NOW)).reason is Reason.UNSUPPORTED_PAYLOAD


def test_it_is_not_padded_to_hide_its_size() -> None:
    """RFC 4303 section 2.7 padding stands behind an IP packet, which says its own length; this is none."""
    plain = sent(sender(compression=CPI).outbound(ipv4(bytes(500)), NOW)).packet
    assert len(sent(sender(compression=CPI, tfc_octets=1000).outbound(ipv4(bytes(500)), NOW)).packet) == len(plain)
    assert len(sent(sender(compression=CPI, tfc_octets=1000).outbound(ipv4(b""), NOW)).packet) > 1000


def test_its_own_words() -> None:
    assert (ipcomp.CPI_DEFLATE, ipcomp.HEADER_OCTETS) == (2, 4)
    assert parsed(sent(sender(compression=CPI).outbound(ipv4(bytes(500)), NOW)).packet).protocol == 50

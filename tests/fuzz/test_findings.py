"""What came to light with the fuzz targets, each as the smallest packet that shows it."""

import zlib
from dataclasses import replace

import pytest

from culvert.ipsec import ip
from culvert.ipsec.drops import Reason
from culvert.ipsec.gateway import Gateway
from culvert.ipsec.sadb import Outbound
from culvert.ipsec.verdict import Deliver, Drop, Send
from tests.fuzz.parts import FAR, NEAR, NOW, with_addresses, with_true_length
from tests.fuzz.scenarios import SCENARIOS, Ends, build


def ends_of(name: str, **settings: object) -> Ends:
    (scenario,) = (each for each in SCENARIOS if each.name == name)
    return build(scenario._replace(settings={**scenario.settings, **settings}))


def packet(version: int, octets: int, *, options: bytes = b"", source: object = NEAR) -> bytes:
    """A packet of UDP between the two ends, `octets` long behind its header."""
    start = bytes((0x45 + len(options) // 4,)) + bytes(7) + b"\x40\x11" + bytes(10)
    if version == 6:
        start = b"\x60" + bytes(5) + (b"\0" if options else b"\x11") + b"\x40" + bytes(32)
    ends = (NEAR, FAR) if source is NEAR else (FAR, NEAR)
    made = with_true_length(start + options + bytes(octets))
    made = with_addresses(made, ends[0][version].packed, ends[1][version].packed)
    return made[:10] + ip.checksum(made[: 20 + len(options)]).to_bytes(2) + made[12:] if version == 4 else made


def outbound(gateway: Gateway) -> Outbound:
    (record,) = (each for each in gateway.sadb if isinstance(each, Outbound))
    return record


def sealed_bomb(ends: Ends, version: int, octets: int) -> bytes:
    """A packet in transport mode, of the peer's, whose payload is `octets` once it is decompressed."""
    record = outbound(ends.far)
    state = zlib.compressobj(9, zlib.DEFLATED, -15)
    cpi = record.sa.compression
    compressed = bytes((17, 0)) + cpi.to_bytes(2) + state.compress(bytes(octets)) + state.flush()
    body = record.sealer.seal(b"", 1, 108, compressed)
    assert isinstance(body, bytes)
    header = packet(version, 0, source=FAR)
    return ip.with_length(header, 9 if version == 4 else 6, 50, len(body)) + body


@pytest.mark.parametrize(("name", "version", "room"), [("transport-ipcomp", 4, 65515), ("transport6", 6, 65535)])
def test_what_decompresses_to_more_than_its_header_has_room_for_is_dropped(name: str, version: int, room: int) -> None:
    """It came to an OverflowError: up to 65535 octets are decompressed, and in transport mode a header comes on top."""
    ends = ends_of(name)
    fits = ends.near.inbound(sealed_bomb(ends, version, room), NOW)
    assert isinstance(fits, Deliver)
    if room < ip.LENGTH_MAX:
        ends = ends_of(name)
        dropped = ends.near.inbound(sealed_bomb(ends, version, room + 1), NOW)
        assert isinstance(dropped, Drop) and dropped.reason is Reason.DECOMPRESSION


@pytest.mark.parametrize(
    ("version", "options"), [(4, b"\x01" * 40), (6, b"\x11\x04\x01\x24" + bytes(36))], ids=["ipv4", "ipv6"]
)
def test_a_long_header_and_a_large_payload_are_too_big_in_transport_mode(version: int, options: bytes) -> None:
    """It came to an OverflowError: the size was compared as if every header were as short as can be."""
    name = "transport" if version == 4 else "transport6"
    ends = ends_of(name, path_mtu=0, compression=0)
    small = ends.near.outbound(packet(version, 1000, options=options), NOW)
    assert isinstance(small, Send)
    outcomes = set()
    for room in range(60, 0, -4):
        large = packet(version, 65535 - len(options) - room, options=options)
        # IPv6 counts as "may not be cut by routers": its source is told, and cuts it itself.
        verdict = ends.near.outbound(large, NOW)
        outcomes.add(verdict.reason if isinstance(verdict, Drop) else type(verdict))
        if isinstance(verdict, Send):
            assert isinstance([ends.far.inbound(each, NOW) for each in (verdict.packet, *verdict.rest)][-1], Deliver)
    assert Reason.TOO_BIG in outcomes and outcomes <= {Reason.TOO_BIG, Send}


def test_a_fragment_that_ends_behind_every_packet_is_not_cut_again() -> None:
    """Its later pieces wrapped round to the front, where they passed for first fragments with ports of their own."""
    ends = ends_of("small")
    whole = packet(4, 1000)
    last = whole[:6] + (0x1FFF).to_bytes(2) + whole[8:]
    verdict = ends.near.outbound(last, NOW)
    assert isinstance(verdict, Drop) and verdict.reason is Reason.FRAGMENT
    fitting = whole[:6] + (0x1F00).to_bytes(2) + whole[8:]
    assert isinstance(ends.near.outbound(fitting, NOW), Send)


def test_settings_of_a_scenario_reach_its_sa() -> None:
    """So that the tests above are about what they say."""
    assert outbound(ends_of("transport", path_mtu=0).near).sa == replace(
        outbound(ends_of("transport").near).sa, path_mtu=0
    )

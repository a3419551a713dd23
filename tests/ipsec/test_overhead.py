"""The sizes promised are the sizes sent."""

from typing import Any

import pytest

from culvert.ipsec.overhead import largest_inner, sealed_size
from culvert.ipsec.sa import Direction, Mode, Protocol, UdpPorts
from tests.ipsec.building import NOW, around_it, end_to_end, ipv4, make_sa, sender, sent

OUT = Direction.OUT
CASES: list[dict[str, Any]] = [
    {},
    {"cipher": "null"},
    {"cipher": "3des"},
    {"cipher": "aes-gcm256-icv8"},
    {"cipher": "chacha20-poly1305"},
    {"auth": "sha512"},
    {"encapsulation": UdpPorts()},
    {"protocol": Protocol.AH},
    {"protocol": Protocol.AH, "auth": "sha256"},
    {"bundle_ah": True},
]


def sizes(outer: int, case: dict[str, Any]) -> tuple[Any, Any]:
    """The SA, and the AH SA around it."""
    fields = {name: value for name, value in case.items() if name != "bundle_ah"}
    sa = make_sa(OUT, outer=outer, **fields)
    return sa, around_it(sa) if "bundle_ah" in case else None


@pytest.mark.parametrize("case", CASES, ids=str)
@pytest.mark.parametrize("outer", [4, 6])
def test_sealed_size_is_what_is_sent(outer: int, case: dict[str, Any]) -> None:
    gateway = sender(outer=outer, **case)
    sa, bundled = sizes(outer, case)
    for length in [*range(20, 60), 1399, 1400, 9000]:
        packet = ipv4(bytes(length - 20))
        assert len(sent(gateway.outbound(packet, NOW)).packet) == sealed_size(sa, length, bundled)


@pytest.mark.parametrize("case", CASES, ids=str)
@pytest.mark.parametrize("outer", [4, 6])
def test_the_largest_inner_packet_fits_and_one_more_octet_does_not(outer: int, case: dict[str, Any]) -> None:
    sa, bundled = sizes(outer, case)
    for mtu in [*range(1280, 1320), 1500, 9000, 65535]:
        largest = largest_inner(sa, mtu, bundled)
        assert sealed_size(sa, largest, bundled) <= mtu < sealed_size(sa, largest + 1, bundled)


@pytest.mark.parametrize("case", CASES, ids=str)
@pytest.mark.parametrize("outer", [4, 6])
def test_the_largest_packet_of_transport_mode(outer: int, case: dict[str, Any]) -> None:
    header = 20 if outer == 4 else 40
    sa, bundled = sizes(outer, {**case, "mode": Mode.TRANSPORT})
    for mtu in range(1400, 1417):
        gateway = sender(outer=outer, mode=Mode.TRANSPORT, path_mtu=mtu, **case)
        largest = largest_inner(sa, mtu, bundled)
        out = sent(gateway.outbound(end_to_end(outer, bytes(largest - header)), NOW))
        assert len(out.packet) <= mtu and not out.rest
        one_more = gateway.outbound(end_to_end(outer, bytes(largest - header + 1)), NOW)
        assert outer == 6 or sent(one_more).rest


def test_known_values() -> None:
    assert largest_inner(make_sa(OUT), 1500) == 1438
    assert largest_inner(make_sa(OUT, outer=6), 1500) == 1422
    assert largest_inner(make_sa(OUT, cipher="3des"), 1500) == 1446
    assert largest_inner(make_sa(OUT, cipher="null"), 1500) == 1458
    # 20 IP, 8 UDP, 8 ESP, 8 IV, 16 ICV leave 1440, of which 2 are trailer.
    assert largest_inner(make_sa(OUT, cipher="aes-gcm128", encapsulation=UdpPorts()), 1500) == 1438
    assert largest_inner(make_sa(OUT, protocol=Protocol.AH), 1500) == 1500 - 20 - 24


def test_a_link_that_is_too_small_for_any_packet() -> None:
    for mtu in range(-10, 58):
        assert largest_inner(make_sa(OUT), mtu) == 0

"""The sizes promised are the sizes sent."""

import pytest

from culvert.ipsec.algorithms import CIPHERS
from culvert.ipsec.overhead import largest_inner, sealed_size
from culvert.ipsec.sa import Direction
from tests.ipsec.building import NOW, ipv4, make_sa, sender, sent


@pytest.mark.parametrize("cipher", CIPHERS)
@pytest.mark.parametrize("outer", [4, 6])
def test_sealed_size_is_what_is_sent(cipher: str, outer: int) -> None:
    gateway = sender(cipher, outer)
    sa = make_sa(Direction.OUT, cipher=cipher, outer=outer)
    for length in [*range(20, 120), 1399, 1400, 9000]:
        packet = ipv4(bytes(length - 20))
        assert len(sent(gateway.outbound(packet, NOW)).packet) == sealed_size(sa, length)


@pytest.mark.parametrize("cipher", CIPHERS)
@pytest.mark.parametrize("outer", [4, 6])
def test_the_largest_inner_packet_fits_and_one_more_octet_does_not(cipher: str, outer: int) -> None:
    sa = make_sa(Direction.OUT, cipher=cipher, outer=outer)
    for mtu in [*range(1200, 1600), 9000, 65535]:
        largest = largest_inner(sa, mtu)
        assert sealed_size(sa, largest) <= mtu < sealed_size(sa, largest + 1)


def test_known_values() -> None:
    assert largest_inner(make_sa(Direction.OUT), 1500) == 1438
    assert largest_inner(make_sa(Direction.OUT, outer=6), 1500) == 1422
    assert largest_inner(make_sa(Direction.OUT, cipher="3des"), 1500) == 1446
    assert largest_inner(make_sa(Direction.OUT, cipher="null"), 1500) == 1458


def test_a_link_that_is_too_small_for_any_packet() -> None:
    for mtu in range(-10, 58):
        assert largest_inner(make_sa(Direction.OUT), mtu) == 0

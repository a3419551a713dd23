"""What the sniffer takes for protected, for neighbour talk and for clear."""

import struct
from ipaddress import ip_address

import pytest

from culvert.lab.frames import EchoId, Sort, echo, sort

V4, V6, ARP = 0x0800, 0x86DD, 0x0806


def ethernet(ethertype: int, payload: bytes) -> bytes:
    return b"\2\0\0\0\0\1\2\0\0\0\0\2" + struct.pack("!H", ethertype) + payload


def ipv4(protocol: int, payload: bytes, ttl: int = 64, fragment: int = 0) -> bytes:
    header = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(payload), 7, fragment, ttl, protocol, 0xBEEF)
    return header + ip_address("10.1.0.10").packed + ip_address("10.2.0.10").packed + payload


def ipv6(protocol: int, payload: bytes, hops: int = 64) -> bytes:
    header = struct.pack("!IHBB", 6 << 28, len(payload), protocol, hops)
    return header + ip_address("fd00:1::10").packed + ip_address("fd00:2::10").packed + payload


ESP = struct.pack("!II", 0x3E9, 1) + bytes(40)


@pytest.mark.parametrize("frame", [ethernet(V4, ipv4(50, ESP)), ethernet(V6, ipv6(50, ESP))])
def test_esp_is_protected_and_gives_its_spi(frame: bytes) -> None:
    sighting = sort(frame)
    assert (sighting.sort, sighting.spi) == (Sort.ESP, 0x3E9)


def test_ah_and_esp_in_udp_are_protected_too() -> None:
    sighting = sort(ethernet(V4, ipv4(51, struct.pack("!BBHII", 4, 4, 0, 0x3EA, 1) + bytes(40))))
    assert (sighting.sort, sighting.spi) == (Sort.AH, 0x3EA)
    header = struct.pack("!HHHH", 4500, 4500, 8 + len(ESP), 0)
    sighting = sort(ethernet(V6, ipv6(17, header + ESP)))
    assert (sighting.sort, sighting.spi) == (Sort.ESP, 0x3E9)
    # An IKE message, and UDP of somebody else.
    assert sort(ethernet(V4, ipv4(17, header + bytes(4) + ESP))).sort is Sort.CLEAR
    assert sort(ethernet(V4, ipv4(17, struct.pack("!HHHH", 4500, 53, 48, 0) + ESP))).sort is Sort.CLEAR


def test_a_later_fragment_of_esp_is_protected_but_has_no_spi() -> None:
    sighting = sort(ethernet(V4, ipv4(50, bytes(range(40)), fragment=185)))
    assert (sighting.sort, sighting.spi) == (Sort.ESP, None)
    header = struct.pack("!BBHI", 50, 0, 185 << 3, 7)
    sighting = sort(ethernet(V6, ipv6(44, header + bytes(range(40)))))
    assert (sighting.sort, sighting.spi) == (Sort.ESP, None)


@pytest.mark.parametrize(
    "frame",
    [
        ethernet(V4, ipv4(1, bytes(16))),
        ethernet(V4, ipv4(6, bytes(20))),
        ethernet(V4, ipv4(17, bytes(8))),
        ethernet(V4, ipv4(4, bytes(20))),
        ethernet(V6, ipv6(58, struct.pack("!BBHHH", 128, 0, 0, 1, 1))),
        ethernet(V6, ipv6(6, bytes(20))),
        ethernet(V6, ipv6(44, struct.pack("!BBHI", 6, 0, 1, 7) + bytes(20))),
        ethernet(V6, ipv6(0, bytes([6, 0, 5, 2, 0, 0, 1, 0]) + bytes(20))),
        ethernet(0x8847, bytes(40)),
        b"short",
    ],
)
def test_whatever_else_is_clear(frame: bytes) -> None:
    assert sort(frame).sort is Sort.CLEAR


@pytest.mark.parametrize(
    "frame",
    [
        ethernet(ARP, bytes(28)),
        ethernet(V6, ipv6(58, bytes([135]) + bytes(23))),
        ethernet(V6, ipv6(0, bytes([58, 0, 5, 2, 0, 0, 1, 0, 143]) + bytes(19))),
        ethernet(V4, ipv4(2, bytes(8))),
    ],
)
def test_neighbour_talk_is_neither(frame: bytes) -> None:
    assert sort(frame).sort is Sort.NEIGHBOUR


def test_a_ping_is_the_same_ping_after_two_routers() -> None:
    request = struct.pack("!BBHHH", 8, 0, 0x1234, 77, 3) + b"payload"
    here = echo(ethernet(V4, ipv4(1, request, ttl=64)))
    there = echo(ethernet(V4, ipv4(1, request, ttl=62)))
    assert here == there
    assert here is not None
    assert here[0] == EchoId(4, False, 77, 3)


def test_one_changed_octet_makes_another_ping() -> None:
    one = echo(ethernet(V6, ipv6(58, struct.pack("!BBHHH", 129, 0, 0, 1, 1) + b"payload")))
    other = echo(ethernet(V6, ipv6(58, struct.pack("!BBHHH", 129, 0, 0, 1, 1) + b"pay1oad")))
    assert one is not None
    assert other is not None
    assert one[0] == other[0] == EchoId(6, True, 1, 1)
    assert one[1] != other[1]


def test_ethernet_padding_is_no_part_of_a_ping() -> None:
    request = struct.pack("!BBHHH", 8, 0, 0, 1, 1)
    assert echo(ethernet(V4, ipv4(1, request)) + bytes(18)) == echo(ethernet(V4, ipv4(1, request)))


def test_other_traffic_is_no_ping() -> None:
    assert echo(ethernet(V4, ipv4(17, bytes(20)))) is None
    assert echo(ethernet(V4, ipv4(1, bytes([3]) + bytes(20)))) is None

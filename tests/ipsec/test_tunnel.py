"""The outer header and what comes back from it."""

from ipaddress import ip_address

import pytest
from scapy.layers.inet import IP
from scapy.layers.inet6 import IPv6

from culvert.ipsec import ip, tunnel
from culvert.ipsec.tunnel import CE, ECT0, ECT1, NOT_ECT, OuterHeader
from tests.ipsec.building import OUTER, dice, ipv4, ipv6, packet_of

DF = 0x4000


def outer_header(version: int, inner: bytes, payload_octets: int = 100) -> bytes:
    datagram = ip.parse(inner)
    assert datagram is not None
    return OuterHeader(*OUTER[version], 50, dice()).emit(datagram, payload_octets)


@pytest.mark.parametrize("inner_version", [4, 6])
@pytest.mark.parametrize("traffic_class", range(0, 256, 5))
def test_an_ipv4_header(inner_version: int, traffic_class: int) -> None:
    octets = outer_header(4, packet_of(inner_version, traffic_class=traffic_class))
    header = IP(octets)
    assert len(octets) == 20 and ip.checksum(octets) == 0
    assert (header.version, header.ihl, header.len, header.ttl, header.proto) == (4, 5, 120, 64, 50)
    assert header.tos == traffic_class
    assert (header.src, header.dst) == tuple(map(str, OUTER[4]))


@pytest.mark.parametrize("inner_version", [4, 6])
@pytest.mark.parametrize("traffic_class", range(0, 256, 5))
def test_an_ipv6_header(inner_version: int, traffic_class: int) -> None:
    octets = outer_header(6, packet_of(inner_version, traffic_class=traffic_class))
    header = IPv6(octets)
    assert len(octets) == 40
    assert (header.version, header.tc, header.fl) == (6, traffic_class, 0)
    assert (header.plen, header.nh, header.hlim) == (100, 50, 64)
    assert (header.src, header.dst) == tuple(map(str, OUTER[6]))


def test_df_is_copied_and_set_for_ipv6() -> None:
    assert IP(outer_header(4, ipv4())).flags == 0
    assert IP(outer_header(4, ipv4(flags=DF))).flags == "DF"
    assert IP(outer_header(4, ipv6())).flags == "DF"
    # A fragment of the inner packet is one whole payload of the outer one.
    assert IP(outer_header(4, ipv4(flags=0x2000))).flags == 0
    assert IP(outer_header(4, ipv4(flags=0x0010))).frag == 0


def test_the_identification_is_random_only_without_df() -> None:
    header = OuterHeader(*OUTER[4], 50, dice())
    free, bound = ip.parse(ipv4()), ip.parse(ipv4(flags=DF))
    assert free and bound
    assert len({header.emit(free, 8)[4:6] for _ in range(50)}) > 40
    assert {header.emit(bound, 8)[4:6] for _ in range(50)} == {bytes(2)}


def test_every_checksum_is_right() -> None:
    header = OuterHeader(ip_address("255.255.255.255"), ip_address("0.0.0.0"), 50, dice())
    inner = ip.parse(ipv4())
    assert inner
    for length in range(65516):
        assert ip.checksum(header.emit(inner, length)) == 0


def test_the_largest_payload() -> None:
    assert OuterHeader(*OUTER[4], 50, dice()).payload_max == 65515
    assert OuterHeader(*OUTER[6], 50, dice()).payload_max == 65535


# RFC 6040 figure 4. Rows: the mark of the arriving inner header; columns: Not-ECT, ECT(0), ECT(1), CE outside.
FIGURE_4 = {
    NOT_ECT: (NOT_ECT, NOT_ECT, NOT_ECT, None),
    ECT0: (ECT0, ECT0, ECT1, CE),
    ECT1: (ECT1, ECT1, ECT1, CE),
    CE: (CE, CE, CE, CE),
}


@pytest.mark.parametrize("version", [4, 6])
@pytest.mark.parametrize("dscp", [0, 0b101110, 0b111111])
@pytest.mark.parametrize(
    ("inner_mark", "outer_mark", "result"),
    [
        (inner_mark, outer_mark, result)
        for inner_mark, row in FIGURE_4.items()
        for outer_mark, result in zip((NOT_ECT, ECT0, ECT1, CE), row, strict=True)
    ],
)
def test_ecn_on_the_way_in(version: int, dscp: int, inner_mark: int, outer_mark: int, result: int | None) -> None:
    packet = packet_of(version, traffic_class=dscp << 2 | inner_mark)
    inner = ip.parse(packet)
    outer = ip.parse(ipv4(traffic_class=outer_mark))
    assert inner and outer
    marked = tunnel.with_ecn(packet, inner, outer)
    expected = None if result is None else packet_of(version, traffic_class=dscp << 2 | result)
    assert marked == expected


def test_marking_does_not_repair_a_wrong_checksum() -> None:
    right = ipv4(traffic_class=ECT0)
    packet = right[:10] + bytes((right[10] ^ 0x10,)) + right[11:]
    inner, outer = ip.parse(packet), ip.parse(ipv4(traffic_class=CE))
    assert inner and outer
    marked = tunnel.with_ecn(packet, inner, outer)
    assert marked and marked[1] == CE
    assert ip.checksum(marked[:20]) == ip.checksum(packet[:20]) != 0


def test_marking_keeps_every_right_checksum_right() -> None:
    outer = ip.parse(ipv4(traffic_class=CE))
    assert outer
    for identification in range(0, 65536, 7):
        packet = ipv4(traffic_class=ECT0, identification=identification)
        inner = ip.parse(packet)
        assert inner
        marked = tunnel.with_ecn(packet, inner, outer)
        assert marked and ip.checksum(marked[:20]) == 0

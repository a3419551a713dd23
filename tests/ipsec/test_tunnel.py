"""The outer header, by its rules, and what comes back from it."""

from ipaddress import ip_address

import pytest
from scapy.layers.inet import IP
from scapy.layers.inet6 import IPv6

from culvert.ipsec import ip, tunnel
from culvert.ipsec.sa import Copy, HeaderRules
from culvert.ipsec.tunnel import CE, ECT0, ECT1, NOT_ECT, OuterHeader
from tests.ipsec.building import OUTER, dice, ipv4, ipv6, packet_of, parsed

DF = 0x4000
PLAIN = HeaderRules()


def outer_header(version: int, inner: bytes, rules: HeaderRules = PLAIN, payload_octets: int = 100) -> bytes:
    return OuterHeader(*OUTER[version], rules, dice()).emit(parsed(inner), 50, payload_octets)


@pytest.mark.parametrize("inner_version", [4, 6])
@pytest.mark.parametrize("protocol", [17, 50, 51])
def test_an_ipv4_header(inner_version: int, protocol: int) -> None:
    for traffic_class in range(256):
        inner = parsed(packet_of(inner_version, traffic_class=traffic_class))
        octets = OuterHeader(*OUTER[4], PLAIN, dice()).emit(inner, protocol, 100)
        header = IP(octets)
        assert len(octets) == 20 and ip.checksum(octets) == 0
        assert (header.version, header.ihl, header.len, header.ttl, header.proto) == (4, 5, 120, 64, protocol)
        assert header.tos == traffic_class
        assert (header.src, header.dst) == tuple(map(str, OUTER[4]))


@pytest.mark.parametrize("inner_version", [4, 6])
@pytest.mark.parametrize("protocol", [17, 50, 51])
def test_an_ipv6_header(inner_version: int, protocol: int) -> None:
    for traffic_class in range(256):
        inner = parsed(packet_of(inner_version, traffic_class=traffic_class))
        octets = OuterHeader(*OUTER[6], PLAIN, dice()).emit(inner, protocol, 100)
        header = IPv6(octets)
        assert len(octets) == 40
        assert (header.version, header.tc, header.fl) == (6, traffic_class, 0)
        assert (header.plen, header.nh, header.hlim) == (100, protocol, 64)
        assert (header.src, header.dst) == tuple(map(str, OUTER[6]))


@pytest.mark.parametrize("outer", [4, 6])
@pytest.mark.parametrize(
    ("rules", "inside", "outside"),
    [
        (HeaderRules(), 0xBB, 0xBB),
        (HeaderRules(dscp=0), 0xBB, 0x03),
        (HeaderRules(dscp=63), 0xBB, 0xFF),
        (HeaderRules(dscp=10), 0x00, 0x28),
        # RFC 6040 section 4.1: the compatibility mode.
        (HeaderRules(ecn=False), 0xBB, 0xB8),
        (HeaderRules(dscp=10, ecn=False), 0xBB, 0x28),
    ],
)
def test_traffic_class_by_the_rules(outer: int, rules: HeaderRules, inside: int, outside: int) -> None:
    for inner in (4, 6):
        assert (
            parsed(outer_header(outer, packet_of(inner, traffic_class=inside), rules) + bytes(100)).traffic_class
            == outside
        )


@pytest.mark.parametrize("outer", [4, 6])
@pytest.mark.parametrize(("hops", "outside"), [(64, 64), (1, 1), (255, 255), (None, 17)])
def test_hops_by_the_rules(outer: int, hops: int | None, outside: int) -> None:
    for inner in (4, 6):
        header = outer_header(outer, packet_of(inner, hops=17), HeaderRules(hops=hops))
        assert parsed(header + bytes(100)).hops == outside


@pytest.mark.parametrize(("copied", "inner", "outside"), [(False, 6, 0), (True, 6, 0xABCDE), (True, 4, 0)])
def test_the_flow_label_by_the_rules(copied: bool, inner: int, outside: int) -> None:
    packet = ipv6(flow_label=0xABCDE) if inner == 6 else ipv4()
    assert IPv6(outer_header(6, packet, HeaderRules(flow_label=copied))).fl == outside
    assert len(outer_header(4, packet, HeaderRules(flow_label=copied))) == 20


# Rule, then the DF bit outside for IPv4 without and with DF, and IPv6 inside.
DF_OUTSIDE = {
    Copy.COPY: (False, True, True),
    Copy.SET: (True, True, True),
    Copy.CLEAR: (False, False, False),
}


@pytest.mark.parametrize("rule", list(Copy))
def test_df_by_the_rules(rule: Copy) -> None:
    for packet, outside in zip((ipv4(), ipv4(flags=DF), ipv6()), DF_OUTSIDE[rule], strict=True):
        rules = HeaderRules(dont_fragment=rule)
        header = OuterHeader(*OUTER[4], rules, dice())
        assert IP(header.emit(parsed(packet), 50, 100)).flags == ("DF" if outside else 0)
        assert header.may_not_fragment(parsed(packet)) is outside
        assert OuterHeader(*OUTER[6], rules, dice()).may_not_fragment(parsed(packet)) is outside


def test_a_fragment_inside_is_one_whole_payload() -> None:
    assert IP(outer_header(4, ipv4(flags=0x2000))).flags == 0
    assert IP(outer_header(4, ipv4(bytes(8), flags=0x0010))).frag == 0


def test_the_identification_is_random_only_without_df() -> None:
    header = OuterHeader(*OUTER[4], PLAIN, dice())
    free, bound = parsed(ipv4()), parsed(ipv4(flags=DF))
    assert len({header.emit(free, 50, 8)[4:6] for _ in range(50)}) > 40
    assert {header.emit(bound, 50, 8)[4:6] for _ in range(50)} == {bytes(2)}


def test_every_checksum_is_right() -> None:
    header = OuterHeader(ip_address("255.255.255.255"), ip_address("0.0.0.0"), PLAIN, dice())
    inner = parsed(ipv4())
    for length in range(0, 65516, 3):
        assert ip.checksum(header.emit(inner, 50, length)) == 0


def test_the_largest_payload() -> None:
    assert OuterHeader(*OUTER[4], PLAIN, dice()).payload_max == 65515
    assert OuterHeader(*OUTER[6], PLAIN, dice()).payload_max == 65535


# RFC 6040 figure 4. Rows: the mark of the arriving inner header; columns: Not-ECT, ECT(0), ECT(1), CE outside.
FIGURE_4 = {
    NOT_ECT: (NOT_ECT, NOT_ECT, NOT_ECT, None),
    ECT0: (ECT0, ECT0, ECT1, CE),
    ECT1: (ECT1, ECT1, ECT1, CE),
    CE: (CE, CE, CE, CE),
}


@pytest.mark.parametrize("version", [4, 6])
@pytest.mark.parametrize("dscp", [0, 0b101110, 0b111111])
def test_ecn_on_the_way_in(version: int, dscp: int) -> None:
    for inner_mark, row in FIGURE_4.items():
        for outer_mark, result in zip((NOT_ECT, ECT0, ECT1, CE), row, strict=True):
            packet = packet_of(version, traffic_class=dscp << 2 | inner_mark)
            marked = tunnel.with_ecn(packet, parsed(packet), 0xA8 | outer_mark)
            expected = None if result is None else packet_of(version, traffic_class=dscp << 2 | result)
            assert marked == expected


def test_marking_does_not_repair_a_wrong_checksum() -> None:
    right = ipv4(traffic_class=ECT0)
    packet = right[:10] + bytes((right[10] ^ 0x10,)) + right[11:]
    marked = tunnel.with_ecn(packet, parsed(packet), CE)
    assert marked and marked[1] == CE
    assert ip.checksum(marked[:20]) == ip.checksum(packet[:20]) != 0


def test_marking_keeps_every_right_checksum_right() -> None:
    for identification in range(0, 65536, 7):
        packet = ipv4(traffic_class=ECT0, identification=identification)
        marked = tunnel.with_ecn(packet, parsed(packet), CE)
        assert marked and ip.checksum(marked[:20]) == 0

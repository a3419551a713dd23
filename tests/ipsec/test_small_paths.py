"""Paths that are smaller than any source may be told, and complaints about what is not ours."""

import struct

from scapy.layers.inet import ICMP, IP, UDP
from scapy.layers.inet6 import ICMPv6PacketTooBig, IPv6
from scapy.packet import Raw

from culvert.ipsec import fragment, ip
from culvert.ipsec.drops import Reason
from culvert.ipsec.gateway import Gateway, Learned
from culvert.ipsec.lifetime import Lifetime, Limits
from culvert.ipsec.sa import Direction, Fragmentation, Mode, Protocol, UdpPorts
from culvert.ipsec.verdict import Bypass, Drop
from tests.ipsec.building import NOW, OUTER, SPI, dice, ipv4, ipv6, make_policy, make_sa, packet_of, sent, udp


def transport_sender(path_mtu: int) -> Gateway:
    gateway = Gateway(dice())
    gateway.add_sa(make_sa(Direction.OUT, outer=6, mode=Mode.TRANSPORT, path_mtu=path_mtu), now=NOW)
    gateway.add_policy(make_policy(Direction.OUT, inner=6, mode=Mode.TRANSPORT))
    return gateway


def test_no_size_of_packet_is_lost_without_a_word_in_transport_mode() -> None:
    """Over a path of 1300 a packet of 1280 doesn't fit once it is sealed, and IPv6 knows no smaller one."""
    source, destination = OUTER[6]
    for octets in range(1180, 1500):
        packet = ipv6(udp(data=bytes(octets - 48)), source=source, destination=destination)
        verdict = sent(transport_sender(1300).outbound(packet, NOW))
        pieces = (verdict.packet, *verdict.rest)
        assert all(len(piece) <= 1300 for piece in pieces)
        # 1300 - 40 - 8 ESP - 16 IV - 12 ICV leaves 76 whole AES blocks: 1214 octets and the trailer, behind 40.
        assert len(pieces) == 1 + (octets > 1254)
        together = fragment.Reassembler()
        datagrams = [(piece, ip.parse(piece)) for piece in pieces]
        whole = [together.add(piece, found, NOW) for piece, found in datagrams if found and found.fragment]
        assert len(pieces) == 1 or isinstance(whole[-1], bytes)


def test_an_identification_is_never_nought() -> None:
    """Linux would put another in its place, and AH has signed ours."""
    gateway = Gateway(lambda octets: bytes(octets))
    gateway.add_sa(make_sa(Direction.OUT), now=NOW)
    gateway.add_policy(make_policy(Direction.OUT))
    assert IP(sent(gateway.outbound(packet_of(4), NOW)).packet).id == 1


def complaint(source_port: int, destination_port: int, mtu: int = 1300) -> bytes:
    source, destination = map(str, OUTER[4])
    quoted = IP(src=source, dst=destination, flags="DF") / UDP(sport=source_port, dport=destination_port)
    esp = struct.pack("!II", SPI, 1) + bytes(60)
    error = IP(src="198.51.100.1", dst=source) / ICMP(type=3, code=4, nexthopmtu=mtu)
    return bytes(error / Raw(bytes(quoted / Raw(esp))))


def test_a_complaint_about_udp_of_another_program_is_not_about_us() -> None:
    gateway = Gateway(dice())
    gateway.add_sa(make_sa(Direction.OUT, encapsulation=UdpPorts(4500, 4501)), now=NOW)
    gateway.add_policy(make_policy(Direction.OUT))
    sent(gateway.outbound(packet_of(4), NOW))
    assert isinstance(gateway.told_too_big(complaint(4500, 53), NOW), Bypass)
    assert isinstance(gateway.told_too_big(complaint(53, 4501), NOW), Bypass)
    learned = gateway.told_too_big(complaint(4500, 4501), NOW)
    assert isinstance(learned, Learned)
    assert learned.mtu == 1300


def test_esp_outside_udp_is_none_of_an_sa_that_goes_in_udp() -> None:
    gateway = Gateway(dice())
    gateway.add_sa(make_sa(Direction.OUT, encapsulation=UdpPorts()), now=NOW)
    gateway.add_policy(make_policy(Direction.OUT))
    sent(gateway.outbound(packet_of(4), NOW))
    source, destination = map(str, OUTER[4])
    quoted = IP(src=source, dst=destination, flags="DF", proto=50) / Raw(struct.pack("!II", SPI, 1) + bytes(60))
    error = IP(src="198.51.100.1", dst=source) / ICMP(type=3, code=4, nexthopmtu=1300) / Raw(bytes(quoted))
    verdict = gateway.told_too_big(bytes(error), NOW)
    assert isinstance(verdict, Drop)
    assert verdict.reason is Reason.FORGED_TOO_BIG


def test_ah_never_goes_around_udp() -> None:
    """No receiver would look for UDP behind AH; the configuration refuses it, and so does the packet path."""
    gateway = Gateway(dice())
    gateway.add_sa(make_sa(Direction.OUT, encapsulation=UdpPorts()), now=NOW)
    gateway.add_sa(make_sa(Direction.OUT, protocol=Protocol.AH, mode=Mode.TRANSPORT), now=NOW)
    gateway.add_policy(make_policy(Direction.OUT, bundle_ah=True))
    verdict = gateway.outbound(packet_of(4), NOW)
    assert isinstance(verdict, Drop)
    assert verdict.reason is Reason.PROTOCOL_MISMATCH


def test_dummies_count_in_the_life_of_a_key() -> None:
    gateway = Gateway(dice())
    sa = make_sa(Direction.OUT, dummy_seconds=1, lifetime=Lifetime(hard=Limits(packets=3)))
    record = gateway.add_sa(sa, now=NOW)
    sent_at = [NOW + second for second in range(1, 10) if list(gateway.due(NOW + second))]
    assert len(sent_at) == 3
    assert (record.usage.packets, record.usage.life_packets) == (0, 3)


def test_a_complaint_about_a_piece_of_ours_teaches() -> None:
    """IPv6 routers never cut, so what they quote may be the first piece of what we cut behind protection."""
    gateway = Gateway(dice())
    sa = make_sa(Direction.OUT, outer=6, path_mtu=1500, fragmentation=Fragmentation.AFTER)
    gateway.add_sa(sa, now=NOW)
    gateway.add_policy(make_policy(Direction.OUT))
    first = sent(gateway.outbound(packet_of(4, bytes(3000)), NOW)).packet
    assert first[6] == 44
    source = str(OUTER[6][0])
    error = IPv6(src="2001:db8:9::1", dst=source) / ICMPv6PacketTooBig(mtu=1400) / Raw(first[:1200])
    learned = gateway.told_too_big(bytes(error), NOW)
    assert isinstance(learned, Learned)
    assert learned.mtu == 1400
    assert (
        max(map(len, [(again := sent(gateway.outbound(packet_of(4, bytes(3000)), NOW))).packet, *again.rest])) <= 1400
    )


def test_ah_signs_an_identification_that_linux_leaves_alone() -> None:
    gateway = Gateway(dice())
    gateway.add_sa(make_sa(Direction.OUT, protocol=Protocol.AH, mode=Mode.TRANSPORT), now=NOW)
    gateway.add_policy(make_policy(Direction.OUT, protocol=Protocol.AH, mode=Mode.TRANSPORT))
    source, destination = OUTER[4]
    packet = ipv4(udp(), source=source, destination=destination, identification=0)
    assert IP(sent(gateway.outbound(packet, NOW)).packet).id != 0
    whole = ipv4(udp(), source=source, destination=destination, identification=0, flags=0x4000)
    assert IP(sent(gateway.outbound(whole, NOW)).packet).id == 0


def quoting_extensions(count: int) -> bytes:
    """A router's complaint about our ESP behind so many destination options."""
    source, destination = OUTER[6]
    options = b"".join(bytes((60 if left else 50, 0, 1, 4, 0, 0, 0, 0)) for left in range(count - 1, -1, -1))
    quoted = ipv6(options + struct.pack("!II", SPI, 1) + bytes(60), protocol=60, source=source, destination=destination)
    return bytes(IPv6(src="2001:db8:9::1", dst=str(source)) / ICMPv6PacketTooBig(mtu=1400) / Raw(quoted))


def test_a_complaint_about_esp_behind_options_teaches() -> None:
    gateway = Gateway(dice())
    gateway.add_sa(make_sa(Direction.OUT, outer=6), now=NOW)
    gateway.add_policy(make_policy(Direction.OUT))
    sent(gateway.outbound(packet_of(4), NOW))
    assert isinstance(gateway.told_too_big(quoting_extensions(2), NOW), Learned)
    # A chain without an end is nobody's.
    assert isinstance(gateway.told_too_big(quoting_extensions(17), NOW), Bypass)

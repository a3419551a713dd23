"""Every way of protecting, with real packets on the wire."""

import os
import signal
import socket
from ipaddress import ip_address
from itertools import pairwise
from pathlib import Path

import pytest

from culvert.ipsec.drops import Reason
from tests.dataplane.topology import Wan, protocols, sniffing, wait_until
from tests.dataplane.traffic import datagram_arrives, emit, transfers

pytestmark = pytest.mark.network

SERVER4 = "10.2.0.5"
SERVER6 = "fd02::5"
FAMILIES = pytest.mark.parametrize(("inner", "outer", "address"), [(4, 4, SERVER4), (6, 6, SERVER6)])


def no_drops(wan: Wan) -> bool:
    assert [gateway.drops() for gateway in wan.gateways] == [{}, {}]
    return True


@FAMILIES
def test_ah_tunnel(wan: Wan, inner: int, outer: int, address: str) -> None:
    wan.start(f"shaped(site(side, inner={inner}, outer={outer}), sa=AH, policy={{'protocol': Protocol.AH}})")
    with sniffing(wan.a, "wan") as sniffer:
        assert wan.client.pings(address, "-s", "1000")
        assert transfers(wan.client, wan.server, address)
        assert protocols(sniffer.packets()) == {51}
    assert no_drops(wan)
    row = "[(w.mode, w.protocol) for w in plane.worker_stats() if w.packets_in and w.packets_out]"
    assert wan.a.do(row) == [["TUNNEL", "AH"]]


@FAMILIES
def test_bundle_of_esp_and_ah(wan: Wan, inner: int, outer: int, address: str) -> None:
    site = f"shaped(site(side, inner={inner}, outer={outer}), policy={{'bundle_ah': True}})"
    # Two headers more than the MTU of the other tests leaves room for.
    wan.start(f"[*{site}, *signing(side, outer={outer}), SetTunnelMtu(1400, 1300)]")
    with sniffing(wan.a, "wan") as sniffer:
        assert wan.client.pings(address)
        assert transfers(wan.client, wan.server, address)
        packets = sniffer.packets()
    assert protocols(packets) == {51}
    assert {packet[20 if outer == 4 else 40] for packet in packets} == {50}, "AH says that ESP follows"
    assert no_drops(wan)
    usage = wan.a.do("[(u.packets, u.sequence) for u in plane.usage()]")
    assert all(packets == sequence > 10 for packets, sequence in usage)
    rows = "[(w.mode, w.protocol) for w in plane.worker_stats() if w.packets_in and w.packets_out]"
    assert wan.a.do(rows) == [["TRANSPORT", "AH"], ["TUNNEL", "ESP"]]


def test_bundle_without_its_ah_sa_sends_nothing(wan: Wan) -> None:
    wan.start("shaped(site(side), policy={'bundle_ah': True})")
    with sniffing(wan.a, "wan") as sniffer:
        assert not wan.client.pings(SERVER4)
        assert not sniffer.packets()
    assert wan.a.drops() == {Reason.NO_BUNDLE_SA.name: 2}


def test_compressed_packets_are_smaller(wan: Wan) -> None:
    wan.start("shaped(site(side), sa={'compression': 2})")
    with sniffing(wan.a, "wan") as sniffer:
        assert wan.client.pings(SERVER4, "-s", "1200", "-p", "00")
        compressed = [len(packet) for packet in sniffer.packets()]
        assert transfers(wan.client, wan.server, SERVER4, 100_000), "octets of chance travel too"
        sniffer.packets()
    assert compressed
    assert max(compressed) < 400
    assert no_drops(wan)


def test_extended_sequence_numbers_pass_the_edge_of_32_bits(wan: Wan) -> None:
    wan.start("shaped(site(side), sa={'esn': True})")
    assert wan.client.pings(SERVER4)
    for gateway in wan.gateways:
        # As if four thousand million packets had passed.
        gateway.do(
            "[plane._counters.numbers.__setitem__(plane._slots._base(sa) + 3, 2**32 - 3)"
            " for sa in plane._wanted.sas.values()]"
        )
        gateway.do("plane._start(plane._wanted)")
    assert wan.client.pings(SERVER4, count=6)
    assert wan.a.do("[u.sequence for u in plane.usage()]") == [2**32 + 3] * 2
    assert no_drops(wan)


# Transport mode


@pytest.mark.parametrize(("outer", "address"), [(4, "3.3.3.3"), (6, "fd0f::3")])
@pytest.mark.parametrize("kind", ["ESP", "AH"])
def test_transport_mode_carries_what_hosts_say(wan: Wan, outer: int, address: str, kind: str) -> None:
    shape = f"ends(side, outer={outer}{', **AH' if kind == 'AH' else ''})"
    wan.start(f"shaped({shape}, policy={{'protocol': Protocol.{kind}}})")
    with sniffing(wan.a, "wan") as sniffer:
        assert wan.a.pings(address, "-s", "1000")
        assert transfers(wan.a, wan.b, address)
        assert transfers(wan.b, wan.a, "2.2.2.2" if outer == 4 else "fd0f::2", 10_000)
        for octets in (10, 1400, 5000, 40000):
            assert datagram_arrives(wan.a, wan.b, address, bytes(octets)), octets
        found = protocols(sniffer.packets())
    number = 50 if kind == "ESP" else 51
    assert found <= {number, 44}, "44: fragments of IPv6"
    assert number in found
    assert no_drops(wan)


@pytest.mark.parametrize("kind", ["ESP", "AH"])
def test_transport_mode_keeps_extension_headers(wan: Wan, kind: str) -> None:
    shape = f"ends(side, outer=6{', **AH' if kind == 'AH' else ''})"
    wan.start(f"shaped({shape}, policy={{'protocol': Protocol.{kind}}})")
    with sniffing(wan.a, "wan") as sniffer:
        assert datagram_arrives(wan.a, wan.b, "fd0f::3", bytes(3000), options6=True)
        first = sniffer.packets()[0]
    assert (first[6], first[40]) == (0, 44), "hop-by-hop options in front, then a fragment"
    assert no_drops(wan)


def test_transport_mode_with_strict_reverse_path_filter(wan: Wan) -> None:
    for gateway in wan.gateways:
        gateway.run("bash", "-c", "for f in /proc/sys/net/ipv4/conf/*/rp_filter; do echo 1 > $f; done")
    wan.start("ends(side)")
    assert wan.a.pings("3.3.3.3")
    assert datagram_arrives(wan.a, wan.b, "3.3.3.3", bytes(3000))


def test_service_that_is_not_offered_stays_closed_in_transport_mode(wan: Wan) -> None:
    wan.start("ends(side, services=())")
    assert wan.a.pings("3.3.3.3")
    assert not datagram_arrives(wan.a, wan.b, "3.3.3.3", b"hello")
    assert wan.b.drops() == {Reason.NOT_ALLOWED.name: 1}


@pytest.mark.parametrize(("outer", "address", "mtu", "size"), [(4, "3.3.3.3", 1000, 1100), (6, "fd0f::3", 1380, 1300)])
def test_host_itself_is_told_what_is_too_big(wan: Wan, outer: int, address: str, mtu: int, size: int) -> None:
    wan.start(f"ends(side, outer={outer}, path_mtu={mtu})")
    told = wan.a.run("ping", "-n", "-c", "2", "-W", "0.5", "-M", "do", "-s", str(size), address, check=False)
    assert "mtu" in told, told
    assert wan.a.drops() == {Reason.TOO_BIG.name: 1}
    with sniffing(wan.a, "wan") as sniffer:
        assert transfers(wan.a, wan.b, address)
        assert max(map(len, sniffer.packets())) <= mtu


# ESP in UDP


@FAMILIES
def test_esp_in_udp(wan: Wan, inner: int, outer: int, address: str) -> None:
    wan.start(f"shaped(site(side, inner={inner}, outer={outer}), sa={{'encapsulation': UdpPorts()}})")
    with sniffing(wan.a, "wan") as sniffer:
        assert wan.client.pings(address, "-s", "1000")
        assert transfers(wan.client, wan.server, address)
        packets = sniffer.packets()
    assert protocols(packets) == {17}
    at = 20 if outer == 4 else 40
    assert {packet[at : at + 4].hex() for packet in packets} == {"1194" * 2}
    assert no_drops(wan)


def test_esp_in_udp_on_other_ports_in_transport_mode(wan: Wan) -> None:
    """What the sender calls source is the receiver's destination of the way back."""
    ports = {"a": 5001, "b": 5002}
    for gateway in wan.gateways:
        gateway.start()
    for gateway in wan.gateways:
        here, there = ports[gateway.side], ports["b" if gateway.side == "a" else "a"]
        pick = f"({here}, {there}) if c.sa.direction is OUT else ({there}, {here})"
        gateway.apply(
            f"[AddSa(replace(c.sa, encapsulation=UdpPorts(*({pick})))) if isinstance(c, AddSa) else c "
            f"for c in ends({gateway.side!r})]"
        )
    with sniffing(wan.a, "wan") as sniffer:
        assert wan.a.pings("3.3.3.3")
        assert datagram_arrives(wan.a, wan.b, "3.3.3.3", bytes(4000))
        packets = sniffer.packets()
    assert protocols(packets) == {17}
    assert no_drops(wan)


def test_port_comes_and_goes_with_its_sas(wan: Wan) -> None:
    wan.start()
    assert not listening(wan, 4500)
    assert wan.client.pings(SERVER4)
    for gateway in wan.gateways:
        side = repr(gateway.side)
        gateway.apply(
            f"[c for old in associations({side}) for c in (old.inverse(), "
            "*shaped([old], sa={'encapsulation': UdpPorts()}))]"
        )
    assert listening(wan, 4500)
    assert wan.client.pings(SERVER4)
    assert wan.a.do("plane.usage()[0].sequence") == 4, "the sequence goes on"
    wan.a.apply("[c.inverse() for c in shaped(associations('a'), sa={'encapsulation': UdpPorts()})]")
    assert not listening(wan, 4500)


def listening(wan: Wan, port: int) -> bool:
    return f":{port} " in wan.a.run("ss", "-Hlun")


def test_port_that_an_ike_daemon_has(wan: Wan) -> None:
    wan.a.start()
    with wan.a.inside(lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as daemon:
        daemon.bind(("", 4500))
        with pytest.raises(AssertionError, match="UDP port 4500 is taken by another program"):
            wan.a.apply("shaped(site('a'), sa={'encapsulation': UdpPorts()})")
        assert wan.a.do("plane.usage()") == []
    wan.a.apply("shaped(site('a'), sa={'encapsulation': UdpPorts()})")


def test_mismatch_of_encapsulation(wan: Wan) -> None:
    wan.a.start()
    wan.b.start()
    wan.a.apply("shaped(site('a'), sa={'encapsulation': UdpPorts()})")
    wan.b.apply("[*site('b'), *shaped(associations('b', spi=9000), sa={'encapsulation': UdpPorts(), 'reqid': 9})]")
    assert not wan.client.pings(SERVER4)
    assert wan.b.drops() == {Reason.ENCAPSULATION_MISMATCH.name: 2}
    (last,) = wan.b.do("[d.last for d in plane.drops()]")
    assert "port 4500 -> 4500 SPI(0x3e8) seq 2 (/Common/sa-in-4)" in last


# Selectors by type of ICMP


@FAMILIES
def test_only_the_types_that_a_selector_names_are_protected(wan: Wan, inner: int, outer: int, address: str) -> None:
    protocol, request, reply = (1, 8, 0) if inner == 4 else (58, 128, 129)
    types = f"ports(0x10000 + {min(request, reply)}, 0x10000 + {max(request, reply)})"
    near, far = ("NET4[side]", "NET4[OTHER[side]]") if inner == 4 else ("NET6[side]", "NET6[OTHER[side]]")
    pair = f"[selector(d, {near}, {far}, outer={outer}, protocol={protocol}, source_ports={types}) for d in (OUT, IN)]"
    wan.start(f"[*associations(side, outer={outer}), *{pair}, *ground(side)]")
    with sniffing(wan.a, "wan") as sniffer:
        assert wan.client.pings(address)
        # The first one may be lost, with an answer which size would fit the tunnel.
        wait_until(lambda: wan.client.pings(address, "-s", "4000"))
        assert not sniffer.clear()
        assert transfers(wan.client, wan.server, address, 1000)
        assert sniffer.clear(), "TCP isn't selected"
    assert no_drops(wan)
    wait_until(lambda: wan.a.do("plane.usage()[0].packets") > 2)


@FAMILIES
def test_later_fragments_follow_a_selector_with_ports(wan: Wan, inner: int, outer: int, address: str) -> None:
    """The kernel puts packets together before it asks the rules, so no fragment without ports is overlooked."""
    near, far = ("NET4[side]", "NET4[OTHER[side]]") if inner == 4 else ("NET6[side]", "NET6[OTHER[side]]")
    out = f"selector(OUT, {near}, {far}, outer={outer}, protocol=17, destination_ports=ports(1024, 65535))"
    back = f"selector(IN, {near}, {far}, outer={outer}, protocol=17, source_ports=ports(1024, 65535))"
    wan.start(f"[*associations(side, outer={outer}), {out}, {back}, *ground(side)]")
    with sniffing(wan.a, "wan") as sniffer:
        wait_until(lambda: datagram_arrives(wan.client, wan.server, address, bytes(9000)))
        assert not sniffer.clear()


# What must never leave in clear


@pytest.mark.parametrize(("outer", "address"), [(4, "3.3.3.3"), (6, "fd0f::3")])
def test_transport_mode_without_process_or_sa_sends_nothing_in_clear(wan: Wan, outer: int, address: str) -> None:
    wan.start(f"ends(side, outer={outer})")
    with sniffing(wan.a, "wan") as sniffer:
        assert wan.a.pings(address)
        os.kill(wan.a.driver_pid, signal.SIGSTOP)
        try:
            os.kill(packet_process(wan), signal.SIGKILL)
            assert not wan.a.pings(address)
            assert not datagram_arrives(wan.a, wan.b, address, bytes(3000))
        finally:
            os.kill(wan.a.driver_pid, signal.SIGCONT)
        wait_until(lambda: wan.a.pings(address))
        wan.a.apply(f"[c.inverse() for c in ends('a', outer={outer}) if isinstance(c, AddSa)]")
        assert not wan.a.pings(address)
        assert not sniffer.clear()
    assert wan.a.drops() == {Reason.NO_SA_OUT.name: 2}


def packet_process(wan: Wan) -> int:
    """Of side A, whose parent may be stopped."""
    pid = int(wan.a.run("pgrep", "-P", str(wan.a.driver_pid)).split()[0])
    assert b"control=" in Path(f"/proc/{pid}/cmdline").read_bytes()
    return pid


def test_error_about_a_protected_packet_is_protected_or_dropped(wan: Wan) -> None:
    """A closed port's ICMP error quotes the datagram, and no selector speaks of ICMP."""
    selectors = "[selector(d, WAN4[side], WAN4[OTHER[side]], protocol=17) for d in (OUT, IN)]"
    shape = "policy={'mode': Mode.TRANSPORT}"
    wan.start(f"[*[c for c in ends(side) if not isinstance(c, AddPolicy)], *shaped({selectors}, {shape})]")
    with sniffing(wan.a, "wan") as sniffer, wan.a.inside(lambda: socket.socket(type=socket.SOCK_DGRAM)) as sender:
        assert datagram_arrives(wan.a, wan.b, "3.3.3.3", b"open")
        sender.sendto(b"closed", ("3.3.3.3", 9))
        wait_until(lambda: wan.b.drops().get(Reason.NO_POLICY.name))
        assert not sniffer.clear()


def test_extension_headers_in_front_of_esp_are_room_for_or_the_packet_dies(wan: Wan) -> None:
    """RFC 8200 section 4.1: four of them at most, of 2,048 octets each. Of more not all is heard of."""
    wan.start("site(side, inner=6, outer=6)")
    with sniffing(wan.a, "wan") as sniffer:
        assert wan.client.pings(SERVER6, count=1)
        sent = next(packet for packet in sniffer.packets() if packet[8:24] == ip_address("fd0f::2").packed)
    for gateway in wan.gateways:
        gateway.run("ip", "link", "set", "wan", "mtu", "65000")
    emit(wan.a, behind_extensions(sent, [0, 60, 43, 60]), "fd0f::3")
    wait_until(lambda: wan.b.drops() == {Reason.REPLAY.name: 1})
    emit(wan.a, behind_extensions(sent, [60] * 12), "fd0f::3")
    wait_until(lambda: wan.b.drops() == {Reason.REPLAY.name: 1, Reason.MALFORMED_HEADER.name: 1})


def behind_extensions(packet: bytes, kinds: list[int]) -> bytes:
    """With as much in front of ESP as these headers can hold."""
    front = b"".join(extension(kind, following) for kind, following in pairwise([*kinds, packet[6]]))
    octets = len(front) + len(packet) - 40
    return packet[:4] + octets.to_bytes(2) + bytes((kinds[0],)) + packet[7:40] + front + packet[40:]


def extension(kind: int, following: int) -> bytes:
    if kind == 43:
        return bytes((following, 255)) + bytes(2046)
    # Options that nobody knows and everybody skips: eight, as the kernel takes no more.
    return bytes((following, 255)) + b"".join(bytes((0x1E, size)) + bytes(size) for size in [255] * 7 + [245])

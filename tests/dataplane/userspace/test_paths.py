"""Paths that are smaller than their links: told, forged, cut for."""

import os
import signal
from ipaddress import ip_address

import pytest
from scapy.layers.inet import ICMP, IP
from scapy.layers.inet6 import ICMPv6PacketTooBig, IPv6
from scapy.packet import Packet, Raw

from culvert.ipsec.drops import Reason
from tests.dataplane.topology import Wan, protocols, sniffing, wait_until
from tests.dataplane.traffic import emit, transfers

pytestmark = pytest.mark.network

SERVER4 = "10.2.0.5"
SERVER6 = "fd02::5"


def last_sent(wan: Wan, server: str) -> bytes:
    with sniffing(wan.a, "wan") as sniffer:
        assert wan.client.pings(server, count=1)
        return sniffer.packets()[0]


def complaint(quoted: bytes, mtu: int, router: str, to: str) -> Packet:
    if ":" in to:
        return IPv6(src=router, dst=to) / ICMPv6PacketTooBig(mtu=mtu) / Raw(quoted[:1000])
    return IP(src=router, dst=to) / ICMP(type=3, code=4, nexthopmtu=mtu) / Raw(quoted[:100])


def path_mtu(wan: Wan) -> int:
    found: int = wan.a.do("plane.usage()[0].path_mtu")
    return found


@pytest.mark.parametrize(
    ("family", "server", "router", "here"), [(4, SERVER4, "9.9.9.9", "2.2.2.2"), (6, SERVER6, "fd99::9", "fd0f::2")]
)
@pytest.mark.parametrize("encapsulated", [False, True])
def test_path_mtu_is_learned_from_a_router(
    wan: Wan, family: int, server: str, router: str, here: str, encapsulated: bool
) -> None:
    ports = ", sa={'encapsulation': UdpPorts()}" if encapsulated else ""
    # An inbound selector that covers the router: its complaint comes in clear all the same.
    everything = "0.0.0.0/0" if family == 4 else "::/0"
    site = f"shaped(site(side, inner={family}, outer={family}){ports})"
    wan.start(f"[*{site}, selector(IN, '{here}', '{everything}', outer={family}, order=2)]")
    wan.client.pings(server)
    emit(wan.b, complaint(last_sent(wan, server), 1300, router, here), here)
    wait_until(lambda: path_mtu(wan) == 1300)
    assert transfers(wan.client, wan.server, server, 100_000)
    with sniffing(wan.a, "wan") as sniffer:
        wan.client.pings(server, "-s", "1340", "-M", "dont", count=3)
        assert transfers(wan.client, wan.server, server, 100_000)
        assert largest_from(sniffer.packets(), here) <= 1300
    assert Reason.FORGED_TOO_BIG.name not in wan.a.drops()
    before = wan.a.process_id
    os.kill(before, signal.SIGKILL)
    wait_until(lambda: wan.a.process_id not in (None, before))
    with sniffing(wan.a, "wan") as sniffer:
        wait_until(lambda: transfers(wan.client, wan.server, server, 10_000))
        assert largest_from(sniffer.packets(), here) <= 1300
    assert path_mtu(wan) == 1300


def test_forged_complaints_change_nothing(wan: Wan) -> None:
    wan.start()
    wan.client.pings(SERVER4)
    sent = last_sent(wan, SERVER4)
    spi, sequence = sent[20:24], sent[24:28]
    for quoted in (
        sent[:12] + bytes((9, 9, 9, 9)) + sent[16:],
        sent[:20] + bytes(4) + sequence,
        sent[:20] + spi + (int.from_bytes(sequence) + 5).to_bytes(4),
        sent[:16] + bytes((9, 9, 9, 9)) + sent[20:],
    ):
        emit(wan.b, complaint(quoted, 700, "3.3.3.3", "2.2.2.2"), "2.2.2.2")
    wait_until(lambda: wan.a.drops() == {Reason.FORGED_TOO_BIG.name: 4})
    assert path_mtu(wan) == 0


@pytest.mark.parametrize(("family", "server", "here"), [(4, SERVER4, "2.2.2.2"), (6, SERVER6, "fd0f::2")])
def test_forged_complaint_about_esp_in_udp_makes_no_datagram_smaller(
    wan: Wan, family: int, server: str, here: str
) -> None:
    """The kernel believes whoever knows addresses and ports."""
    wan.start(f"shaped(site(side, inner={family}, outer={family}), sa={{'encapsulation': UdpPorts()}})")
    sent = last_sent(wan, server)
    sequence_at = 12 + (20 if family == 4 else 40)
    quoted = sent[:sequence_at] + bytes((9,)) * 4 + sent[sequence_at + 4 :]
    emit(wan.b, complaint(quoted, 1280, "9.9.9.9" if family == 4 else "fd99::9", here), here)
    wait_until(lambda: wan.a.drops() == {Reason.FORGED_TOO_BIG.name: 1})
    with sniffing(wan.a, "wan") as sniffer:
        assert wan.client.pings(server, "-s", "1330", "-M", "do")
        assert transfers(wan.client, wan.server, server, 100_000)
        packets = sniffer.packets()
    assert protocols(packets) == {17} and not any(is_ipv4_fragment(packet) for packet in packets)
    assert largest_from(packets, here) > 1400
    if family == 6:
        assert "mtu 1280" not in wan.a.run("ip", "route", "get", "fd0f::3")
    assert wan.a.drops() == {Reason.FORGED_TOO_BIG.name: 1}


def is_ipv4_fragment(packet: bytes) -> bool:
    return packet[0] >> 4 == 4 and int.from_bytes(packet[6:8]) & 0x3FFF != 0


def test_complaint_about_another_programs_datagram_is_not_ours(wan: Wan) -> None:
    wan.start()
    datagram = IP(src="2.2.2.2", dst="3.3.3.3", proto=17, len=1500) / Raw(bytes(8))
    emit(wan.b, complaint(bytes(datagram), 700, "3.3.3.3", "2.2.2.2"), "2.2.2.2")
    assert wan.client.pings(SERVER4)
    assert wan.a.drops() == {}


def largest_from(packets: list[bytes], source: str) -> int:
    packed = ip_address(source).packed
    at = 12 if len(packed) == 4 else 8
    return max(len(packet) for packet in packets if packet[at : at + len(packed)] == packed)


AFTER = "'fragmentation': Fragmentation.AFTER, 'header': HeaderRules(dont_fragment=Copy.CLEAR)"


@pytest.mark.parametrize(("family", "server", "mtu"), [(4, SERVER4, 1000), (6, SERVER6, 1300)])
@pytest.mark.parametrize("shape", ["{}", "AH"])
def test_outer_packet_is_cut(wan: Wan, family: int, server: str, mtu: int, shape: str) -> None:
    site = f"site(side, inner={family}, outer={family})"
    policy = "{'protocol': Protocol.AH}" if shape == "AH" else "{}"
    wan.start(f"shaped({site}, sa={{**{shape}, {AFTER}, 'path_mtu': {mtu}}}, policy={policy})")
    with sniffing(wan.a, "wan") as sniffer:
        assert wan.client.pings(server, "-s", "1330", "-M", "do")
        assert transfers(wan.client, wan.server, server, 50_000)
        packets = sniffer.packets()
    assert max(map(len, packets)) <= mtu
    number = 51 if shape == "AH" else 50
    assert protocols(packets) <= {number, 44}
    assert [gateway.drops() for gateway in wan.gateways] == [{}, {}]


@pytest.mark.parametrize("family", [4, 6])
@pytest.mark.parametrize("shape", ["AH", "UDP"])
def test_link_that_is_smaller_than_known_is_learned(wan: Wan, family: int, shape: str) -> None:
    """AH has signed the header, identification included: the kernel may not make a new one for the pieces."""
    site = f"site(side, inner=4, outer={family})"
    if shape == "AH":
        site = f"shaped({site}, sa={{**AH}}, policy={{'protocol': Protocol.AH}})"
    else:
        site = f"shaped({site}, sa={{'encapsulation': UdpPorts()}})"
    wan.start(f"[*{site}, SetTunnelMtu(1400, 1500)]")
    for gateway in wan.gateways:
        gateway.run("ip", "link", "set", "wan", "mtu", "1400")
    answered = wan.client.pings(SERVER4, "-M", "dont", "-s", "1460")
    assert (answered, path_mtu(wan), [gateway.drops() for gateway in wan.gateways]) == (True, 1400, [{}, {}])

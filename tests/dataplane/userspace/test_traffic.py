"""Real packets through two gateways: what arrives, and above all what never leaves in clear."""

import os
import signal
import socket
import time

import pytest

from culvert.ipsec.drops import Reason
from tests.dataplane.topology import Gateway, Namespace, Wan, protocols, sniffing, wait_until
from tests.dataplane.traffic import transfers

pytestmark = pytest.mark.network

SERVER4 = "10.2.0.5"
SERVER6 = "fd02::5"


@pytest.mark.parametrize(("inner", "outer"), [(4, 4), (6, 6), (6, 4), (4, 6)])
def test_tunnel_carries_both_families_over_both(wan: Wan, inner: int, outer: int) -> None:
    wan.start(f"site(side, inner={inner}, outer={outer})")
    address = SERVER4 if inner == 4 else SERVER6
    with sniffing(wan.a, "wan") as sniffer:
        assert wan.client.pings(address, "-s", "1200")
        assert transfers(wan.client, wan.server, address)
        assert not sniffer.clear()
    for gateway in wan.gateways:
        assert gateway.drops() == {}
        sent, received = gateway.do("[(u.packets, u.octets, u.sequence, u.last_use) for u in plane.usage()]")
        assert sent[0] == sent[2] > 100
        assert received[0] == received[2] > 100
        assert abs(sent[3] - time.time()) < 60


def test_reports_agree_with_the_traffic(wan: Wan) -> None:
    wan.start()
    assert wan.client.pings(SERVER4, "-s", "100", count=3)
    rows = wan.a.do(
        "[(w.mode, w.protocol, w.packets_in, w.octets_in, w.packets_out, w.octets_out) for w in plane.worker_stats()]"
    )
    assert rows == [
        ["TRANSPORT", "AH", 0, 0, 0, 0],
        ["TRANSPORT", "ESP", 0, 0, 0, 0],
        ["TUNNEL", "AH", 0, 0, 0, 0],
        ["TUNNEL", "ESP", 3, 384, 3, 384],
    ]
    # The forwarder allows the direction from the client; the answers follow from that.
    assert wan.a.do("[(f.label, f.packets) for f in plane.forwarder_stats()]") == [
        ["/Common/vs", 3],
        ["/Common/vs6", 0],
    ]
    # Of one forwarder alone: the others count on, and so does the packet process.
    wan.a.do("plane.reset_stats(['/Common/vs6'])")
    assert wan.a.do("[f.packets for f in plane.forwarder_stats()]") == [3, 0]
    wan.a.do("plane.reset_stats(['/Common/vs'])")
    assert wan.a.do("[f.packets for f in plane.forwarder_stats()]") == [0, 0]
    assert wan.a.do("[u.packets for u in plane.usage()]") == [3, 3]
    wan.a.do("plane.reset_stats()")
    usage = "[(u.packets, u.octets, u.sequence) for u in plane.usage()]"
    assert wan.a.do(usage) == [[0, 0, 3], [0, 0, 3]]
    assert wan.a.do("plane.worker_stats()[3].packets_in") == 0
    assert wan.a.do("[f.packets for f in plane.forwarder_stats()]") == [0, 0]
    assert wan.client.pings(SERVER4, count=2)
    assert wan.a.do("[(u.packets, u.sequence) for u in plane.usage()]") == [[2, 5], [2, 5]]


def test_wrong_key_is_an_integrity_drop_at_the_peer(wan: Wan) -> None:
    wan.start("site(side)")
    wan.b.apply("[change.inverse() for change in associations('b')]")
    wan.b.apply("associations('b', key=b'another')")
    assert not wan.client.pings(SERVER4)
    assert wan.b.drops() == {Reason.INTEGRITY.name: 2}
    assert wan.b.do("[{reason.name: n for reason, n in u.drops.items()} for u in plane.usage()]") == [
        {},
        {"INTEGRITY": 2},
    ]
    (last,) = wan.b.do("[d.last for d in plane.drops()]")
    assert last.startswith("2.2.2.2 -> 3.3.3.3 SPI(0x3e8) seq 2 (/Common/sa-in-4")


def test_wrong_spi_is_no_sa_at_the_peer(wan: Wan) -> None:
    wan.a.start()
    wan.b.start()
    wan.a.apply("site('a')")
    wan.b.apply("site('b', spi=7000)")
    assert not wan.client.pings(SERVER4)
    assert wan.b.drops() == {Reason.NO_SA_IN.name: 2}


def test_without_forwarder_nothing_is_forwarded(wan: Wan) -> None:
    wan.start()
    assert wan.client.pings(SERVER4)
    wan.a.apply("[forwarder('0.0.0.0/0').inverse()]")
    with sniffing(wan.a, "wan") as sniffer:
        assert not wan.client.pings(SERVER4)
        assert not sniffer.packets()
    assert wan.a.drops() == {Reason.NOT_FORWARDED.name: 2}
    assert not wan.server.pings("10.1.0.5"), "the way back needs a forwarder too"


def test_forwarder_looks_at_protocol_port_and_link(wan: Wan) -> None:
    wan.start()
    wan.a.apply(
        "[forwarder('0.0.0.0/0').inverse(), "
        "forwarder('10.2.0.0/16', protocol=6, ports=ports(1024, 65535), links=('lan',))]"
    )
    assert transfers(wan.client, wan.server, SERVER4, 1000)
    assert not wan.client.pings(SERVER4)
    wan.a.apply("[forwarder('0.0.0.0/0', '/Common/vs2', excluded_links=('lan',))]")
    assert not wan.client.pings(SERVER4)
    assert wan.server.pings("10.1.0.5")


def test_inner_packet_outside_the_peers_selector_is_refused(wan: Wan) -> None:
    wan.start()
    # B still protects all of its network, but now expects packets from another one only.
    wan.b.apply("[selector(IN, NET4['b'], NET4['a']).inverse(), selector(IN, NET4['b'], '10.77.0.0/16')]")
    assert not wan.client.pings(SERVER4)
    assert wan.b.drops() == {Reason.INNER_MISMATCH.name: 2}


def test_packet_that_no_selector_wants_is_plainly_forwarded(wan: Wan) -> None:
    wan.start("ground(side)")
    with sniffing(wan.a, "wan") as sniffer:
        assert wan.client.pings(SERVER4)
        assert len(sniffer.clear()) == 4
    assert wan.a.drops() == {}


def test_clear_packet_that_should_be_protected_is_refused(wan: Wan) -> None:
    for gateway in wan.gateways:
        gateway.start()
    wan.a.apply("ground('a')")
    wan.b.apply("site('b')")
    assert not wan.client.pings(SERVER4)
    assert wan.b.drops() == {Reason.CLEAR_INBOUND.name: 2}


def test_discard_selector(wan: Wan) -> None:
    wan.start()
    wan.a.apply("[discarding(selector(OUT, NET4['a'], '10.2.0.5/32', order=0))]")
    with sniffing(wan.a, "wan") as sniffer:
        assert not wan.client.pings(SERVER4)
        assert not sniffer.packets()
    assert wan.a.drops() == {Reason.DISCARD.name: 2}


def test_selectors_that_equal_the_tunnel_addresses(wan: Wan) -> None:
    """The gateway's own packets are protected, and its own ESP isn't protected again."""
    wan.start("[*associations(side), *[selector(d, WAN4[side], WAN4[OTHER[side]]) for d in (OUT, IN)], *ground(side)]")
    with sniffing(wan.a, "wan") as sniffer:
        assert wan.a.pings("3.3.3.3", "-I", "2.2.2.2")
        assert transfers_of_gateway(wan)
        assert not sniffer.clear()
    assert [gateway.drops() for gateway in wan.gateways] == [{}, {}]


def transfers_of_gateway(wan: Wan) -> bool:
    wan.b.apply("[c for old in addresses('b') if str(old.address.interface) == '3.3.3.3/32' for c in opened(old)]")
    return transfers(wan.a, wan.b, "3.3.3.3")


def test_selectors_that_equal_the_ipv6_tunnel_addresses(wan: Wan) -> None:
    """Neighbour discovery between the two is no traffic to protect: without it no ESP could be sent."""
    protection = (
        "*associations(side, outer=6), *[selector(d, WAN6[side], WAN6[OTHER[side]], outer=6) for d in (OUT, IN)]"
    )
    wan.start(f"[{protection}, *ground(side)]")
    with sniffing(wan.a, "wan") as sniffer:
        assert wan.a.pings("fd0f::3")
        wan.a.run("ip", "neigh", "flush", "dev", "wan")
        assert wan.a.pings("fd0f::3")
        assert not sniffer.clear()
    assert [gateway.drops() for gateway in wan.gateways] == [{}, {}]


def test_gateways_own_packets_from_the_protected_network(wan: Wan) -> None:
    wan.start()
    with sniffing(wan.a, "wan") as sniffer:
        assert wan.a.pings(SERVER4, "-I", "10.1.0.1")
        assert len(sniffer.packets()) == 4
        assert not sniffer.clear()


def test_service_that_an_address_does_not_offer(wan: Wan) -> None:
    wan.start()
    with pytest.raises(TimeoutError):
        connect(wan.client, "10.1.0.1", 2222)
    assert wan.a.drops()["NOT_ALLOWED"] >= 1
    assert wan.client.pings("10.1.0.1")
    wan.a.apply(
        "[c for old in addresses('a') if '10.1.0.1' in str(old.address.interface) "
        "for c in opened(old, Service(protocol=6, port=2222))]"
    )
    with pytest.raises(ConnectionRefusedError):
        connect(wan.client, "10.1.0.1", 2222)
    with pytest.raises(TimeoutError):
        connect(wan.client, "10.1.0.1", 2223)


def connect(namespace: Namespace, address: str, port: int) -> None:
    with namespace.inside(socket.socket) as opened:
        opened.settimeout(0.3)
        opened.connect((address, port))


def test_packets_that_need_fragments_outside_arrive(wan: Wan) -> None:
    """The TUN lets through what doesn't fit the wan after all: the outer packet is fragmented."""
    wan.start()
    for gateway in wan.gateways:
        gateway.apply("[SetTunnelMtu(1400, 1500)]")
    assert wan.client.pings(SERVER4, "-M", "dont", "-s", "1460")
    wan.a.apply("[]")
    assert wan.a.drops() == {}
    assert not wan.client.pings(SERVER4, "-M", "do", "-s", "1460")
    # The source is told, so its kernel refuses the second one itself.
    assert wan.a.drops() == {Reason.TOO_BIG.name: 1}


def test_sender_is_told_the_mtu_of_the_tunnel(wan: Wan) -> None:
    wan.start()
    told = wan.client.run("ping", "-n", "-c", "2", "-W", "1", "-M", "do", "-s", "1460", SERVER4, check=False)
    assert "mtu = 1400" in told or "mtu=1400" in told


def test_strict_reverse_path_filter_and_no_route_to_the_far_network(wan: Wan) -> None:
    """A decapsulated packet comes from where the main table would never look for it."""
    for gateway in wan.gateways:
        gateway.run("bash", "-c", "for f in /proc/sys/net/ipv4/conf/*/rp_filter; do echo 1 > $f; done")
    wan.start("[c for c in site(side) if not (isinstance(c, AddRoute) and '10.' in str(c.route.destination))]")
    assert wan.client.pings(SERVER4)


# What must never leave in clear


@pytest.mark.parametrize(("inner", "address"), [(4, "10.1.0.5"), (6, "fd01::5")])
def test_icmp_error_about_a_tunnelled_packet(wan: Wan, inner: int, address: str) -> None:
    """It quotes the packet, so it may not go out in clear, whatever its own source is."""
    wan.start(f"site(side, inner={inner})")
    # An unknown neighbour is given up soon.
    wan.a.run("sh", "-c", "for f in /proc/sys/net/ipv*/neigh/lan/retrans_time_ms; do echo 100 > $f; done")
    with sniffing(wan.a, "wan") as sniffer:
        assert not wan.server.pings(address, "-t", "2")
        wan.client.run("ip", "addr", "flush", "dev", "eth0", "scope", "global")
        assert not wan.server.pings(address, "-W", "1", count=1)
        assert not sniffer.clear()


def never_in_clear(wan: Wan, gateway: Gateway, seconds: float = 1.0) -> None:
    with sniffing(wan.a, "wan") as sniffer:
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            wan.client.pings(SERVER4, "-W", "0.1", count=5)
        assert not sniffer.clear(), f"in clear, behind {gateway.name}"


@pytest.mark.alone
def test_packet_process_killed(wan: Wan) -> None:
    wan.start()
    with (
        sniffing(wan.a, "wan") as sniffer,
        wan.client.pinging(SERVER4, 0.01),
    ):
        for _ in range(3):
            time.sleep(0.3)
            before = wan.a.process_id
            os.kill(before, signal.SIGKILL)
            killed = time.monotonic()
            wait_until(lambda before=before: wan.a.process_id not in (None, before))
            assert time.monotonic() - killed < 1.5
        assert wan.client.pings(SERVER4, count=20)
        assert not sniffer.clear()
    assert [gateway.drops() for gateway in wan.gateways] == [{}, {}], "not even a replay"
    assert any("ended by signal 9" in sentence for sentence in wan.a.do("plane.tick(0)"))


def test_link_down_and_up_again(wan: Wan) -> None:
    wan.start()
    wan.a.run("ip", "link", "set", "wan", "down")
    assert not wan.client.pings(SERVER4)
    assert wan.a.do("[(s.name, s.state) for s in plane.links()]") == [["wan", "disabled"], ["lan", "up"]]
    with sniffing(wan.b, "wan") as sniffer:
        wan.a.run("ip", "link", "set", "wan", "up")
        wait_until(lambda: wan.client.pings(SERVER4))
        assert not sniffer.clear()
    told = wan.a.do("plane.tick(0)")
    assert "/Common/wan: link wan is down" in told
    assert "/Common/wan: link wan is up" in told
    wan.b.run("ip", "link", "set", "wan", "down")
    wait_until(lambda: wan.a.do("plane.links()[0].state") == "no-carrier")


@pytest.mark.parametrize(
    "damage",
    [
        "ip rule del priority 17238 fwmark 0x43550001",
        "ip route flush table 17238",
        "ip link set culvert0 down",
        "ip link del culvert0",
        "nft delete chain inet culvert output",
    ],
)
def test_damage_by_hand_is_repaired(wan: Wan, damage: str) -> None:
    wan.start()
    with (
        sniffing(wan.a, "wan") as sniffer,
        wan.client.pinging(SERVER4, 0.005),
    ):
        time.sleep(0.1)
        wan.a.run(*damage.split())
        time.sleep(0.5)
        wait_until(lambda: wan.client.pings(SERVER4, count=20))
        assert not sniffer.clear()
    assert wan.a.do("plane.tick(0)")


@pytest.mark.alone
def test_flushed_nftables_come_back_at_once(wan: Wan) -> None:
    """No rule of ours is left to stop anything: the time without is what counts."""
    wan.start()
    with (
        sniffing(wan.a, "wan") as sniffer,
        wan.client.pinging(SERVER4, 0.002),
    ):
        time.sleep(0.2)
        wan.a.run("nft", "flush", "ruleset")
        time.sleep(0.5)
        assert len(sniffer.clear()) < 50
    assert wan.client.pings(SERVER4)


def test_without_steering_the_leak_is_stopped(wan: Wan) -> None:
    """With the parent stopped nobody repairs: the rule is gone, and the last line of defence holds."""
    wan.start()
    os.kill(wan.a.driver_pid, signal.SIGSTOP)
    try:
        wan.a.run("ip", "rule", "del", "priority", "17238", "fwmark", "0x43550001")
        never_in_clear(wan, wan.a)
    finally:
        os.kill(wan.a.driver_pid, signal.SIGCONT)
    assert wan.a.drops()["LEAK_STOPPED"] >= 5


def test_parent_killed_and_started_again(wan: Wan) -> None:
    wan.start()
    assert wan.client.pings(SERVER4, count=5)
    wan.a.kill()
    time.sleep(0.2)
    never_in_clear(wan, wan.a)
    with (
        sniffing(wan.a, "wan") as sniffer,
        wan.client.pinging(SERVER4, 0.005),
    ):
        wan.a.start()
        time.sleep(0.2)
        wan.a.apply("site('a')")
        time.sleep(0.2)
        assert wan.client.pings(SERVER4, count=10)
        assert not sniffer.clear()
    assert [gateway.drops() for gateway in wan.gateways] == [{}, {}]
    assert wan.a.do("plane.usage()[0].sequence") > 15


@pytest.mark.parametrize(
    "change",
    [
        # As after changes by another program, or at a start: everything is loaded anew.
        "(plane._lock.acquire(), plane._repair_steering(), plane._lock.release())",
        "[plane.apply([f(selector(OUT, '10.7.0.0/16', '10.8.0.0/16'))]) for f in (lambda x: x, lambda x: x.inverse())]",
    ],
)
def test_no_packet_slips_through_while_rules_change(wan: Wan, change: str) -> None:
    """A transaction of nftables that brings or takes both rules and sets lets a few pass each time."""
    wan.start()
    with sniffing(wan.a, "wan") as sniffer, wan.client.flooding(SERVER4):
        seen = 0
        for _ in range(60):
            wan.a.do(change)
            packets = sniffer.packets()
            assert protocols(packets) <= {50}
            seen += len(packets)
    assert seen > 1000


def test_close_leaves_nothing_in_clear_open(wan: Wan) -> None:
    """While the plane goes, and after it, the gateway no longer forwards."""
    wan.start()
    with (
        sniffing(wan.a, "wan") as sniffer,
        wan.client.pinging(SERVER4, 0.002),
    ):
        time.sleep(0.1)
        wan.a.stop()
        time.sleep(0.1)
        assert not sniffer.clear()

"""What SAs do by themselves, how long they live, and that nothing of it is lost with a process."""

import os
import signal
import time

import pytest

from culvert.ipsec.drops import Reason
from tests.dataplane.topology import Wan, sniffing, wait_until

pytestmark = pytest.mark.network

SERVER4 = "10.2.0.5"


@pytest.mark.parametrize(("family", "offset"), [(4, 20), (6, 40)])
def test_keep_alives_and_dummies(wan: Wan, family: int, offset: int) -> None:
    fields = "{'encapsulation': UdpPorts(), 'keep_alive_seconds': 1, 'dummy_seconds': 2}"
    with sniffing(wan.a, "wan") as sniffer:
        wan.start(f"shaped(site(side, outer={family}), sa={fields})")
        payloads: list[bytes] = []

        def heard() -> bool:
            payloads.extend(packet[offset + 8 :] for packet in sniffer.packets())
            return payloads.count(b"\xff") >= 4 and sum(len(each) > 1 for each in payloads) >= 2

        wait_until(heard, 6)
    for gateway in wan.gateways:
        drops = gateway.drops()
        assert drops.keys() == {Reason.KEEP_ALIVE.name, Reason.DUMMY.name}
        assert gateway.do("plane.usage()[0].sequence") >= 1
        assert gateway.do("plane.tick(time.time())") == [], "nothing to audit"


def test_hard_lifetime_stops_traffic(wan: Wan) -> None:
    wan.start("shaped(site(side), sa={'lifetime': Lifetime(Limits(packets=3), Limits(packets=6))})")
    states = "[u.state.value for u in plane.usage()]"
    assert wan.a.do(states) == ["mature", "mature"]
    assert wan.client.pings(SERVER4, count=4)
    assert wan.a.do(states) == ["dying", "dying"]
    told = wan.a.do("plane.tick(time.time())")
    assert "IPsec-SA /Common/sa-out-4 spi=1000(0x3e8): soft lifetime of packets reached" in told
    wan.a.do("plane.reset_stats()")
    assert not wan.client.pings(SERVER4, count=4)
    assert wan.a.do(states) == ["dead", "dead"]
    assert wan.a.drops() == {Reason.EXPIRED_OUT.name: 2}
    told = wan.a.do("plane.tick(time.time())")
    assert told[0] == "IPsec-SA /Common/sa-out-4 spi=1000(0x3e8): hard lifetime of packets reached"
    assert wan.a.do("plane.tick(time.time())") == []
    # The life is the key's, not the process's.
    wan.a.kill()
    wan.a.start()
    wan.a.apply("shaped(site('a'), sa={'lifetime': Lifetime(Limits(packets=3), Limits(packets=6))})")
    with sniffing(wan.a, "wan") as sniffer:
        assert not wan.client.pings(SERVER4)
        assert not sniffer.packets()
    assert wan.a.do("[(u.life_packets, u.packets) for u in plane.usage()]") == [[6, 2], [6, 2]]


def test_age_of_a_key_goes_on_through_a_restart(wan: Wan) -> None:
    site = "shaped(site('a'), sa={'lifetime': Lifetime(hard=Limits(seconds=2))})"
    wan.b.start()
    wan.b.apply("site('b')")
    wan.a.start()
    wan.a.apply(site)
    begun = time.monotonic()
    assert wan.client.pings(SERVER4)
    wan.a.kill()
    wan.a.start()
    wan.a.apply(site)
    time.sleep(max(0.0, begun + 2.1 - time.monotonic()))
    assert not wan.client.pings(SERVER4)
    assert Reason.EXPIRED_OUT.name in wan.a.drops()


def test_killed_process_repeats_no_number_of_a_bundle_with_esn(wan: Wan) -> None:
    wan.start(
        "shaped([*site(side), *signing(side), SetTunnelMtu(1400, 1300)], sa={'esn': True}, policy={'bundle_ah': True})"
    )
    with sniffing(wan.a, "wan") as sniffer, wan.client.pinging(SERVER4, 0.005):
        for _ in range(2):
            time.sleep(0.3)
            before = wan.a.process_id
            os.kill(before, signal.SIGKILL)
            wait_until(lambda before=before: wan.a.process_id not in (None, before))
        wait_until(lambda: wan.client.pings(SERVER4, count=10))
        packets = [each for each in sniffer.packets() if each[12:16] == bytes((2, 2, 2, 2))]
    assert [gateway.drops() for gateway in wan.gateways] == [{}, {}], "not even a replay"
    ah = [int.from_bytes(packet[28:32]) for packet in packets]
    esp = [int.from_bytes(packet[48:52]) for packet in packets]
    for numbers in (ah, esp):
        assert len(set(numbers)) == len(numbers) > 50
        assert numbers == sorted(numbers)


def test_audit_event_has_all_that_was_asked_for(wan: Wan) -> None:
    wan.start("site(side, inner=4, outer=6)")
    wan.b.apply("[change.inverse() for change in associations('b', outer=6)]")
    wan.b.apply("associations('b', outer=6, key=b'another')")
    wan.b.do("plane.tick(time.time())")
    assert not wan.client.pings(SERVER4, count=3)
    (told,) = wan.b.do("plane.tick(time.time())")
    assert told == (
        "audit: 3 packets dropped: integrity (RFC 4303 section 3.4.4); the last: "
        "fd0f::2 -> fd0f::3 SPI(0x3e8) seq 3 flow 0x0 (/Common/sa-in-6)"
    )
    assert wan.b.do("plane.tick(time.time())") == []

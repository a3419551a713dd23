"""Plain ESP past the kernel's stack: the same packets as by raw sockets, whatever changes around it."""

import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from culvert.dataplane.userspace import program, xdp
from culvert.ipsec.drops import Reason
from tests.dataplane.topology import Gateway, Wan, protocols, sniffing, wait_until
from tests.dataplane.traffic import transfers

pytestmark = pytest.mark.network

SERVER4 = "10.2.0.5"
SERVER6 = "fd02::5"


@pytest.fixture(autouse=True)
def _native() -> None:
    if not program.chosen().is_native:
        pytest.skip("no native engine in this environment")


@contextmanager
def chosen(io: str) -> Iterator[None]:
    """What is started meanwhile has this choice."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(xdp.CHOICE, io)
        yield


def start(wan: Wan, a: str = "xdp", b: str = "raw", configuration: str = "site(side)") -> None:
    """Both gateways; B by raw sockets, so that a sniffer there sees all that A sends."""
    for gateway, io in ((wan.a, a), (wan.b, b)):
        with chosen(io):
            gateway.start()
        gateway.apply(configuration.replace("side", repr(gateway.side)))


def doors(gateway: Gateway) -> str:
    words: str = gateway.do("plane.features.doors")
    return words


@pytest.mark.parametrize("mode", [xdp.DRIVER, xdp.GENERIC])
@pytest.mark.parametrize(("inner", "outer"), [(4, 4), (6, 6), (6, 4), (4, 6)])
def test_one_end_past_the_stack_the_other_by_raw_sockets(wan: Wan, inner: int, outer: int, mode: str) -> None:
    start(wan, a=f"xdp-{mode}", configuration=f"site(side, inner={inner}, outer={outer})")
    address = SERVER4 if inner == 4 else SERVER6
    assert wan.client.pings(address, "-s", "1200", count=20)
    with sniffing(wan.a, "wan") as at_a, sniffing(wan.b, "wan") as at_b:
        assert wan.client.pings(address, count=20)
        assert transfers(wan.client, wan.server, address)
        seen = at_b.packets()
        assert protocols(seen) == {50}
        assert len(seen) > 200
        assert len(at_a.packets()) < 50, "the stack of A has nothing to do with it"
    assert [gateway.drops() for gateway in wan.gateways] == [{}, {}]
    assert doors(wan.a) == f"AF_XDP at wan ({mode})"
    assert doors(wan.b) == "raw sockets"


@pytest.mark.parametrize("io", ["xdp", "xdp-driver"])
def test_both_ends_past_the_stack(wan: Wan, io: str) -> None:
    start(wan, a=io, b=io)
    assert wan.client.pings(SERVER4, count=20)
    assert transfers(wan.client, wan.server, SERVER4)
    assert [gateway.drops() for gateway in wan.gateways] == [{}, {}]


def test_where_the_driver_has_no_place_for_a_program_it_hangs_in_the_stack(
    wan: Wan,
) -> None:
    wan.a.run("ip", "link", "set", "wan", "name", "leg")
    wan.a.run("ip", "link", "add", "name", "wan", "type", "bridge")
    wan.a.run("ip", "link", "set", "leg", "master", "wan", "up")
    start(wan, b="xdp-driver")
    assert doors(wan.a) == "AF_XDP at wan (generic)"
    assert doors(wan.b) == "AF_XDP at wan (driver)"
    assert wan.client.pings(SERVER4, count=20)
    assert transfers(wan.client, wan.server, SERVER4)


def test_driver_that_was_asked_for_and_has_no_place(wan: Wan) -> None:
    wan.a.run("ip", "link", "set", "wan", "name", "leg")
    wan.a.run("ip", "link", "add", "name", "wan", "type", "bridge")
    wan.a.run("ip", "link", "set", "leg", "master", "wan", "up")
    start(wan, a="xdp-driver")
    assert doors(wan.a) == "raw sockets"
    (told,) = [sentence for sentence in wan.a.do("plane.tick(time.time())") if "AF_XDP" in sentence]
    assert told == "wan: AF_XDP can't be used, raw sockets are: Operation not supported"
    assert wan.client.pings(SERVER4)


@pytest.mark.parametrize(("io", "largest"), [("xdp", range(1501, 1 << 16)), ("xdp-driver", range(1000, 1501))])
def test_veth_passes_super_packets_whole_unless_the_program_is_in_its_driver(
    wan: Wan, io: str, largest: range
) -> None:
    """Which is why `xdp` doesn't put it there."""
    with chosen(io):
        wan.a.start()
    wan.a.apply("site('a')")
    wan.b.run("ip", "link", "set", "wan", "gso_max_segs", "64", "up")
    wan.b.run("ip", "address", "add", "3.3.3.3/24", "dev", "wan")
    wan.b.run("ip", "route", "add", "default", "via", "2.2.2.2", "dev", "wan", "onlink")
    with sniffing(wan.a, "wan") as sniffer:
        assert transfers(wan.client, wan.b, "3.3.3.3")
        came = [packet for packet in sniffer.packets() if packet[12:16] == bytes((3, 3, 3, 3))]
        assert max(map(len, came)) in largest


def test_what_is_not_ours_passes(wan: Wan) -> None:
    start(wan)
    wan.b.apply("[change.inverse() for change in associations('b')]")
    wan.b.apply("associations('b', spi=7000)")
    assert not wan.server.pings("10.1.0.5")
    assert wan.a.drops() == {Reason.NO_SA_IN.name: 2}
    assert wan.b.pings("2.2.2.2"), "and what is no ESP"


def test_fragments_come_by_the_stack(wan: Wan) -> None:
    """B cuts what it has protected; the kernel of A puts it together."""
    rules = "'fragmentation': Fragmentation.AFTER, 'header': HeaderRules(dont_fragment=Copy.CLEAR)"
    start(wan, configuration=f"shaped(site(side), sa={{{rules}, 'path_mtu': 1000}})")
    with sniffing(wan.b, "wan") as sniffer:
        assert wan.client.pings(SERVER4, "-s", "1330", "-M", "do")
        assert [packet for packet in sniffer.packets() if int.from_bytes(packet[6:8]) & 0x3FFF]
    assert [gateway.drops() for gateway in wan.gateways] == [{}, {}]


def test_an_sa_that_goes_and_comes(wan: Wan) -> None:
    start(wan)
    assert wan.client.pings(SERVER4)
    wan.a.apply("[AddSa(association('a', IN)).inverse()]")
    assert not wan.client.pings(SERVER4)
    assert wan.a.drops() == {Reason.NO_SA_IN.name: 2}
    wan.a.apply("[AddSa(association('a', IN))]")
    assert wan.client.pings(SERVER4)


def test_neighbour_that_is_forgotten_or_another_one(wan: Wan) -> None:
    start(wan)
    assert wan.client.pings(SERVER4, count=10)
    wan.a.run("ip", "neigh", "flush", "all")
    assert wan.client.pings(SERVER4, count=10)
    wan.b.run("ip", "link", "set", "wan", "address", "02:00:00:00:00:77")
    assert not wan.client.pings(SERVER4)
    # As when it announces itself (RFC 5227 section 3).
    wan.a.run("ip", "neigh", "replace", "3.3.3.3", "lladdr", "02:00:00:00:00:77", "dev", "wan", "nud", "stale")
    assert wan.client.pings(SERVER4, count=10)
    with sniffing(wan.a, "wan") as sniffer:
        assert wan.client.pings(SERVER4, count=50)
        assert len(sniffer.packets()) < 20


def test_route_that_moves(wan: Wan) -> None:
    """A blackhole route to the peer: what the kernel wouldn't send isn't sent."""
    start(wan)
    assert wan.client.pings(SERVER4, count=10)
    wan.a.run("ip", "rule", "add", "priority", "100", "to", "3.3.3.3", "blackhole")
    assert not wan.client.pings(SERVER4, count=3)
    wan.a.run("ip", "rule", "del", "priority", "100")
    assert wan.client.pings(SERVER4, count=10)


def test_packet_process_killed(wan: Wan) -> None:
    start(wan)
    assert wan.client.pings(SERVER4)
    os.kill(wan.a.process_id, signal.SIGKILL)
    wait_until(lambda: wan.client.pings(SERVER4), 5)
    assert doors(wan.a) == "AF_XDP at wan (generic)"
    assert wan.a.drops() == {}


def test_parent_killed_and_followed(wan: Wan) -> None:
    start(wan)
    before = wan.a.process_id
    wan.a.kill()
    assert wan.client.pings(SERVER4, count=20)
    with chosen("xdp"):
        wan.a.start()
    wan.a.apply("site('a')")
    assert wan.a.process_id == before
    assert doors(wan.a) == "AF_XDP at wan (generic)"
    assert wan.client.pings(SERVER4, count=20)
    wan.a.apply("[AddSa(association('a', IN)).inverse()]")
    assert not wan.client.pings(SERVER4)
    assert wan.a.drops() == {Reason.NO_SA_IN.name: 2}


@pytest.mark.parametrize(("io", "words"), [("xdp-driver", "AF_XDP at wan (driver)"), ("raw", "raw sockets")])
def test_parent_followed_by_one_with_another_choice(wan: Wan, io: str, words: str) -> None:
    start(wan)
    wan.a.kill()
    with chosen(io):
        wan.a.start()
    wan.a.apply("site('a')")
    assert doors(wan.a) == words
    wait_until(lambda: wan.client.pings(SERVER4), 5)
    assert ("xdp" in wan.a.run("ip", "link", "show", "wan")) == (io != "raw")


def test_link_with_frames_that_do_not_fit_stays_with_raw_sockets(wan: Wan) -> None:
    start(wan, configuration="[*site(side)[:4], *links(9000), *ground(side)[2:]]")
    assert doors(wan.a) == "raw sockets"
    (told,) = [sentence for sentence in wan.a.do("plane.tick(time.time())") if "AF_XDP" in sentence]
    assert told == "wan: AF_XDP can't be used, raw sockets are: its MTU of 9000 is more than fits a page"
    assert wan.client.pings(SERVER4)


def test_link_whose_mtu_asks_for_larger_frames(wan: Wan) -> None:
    """B sends by raw sockets what A has to have frames for."""
    start(wan)
    for gateway in wan.gateways:
        for link in ("wan", "lan"):
            gateway.run("ip", "link", "set", link, "mtu", "3000")
    for end in (wan.client, wan.server):
        end.run("ip", "link", "set", "eth0", "mtu", "3000")
    wan.b.do("plane.apply([SetTunnelMtu(1400, 2900)])")
    wait_until(lambda: wan.client.pings(SERVER4, "-s", "2400"))
    assert doors(wan.a) == "AF_XDP at wan (generic)"
    assert wan.client.pings(SERVER4, "-s", "2400", count=20)


def test_nothing_is_left_at_the_link(wan: Wan) -> None:
    start(wan)
    assert "xdp" in wan.a.run("ip", "link", "show", "wan")
    wan.a.stop()
    wait_until(lambda: "xdp" not in wan.a.run("ip", "link", "show", "wan"))


def test_link_that_vanishes_and_returns(wan: Wan) -> None:
    start(wan)
    assert wan.client.pings(SERVER4)
    wan.a.run("ip", "link", "set", "wan", "name", "gone")
    time.sleep(0.3)
    wan.a.run("ip", "link", "set", "gone", "name", "wan", "up")
    wait_until(lambda: wan.client.pings(SERVER4), 10)


def test_choice_that_there_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(xdp.CHOICE, "dpdk")
    with pytest.raises(xdp.NoSuchIo, match="CULVERT_IO: 'dpdk' is none of auto, raw, xdp, xdp-driver, xdp-generic"):
        xdp.chosen()

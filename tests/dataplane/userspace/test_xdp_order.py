"""AF_XDP where the link is slower than what is sent: order stays, and what found no room is counted.

The wan is a cable of veth, whose far end looks at what came only every so often (NAPI, put off until a timer). Until
then it holds 256 packets; further ones the near end refuses, where it has a qdisc, or drops.
"""

import os
import socket
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import pytest

from culvert.dataplane.userspace import program, xdp
from culvert.ipsec.drops import Reason
from tests.dataplane.topology import Gateway, Wan, sniffing
from tests.dataplane.userspace.test_overflows import PORT, SERVER4, packets, serving

pytestmark = pytest.mark.network

ROUND = 300
"""More datagrams than the link takes at once, and fewer than A's TUN holds."""
PROMPT_SECONDS = 1.0
"""For two changes, on a machine that does other things too."""
LATE_MAX = 64
"""Of what went by the raw socket, a qdisc may hold a burst while frames overtake it (docs/engine.md). A single packet
that overtook a full ring would make some 2,000 late."""
STANDSTILL_MS = 20
OUTSIDE_A = bytes((2, 2, 2, 2))
SECONDS = 2.5
"""Long enough that bursts go by the raw socket: one a second does."""


@pytest.fixture(autouse=True)
def _native() -> None:
    if not program.chosen().is_native:
        pytest.skip("no native engine in this environment")
    if tuple(int(number) for number in os.uname().release.split(".")[:2]) < (6, 16):
        pytest.skip("a link of veth refuses nothing before Linux 6.16")


def start(wan: Wan, limit: int | None = 1000) -> None:
    """B's program is in the driver, and so NAPI is."""
    with pytest.MonkeyPatch.context() as patch:
        for gateway, choice in ((wan.a, xdp.XDP_GENERIC), (wan.b, xdp.XDP_DRIVER)):
            patch.setenv(xdp.CHOICE, choice)
            gateway.start()
            gateway.apply(f"site({gateway.side!r})")
    if limit is not None:
        wan.a.run("tc", "qdisc", "add", "dev", "wan", "root", "pfifo", "limit", str(limit))
    assert wan.client.pings(SERVER4)


def slow(wan: Wan, milliseconds: int) -> None:
    """B looks that often."""
    _say(wan.b, "napi_defer_hard_irqs", 1 if milliseconds else 0)
    _say(wan.b, "gro_flush_timeout", milliseconds * 1_000_000)


def _say(gateway: Gateway, name: str, number: int) -> None:
    gateway.run("sh", "-c", f"echo {number} > /sys/class/net/wan/{name}")


def send(wan: Wan, seconds: float) -> None:
    """More than the link takes."""
    deadline = time.monotonic() + seconds
    with wan.client.inside(lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as sender:
        sender.connect((SERVER4, PORT))
        while time.monotonic() < deadline:
            for _ in range(ROUND):
                sender.send(bytes(200))
            time.sleep(0.002)


def dropped_of_some(wan: Wan, milliseconds: int) -> dict[str, int]:
    """What A counted while the far end looked that often. Next to nothing came too late, and nothing is missing.

    Pings in fragments go by the raw socket in between, and a burst of the others once a second.
    """
    sent, received = packets(wan.a, "OUT"), packets(wan.b, "IN")
    before, before_there = Counter(wan.a.drops()), Counter(wan.b.drops())
    slow(wan, milliseconds)
    with serving(wan), sniffing(wan.a, "wan") as sniffer, wan.client.pinging(SERVER4, 0.01, "-s", "2000"):
        send(wan, SECONDS)
        # What goes past the stack isn't seen there. Behind a link that stands still nothing goes by the raw socket.
        assert any(packet[12:16] == OUTSIDE_A for packet in sniffer.packets()) or milliseconds > STANDSTILL_MS
    time.sleep(milliseconds / 1000 + 0.5)
    slow(wan, 0)
    time.sleep(milliseconds / 1000 + 1.5)
    sent, received = packets(wan.a, "OUT") - sent, packets(wan.b, "IN") - received
    dropped, lost_there = Counter(wan.a.drops()) - before, Counter(wan.b.drops()) - before_there
    # A busy disk was behind with the numbers: none of these was sent.
    del dropped[Reason.COUNTER_JOURNAL.name]
    assert lost_there[Reason.REPLAY.name] <= LATE_MAX
    assert sent == received + sum(dropped.values()) + sum(lost_there.values())
    return dropped


@pytest.mark.parametrize("milliseconds", [5, 15])
def test_slow_link(wan: Wan, milliseconds: int) -> None:
    start(wan)
    assert set(dropped_of_some(wan, milliseconds)) <= {Reason.QUEUE_FULL.name}


def test_link_that_stands_still(wan: Wan) -> None:
    """For longer than anybody waits: what its ring has no room for goes nowhere else."""
    start(wan)
    assert set(dropped_of_some(wan, 800)) == {Reason.QUEUE_FULL.name}


def test_link_that_drops(wan: Wan) -> None:
    """Without a qdisc, whose packets would wait."""
    start(wan, limit=None)
    assert Reason.SEND_FAILED.name in dropped_of_some(wan, 5)


@pytest.mark.parametrize("milliseconds", [15, 800])
def test_change_while_the_link_is_slow(wan: Wan, milliseconds: int) -> None:
    """Who waits for the link doesn't have culvertd wait."""
    start(wan)
    slow(wan, milliseconds)
    longest = 0.0
    with ThreadPoolExecutor(1) as pool, serving(wan), wan.client.pinging(SERVER4, 0.01, "-s", "2000"):
        sending = pool.submit(send, wan, SECONDS)
        while not sending.done():
            begun = time.monotonic()
            wan.a.apply("associations('a', spi=7000)")
            wan.a.apply("[change.inverse() for change in associations('a', spi=7000)]")
            longest = max(longest, time.monotonic() - begun)
            time.sleep(0.05)
    slow(wan, 0)
    assert Reason.QUEUE_FULL.name in wan.a.drops(), "it wasn't slow"
    assert longest < PROMPT_SECONDS

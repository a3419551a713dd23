"""Datagrams of several SAs that say the same outside leave as one; each stays its own SA's, whatever becomes of it."""

import os
import signal
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from culvert.ipsec.drops import Reason
from tests.dataplane.topology import Wan, wait_until

pytestmark = [pytest.mark.network, pytest.mark.usefixtures("native_engine")]

FIRST, SECOND = "10.2.0.5", "10.2.0.6"
SPIS = (1000, 1100)
SITE = (
    "[*shaped(site(side), sa={'encapsulation': UdpPorts()}), "
    "*shaped([*(each for each in associations(side, spi=1100) if each.sa.spi == 1100), "
    f"selector(OUT, NET4['a'], '{SECOND}/32', order=0) if side == 'a' else "
    f"selector(IN, '{SECOND}/32', NET4['a'], order=0)], "
    "sa={'encapsulation': UdpPorts(), 'reqid': 9}, policy={'reqid': 9})]"
)


@contextmanager
def held(wan: Wan) -> Iterator[None]:
    """What comes to the first gateway meanwhile comes to its packet process at once."""
    number = wan.a.process_id
    assert number is not None
    os.kill(number, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(number, signal.SIGCONT)


def send(wan: Wan, datagrams: int, octets: int, *, whole: bool) -> None:
    """To both in turns, with the DF bit or without."""
    with wan.client.inside(lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as opened:
        # IP_MTU_DISCOVER: IP_PMTUDISC_PROBE has the DF bit, IP_PMTUDISC_DONT has none.
        opened.setsockopt(socket.IPPROTO_IP, 10, 3 if whole else 0)
        for number in range(datagrams):
            opened.sendto(bytes(octets), ((FIRST, SECOND)[number % 2], 7000))


def usage(wan: Wan) -> dict[int, list[Any]]:
    """Packets, learned path and drops of the first gateway's outbound SAs, by SPI."""
    found = wan.a.do(
        "[(u.sa.spi, u.packets, u.path_mtu, {reason.name: count for reason, count in u.drops.items() if count}) "
        "for u in plane.usage() if u.sa.direction is OUT]"
    )
    return {spi: rest for spi, *rest in found}


def given_to_udp(wan: Wan) -> int:
    """Datagrams, or runs of them, that the first gateway's programs gave the kernel."""
    text = wan.a.inside(lambda: Path("/proc/thread-self/net/snmp").read_text())
    names, values = (line.split() for line in text.splitlines() if line.startswith("Udp:"))
    return int(values[names.index("OutDatagrams")])


def start(wan: Wan) -> None:
    wan.start(SITE)
    wan.server.run("ip", "route", "add", "local", SECOND, "dev", "lo")
    assert wan.client.pings(FIRST)
    assert wan.client.pings(SECOND)


def test_datagrams_of_two_sas_leave_as_one_and_each_is_counted_for_its_own(wan: Wan) -> None:
    start(wan)
    before, given = usage(wan), given_to_udp(wan)
    with held(wan):
        send(wan, 60, 400, whole=True)
    wait_until(lambda: sum(u[0] for u in usage(wan).values()) >= sum(u[0] for u in before.values()) + 60)
    after = usage(wan)
    assert {spi: after[spi][0] - before[spi][0] for spi in SPIS} == dict.fromkeys(SPIS, 30)
    assert given_to_udp(wan) - given < 20, "most left with others, though every other one is of another SA"
    sent = {spi: after[spi][0] for spi in SPIS}
    wait_until(lambda: received(wan) == sent)
    assert wan.b.drops() == {}


def received(wan: Wan) -> dict[int, int]:
    """Packets of the second gateway's inbound SAs, by SPI."""
    return dict(wan.b.do("[[u.sa.spi, u.packets] for u in plane.usage() if u.sa.direction is IN]"))


def test_every_sa_of_a_refused_run_learns_why(wan: Wan) -> None:
    start(wan)
    for gateway in wan.gateways:
        gateway.run("ip", "link", "set", "wan", "mtu", "1400")
    before = usage(wan)
    with held(wan):
        send(wan, 20, 1352, whole=True)
    wait_until(lambda: sum(u[0] for u in usage(wan).values()) == sum(u[0] for u in before.values()) + 20)
    found = usage(wan)
    assert {spi: found[spi][1] for spi in SPIS} == dict.fromkeys(SPIS, 1400)
    assert {spi: found[spi][2] for spi in SPIS} == {spi: {Reason.TOO_BIG.name: 10} for spi in SPIS}

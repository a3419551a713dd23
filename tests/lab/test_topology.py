"""Namespaces and cables: what is added works, what is removed is gone, and the sniffer sees what passes."""

import os
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from culvert.lab import program
from culvert.lab.daemon import Daemon, end
from culvert.lab.errors import LabError
from culvert.lab.frames import Sort
from culvert.lab.lab import Lab
from culvert.lab.namespace import Namespace
from culvert.lab.tap import EchoLog, WanTally, watch
from culvert.lab.topology import CLIENT, NODES, SITE_A, WAN, Topology

pytestmark = [
    pytest.mark.network,
    pytest.mark.skipif(os.geteuid() != 0, reason="network namespaces need root"),
]


def links() -> set[str]:
    return {entry.name for entry in Path("/sys/class/net").iterdir()}


@pytest.fixture
def topology() -> Iterator[Topology]:
    topology = Topology(f"cvt{os.getpid()}")
    topology.add()
    try:
        yield topology
    finally:
        topology.remove()


def test_nothing_is_left_behind() -> None:
    before = links()
    topology = Topology(f"cvt{os.getpid()}x")
    topology.add()
    assert topology.exists
    assert {namespace.exists for namespace in topology.namespaces()} == {True}
    assert links() == before
    topology.remove()
    assert not topology.exists
    assert links() == before
    topology.remove()


def test_half_a_topology_is_removed_too() -> None:
    topology = Topology(f"cvt{os.getpid()}h")
    topology.namespace(SITE_A).add()
    topology.remove()
    assert not topology.exists


def test_gateway_links_are_bare_and_the_wan_knows_no_site(topology: Topology) -> None:
    assert "2.2.2.2" not in topology.namespace(SITE_A).ip("address")
    assert set(topology.namespace(WAN).ip("-4", "route").split()) >= {"2.2.2.0/24", "3.3.3.0/24"}
    assert "10." not in topology.namespace(WAN).ip("-4", "route")
    assert "fd00" not in topology.namespace(WAN).ip("-6", "route")


def test_a_socket_belongs_to_the_namespace_it_was_made_in(topology: Topology) -> None:
    here = {name for _number, name in socket.if_nameindex()}
    there = {name for _number, name in topology.namespace(WAN).inside(socket.if_nameindex)}
    assert there == {"lo", "a0", "b0"}
    assert {name for _number, name in socket.if_nameindex()} == here


def test_trouble_inside_is_told_outside(topology: Topology) -> None:
    with pytest.raises(LabError, match="no interface with this name"):
        topology.namespace(WAN).inside(lambda: socket.if_nametoindex("none0"))
    with pytest.raises(LabError, match="No such file"):
        Namespace("cvt-none").socket(socket.AF_INET, socket.SOCK_DGRAM)


def plain_gateway(topology: Topology) -> None:
    """Culvert's place taken by plain routing: everything in clear."""
    site = topology.namespace(SITE_A)
    for link, address in (("lan0", "10.1.0.1/24"), ("wan0", "2.2.2.2/24")):
        site.ip("link", "set", link, "up")
        site.ip("address", "add", address, "dev", link)
    site.sysctl("net/ipv4/ip_forward", "1")
    topology.namespace(WAN).ip("route", "add", "10.1.0.0/24", "via", "2.2.2.2")


def test_the_sniffer_sees_clear_text(topology: Topology) -> None:
    plain_gateway(topology)
    tally, log, far = WanTally(), EchoLog(), EchoLog()
    with (
        watch(topology.namespace(WAN), "a0", tally) as tap,
        watch(topology.namespace(CLIENT), "eth0", log),
        watch(topology.namespace(WAN), "a0", far),
    ):
        program.require(topology.namespace(CLIENT).command(["ping", "-nqc3", "-i0.05", "-W2", "2.2.2.1"]))
    assert tally.counts[Sort.CLEAR] == 6
    assert not tally.only_esp
    assert tap.missed == 0
    assert "10.1.0.10 -> 2.2.2.1 protocol 1" in tally.clear_samples
    assert len(log.packets) == 6
    assert log.packets == far.packets


def test_the_sniffer_sees_esp(topology: Topology) -> None:
    plain_gateway(topology)
    tally = WanTally()
    with watch(topology.namespace(WAN), "a0", tally):
        raw = topology.namespace(SITE_A).socket(socket.AF_INET, socket.SOCK_RAW, 50)
        for number in range(1, 6):
            raw.sendto((0x3E9).to_bytes(4, "big") + number.to_bytes(4, "big") + bytes(40), ("2.2.2.1", 0))
        raw.close()
        time.sleep(0.2)
    assert tally.counts[Sort.ESP] == 5
    assert tally.spis == {0x3E9: 5}
    assert tally.clear_samples == [] or all("protocol 1" in words for words in tally.clear_samples)


def test_silence_is_not_only_esp(topology: Topology) -> None:
    tally = WanTally()
    with watch(topology.namespace(WAN), "a0", tally):
        pass
    assert not tally.only_esp


def test_strays_in_a_namespace_are_ended_and_nobody_else(topology: Topology) -> None:
    lab = Lab(topology.prefix)
    site = topology.namespace(SITE_A)
    stray = subprocess.Popen(site.command(["sleep", "100"]))
    other = subprocess.Popen(["sleep", "100"])
    try:
        while stray.pid not in site.pids():
            time.sleep(0.02)
        lab.down()
        assert not Path(f"/proc/{stray.pid}").exists()
        assert other.poll() is None
        assert not topology.exists
    finally:
        end([other.pid])


def test_a_pid_that_was_given_out_again_is_not_our_daemon(tmp_path: Path) -> None:
    daemon = Daemon("a", Namespace("cvt-none"), tmp_path)
    assert daemon.pid is None
    daemon.pid_path.write_text(f"{os.getpid()} 1\n")
    assert daemon.pid is None
    daemon.stop()
    assert not daemon.pid_path.exists()


def test_nodes_by_short_and_full_name() -> None:
    lab = Lab("cvt")
    assert [lab.node(node) for node in NODES] == [lab.node(f"cvt-{node}") for node in NODES]
    with pytest.raises(LabError, match="no node c"):
        lab.node("c")
    with pytest.raises(LabError, match="no gateway"):
        lab.daemon("wan")

"""Who may die: the daemon without a lost packet, the packet process for a moment, and neither repeats a number."""

import os
import signal
import subprocess
import time

import pytest

from culvert.lab.tap import WanTally, watch
from culvert.lab.topology import WAN
from tests.scenarios.two_sites import SERVER_V4, Sites, wait_until, watching

pytestmark = pytest.mark.network


def pings(sites: Sites, count: int, interval: float) -> "subprocess.Popen[str]":
    command = ["ping", "-nq", "-c", str(count), "-i", str(interval), "-W", "1", SERVER_V4]
    return subprocess.Popen(sites.lab.namespace("client").command(command), stdout=subprocess.PIPE, text=True)


def lost(sites: Sites, running: "subprocess.Popen[str]") -> int:
    output, _ = running.communicate(timeout=60)
    sent, received = (int(part.split()[0]) for part in output.split("statistics ---")[1].split(",")[:2])
    return sent - received


def kill_daemon(sites: Sites, node: str) -> None:
    pid = sites.lab.daemon(node).pid
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: sites.lab.daemon(node).pid is None)


@pytest.mark.alone
def test_packets_flow_while_the_daemon_is_down_and_while_it_comes_back(sites: Sites) -> None:
    sites.tell("a", "save sys config")
    process = sites.tmm("a")
    assert process is not None
    with watching(sites.lab) as seen:
        running = pings(sites, 200, 0.02)
        kill_daemon(sites, "a")
        time.sleep(1)
        assert sites.tmm("a") == process
        sites.lab.daemon("a").start()
        assert lost(sites, running) == 0
    assert seen.clear == []
    # The same process, which obeys the new daemon.
    assert sites.tmm("a") == process
    assert "goes on" in sites.show("a", "sys tmm-info")
    sites.tell("a", "modify net ipsec traffic-selector selector-out action discard")
    assert sites.ping(count=2).lost == 2
    sites.tell("a", "modify net ipsec traffic-selector selector-out action protect")
    wait_until(sites.is_healthy)


def test_a_successor_applies_what_changed_meanwhile(sites: Sites) -> None:
    sites.tell("a", "save sys config")
    process = sites.tmm("a")
    sites.tell("a", "modify net ipsec traffic-selector selector-out action discard")
    assert sites.ping(count=1).lost == 1
    kill_daemon(sites, "a")
    # What was not saved is not there any more.
    sites.lab.daemon("a").start()
    assert sites.tmm("a") == process
    wait_until(sites.is_healthy)


@pytest.mark.alone
def test_a_packet_process_that_is_killed_is_back_in_a_moment(sites: Sites) -> None:
    tally = WanTally()
    process = sites.tmm("a")
    assert process is not None
    running = pings(sites, 300, 0.01)
    with watch(sites.lab.namespace(WAN), "a0", tally):
        time.sleep(0.5)
        os.kill(process, signal.SIGKILL)
        missing = lost(sites, running)
    # A hundred a second: what waited in the TUN and the sockets meanwhile is not lost.
    assert missing <= 40
    assert tally.clear_samples == []
    assert sites.tmm("a") != process


def test_a_packet_process_that_died_with_its_daemon_is_replaced(sites: Sites) -> None:
    process = sites.tmm("a")
    assert process is not None
    kill_daemon(sites, "a")
    os.kill(process, signal.SIGKILL)
    wait_until(lambda: sites.tmm("a") is None)
    sites.lab.daemon("a").start()
    wait_until(sites.is_healthy)
    assert sites.tmm("a") not in (None, process)


def test_a_packet_process_that_does_not_answer_is_replaced(sites: Sites) -> None:
    process = sites.tmm("a")
    assert process is not None
    kill_daemon(sites, "a")
    os.kill(process, signal.SIGSTOP)
    sites.lab.daemon("a").start()
    wait_until(sites.is_healthy)
    assert sites.tmm("a") not in (None, process)


def test_a_clean_stop_ends_the_packet_process_too(sites: Sites) -> None:
    sites.tell("a", "save sys config")
    assert sites.tmm("a") is not None
    sites.lab.daemon("a").stop()
    try:
        assert sites.tmm("a") is None
    finally:
        sites.lab.daemon("a").start()
    wait_until(sites.is_healthy)

"""Saving, stopping, starting, crashing: the configuration stays, and nothing is left where it should not be."""

import os
import signal
import subprocess
from pathlib import Path

import pytest

from culvert.lab import program
from culvert.lab.lab import Lab
from tests.scenarios.two_sites import SERVER_V4, Sites, wait_until, watching

pytestmark = pytest.mark.network


def listing(sites: Sites, node: str) -> str:
    return sites.tell(node, "list all-properties", "list")


def test_save_stop_start_gives_the_same_list(sites: Sites) -> None:
    before = {node: listing(sites, node) for node in "ab"}
    replays = {node: sites.drops(node).get("replay", 0) for node in "ab"}
    for node in "ab":
        sites.tell(node, "save sys config")
        sites.lab.daemon(node).stop()
    for node in "ab":
        sites.lab.daemon(node).start()
    assert {node: listing(sites, node) for node in "ab"} == before
    # Send counters went on behind the last number: the peer takes nothing for a replay.
    wait_until(sites.is_healthy)
    assert {node: sites.drops(node).get("replay", 0) for node in "ab"} == replays


def test_unsaved_changes_are_gone_after_a_restart(sites: Sites) -> None:
    sites.tell("a", "save sys config")
    before = listing(sites, "a")
    sites.tell("a", "create net ipsec ipsec-policy forgotten mode tunnel "
                    "tunnel-local-address 2.2.2.2 tunnel-remote-address 9.9.9.9")
    assert listing(sites, "a") != before
    sites.lab.daemon("a").stop()
    sites.lab.daemon("a").start()
    assert listing(sites, "a") == before


def test_one_side_restarted_is_not_taken_for_a_replay(sites: Sites) -> None:
    before = sites.drops("b").get("replay", 0)
    sites.ping(count=20)
    sites.lab.daemon("a").stop()
    sites.lab.daemon("a").start()
    wait_until(lambda: sites.ping().lost == 0)
    assert sites.drops("b").get("replay", 0) == before


def test_a_killed_daemon_leaks_nothing_and_starts_again(sites: Sites) -> None:
    sites.tell("a", "save sys config")
    before = listing(sites, "a")
    pid = sites.lab.daemon("a").pid
    assert pid is not None
    with watching(sites.lab) as seen:
        traffic = subprocess.Popen(
            sites.lab.namespace("client").command(["ping", "-nq", "-c", "250", "-i", "0.02", "-W", "1", SERVER_V4]),
            stdout=subprocess.DEVNULL,
        )
        os.kill(pid, signal.SIGKILL)
        wait_until(lambda: sites.lab.daemon("a").pid is None)
        sites.lab.daemon("a").start()
        traffic.wait(30)
    assert seen.clear == []
    assert listing(sites, "a") == before
    wait_until(sites.is_healthy)


def test_a_clean_stop_takes_everything_back_and_nothing_else(sites: Sites) -> None:
    running = sites.host_state("b")
    sites.lab.daemon("b").stop()
    stopped = sites.host_state("b")
    try:
        assert "culvert" not in stopped
        assert "10.2.0.1" not in stopped
        assert "3.3.3.3" not in stopped
        bare = fresh_state(sites)
        assert strip(stopped) == strip(bare)
        assert running != stopped
    finally:
        sites.lab.daemon("b").start()
    wait_until(sites.is_healthy)


def fresh_state(sites: Sites) -> str:
    """What gateway B's namespace looks like in a lab where no daemon ever ran."""
    lab = Lab(f"{sites.lab.prefix}f")
    lab.topology.add()
    try:
        return Sites(lab, {}).host_state("b")
    finally:
        lab.topology.remove()


def strip(state: str) -> list[str]:
    """Without what differs from one namespace to the next: link addresses, and what stateful links say of peers."""
    return [line for line in state.splitlines() if "link/ether" not in line and "fe80" not in line and line]


def test_a_clean_stop_under_traffic_leaks_nothing(sites: Sites) -> None:
    with watching(sites.lab) as seen:
        traffic = subprocess.Popen(
            sites.lab.namespace("client").command(["ping", "-nq", "-c", "200", "-i", "0.02", "-W", "1", SERVER_V4]),
            stdout=subprocess.DEVNULL,
        )
        sites.lab.daemon("a").stop()
        sites.lab.daemon("a").start()
        traffic.wait(30)
    assert seen.clear == []
    wait_until(sites.is_healthy)


def test_no_key_is_written_down_in_clear(sites: Sites) -> None:
    for node in "ab":
        sites.tell(node, "modify net ipsec ike-daemon ikedaemon log-level debug2", "save sys config")
    sites.ping()
    texts = {path: path.read_bytes() for path in sites.lab.directory.rglob("*") if path.is_file()}
    for node in "ab":
        texts[Path(f"list {node}")] = listing(sites, node).encode()
        sites.tell(node, "modify net ipsec ike-daemon ikedaemon log-level info")
    for key in sites.keys.values():
        for secret in (key.auth_key, key.encrypt_key):
            for form in (secret.encode(), secret[2:].encode(), bytes.fromhex(secret[2:])):
                assert not [path for path, octets in texts.items() if form in octets]


def test_selectors_equal_to_the_tunnel_addresses(sites: Sites) -> None:
    """The procedure's own choice: what the two systems say to each other is protected as well."""
    for node, own, peer in (("a", "2.2.2.2", "3.3.3.3"), ("b", "3.3.3.3", "2.2.2.2")):
        for direction, source, destination in (("out", own, peer), ("in", peer, own)):
            sites.tell(
                node,
                f"create net ipsec traffic-selector ends-{direction} source-address {source} "
                f"destination-address {destination} direction {direction} ipsec-policy policy-{direction}",
            )
    try:
        with watching(sites.lab) as seen:
            outcome = program.run(
                sites.lab.namespace("a").command(["ping", "-nq", "-c", "5", "-i", "0.05", "-W", "1", "3.3.3.3"])
            )
        assert "5 received" in outcome.output
        assert seen.clear == []
        assert seen.esp == 20
    finally:
        for node in "ab":
            sites.tell(node, *(f"delete net ipsec traffic-selector ends-{way}" for way in ("out", "in")))

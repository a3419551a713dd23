"""What is wrong stops traffic, never lets it out in clear, and `show` names the reason."""

import os
import signal
import socket
import subprocess
import time

import pytest

from tests.scenarios.two_sites import SERVER_V4, SERVER_V6, Sites, wait_until, watching

pytestmark = pytest.mark.network

SA = "net ipsec manual-security-association"
SELECTOR = "net ipsec traffic-selector"


def expect_drop(sites: Sites, node: str, reason: str, *, on_the_wan: bool) -> None:
    """Pings get no answer, none of them is on the wan in clear, and `show net ipsec drops` gives the reason."""
    before = sites.drops(node).get(reason, 0)
    with watching(sites.lab) as seen:
        pings = sites.ping()
    assert pings.received == 0, pings.summary
    assert seen.clear == []
    assert bool(seen.esp) == on_the_wan
    assert sites.drops(node).get(reason, 0) >= before + pings.sent
    assert reason in sites.show(node, "net ipsec drops")


def test_a_wrong_authentication_key(sites: Sites) -> None:
    sites.tell("b", f'modify {SA} sa-in auth-key "0x{"00" * 20}"')
    try:
        expect_drop(sites, "b", "integrity", on_the_wan=True)
    finally:
        sites.tell("b", f'modify {SA} sa-in auth-key "{sites.keys["a-to-b"].auth_key}"')


def test_a_wrong_spi(sites: Sites) -> None:
    sites.tell("b", f"modify {SA} sa-in spi 7001")
    try:
        expect_drop(sites, "b", "no-sa-in", on_the_wan=True)
    finally:
        sites.tell("b", f"modify {SA} sa-in spi {sites.keys['a-to-b'].spi}")


def test_a_wrong_encryption_key(sites: Sites) -> None:
    """The packet is authentic, and rubbish inside: it must die, of what depends on the rubbish."""
    before = sum(sites.drops("b").values())
    sites.tell("b", f'modify {SA} sa-in encrypt-key "0x{"00" * 16}"')
    try:
        with watching(sites.lab) as seen:
            pings = sites.ping()
        assert pings.received == 0
        assert seen.clear == []
        assert sum(sites.drops("b").values()) >= before + pings.sent
    finally:
        sites.tell("b", f'modify {SA} sa-in encrypt-key "{sites.keys["a-to-b"].encrypt_key}"')


def test_a_removed_virtual_server(sites: Sites) -> None:
    sites.tell("a", "delete ltm virtual forward-all")
    try:
        expect_drop(sites, "a", "not-forwarded", on_the_wan=False)
        assert sites.ping(SERVER_V6).lost == 0
    finally:
        sites.tell("a", "create ltm virtual forward-all destination 0.0.0.0:any mask any ip-forward ip-protocol any")


def test_an_inbound_selector_that_does_not_match(sites: Sites) -> None:
    sites.tell("b", f"modify {SELECTOR} selector-in source-address 10.9.0.0/24")
    try:
        expect_drop(sites, "b", "inner-mismatch", on_the_wan=True)
    finally:
        sites.tell("b", f"modify {SELECTOR} selector-in source-address 10.1.0.0/24")


def test_an_outbound_selector_that_does_not_match(sites: Sites) -> None:
    """The answers would have to come protected, so the questions don't leave in clear."""
    before = sum(sites.drops("a").values())
    sites.tell("a", f"modify {SELECTOR} selector-out destination-address 10.9.0.0/24")
    try:
        with watching(sites.lab) as seen:
            pings = sites.ping()
        assert pings.received == 0
        assert seen.clear == []
        assert sum(sites.drops("a").values()) >= before + pings.sent
    finally:
        sites.tell("a", f"modify {SELECTOR} selector-out destination-address 10.2.0.0/24")


def test_a_missing_outbound_association(sites: Sites) -> None:
    key = sites.keys["a-to-b"]
    sites.tell("a", f"delete {SA} sa-out")
    try:
        expect_drop(sites, "a", "no-sa-out", on_the_wan=False)
    finally:
        sites.tell(
            "a",
            f"create {SA} sa-out spi {key.spi} source-address 2.2.2.2 destination-address 3.3.3.3/32 "
            f'auth-key "{key.auth_key}" encrypt-algorithm aes128 encrypt-key "{key.encrypt_key}" '
            "ipsec-policy policy-out",
        )
    # The same key in a new object goes on counting: the peer would take number 1 for a replay.
    assert sites.ping().lost == 0


def test_a_disabled_link(sites: Sites) -> None:
    before = sites.drops("a")
    sites.tell("a", "modify net interface wan0 disabled")
    try:
        with watching(sites.lab) as seen:
            pings = sites.ping()
        assert pings.received == 0
        assert seen.clear == []
        assert seen.esp == 0
        assert "disabled" in sites.show("a", "net interface")
        after = sites.drops("a")
        assert sum(after.values()) >= sum(before.values()) + pings.sent, (before, after)
    finally:
        sites.tell("a", "modify net interface wan0 enabled")
    wait_until(sites.is_healthy)


def test_a_killed_packet_process(sites: Sites) -> None:
    """Killed again and again under traffic: nothing gets out in clear, and it comes back by itself."""
    ping = ["ping", "-nq", "-c", "150", "-i", "0.02", "-W", "1", SERVER_V4]
    with watching(sites.lab) as seen:
        traffic = subprocess.Popen(
            sites.lab.namespace("client").command(ping), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        killed = []
        for _ in range(3):
            time.sleep(0.6)
            pid = sites.tmm("a")
            assert pid is not None
            os.kill(pid, signal.SIGKILL)
            killed.append(pid)
            wait_until(lambda: sites.tmm("a") not in (None, *killed))
        output = traffic.communicate(timeout=30)[0]
    assert seen.clear == []
    assert seen.esp > 0
    assert " 0% packet loss" in output or "received" in output
    wait_until(sites.is_healthy)
    log = sites.lab.daemon("a").log_path.read_text()
    assert "packet process" in log


def test_a_stopped_packet_process_leaks_nothing(sites: Sites) -> None:
    pid = sites.tmm("a")
    assert pid is not None
    os.kill(pid, signal.SIGSTOP)
    try:
        with watching(sites.lab) as seen:
            pings = sites.ping()
        assert pings.received == 0
        assert seen.clear == []
        assert seen.esp == 0
    finally:
        os.kill(pid, signal.SIGCONT)
    wait_until(sites.is_healthy)


def test_somebody_deletes_the_routing_rule(sites: Sites) -> None:
    """Whatever becomes of the way into the tunnel: the last hook stops what is protected, and names it."""
    before = sites.drops("a").get("leak-stopped", 0)
    namespace = sites.lab.namespace("a")
    rules = [line for line in namespace.ip("rule").splitlines() if "fwmark" in line]
    assert rules
    with watching(sites.lab) as seen:
        for line in rules:
            namespace.ip("rule", "del", "priority", line.split(":")[0])
        received = sites.ping().received
    assert seen.clear == []
    assert received > 0 or sites.drops("a").get("leak-stopped", 0) > before
    wait_until(sites.is_healthy)


def test_a_packet_that_comes_in_clear(sites: Sites) -> None:
    """The wan offers what only the tunnel may bring."""
    before = sites.drops("a").get("clear-inbound", 0)
    wan = sites.lab.namespace("wan")
    wan.ip("address", "add", "10.2.0.99/32", "dev", "lo")
    wan.ip("route", "add", "10.1.0.0/24", "via", "2.2.2.2")
    try:
        ping = ["ping", "-nq", "-c", "3", "-i", "0.05", "-W", "1", "-I", "10.2.0.99", "10.1.0.10"]
        outcome = subprocess.run(wan.command(ping), capture_output=True, text=True, check=False)
    finally:
        wan.ip("route", "del", "10.1.0.0/24")
        wan.ip("address", "del", "10.2.0.99/32", "dev", "lo")
    assert " 0 received" in outcome.stdout
    assert sites.drops("a")["clear-inbound"] == before + 3


def test_a_captured_packet_sent_again(sites: Sites) -> None:
    """Replayed octet for octet from the wire."""
    namespace = sites.lab.namespace("wan")
    listener = namespace.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
    listener.settimeout(2)
    listener.bind(("b0", 3))
    sites.ping(count=1)
    frame = b""
    while frame[12:14] != b"\x08\x00" or frame[23] != 50 or frame[26:30] != bytes([2, 2, 2, 2]):
        frame = listener.recv(2000)
    before = sites.drops("b").get("replay", 0)
    for _ in range(5):
        listener.send(frame)
    listener.close()
    wait_until(lambda: sites.drops("b").get("replay", 0) == before + 5)

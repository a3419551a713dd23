"""The whole protocol on two live gateways, configured by tmsh: what arrives, and what is seen on the wan.

Both systems change in one step each, by a file that is laid over the running configuration: a policy and its SAs
contradict each other in between.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from culvert.lab import program
from culvert.lab.frames import Sort
from tests.scenarios.two_sites import SERVER_V4, Sites, wait_until, watching

pytestmark = pytest.mark.network

SA = "net ipsec manual-security-association"
POLICY = "net ipsec ipsec-policy"
ENDS = {"a": ("2.2.2.2", "3.3.3.3"), "b": ("3.3.3.3", "2.2.2.2")}
KEY_OF = {("a", "out"): 1, ("b", "in"): 1, ("b", "out"): 2, ("a", "in"): 2}


def digits(octets: int, seed: int) -> str:
    return "0x" + bytes((seed * 50 + 37 * at) % 251 for at in range(octets)).hex()


def merge(sites: Sites, directory: Path, node: str, text: str) -> None:
    path = directory / f"{node}.conf"
    path.write_text(text)
    sites.tell(node, f"load sys config file {path} merge")


@contextmanager
def changed(
    sites: Sites, directory: Path, policy: str, sa: str = "", *, undo: str, undo_sa: str = ""
) -> Iterator[None]:
    """Both policies and both IPv4 SAs of both systems with these properties, and as they were afterwards."""

    def lay(policy_words: str, sa_words: str) -> None:
        for node in "ab":
            stanzas = [f"{POLICY} /Common/policy-{way} {{ {policy_words} }}" for way in ("out", "in")]
            if sa_words:
                stanzas += [
                    f"{SA} /Common/sa-{way} {{ {sa_words.format(key=digits(64, KEY_OF[node, way])[:66])} }}"
                    for way in ("out", "in")
                ]
            merge(sites, directory, node, "\n".join(stanzas))

    lay(policy, sa)
    try:
        yield
    finally:
        lay(undo, undo_sa)
        for node in "ab":
            for way, name in (
                ("out", "b-to-a" if node == "b" else "a-to-b"),
                ("in", "a-to-b" if node == "b" else "b-to-a"),
            ):
                sites.tell(node, f'modify {SA} sa-{way} auth-algorithm sha1 auth-key "{sites.keys[name].auth_key}"')


def test_ah_in_tunnel_mode(sites: Sites, tmp_path: Path) -> None:
    words = {"policy": "protocol ah", "sa": "protocol ah auth-algorithm sha256 auth-key {key}"}
    with changed(sites, tmp_path, **words, undo="protocol esp", undo_sa="protocol esp"), watching(sites.lab) as seen:
        assert sites.ping().lost == 0
        details = sites.show("a", "net ipsec ipsec-sa all-properties spi " + str(sites.keys["a-to-b"].spi))
        assert "Protocol: ah;  Mode: tunnel;  State: mature" in details
        assert "  Authentication : sha256" in details
        assert "Encryption" not in details
    assert seen.clear == []
    assert seen.count(Sort.AH) >= 12
    assert seen.esp == 0


def test_esp_in_udp(sites: Sites, tmp_path: Path) -> None:
    words, undo = "udp-encapsulation enabled nat-keep-alive 1", "udp-encapsulation disabled nat-keep-alive 20"
    with changed(sites, tmp_path, words, undo=undo):
        with watching(sites.lab) as seen:
            assert sites.ping().lost == 0
        assert seen.esp >= 12
        # A second of silence: the keep-alive, one octet of UDP, is no ESP.
        with watching(sites.lab) as quiet:
            wait_until(lambda: any("protocol 17" in words for words in quiet.clear))
        assert "keep-alive" in sites.drops("a") or "keep-alive" in sites.drops("b")


def test_esp_with_compression_and_extended_numbers(sites: Sites, tmp_path: Path) -> None:
    sa, undo_sa = "extended-sequence-numbers enabled", "extended-sequence-numbers disabled"
    with changed(sites, tmp_path, "ipcomp deflate", sa, undo="ipcomp none", undo_sa=undo_sa):
        with watching(sites.lab) as seen:
            assert sites.ping().lost == 0
        details = sites.show("a", "net ipsec ipsec-sa all-properties")
        assert "Compression: deflate;  Extended sequence numbers" in details
    assert seen.clear == []
    assert seen.esp >= 12


def test_ah_around_esp(sites: Sites, tmp_path: Path) -> None:
    names = ("ah-out", "ah-in")
    try:
        for node in "ab":
            (near, far), stanzas = ENDS[node], []
            for way, source, destination in (("out", near, far), ("in", far, near)):
                number = KEY_OF[node, way]
                stanzas += [
                    f"{POLICY} /Common/policy-{way} {{ bundle-ah enabled }}",
                    f"{SA} /Common/ah-{way} {{ spi {4000 + number} source-address {source} destination-address "
                    f"{destination} protocol ah auth-key {digits(20, number)} ipsec-policy /Common/policy-{way} }}",
                ]
            merge(sites, tmp_path, node, "\n".join(stanzas))
        with watching(sites.lab) as seen:
            assert sites.ping().lost == 0
        assert seen.clear == []
        assert seen.count(Sort.AH) >= 12
        assert seen.esp == 0
        # Without its outer half the bundle carries nothing, and nothing leaves that is less than it should be.
        sites.tell("a", f"delete {SA} ah-out")
        with watching(sites.lab) as seen:
            assert sites.ping(count=1).received == 0
        assert seen.clear == []
        assert (seen.esp, seen.count(Sort.AH)) == (0, 0)
        assert sites.drops("a")["no-bundle-sa"] >= 1
    finally:
        for node in "ab":
            listed = sites.show(node, "net ipsec ipsec-sa all-properties")
            gone = [f"delete {SA} {name}" for name in names if f"Name: {name};" in listed]
            off = [f"modify {POLICY} policy-{way} bundle-ah disabled" for way in ("out", "in")]
            sites.tell(node, *gone, *off)


def test_transport_mode_between_the_gateways(sites: Sites, tmp_path: Path) -> None:
    try:
        for node in "ab":
            (near, far), stanzas = ENDS[node], []
            for way, source, destination in (("out", near, far), ("in", far, near)):
                number = KEY_OF[node, way]
                stanzas += [
                    f"{POLICY} /Common/host-{way} {{ mode transport }}",
                    f"{SA} /Common/host-{way} {{ spi {5000 + number} source-address {source} destination-address "
                    f"{destination} auth-algorithm sha512 auth-key {digits(64, number)} encrypt-algorithm aes256 "
                    f"encrypt-key {digits(32, number)} ipsec-policy /Common/host-{way} }}",
                    f"net ipsec traffic-selector /Common/host-{way} {{ source-address {source} destination-address "
                    f"{destination} direction {way} ipsec-policy /Common/host-{way} }}",
                ]
            merge(sites, tmp_path, node, "\n".join(stanzas))
        with watching(sites.lab) as seen:
            command = sites.lab.namespace("a").command(["ping", "-n", "-c", "3", "-i", "0.2", "-W", "1", "3.3.3.3"])
            assert " 0% packet loss" in program.run(command).output
            command = sites.lab.namespace("a").command(
                ["ping", "-n", "-c", "1", "-W", "1", "-s", "4000", "-M", "dont", "3.3.3.3"]
            )
            assert " 0% packet loss" in program.run(command).output
            assert sites.ping().lost == 0
        assert seen.clear == []
        assert "Mode: transport" in sites.show("a", "net ipsec ipsec-sa all-properties spi 5001")
    finally:
        for node in "ab":
            for kind in ("net ipsec traffic-selector", SA, POLICY):
                sites.tell(node, *(f"delete {kind} host-{way}" for way in ("out", "in")))


def test_a_key_whose_life_is_over_carries_nothing(sites: Sites) -> None:
    details = sites.show("a", f"net ipsec ipsec-sa json spi {sites.keys['a-to-b'].spi}")
    assert '"state": "mature"' in details
    sites.tell("a", f"modify {SA} sa-out lifetime-packets 1")
    try:
        with watching(sites.lab) as seen:
            assert sites.ping(SERVER_V4, count=2).received == 0
        assert seen.clear == []
        assert sites.drops("a")["expired-out"] >= 2
        assert "State: dead" in sites.show("a", "net ipsec ipsec-sa all-properties")
    finally:
        sites.tell("a", f"modify {SA} sa-out lifetime-packets 0")
    assert sites.ping().lost == 0


def test_what_is_unwise_is_said_on_standard_error(sites: Sites) -> None:
    outcome = sites.lab.tmsh("a", [], f"modify {SA} sa-out replay-window-size 0")
    assert (outcome.status, outcome.output) == (0, "")
    assert "Warning: IPsec manual security association (/Common/sa-out): replay-window-size" in outcome.errors
    sites.tell("a", f"modify {SA} sa-out replay-window-size 64")

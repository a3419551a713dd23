"""Packet captures at a link of a namespace of the test's own: who may, what is taken, its bounds, and the record."""

import base64
import json
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from scapy.layers.inet import IP, TCP
from scapy.layers.l2 import Ether
from scapy.utils import rdpcap
from sealing import SITE_A

from culvert.control import recording
from culvert.control.captures import RUNNING_MOST
from culvert.control.errors import ControlError
from culvert.lab.namespace import Namespace
from tests.control.guarded import Guarded

ESP = (
    Ether(src="02:00:00:00:00:01", dst="02:00:00:00:00:02") / IP(src="3.3.3.3", dst="2.2.2.2", proto=50) / (b"\1" * 100)
)
HTTPS = Ether(src="02:00:00:00:00:01", dst="02:00:00:00:00:02") / IP(src="3.3.3.3", dst="2.2.2.2") / TCP(dport=443)
ROLES = {
    "admin": "decrypted", "resource-admin": "outer", "user-manager": "outer", "auditor": "outer",
    "manager": "", "operator": "", "guest": "",
}  # fmt: skip
"""Whoever has no role but no-access doesn't even get a token."""
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="network namespaces need root")


class Wire:
    """Site A's gateway, with its VLAN external at one end of a wire in a namespace; the test sends at the other."""

    def __init__(self, directory: Path, namespace: Namespace) -> None:
        self.house = Guarded(directory, tun="lan0")
        self.house.root("load", text=SITE_A)
        self.namespace = namespace
        for ends in (("wan0", "peer0"), ("lan0", "peer1")):
            namespace.ip("link", "add", ends[0], "type", "veth", "peer", "name", ends[1])
            for end in ends:
                namespace.ip("link", "set", end, "up")

    def send(self, *frames: Ether, at: str = "peer0") -> None:
        with self.namespace.socket(socket.AF_PACKET, socket.SOCK_RAW) as sender:
            sender.bind((at, 0))
            for frame in frames:
                sender.send(bytes(frame))

    def ask(self, user: str, call: str, **args: Any) -> Any:
        credentials = self.house.token(user)
        return self.namespace.inside(lambda: self.house.ask(call, credentials, **args))

    def refused(self, user: str, call: str, **args: Any) -> ControlError:
        credentials = self.house.token(user)
        return self.namespace.inside(lambda: self.house.refused(call, credentials, **args))

    def start(self, user: str = "ann", **args: Any) -> Any:
        given = {"vlan": "/Common/external", "kind": "esp", "seconds": 20} | args
        return self.ask(user, "capture-start", **{word: value for word, value in given.items() if value is not None})

    def ended(self, user: str = "ann") -> dict[str, Any]:
        """The state once nothing is taken any more."""
        deadline = time.monotonic() + 30
        while True:
            found: dict[str, Any] = self.ask(user, "capture-state")["own"]
            if not found["running"]:
                return found
            assert time.monotonic() < deadline, found
            time.sleep(0.05)

    def file(self, user: str = "ann") -> bytes:
        content = b""
        while piece := base64.b64decode(self.ask(user, "capture-read", offset=len(content))["data"]):
            content += piece
        return content

    def audited(self) -> list[tuple[str, str, str]]:
        lines = [json.loads(line) for line in self.house.audit_text.splitlines()]
        return [(own["call"], own["what"], own["result"]) for own in lines if own["call"].startswith("capture")]


@pytest.fixture
def wire(tmp_path: Path) -> Iterator[Wire]:
    namespace = Namespace(f"cvcap{os.getpid()}")
    namespace.add()
    made = None
    try:
        made = Wire(tmp_path, namespace)
        made.house.user("ann")
        yield made
    finally:
        if made is not None:
            made.house.close()
        namespace.remove()


@needs_root
@pytest.mark.network
def test_what_fits_is_taken_and_other_programs_read_it(wire: Wire, tmp_path: Path) -> None:
    wire.start(packets=3)
    wire.send(HTTPS, *[ESP] * 5)
    state = wire.ended()
    assert (state["packets"], state["lost"], state["trouble"]) == (3, 0, "")
    assert {(own["protocol"], own["spi"], own["sequence"], own["length"]) for own in state["seen"]} == {
        ("ESP", 0x01010101, 0x01010101, 134)
    }
    path = tmp_path / "taken.pcap"
    path.write_bytes(wire.file())
    assert [bytes(own) for own in rdpcap(str(path))] == [bytes(ESP)] * 3
    for program in (["tcpdump", "-nr"], ["tshark", "-nr"]):
        if shutil.which(program[0]) is None:
            pytest.skip(f"{program[0]} isn't installed")
        told = subprocess.run([*program, str(path)], capture_output=True, text=True, check=True).stdout
        assert ["ESP" in line for line in told.splitlines()] == [True] * 3


@needs_root
@pytest.mark.network
def test_a_packet_is_cut_and_its_length_kept(wire: Wire, tmp_path: Path) -> None:
    wire.start(packets=1, snap=64)
    wire.send(ESP)
    assert wire.ended()["seen"][0]["length"] == len(bytes(ESP))
    path = tmp_path / "taken.pcap"
    path.write_bytes(wire.file())
    found = rdpcap(str(path))[0]
    assert (len(bytes(found)), found.wirelen) == (64, len(bytes(ESP)))


@needs_root
@pytest.mark.network
@pytest.mark.parametrize("role", ROLES)
def test_who_may_capture_what(wire: Wire, role: str) -> None:
    wire.house.user("bob", role)
    for kind, args in (("outer", {"vlan": "external"}), ("decrypted", {"decrypted": True})):
        if ROLES[role] in (kind, "decrypted"):
            wire.ask("bob", "capture-start", seconds=1, **args)
            wire.ask("bob", "capture-stop")
            wire.ended("bob")
        else:
            assert wire.refused("bob", "capture-start", **args).http == 403
    if ROLES[role]:
        assert wire.ask("bob", "capture-state")["decrypts"] is (ROLES[role] == "decrypted")
    else:
        assert all(wire.refused("bob", call).http == 403 for call in ("capture-state", "capture-read", "capture-stop"))


@needs_root
@pytest.mark.network
def test_what_is_decrypted_is_given_to_administrators_only_even_later(wire: Wire) -> None:
    wire.house.user("bob")
    wire.start("bob", vlan=None, decrypted=True, kind="any", packets=1)
    wire.send(HTTPS, at="peer1")
    wire.ended("bob")
    assert wire.file("bob")
    wire.house.root(
        "modify", kind="auth user", names=["bob"],
        properties={"partition-access": [{"name": "all-partitions", "role": "auditor"}]},
    )  # fmt: skip
    assert wire.refused("bob", "capture-read", offset=0).http == 403


@needs_root
@pytest.mark.network
def test_a_capture_is_its_users_own(wire: Wire) -> None:
    wire.house.user("bob")
    wire.start()
    assert wire.ask("bob", "capture-state")["own"] is None
    assert wire.refused("bob", "capture-read", offset=0).http == 404
    assert wire.refused("bob", "capture-stop").http == 404


@needs_root
@pytest.mark.network
def test_one_of_each_user_and_a_few_in_all(wire: Wire) -> None:
    wire.start()
    assert "has a capture that is running" in wire.refused("ann", "capture-start", vlan="external").message
    for number in range(RUNNING_MOST - 1):
        wire.house.user(f"user{number}")
        wire.start(f"user{number}")
    wire.house.user("late")
    assert "captures are running already" in wire.refused("late", "capture-start", vlan="external").message
    wire.ask("ann", "capture-stop")
    wire.ended()
    wire.start("late")


@needs_root
@pytest.mark.network
def test_time_packets_and_octets_end_it(wire: Wire, monkeypatch: pytest.MonkeyPatch) -> None:
    began = time.monotonic()
    wire.start(seconds=1)
    assert wire.ended()["packets"] == 0
    assert 0.9 < time.monotonic() - began < 10
    monkeypatch.setattr(recording, "OCTETS_MAX", 400)
    wire.start()
    wire.send(*[ESP] * 5)
    state = wire.ended()
    assert (state["packets"], state["octets"]) == (2, 24 + 2 * (16 + len(bytes(ESP))))


@needs_root
@pytest.mark.network
def test_the_record_of_it(wire: Wire) -> None:
    wire.house.user("bob", "guest")
    wire.refused("bob", "capture-start", decrypted=True)
    wire.start(packets=2)
    wire.send(ESP, ESP)
    wire.ended()
    wire.file()
    what = "VLAN /Common/external (link wan0): esp"
    assert wire.audited() == [
        ("capture-start", "decrypted", "bob (guest in all-partitions) may not capture packets"),
        ("capture-start", what, "ok"),
        ("capture-end", what, f"2 packets, {24 + 2 * (16 + len(bytes(ESP)))} octets"),
        ("capture-read", what, "ok"),
    ]


@needs_root
@pytest.mark.network
def test_what_runs_when_the_daemon_stops_is_written_down_too(wire: Wire) -> None:
    wire.start(seconds=30)
    wire.send(ESP)
    deadline = time.monotonic() + 10
    while not wire.ask("ann", "capture-state")["own"]["packets"] and time.monotonic() < deadline:
        time.sleep(0.05)
    wire.house.captures.close()
    assert wire.audited()[-1][0] == "capture-end"
    assert wire.audited()[-1][2].startswith("1 packets")


@needs_root
@pytest.mark.network
def test_its_file_has_no_name_and_goes(wire: Wire, tmp_path: Path) -> None:
    wire.start(packets=1)
    assert not list(tmp_path.glob("capture-*"))
    wire.send(ESP)
    wire.ended()
    first = wire.house.captures._held[("ann", True)]
    wire.start(packets=1)
    assert first.is_gone and first.read(0, 10) == b""


@needs_root
@pytest.mark.network
@pytest.mark.parametrize(
    ("args", "told"),
    [
        ({"vlan": "nobody"}, "was not found"),
        ({"vlan": None}, "vlan: the name of a VLAN is expected"),
        ({"decrypted": "yes"}, "decrypted: true or false"),
        ({"kind": "esp or 1=1"}, "kind: one of"),
        ({"kind": "esp", "port": 443}, "port: esp has none"),
        ({"kind": "tcp", "port": 65536}, "port: a number from 0 to 65535"),
        ({"host": "example.org"}, "host: "),
        ({"seconds": 61}, "seconds: a number from 1 to 60"),
        ({"packets": 10001}, "packets: a number from 1 to 10000"),
        ({"snap": 10}, "snap: a number from 64 to 65535"),
        ({"seconds": True}, "seconds: "),
        ({"seconds": "10"}, "seconds: "),
    ],
)
def test_what_is_no_order(wire: Wire, args: dict[str, Any], told: str) -> None:
    given = {"vlan": "external"} | args
    assert told in wire.refused("ann", "capture-start", **given).message
    assert wire.ask("ann", "capture-state")["own"] is None


@needs_root
@pytest.mark.network
def test_a_link_that_is_not_there(wire: Wire) -> None:
    wire.namespace.ip("link", "delete", "wan0")
    error = wire.refused("ann", "capture-start", vlan="external")
    assert (error.http, error.message) == (503, "link wan0 can't be captured: No such device")

"""A capture at a running gateway: outer, where everything of the tunnel is ESP, and decrypted, where it is in clear."""

import base64
from pathlib import Path
from typing import Any

import pytest
from scapy.layers.inet import ICMP, IP
from scapy.layers.ipsec import ESP
from scapy.layers.l2 import Ether
from scapy.packet import Packet
from scapy.utils import rdpcap

from culvert.control.client import Client
from culvert.lab.topology import SERVER_ADDRESSES
from tests.scenarios.two_sites import Sites, wait_until

pytestmark = pytest.mark.network
SERVER = SERVER_ADDRESSES[0]


def taken(sites: Sites, directory: Path, **order: Any) -> list[Packet]:
    """What a capture has while three pings cross the tunnel."""
    with Client(sites.lab.daemon("a").socket_path) as client:

        def call(name: str, **args: Any) -> Any:
            return client.call(name, **args)

        call("capture-start", seconds=20, packets=6, **order)
        sites.ping()
        wait_until(lambda: not call("capture-state")["own"]["running"])
        content = b""
        while piece := base64.b64decode(call("capture-read", offset=len(content))["data"]):
            content += piece
    path = directory / "taken.pcap"
    path.write_bytes(content)
    return list(rdpcap(str(path)))


def test_outer_is_esp_between_the_gateways(sites: Sites, tmp_path: Path) -> None:
    found = taken(sites, tmp_path, vlan="external", kind="esp")
    assert len(found) == 6
    assert all(Ether in own and ESP in own and SERVER not in (own[IP].src, own[IP].dst) for own in found)


def test_decrypted_is_what_the_hosts_said(sites: Sites, tmp_path: Path) -> None:
    found = taken(sites, tmp_path, decrypted=True, host=SERVER)
    assert [own[ICMP].type for own in found] == [8, 0] * 3
    assert {(own[IP].dst if own[ICMP].type == 8 else own[IP].src) for own in found} == {SERVER}

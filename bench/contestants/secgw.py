"""DPDK's ipsec-secgw: an example program, but the fastest that Debian's source brings; over AF_PACKET and AF_XDP ports.

It polls, one whole core for each gateway. It speaks no ARP, tells nobody that a packet is too big, and its ports take
neither unfinished checksums nor super-packets; so its neighbours are told about it, routes have a smaller MTU, and the
client and the server do by themselves what the others leave to the links.
"""

import os
import secrets
from dataclasses import dataclass
from pathlib import Path

from bench.contestants.contestant import Contestant
from bench.proof import Wire
from bench.stage import INNER, OUTER, PEER, Links, Stage, wait_until
from culvert.lab import program
from culvert.lab.errors import LabError
from culvert.lab.topology import CLIENT, GATEWAYS, SERVER, SITE_A, SITE_B, WAN

_BUILT = Path(__file__).resolve().parents[2] / ".build" / "bench" / "ipsec-secgw"
_SPI = {SITE_A: 1001, SITE_B: 1002}
_KEY_OCTETS = 20
_ROUTE_MTU = 1400
_MEGABYTES = 1024
_READY = "entering main loop"
# Of each gateway: who is at the other end of wan0, of lan0, and that one's address of the gateway
_NEIGHBOURS = {
    SITE_A: ((WAN, "a0", "2.2.2.2"), (CLIENT, "eth0", "10.1.0.1")),
    SITE_B: ((WAN, "b0", "3.3.3.3"), (SERVER, "eth0", "10.2.0.1")),
}

_SETTINGS = """\
sp ipv4 out esp protect {out} pri 1 src {inside} dst {beyond} sport 0:65535 dport 0:65535
sp ipv4 in esp protect {into} pri 1 src {beyond} dst {inside} sport 0:65535 dport 0:65535
sa out {out} aead_algo aes-128-gcm aead_key {key_out} mode ipv4-tunnel src {here} dst {there}
sa in {into} aead_algo aes-128-gcm aead_key {key_into} mode ipv4-tunnel src {there} dst {here}
rt ipv4 dst {there}/32 port 0
rt ipv4 dst {inside} port 1
neigh port 0 {wan}
neigh port 1 {lan}
"""


@dataclass(frozen=True)
class Secgw(Contestant):
    """`driver`: what its ports are to DPDK."""

    driver: str = "net_af_packet"

    def lacks(self) -> str:
        return "" if _BUILT.exists() else "ipsec-secgw was not built: see tools/peers"

    def version(self) -> str:
        return program.run(["pkg-config", "--modversion", "libdpdk"]).output.strip()

    def up(self, stage: Stage) -> None:
        keys = {node: ":".join(f"{octet:02x}" for octet in secrets.token_bytes(_KEY_OCTETS)) for node in GATEWAYS}
        for node in GATEWAYS:
            for link in ("wan0", "lan0"):
                stage.namespace(node).ip("link", "set", link, "up")
            macs = [self._introduce(stage, node, link, *there)
                    for link, there in zip(("wan0", "lan0"), _NEIGHBOURS[node], strict=True)]
            self._start(stage, node, self._settings(node, keys, macs))
        for node in (CLIENT, SERVER):
            stage.run(node, ["ethtool", "-K", "eth0", "tx", "off"])
            route = stage.namespace(node).ip("route", "show", "default").split()
            stage.namespace(node).ip("route", "change", *route, "mtu", "lock", str(_ROUTE_MTU))

    def _introduce(self, stage: Stage, node: str, link: str, there: str, their_link: str, address: str) -> str:
        """Tell the one at the other end where the gateway is; give where that one is."""
        ours, theirs = _mac(stage, node, link), _mac(stage, there, their_link)
        stage.namespace(there).ip("neighbour", "replace", address, "lladdr", ours, "dev", their_link)
        return theirs

    def _settings(self, node: str, keys: dict[str, str], macs: list[str]) -> str:
        peer = PEER[node]
        return _SETTINGS.format(
            out=_SPI[node], into=_SPI[peer], inside=INNER[node], beyond=INNER[peer], here=OUTER[node],
            there=OUTER[peer], key_out=keys[node], key_into=keys[peer], wan=macs[0], lan=macs[1],
        )

    def _start(self, stage: Stage, node: str, settings: str) -> None:
        path = stage.private(node) / "secgw.cfg"
        path.touch(mode=0o600)
        path.write_text(settings)
        core = GATEWAYS.index(node) % (os.cpu_count() or 1)
        process = stage.start(node, [
            str(_BUILT), "-l", str(core), "--no-huge", "-m", str(_MEGABYTES), "--no-pci", "--no-telemetry",
            f"--vdev={self.driver}0,iface=wan0", f"--vdev={self.driver}1,iface=lan0", "--vdev=crypto_aesni_gcm0",
            "--", "-p", "0x3", "-P", "-u", "0x1", "-l", f"--config=(0,0,{core}),(1,0,{core})", "-f", "/run/secgw.cfg",
        ], log="secgw", privately=True)
        wait_until(lambda: process.poll() is not None or _READY in stage.log_tail(node, "secgw", 99), "it polls", 30)
        if process.poll() is not None:
            raise LabError("ipsec-secgw ended at once", stage.log_tail(node, "secgw"))


def _mac(stage: Stage, node: str, link: str) -> str:
    return stage.run(node, ["cat", f"/sys/class/net/{link}/address"]).strip()


ALL = (
    Secgw("secgw-packet", "DPDK ipsec-secgw, AF_PACKET ports, AES-GCM-128", Wire.ESP, (Links.WHOLE,)),
    Secgw("secgw-xdp", "DPDK ipsec-secgw, AF_XDP ports, AES-GCM-128", Wire.ESP, (Links.WHOLE,), driver="net_af_xdp"),
)

"""wireguard-go: another protocol, the same work in userspace. Debian's, and a current one where Go built it."""

import re
import shutil
from dataclasses import dataclass
from pathlib import Path

from bench.contestants.contestant import Contestant
from bench.proof import WIREGUARD_PORT, Wire
from bench.stage import INNER, OUTER, PEER, Links, Stage, wait_until
from culvert.lab import program
from culvert.lab.errors import LabError
from culvert.lab.topology import GATEWAYS

_LINK = "wg0"
_BUILT = Path(__file__).resolve().parents[2] / ".build" / "bench" / "wireguard"
_PREFER = {"WG_PROCESS_FOREGROUND": "1", "WG_I_PREFER_BUGGY_USERSPACE_TO_POLISHED_KMOD": "1"}


@dataclass(frozen=True)
class Wireguard(Contestant):
    """`path`: the program."""

    path: str = "wireguard-go"
    otherwise: str = "wireguard-go is not installed"

    def lacks(self) -> str:
        if shutil.which("wg") is None:
            return "wireguard-tools is not installed"
        return "" if shutil.which(self.path) else self.otherwise

    def version(self) -> str:
        if self.path == str(_BUILT):
            told = program.run(["go", "version", "-m", self.path]).output if shutil.which("go") else ""
            found = re.search(r"^\s*mod\s+\S+\s+(\S+)", told, re.MULTILINE)
            return found[1] if found else ""
        return program.run(["dpkg-query", "-W", "-f", "${Version}", "wireguard-go"]).output

    def up(self, stage: Stage) -> None:
        stage.address_gateways()
        private = {node: program.require(["wg", "genkey"]).strip() for node in GATEWAYS}
        public = {node: program.require(["wg", "pubkey"], text=key).strip() for node, key in private.items()}
        for node in GATEWAYS:
            self._start(stage, node)
            self._configure(stage, node, private[node], public[PEER[node]])

    def _start(self, stage: Stage, node: str) -> None:
        process = stage.start(node, [self.path, "-f", _LINK], log="wireguard", env=_PREFER, privately=True)
        socket = stage.private(node) / "wireguard" / f"{_LINK}.sock"
        wait_until(lambda: socket.exists() or process.poll() is not None, "wireguard-go has its socket")
        if process.poll() is not None:
            raise LabError("wireguard-go ended at once", stage.log_tail(node, "wireguard"))

    def _configure(self, stage: Stage, node: str, private: str, peer: str) -> None:
        path = stage.private(node) / "private.key"
        path.touch(mode=0o600)
        path.write_text(private + "\n")
        beyond = INNER[PEER[node]]
        stage.run(node, [
            "wg", "set", _LINK, "listen-port", str(WIREGUARD_PORT), "private-key", "/run/private.key",
            "peer", peer, "allowed-ips", beyond, "endpoint", f"{OUTER[PEER[node]]}:{WIREGUARD_PORT}",
        ], privately=True)
        stage.run(node, ["ip", "link", "set", _LINK, "up"])
        stage.run(node, ["ip", "route", "add", beyond, "dev", _LINK])


_BOTH = (Links.WHOLE, Links.SEGMENTED)
ALL = (
    Wireguard("wireguard-go", "wireguard-go of Debian", Wire.WIREGUARD, _BOTH),
    Wireguard(
        "wireguard-go-new", "wireguard-go, current", Wire.WIREGUARD, _BOTH, path=str(_BUILT),
        otherwise="no current wireguard-go: it needs Go and its module proxy, see tools/peers",
    ),
)

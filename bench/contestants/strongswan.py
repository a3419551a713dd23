"""strongSwan with kernel-libipsec: ESP in UDP by charon itself, AES-GCM-128, one IKEv2 exchange by a shared secret.

Two charons, each in its gateway's namespace with a /run and a configuration of its own: nothing of the host's is read,
written or met, so a strongSwan that runs here already goes on undisturbed.
"""

import secrets
import shutil
from dataclasses import dataclass
from pathlib import Path

from bench.contestants.contestant import Contestant
from bench.proof import Wire
from bench.stage import INNER, OUTER, PEER, Links, Stage, wait_until
from culvert.lab import program
from culvert.lab.errors import LabError
from culvert.lab.topology import GATEWAYS, SITE_A

_CHARON = "/usr/lib/ipsec/charon"
_PLUGINS = Path("/usr/lib/ipsec/plugins")
# What the exchange needs and no more. aesni comes before openssl: it is the faster of its two AES-GCMs.
_LOAD = (
    "random", "nonce", "aesni", "openssl", "kdf", "kernel-libipsec", "kernel-netlink", "socket-default", "vici",
)
_URI = "unix:///run/charon.vici"

_SETTINGS = """
charon {{
    load = {load}
    install_virtual_ip = no
    filelog {{
        stderr {{
            default = 1
        }}
    }}
    plugins {{
        vici {{
            socket = {uri}
        }}
    }}
}}
"""

_CONNECTION = """
connections {{
    bench {{
        version = 2
        local_addrs = {here}
        remote_addrs = {there}
        proposals = aes128gcm16-prfsha256-ecp256
        encap = yes
        mobike = no
        local {{
            auth = psk
            id = {here}
        }}
        remote {{
            auth = psk
            id = {there}
        }}
        children {{
            bench {{
                local_ts = {inside}
                remote_ts = {beyond}
                esp_proposals = aes128gcm16
                rekey_time = 0
            }}
        }}
        rekey_time = 0
    }}
}}
secrets {{
    ike-bench {{
        id-here = {here}
        id-there = {there}
        secret = "{secret}"
    }}
}}
"""


@dataclass(frozen=True)
class Strongswan(Contestant):
    """Two charons, and swanctl to tell them."""

    def lacks(self) -> str:
        if not Path(_CHARON).exists() or not shutil.which("swanctl"):
            return "strongswan-charon and strongswan-swanctl are not installed"
        missing = [name for name in _LOAD if not (_PLUGINS / f"libstrongswan-{name}.so").exists()]
        return f"strongSwan lacks its plugins {', '.join(missing)}" if missing else ""

    def version(self) -> str:
        return program.run([_CHARON, "--version"]).output.strip().removeprefix("Linux ")

    def up(self, stage: Stage) -> None:
        stage.address_gateways()
        secret = secrets.token_hex(16)
        for node in GATEWAYS:
            self._start(stage, node, secret)
        for node in GATEWAYS:
            stage.run(node, ["swanctl", "--load-all", "--file", "/run/swanctl.conf", "--uri", _URI], privately=True)
        try:
            stage.run(SITE_A, ["swanctl", "--initiate", "--child", "bench", "--timeout", "10", "--uri", _URI],
                      privately=True)
        except LabError as failure:
            raise LabError("the IKE exchange failed", stage.log_tail(SITE_A, "charon") or failure.detail) from None

    def _start(self, stage: Stage, node: str, secret: str) -> None:
        private = stage.private(node)
        (private / "strongswan.conf").write_text(_SETTINGS.format(load=" ".join(_LOAD), uri=_URI))
        connection = private / "swanctl.conf"
        connection.touch(mode=0o600)
        connection.write_text(_CONNECTION.format(
            here=OUTER[node], there=OUTER[PEER[node]], inside=INNER[node], beyond=INNER[PEER[node]], secret=secret,
        ))
        env = {"STRONGSWAN_CONF": "/run/strongswan.conf"}
        process = stage.start(node, [_CHARON], log="charon", env=env, privately=True)
        socket = private / "charon.vici"
        wait_until(lambda: socket.exists() or process.poll() is not None, "charon has its socket")
        if process.poll() is not None:
            raise LabError("charon ended at once", stage.log_tail(node, "charon"))


STRONGSWAN = Strongswan(
    "strongswan", "strongSwan, kernel-libipsec, ESP in UDP, AES-GCM-128", Wire.ESP_IN_UDP,
    (Links.WHOLE, Links.SEGMENTED),
)

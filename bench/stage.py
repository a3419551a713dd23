"""Where every contestant performs: the lab's two sites with nothing on their gateways yet, and what is started there.

The same namespaces and cables for everybody, one contestant at a time. What is started is remembered and ended by its
number; what it leaves behind goes with the namespaces, which are the benchmark's own.
"""

import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from enum import StrEnum
from pathlib import Path

from culvert.lab import daemon, program
from culvert.lab.errors import LabError
from culvert.lab.lab import Lab
from culvert.lab.namespace import Namespace
from culvert.lab.topology import CABLES, CLIENT, SERVER, SITE_A, SITE_B, WAN

# node, link, address: what a contestant's gateway has where no culvertd gives it its addresses
GATEWAY_ADDRESSES = (
    (SITE_A, "wan0", "2.2.2.2/24"),
    (SITE_A, "lan0", "10.1.0.1/24"),
    (SITE_B, "wan0", "3.3.3.3/24"),
    (SITE_B, "lan0", "10.2.0.1/24"),
)
OUTER = {SITE_A: "2.2.2.2", SITE_B: "3.3.3.3"}
INNER = {SITE_A: "10.1.0.0/24", SITE_B: "10.2.0.0/24"}
PEER = {SITE_A: SITE_B, SITE_B: SITE_A}
_ROUTER = {SITE_A: "2.2.2.1", SITE_B: "3.3.3.1"}
_OFFLOADS = ("tso", "gso", "tx-udp-segmentation")
# Bound over /run in a mount namespace of its own: daemons with a fixed place for their files don't meet there.
_PRIVATELY = 'mount --bind "$0" /run && exec "$@"'


class Links(StrEnum):
    """What the cables do with packets that are larger than a frame."""

    WHOLE = "whole"
    """As veth comes: it hands them on whole, as a network card with segmentation in hardware takes them."""
    SEGMENTED = "segmented"
    """The wan's links have the kernel cut them in software first, as a card without such hardware does."""
    SINGLE = "single"
    """No link takes them: the senders' own kernels cut."""


class Stage:
    """One performance: up, whatever a contestant starts, down."""

    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        self._started: list[subprocess.Popen[bytes]] = []

    @property
    def directory(self) -> Path:
        return self.lab.directory

    def namespace(self, node: str) -> Namespace:
        return self.lab.namespace(node)

    def up(self, links: Links) -> None:
        self.lab.add_topology()
        if links is not Links.WHOLE:
            for node, link in _ends(only_wan=links is Links.SEGMENTED):
                words = [word for offload in _OFFLOADS for word in (offload, "off")]
                program.require(self.namespace(node).command(["ethtool", "-K", link, *words]))

    def down(self) -> None:
        """End what was started here, and take the namespaces away, also those that an earlier run left."""
        for process in self._started:
            daemon.end([process.pid])
            process.wait()
        self._started.clear()
        self.lab.down()

    def address_gateways(self) -> None:
        """What an administrator gives a Linux router: addresses, a default route, forwarding."""
        for node, link, address in GATEWAY_ADDRESSES:
            self.namespace(node).ip("link", "set", link, "up")
            self.namespace(node).ip("address", "add", address, "dev", link)
        for node, router in _ROUTER.items():
            self.namespace(node).ip("route", "add", "default", "via", router)
            self.namespace(node).sysctl("net/ipv4/ip_forward", "1")

    def open_wan(self) -> None:
        """Let the wan know the inner networks, which it does for plain forwarding only."""
        for node, network in INNER.items():
            self.namespace(WAN).ip("route", "add", network, "via", OUTER[node])

    def start(self, node: str, words: Sequence[str], *, log: str, env: Mapping[str, str] | None = None,
              privately: bool = False) -> "subprocess.Popen[bytes]":
        """Start a program on a node, with its words in a log. `privately`: with a /run of its own, see `private`."""
        command = self.namespace(node).command(self._privately(node, words) if privately else words)
        with self.log_path(node, log).open("ab") as output:
            process = subprocess.Popen(
                ["env", *(f"{name}={value}" for name, value in (env or {}).items()), *command],
                stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True, cwd="/",
            )
        self._started.append(process)
        return process

    def run(self, node: str, words: Sequence[str], *, privately: bool = False) -> str:
        """Run a program on a node, which must end well, and give what it wrote."""
        return program.require(self.namespace(node).command(self._privately(node, words) if privately else words))

    def private(self, node: str) -> Path:
        """The directory that is /run for what runs privately on this node."""
        path = self.directory / f"run-{node}"
        path.mkdir(mode=0o700, exist_ok=True)
        return path

    def _privately(self, node: str, words: Sequence[str]) -> list[str]:
        return ["sh", "-c", _PRIVATELY, str(self.private(node)), *words]

    def log_path(self, node: str, name: str) -> Path:
        return self.directory / f"{name}-{node}.log"

    def log_tail(self, node: str, name: str, lines: int = 8) -> str:
        path = self.log_path(node, name)
        return "\n".join(path.read_text(errors="replace").splitlines()[-lines:]) if path.exists() else ""


def _ends(*, only_wan: bool) -> list[tuple[str, str]]:
    """Node and link of every end of a cable, or of those between the gateways and the wan."""
    cables = [cable for cable in CABLES if not only_wan or not {CLIENT, SERVER} & {end.node for end in cable}]
    return [(end.node, end.link) for cable in cables for end in cable]


def wait_until(question: Callable[[], bool], what: str, seconds: float = 15.0) -> None:
    """Until it is so; LabError if it is not in time."""
    deadline = time.monotonic() + seconds
    while not question():
        if time.monotonic() > deadline:
            raise LabError(f"not so after {seconds:.0f} s: {what}")
        time.sleep(0.05)

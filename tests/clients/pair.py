"""Two gateways with nothing configured and REST in front, and the trial that every client of REST is put to.

It builds both sites, builds them again without changing anything, the tunnel carries traffic, and it takes all away.
"""

import contextlib
import json
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from culvert.control.client import Client
from culvert.lab import keys, program, shows, traffic
from culvert.lab.lab import Lab
from culvert.lab.sites import SITES
from culvert.lab.topology import GATEWAYS, SERVER_ADDRESSES
from tests.clients import bodies
from tests.rest.gateways import Gateway, prefix, web

Json = Any
ROOT = Path(__file__).resolve().parents[2]
ENVIRONMENTS = ROOT / ".build" / "clients"
PROGRAMS = Path(__file__).with_name("programs")
SECONDS = 280.0
CA_VARIABLES = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE")
PINGS = 5


@dataclass(frozen=True, slots=True)
class Pair:
    """Both gateways by node, and the keys that their sites are to share."""

    lab: Lab
    gateways: dict[str, Gateway]
    keys: dict[str, keys.Keys]

    def task(self, node: str, **more: Json) -> dict[str, Json]:
        """What a client's program is told on its standard input."""
        gateway = self.gateways[node]
        where = {"host": "127.0.0.1", "port": gateway.port, "user": "admin", "password": gateway.password}
        return where | bodies.task(SITES[node], self.keys) | more

    def run(self, node: str, command: list[str], given: Json = None, env: dict[str, str] | None = None) -> str:
        """What a client's program that has to succeed prints; it runs where the gateway's REST is."""
        # A set of authorities named by these would be asked about the gateways' own certificates even by a client that
        # is told not to.
        plain = [word for name in CA_VARIABLES for word in ("-u", name)]
        words = self.gateways[node].command(["env", *plain, *command])
        text = json.dumps(given) if given is not None else None
        done = program.run(words, text=text, env=env, timeout_seconds=SECONDS)
        assert done.status == 0, f"{done.output}\n{done.errors}"
        return done.output

    def call(self, node: str, name: str, **args: Json) -> Json:
        client = Client(self.lab.daemon(node).socket_path)
        try:
            return client.call(name, **args)
        finally:
            client.close()

    def state(self, node: str) -> tuple[int, str]:
        """The generation, and the text that `save sys config` writes."""
        self.call(node, "save")
        return self.call(node, "describe")["generation"], self.call(node, "text", saved=True)


@contextlib.contextmanager
def pair(name: str) -> Iterator[Pair]:
    """Two gateways from nothing, until the end of the block."""
    lab = Lab(prefix(name))
    try:
        lab.add_topology()
        with contextlib.ExitStack() as stack:
            found = {node: stack.enter_context(web(lab, node)) for node in GATEWAYS}
            yield Pair(lab, found, keys.fresh())
    finally:
        lab.down()


def python(name: str) -> str:
    """The Python of a client's own environment."""
    found = ENVIRONMENTS / name / "bin" / "python"
    assert found.exists(), f"{name} is missing: tools/setup clients"
    return str(found)


def put_on_trial(own: Pair, build: Callable[[str], object], remove: Callable[[str], object]) -> None:
    """The whole of it; `build` and `remove` are told the node."""
    empty = {node: own.state(node)[1] for node in GATEWAYS}
    for node in GATEWAYS:
        build(node)
    built = {node: own.state(node) for node in GATEWAYS}
    carries_traffic(own)
    for node in GATEWAYS:
        build(node)
    assert {node: own.state(node) for node in GATEWAYS} == built
    for node in GATEWAYS:
        remove(node)
        assert own.state(node)[1] == empty[node]


def carries_traffic(own: Pair, addresses: Sequence[str] = SERVER_ADDRESSES) -> None:
    """Pings from the client to the server, counted by both gateways' security associations."""
    before = {node: _statistics(own, node) for node in GATEWAYS}
    for address in addresses:
        assert _arrived(own, address), f"no ping to {address}"
    for node in GATEWAYS:
        assert _statistics(own, node).grew_from(before[node], len(addresses) * PINGS)


def _arrived(own: Pair, address: str) -> bool:
    """Whether all of a few pings come back; a neighbour that isn't known yet may cost the first ones."""
    for _ in range(3):
        if traffic.ping(own.lab, address, PINGS).lost == 0:
            time.sleep(0.3)
            return True
    return False


def _statistics(own: Pair, node: str) -> shows.Stat:
    return shows.statistics(own.lab.show(node, "show net ipsec-stat raw"))

"""`make bench-many`: what packets pay for many SAs beside their own: 1, 1,000 and 100,000 tunnels between two gateways.

All sizes are up at once, each in a lab of its own, and measured in turns: one TCP stream through one tunnel, a flood
of UDP packets each of which goes by another tunnel than the one before, and a flood of super-packets (46 packets to a
turn), both to 100,000 addresses whatever the tunnels. Ratios are to one tunnel in the same round, medians of the
rounds. A tunnel is an SA and a selector at each gateway, with AES-GCM-128 in UDP; the way back is one SA for all.

    python -m bench.many [--sizes 1 1000 100000] [--rounds 5] [--seconds 3]
"""

import argparse
import os
import secrets
import sys
from collections.abc import Iterator
from statistics import median

from bench import machine, measures
from bench.stage import Links, Stage
from culvert.control.client import Client
from culvert.lab.lab import Lab
from culvert.lab.screen import Screen
from culvert.lab.topology import GATEWAYS, SERVER, SERVER_ADDRESSES

SIZES = (1, 1_000, 100_000)
LOAD_SECONDS = 900.0
PORT = 5300
OCTETS = 1400
FLOWS, APART = 100_000, 16
"""Addresses of the server that are sent to, whatever the tunnels, and from one to the next."""
FIRST = 20 << 24
ALL = "20.0.0.0/8"
CLIENTS = "10.1.0.0/24"
ADDRESS = {"a": "2.2.2.2", "b": "3.3.3.3"}
QUANTITIES = (
    ("tcp", "one TCP stream, Gbit/s", 1e9),
    ("turns", "UDP, 46 packets a turn, kpps", 1e3),
    ("single", "UDP, 1 packet a turn, kpps", 1e3),
)


def base(site: str) -> str:
    """Links, addresses and forwarding of a gateway, and the policy of its SAs."""
    inside, router = ("10.1.0.1/24", "2.2.2.1") if site == "a" else ("10.2.0.1/24", "3.3.3.1")
    near, far = (ADDRESS["a"], ADDRESS["b"]) if site == "a" else (ADDRESS["b"], ADDRESS["a"])
    ways = (("out", near, far), ("in", far, near))
    to_server = f"net route /Common/far {{\n    gw {SERVER_ADDRESSES[0]}\n    network {ALL}\n}}\n"
    return (
        "net vlan /Common/external {\n    interfaces {\n        wan0 { }\n    }\n}\n"
        "net vlan /Common/internal {\n    interfaces {\n        lan0 { }\n    }\n}\n"
        f"net self /Common/outside {{\n    address {near}/24\n    vlan /Common/external\n}}\n"
        f"net self /Common/inside {{\n    address {inside}\n    vlan /Common/internal\n}}\n"
        f"net route /Common/default {{\n    gw {router}\n    network default\n}}\n{to_server if site == 'b' else ''}"
        "ltm virtual /Common/forward {\n    destination 0.0.0.0:any\n    ip-forward\n    mask any\n}\n"
    ) + "".join(
        f"net ipsec ipsec-policy /Common/back-{way} {{\n    mode tunnel\n    tunnel-local-address {local}\n"
        f"    tunnel-remote-address {remote}\n    udp-encapsulation enabled\n}}\n"
        for way, local, remote in ways
    )


def tunnel(site: str, name: str, spi: int, key: str, networks: tuple[str, str], *, forth: bool) -> Iterator[str]:
    """One SA and one selector of this gateway, `networks` from and to, towards the server or back."""
    is_out = forth == (site == "a")
    way, near, far = ("out" if is_out else "in"), ADDRESS[site], ADDRESS["b" if site == "a" else "a"]
    source, destination = (near, far) if is_out else (far, near)
    policy = f"p-{name}" if forth else f"back-{way}"
    if forth:
        yield (
            f"net ipsec ipsec-policy /Common/{policy} {{\n    mode tunnel\n    tunnel-local-address {source}\n"
            f"    tunnel-remote-address {destination}\n    udp-encapsulation enabled\n}}\n"
        )
    yield (
        f"net ipsec manual-security-association /Common/sa-{name} {{\n    auth-algorithm none\n"
        f"    destination-address {destination}\n    encrypt-algorithm aes-gcm128\n    encrypt-key 0x{key}\n"
        f"    ipsec-policy /Common/{policy}\n    source-address {source}\n    spi {spi}\n}}\n"
    )
    yield (
        f"net ipsec traffic-selector /Common/ts-{name} {{\n    destination-address {networks[1]}\n    direction {way}\n"
        f"    ipsec-policy /Common/{policy}\n    source-address {networks[0]}\n}}\n"
    )


def network_octets(tunnels: int) -> int:
    """Addresses of each tunnel's network, a power of two: all flows, spread evenly."""
    return 1 << (APART * -(-FLOWS // tunnels) - 1).bit_length()


def address_of(number: int, octets: int) -> str:
    """The first of a tunnel's addresses."""
    return ".".join(str(octet) for octet in (FIRST + octets * number).to_bytes(4))


def configurations(tunnels: int) -> dict[str, str]:
    """Of both gateways, with keys by chance."""
    keys = [secrets.token_hex(20) for _ in range(tunnels + 1)]
    octets = network_octets(tunnels)
    prefix = 32 - (octets.bit_length() - 1)
    texts = {}
    for site in GATEWAYS:
        forth = (
            part
            for number in range(tunnels)
            for part in tunnel(
                site,
                str(number),
                1000 + number,
                keys[number],
                (CLIENTS, f"{address_of(number, octets)}/{prefix}"),
                forth=True,
            )
        )
        back = tunnel(site, "back", 999, keys[tunnels], (ALL, CLIENTS), forth=False)
        texts[site] = base(site) + "".join(forth) + "".join(back)
    return texts


class Size:
    """Two gateways with so many tunnels."""

    def __init__(self, prefix: str, tunnels: int) -> None:
        self.tunnels, self.stage = tunnels, Stage(Lab(f"{prefix}{tunnels}"))
        self.found: dict[str, list[float]] = {key: [] for key, _, _ in QUANTITIES}

    def up(self) -> None:
        """Both with all of their tunnels, and a server that has all their addresses."""
        self.stage.down()
        self.stage.up(Links.WHOLE)
        for site, text in configurations(self.tunnels).items():
            own = self.stage.lab.daemon(site)
            own.start()
            (self.stage.directory / f"{site}.conf").write_text(text)
            with Client(own.socket_path, timeout=LOAD_SECONDS) as client:
                client.call("load", merge=False, verify=False)
        self.stage.namespace(SERVER).ip("route", "add", "local", ALL, "dev", "lo")

    def measure(self, seconds: float) -> None:
        """One round."""
        octets = network_octets(self.tunnels)
        first, middle = address_of(0, octets), address_of(self.tunnels // 2, octets)
        steps = (octets, self.tunnels, APART, FLOWS // self.tunnels)
        self.found["tcp"].append(measures.tcp(self.stage, seconds, address=middle))
        for key, manner, port in (("turns", "bulk", PORT), ("single", "single", PORT + 1)):
            self.found[key].append(measures.spray(self.stage, first, steps, OCTETS, seconds, manner, port))
            measures.drained(self.stage, first)


def told(sizes: list[Size]) -> Iterator[str]:
    """A table."""
    yield f"| tunnels | {' | '.join(f'{title} | of one tunnel' for _, title, _ in QUANTITIES)} |"
    yield "|---:" * (1 + 2 * len(QUANTITIES)) + "|"
    for size in sizes:
        cells = []
        for key, _, scale in QUANTITIES:
            ratios = [own / first for own, first in zip(size.found[key], sizes[0].found[key], strict=True)]
            cells += [
                f"{median(size.found[key]) / scale:,.2f}",
                f"**{median(ratios):.3f}** ({min(ratios):.3f}..{max(ratios):.3f})",
            ]
        yield f"| {size.tunnels:,} | {' | '.join(cells)} |"


def main() -> int:
    parser = argparse.ArgumentParser(prog="make bench-many", description=__doc__)
    parser.add_argument("--sizes", type=int, nargs="+", default=list(SIZES))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=3.0, help="for each measurement")
    parser.add_argument("--prefix", default="culvert-many", help="what the namespaces' names begin with")
    options, screen = parser.parse_args(), Screen()
    if os.geteuid() != 0:
        sys.exit("the benchmark makes network namespaces: run it as root (or with sudo)")
    if measures.lacks_tcp():
        sys.exit(measures.lacks_tcp())
    os.environ["CULVERT_ENGINE"] = "native"
    sizes = [Size(options.prefix, tunnels) for tunnels in options.sizes]
    try:
        for size in sizes:
            screen.title(f"{size.tunnels:,} tunnels are set up")
            size.up()
        for number in range(options.rounds):
            turned = number % len(sizes)
            for size in sizes[turned:] + sizes[:turned]:
                size.measure(options.seconds)
                last = ", ".join(f"{key} {size.found[key][-1] / scale:.2f}" for key, _, scale in QUANTITIES)
                screen.check(True, f"round {number + 1}, {size.tunnels:>7,} tunnels", last)
    finally:
        for size in sizes:
            size.stage.down()
    where = machine.described()
    screen.write(f"\n  {where['date']}: {where['cores']} cores ({where['processor']}), Linux {where['kernel']}\n")
    for line in told(sizes):
        screen.write(line)
    return 0


if __name__ == "__main__":
    sys.exit(main())

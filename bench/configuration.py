"""`make bench-config`: how configuration grows, from one hundred tunnels to a hundred thousand.

For each size, on one gateway of a fresh lab with its real plane: `load sys config` from cold until the last tunnel's
first packet is on the wan; one SA more; `list` of one object on an open session and as a program; `show net ipsec
ipsec-sa`, and what another client waits meanwhile; the daemon's memory. A tunnel is two policies, two manual SAs and
two selectors.

    python -m bench.configuration [--sizes 100 1000 10000] [--rounds 3] [--write-docs]
"""

import argparse
import contextlib
import os
import secrets
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import fields
from pathlib import Path
from statistics import median

from bench import scale
from bench.scale import TITLES, Measured, Size, cell
from culvert.control.client import Client
from culvert.lab import program
from culvert.lab.lab import Lab
from culvert.lab.namespace import Namespace

PREFIX = "benchconf"
SIZES = (100, 1_000, 10_000, 100_000)
ROUNDS = 3
LARGE = 50_000
"""So many tunnels are measured once: that takes minutes."""
TRIES = 5
FLOW_SECONDS = 900.0
IPSEC_SA = "net ipsec ipsec-sa"
BASE = """net vlan /Common/external {
    interfaces {
        wan0 { }
    }
}
net vlan /Common/internal {
    interfaces {
        lan0 { }
    }
}
net self /Common/outside {
    address 2.2.2.2/24
    vlan /Common/external
}
net self /Common/inside {
    address 10.1.0.1/24
    vlan /Common/internal
}
net route /Common/default {
    gw 2.2.2.1
    network default
}
ltm virtual /Common/forward {
    destination 0.0.0.0:any
    ip-forward
    mask any
}
"""


def text(tunnels: int) -> str:
    """A configuration of so many tunnels from one gateway to as many peers, keys by chance."""
    return BASE + "".join(stanza for number in range(tunnels) for stanza in _tunnel(number))


def _tunnel(number: int) -> Iterator[str]:
    peer, network = peer_of(number), network_of(number)
    for way, local, remote, near, far in (
        ("out", "2.2.2.2", peer, "10.1.0.0/24", network),
        ("in", peer, "2.2.2.2", network, "10.1.0.0/24"),
    ):
        yield (
            f"net ipsec ipsec-policy /Common/p{number}-{way} {{\n    mode tunnel\n    tunnel-local-address {local}\n"
            f"    tunnel-remote-address {remote}\n}}\n"
        )
        yield (
            f"net ipsec manual-security-association /Common/sa{number}-{way} {{\n"
            f"    auth-key 0x{secrets.token_hex(20)}\n"
            f"    destination-address {remote}\n    encrypt-key 0x{secrets.token_hex(16)}\n"
            f"    ipsec-policy /Common/p{number}-{way}\n    source-address {local}\n"
            f"    spi {1000 + 2 * number + (way == 'in')}\n}}\n"
        )
        yield (
            f"net ipsec traffic-selector /Common/ts{number}-{way} {{\n"
            f"    destination-address {far}\n    direction {way}\n"
            f"    ipsec-policy /Common/p{number}-{way}\n    source-address {near}\n}}\n"
        )


def peer_of(number: int) -> str:
    """The other end of a tunnel: 100.0.0.0 and on."""
    return f"{100 + (number >> 24)}.{number >> 16 & 255}.{number >> 8 & 255}.{number & 255}"


def network_of(number: int) -> str:
    """One /28 of 20.0.0.0/8 and on for each tunnel."""
    start = (20 << 24) + (number << 4)
    return f"{start >> 24}.{start >> 16 & 255}.{start >> 8 & 255}.{start & 255}/28"


def measure(tunnels: int) -> Measured:
    """One size, in a lab of its own."""
    lab = Lab(PREFIX)
    lab.down()
    try:
        lab.add_topology()
        lab.daemon("a").start()
        return _measured(lab, tunnels)
    finally:
        lab.down()


def _measured(lab: Lab, tunnels: int) -> Measured:
    # Where `load sys config` looks for it.
    (lab.directory / "a.conf").write_text(text(tunnels))
    socket_path = lab.daemon("a").socket_path
    with Client(socket_path, timeout=FLOW_SECONDS) as client, _knocking(lab.namespace("client"), tunnels):
        spent = _spent(lab.daemon("a").pid or 0)
        before, started = _received(lab.namespace("wan")), time.monotonic()
        client.call("load", merge=False, verify=False)
        load = time.monotonic() - started
        while _received(lab.namespace("wan")) < before + 3 and time.monotonic() - started < FLOW_SECONDS:
            time.sleep(0.01)
        flowing = time.monotonic() - started
        spent = _spent(lab.daemon("a").pid or 0) - spent
        pid = lab.daemon("a").pid or 0
        extra, work = zip(*(_one_more(client, pid, tunnels + number) for number in range(TRIES)), strict=True)
        listed = [_timed(lambda: _list(client, tunnels // 2)) for _ in range(TRIES)]
        meanwhile, (first, whole) = _meanwhile(socket_path, tunnels // 2, lambda: _shown(client))
    return Measured(
        tunnels=tunnels,
        load=load,
        flowing=flowing,
        spent=spent,
        one_more=1000 * median(extra),
        one_more_spent=1000 * median(work),
        list_open=1000 * median(listed),
        list_program=1000 * median(_timed(lambda: _program(lab, tunnels // 2)) for _ in range(TRIES)),
        show_first=1000 * first,
        show=whole,
        meanwhile=1000 * meanwhile,
        memory=_memory(lab.daemon("a").pid or 0),
    )


def _shown(client: Client) -> tuple[float, float]:
    """Seconds until the first records of the SAs are there, and all."""
    started = time.monotonic()
    parts = client.stream("show", what=IPSEC_SA, filters={})
    next(parts)
    first = time.monotonic() - started
    for _ in parts:
        pass
    return first, time.monotonic() - started


def _meanwhile(
    socket_path: Path, number: int, work: Callable[[], tuple[float, float]]
) -> tuple[float, tuple[float, float]]:
    """The longest that another client waits for one object as long as `work` goes on, and what that gives."""
    over, waits = threading.Event(), [0.0]

    def ask() -> None:
        with Client(socket_path) as other:
            while not over.is_set():
                waits.append(_timed(lambda: _list(other, number)))

    asking = threading.Thread(target=ask)
    asking.start()
    try:
        found = work()
    finally:
        over.set()
        asking.join()
    return max(waits), found


def _one_more(client: Client, pid: int, number: int) -> tuple[float, float]:
    """A policy first, which isn't timed, and then its SA: seconds by the clock, and of the daemon's processor time."""
    peer = peer_of(number)
    policy = {"mode": "tunnel", "tunnel-local-address": "2.2.2.2", "tunnel-remote-address": peer}
    client.call("create", kind="net ipsec ipsec-policy", name=f"extra{number}", properties=policy)
    properties = {
        "auth-key": f"0x{secrets.token_hex(20)}",
        "encrypt-key": f"0x{secrets.token_hex(16)}",
        "source-address": "2.2.2.2",
        "destination-address": peer,
        "ipsec-policy": f"extra{number}",
        "spi": str(10_000_000 + number),
    }
    kind = "net ipsec manual-security-association"
    spent = _own(pid)
    taken = _timed(lambda: client.call("create", kind=kind, name=f"extra{number}", properties=properties))
    return taken, _own(pid) - spent


def _list(client: Client, number: int) -> None:
    client.call("list", kind="net ipsec traffic-selector", names=[f"ts{number}-out"], folder="/Common")


def _program(lab: Lab, number: int) -> None:
    words = [program.ours("tmsh"), "list", "net", "ipsec", "traffic-selector", f"ts{number}-out"]
    subprocess.run(words, check=True, capture_output=True, env={**os.environ, **lab.environment("a")})


def _timed(work: Callable[[], object]) -> float:
    started = time.monotonic()
    work()
    return time.monotonic() - started


@contextlib.contextmanager
def _knocking(client: Namespace, tunnels: int) -> Iterator[None]:
    """A ping into the network of the last tunnel, 50 times a second."""
    target = network_of(tunnels - 1).partition("/")[0].rpartition(".")
    to = f"{target[0]}.{int(target[2]) + 1}"
    process = subprocess.Popen(
        client.command(["ping", "-q", "-i", "0.02", to]), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        yield
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(10)


def _received(wan: Namespace) -> int:
    """ESP packets that the wan router has been given to forward."""
    found = wan.inside(lambda: Path("/proc/thread-self/net/snmp").read_text()).splitlines()
    names, values = (line.split() for line in found if line.startswith("Ip:"))
    return int(values[names.index("ForwDatagrams")]) + int(values[names.index("InReceives")])


def _memory(pid: int) -> float:
    """Peak of the daemon and its packet process together, MiB."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return sum(_peak(process) for process in [pid, *map(int, children)]) / 1024


def _spent(pid: int) -> float:
    """Seconds of processor time of the daemon, of those that it waited for, and of its packet process."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    ticks = [field for process in [pid, *map(int, children)] for field in _ticks(process)]
    return sum(ticks) / os.sysconf("SC_CLK_TCK")


def _own(pid: int) -> float:
    """The same of the daemon's threads alone, to the nanosecond."""
    found = Path(f"/proc/{pid}/task").glob("*/schedstat")
    return sum(int(path.read_text().split()[0]) for path in found) / 1e9


def _ticks(pid: int) -> list[int]:
    """In user mode and in the kernel, of its own and of children that it waited for."""
    try:
        return [int(word) for word in Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11:15]]
    except OSError:
        return []


def _peak(pid: int) -> int:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1])
    return 0


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.configuration")
    parser.add_argument("--sizes", type=int, nargs="+", default=list(SIZES))
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--write-docs", action="store_true", help="write docs/scale.md and docs/scale.svg")
    options = parser.parse_args()
    sizes = []
    for tunnels in options.sizes:
        rounds = []
        for _ in range(1 if tunnels >= LARGE else options.rounds):
            found = measure(tunnels)
            rounds.append(found)
            told = (f"{TITLES[own.name]}: {cell(getattr(found, own.name))}" for own in fields(Measured))
            print("; ".join(told), flush=True)
        sizes.append(Size(tunnels, tuple(rounds)))
    if options.write_docs:
        scale.write(sizes)
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""What is measured, always from the client to the server: TCP by iperf3, UDP and round trips by `probe.py`."""

import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median, quantiles

from bench.stage import Stage
from culvert.lab import daemon, program, traffic
from culvert.lab.errors import LabError
from culvert.lab.topology import CLIENT, SERVER, SERVER_ADDRESSES

_PROBE = str(Path(__file__).with_name("probe.py"))
_ADDRESS = SERVER_ADDRESSES[0]
_PORT = 5201
_IP_AND_UDP_OCTETS = 28
_SMALL, _LARGE = 64, 1400
_TCP_WARM_UP_SECONDS = 1
_PATIENCE_SECONDS = 30.0
_DRAIN_SECONDS = 3
# What is flooded, each to a port of its own, so that a late packet never counts for another measurement.
_FLOODS = (
    ("udp64", _SMALL, "single"), ("udp1400", _LARGE, "single"),
    ("bulk64", _SMALL, "bulk"), ("bulk1400", _LARGE, "bulk"),
)


@dataclass(frozen=True, slots=True)
class Quantity:
    """One number of one performance. `scale` brings the raw value to `unit`; `more`: whether more of it is better."""

    key: str
    title: str
    unit: str
    scale: float
    more: bool = True


QUANTITIES = (
    Quantity("tcp", "one TCP stream", "Gbit/s", 1e9),
    Quantity("udp64", "UDP, 64 octets", "kpps", 1e3),
    Quantity("udp1400", "UDP, 1400 octets", "kpps", 1e3),
    Quantity("bulk64", "UDP in bulk, 64 octets", "kpps", 1e3),
    Quantity("bulk1400", "UDP in bulk, 1400 octets", "kpps", 1e3),
    Quantity("rtt50", "round trip, median", "µs", 1, more=False),
    Quantity("rtt99", "round trip, 99 %", "µs", 1, more=False),
)


def take(stage: Stage, seconds: float, found: dict[str, float], renew: Callable[[], None]) -> None:
    """Everything, one after the other, into `found`. What the machine lacks a program for is left out.

    Round trips come first, since a flood may leave queues behind; `renew` sets up anew who doesn't get over one.
    """
    found["rtt50"], found["rtt99"] = round_trip(stage, seconds)
    if not lacks_tcp():
        found["tcp"] = tcp(stage, seconds)
    for number, (key, octets, manner) in enumerate(_FLOODS):
        if not drained(stage):
            renew()
        found[key] = udp(stage, octets, seconds, manner, _PORT + 1 + number)


def drained(stage: Stage, address: str = _ADDRESS) -> bool:
    """Whether what an earlier flood left in queues is gone in time: a ping goes behind all of it."""
    return traffic.ping(stage.lab, address, 1, wait_seconds=_DRAIN_SECONDS).lost == 0


def lacks_tcp() -> str:
    return "" if shutil.which("iperf3") else "TCP is not measured: iperf3 is not installed"


def tcp(stage: Stage, seconds: float, address: str = _ADDRESS) -> float:
    """Bits per second that the receiver got, without the first second."""
    with _background(stage, SERVER, ["iperf3", "-s", "-1", "--forceflush", "-p", str(_PORT)], until="listening"):
        words = ["iperf3", "-J", "-c", address, "-p", str(_PORT), "-t", f"{max(1, round(seconds))}"]
        outcome = program.run(stage.namespace(CLIENT).command([*words, "-O", str(_TCP_WARM_UP_SECONDS)]))
    report = json.loads(outcome.output)
    if "error" in report:
        raise LabError("iperf3 could not measure", report["error"])
    return float(report["end"]["sum_received"]["bits_per_second"])


def udp(stage: Stage, octets: int, seconds: float, manner: str, port: int) -> float:
    """Datagrams per second that arrive while the client sends as fast as it can; `octets` are of the IP packet."""
    return _counted(stage, ("flood", _ADDRESS), octets, seconds, manner, port)


def spray(
    stage: Stage, first: str, steps: Sequence[int], octets: int, seconds: float, manner: str, port: int
) -> float:
    """The same, each datagram or super-packet to another address; `first` and `steps`: see `probe.py`."""
    return _counted(stage, ("spray", first, *map(str, steps)), octets, seconds, manner, port)


def _counted(
    stage: Stage, sender: tuple[str, ...], octets: int, seconds: float, manner: str, port: int
) -> float:
    payload = str(octets - _IP_AND_UDP_OCTETS)
    with _background(stage, SERVER, _probe("count", str(port), payload, str(seconds), manner), until="ready") as at:
        stage.run(CLIENT, _probe(*sender, str(port), payload, str(seconds), manner))
        counted = json.loads(at.communicate(timeout=_PATIENCE_SECONDS)[0])
    return float(counted["arrived"]) / float(counted["seconds"])


def round_trip(stage: Stage, seconds: float) -> tuple[float, float]:
    """Median and 99th percentile in microseconds, of packets of 64 octets, one at a time."""
    payload = str(_SMALL - _IP_AND_UDP_OCTETS)
    with _background(stage, SERVER, _probe("echo", str(_PORT)), until="ready"):
        answers = json.loads(stage.run(CLIENT, _probe("ask", _ADDRESS, str(_PORT), payload, str(seconds))))
    times = answers["microseconds"]
    if len(times) < 2:
        raise LabError(f"{answers['lost']} questions were lost and {len(times)} answered")
    return median(times), quantiles(times, n=100)[98]


def _probe(*words: str) -> list[str]:
    return [sys.executable, "-I", _PROBE, *words]


@contextmanager
def _background(stage: Stage, node: str, words: Sequence[str], *, until: str) -> "Iterator[subprocess.Popen[str]]":
    """A program that runs during the block, which begins once the program has said `until`."""
    process = subprocess.Popen(
        stage.namespace(node).command(words), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL, text=True, start_new_session=True,
    )
    try:
        assert process.stdout is not None
        if not any(until in line for line in iter(process.stdout.readline, "")):
            raise LabError(f"{words[0]} ended before it was ready")
        yield process
    finally:
        daemon.end([process.pid])
        process.communicate()

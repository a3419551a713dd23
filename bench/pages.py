"""`make bench-web`: how long pages of the GUI take, with a hundred tunnels, a thousand and ten thousand.

For each size, on one gateway of a fresh lab that has loaded a file of so many tunnels: a user logs in, and each page is
asked for several times, one request after the other, over HTTPS on a connection that is open already. A time is from
the request to the last octet. A tunnel is two policies, two manual SAs and two selectors.

    python -m bench.pages [--sizes 100 1000 10000] [--rounds 5]
"""

import argparse
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import ip_network
from statistics import median
from urllib.parse import urlencode

from bench.configuration import network_of, peer_of, text
from bench.machine import described, noise
from culvert.control.client import LOAD_SECONDS, Client
from tests.rest.gateways import Gateway
from tests.rest.wire import Reply, Wire, alone

SIZES = (100, 1_000, 10_000)
ROUNDS = 5
SLOW_SECONDS = 30.0
"""What takes longer is told so, and isn't asked for again."""
ANSWER_SECONDS = 300.0
TIMES_MORE, SECONDS_MORE = 1.5, 0.005
"""A first request that takes so many times what the others take, and so much more, is told apart."""
FORM = "Content-Type: application/x-www-form-urlencoded"
OBJECTS = "/objects/net/ipsec"
POLICIES = "list of IPsec policies"


@dataclass(frozen=True, slots=True)
class Page:
    """`holds`: what stands in the right answer. `login`: each request is the first one of a new login."""

    title: str
    target: str
    holds: str
    login: bool = False


@dataclass(frozen=True, slots=True)
class Taken:
    """Seconds of each request. `wrong`: what came in place of the page, and then the last time is until that."""

    times: tuple[float, ...]
    wrong: str = ""

    @property
    def is_slow(self) -> bool:
        return self.times[-1] > SLOW_SECONDS

    @property
    def first(self) -> float:
        """The first request where it differs, else 0."""
        if len(self.times) < 2:
            return 0.0
        own, others = self.times[0], median(self.times[1:])
        return own if own > TIMES_MORE * others and own > SECONDS_MORE + others else 0.0

    @property
    def middle(self) -> float:
        """The median of all requests but a first one that differs."""
        return median(self.times[1:] if self.first else self.times)

    def __str__(self) -> str:
        """In milliseconds."""
        if self.wrong:
            return f"{self.wrong} after {_told(self.times[-1])}"
        if self.is_slow:
            return f"{1000 * self.times[-1]:,.0f} (over {SLOW_SECONDS:.0f} s)"
        return _told(self.middle) + (f" (first {_told(self.first)})" if self.first else "")


def pages(tunnels: int) -> list[Page]:
    """What is measured, in this order. Where one object is asked for, it is of a tunnel in the middle."""
    one = tunnels // 2
    policies, selectors = f"{OBJECTS}/ipsec-policy", f"{OBJECTS}/traffic-selector"
    ends = urlencode({"search": f"tunnel-remote-address:{peer_of(one)}"})
    packet = urlencode({"from": "10.1.0.10", "to": str(ip_network(network_of(one))[1]), "port": "443"})
    return [
        Page("login page", "/login", 'name="password"'),
        Page(POLICIES, policies, "p0-in"),
        Page("the same, searched for a name", f"{policies}?search=p{one}-out", f"p{one}-out"),
        Page("the same, searched in a column", f"{policies}?{ends}", f"p{one}-out"),
        Page("list of traffic selectors", selectors, "ts0-in"),
        Page("list of manual SAs", f"{OBJECTS}/manual-security-association", "sa0-in"),
        Page("form of a policy", f"{policies}/~Common~p{one}-out", peer_of(one)),
        Page("form of a traffic selector", f"{selectors}/~Common~ts{one}-out", network_of(one)),
        Page("network map, first of a login", "/map", f"of {tunnels:,}, worst first", login=True),
        Page("network map, again", "/map", f"of {tunnels:,}, worst first"),
        Page("live traffic", "/live", "sa0-in"),
        Page("verification", "/checklist", "checks are in order"),
        Page("why, the form", "/why", 'name="to"'),
        Page("why, an answer", f"/why?{packet}", f"ts{one}-out"),
        Page("logs", "/logs", "<h1>Logs"),
    ]


class Visitor:
    """The administrator in front of the GUI of one gateway."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        self._cookie = ""

    def log_in(self) -> None:
        """Anew, whatever login there was."""
        form = urlencode({"username": "admin", "password": self._gateway.password}).encode()
        with self._wire() as wire:
            reply = wire.ask("POST", "/login", FORM, body=form)
        assert reply.status == 303, reply
        self._cookie = reply.headers["set-cookie"].partition(";")[0]

    def take(self, page: Page, rounds: int) -> Taken:
        """Asks so many times, and no more once it was slow or something else came."""
        times: list[float] = []
        wrong, begun = "", time.monotonic()
        try:
            with self._wire() as wire:
                while len(times) < rounds and not wrong and not (times and times[-1] > SLOW_SECONDS):
                    if page.login:
                        self.log_in()
                    begun = time.monotonic()
                    reply = wire.ask("GET", page.target, f"Cookie: {self._cookie}")
                    times.append(time.monotonic() - begun)
                    wrong = _wrong(page, reply)
        except TimeoutError:
            times.append(time.monotonic() - begun)
            wrong = "no answer"
        return Taken(tuple(times), wrong)

    def _wire(self) -> Wire:
        made = Wire(self._gateway)
        made.socket.settimeout(ANSWER_SECONDS)
        return made


def _wrong(page: Page, reply: Reply) -> str:
    """What is wrong with an answer."""
    if not reply.status:
        return "no answer"
    if reply.status != 200:
        return f"status {reply.status}"
    return "" if page.holds in reply.body.decode() else f"no {page.holds} in it"


def measure(tunnels: int, rounds: int) -> dict[str, Taken]:
    """Every page at one size, by its title, in a lab of its own."""
    with alone("bpages") as gateway:
        _load(gateway, tunnels)
        visitor = Visitor(gateway)
        visitor.log_in()
        return {page.title: visitor.take(page, rounds) for page in pages(tunnels)}


def _load(gateway: Gateway, tunnels: int) -> None:
    """By a file; it ends when all SAs are there."""
    # Where `load sys config` looks for it.
    (gateway.lab.directory / f"{gateway.node}.conf").write_text(text(tunnels))
    begun = time.monotonic()
    with Client(gateway.lab.daemon(gateway.node).socket_path, timeout=LOAD_SECONDS) as client:
        client.call("load", merge=False, verify=False)
        there = sum(len(part.records) for part in client.stream("show", what="net ipsec ipsec-sa", filters={}))
    assert there == 2 * tunnels, there
    print(f"{tunnels:,} tunnels are there after {time.monotonic() - begun:.1f} s", file=sys.stderr)


def main() -> int:
    """The exit status: 0 when every page came, however long that took."""
    parser = argparse.ArgumentParser(prog="make bench-web")
    parser.add_argument("--sizes", type=int, nargs="+", default=list(SIZES))
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    options = parser.parse_args()
    sizes = sorted(set(options.sizes))
    found = {tunnels: measure(tunnels, options.rounds) for tunnels in sizes}
    machine = described()
    print(f"{machine['processor']}, {machine['cores']} cores, load average {noise()['load']:.1f}, {machine['date']}")
    print(f"milliseconds from the request to the last octet, the median of {options.rounds}\n")
    print("\n".join(table(found)))
    return 1 if any(taken.wrong for own in found.values() for taken in own.values()) else 0


def table(found: Mapping[int, Mapping[str, Taken]]) -> Iterator[str]:
    """A line for each page, with a column for each size, and how many times more the last takes than the first."""
    sizes = list(found)
    rows = [["", *(f"{tunnels:,} tunnels" for tunnels in sizes), "growth"]]
    for title in found[sizes[0]]:
        taken = [found[tunnels][title] for tunnels in sizes]
        rows.append([title, *map(str, taken), _growth(taken)])
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for first, *others in rows:
        cells = (f"{cell:>{width}}" for cell, width in zip(others, widths[1:], strict=True))
        yield "  ".join((f"{first:{widths[0]}}", *cells))
    if len(sizes) > 1:
        growth = _growth([found[tunnels][POLICIES] for tunnels in sizes])
        yield f"\n{POLICIES}, {sizes[-1]:,} tunnels over {sizes[0]:,}: growth {growth}"


def _growth(taken: Sequence[Taken]) -> str:
    if len(taken) < 2 or taken[0].wrong or taken[-1].wrong:
        return ""
    return f"{taken[-1].middle / taken[0].middle:.1f}"


def _told(seconds: float) -> str:
    return f"{1000 * seconds:,.1f}" if seconds < 0.1 else f"{1000 * seconds:,.0f}"


if __name__ == "__main__":
    sys.exit(main())

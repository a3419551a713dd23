"""A lab of the test's own, and what can be seen of it from outside."""

import io
import json
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path

from culvert.control.client import Client
from culvert.lab import program, traffic
from culvert.lab.frames import Sort
from culvert.lab.keys import Keys
from culvert.lab.lab import Lab
from culvert.lab.tap import WanTally, watch
from culvert.lab.topology import SERVER_ADDRESSES, WAN, WAN_LINKS
from culvert.tmsh.main import run_all
from culvert.tmsh.script import statements
from culvert.tmsh.session import Session

SERVER_V4, SERVER_V6 = SERVER_ADDRESSES


@dataclass(frozen=True, slots=True)
class Seen:
    """What passed the wan while something was done."""

    tallies: Mapping[str, WanTally]

    @property
    def clear(self) -> list[str]:
        return [words for tally in self.tallies.values() for words in tally.clear_samples]

    @property
    def esp(self) -> int:
        return self.count(Sort.ESP)

    def count(self, sort: Sort) -> int:
        return sum(tally.counts[sort] for tally in self.tallies.values())


@contextmanager
def watching(lab: Lab) -> Iterator[Seen]:
    """Both ends of the wan, until the block ends."""
    seen = Seen({link: WanTally() for link in WAN_LINKS})
    with ExitStack() as stack:
        for link, tally in seen.tallies.items():
            stack.enter_context(watch(lab.namespace(WAN), link, tally))
        yield seen
        time.sleep(0.2)


@dataclass(frozen=True, slots=True)
class Sites:
    """The lab, with the words that scenarios need."""

    lab: Lab
    keys: Mapping[str, Keys]

    def tell(self, node: str, *lines: str) -> str:
        """tmsh commands that have to succeed, as on its standard input: too many for a process each."""
        output, errors = io.StringIO(), io.StringIO()
        with Client(self.lab.daemon(node).socket_path) as client, redirect_stdout(output), redirect_stderr(errors):
            status = run_all(statements(io.StringIO("\n".join(lines) + "\n")), Session(client))
        assert status == 0, f"{lines}: {errors.getvalue()}"
        return output.getvalue()

    def show(self, node: str, what: str) -> str:
        return self.tell(node, f"show {what}")

    def drops(self, node: str) -> dict[str, int]:
        found = json.loads(self.show(node, "net ipsec drops json"))
        return {record["reason"]: record["packets"] for record in found}

    def ping(self, address: str = SERVER_V4, count: int = 3) -> traffic.Pings:
        return traffic.ping(self.lab, address, count, wait_seconds=1)

    def tmm(self, node: str) -> int | None:
        """The packet process of a gateway."""
        for pid in self.lab.namespace(node).pids():
            try:
                words = Path(f"/proc/{pid}/cmdline").read_bytes()
            except OSError:
                continue
            if b"tmm" in words and pid != self.lab.daemon(node).pid:
                return pid
        return None

    def is_healthy(self) -> bool:
        return self.ping().lost == 0 and self.ping(SERVER_V6).lost == 0

    def host_state(self, node: str) -> str:
        """Everything of the host that a gateway could leave something of itself in."""
        commands = (
            "ip -o link", "ip -o address", "ip rule", "ip -6 rule", "ip route show table all",
            "ip -6 route show table all", "nft list ruleset", "grep -rs . /proc/sys/net",
        )
        parts = []
        for command in commands:
            output = program.run(self.lab.namespace(node).command(["sh", "-c", command])).output
            parts.append(f"# {command}\n" + "\n".join(_steady(line) for line in output.splitlines()))
        return "\n".join(parts)


def _steady(line: str) -> str:
    """Without what changes by itself: lifetimes of addresses, and counters of the kernel."""
    noisy = ("nf_conntrack_count", "/random", "stable_secret", "/net/core/", "/netfilter/", "fib_info_hash")
    return "" if any(word in line for word in noisy) else line.split(" valid_lft")[0].split(" expires")[0]


def wait_until(condition: Callable[[], object], seconds: float = 10.0) -> None:
    """Fail unless `condition` holds within `seconds`."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not come to pass in time"
        time.sleep(0.05)

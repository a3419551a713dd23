"""`make soak`: two gateways under mixed traffic while everything about them changes, for as long as one likes.

client - gwA == wan == gwB - server, as in the tests of the data plane. Meanwhile SAs with selectors come and go, about
a hundred changes a second at each gateway; other SAs expire; every rule is loaded anew now and then; the packet
process of A is killed now and then. Judged at the end:

* traffic went on within two seconds after each event;
* no clear packet was on the wan;
* of the datagrams of the numbered flows every one arrived or is among the drops that were counted: by the gateways, or
  by the kernel at a queue. A packet process that is killed may take a burst with it;
* memory of the packet processes and of their parents doesn't grow.
"""

import argparse
import itertools
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tests.dataplane.topology import Namespace, Sniffer, Wan
from tests.dataplane.traffic import transfers

FLOW = Path(__file__).with_name("flow.py")
ROOT = Path(__file__).parents[2]
SERVER4, SERVER6 = "10.2.0.5", "fd02::5"
PORT = 5000
PER_SECOND = 400
SHORT_MINUTES = 0.75
MINUTES = 120.0

TUNNELS = 10
"""That come in one batch, each with two SAs and a selector."""
BATCHES = 50
"""That are different. The counter journal never forgets an SA's numbers while the daemon runs, so these come again."""
CHANGES_PER_SECOND = 100
EXPIRY_EVERY, RELOAD_EVERY, KILL_EVERY = 7.0, 11.0, 37.0
"""Kills are further apart than `process.STEADY_SECONDS`: what ends again and again is started more and more slowly."""
RECOVERY_SECONDS = 2.0
LOST_BY_A_KILL_MAX = 200
"""What it has read and not sent: the TUN is read in bursts of up to 32 super-packets."""
COUNTED_SECONDS = 2.0
"""So soon the gateways have counted what found no room at their sockets."""
WARM_UP = 0.3
GROWTH_OCTETS_MAX = 6 << 20


@dataclass
class Tally:
    """What happened, and what was wrong with it."""

    changes: int = 0
    expiries: int = 0
    reloads: int = 0
    kills: int = 0
    clear: int = 0
    frames: int = 0
    wrong: list[str] = field(default_factory=list)
    memory: dict[str, list[tuple[float, int]]] = field(default_factory=dict)


def resident(pid: int) -> int:
    pages = Path(f"/proc/{pid}/statm").read_text().split()[1]
    return int(pages) * 4096


class Flow:
    """Numbered datagrams from one namespace to another."""

    def __init__(self, sender: Namespace, receiver: Namespace, address: str, port: int, per_second: int) -> None:
        def start(namespace: Namespace, *words: str) -> "subprocess.Popen[str]":
            pipe = subprocess.PIPE
            return namespace.popen(sys.executable, str(FLOW), *words, stdin=pipe, stdout=pipe)

        self._receiver = start(receiver, "receive", address, str(port))
        assert self._receiver.stdout
        self._receiver.stdout.readline()
        self._sender = start(sender, "send", address, str(port), str(per_second))

    def end(self) -> tuple[int, int]:
        """Sent, received."""
        sent = int(self._sender.communicate(timeout=30)[0])
        time.sleep(1.0)
        return sent, int(self._receiver.communicate(timeout=30)[0])

    def kill(self) -> None:
        for each in (self._sender, self._receiver):
            each.kill()
            each.wait()


class Soak:
    """One run."""

    def __init__(self, wan: Wan, seconds: float) -> None:
        self.wan = wan
        self.seconds = seconds
        self.tally = Tally()
        self._numbers = itertools.count(1)

    def run(self) -> Tally:
        self.wan.start("[*site(side), *selectors(side, inner=6)]")
        assert self.wan.client.pings(SERVER4), "the tunnel doesn't work at all"
        sniffer = Sniffer(self.wan.a, "wan")
        before = self._counted()
        with self._flows() as flows:
            self._live(sniffer)
            sent, received = (sum(each) for each in zip(*(flow.end() for flow in flows), strict=True))
        time.sleep(COUNTED_SECONDS)
        self._account(sent, received, self._counted() - before)
        self._judge_memory()
        sniffer.close()
        return self.tally

    @contextmanager
    def _flows(self) -> Iterator[list[Flow]]:
        wan = self.wan
        ways = [
            (wan.client, wan.server, SERVER4),
            (wan.client, wan.server, SERVER6),
            (wan.server, wan.client, "10.1.0.5"),
        ]
        flows = [Flow(*way, PORT + number, PER_SECOND) for number, way in enumerate(ways)]
        try:
            yield flows
        finally:
            for flow in flows:
                flow.kill()

    def _live(self, sniffer: Sniffer) -> None:
        begun = time.monotonic()
        due = {self._expire: EXPIRY_EVERY, self._reload: RELOAD_EVERY, self._kill: KILL_EVERY}
        next_at = {what: begun + every for what, every in due.items()}
        while (now := time.monotonic()) < begun + self.seconds:
            self._change(begun)
            for what, at in next_at.items():
                if now >= at:
                    what()
                    next_at[what] = now + due[what]
            packets = sniffer.packets()
            self.tally.frames += len(packets)
            self.tally.clear += sum(packet[9 if packet[0] >> 4 == 4 else 6] not in (50, 44) for packet in packets)
            self._weigh(now - begun)
        if self.tally.clear:
            self.tally.wrong.append(f"{self.tally.clear} clear packets on the wan")

    # What changes

    def _change(self, begun: float) -> None:
        """SAs and selectors come, and go again, some at a time, at each gateway."""
        first = next(self._numbers) % BATCHES * TUNNELS
        batch = (
            f"[change for number in range({first}, {first + TUNNELS}) for change in"
            " [*shaped(associations('{side}', spi=10000 + number * 2),"
            " sa={{'reqid': 100 + number, 'label': f'/Common/soak-{{number}}'}}),"
            " selector(OUT, f'10.9.{{number % 250}}.0/24', f'10.10.{{number % 250}}.0/24', outer=100 + number)]]"
        )
        for gateway in self.wan.gateways:
            changes = batch.format(side=gateway.side)
            gateway.apply(changes)
            gateway.apply(f"[change.inverse() for change in reversed({changes})]")
        self.tally.changes += TUNNELS * 3 * 2
        ahead = begun + self.tally.changes / CHANGES_PER_SECOND - time.monotonic()
        time.sleep(min(max(0.0, ahead), 1.0))

    def _expire(self) -> None:
        """The reverse way's SA of A dies by its packets, and is replaced."""
        number = 500_000 + next(self._numbers) % BATCHES
        dying = (
            f"shaped([AddSa(association('a', IN, spi={number * 2}))],"
            " sa={'reqid': 90, 'label': '/Common/dying', 'lifetime': Lifetime(hard=Limits(seconds=1))})"
        )
        self.wan.a.apply(dying)
        time.sleep(1.1)
        self.wan.a.do("plane.tick(time.time()) and None")
        self.wan.a.apply(f"[change.inverse() for change in {dying}]")
        self.tally.expiries += 1

    def _reload(self) -> None:
        for gateway in self.wan.gateways:
            gateway.do("(plane._lock.acquire(), plane._repair_steering(), plane._lock.release())")
        self.tally.reloads += 1
        self._goes_on("rules were loaded anew")

    def _kill(self) -> None:
        subprocess.run(["kill", "-9", str(self.wan.a.process_id)], check=True)
        self.tally.kills += 1
        self._goes_on("the packet process was killed")

    def _goes_on(self, event: str) -> None:
        begun = time.monotonic()
        while not self.wan.client.pings(SERVER4, count=1):
            if time.monotonic() > begun + RECOVERY_SECONDS:
                self.tally.wrong.append(f"no traffic {RECOVERY_SECONDS:g} s after {event}")
                return
        if not transfers(self.wan.client, self.wan.server, SERVER4, 100_000):
            self.tally.wrong.append(f"a TCP transfer broke after {event}")

    # What is judged

    def _counted(self) -> int:
        """Drops of all kinds: the gateways' by reason, and what queues of the kernel dropped."""
        total = 0
        for gateway in self.wan.gateways:
            total += sum(gateway.drops().values())
            links = json.loads(gateway.run("ip", "-j", "-s", "link"))
            total += sum(each["stats64"][way][kind] for each in links for way in ("rx", "tx") for kind in ("dropped",))
        for end in (self.wan.client, self.wan.server):
            words = end.run("sh", "-c", "grep ^Udp: /proc/net/snmp | tail -1").split()
            total += int(words[5])
        return total

    def _account(self, sent: int, received: int, counted: int) -> None:
        lost = sent - received
        allowed = counted + self.tally.kills * LOST_BY_A_KILL_MAX
        print(f"  flows     {sent:,} sent, {received:,} received, {lost:,} lost; {counted:,} drops were counted")
        if lost > allowed:
            self.tally.wrong.append(f"{lost} datagrams are missing, and only {allowed} can be explained")
        if received < sent // 2:
            self.tally.wrong.append("less than half of the datagrams arrived")

    def _weigh(self, when: float) -> None:
        pids = {"tmm b": self.wan.b.process_id, "parent a": self.wan.a.driver_pid, "parent b": self.wan.b.driver_pid}
        for name, pid in pids.items():
            self.tally.memory.setdefault(name, []).append((when, resident(pid)))

    def _judge_memory(self) -> None:
        for name, points in self.tally.memory.items():
            settled = points[int(len(points) * WARM_UP) :]
            quarter = max(1, len(settled) // 4)
            early = statistics.median(octets for _, octets in settled[:quarter])
            late = statistics.median(octets for _, octets in settled[-quarter:])
            print(f"  memory    {name}: {early / 2**20:.1f} MiB early, {late / 2**20:.1f} MiB late")
            if late - early > GROWTH_OCTETS_MAX:
                self.tally.wrong.append(f"{name} grew by {(late - early) / 2**20:.1f} MiB")


def main() -> int:
    parser = argparse.ArgumentParser(prog="make soak ARGS=...", description="everything changes, and traffic goes on")
    parser.add_argument("--minutes", type=float, default=MINUTES)
    parser.add_argument("--short", action="store_true", help=f"{SHORT_MINUTES:g} minutes, for CI")
    options = parser.parse_args()
    seconds = 60 * (SHORT_MINUTES if options.short else options.minutes)
    with tempfile.TemporaryDirectory() as state:
        wan = Wan(Path(state))
        try:
            tally = Soak(wan, seconds).run()
        finally:
            wan.delete()
    print(
        f"  events    {tally.changes:,} changes at each gateway ({tally.changes / seconds:.0f} a second), "
        f"{tally.expiries} expiries, {tally.reloads} reloads, {tally.kills} kills; {tally.frames:,} frames on the wan"
    )
    for sentence in tally.wrong:
        print(f"  wrong     {sentence}")
    print(f"soak: {'FAILED' if tally.wrong else 'ok'} after {seconds / 60:g} minutes")
    return 1 if tally.wrong else 0


if __name__ == "__main__":
    sys.exit(main())

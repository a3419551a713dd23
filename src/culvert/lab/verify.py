"""The verification steps of the procedure, done on a lab that is up, each with a yes or no.

Raise the log level, send traffic, look at the security associations and the statistics, look at the wire, put the
log level back.
"""

import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field

from culvert.lab import shows, traffic
from culvert.lab.errors import LabError
from culvert.lab.frames import EchoId, Sort
from culvert.lab.lab import Lab
from culvert.lab.shows import SaLine, Stat
from culvert.lab.sites import SITES, Line
from culvert.lab.tap import EchoLog, WanTally, Watcher, watch
from culvert.lab.topology import CLIENT, GATEWAYS, SERVER, SERVER_ADDRESSES, WAN, WAN_LINKS

_PINGS = 20
_PING_OCTETS = 1200
# A link's queues and the counters' next reading; far below what a person notices.
_SETTLE_SECONDS = 0.3


@dataclass(frozen=True, slots=True)
class Check:
    """One question and its answer."""

    name: str
    passed: bool
    detail: str = ""


@dataclass(slots=True)
class Report:
    """Everything that was found out."""

    checks: list[Check] = field(default_factory=list)
    statistics_before: dict[str, Stat] = field(default_factory=dict)
    statistics_after: dict[str, Stat] = field(default_factory=dict)
    wan_counts: dict[str, dict[str, int]] = field(default_factory=dict)
    clear_samples: list[str] = field(default_factory=list)
    spis_on_wan: dict[str, int] = field(default_factory=dict)

    @property
    def passed(self) -> bool:
        return bool(self.checks) and all(check.passed for check in self.checks)

    def document(self) -> dict[str, object]:
        """For --json."""
        return {"passed": self.passed, **asdict(self)}


class Verification:
    """One run over one lab; `tell` hears each answer as it is found."""

    def __init__(self, lab: Lab, tell: Callable[[Check], None]) -> None:
        self._lab = lab
        self._tell = tell
        self.report = Report()

    def run(self) -> Report:
        self._lab.require_up()
        self._log_level("debug")
        try:
            self.report.statistics_before = self._statistics()
            self._check_traffic()
            self._check_associations()
            self._check_statistics()
        finally:
            self._log_level("info")
        self._check_still_there()
        return self.report

    def _answer(self, name: str, passed: bool, detail: str = "") -> None:
        check = Check(name, passed, detail)
        self.report.checks.append(check)
        self._tell(check)

    def _log_level(self, level: str) -> None:
        for node in GATEWAYS:
            self._lab.enter(node, Line(f"modify net ipsec ike-daemon ikedaemon log-level {level}"))
            listed = self._lab.show(node, "list net ipsec ike-daemon ikedaemon all-properties")
            self._answer(f"log level {level} on {self._name(node)}", f"log-level {level}" in listed)

    def _statistics(self) -> dict[str, Stat]:
        return {node: shows.statistics(self._lab.show(node, "show net ipsec-stat raw")) for node in GATEWAYS}

    def _check_traffic(self) -> None:
        tallies = {link: WanTally() for link in WAN_LINKS}
        at_client, at_server = EchoLog(), EchoLog()
        watchers: list[tuple[str, str, Watcher]] = [(WAN, link, tally) for link, tally in tallies.items()]
        watchers += [(CLIENT, "eth0", at_client), (SERVER, "eth0", at_server)]
        with ExitStack() as stack:
            taps = [stack.enter_context(watch(self._lab.namespace(node), link, own)) for node, link, own in watchers]
            for address in SERVER_ADDRESSES:
                pings = traffic.ping(self._lab, address, _PINGS, _PING_OCTETS)
                self._answer(f"ping from client to server {address}", pings.lost == 0, pings.summary)
            time.sleep(_SETTLE_SECONDS)
        self._check_wan(tallies, sum(tap.missed for tap in taps))
        self._check_unchanged("requests", at_client.packets, at_server.packets, reply=False)
        self._check_unchanged("replies", at_server.packets, at_client.packets, reply=True)

    def _check_wan(self, tallies: dict[str, WanTally], missed: int) -> None:
        samples = [words for tally in tallies.values() for words in tally.clear_samples]
        spis = sum((tally.spis for tally in tallies.values()), Counter[int]())
        self.report.wan_counts = {
            link: {sort.value: tally.counts[sort] for sort in Sort} for link, tally in tallies.items()
        }
        self.report.clear_samples = samples
        self.report.spis_on_wan = {f"0x{spi:x}": count for spi, count in sorted(spis.items())}
        found = "; ".join(
            f"{link}: {tally.counts[Sort.ESP]} ESP frames, {tally.counts[Sort.CLEAR]} in clear"
            for link, tally in tallies.items()
        )
        found += f"; {missed} frames missed" if missed else ""
        found += f"; for example {samples[0]}" if samples else ""
        self._answer("only ESP on the wan", missed == 0 and all(own.only_esp for own in tallies.values()), found)

    def _check_unchanged(
        self, what: str, left: dict[EchoId, bytes], right: dict[EchoId, bytes], *, reply: bool
    ) -> None:
        sent = {key: packet for key, packet in left.items() if key.reply is reply}
        same = sum(right.get(key) == packet for key, packet in sent.items())
        self._answer(
            f"inner packets unchanged, {what}", same == len(sent) > 0,
            f"{same} of {len(sent)} arrived the same in every octet but TTL and header checksum",
        )

    def _check_associations(self) -> None:
        used = set(self.report.spis_on_wan)
        for node in GATEWAYS:
            found = shows.security_associations(self._lab.show(node, "show net ipsec ipsec-sa"))
            expected = list(_expected(node))
            missing = [words for words in expected if not any(_is_like(line, words) for line in found)]
            self._answer(
                f"security associations of {self._name(node)}", not missing and len(found) >= len(expected),
                "; ".join(f"{line.source} -> {line.destination} {line.direction}" for line in found),
            )
            stray = used - {f"0x{line.spi:x}" for line in found}
            self._answer(f"{self._name(node)} shows every SPI that is on the wan", not stray, ", ".join(sorted(used)))
            self._check_details(node, found)
            self._check_filter(node)

    def _check_details(self, node: str, lines: list[SaLine]) -> None:
        found = shows.details(self._lab.show(node, "show net ipsec ipsec-sa all-properties"))
        idle = [f"0x{detail.spi:x}" for detail in found if detail.state != "mature" or detail.octets == 0]
        self._answer(
            f"all-properties of {self._name(node)}: mature, and used", len(found) == len(lines) and not idle,
            f"not so: {', '.join(idle)}" if idle else ", ".join(f"{detail.octets} bytes" for detail in found),
        )

    def _check_filter(self, node: str) -> None:
        text = self._lab.show(node, "show net ipsec ipsec-sa traffic-selector selector-out")
        found = shows.security_associations(text)
        family = SITES[node].families[0]
        passed = len(found) == 1 and _is_like(found[0], (family.tunnel_local, family.tunnel_remote, "out"))
        self._answer(f"the filter by traffic-selector on {self._name(node)}", passed, f"{len(found)} found")

    def _check_statistics(self) -> None:
        self.report.statistics_after = self._statistics()
        for node in GATEWAYS:
            before, after = self.report.statistics_before[node], self.report.statistics_after[node]
            self._answer(
                f"statistics of {self._name(node)} grow", after.grew_from(before, len(SERVER_ADDRESSES) * _PINGS),
                f"packets in {before.packets_in} -> {after.packets_in}, "
                f"out {before.packets_out} -> {after.packets_out}",
            )

    def _check_still_there(self) -> None:
        """Changing the log level touches no security association here: usage is what it was."""
        for node in GATEWAYS:
            found = shows.details(self._lab.show(node, "show net ipsec ipsec-sa all-properties"))
            self._answer(
                f"the log level flushed no security association of {self._name(node)}",
                bool(found) and all(detail.octets > 0 for detail in found),
            )

    def _name(self, node: str) -> str:
        return self._lab.namespace(node).name


def _expected(node: str) -> Iterator[tuple[str, str, str]]:
    for family in SITES[node].families:
        yield family.tunnel_local, family.tunnel_remote, "out"
        yield family.tunnel_remote, family.tunnel_local, "in"


def _is_like(line: SaLine, words: tuple[str, str, str]) -> bool:
    """The `in` line is accepted in both orders of the addresses: the procedure's sample shows local first."""
    source, destination, direction = words
    orders = [(source, destination), (destination, source)] if direction == "in" else [(source, destination)]
    return line.direction == direction and (line.source, line.destination) in orders


def verify(lab: Lab, tell: Callable[[Check], None]) -> Report:
    """Never raises for what the lab does wrong: that is a check that failed."""
    verification = Verification(lab, tell)
    try:
        return verification.run()
    except LabError as failure:
        check = Check("verification came to its end", False, str(failure))
        tell(check)
        verification.report.checks.append(check)
        return verification.report

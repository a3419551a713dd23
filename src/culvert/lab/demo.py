"""The demonstration: up, verify, a file transfer, a summary with a picture, down."""

import signal
import time
from contextlib import ExitStack
from types import FrameType

from culvert.lab import keys, picture, shows, traffic, verify
from culvert.lab.bringup import bring_up, explain_failure
from culvert.lab.errors import LabError
from culvert.lab.frames import Sort
from culvert.lab.lab import Lab
from culvert.lab.picture import Figures
from culvert.lab.screen import Screen
from culvert.lab.sites import SITES
from culvert.lab.tap import WanTally, watch
from culvert.lab.topology import GATEWAYS, WAN, WAN_LINKS
from culvert.lab.verify import Report


class Demo:
    """One demonstration on `lab`, which it takes down at the end whatever happens."""

    def __init__(self, lab: Lab, screen: Screen, octets: int) -> None:
        self._lab, self._screen, self._octets = lab, screen, octets
        self._step = "start"
        self._tallies = {link: WanTally() for link in WAN_LINKS}

    def run(self) -> int:
        failed = True
        signal.signal(signal.SIGTERM, _leave)
        try:
            self._steps()
            failed = False
        except LabError as failure:
            explain_failure(self._lab, self._step, failure, self._screen)
        except KeyboardInterrupt:
            self._screen.write("\n  interrupted")
        finally:
            self._screen.title("Down")
            self._lab.down(keep_logs=failed)
            self._screen.check(not self._lab.topology.exists, "everything that the lab made is gone")
        return int(failed)

    def _steps(self) -> None:
        self._begin("Leftovers of an earlier run", show=False)
        self._lab.down()
        self._begin("Up", show=False)
        bring_up(self._lab, keys.fresh(), self._screen)
        self._begin("Verify")
        report = verify.verify(self._lab, lambda check: self._screen.check(check.passed, check.name, check.detail))
        if not report.passed:
            wrong = [check.name for check in report.checks if not check.passed]
            raise LabError(f"not so: {'; '.join(wrong)}", self._drops())
        self._begin(f"A file of {self._octets / 1e6:,.0f} MB from server to client, over TCP")
        self._transfer()
        self._begin("Summary")
        self._summary(report)

    def _begin(self, step: str, *, show: bool = True) -> None:
        self._step = step
        if show:
            self._screen.title(step)

    def _drops(self) -> str:
        return "\n".join(f"{node}: {self._lab.show(node, 'show net ipsec drops')}" for node in GATEWAYS)

    def _transfer(self) -> None:
        bar = self._screen.progress(self._octets, "transfer")
        with ExitStack() as stack:
            for link, tally in self._tallies.items():
                stack.enter_context(watch(self._lab.namespace(WAN), link, tally))
            done = traffic.transfer(self._lab, self._octets, bar.reach, time.monotonic)
        if not done.intact or done.octets != self._octets:
            raise LabError(f"the file did not arrive whole: {done.octets:,} of {self._octets:,} octets")
        if not all(tally.only_esp for tally in self._tallies.values()):
            samples = [words for tally in self._tallies.values() for words in tally.clear_samples]
            raise LabError("not only ESP on the wan", "\n".join(samples))
        self._screen.check(
            True, "the file arrived whole, the same SHA-256 at both ends",
            f"{done.seconds:.1f} s, {done.octets * 8 / done.seconds / 1e6:.1f} Mbit/s",
        )
        self._screen.check(True, "only ESP on the wan meanwhile", f"{self._tallies['a0'].counts[Sort.ESP]:,} frames")

    def _summary(self, report: Report) -> None:
        for node in GATEWAYS:
            self._show(node, "show net ipsec ipsec-sa")
        for node in GATEWAYS:
            self._show(node, "show net ipsec-stat")
        self._screen.write()
        for line in picture.draw(self._screen, self._figures(report)):
            self._screen.write(line)
        self._screen.write()
        for check in report.checks:
            if "ping" in check.name:
                self._screen.check(check.passed, check.name, check.detail)
        self._screen.check(True, "only ESP on the wan", f"{self._esp(report):,} ESP frames, 0 in clear")

    def _show(self, node: str, command: str) -> None:
        self._screen.write("  " + self._screen.paint("cyan", f"{self._lab.namespace(node).name}: tmsh {command}"))
        self._screen.block(self._lab.show(node, command))

    def _esp(self, report: Report) -> int:
        """On the link beside A: each packet crosses it once."""
        return report.wan_counts["a0"][Sort.ESP] + self._tallies["a0"].counts[Sort.ESP]

    def _figures(self, report: Report) -> Figures:
        stats = {node: shows.statistics(self._lab.show(node, "show net ipsec-stat raw")) for node in GATEWAYS}
        outbound = {
            node: line.spi
            for node in GATEWAYS
            for line in shows.security_associations(self._lab.show(node, "show net ipsec ipsec-sa"))
            if line.direction == "out" and line.source == SITES[node].families[0].tunnel_local
        }
        return Figures(
            spi_to_b=outbound["a"], spi_to_a=outbound["b"], esp_on_wan=self._esp(report),
            # Clear frames would have ended the demonstration before it came to draw.
            clear_on_wan=0,
            sent_by_a=stats["a"].packets_out, sent_by_b=stats["b"].packets_out,
        )


def _leave(_number: int, _frame: FrameType | None) -> None:
    """SIGTERM ends the demonstration like control-C does: by taking everything down."""
    raise KeyboardInterrupt

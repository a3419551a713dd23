"""`make same`: random packets, good and hostile, through the readable gateway and every engine of the build.

Each pair (an algorithm and a mode, or a scenario of the fuzzers) gets as many packets as were asked for, in pieces with
a seed of their own, in several processes; the first difference ends the run with a report, and with the words that
bring it about again. What was done stands in .build/same/ledger.jsonl, and isn't done again while the sources are the
same. A run of 250,000 packets or more over all pairs fails if it never met one of the reasons that a gateway gives.
"""

import argparse
import importlib.util
import os
import signal
import sys
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from itertools import chain, islice, zip_longest
from pathlib import Path

if importlib.util.find_spec("culvert_native") is None:
    sys.exit("make same: the native engine isn't built: it needs cargo (tools/engine)")

from culvert.ipsec.drops import TABLE, Reason
from tests.engine.ledger import LEDGER, Ledger
from tests.engine.pairs import PAIRS
from tests.engine.piece import Outcome, run_piece
from tests.engine.same import ENGINES

PACKETS = 100_000
SHORT_PACKETS = 3_000
PIECE_PACKETS = 50_000
ENOUGH_PACKETS = 250_000
"""Of a run over all pairs: after so many, every reason that a gateway gives must have been met."""
TELL_SECONDS = 10.0
ELSEWHERE = frozenset(
    (
        Reason.NO_POLICY, Reason.SEND_FAILED, Reason.CLEAR_INBOUND, Reason.NOT_FORWARDED, Reason.LEAK_STOPPED,
        Reason.NOT_ALLOWED, Reason.HALF_PROTECTED, Reason.QUEUE_FULL, Reason.INTERNAL, Reason.RING_FULL,
        Reason.BUFFER_FULL, Reason.COUNTER_JOURNAL,
    )
)  # fmt: skip
"""Reasons that the data plane gives around the gateway, or the journal, which a gateway in memory hasn't got."""
REACHABLE = [TABLE[reason].word for reason in Reason if reason not in ELSEWHERE]
ANSWERS = ("send", "deliver", "hold", "bypass", "learned")

Piece = tuple[str, int, int]
"""Pair, seed, packets."""


def pieces_of(pair: str, packets: int, ledger: Ledger, first: int = 0) -> Iterator[Piece]:
    """What is left to do, of seeds from `first` on."""
    left, seed, done = packets - ledger.packets(pair), first, ledger.done.get(pair, {})
    while left > 0:
        if seed not in done:
            most = min(left, PIECE_PACKETS)
            yield pair, seed, most
            left -= most
        seed += 1


def pieces(pairs: list[str], packets: int, ledger: Ledger, first: int = 0) -> Iterator[Piece]:
    """In turns, so that a run that is stopped has looked at all pairs alike."""
    by_pair = [pieces_of(pair, packets, ledger, first) for pair in pairs]
    return (piece for piece in chain.from_iterable(zip_longest(*by_pair)) if piece)


def outcomes(todo: Iterator[Piece], jobs: int) -> Iterator[Outcome]:
    """As they come. Few wait in front of the processes, so that the end of a run is soon."""
    with ProcessPoolExecutor(jobs, initializer=_undisturbed) as pool:
        waiting: set[Future[Outcome]] = {pool.submit(run_piece, *piece) for piece in islice(todo, 2 * jobs)}
        try:
            while waiting:
                ready, waiting = wait(waiting, return_when=FIRST_COMPLETED)
                for future in ready:
                    yield future.result()
                waiting |= {pool.submit(run_piece, *piece) for piece in islice(todo, len(ready))}
        finally:
            pool.shutdown(cancel_futures=True)


def _undisturbed() -> None:
    """Who stops a run from the keyboard stops its processes by it, which end their pieces first."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


class Progress:
    """A line now and then."""

    def __init__(self, wanted: int, done: int) -> None:
        self._wanted, self._done, self._begun_with = wanted, done, done
        self._started = self._told = time.monotonic()

    def count(self, packets: int) -> None:
        self._done += packets
        now = time.monotonic()
        if now - self._told < TELL_SECONDS:
            return
        self._told = now
        rate = (self._done - self._begun_with) / (now - self._started)
        left = max(0, self._wanted - self._done) / rate
        share = self._done / self._wanted
        print(f"  {self._done:>15,} packets  {share:6.1%}  {rate:>9,.0f}/s  {_span(left)} left", flush=True)

    def summary(self) -> str:
        seconds = max(time.monotonic() - self._started, 0.001)
        rate = (self._done - self._begun_with) / seconds
        return f"{self._done - self._begun_with:,} packets in {_span(seconds)}, {rate:,.0f}/s"


def _span(seconds: float) -> str:
    minutes = int(seconds / 60)
    return f"{minutes // 60} h {minutes % 60:02} min" if minutes >= 10 else f"{seconds:.0f} s"


def table(pairs: list[str], ledger: Ledger) -> str:
    """Packets of each pair and what became of them; then each reason, how often and in how many pairs."""
    lines = [f"  {'':<30}{'packets':>15}{'sent':>8}{'delivered':>11}{'dropped':>9}{'reasons':>9}"]
    total: Counter[str] = Counter()
    among: Counter[str] = Counter()
    for pair in pairs:
        words = ledger.words(pair)
        total.update(words)
        among.update(words.keys())
        lines.append(_row(pair, words))
    lines += [_row("together", total), "", f"  {'':<30}{'packets':>15}{'pairs':>8}"]
    ranked = [*((word, total[word]) for word in ANSWERS), *Counter({w: total[w] for w in REACHABLE}).most_common()]
    return "\n".join([*lines, *(f"  {word:<30}{count:>15,}{among[word]:>8}" for word, count in ranked)])


def _row(name: str, words: Counter[str]) -> str:
    packets = words.total()
    reasons = [word for word in words if word not in ANSWERS]
    shares = (words["send"], words["deliver"], sum(words[word] for word in reasons))
    sent, delivered, dropped = (f"{share / max(packets, 1):.1%}" for share in shares)
    return f"  {name:<30}{packets:>15,}{sent:>8}{delivered:>11}{dropped:>9}{len(reasons):>9}"


def never_met(pairs: list[str], ledger: Ledger) -> list[str]:
    """Reasons that should have been met by then."""
    words = sum((ledger.words(pair) for pair in pairs), Counter[str]())
    if pairs != list(PAIRS) or words.total() < ENOUGH_PACKETS:
        return []
    return [word for word in REACHABLE if not words[word]]


def compare(pairs: list[str], packets: int, jobs: int, ledger: Ledger, first: int = 0) -> int:
    """Ends at the first difference."""
    progress = Progress(packets * len(pairs), sum(min(packets, ledger.packets(pair)) for pair in pairs))
    print(f"  {len(pairs)} pairs, {packets:,} packets each, through {', '.join(ENGINES)}", flush=True)
    for outcome in outcomes(pieces(pairs, packets, ledger, first), jobs):
        if outcome.difference:
            return _report(outcome, ledger.path.parent)
        ledger.write(outcome)
        progress.count(outcome.packets)
    print(table(pairs, ledger))
    missing = never_met(pairs, ledger)
    if missing:
        print(f"  never met: {', '.join(missing)}")
    print(f"  {progress.summary()}: {'too few of the reasons' if missing else 'all the same'}")
    return 1 if missing else 0


def _report(outcome: Outcome, directory: Path) -> int:
    report = f'{outcome.difference}\n\nagain: make same ARGS="--pair {outcome.pair} --seed {outcome.seed}"\n'
    path = directory / f"difference-{outcome.pair}-{outcome.seed}.txt"
    path.write_text(report)
    print(f"\nA DIFFERENCE, kept in {path}:\n\n{report}")
    return 1


def main() -> int:
    parser = argparse.ArgumentParser(prog="make same ARGS=...", description="the readable gateway and the engines")
    parser.add_argument("--packets", type=int, default=PACKETS, help="of each pair")
    parser.add_argument("--short", action="store_true", help=f"{SHORT_PACKETS:,} of each pair, anew, for CI")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="processes")
    parser.add_argument("--pair", action="append", choices=PAIRS, metavar="NAME", help="only this one; repeatable")
    parser.add_argument("--list", action="store_true", help="the names of the pairs")
    parser.add_argument("--seed", type=int, help="only the piece of this seed, as a difference was reported")
    parser.add_argument("--from", type=int, default=0, dest="first", metavar="SEED", help="pieces of it and later")
    parser.add_argument("--fresh", action="store_true", help="forget what was done")
    options = parser.parse_args()
    pairs = options.pair or list(PAIRS)
    if options.list:
        print("\n".join(pairs))
        return 0
    if options.seed is not None:
        found = [run_piece(pair, options.seed, PIECE_PACKETS) for pair in pairs]
        return max(_report(each, LEDGER.parent) if each.difference else 0 for each in found)
    if options.short:
        ledger = Ledger(LEDGER.with_name("short.jsonl"), fresh=True)
        return compare(pairs, SHORT_PACKETS, options.jobs, ledger)
    try:
        return compare(pairs, options.packets, options.jobs, Ledger(fresh=options.fresh), options.first)
    except KeyboardInterrupt:
        print("\n  stopped; the same words go on from here")
        return 130


if __name__ == "__main__":
    sys.exit(main())

"""The tables of racoonctl: of ipsec-tools where those are the same, of the vendor where it prints more.

The tables of IKE are real and have no rows while no IKE runs. SAs are printed as setkey(8) does.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from culvert.control.client import Part

Record = Mapping[str, Any]
NO_SAS = "No SAD entries."
ISAKMP = "Destination            Cookies                           Created"
ISAKMP_DETAILED = "Destination            Cookies                           ST S  V E Created             Phase2"
ADDRESS_WIDTH = 45


def isakmp(records: Sequence[Record], detail: int) -> str:
    """Phase 1: header and a row for each, by the level of detail (the number of -l)."""
    header = ISAKMP_DETAILED if detail else ISAKMP
    if detail > 1:
        header = f"{_ends('Source', 'Destination')} {header.partition('Destination')[2].lstrip()}"
    return "\n".join([header, *(_phase1(own, detail) for own in records)])


def _ends(source: str, destination: str) -> str:
    return f"{source:<{ADDRESS_WIDTH}} {destination:<{ADDRESS_WIDTH}}"


def _phase1(own: Record, detail: int) -> str:
    created = _local(own["created"])
    ends = _ends(own["source"], own["destination"]) if detail > 1 else f"{own['destination']:<22}"
    if not detail:
        return f"{ends} {own['cookies']} {created}"
    state = f"{own['state']:2d} {own['side']} {own['version']:2x} {own['exchange']}"
    return f"{ends} {own['cookies']} {state} {created} {own['phase2']:6d}"


def internal(records: Sequence[Record]) -> str:
    """Phase 2 as IKE sees it."""
    header = f"{_ends('Source', 'Destination')} {'Status':<16} Side"
    rows = [f"{_ends(own['source'], own['destination'])} {own['status']:<16} [{own['side']}]" for own in records]
    return "\n".join([header, *rows])


def associations(parts: Iterable[Part], now: float, process: int) -> Iterator[str]:
    """The SADB: one paragraph for each SA, those of a part together. They are counted down, as setkey does."""
    number = 0
    for records, of in parts:
        lines = []
        for number, own in enumerate(records, number + 1):  # noqa: B020 -- goes on where the last part ended
            lines += _association(own, now, process, of - number)
        yield "\n".join(lines)
    if not number:
        yield NO_SAS


def _association(own: Record, now: float, process: int, left: int) -> list[str]:
    hard, soft = own["hard_lifetime"]["seconds"], own["soft_lifetime"]["seconds"]
    used = _local(own["last_use"]) if own["last_use"] else ""
    lines = [
        f"{own['source']} {own['destination']} ",
        f"\t{own['protocol']} mode={own['mode']} spi={own['spi']}(0x{own['spi']:08x}) "
        f"reqid={own['reqid']}(0x{own['reqid']:08x})",
    ]
    if own["protocol"] == "esp":
        lines.append(f"\tE: {own['encryption']}")
    if not own["combined"]:
        lines.append(f"\tA: {own['authentication']}")
    return [
        *lines,
        f"\tseq=0x{own['sequence']:08x} replay={own['replay_window']} flags=0x00000000 state={own['state']} ",
        f"\tcreated: {_local(own['created'])}\tcurrent: {_local(now)}",
        f"\tdiff: {int(now - own['created'])}(s)\thard: {_limit(own, now, hard)}(s)\tsoft: {_limit(own, now, soft)}(s)",
        f"\tlast: {used:<24}\thard: 0(s)\tsoft: 0(s)",
        f"\tcurrent: {own['bytes']}(bytes)\thard: {_octets(own, 'hard')}(bytes)\tsoft: {_octets(own, 'soft')}(bytes)",
        f"\tallocated: {own['packets']}\thard: {_packets(own, 'hard')}\tsoft: {_packets(own, 'soft')}",
        f"\tsadb_seq={left} pid={process} refcnt=0",
    ]


def _limit(own: Record, now: float, left: int | None) -> int:
    return 0 if left is None else left + int(now - own["created"])


def _octets(own: Record, which: str) -> int:
    left = own[f"{which}_lifetime"]["octets"]
    return 0 if left is None else left + own["bytes"]


def _packets(own: Record, which: str) -> int:
    left = own[f"{which}_lifetime"]["packets"]
    return 0 if left is None else left + own["packets"]


def _local(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%S")

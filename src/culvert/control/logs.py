"""What the log of IPsec is told, where it goes, and how it is shown."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Protocol

from culvert.change import AddSa, Change, RemoveSa
from culvert.config.snapshot import Snapshot
from culvert.control import errors
from culvert.control.access import Access
from culvert.dataplane.plane import DropCount, SaUsage
from culvert.ipsec.drops import TABLE
from culvert.ipsec.sa import SecurityAssociation
from culvert.model import sys
from culvert.model.kind import Object
from culvert.model.shows import filters_of
from culvert.model.values import parse_number
from culvert.observe.publisher import Outlet
from culvert.observe.remote import Address

Json = Any
DECISIONS = "debug2"
LINES_PER_SECOND = 100
LINES_SHOWN = 100
LINES_MAX = 10_000
SHOWS = ("sys log", "sys log ipsec")


class Source(Protocol):
    """The log, as far as shows look into it."""

    def tail(self, lines: int) -> list[str]: ...

    def report(self) -> dict[str, Json]: ...


def outlets(snapshot: Snapshot, publisher: str | None) -> list[Outlet]:
    """Who gets events beside the file: the destinations of a publisher, a remote one only if it has a host."""
    found = snapshot.get(sys.PUBLISHER_KIND.path, publisher or "")
    names = sorted(found["destinations"]) if found else []
    made = [_outlet(snapshot, name) for name in names]
    return [outlet for outlet in made if outlet is not None]


def _outlet(snapshot: Snapshot, name: str) -> Outlet | None:
    local = snapshot.get(sys.LOCAL_SYSLOG, name)
    if local is not None:
        return Outlet(name, local["default-facility"], local["default-severity"])
    remote = snapshot.get(sys.REMOTE_SYSLOG, name)
    if remote is None or remote["host"] is None:
        return None
    return Outlet(name, remote["default-facility"], remote["default-severity"], _address(remote))


def _address(remote: Object) -> Address:
    host = str(remote["host"].ip)
    return Address(host, remote["port"], remote["protocol"] == "tcp", remote["format"] == "rfc5424")


def told(operation: Mapping[str, Json]) -> str:
    """A change in words, by the names of its properties and never their values, which may be keys."""
    names = operation.get("names", [operation.get("name", "")])
    words = " ".join(sorted(operation.get("properties", {})))
    return f"{operation.get('verb')} {operation.get('kind')} {' '.join(map(str, names))} {words}".strip()


def news(changes: Iterable[Change]) -> Iterator[str]:
    """Of the changes that were made, those of SAs, in words."""
    for change in changes:
        if isinstance(change, AddSa):
            yield established(change.sa)
        elif isinstance(change, RemoveSa):
            yield f"purged IPsec-SA proto_id={change.sa.protocol.name} spi={change.sa.spi}."


def established(sa: SecurityAssociation) -> str:
    """That an SA runs, as racoon tells it."""
    return (
        f"IPsec-SA established: {sa.protocol.name}/{sa.mode.value.capitalize()} "
        f"{sa.source}[0]->{sa.destination}[0] spi={sa.spi}(0x{sa.spi:x})"
    )


def shown(what: str, filters: Mapping[str, Json], source: Source, allowed: Access) -> list[dict[str, Json]]:
    """`show sys log`: where events go. `show sys log ipsec`: the newest lines, as many as the filter `lines` says.

    Raises Refused for the lines where somebody doesn't see all partitions: they tell of each, and of addresses.
    """
    for word in filters:
        if word not in filters_of(what):
            raise errors.SyntaxProblem(f'unexpected argument "{word}"')
    if what == "sys log":
        report = dict(source.report())
        report["destinations"] = [own for own in report["destinations"] if allowed.sees_inside(own["name"])]
        return [report]
    allowed.check_sees_all("the log of IPsec")
    given = str(filters.get("lines", LINES_SHOWN))
    number = parse_number(given)
    if not 1 <= number <= LINES_MAX:
        raise errors.SyntaxProblem(f'"{given}" is not allowed for lines; allowed: a number from 1 to {LINES_MAX}')
    return [{"line": line} for line in source.tail(number)]


class Decisions:
    """What happened to packets since the last look, in sentences: one for each SA and each reason to die.

    The packet process decides about millions a second and counts; this tells what the counts say, at most
    LINES_PER_SECOND of it.
    """

    def __init__(self) -> None:
        self._passed: dict[str, tuple[int, int]] = {}
        self._died: dict[str, int] = {}
        self._when = 0.0

    def news(self, now: float, usage: Sequence[SaUsage], drops: Sequence[DropCount]) -> list[str]:
        """The sentences since the last call; the first call only takes note. `now` in seconds."""
        passed = {own.sa.label: (own.packets, own.octets) for own in usage}
        died = {TABLE[own.reason].word: own.packets for own in drops}
        sentences = [self._of_sa(own) for own in usage if own.packets > self._passed.get(own.sa.label, (0, 0))[0]]
        sentences += [self._of_reason(own) for own in drops if own.packets > self._died.get(TABLE[own.reason].word, 0)]
        seconds, first = now - self._when, not self._when
        self._passed, self._died, self._when = passed, died, now
        if first:
            return []
        most = max(1, int(LINES_PER_SECOND * min(max(seconds, 0.1), 10.0)))
        left = len(sentences) - most
        return sentences if left <= 0 else [*sentences[:most], f"and {left} more lines that are not written"]

    def _of_sa(self, own: SaUsage) -> str:
        packets, octets = self._passed.get(own.sa.label, (0, 0))
        deed = "protected" if own.sa.direction.value == "out" else "opened"
        return (
            f"{deed} {own.packets - packets} packets, {own.octets - octets} bytes: "
            f"{own.sa.source}->{own.sa.destination} spi={own.sa.spi}(0x{own.sa.spi:x}) {own.sa.label}"
        )

    def _of_reason(self, own: DropCount) -> str:
        row = TABLE[own.reason]
        last = f"; the last: {own.last}" if own.last else ""
        return f"dropped {own.packets - self._died.get(row.word, 0)} packets: {row.word}{last}"

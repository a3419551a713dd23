"""The data plane as everyone above sees it: obey changes, say what happened."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from culvert.change import Change
from culvert.ipsec.drops import Reason
from culvert.ipsec.lifetime import State
from culvert.ipsec.sa import SecurityAssociation


class PlaneError(Exception):
    """A change that the plane could not make. `change` is None when no single change is to blame."""

    def __init__(self, change: Change | None, sentence: str) -> None:
        super().__init__(sentence)
        self.change = change
        self.sentence = sentence


@dataclass(frozen=True, slots=True)
class Features:
    """What this plane is and can do. `engine` is the word that `show sys version` prints.

    `counter_journal`: whether its counters are written ahead to a disk, so that a loss of power repeats none.
    `journal_doubt`: why that may be of an earlier state of this machine, "" where nothing says so. `doors`: how plain
    ESP comes and goes, in words.
    """

    engine: str
    workers: int
    vlan_tagging: bool
    counter_journal: bool = False
    doors: str = ""
    journal_doubt: str = ""


@dataclass(frozen=True, slots=True)
class SaUsage:
    """What one SA did. Times are seconds since the epoch, 0.0 for never; `octets` counts inner octets.

    `sequence` is the last number sent (outbound) or the right edge of the window (inbound). `life_octets` and
    `life_packets` are of the key's whole life, which no reset of statistics shortens. `lost`: numbers that the window
    left behind unseen. `path_mtu`: octets of the largest outer packet, as the network said; 0 where it said nothing.
    `window`: which of the newest 64 numbers of an inbound SA were seen, bit i for `sequence - i`. While packets come it
    may be a packet older or newer than `sequence`.
    """

    sa: SecurityAssociation
    worker: int
    packets: int
    octets: int
    sequence: int
    created: float
    last_use: float
    drops: dict[Reason, int] = field(default_factory=dict)
    state: State = State.MATURE
    life_octets: int = 0
    life_packets: int = 0
    lost: int = 0
    path_mtu: int = 0
    window: int = 0


@dataclass(frozen=True, slots=True)
class DropCount:
    """Packets that died for `reason`, over all SAs and none. `last` describes the last one, `when` its time."""

    reason: Reason
    packets: int
    when: float = 0.0
    last: str = ""


@dataclass(frozen=True, slots=True)
class WorkerStat:
    """Packets and octets through the protected side of one worker, for `show net ipsec-stat`."""

    worker: int
    mode: str
    protocol: str
    packets_in: int
    octets_in: int
    packets_out: int
    octets_out: int


@dataclass(frozen=True, slots=True)
class LinkState:
    """A link as the host sees it now. `state` is one of: up, no-carrier, disabled, missing."""

    name: str
    state: str
    mac: str
    mtu: int


@dataclass(frozen=True, slots=True)
class ForwarderStat:
    """Packets and octets that one forwarder let through."""

    label: str
    packets: int
    octets: int


@dataclass(frozen=True, slots=True)
class JournalState:
    """The counter journal. `trouble`: why it can't be written, "" where it can. `written`: when it last was, in seconds
    since the epoch, 0.0 for never. `short`: labels of outbound SAs that should have had further numbers by now.
    """

    path: str
    trouble: str
    written: float
    short: tuple[str, ...] = ()


class Observed(Protocol):
    """What a mover of packets says of itself."""

    @property
    def features(self) -> Features: ...

    @property
    def process_id(self) -> int | None:
        """The process that moves the packets; None while there is none."""

    def usage(self, sas: Collection[SecurityAssociation] | None = None) -> Sequence[SaUsage]:
        """Of all SAs, or of those of `sas` that are in service, in the order of `sas`."""

    def drops(self) -> Sequence[DropCount]: ...

    def worker_stats(self) -> Sequence[WorkerStat]: ...

    def links(self) -> Sequence[LinkState]: ...

    def forwarder_stats(self) -> Sequence[ForwarderStat]: ...

    def counter_journal(self) -> JournalState | None:
        """How the counter journal does; None without one."""


class DataPlane(Observed, Protocol):
    """One mover of packets. All calls come from one thread."""

    def apply(self, changes: Sequence[Change]) -> None:
        """Make all changes, in order, or none. Raises PlaneError; the plane is then as it was."""

    def trust_counter_journal(self) -> None:
        """It is in doubt no more. Raises PlaneError where that can't be kept."""

    def reset_stats(self, forwarders: Collection[str] | None = None) -> None:
        """Zero packet, octet and drop counts. Sequence numbers and replay windows stay.

        With `forwarders`: the counts of these labels alone.
        """

    def tick(self, now: float) -> list[str]:
        """Look after what runs on its own (restart a dead packet process, links that came or went).

        Called about twice a second. Returns sentences worth a log line.
        """

    def close(self) -> None:
        """Stop, and take back from the host all that was added and nothing else."""

"""How a tunnel is: its configuration held against the SAs that run and against what was found wrong."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from culvert.web.findings import FAIL, WARN, Finding, Findings
from culvert.web.tunnels import IN, Association, Tunnel, Way

Record = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class State:
    """`rank`: worse is lower. `tone` is the colour's name, `shape` what is drawn."""

    word: str
    title: str
    rank: int
    tone: str
    shape: str


DEAD = State("dead", "Dead", 0, "bad", "cross")
MISSING = State("missing", "Missing", 1, "bad", "ring")
FAULT = State("fault", "At fault", 2, "bad", "octagon")
SOFT = State("soft-expired", "Soft-expired", 3, "warn", "triangle")
ATTENTION = State("attention", "Attention", 4, "warn", "diamond")
MATURE = State("mature", "Mature", 5, "good", "disc")
STATES = (DEAD, MISSING, FAULT, SOFT, ATTENTION, MATURE)
MEANINGS = {
    DEAD: "an SA is past a hard limit of its life and carries nothing",
    MISSING: "a selector has no SA, or one of the two directions isn't there",
    FAULT: "verify says that it can't work",
    SOFT: "an SA is past a soft limit of its life: it still works",
    ATTENTION: "it works, and verify advises something",
    MATURE: "the SAs of both directions are there and alive",
}
_RUNNING = {"mature": MATURE, "dying": SOFT, "dead": DEAD}


@dataclass(frozen=True, slots=True)
class SeenAssociation:
    """An SA as it is now. `drops`: packets of it that died."""

    name: str
    spi: str
    state: State
    packets: int = 0
    octets: int = 0
    last_use: float = 0.0
    drops: int = 0


@dataclass(frozen=True, slots=True)
class SeenWay:
    """One direction as it is now; the SAs worst first."""

    way: Way
    state: State
    associations: tuple[SeenAssociation, ...]

    @property
    def packets(self) -> int:
        return sum(own.packets for own in self.associations)

    @property
    def octets(self) -> int:
        return sum(own.octets for own in self.associations)

    @property
    def last_use(self) -> float:
        return max((own.last_use for own in self.associations), default=0.0)

    @property
    def title(self) -> str:
        return "Inbound" if self.way.direction == IN else "Outbound"


@dataclass(frozen=True, slots=True)
class SeenTunnel:
    """A tunnel as it is now, and what is wrong with it."""

    tunnel: Tunnel
    state: State
    ways: tuple[SeenWay, ...]
    faults: tuple[Finding, ...]


def seen(tunnel: Tunnel, running: Mapping[str, Record], found: Findings) -> SeenTunnel:
    """`running`: the records of `show net ipsec ipsec-sa` by name."""
    ways = tuple(_way(own, running) for own in tunnel.ways)
    told = tuple(dict.fromkeys(_found_faults(tunnel, found)))
    faults = (*told, *_expiring(ways)) if told else (*_lacking(ways), *_expiring(ways))
    judged = [FAULT if own.verdict == FAIL else ATTENTION for own in told]
    state = min((*(own.state for own in ways), *judged), key=lambda own: own.rank)
    return SeenTunnel(tunnel, state, ways, faults)


def _way(way: Way, running: Mapping[str, Record]) -> SeenWay:
    found = sorted((_association(own, running) for own in way.associations), key=lambda own: own.state.rank)
    if not way.is_there or not way.selectors:
        # Nothing is sent into it, or taken out of it, whatever SAs there are.
        return SeenWay(way, MISSING, tuple(found))
    by_policy: dict[str, list[State]] = {name: [] for name in way.policies}
    states = {own.name: own.state for own in found}
    for own in way.associations:
        by_policy[own.policy].append(states[own.name])
    needed = {own.policy for own in way.selectors}
    return SeenWay(way, min((_served(by_policy[name]) for name in needed), key=lambda own: own.rank), tuple(found))


def _served(states: list[State]) -> State:
    """How a policy with SAs in these states does: while one is alive, the others only want to be tidied away."""
    best = max(states, key=lambda own: own.rank, default=MISSING)
    return ATTENTION if best is MATURE and any(own is not MATURE for own in states) else best


def _association(own: Association, running: Mapping[str, Record]) -> SeenAssociation:
    record = running.get(own.name)
    if record is None:
        return SeenAssociation(own.name, own.spi, MISSING)
    return SeenAssociation(
        own.name,
        own.spi,
        _RUNNING[record["state"]],
        record["packets"],
        record["bytes"],
        record["last_use"],
        sum(record["drops"].values()),
    )


def _lacking(ways: tuple[SeenWay, ...]) -> Iterator[Finding]:
    """What isn't there, where verify has no word on a tunnel: it speaks of what a selector uses."""
    for own in ways:
        side = own.title.lower()
        if not own.way.is_there:
            repair = "create net ipsec ipsec-policy NAME mode tunnel ..."
            yield Finding(FAIL, f"no {side} policy has these ends", repair)
        elif not own.way.selectors:
            sentence = f"no {side} traffic selector names the policy {_short(own.way.policies[0])}"
            yield Finding(FAIL, sentence, "create net ipsec traffic-selector NAME ...")


def _expiring(ways: tuple[SeenWay, ...]) -> Iterator[Finding]:
    """What verify is silent about, because it works still."""
    for each in (each for own in ways for each in own.associations if each.state is SOFT):
        sentence = f"{_short(each.name)} is past its soft lifetime: it works until the hard one"
        yield Finding(WARN, sentence, f"give {_short(each.name)} a new SPI and new keys, on both sides")


def _found_faults(tunnel: Tunnel, found: Findings) -> Iterator[Finding]:
    for way in tunnel.ways:
        for each in way.names:
            yield from found.of.get(each, ())


def _short(name: str) -> str:
    return name.removeprefix("/Common/")

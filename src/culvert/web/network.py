"""The network as one user sees it: their objects and the state of what runs, asked of culvertd as that user."""

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from culvert.model import ltm, net, net_ipsec
from culvert.web.condition import SeenTunnel, seen
from culvert.web.findings import Findings, sorted_out
from culvert.web.remembered import Remembered
from culvert.web.session import Session
from culvert.web.tunnels import Tunnel, tunnels

Record = Mapping[str, Any]
SHARE = 10
"""What took a second to ask isn't asked again for so many."""
FRESH_SECONDS = 2.0
VERIFIED_AT_ONCE = 1000
"""Tunnels, beyond which a first look is shown before it is verified."""
SESSIONS_MOST, SESSION_SECONDS = 8, 300.0
SHIPPED_SELECTOR = "/Common/default-traffic-selector-interface"


@dataclass(frozen=True, slots=True)
class Configured:
    """What the map draws of a configuration. `selves`: addresses by VLAN. `counts`: of objects, by the kind's words."""

    generation: int
    tunnels: tuple[Tunnel, ...] = ()
    selves: Mapping[str, tuple[Record, ...]] = field(default_factory=dict)
    counts: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Network:
    """One look. `verified`: the findings are those of this configuration."""

    configured: Configured
    seen: tuple[SeenTunnel, ...]
    findings: Findings
    running: Mapping[str, Record]
    links: Mapping[str, str]
    verified: bool = True


class Eye:
    """Looks at the network for one session. The configuration is asked for again when it was changed alone."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._configured = Configured(-1)
        self._findings = Findings({}, ())
        self._found_at = 0.0
        self._found_for = self._hurried_for = -1
        self._rest = 0.0
        self._lock = threading.Lock()

    def look(self, session: Session, hurry: bool = False) -> Network:
        """`hurry`: the first look at many tunnels doesn't wait for their verification. Raises ControlError."""
        with self._lock:
            generation = session.call("describe")["generation"]
            if self._configured.generation != generation:
                self._configured = configured(session, generation)
            running = {own["name"]: own for own in _show(session, "net ipsec ipsec-sa", select=SA_WORDS)}
            if not hurry or len(self._configured.tunnels) <= VERIFIED_AT_ONCE or self._hurried_for == generation:
                self._verify(session, generation)
            self._hurried_for = generation
            verified = self._found_for == generation
            links = {own["vlan"]: own["state"] for own in _show(session, "net self", select=["vlan", "state"])}
            # What was found before the last change may be mended.
            found, own = self._findings if verified else Findings({}, ()), self._configured
        every = tuple(seen(each, running, found) for each in own.tunnels)
        return Network(own, every, found, running, links, verified)

    def _verify(self, session: Session, generation: int) -> None:
        now = self._clock()
        if self._found_for == generation and now - self._found_at < self._rest:
            return
        self._findings = sorted_out(session.call("verify"))
        self._found_for, self._found_at = generation, self._clock()
        self._rest = max(FRESH_SECONDS, SHARE * (self._found_at - now))


def eyes() -> Remembered[Eye]:
    """One for each session."""
    return Remembered(Eye, time.monotonic, SESSIONS_MOST, SESSION_SECONDS)


POLICY_WORDS = ["mode", "tunnel-local-address", "tunnel-remote-address"]
ASSOCIATION_WORDS = ["ipsec-policy", "spi", "source-address", "destination-address"]
_ENDS = ["source-address", "destination-address", "source-port", "destination-port"]
SELECTOR_WORDS = ["action", "direction", "ip-protocol", "ipsec-policy", *_ENDS]
"""What `tunnels` wants to know."""
SA_WORDS = ["name", "state", "packets", "bytes", "last_use", "drops"]
"""What `seen` wants to know."""


def configured(session: Session, generation: int) -> Configured:
    """Asks for what the map draws. Nothing of the keys is kept."""
    selves: dict[str, tuple[Record, ...]] = {}
    for own in _list(session, net.SELF, select=["address", "vlan"]):
        vlan = own["properties"]["vlan"]
        selves[vlan] = (*selves.get(vlan, ()), {"name": own["name"], "address": own["properties"]["address"]})
    addresses = frozenset(each["address"].partition("/")[0] for held in selves.values() for each in held)
    policies = _list(session, net_ipsec.POLICY, select=POLICY_WORDS)
    associations = _list(session, net_ipsec.MANUAL_SA, select=ASSOCIATION_WORDS)
    selectors = _list(session, net_ipsec.SELECTOR, select=SELECTOR_WORDS)
    selectors = [own for own in selectors if own["name"] != SHIPPED_SELECTOR]
    own_policies = [own for own in policies if not own["name"].startswith("/Common/default-ipsec-policy")]
    counts = {
        "ltm virtual": len(_list(session, ltm.VIRTUAL, names_only=True)),
        "net vlan": len(_list(session, net.VLAN, names_only=True)),
        "net self": len(addresses),
        "net ipsec ipsec-policy": len(own_policies),
        "net ipsec manual-security-association": len(associations),
        "net ipsec traffic-selector": len(selectors),
    }
    return Configured(generation, tuple(tunnels(policies, selectors, associations, addresses)), selves, counts)


def _list(session: Session, path: tuple[str, ...], **args: Any) -> list[Record]:
    word = " ".join(path)
    found = session.call("list", kind=word, folder="/", recursive=True, **args)
    return [own for own in found if own["kind"] == word]


def _show(session: Session, what: str, **args: Any) -> list[Record]:
    found: list[Record] = session.call("show", what=what, filters={}, **args)
    return found

"""`verify`: the manual's verification list, asked of the running system, with what would repair each finding."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from culvert.config.snapshot import Snapshot
from culvert.control import coverage
from culvert.control.explain import ASSOCIATION, SELECTOR, Named, Scene
from culvert.dataplane.plane import Observed, SaUsage
from culvert.ipsec import overhead
from culvert.ipsec.drops import TABLE, Reason
from culvert.ipsec.lifetime import State
from culvert.ipsec.sa import Direction, IPAddress, Mode, SecurityAssociation
from culvert.ipsec.spd import Action, Policy
from culvert.model import ltm, net, net_ipsec
from culvert.model.kind import Object
from culvert.plan import associations
from culvert.plan.intent import Intent

Finding = dict[str, Any]
PASS, WARN, FAIL = "pass", "warn", "fail"
SMALLEST_INNER_MTU = 1280
HARMLESS = frozenset({Reason.DUMMY, Reason.KEEP_ALIVE})
SEQUENCES = 2**32
NEAR_THE_END = 0.9
VIRTUALS_TOLD = 3
VLAN = net.VLAN_KIND


@dataclass(frozen=True, slots=True)
class Look:
    """What there is to verify by; the use of the SAs is asked for once."""

    snapshot: Snapshot
    intent: Intent
    plane: Observed
    usage: tuple[SaUsage, ...]


def verify(scene: Scene) -> list[Finding]:
    """Every check's findings: `check`, `verdict` (pass, warn or fail), `sentence`, and `repair`.

    `objects`: the {kind, name} of each that it is about.
    """
    look = Look(scene.snapshot, scene.intent, scene.plane, tuple(scene.plane.usage()))
    found: list[Finding] = []
    for title, check in CHECKS:
        problems = [own | {"objects": _there(look, own["objects"])} for own in check(look)]
        found += [{"check": title, **own} for own in problems]
        if not problems:
            found.append(note(title, ""))
    return found


def _there(look: Look, about: tuple[Named, ...]) -> list[dict[str, str]]:
    """Those that whoever asks may see."""
    return [{"kind": kind.word, "name": name} for kind, name in about if look.snapshot.get(kind.path, name) is not None]


def note(check: str, sentence: str) -> Finding:
    """A finding with which nothing is wrong."""
    return {"check": check, "verdict": PASS, "sentence": sentence, "repair": "", "objects": []}


def _problem(verdict: str, sentence: str, repair: str, *about: Named) -> Finding:
    return {"verdict": verdict, "sentence": sentence, "repair": repair, "objects": about}


def _links(look: Look) -> Iterator[Finding]:
    states = {link.name: link.state for link in look.plane.links()}
    if not look.intent.links:
        yield _problem(FAIL, "no VLAN has an interface", "create net vlan external interfaces add { LINK }")
    for link in look.intent.links:
        state = states.get(link.name, "missing")
        if state != "up":
            repair = f"look at the cable; show net interface {link.name}"
            yield _problem(FAIL, f"VLAN {_short(link.label)}: link {link.name} is {state}", repair, (VLAN, link.label))


def _addresses(look: Look) -> Iterator[Finding]:
    """Each tunnel has an end here, and that end is a self IP."""
    own = {address.interface.ip for address in look.intent.addresses}
    if not own:
        yield _problem(FAIL, "there is no self IP", "create net self NAME address ADDRESS/LENGTH vlan external")
        return
    for policy in _tunnels(look):
        end = policy.tunnel_source if policy.direction is Direction.OUT else policy.tunnel_destination
        word = "tunnel-local-address" if policy.direction is Direction.OUT else "tunnel-remote-address"
        if end not in own:
            sentence = f"{_policy_name(look, policy)}: {word} {end} is no self IP of this system"
            repair = f"create net self NAME address {end}/LENGTH vlan external"
            yield _problem(FAIL, sentence, repair, _policy(look, policy))


def _routes(look: Look) -> Iterator[Finding]:
    """The peer of each tunnel can be reached."""
    networks = [address.interface.network for address in look.intent.addresses]
    networks += [route.destination for route in look.intent.routes]
    to: dict[IPAddress, list[Named]] = {}
    for policy in _tunnels(look):
        if policy.direction is Direction.OUT and policy.tunnel_destination is not None:
            to.setdefault(policy.tunnel_destination, []).append(_policy(look, policy))
    for peer in sorted(to, key=str):
        if not any(peer.version == own.version and peer in own for own in networks):
            repair = f"create net route NAME network {peer} gw GATEWAY"
            yield _problem(FAIL, f"there is no route to {peer}", repair, *dict.fromkeys(to[peer]))


def _virtuals(look: Look) -> Iterator[Finding]:
    """All that each selector speaks of is forwarded, out of the networks here and out of the tunnel."""
    for policy in (own for own in look.intent.policies if own.action is Action.PROTECT):
        if policy.mode is Mode.TRANSPORT:
            continue
        found = coverage.coverage(policy, look.intent)
        if found.whole and found.partial:
            continue
        selector = policy.selector
        spoken = f"selector {_short(policy.label)} speaks of: {selector.source} to {selector.destination}"
        if not found.partial:
            any_address = "0.0.0.0:any mask any" if selector.source.version == 4 else "::.any mask any6"
            yield _problem(
                FAIL,
                f"no forwarding virtual server accepts what {spoken}{_why_not(look, policy)}",
                f"create ltm virtual NAME destination {any_address} ip-forward",
                (SELECTOR, policy.label),
            )
        else:
            separator = ":" if selector.source.version == 4 else "."
            yield _problem(
                WARN,
                f"virtual servers accept only a part of what {spoken}; there is {_accepted(look, found)}",
                f"create ltm virtual NAME source {selector.source} "
                f"destination {selector.destination}{separator}any ip-forward",
                (SELECTOR, policy.label),
            )


def _accepted(look: Look, found: coverage.Coverage) -> str:
    """The virtual servers that accept a part, and the VLANs that none of them listens on."""
    named = [f"{_short(own.label)} ({coverage.words(own)})" for own in found.partial[:VIRTUALS_TOLD]]
    more = len(found.partial) - len(named)
    named += [f"{more} more"] if more else []
    labels = {link.name: _short(link.label) for link in look.intent.links}
    deaf = ", ".join(labels.get(link, link) for link in found.unheard)
    return ", ".join(named) + (f", and none listens on VLAN {deaf}" if deaf else "")


def _why_not(look: Look, policy: Policy) -> str:
    """What keeps virtual servers that exist from accepting it."""
    off = [_short(own.name) for own in look.snapshot.all(ltm.VIRTUAL) if not own["enabled"]]
    bound = [_short(own.label) for own in look.intent.forwarders if own.links is not None]
    reasons = [f"{', '.join(off)} is disabled"] if off else []
    if bound and policy.direction is Direction.IN:
        reasons.append(f"{', '.join(bound)} listens on VLANs alone, and not on what comes out of a tunnel")
    return f" ({'; '.join(reasons)})" if reasons else ""


def _selectors(look: Look) -> Iterator[Finding]:
    """Selectors have SAs, and each way has its way back."""
    protecting = [own for own in look.intent.policies if own.action is Action.PROTECT]
    if not protecting:
        yield _problem(FAIL, "no traffic selector is in use", "create net ipsec traffic-selector NAME ...")
    served = {(usage.sa.reqid, usage.sa.direction) for usage in look.usage}
    mirrored = {(own.direction, own.selector) for own in protecting}
    for policy in protecting:
        if (policy.reqid, policy.direction) not in served:
            yield _problem(
                FAIL,
                f"selector {_short(policy.label)}: no {policy.direction.value}bound SA has ipsec-policy "
                f"{_policy_name(look, policy)}, so what it matches is dropped",
                f"create net ipsec manual-security-association NAME ipsec-policy {_policy_name(look, policy)} ...",
                (SELECTOR, policy.label),
            )
        back = Direction.IN if policy.direction is Direction.OUT else Direction.OUT
        if (back, policy.selector.mirrored()) not in mirrored:
            yield _problem(
                WARN,
                f"selector {_short(policy.label)}: none of direction {back.value} is its mirror image, so answers go "
                "another way",
                f"create net ipsec traffic-selector NAME direction {back.value} source-address "
                f"{policy.selector.destination} destination-address {policy.selector.source} ipsec-policy POLICY",
                (SELECTOR, policy.label),
            )


def _policies(look: Look) -> Iterator[Finding]:
    """Of two policies for the two directions of a tunnel, one has the addresses of the other, turned round."""
    tunnels = list(_tunnels(look))
    ways = {(own.direction, own.tunnel_source, own.tunnel_destination) for own in tunnels}
    told: set[str] = set()
    for own in tunnels:
        back = Direction.IN if own.direction is Direction.OUT else Direction.OUT
        name = _policy_name(look, own)
        if (back, own.tunnel_destination, own.tunnel_source) not in ways and name not in told:
            told.add(name)
            yield _problem(
                FAIL,
                f"policy {name} goes from {own.tunnel_source} to {own.tunnel_destination}, and no policy of direction "
                f"{back.value} comes back the same way",
                f"modify net ipsec ipsec-policy NAME tunnel-local-address {own.tunnel_destination} "
                f"tunnel-remote-address {own.tunnel_source}",
                _policy(look, own),
            )


def _associations(look: Look) -> Iterator[Finding]:
    """SAs are alive, come in pairs, and are used by a selector."""
    usage = look.usage
    if not usage:
        yield _problem(
            FAIL, "there is no security association", "create net ipsec manual-security-association NAME ..."
        )
    for waiting, name in associations.waiting(look.intent.notes):
        yield _problem(FAIL, waiting, "show sys version", (ASSOCIATION, name))
    pairs = {(own.sa.source, own.sa.destination, own.sa.protocol) for own in usage}
    used = {(own.reqid, own.direction) for own in look.intent.policies}
    for own in usage:
        sa, name = own.sa, _short(own.sa.label)
        about = (ASSOCIATION, sa.label)
        if own.state is State.DEAD:
            repair = f"give {name} a new SPI and new keys, on both sides"
            yield _problem(FAIL, f"{name} is behind its hard lifetime", repair, about)
        elif own.sequence > NEAR_THE_END * SEQUENCES and not sa.esn:
            sentence = f"{name} has used {own.sequence} of {SEQUENCES} sequence numbers"
            yield _problem(WARN, sentence, f"give {name} new keys", about)
        if (sa.destination, sa.source, sa.protocol) not in pairs:
            back = f"source-address {sa.destination} destination-address {sa.source}"
            repair = f"create net ipsec manual-security-association NAME {back} ..."
            yield _problem(WARN, f"{name} has no SA for the way back", repair, about)
        if (sa.reqid, sa.direction) not in used:
            repair = "create net ipsec traffic-selector NAME ..."
            yield _problem(WARN, f"no traffic selector leads to {name}", repair, about)


def _sizes(look: Look) -> Iterator[Finding]:
    """Packets of 1280 octets, which every IPv6 host may send, fit through."""
    for own in look.usage:
        sa: SecurityAssociation = own.sa
        path = own.path_mtu or sa.path_mtu
        if sa.direction is Direction.OUT and sa.mode is Mode.TUNNEL and path:
            largest = overhead.largest_inner(sa, path)
            if largest < SMALLEST_INNER_MTU:
                sentence = f"{_short(sa.label)}: the path takes {path} octets, so only {largest} fit inside"
                yield _problem(WARN, sentence, "modify net vlan external mtu 1500", (ASSOCIATION, sa.label))


def _traffic(look: Look) -> Iterator[Finding]:
    """What went out came back."""
    usage = look.usage
    out = sum(own.packets for own in usage if own.sa.direction is Direction.OUT)
    back = sum(own.packets for own in usage if own.sa.direction is Direction.IN)
    if not out and not back:
        yield _problem(WARN, "no packet has gone through a tunnel yet", "ping a host of the far network")
    elif out and not back:
        sentence = f"{out} packets went out and none came back"
        yield _problem(FAIL, sentence, "on the peer: show net ipsec drops; compare SPIs and keys with culvert explain")


def _drops(look: Look) -> Iterator[Finding]:
    for own in look.plane.drops():
        if own.packets and own.reason not in HARMLESS:
            row = TABLE[own.reason]
            yield _problem(WARN, f"{own.packets} packets were dropped: {row.word} ({row.sentence})", row.hint)


def _log(look: Look) -> Iterator[Finding]:
    daemon = look.snapshot.get(net_ipsec.IKE_DAEMON, "/Common/ikedaemon")
    publisher = look.snapshot.get(net_ipsec.PUBLISHER, (daemon["log-publisher"] if daemon else "") or "")
    if publisher is None or not publisher["destinations"]:
        repair = "modify net ipsec ike-daemon ikedaemon log-publisher default-ipsec-log-publisher"
        yield _problem(WARN, "the log publisher of ike-daemon has no destination: events go to the file alone", repair)


def _tunnels(look: Look) -> Iterator[Policy]:
    return (own for own in look.intent.policies if own.mode is Mode.TUNNEL and own.action is Action.PROTECT)


def _policy(look: Look, policy: Policy) -> Named:
    """The ipsec-policy behind an entry of the SPD; what names it, if that is gone."""
    selector: Object | None = look.snapshot.get(net_ipsec.SELECTOR, policy.label)
    return (net_ipsec.IPSEC_POLICY_KIND, str(selector["ipsec-policy"])) if selector else (SELECTOR, policy.label)


def _policy_name(look: Look, policy: Policy) -> str:
    return _short(_policy(look, policy)[1])


def _short(name: str) -> str:
    return name.removeprefix("/Common/")


CHECKS: tuple[tuple[str, Callable[[Look], Iterator[Finding]]], ...] = (
    ("VLANs and links", _links),
    ("self IPs", _addresses),
    ("routes to the peers", _routes),
    ("virtual servers", _virtuals),
    ("IPsec policies", _policies),
    ("traffic selectors", _selectors),
    ("security associations", _associations),
    ("MTU", _sizes),
    ("traffic", _traffic),
    ("drops", _drops),
    ("log", _log),
)

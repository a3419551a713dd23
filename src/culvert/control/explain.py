"""`explain`: the way of one packet through this gateway, step by step, and where it would die.

The questions are put to the same things that packets meet: the SPD, the SADB, the overhead of the SA, the admission
rules of the packet filter. What is added is the answer in words: which object and which property decided.
"""

import contextlib
import hashlib
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from culvert.change import Address, Forwarder, Route
from culvert.config.snapshot import Snapshot
from culvert.control import errors
from culvert.dataplane.admission import Admission
from culvert.dataplane.plane import Observed, SaUsage
from culvert.ipsec import ip, overhead
from culvert.ipsec.drops import TABLE, Reason
from culvert.ipsec.gateway import Gateway
from culvert.ipsec.ip import Datagram, NextHeader
from culvert.ipsec.lifetime import UNLIMITED, State
from culvert.ipsec.sa import Direction, IPAddress, Mode, Protocol, SecurityAssociation
from culvert.ipsec.selector import ICMP_BASE, Flow, PortRange, Selector
from culvert.ipsec.spd import Policy, Spd
from culvert.ipsec.verdict import Deliver, Drop, Send
from culvert.model import ltm, net, net_ipsec
from culvert.model.kind import Kind
from culvert.plan.intent import Intent

Step = dict[str, Any]
Named = tuple[Kind, str]
PASS, STOP, NOTE = "pass", "stop", "note"
SELECTOR, ASSOCIATION = net_ipsec.TRAFFIC_SELECTOR_KIND, net_ipsec.MANUAL_SA_KIND
FINGERPRINT_ROUNDS = 20_000
SPI_AT: Mapping[int, int] = {NextHeader.ESP: 0, NextHeader.AH: 4}
"""Where the SPI stands in each protocol's header (RFC 4303 section 2, RFC 4302 section 2)."""
NEAREST_MAX = 5
"""How many of the selectors or virtual servers that don't fit are told about."""


@dataclass(frozen=True, slots=True)
class Scene:
    """What there is to explain by."""

    snapshot: Snapshot
    intent: Intent
    plane: Observed
    now: float


class _Ended(Exception):
    """The packet's way is over: it died, or it arrived."""


def explain(scene: Scene, args: Mapping[str, Any]) -> list[Step]:
    """The steps of one packet. `args`: `packet` in hex; `direction` out (clear, from this side) or in (from a tunnel).

    A step: `step`, `verdict` (pass, stop or note), `sentence`, `objects` (the {kind, name} of each that it speaks of);
    of a stop also `reason` (a word of drops.py), and `try`, what to change. Raises SyntaxProblem for what is no packet.
    """
    try:
        packet = bytes.fromhex(str(args.get("packet", "")))
    except ValueError:
        raise errors.SyntaxProblem("packet: hexadecimal digits are expected") from None
    datagram = ip.parse(packet)
    if datagram is None:
        raise errors.SyntaxProblem("packet: this is no whole IP packet")
    way = _Way(scene, packet, datagram)
    with contextlib.suppress(_Ended):
        way.inwards() if args.get("direction") == "in" else way.outwards()
    return way.steps


def note(step: str, sentence: str) -> Step:
    """A step that decides nothing."""
    return {"step": step, "verdict": NOTE, "sentence": sentence, "objects": []}


class _Way:
    """One packet on its way."""

    def __init__(self, scene: Scene, packet: bytes, datagram: Datagram) -> None:
        self.steps: list[Step] = []
        self._scene, self._packet, self._datagram = scene, packet, datagram
        intent = scene.intent
        self._own = [own.interface.ip for own in intent.addresses]
        ends = [end for policy in intent.policies for end in (policy.tunnel_source, policy.tunnel_destination)]
        own_ends = {end for end in ends if end in self._own}
        self._flow = datagram.flow
        # Thousands of others can't match it, whatever its ports are.
        near = [own for own in intent.policies if _is_near(own.selector, self._flow)]
        self._admission = Admission(near, intent.forwarders, [*self._own, *own_ends])
        self._spd = Spd()
        for policy in near:
            self._spd.add(policy)

    # the two directions

    def outwards(self) -> None:
        """A clear packet that arrives from a network of this side."""
        self._arrival()
        if self._flow.destination in self._own:
            self._pass("destination", f"{self._flow.destination} is an address of this gateway: it is taken here")
            if self._datagram.protocol in SPI_AT:
                self._opened()
            return
        entering = self._admission.entering(self._packet, self._datagram)
        if entering is not None and entering.reason is Reason.CLEAR_INBOUND:
            assert entering.policy is not None
            self._stop(
                "traffic selector",
                entering.reason,
                f"inbound selector {_short(entering.policy.label)} matches it: "
                "from there it has to come protected, and it came in clear",
                "protect it on the other side",
                (SELECTOR, entering.policy.label),
            )
        self._forwarding(entering)
        policy = self._spd.lookup(Direction.OUT, self._flow)
        if policy is None:
            self._in_clear()
            return
        self._selected(policy, Direction.OUT)
        sa = self._association(policy, Direction.OUT, Reason.NO_SA_OUT, Reason.EXPIRED_OUT)
        self._fits(policy, sa)
        self._egress(policy.tunnel_destination or self._flow.destination, "the protected packet")

    def inwards(self) -> None:
        """The packet as it comes out of a tunnel on this side."""
        policy = self._spd.lookup(Direction.IN, self._flow)
        if policy is None:
            self._tell_nearest(Direction.IN)
            self._stop(
                "traffic selector",
                Reason.INNER_MISMATCH,
                "no inbound selector matches it, whichever SA it came by",
                self._advice(Direction.IN),
            )
            return
        self._selected(policy, Direction.IN)
        sa = self._association(policy, Direction.IN, Reason.NO_SA_IN, Reason.EXPIRED_IN)
        self._note("protected packet", f"comes from {sa.source} to {sa.destination}, SPI {sa.spi}(0x{sa.spi:x})")
        if sa.mode is Mode.TUNNEL and policy.tunnel_destination not in self._own:
            self._stop(
                "self IP",
                Reason.NOT_ALLOWED,
                f"{policy.tunnel_destination} is no self IP: nothing for it is taken here",
                f"create net self NAME address {policy.tunnel_destination}/LENGTH vlan VLAN",
            )
        if self._flow.destination in self._own:
            self._pass("destination", f"{self._flow.destination} is an address of this gateway: it is taken here")
            return
        record: Any = None
        opened = self._admission.opened(Deliver(self._packet, sa, policy, record))
        self._forwarding(opened)
        self._egress(self._flow.destination, "it")

    def _opened(self) -> None:
        """A protected packet for this gateway: its SA, what is inside, and the way of that."""
        at = self._datagram.offset + SPI_AT[self._datagram.protocol]
        spi = int.from_bytes(self._packet[at : at + 4])
        found = [own for own in self._scene.plane.usage() if own.sa.spi == spi and own.sa.direction is Direction.IN]
        usage = next((own for own in found if own.sa.destination == self._flow.destination), None)
        if usage is None:
            known = ", ".join(f"{own.sa.spi}" for own in self._scene.plane.usage() if own.sa.direction is Direction.IN)
            advice = "give both systems the same SPI; inbound SAs here have " + (known or "none")
            self._stop("security association", Reason.NO_SA_IN, f"no inbound SA has SPI {spi}(0x{spi:x})", advice)
            return
        name = _short(usage.sa.label)
        about = (ASSOCIATION, usage.sa.label)
        self._pass("security association", f"{name}: SPI {spi}(0x{spi:x}), key {fingerprint(usage.sa)}", about)
        trial = Gateway(os.urandom)
        for policy in self._scene.intent.policies:
            trial.add_policy(policy)
        trial.add_sa(replace(usage.sa, lifetime=UNLIMITED), now=self._scene.now)
        verdict = trial.inbound(self._packet, self._scene.now)
        if isinstance(verdict, Drop):
            self._stop("protection", verdict.reason, TABLE[verdict.reason].sentence, TABLE[verdict.reason].hint)
        if not isinstance(verdict, Deliver):
            self._note("protection", "it is a fragment, or more than one packet: its end can't be told from it alone")
            return
        self._pass("protection", f"it opens with the keys of {name}; whether it is a replay isn't asked here")
        inner = ip.parse(verdict.packet)
        if inner is not None:
            way = _Way(self._scene, verdict.packet, inner)
            way.steps = self.steps
            way.inwards()

    # steps

    def _arrival(self) -> None:
        at = next((own for own in self._scene.intent.addresses if self._flow.source in own.interface.network), None)
        if at is not None:
            link = next((own for own in self._scene.intent.links if own.name == at.link), None)
            vlan = f"VLAN {_short(link.label)} (link {at.link})" if link else f"link {at.link}"
            self._note(
                "arrival",
                f"{self._flow.source} is in {at.interface.network}, on {vlan}, self IP {_short(at.label)}",
                *([(net.VLAN_KIND, link.label)] if link else []),
                (net.SELF_KIND, at.label),
            )
        elif route := _best_route(self._scene.intent.routes, self._flow.source):
            about = (net.ROUTE_KIND, route.label)
            self._note("arrival", f"{self._flow.source} is behind route {_short(route.label)}", about)
        else:
            self._note(
                "arrival", f"{self._flow.source} is in no network that this gateway knows: answers can't find back"
            )

    def _forwarding(self, dropped: Drop | None) -> None:
        """What the virtual servers say, nearest first when none accepts."""
        accepting = next((own for own in self._scene.intent.forwarders if not _why_not(own, self._flow)), None)
        if dropped is None:
            if accepting is None:
                self._pass("virtual server", "accepted as an answer to a flow")
            else:
                about = (ltm.VIRTUAL_KIND, accepting.label)
                self._pass("virtual server", f"{_short(accepting.label)} accepts it", about)
            return
        if dropped.reason is not Reason.NOT_FORWARDED:
            return
        near = sorted(self._scene.intent.forwarders, key=lambda own: len(_why_not(own, self._flow)))
        for own in near[:NEAREST_MAX]:
            self._note(
                "virtual server",
                f"{_short(own.label)} doesn't accept it: {'; '.join(_why_not(own, self._flow))}",
                (ltm.VIRTUAL_KIND, own.label),
            )
        version6 = self._flow.destination.version == 6
        wildcard = "::.any mask any6" if version6 else "0.0.0.0:any mask any"
        self._stop(
            "virtual server",
            Reason.NOT_FORWARDED,
            "no enabled forwarding virtual server accepts it",
            f"create ltm virtual NAME destination {wildcard} ip-forward",
        )

    def _selected(self, policy: Policy, direction: Direction) -> None:
        before = [own for own in self._policies(direction) if (own.order, own.label) < (policy.order, policy.label)]
        if before:
            self._note("traffic selector", f"{len(before)} with a lower order were asked first and don't match")
        own = self._scene.snapshot.get(net_ipsec.SELECTOR, policy.label)
        by = f", ipsec-policy {_short(own['ipsec-policy'])}" if own else ""
        about = [(SELECTOR, policy.label), *([(net_ipsec.IPSEC_POLICY_KIND, str(own["ipsec-policy"]))] if own else [])]
        self._pass("traffic selector", f"{_short(policy.label)} (order {policy.order}) matches{by}", *about)
        if policy.action.value == "discard":
            self._stop(
                "traffic selector",
                Reason.DISCARD,
                f"{_short(policy.label)} discards what it matches",
                f"modify net ipsec traffic-selector {_short(policy.label)} action protect",
                (SELECTOR, policy.label),
            )

    def _association(
        self, policy: Policy, direction: Direction, missing: Reason, expired: Reason
    ) -> SecurityAssociation:
        usage = self._usage(policy, direction, policy.protocol)
        wanted = "create net ipsec manual-security-association NAME { ipsec-policy POLICY spi N ... }"
        if usage is None:
            waiting = next((note for note in self._scene.intent.notes if "security association" in note), "")
            self._stop(
                "security association",
                missing,
                f"no {direction.value}bound SA serves the policy" + (f": {waiting}" if waiting else ""),
                wanted,
            )
            raise AssertionError
        sa = usage.sa
        self._pass(
            "security association",
            f"{_short(sa.label)}: SPI {sa.spi}(0x{sa.spi:x}), {sa.protocol.name.lower()} "
            f"{sa.mode.value}, {sa.cipher}/{sa.auth}, key {fingerprint(sa)}, sequence {usage.sequence}, "
            f"{usage.packets} packets",
            (ASSOCIATION, sa.label),
        )
        if usage.state is State.DEAD:
            self._stop(
                "security association",
                expired,
                f"{_short(sa.label)} is behind its hard lifetime",
                f"give {_short(sa.label)} and its peer a new SPI and new keys",
                (ASSOCIATION, sa.label),
            )
        if policy.bundle_ah and self._usage(policy, direction, Protocol.AH) is None:
            self._stop("security association", Reason.NO_BUNDLE_SA, "the AH SA of the bundle is missing", wanted)
        return sa

    def _fits(self, policy: Policy, sa: SecurityAssociation) -> None:
        """Sealed on trial: by the real path, in a gateway of its own that is thrown away with what it sealed."""
        usage = self._usage(policy, Direction.OUT, policy.protocol)
        bundled = self._usage(policy, Direction.OUT, Protocol.AH) if policy.bundle_ah else None
        path = (usage.path_mtu if usage else 0) or sa.path_mtu
        trial = Gateway(os.urandom)
        trial.add_policy(policy)
        for own in (sa, *([bundled.sa] if bundled else [])):
            trial.add_sa(replace(own, path_mtu=path, lifetime=UNLIMITED), now=self._scene.now)
        verdict = trial.outbound(self._packet, self._scene.now)
        size = f"{self._datagram.length} octets"
        takes = f"; the path takes {path}" if path else ""
        if isinstance(verdict, Send):
            pieces = 1 + len(verdict.rest)
            cut = f", in {pieces} pieces, cut {sa.fragmentation.value} protection" if pieces > 1 else ""
            self._pass("MTU", f"{size} become {len(verdict.packet) + sum(map(len, verdict.rest))}{takes}{cut}")
        elif isinstance(verdict, Drop):
            told = overhead.largest_inner(sa, path, bundled.sa if bundled else None)
            if verdict.reason is Reason.TOO_BIG:
                advice = "let ICMP reach the sender, lower its MTU, or set tcp-mss automatic in the ipsec-policy"
                self._stop("MTU", verdict.reason, f"{size}{takes}, so {told} fit, and it may not be cut", advice)
            self._stop("protection", verdict.reason, TABLE[verdict.reason].sentence, TABLE[verdict.reason].hint)

    def _in_clear(self) -> None:
        leaving = self._admission.leaving(self._packet, self._datagram)
        if leaving is not None and leaving.policy is not None:
            self._tell_nearest(Direction.OUT)
            self._stop(
                "traffic selector",
                leaving.reason,
                f"no outbound selector matches, but its answers would have to come "
                f"protected ({_short(leaving.policy.label)}): it doesn't leave in clear",
                self._advice(Direction.OUT),
                (SELECTOR, leaving.policy.label),
            )
        self._tell_nearest(Direction.OUT)
        self._note("traffic selector", "no outbound selector matches: it leaves IN CLEAR")
        self._egress(self._flow.destination, "it")

    def _egress(self, to: IPAddress, what: str) -> None:
        connected = next((own for own in self._scene.intent.addresses if to in own.interface.network), None)
        route = _best_route(self._scene.intent.routes, to)
        link = connected.link if connected else _link_of(route, self._scene.intent.addresses) if route else None
        if connected is None and route is None:
            self._stop(
                "route",
                Reason.SEND_FAILED,
                f"there is no route to {to}",
                f"create net route NAME network {to} gw ADDRESS",
            )
        state = next((own.state for own in self._scene.plane.links() if own.name == link), "up")
        via = f"directly on link {link}" if connected else f"by route {_short(route.label)}" if route else ""
        by = f" through {route.gateway}" if route and not connected and route.gateway else ""
        if state == "down":
            self._stop("route", Reason.SEND_FAILED, f"link {link} is down", "look at show net interface")
        about = [] if connected or route is None else [(net.ROUTE_KIND, route.label)]
        self._pass("route", f"{what} leaves to {to} {via}{by}", *about)

    # words

    def _usage(self, policy: Policy, direction: Direction, protocol: Protocol) -> SaUsage | None:
        wanted = (policy.reqid, direction, protocol)
        serving = [own for own in self._scene.intent.sas if (own.reqid, own.direction, own.protocol) == wanted]
        return next(iter(self._scene.plane.usage(serving)), None)

    def _policies(self, direction: Direction) -> list[Policy]:
        """All of a direction, in the order in which they are asked."""
        found = [own for own in self._scene.intent.policies if own.direction is direction]
        return sorted(found, key=lambda own: (own.order, own.label))

    def _tell_nearest(self, direction: Direction) -> None:
        for policy, why in self._nearest(direction)[:NEAREST_MAX]:
            about = (SELECTOR, policy.label)
            self._note("traffic selector", f"{_short(policy.label)} doesn't match: {'; '.join(why)}", about)

    def _nearest(self, direction: Direction) -> list[tuple[Policy, list[str]]]:
        found = [(own, selector_mismatch(own.selector, self._flow)) for own in self._policies(direction)]
        same = [each for each in found if each[0].selector.source.version == self._flow.source.version]
        return sorted(same, key=lambda each: len(each[1]))

    def _advice(self, direction: Direction) -> str:
        near = self._nearest(direction)
        if not near:
            return f"create net ipsec traffic-selector NAME direction {direction.value} ..."
        policy, why = near[0]
        return f"modify net ipsec traffic-selector {_short(policy.label)} {why[0].split()[0]} ..."

    def _pass(self, step: str, sentence: str, *about: Named) -> None:
        self._tell(step, PASS, sentence, about)

    def _note(self, step: str, sentence: str, *about: Named) -> None:
        self._tell(step, NOTE, sentence, about)

    def _stop(self, step: str, reason: Reason, sentence: str, advice: str, *about: Named) -> None:
        row = TABLE[reason]
        self._tell(step, STOP, sentence, about)
        self.steps[-1] |= {"reason": row.word, "meaning": row.sentence, "try": advice}
        raise _Ended

    def _tell(self, step: str, verdict: str, sentence: str, about: Sequence[Named]) -> None:
        objects = [{"kind": kind.word, "name": name} for kind, name in about]
        self.steps.append({"step": step, "verdict": verdict, "sentence": sentence, "objects": objects})


def fingerprint(sa: SecurityAssociation) -> str:
    """Eight hexadecimal digits that two ends can compare; nothing of the keys can be told from them.

    The SPI and the addresses go in, so that the same key elsewhere looks different.
    """
    salt = f"{sa.spi} {sa.source} {sa.destination}".encode()
    digests = sa.cipher_key.digest(b"fingerprint") + sa.auth_key.digest(b"fingerprint")
    # Keys that people type may be few: a guess has to be worth the work.
    return hashlib.pbkdf2_hmac("sha256", digests, salt, FINGERPRINT_ROUNDS)[:4].hex()


def _is_near(selector: Selector, flow: Flow) -> bool:
    """Whether the flow, or its answers, are between networks that it speaks of."""
    if selector.source.version != flow.source.version:
        return False
    one, other = flow.source, flow.destination
    return (one in selector.source and other in selector.destination) or (
        other in selector.source and one in selector.destination
    )


def selector_mismatch(selector: Selector, flow: Flow) -> list[str]:
    """Why a selector doesn't match, one sentence for each of its properties, beginning with the property's word."""
    return list(_mismatches(selector, flow))


def _mismatches(selector: Selector, flow: Flow) -> Iterator[str]:
    for word, network, address in (
        ("source-address", selector.source, flow.source),
        ("destination-address", selector.destination, flow.destination),
    ):
        if address.version != network.version or address not in network:
            yield f"{word} {network} doesn't hold {address}"
    if selector.protocol not in (None, flow.protocol):
        yield f"ip-protocol {selector.protocol} isn't {flow.protocol}"
    words = ("icmp-type", "icmp-code") if selector.is_icmp else ("source-port", "destination-port")
    for word, ports, port in zip(
        words,
        (selector.source_ports, selector.destination_ports),
        (flow.source_port, flow.destination_port),
        strict=True,
    ):
        if ports is not None and port not in ports:
            yield f"{word} {_span(ports)} doesn't hold {_number(port)}"


def _span(ports: PortRange) -> str:
    first, last = (number - ICMP_BASE if number >= ICMP_BASE else number for number in (ports.first, ports.last))
    return str(first) if first == last else f"{first}-{last}"


def _number(port: int | None) -> str:
    return "a packet that shows none" if port is None else str(port - ICMP_BASE if port >= ICMP_BASE else port)


def _why_not(own: Forwarder, flow: Flow) -> list[str]:
    why = []
    if flow.source.version != own.source.version or flow.source not in own.source:
        why.append(f"source {own.source} doesn't hold {flow.source}")
    if flow.destination.version != own.destination.version or flow.destination not in own.destination:
        why.append(f"destination {own.destination} doesn't hold {flow.destination}")
    if own.protocol not in (None, flow.protocol):
        why.append(f"ip-protocol {own.protocol} isn't {flow.protocol}")
    if own.ports is not None and flow.destination_port not in own.ports:
        why.append(f"port {own.ports.first} isn't {_number(flow.destination_port)}")
    if own.links == ():
        why.append("vlans-enabled without a VLAN accepts nothing")
    return why


def _best_route(routes: Sequence[Route], to: IPAddress) -> Route | None:
    fitting = [own for own in routes if own.destination.version == to.version and to in own.destination]
    return max(fitting, key=lambda own: own.destination.prefixlen, default=None)


def _link_of(route: Route, addresses: Sequence[Address]) -> str | None:
    if route.link is not None:
        return route.link
    return next((own.link for own in addresses if route.gateway in own.interface.network), None)


def _short(name: str) -> str:
    return name.removeprefix("/Common/")

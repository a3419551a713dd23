"""Two gateways that are each other's peer, in every sort of protection that there is."""

from collections.abc import Callable
from typing import NamedTuple

from culvert.ipsec import icmp, ipcomp
from culvert.ipsec.algorithms import Random
from culvert.ipsec.fragment import Reassembler
from culvert.ipsec.gateway import Gateway
from culvert.ipsec.lifetime import Lifetime, Limits
from culvert.ipsec.replay import Window
from culvert.ipsec.sa import Direction, Fragmentation, Mode, Protocol, UdpPorts
from culvert.ipsec.sadb import Inbound, Usage
from culvert.ipsec.selector import PortRange, Selector
from culvert.ipsec.spd import Action, Policy
from tests.fuzz.parts import FAR, NEAR, NOW, dice, make_sa, network

AH_KEYS = {"protocol": Protocol.AH, "cipher": "null", "auth": "sha256"}
TRANSPORT = {"mode": Mode.TRANSPORT}
LAST = 2**32 - 1


class Scenario(NamedTuple):
    """`sequence`: where all counters begin. `ports`: selectors ask for them. `bundle`: AH around it."""

    name: str
    settings: dict[str, object]
    outer: int = 4
    sequence: int = 0
    ports: bool = False
    bundle: bool = False

    @property
    def mode(self) -> Mode:
        mode = self.settings.get("mode", Mode.TUNNEL)
        assert isinstance(mode, Mode)
        return mode

    @property
    def protocol(self) -> Protocol:
        protocol = self.settings.get("protocol", Protocol.ESP)
        assert isinstance(protocol, Protocol)
        return protocol


SCENARIOS = (
    Scenario("tunnel", {}),
    Scenario("tunnel6", {"cipher": "aes-gcm128", "auth": "none"}, outer=6),
    Scenario("null", {"cipher": "null", "auth": "md5", "replay_window": 0}),
    Scenario("esn", {"esn": True, "cipher": "chacha20-poly1305", "auth": "none"}, sequence=LAST - 3),
    Scenario("end", {"auth": "aes-xcbc", "cipher": "3des"}, sequence=LAST - 3),
    Scenario("small", {"path_mtu": 576, "auth": "aes-cmac", "cipher": "aes-ctr128"}),
    Scenario("small6", {"path_mtu": 1280, "fragmentation": Fragmentation.AFTER}, outer=6),
    Scenario("tiny", {"path_mtu": 100, "mss": 0, "fragmentation": Fragmentation.AFTER}),
    Scenario("udp", {"encapsulation": UdpPorts(), "keep_alive_seconds": 20, "dummy_seconds": 9}),
    Scenario("udp6", {"encapsulation": UdpPorts(4500, 40000), "mss": 1200, "tfc_octets": 300}, outer=6),
    Scenario("ipcomp", {"compression": ipcomp.CPI_DEFLATE, "tfc_octets": 200}),
    Scenario("transport", {**TRANSPORT, "path_mtu": 1280}),
    Scenario("transport6", {**TRANSPORT, "compression": 3}, outer=6),
    Scenario("transport-ipcomp", {**TRANSPORT, "compression": 2, "mss": 0}),
    Scenario("transport-udp", {**TRANSPORT, "encapsulation": UdpPorts()}),
    Scenario("ah", {**AH_KEYS, "esn": True}),
    Scenario("ah6", {**AH_KEYS, "auth": "aes-gmac128"}, outer=6),
    Scenario("ah-transport", {**AH_KEYS, **TRANSPORT, "path_mtu": 576}),
    Scenario("ah-transport6", {**AH_KEYS, **TRANSPORT}, outer=6),
    Scenario("bundle", {"cipher": "aes256", "auth": "sha512"}, bundle=True),
    Scenario("bundle6", {**TRANSPORT, "esn": True}, outer=6, bundle=True),
    Scenario("ports", {"path_mtu": 576}, ports=True),
    Scenario("transport-ports", {**TRANSPORT, "path_mtu": 1400}, ports=True),
    Scenario("life", {"lifetime": Lifetime(Limits(packets=2), Limits(packets=5, seconds=60, octets=9000))}),
)


class Ends(NamedTuple):
    """`near` is judged, `far` is its honest peer."""

    scenario: Scenario
    near: Gateway
    far: Gateway


Make = Callable[[Random], Gateway]


def build(scenario: Scenario, make_near: Make = Gateway, make_far: Make = Gateway, now: float = NOW) -> Ends:
    """The near end is what a test may want to be of its own making; at the far one, scripts take numbers and keys."""
    near, far = make_near(dice(1)), make_far(dice(2))
    for settings in _sas(scenario):
        for to_near in (False, True):
            out, back = (far, near) if to_near else (near, far)
            common = {"outer": scenario.outer, "to_near": to_near, **settings}
            out.add_sa(make_sa(Direction.OUT, **common), sequence=scenario.sequence, now=now)
            back.add_sa(make_sa(Direction.IN, **common), sequence=scenario.sequence, now=now)
    for version in (scenario.outer,) if scenario.mode is Mode.TRANSPORT else (4, 6):
        for to_near in (False, True):
            out, back = (far, near) if to_near else (near, far)
            for policy in _policies(scenario, version, Direction.OUT, to_near):
                out.add_policy(policy)
            for policy in _policies(scenario, version, Direction.IN, to_near):
                back.add_policy(policy)
    return Ends(scenario, near, far)


def _sas(scenario: Scenario) -> list[dict[str, object]]:
    own = dict(scenario.settings)
    own.setdefault("protocol", Protocol.ESP)
    return [own, {**AH_KEYS, **TRANSPORT}] if scenario.bundle else [own]


def _policies(scenario: Scenario, version: int, direction: Direction, to_near: bool) -> list[Policy]:
    ends = (FAR, NEAR) if to_near else (NEAR, FAR)
    transport = scenario.mode is Mode.TRANSPORT
    source, destination = (network(end[version], host=transport) for end in ends)

    def policy(order: int, action: Action, protocol: int | None, ports: PortRange | None) -> Policy:
        return Policy(
            direction=direction,
            selector=Selector(source=source, destination=destination, protocol=protocol, destination_ports=ports),
            order=order,
            label=f"/Common/{version}-{order}",
            reqid=7,
            action=action,
            protocol=scenario.protocol,
            mode=scenario.mode,
            bundle_ah=scenario.bundle,
        )

    if not scenario.ports:
        return [policy(1, Action.PROTECT, None, None)]
    return [
        policy(1, Action.DISCARD, 6, PortRange(23, 23)),
        policy(2, Action.PROTECT, 6, PortRange(1, 1023)),
        policy(3, Action.PROTECT, 17, PortRange(53, 53)),
    ]


def made_new(ends: Ends) -> Ends:
    """As if just built: the keys prepared once, all that packets change put back."""
    for gateway in (ends.near, ends.far):
        for way in (gateway._outgoing, gateway._incoming):
            way.reassembler = Reassembler()
            way.trail.clear()
        gateway._outgoing._allowance = icmp.Allowance()
        for table in gateway.spd._tables.values():
            table._cache.clear()
        for record in gateway.sadb:
            record.usage = Usage(NOW)
            sequence = ends.scenario.sequence
            if isinstance(record, Inbound):
                record.replay = Window(record.sa.replay_window, sequence, extended=record.sa.esn)
                continue
            record.sequence, record.kept_alive, record._path_mtu = sequence, NOW, 0
            record.compressor = ipcomp.Compressor(record.sa.compression) if record.sa.compression else None
    return ends


ENDS = [build(scenario) for scenario in SCENARIOS]

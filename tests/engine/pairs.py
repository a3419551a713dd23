"""What is compared: every algorithm of ESP and AH in both modes, and the fuzzers' scenarios.

What else there is to an SA (its partner among the algorithms, keys, numbers, families, window, path, life, what goes
around and into it) is cast anew for each play of a pair, so that many plays come by everything in every company.
"""

from collections.abc import Callable, Iterator
from typing import NamedTuple

from culvert.ipsec import ipcomp
from culvert.ipsec.algorithms import AUTHS, CIPHERS, NONE, auth_row, cipher_row
from culvert.ipsec.lifetime import Lifetime, Limits
from culvert.ipsec.sa import Copy, Direction, Fragmentation, HeaderRules, Mode, Protocol, UdpPorts
from culvert.ipsec.secret import Secret
from culvert.ipsec.selector import PortRange, Selector
from culvert.ipsec.spd import Action, Policy
from tests.engine.chance import Chance
from tests.fuzz.parts import FAR, NEAR, network
from tests.fuzz.scenarios import SCENARIOS, Scenario

SEPARATE = tuple(name for name, row in CIPHERS.items() if not row.combined)
BESIDE = tuple(name for name, row in AUTHS.items() if not row.only_ah)
"""What may stand beside a cipher of `SEPARATE`."""
WINDOWS = (64, 64, 64, 32, 128, 1024, 4096, 1, 33)
PATHS = (0, 0, 0, 0, 1500, 1400, 1280, 576, 100)
LAST = 2**32 - 1
STARTS = (0, 0, 0, 1, 63, 1 << 31, LAST - 2000, LAST - 150)
STARTS_EXTENDED = (*STARTS, 1 << 32, (1 << 33) - 100, 1 << 40, (1 << 63) - 7, (1 << 64) - 2000)
AWKWARD_PORTS = (7, 9, 11, 13, 23)
"""Of UDP and TCP: what goes there fits a policy that something is wrong with, in every second play."""


class Pair(NamedTuple):
    """`cast`: what a play of it is about."""

    name: str
    cast: Callable[[Chance], Scenario]


def _algorithm(protocol: Protocol, mode: Mode, cipher: str, auth: str) -> Callable[[Chance], Scenario]:
    """With "" for what is to be cast."""

    def cast(chance: Chance) -> Scenario:
        chosen = {"cipher": cipher or chance.pick(SEPARATE), "auth": auth or chance.pick(BESIDE)}
        esn, udp = chance.once_in(2), protocol is Protocol.ESP and chance.once_in(8)
        settings: dict[str, object] = {
            **chosen,
            "protocol": protocol,
            "mode": mode,
            "cipher_key": Secret(chance.octets(cipher_row(chosen["cipher"]).key_octets)),
            "auth_key": Secret(chance.octets(auth_row(chosen["auth"]).key_octets)),
            "esn": esn,
            "replay_window": 0 if not esn and chance.once_in(10) else chance.pick(WINDOWS),
            "path_mtu": chance.pick(PATHS),
            "fragmentation": chance.pick(tuple(Fragmentation)),
            "encapsulation": UdpPorts(4500, chance.pick((4500, 40000))) if udp else None,
            "header": _rules(chance),
            **_extras(chance, udp),
        }
        sequence = chance.pick(STARTS_EXTENDED if esn else STARTS)
        return Scenario("", settings, chance.pick((4, 6)), sequence, ports=chance.once_in(8))

    return cast


def _rules(chance: Chance) -> HeaderRules:
    if chance.once_in(2):
        return HeaderRules()
    return HeaderRules(
        dscp=chance.pick((None, 0, 46)),
        ecn=not chance.once_in(4),
        dont_fragment=chance.pick(tuple(Copy)),
        hops=chance.pick((None, 64, 1)),
        flow_label=chance.once_in(2),
    )


def _extras(chance: Chance, udp: bool) -> dict[str, object]:
    """What most SAs don't have."""
    extras: dict[str, object] = {
        "compression": chance.pick((ipcomp.CPI_DEFLATE, 3)),
        "tfc_octets": chance.pick((64, 300, 1400)),
        "mss": chance.pick((0, 500, 1400)),
        "dummy_seconds": 9,
        "lifetime": Lifetime(Limits(packets=20), Limits(packets=900, octets=200_000, seconds=3)),
    }
    if udp:
        extras["keep_alive_seconds"] = 20
    return {name: value for name, value in extras.items() if chance.once_in(9)}


def _scenario(scenario: Scenario) -> Callable[[Chance], Scenario]:
    """As it is; not always from its first number on."""

    def cast(chance: Chance) -> Scenario:
        starts = STARTS_EXTENDED if scenario.settings.get("esn") and not scenario.bundle else STARTS
        return scenario._replace(sequence=chance.pick((scenario.sequence, chance.pick(starts))))

    return cast


def _pairs() -> Iterator[Pair]:
    for mode in Mode:
        for name, row in CIPHERS.items():
            yield Pair(f"esp-{name}-{mode.value}", _algorithm(Protocol.ESP, mode, name, NONE if row.combined else ""))
        for name in BESIDE:
            yield Pair(f"esp-{name}-{mode.value}", _algorithm(Protocol.ESP, mode, "", name))
        for name in AUTHS:
            yield Pair(f"ah-{name}-{mode.value}", _algorithm(Protocol.AH, mode, "null", name))
    for scenario in SCENARIOS:
        yield Pair(f"scenario-{scenario.name}", _scenario(scenario))


PAIRS: dict[str, Pair] = {pair.name: pair for pair in _pairs()}


def awkward_policies(scenario: Scenario, direction: Direction) -> Iterator[Policy]:
    """In front of the others: a packet to one of the awkward ports comes to grief in a way of its own."""
    other_mode = Mode.TUNNEL if scenario.mode is Mode.TRANSPORT else Mode.TRANSPORT
    other_protocol = Protocol.AH if scenario.protocol is Protocol.ESP else Protocol.ESP
    wrong: dict[int, dict[str, object]] = {
        7: {"reqid": 8},
        9: {"mode": other_mode},
        11: {"bundle_ah": True},
        13: {"protocol": other_protocol},
        23: {"action": Action.DISCARD},
    }
    host = scenario.mode is Mode.TRANSPORT
    usual = {"reqid": 7, "mode": scenario.mode, "protocol": scenario.protocol}
    for version in (scenario.outer,) if host else (4, 6):
        source, destination = network(NEAR[version], host=host), network(FAR[version], host=host)
        for port, what in wrong.items():
            selector = Selector(source=source, destination=destination, destination_ports=PortRange(port, port))
            label = f"/Common/{version}-awkward-{port}"
            fields = {"direction": direction, "selector": selector, "order": 0, "label": label, **usual, **what}
            yield Policy(**fields)  # type: ignore[arg-type]
        if host:
            # Of any two systems, where transport mode has but one.
            anybody = network(NEAR[version], host=False)
            wide = Selector(source=anybody, destination=anybody)
            yield Policy(direction=direction, selector=wide, order=2, label=f"/Common/{version}-wide", **usual)  # type: ignore[arg-type]

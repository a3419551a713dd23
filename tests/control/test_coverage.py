"""What virtual servers accept of a selector, against every packet of a small world."""

from ipaddress import ip_network
from itertools import product

from hypothesis import given
from hypothesis import strategies as st

from culvert.change import Forwarder
from culvert.control.coverage import coverage
from culvert.ipsec.sa import Direction, Mode, Protocol
from culvert.ipsec.selector import ICMP_BASE, PortRange, Selector
from culvert.ipsec.spd import Action, Policy
from culvert.plan.intent import Intent

WORLD = ip_network("10.0.0.0/30")
NETWORKS = [network for length in (30, 31, 32) for network in WORLD.subnets(new_prefix=length)]
PORTS = [None, PortRange(80, 80), PortRange(443, 443), PortRange(0, 442), PortRange(80, 65535)]
PACKETS = list(product(WORLD, WORLD, (1, 6, 17), (None, 0, 80, 442, 443, 65535, ICMP_BASE, ICMP_BASE + 255)))

forwarders = st.lists(
    st.builds(
        Forwarder,
        label=st.just("/Common/v"),
        source=st.sampled_from(NETWORKS),
        destination=st.sampled_from(NETWORKS),
        protocol=st.sampled_from([None, 6, 17]),
        ports=st.sampled_from(PORTS),
    ),
    max_size=6,
)
selectors = st.builds(
    Selector,
    source=st.sampled_from(NETWORKS),
    destination=st.sampled_from(NETWORKS),
    protocol=st.sampled_from([None, 6]),
    destination_ports=st.sampled_from(PORTS),
)


def fits(own: Forwarder | Selector, packet: tuple) -> bool:
    source, destination, protocol, port = packet
    ports = own.ports if isinstance(own, Forwarder) else own.destination_ports
    return (
        source in own.source
        and destination in own.destination
        and own.protocol in (None, protocol)
        and (ports is None or port in ports)
    )


@given(forwarders=forwarders, selector=selectors)
def test_the_whole_is_every_packet(forwarders: list[Forwarder], selector: Selector) -> None:
    policy = Policy(
        direction=Direction.IN, selector=selector, order=0, label="/Common/t", reqid=1, action=Action.PROTECT,
        protocol=Protocol.ESP, mode=Mode.TUNNEL,
    )  # fmt: skip
    found = coverage(policy, Intent(forwarders=tuple(forwarders)))
    spoken = [packet for packet in PACKETS if fits(selector, packet)]
    accepted = [packet for packet in spoken if any(fits(own, packet) for own in forwarders)]
    assert found.whole is (accepted == spoken)
    assert bool(found.partial) is bool(accepted)

"""What the live gateway's filter would stop, asked of single packets and of a whole capture."""

import struct
from dataclasses import replace
from ipaddress import ip_address, ip_network
from pathlib import Path

import pytest

from culvert.change import Forwarder
from culvert.cli import pcap
from culvert.dataplane.admission import Admission
from culvert.ipsec import ip
from culvert.ipsec.drops import Reason
from culvert.ipsec.gateway import Gateway
from culvert.ipsec.sa import Direction
from culvert.ipsec.selector import PortRange
from culvert.ipsec.spd import Action, Policy
from culvert.ipsec.verdict import Drop
from tests.cli.test_pcap import write_capture
from tests.ipsec.building import (
    NOW,
    OUTER,
    delivered,
    dice,
    ipv4,
    ipv6,
    make_policy,
    make_selector,
    receiver,
    sender,
    sent,
    udp,
)

OWN = ip_address("10.1.0.1")
NEAR, FAR = "10.1.0.0/16", "10.2.0.0/16"
IN = make_policy(Direction.IN, make_selector(FAR, NEAR), label="/Common/in")
OUT = make_policy(Direction.OUT, make_selector(NEAR, FAR), label="/Common/out")
EVERYTHING = Forwarder(label="/Common/all", source=ip_network("0.0.0.0/0"), destination=ip_network("0.0.0.0/0"))
DNS = replace(EVERYTHING, source=ip_network(NEAR), protocol=17, ports=PortRange(53, 53))


def packet(source: str, destination: str, source_port: int = 1111, port: int = 53, protocol: int = 17) -> bytes:
    ends = ip_address(source), ip_address(destination)
    return ipv4(udp(source_port, port), source=ends[0], destination=ends[1], protocol=protocol)


def datagram(octets: bytes) -> ip.Datagram:
    parsed = ip.parse(octets)
    assert parsed is not None
    return parsed


def admission(*policies: Policy, forwarders: tuple[Forwarder, ...] | None = (EVERYTHING,)) -> Admission:
    return Admission(policies, forwarders, {OWN})


def entering(judge: Admission, octets: bytes) -> Reason | None:
    drop = judge.entering(octets, datagram(octets))
    return drop.reason if drop else None


def leaving(judge: Admission, octets: bytes) -> Reason | None:
    drop = judge.leaving(octets, datagram(octets))
    return drop.reason if drop else None


def test_a_clear_packet_that_should_have_come_protected() -> None:
    octets = packet("10.2.0.5", "10.1.0.5")
    assert admission(IN, OUT).entering(octets, datagram(octets)) == Drop(Reason.CLEAR_INBOUND, None, IN)
    assert entering(admission(IN, forwarders=()), octets) is Reason.CLEAR_INBOUND
    assert entering(admission(IN, forwarders=None), packet("10.2.0.5", str(OWN))) is Reason.CLEAR_INBOUND
    assert entering(admission(OUT), octets) is None
    assert entering(admission(IN, replace(OUT, selector=IN.selector)), octets) is None
    assert entering(admission(replace(IN, action=Action.DISCARD)), octets) is None


@pytest.mark.parametrize(("protocol", "port"), [(50, 53), (51, 53), (108, 53), (17, 500), (17, 4500)])
def test_the_tunnels_own_packets_are_not_clear_ones(protocol: int, port: int) -> None:
    judge = admission(IN, replace(IN, selector=make_selector("10.9.0.0/16", NEAR)))
    assert entering(judge, packet("10.2.0.5", str(OWN), port=port, protocol=protocol)) is None
    assert entering(judge, packet("10.2.0.5", "10.1.0.5", port=port, protocol=protocol)) is Reason.CLEAR_INBOUND
    assert leaving(judge, packet(str(OWN), "10.9.0.5", port=port, protocol=protocol)) is None


@pytest.mark.parametrize(
    ("forwarder", "source", "ports", "protocol", "accepted"),
    [
        (EVERYTHING, "10.9.0.1", (1111, 53), 17, True),
        (DNS, "10.1.0.5", (1111, 53), 17, True),
        (DNS, "10.9.0.1", (1111, 53), 17, False),
        (DNS, "10.1.0.5", (1111, 54), 17, False),
        (DNS, "10.1.0.5", (1111, 53), 6, False),
        (replace(DNS, protocol=None), "10.1.0.5", (1111, 53), 6, True),
        (replace(DNS, protocol=None), "10.1.0.5", (1111, 53), 47, False),
        (replace(EVERYTHING, destination=ip_network("10.2.0.0/30")), "10.9.0.1", (1, 2), 17, False),
        (replace(EVERYTHING, links=("lan0",)), "10.9.0.1", (1, 2), 17, True),
        (replace(EVERYTHING, excluded_links=("lan0",)), "10.9.0.1", (1, 2), 17, True),
        (replace(EVERYTHING, links=()), "10.9.0.1", (1, 2), 17, False),
    ],
)
def test_forwarders(forwarder: Forwarder, source: str, ports: tuple[int, int], protocol: int, accepted: bool) -> None:
    wanted = None if accepted else Reason.NOT_FORWARDED
    judge = admission(OUT, forwarders=(forwarder,))
    near, far = ports
    assert entering(judge, packet(source, "10.2.0.5", near, far, protocol)) is wanted
    # The answer to a flow goes where the flow goes.
    assert entering(judge, packet("10.2.0.5", source, far, near, protocol)) is wanted


def test_only_transit_needs_a_forwarder() -> None:
    judge = admission(forwarders=())
    assert entering(judge, packet("10.1.0.5", "10.2.0.5")) is Reason.NOT_FORWARDED
    assert entering(judge, packet(str(OWN), "10.2.0.5")) is None
    assert entering(judge, packet("10.2.0.5", str(OWN))) is None
    assert entering(admission(forwarders=None), packet("10.1.0.5", "10.2.0.5")) is None
    assert entering(admission(), ipv6(udp())) is Reason.NOT_FORWARDED


def test_a_clear_packet_whose_answers_are_protected() -> None:
    octets = packet("10.1.0.5", "10.2.0.5")
    assert admission(IN).leaving(octets, datagram(octets)) == Drop(Reason.HALF_PROTECTED, None, IN)
    assert leaving(admission(IN), packet("10.1.0.5", "10.9.0.5")) is None
    assert leaving(admission(replace(IN, action=Action.DISCARD)), octets) is None
    from_dns = replace(IN, selector=make_selector(FAR, NEAR, 17, source_ports=(53, 53)))
    assert leaving(admission(from_dns), octets) is Reason.HALF_PROTECTED
    assert leaving(admission(from_dns), packet("10.1.0.5", "10.2.0.5", 53, 1111)) is None
    assert leaving(admission(replace(IN, selector=make_selector(NEAR, FAR))), packet("10.2.0.5", str(OWN))) is None


def test_neighbour_discovery_is_let_by() -> None:
    judge = admission(make_policy(Direction.IN, inner=6), forwarders=())
    solicitation = bytearray(ipv6(struct.pack("!BBHI", 135, 0, 0, 0), protocol=58))
    assert entering(judge, bytes(solicitation)) is Reason.CLEAR_INBOUND
    solicitation[7] = 255
    assert entering(judge, bytes(solicitation)) is None
    assert leaving(judge, bytes(solicitation)) is None


def test_an_opened_packet_needs_a_forwarder_too() -> None:
    sealed = sent(sender().outbound(packet("10.2.0.5", str(OWN)), NOW)).packet
    transit = sent(sender().outbound(packet("10.2.0.5", "10.1.0.5"), NOW)).packet
    to_own, opened = delivered(receiver().inbound(sealed, NOW)), delivered(receiver().inbound(transit, NOW))
    judge = admission(IN, forwarders=())
    assert judge.opened(to_own) is None
    assert judge.opened(opened) == Drop(Reason.NOT_FORWARDED, opened.sa, opened.policy, opened.record)
    assert admission(IN).opened(opened) is None


def capture_of(directory: Path, gateway: Gateway, judge: Admission | None, *packets: bytes) -> pcap.Summary:
    read = write_capture(directory / "in.pcap", list(packets))
    return pcap.run(gateway, {OUTER[4][1]}, read, directory / "out.pcap", None, False, judge)


def test_a_refused_packet_costs_no_sequence_number(tmp_path: Path) -> None:
    gateway = sender()
    summary = capture_of(tmp_path, gateway, admission(OUT, forwarders=()), packet("10.1.0.5", "10.2.0.5"))
    assert summary.reasons == {"not-forwarded": 1}
    (record,) = gateway.sadb
    assert record.usage.packets == 0


def test_a_capture_behind_an_admission(tmp_path: Path) -> None:
    sealed = sent(sender().outbound(packet("10.2.0.5", "10.9.0.5"), NOW)).packet
    packets = [packet("10.2.0.5", "10.1.0.5"), packet("10.1.0.5", "10.2.0.5"), packet("10.3.0.5", "10.4.0.5"), sealed]
    judge = admission(IN, forwarders=(replace(EVERYTHING, source=ip_network(NEAR)),))
    summary = capture_of(tmp_path, receiver(), judge, *packets)
    assert summary.reasons == {"clear-inbound": 1, "half-protected": 1, "not-forwarded": 2}
    assert capture_of(tmp_path, receiver(), None, *packets).verdicts == {"bypass": 3, "open": 1}
    assert capture_of(tmp_path, Gateway(dice()), admission(), packets[2]).verdicts == {"bypass": 1}

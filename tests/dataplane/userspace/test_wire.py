"""The lines between culvertd and the packet process."""

import json
from dataclasses import fields
from ipaddress import ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from culvert.change import AddPolicy, AddSa, RemovePolicy, RemoveSa
from culvert.dataplane.userspace import wire
from culvert.dataplane.userspace.wire import Apply, Reply, Reset
from culvert.ipsec.lifetime import Lifetime, Limits
from culvert.ipsec.sa import (
    Copy,
    Direction,
    Fragmentation,
    HeaderRules,
    Mode,
    Protocol,
    SecurityAssociation,
    UdpPorts,
)
from culvert.ipsec.secret import Secret
from culvert.ipsec.selector import PortRange, Selector
from culvert.ipsec.spd import Action, Policy

KEY = bytes(range(0x61, 0x71))

ports = st.none() | st.builds(PortRange, st.integers(0, 2**17), st.integers(0, 2**17))
addresses = st.ip_addresses()
networks = addresses.map(ip_network)
naturals = st.integers(0, 2**64)
limits = st.builds(Limits, seconds=naturals, octets=naturals, packets=naturals)
header_rules = st.builds(
    HeaderRules,
    dscp=st.none() | st.integers(0, 63),
    ecn=st.booleans(),
    dont_fragment=st.sampled_from(Copy),
    hops=st.none() | st.integers(1, 255),
    flow_label=st.booleans(),
)
sas = st.builds(
    SecurityAssociation,
    spi=st.integers(256, 2**32 - 1),
    source=addresses,
    destination=addresses,
    protocol=st.sampled_from(Protocol),
    mode=st.sampled_from(Mode),
    direction=st.sampled_from(Direction),
    auth=st.text(),
    auth_key=st.binary(max_size=64).map(Secret),
    cipher=st.text(),
    cipher_key=st.binary(max_size=32).map(Secret),
    reqid=st.integers(0, 2**31),
    replay_window=st.integers(0, 4096),
    esn=st.booleans(),
    compression=st.integers(0, 0xFFFF),
    encapsulation=st.none() | st.builds(UdpPorts, st.integers(0, 65535), st.integers(0, 65535)),
    header=header_rules,
    fragmentation=st.sampled_from(Fragmentation),
    path_mtu=naturals,
    mss=st.none() | naturals,
    tfc_octets=naturals,
    dummy_seconds=naturals,
    keep_alive_seconds=naturals,
    lifetime=st.builds(Lifetime, limits, limits),
    label=st.text(),
)
policies = st.builds(
    Policy,
    direction=st.sampled_from(Direction),
    selector=st.builds(
        Selector,
        source=networks,
        destination=networks,
        protocol=st.none() | st.integers(0, 255),
        source_ports=ports,
        destination_ports=ports,
    ),
    order=st.integers(),
    label=st.text(),
    reqid=st.integers(0, 2**31),
    action=st.sampled_from(Action),
    protocol=st.sampled_from(Protocol),
    mode=st.sampled_from(Mode),
    bundle_ah=st.booleans(),
    tunnel_source=st.none() | addresses,
    tunnel_destination=st.none() | addresses,
)
changes = (
    st.builds(AddSa, sas)
    | st.builds(RemoveSa, sas)
    | st.builds(AddPolicy, policies)
    | st.builds(RemovePolicy, policies)
)


def test_every_field_is_tried() -> None:
    """A field that is added later has to be added here too."""
    for strategy, kind in ((sas, SecurityAssociation), (policies, Policy), (header_rules, HeaderRules)):
        described = repr(strategy)
        assert [each.name for each in fields(kind) if f"{each.name}=" not in described] == []


@given(st.lists(changes, max_size=5).map(tuple))
def test_apply_round_trip(batch: tuple[wire.PacketChange, ...]) -> None:
    message = Apply(batch, tuple(range(len(batch))))
    line = wire.emit(message)
    assert line.count(b"\n") == 1
    assert line.endswith(b"\n")
    assert wire.parse(line) == message


@pytest.mark.parametrize("message", [Reset(), Reply(), Reply(3, "no")])
def test_small_messages_round_trip(message: wire.Message) -> None:
    assert wire.parse(wire.emit(message)) == message


def test_no_key_in_the_repr_of_a_message() -> None:
    association = SecurityAssociation(
        spi=256,
        source=ip_address("2.2.2.2"),
        destination=ip_address("3.3.3.3"),
        direction=Direction.OUT,
        auth="sha1",
        auth_key=Secret(KEY),
        cipher="null",
        cipher_key=Secret(b""),
        reqid=1,
    )
    shown = repr(Apply((AddSa(association),), (0,)))
    assert "abcdefgh" not in shown
    assert KEY.hex() not in shown


@pytest.mark.parametrize(
    "content", [None, [], {}, {"apply": [{"kind": "AddSa", "content": {"auth_key": KEY.hex()}}], "slots": []}]
)
def test_nonsense_is_refused_without_quoting_it(content: object) -> None:
    with pytest.raises(ValueError, match="not a message") as caught:
        wire.parse(json.dumps(content).encode())
    assert KEY.hex() not in str(caught.value)
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__

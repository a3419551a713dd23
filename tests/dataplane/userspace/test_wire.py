"""The lines between culvertd and the packet process."""

import json
from ipaddress import ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from culvert.change import AddPolicy, AddSa, RemovePolicy, RemoveSa
from culvert.dataplane.userspace import wire
from culvert.dataplane.userspace.wire import Apply, Reply, Reset
from culvert.ipsec.sa import Direction, Mode, Protocol, SecurityAssociation
from culvert.ipsec.secret import Secret
from culvert.ipsec.selector import PortRange, Selector
from culvert.ipsec.spd import Action, Policy

KEY = bytes(range(0x61, 0x71))

ports = st.none() | st.builds(PortRange, st.integers(0, 65535), st.integers(0, 65535))
addresses = st.ip_addresses()
networks = addresses.map(ip_network)
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
    tunnel_source=st.none() | addresses,
    tunnel_destination=st.none() | addresses,
)
changes = (
    st.builds(AddSa, sas)
    | st.builds(RemoveSa, sas)
    | st.builds(AddPolicy, policies)
    | st.builds(RemovePolicy, policies)
)


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


@pytest.mark.parametrize("content", [None, [], {}, {"apply": [{"kind": "AddSa", "auth_key": KEY.hex()}], "slots": []}])
def test_nonsense_is_refused_without_quoting_it(content: object) -> None:
    with pytest.raises(ValueError, match="not a message") as caught:
        wire.parse(json.dumps(content).encode())
    assert KEY.hex() not in str(caught.value)
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__

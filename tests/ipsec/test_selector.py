"""What a selector matches."""

from dataclasses import replace
from ipaddress import ip_address

import pytest

from culvert.ipsec.selector import Flow, PortRange
from tests.ipsec.building import make_selector

FLOW = Flow(ip_address("10.1.0.9"), ip_address("10.2.0.9"), 6, 1000, 443)
SELECTOR = make_selector("10.1.0.0/24", "10.2.0.0/24", 6, (1000, 2000), (443, 443))


@pytest.mark.parametrize(
    ("change", "matches"),
    [
        ({}, True),
        ({"source": ip_address("10.1.1.9")}, False),
        ({"source": ip_address("fd00::1")}, False),
        ({"destination": ip_address("10.2.1.9")}, False),
        ({"protocol": 17}, False),
        ({"source_port": 999}, False),
        ({"source_port": 2000}, True),
        ({"source_port": 2001}, False),
        ({"source_port": None}, False),
        ({"destination_port": 444}, False),
        ({"destination_port": None}, False),
    ],
)
def test_every_field_must_fit(change: dict[str, object], matches: bool) -> None:
    assert SELECTOR.matches(replace(FLOW, **change)) is matches  # type: ignore[arg-type]


def test_none_is_any() -> None:
    anything = make_selector("0.0.0.0/0", "0.0.0.0/0")
    assert anything.matches(FLOW)
    assert anything.matches(Flow(FLOW.source, FLOW.destination, 1))


def test_a_port_range_holds_numbers() -> None:
    ports = PortRange(5, 6)
    assert [port in ports for port in (4, 5, 6, 7, None, "5")] == [False, True, True, False, False, False]


def test_the_key_of_a_flow() -> None:
    assert FLOW.key == (b"\x0a\1\0\x09", b"\x0a\2\0\x09", 6, 1000, 443)

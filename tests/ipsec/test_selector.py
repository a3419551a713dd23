"""What a selector matches."""

from dataclasses import replace
from ipaddress import ip_address

import pytest

from culvert.ipsec.selector import ICMP_BASE, Flow, PortRange, mirrored
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


# ICMP: types where source ports stand, codes where destination ports do (RFC 4301 section 4.4.1.1)

ECHO = make_selector("10.1.0.0/24", "10.2.0.0/24", 1, (ICMP_BASE + 8, ICMP_BASE + 8), (ICMP_BASE, ICMP_BASE + 255))


def test_types_and_codes() -> None:
    echo = Flow(FLOW.source, FLOW.destination, 1, ICMP_BASE + 8, ICMP_BASE)
    assert ECHO.matches(echo) and ECHO.matches(replace(echo, destination_port=ICMP_BASE + 255))
    assert not ECHO.matches(replace(echo, source_port=ICMP_BASE))
    assert not ECHO.matches(replace(echo, source_port=None))
    assert not ECHO.matches(replace(echo, protocol=58))


def test_a_type_is_no_port_and_a_port_no_type() -> None:
    ports = make_selector("0.0.0.0/0", "0.0.0.0/0", None, (0, 65535), (0, 65535))
    types = make_selector("0.0.0.0/0", "0.0.0.0/0", None, (ICMP_BASE, ICMP_BASE + 255))
    echo = Flow(FLOW.source, FLOW.destination, 1, ICMP_BASE + 8, ICMP_BASE)
    assert (ports.matches(FLOW), ports.matches(echo)) == (True, False)
    assert (types.matches(FLOW), types.matches(echo)) == (False, True)
    assert (ports.is_icmp, types.is_icmp, SELECTOR.is_icmp, make_selector("::/0", "::/0").is_icmp) == (
        False,
        True,
        False,
        False,
    )
    assert make_selector("::/0", "::/0", None, None, (ICMP_BASE, ICMP_BASE)).is_icmp


def test_the_way_back() -> None:
    back = SELECTOR.mirrored()
    assert back == make_selector("10.2.0.0/24", "10.1.0.0/24", 6, (443, 443), (1000, 2000))
    assert back.mirrored() == SELECTOR
    assert back.matches(Flow(FLOW.destination, FLOW.source, 6, 443, 1000))
    assert mirrored(FLOW.key) == Flow(FLOW.destination, FLOW.source, 6, 443, 1000).key
    none = Flow(FLOW.source, FLOW.destination, 50)
    assert mirrored(none.key) == Flow(FLOW.destination, FLOW.source, 50).key


def test_type_and_code_have_no_sides() -> None:
    back = ECHO.mirrored()
    assert (back.source, back.source_ports, back.destination_ports) == (
        ECHO.destination,
        ECHO.source_ports,
        ECHO.destination_ports,
    )
    key = Flow(FLOW.source, FLOW.destination, 1, ICMP_BASE + 8, ICMP_BASE).key
    assert mirrored(key) == Flow(FLOW.destination, FLOW.source, 1, ICMP_BASE + 8, ICMP_BASE).key

"""What names an SA."""

from dataclasses import replace

import pytest

from culvert.ipsec.lifetime import Lifetime, Limits
from culvert.ipsec.sa import Direction, HeaderRules, Mode, Protocol, UdpPorts
from culvert.ipsec.secret import Secret
from tests.ipsec.building import OUTER, make_sa

SA = make_sa(Direction.OUT)


def test_the_name_on_the_wire() -> None:
    assert SA.key == (0x3E9, OUTER[4][1], Protocol.ESP)


@pytest.mark.parametrize(
    "change",
    [
        {"spi": 1002},
        {"source": OUTER[4][1]},
        {"destination": OUTER[4][0]},
        {"direction": Direction.IN},
        {"protocol": Protocol.AH},
        {"cipher": "null"},
        {"auth": "other"},
        {"auth_key": Secret(bytes(20))},
        {"cipher_key": Secret(bytes(16))},
    ],
    ids=lambda change: next(iter(change)),
)
def test_what_makes_another_identity(change: dict[str, object]) -> None:
    assert replace(SA, **change).identity() != SA.identity()  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "change",
    [
        {"label": "renamed"},
        {"reqid": 99},
        {"replay_window": 1024},
        {"mode": Mode.TRANSPORT},
        {"compression": 2},
        {"encapsulation": UdpPorts()},
        {"header": HeaderRules(dscp=1)},
        {"lifetime": Lifetime(hard=Limits(packets=1))},
    ],
    ids=lambda change: next(iter(change)),
)
def test_what_keeps_the_identity(change: dict[str, object]) -> None:
    assert replace(SA, **change).identity() == SA.identity()  # type: ignore[arg-type]
    assert len(SA.identity()) == 16


def test_where_numbers_end() -> None:
    """RFC 4303 sections 2.2 and 2.2.1."""
    assert SA.sequence_max == 2**32 - 1
    assert replace(SA, esn=True).sequence_max == 2**64 - 1

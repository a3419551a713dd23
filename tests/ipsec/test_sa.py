"""What names an SA."""

from dataclasses import replace

import pytest

from culvert.ipsec.sa import Direction, Mode, Protocol
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
    "change", [{"label": "renamed"}, {"reqid": 99}, {"replay_window": 1024}, {"mode": Mode.TRANSPORT}]
)
def test_what_keeps_the_identity(change: dict[str, object]) -> None:
    assert replace(SA, **change).identity() == SA.identity()  # type: ignore[arg-type]
    assert len(SA.identity()) == 16

"""SAs come into service, are found, and go."""

import pytest

from culvert.ipsec.algorithms import BadKeyLength, UnknownAlgorithm
from culvert.ipsec.drops import Reason
from culvert.ipsec.sa import Direction, Mode, Protocol, SaKey
from culvert.ipsec.sadb import BadSa, DuplicateSa, Inbound, Outbound, Sadb, UnknownSa
from tests.ipsec.building import NOW, OUTER, dice, make_sa

IN, OUT = Direction.IN, Direction.OUT


@pytest.fixture
def sadb() -> Sadb:
    return Sadb(dice())


def test_an_inbound_sa_is_found_by_spi_destination_and_protocol(sadb: Sadb) -> None:
    record = sadb.add(make_sa(IN, spi=300), 17, NOW)
    destination = OUTER[4][1].packed
    assert isinstance(record, Inbound)
    assert sadb.inbound(300, destination, 50) is record
    assert sadb.inbound(301, destination, 50) is None
    assert sadb.inbound(300, OUTER[4][0].packed, 50) is None
    assert sadb.inbound(300, destination, 51) is None
    assert (record.sequence, record.usage.created, record.usage.last_use) == (17, NOW, 0.0)


def test_an_outbound_sa_is_found_by_reqid_lowest_label_first(sadb: Sadb) -> None:
    records = {
        label: sadb.add(make_sa(OUT, spi=300 + index, label=label, reqid=5), index, NOW)
        for index, label in enumerate("cab")
    }
    assert sadb.outbound(5) is records["a"]
    assert sadb.outbound(6) is None
    sadb.remove(records["a"].sa)
    assert sadb.outbound(5) is records["b"]
    sadb.remove(records["b"].sa)
    sadb.remove(records["c"].sa)
    assert sadb.outbound(5) is None
    assert len(sadb) == 0


@pytest.mark.parametrize("direction", list(Direction))
def test_a_second_sa_of_the_same_name_is_refused(sadb: Sadb, direction: Direction) -> None:
    record = sadb.add(make_sa(direction), 0, NOW)
    with pytest.raises(DuplicateSa, match=r"SPI 0x3e9 to 192\.0\.2\.2 is in use"):
        sadb.add(make_sa(direction, reqid=99, label="another"), 0, NOW)
    assert list(sadb) == [record]
    sadb.add(make_sa(direction, spi=1002), 0, NOW)
    sadb.add(make_sa(direction, outer=6), 0, NOW)
    sadb.add(make_sa(direction, protocol=Protocol.AH), 0, NOW)
    assert len(sadb) == 4


def test_both_directions_may_have_the_same_name(sadb: Sadb) -> None:
    sadb.add(make_sa(IN), 0, NOW)
    sadb.add(make_sa(OUT), 0, NOW)
    key = SaKey(0x3E9, OUTER[4][1], Protocol.ESP)
    assert isinstance(sadb.find(IN, key), Inbound)
    assert isinstance(sadb.find(OUT, key), Outbound)
    assert [record.sa.direction for record in sadb] == [IN, OUT]


@pytest.mark.parametrize("direction", list(Direction))
def test_an_sa_is_removed_once(sadb: Sadb, direction: Direction) -> None:
    record = sadb.add(make_sa(direction), 0, NOW)
    assert sadb.remove(make_sa(direction)) is record
    assert sadb.find(direction, record.sa.key) is None
    with pytest.raises(UnknownSa, match="0x3e9"):
        sadb.remove(make_sa(direction))


@pytest.mark.parametrize("direction", list(Direction))
@pytest.mark.parametrize("spi", [-1, 0, 1, 255, 2**32, 2**64 - 1])
def test_spis_outside_the_field_are_refused(sadb: Sadb, direction: Direction, spi: int) -> None:
    with pytest.raises(BadSa, match="is not in 256"):
        sadb.add(make_sa(direction, spi=spi), 0, NOW)
    assert len(sadb) == 0


@pytest.mark.parametrize("spi", [256, 257, 65535, 65536, 2**31, 2**32 - 1])
def test_spis_inside_it_are_not(sadb: Sadb, spi: int) -> None:
    sadb.add(make_sa(IN, spi=spi), 0, NOW)
    assert sadb.inbound(spi, OUTER[4][1].packed, 50)


def test_other_nonsense_is_refused(sadb: Sadb) -> None:
    with pytest.raises(BadSa, match="different families"):
        sadb.add(make_sa(IN, source=OUTER[6][0]), 0, NOW)
    for window in (-1, 4097):
        with pytest.raises(BadSa, match="replay window"):
            sadb.add(make_sa(IN, replay_window=window), 0, NOW)
    for sequence in (-1, 2**32):
        with pytest.raises(BadSa, match="sequence number"):
            sadb.add(make_sa(OUT), sequence, NOW)
    with pytest.raises(BadKeyLength):
        sadb.add(make_sa(OUT, cipher_key=bytes(17)), 0, NOW)
    with pytest.raises(UnknownAlgorithm):
        sadb.add(make_sa(IN, auth="md4"), 0, NOW)
    assert len(sadb) == 0


@pytest.mark.parametrize(("protocol", "mode"), [(Protocol.AH, Mode.TUNNEL), (Protocol.ESP, Mode.TRANSPORT)])
def test_what_can_not_be_sealed_yet_has_no_sealer(sadb: Sadb, protocol: Protocol, mode: Mode) -> None:
    inbound = sadb.add(make_sa(IN, protocol=protocol, mode=mode), 0, NOW)
    outbound = sadb.add(make_sa(OUT, protocol=protocol, mode=mode), 0, NOW)
    assert isinstance(inbound, Inbound) and inbound.opener is None
    assert isinstance(outbound, Outbound) and outbound.sealer is None


def test_usage_counts(sadb: Sadb) -> None:
    usage = sadb.add(make_sa(IN), 0, NOW).usage
    usage.count(100, NOW + 1)
    usage.count(50, NOW + 2)
    usage.count_drop(Reason.REPLAY)
    usage.count_drop(Reason.REPLAY)
    usage.count_drop(Reason.DUMMY)
    assert (usage.packets, usage.octets, usage.last_use) == (2, 150, NOW + 2)
    assert usage.drops == {Reason.REPLAY: 2, Reason.DUMMY: 1}

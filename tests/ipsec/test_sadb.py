"""SAs come into service, are found, and go."""

import pytest

from culvert.ipsec.algorithms import BadKeyLength, UnknownAlgorithm
from culvert.ipsec.drops import Reason
from culvert.ipsec.sa import Direction, Protocol, SaKey, UdpPorts
from culvert.ipsec.sadb import BadSa, DuplicateSa, Inbound, Outbound, Sadb, UnknownSa
from tests.ipsec.building import NOW, OUTER, REQID, dice, make_sa

IN, OUT = Direction.IN, Direction.OUT
ESP, AH = Protocol


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
    assert sadb.outbound(5, ESP) is records["a"]
    assert sadb.outbound(6, ESP) is None
    assert sadb.outbound(5, AH) is None
    sadb.remove(records["a"].sa)
    assert sadb.outbound(5, ESP) is records["b"]
    sadb.remove(records["b"].sa)
    sadb.remove(records["c"].sa)
    assert sadb.outbound(5, ESP) is None
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


def test_two_protocols_serve_the_same_policy(sadb: Sadb) -> None:
    esp = sadb.add(make_sa(OUT), 0, NOW)
    signed = sadb.add(make_sa(OUT, protocol=AH), 0, NOW)
    assert (sadb.outbound(REQID, ESP), sadb.outbound(REQID, AH)) == (esp, signed)
    assert sadb.has_outbound(esp.sa.key) and sadb.has_outbound(signed.sa.key)
    assert list(sadb.all_outbound()) == [esp, signed]
    sadb.remove(esp.sa)
    assert (sadb.outbound(REQID, ESP), sadb.outbound(REQID, AH)) == (None, signed)
    assert not sadb.has_outbound(esp.sa.key)


def test_extended_numbers_need_a_window_and_go_to_their_end(sadb: Sadb) -> None:
    with pytest.raises(BadSa, match="need a replay window"):
        sadb.add(make_sa(IN, esn=True, replay_window=0), 0, NOW)
    with pytest.raises(BadSa, match="sequence number"):
        sadb.add(make_sa(OUT, esn=True), 2**64, NOW)
    assert sadb.add(make_sa(OUT, esn=True), 2**64 - 1, NOW).sequence == 2**64 - 1
    assert sadb.add(make_sa(IN, esn=True), 2**64 - 1, NOW).sequence == 2**64 - 1


def test_keep_alives_are_for_udp(sadb: Sadb) -> None:
    with pytest.raises(BadSa, match="goes in UDP"):
        sadb.add(make_sa(OUT, keep_alive_seconds=20), 0, NOW)
    sadb.add(make_sa(OUT, keep_alive_seconds=20, encapsulation=UdpPorts()), 0, NOW)


@pytest.mark.parametrize(("outer", "largest"), [(4, 65535), (6, 65575)])
def test_what_is_known_of_the_path(sadb: Sadb, outer: int, largest: int) -> None:
    wide = sadb.add(make_sa(OUT, outer=outer), 0, NOW)
    narrow = sadb.add(make_sa(OUT, outer=outer, spi=300, path_mtu=1400), 0, NOW)
    assert isinstance(wide, Outbound) and isinstance(narrow, Outbound)
    assert (wide.mtu(NOW), narrow.mtu(NOW)) == (largest, 1400)
    # Never wider than the link, and believed for ten minutes (RFC 1191 section 6.3).
    assert (wide.learn_mtu(1350, NOW), narrow.learn_mtu(1450, NOW)) == (1350, 1400)
    assert narrow.learn_mtu(1350, NOW) == 1350
    assert (wide.mtu(NOW + 599), narrow.mtu(NOW + 599)) == (1350, 1350)
    assert (wide.mtu(NOW + 600), narrow.mtu(NOW + 600)) == (largest, 1400)
    floor = 576 if outer == 4 else 1280
    assert wide.learn_mtu(68, NOW) == wide.learn_mtu(0, NOW) == floor
    tiny = sadb.add(make_sa(OUT, outer=outer, spi=301, path_mtu=400), 0, NOW)
    assert isinstance(tiny, Outbound) and tiny.learn_mtu(1000, NOW) == 400


def test_usage_counts(sadb: Sadb) -> None:
    usage = sadb.add(make_sa(IN), 0, NOW).usage
    usage.count(100, NOW + 1)
    usage.count(50, NOW + 2)
    usage.count_drop(Reason.REPLAY)
    usage.count_drop(Reason.REPLAY)
    usage.count_drop(Reason.DUMMY)
    assert (usage.packets, usage.octets, usage.last_use) == (2, 150, NOW + 2)
    assert usage.drops == {Reason.REPLAY: 2, Reason.DUMMY: 1}

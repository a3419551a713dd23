"""Reading the displays, in the shapes of the procedure's own samples."""

import pytest

from culvert.lab import shows
from culvert.lab.shows import SaDetail, SaLine, Stat

SHORT = """IPsec::SecurityAssociations
10.100.20.3 -> 165.160.15.20 SPI(0x7b438626) in esp (tmm: 6)
165.160.15.20 -> 10.100.20.3 SPI(0x5e52a1db) out esp (tmm: 5)
Total records returned: 2
"""

ALL = """IPsec::SecurityAssociations
165.160.15.20 -> 10.100.20.3
-----------------------------------------------------------------------------
  tmm: 2
  Direction: out;  SPI: 0x6be3ff01(1810104065);  ReqID: 0x9b0a(39690)
  Protocol: esp;  Mode: tunnel;  State: mature
  Authenticated Encryption : aes-gmac128
  Current Usage: 307488 bytes
  Hard lifetime: 94 seconds; unlimited bytes
"""

STAT = """-------------------------------------------------------------------
Net::Ipsec
Cmd Id  Mode       Packets In  Bytes In  Packets Out  Bytes Out
-------------------------------------------------------------------
0       TRANSPORT           0         0            0          0
0       TUNNEL              0         0            0          0
1       TUNNEL         353.9K    252.4M        24.9K       1.8M
2       TUNNEL            100     41.0M       163.3K      12.4M
"""


def test_the_short_form() -> None:
    assert shows.security_associations(SHORT) == [
        SaLine("10.100.20.3", "165.160.15.20", 0x7B438626, "in", "esp"),
        SaLine("165.160.15.20", "10.100.20.3", 0x5E52A1DB, "out", "esp"),
    ]
    assert shows.security_associations("IPsec::SecurityAssociations\nTotal records returned: 0\n") == []


def test_all_properties() -> None:
    assert shows.details(ALL + ALL) == [SaDetail(0x6BE3FF01, "mature", 307488)] * 2


def test_statistics_are_summed_over_all_rows() -> None:
    assert shows.statistics(STAT) == Stat(354_000, 293_400_000, 188_200, 14_200_000)
    assert shows.statistics("") == Stat(0, 0, 0, 0)


@pytest.mark.parametrize(
    ("word", "value"), [("0", 0), ("999", 999), ("353.9K", 353_900), ("1.8M", 1_800_000), ("2G", 2 * 10**9)]
)
def test_units(word: str, value: int) -> None:
    assert shows.number(word) == value


def test_growth_asks_for_both_directions() -> None:
    before = Stat(10, 100, 10, 100)
    assert Stat(30, 300, 30, 300).grew_from(before, 20)
    assert not Stat(30, 300, 29, 300).grew_from(before, 20)
    assert not Stat(29, 300, 30, 300).grew_from(before, 20)
    assert not Stat(30, 100, 30, 300).grew_from(before, 20)

"""The rows and the words of `ip xfrm` they become; what a kernel makes of them, `make test-kernel` tells."""

import os
from collections import Counter

import pytest

from culvert.change import AddPolicy, AddSa
from culvert.ipsec.algorithms import CIPHERS
from culvert.ipsec.gateway import Gateway
from tests.kernel import ours, page, words
from tests.kernel.faults import CHECKS
from tests.kernel.guest import chosen
from tests.kernel.keys import rings, spi
from tests.kernel.rows import AH, KERNEL_AUTHS, ROWS, SHORT, TRANSPORT, Row


def lines(row: Row) -> list[str]:
    """Without the keys."""
    return ["K" if part.startswith("0x") and len(part) > 8 else part for part in words.installed(row).split()]


def test_every_row_has_a_name_of_its_own() -> None:
    assert max(Counter(row.name for row in ROWS).values()) == 1


def test_every_algorithm_and_fault_that_linux_knows_has_a_row() -> None:
    assert {row.cipher for row in ROWS} == set(CIPHERS)
    assert {row.auth for row in ROWS if row.protocol == AH} == set(KERNEL_AUTHS)
    assert {row.fault for row in ROWS} == {"", *CHECKS}


def test_a_short_run_has_something_of_everything() -> None:
    assert set(SHORT) <= set(ROWS)
    assert chosen(short=True, names=[]) == [row for row in ROWS if row in SHORT]
    for field in ("protocol", "mode", "inner", "outer", "esn", "udp", "ipcomp", "bundle"):
        assert len({getattr(row, field) for row in SHORT}) == 2, field


def test_a_name_may_stand_for_several() -> None:
    assert [row.name for row in chosen(short=False, names=["ah-tunnel-4in4-sha1"])] == ["ah-tunnel-4in4-sha1"]
    assert len(chosen(short=False, names=["ah-*"])) == sum(row.protocol == AH for row in ROWS)
    with pytest.raises(SystemExit):
        chosen(short=False, names=["nothing"])


@pytest.mark.parametrize("row", ROWS, ids=[row.name for row in ROWS])
def test_culvert_takes_every_row(row: Row) -> None:
    gateway = Gateway(os.urandom)
    for change in ours.added(row):
        if isinstance(change, AddSa):
            gateway.add_sa(change.sa, now=0.0)
        elif isinstance(change, AddPolicy):
            gateway.add_policy(change.policy)
    assert 1000 < ours.tunnel_mtu(row) < 1500


def test_no_two_rows_share_an_spi() -> None:
    numbers = Counter(spi(row, ring, side) for row in ROWS for ring in rings(row) for side in "ab")
    assert max(numbers.values()) == 1


def test_the_vendors_row() -> None:
    text = words.installed(Row())
    assert text.count("xfrm state add") == text.count("xfrm policy add") == 2
    first = text.splitlines()[0].split()
    assert first[:8] == ["xfrm", "state", "add", "src", "3.3.3.3", "dst", "2.2.2.2", "proto"]
    assert first[-7:-2] == ["auth-trunc", "hmac(sha1)", first[-5], "96", "enc"]
    assert [len(first[-5]), len(first[-1])] == [42, 34]


@pytest.mark.parametrize(
    ("row", "wanted"),
    [
        (Row(cipher="aes-gcm256-icv8", auth="none"), "aead rfc4106(gcm(aes)) K 64"),
        (Row(cipher="chacha20-poly1305", auth="none"), "aead rfc7539esp(chacha20,poly1305) K 128"),
        (Row(auth="sha256-96"), "auth-trunc hmac(sha256) K 96"),
        (Row(cipher="null"), 'enc ecb(cipher_null) ""'),
        (Row(auth="sha256", esn=True), "replay-window 64 flag esn af-unspec"),
        (Row(protocol=AH), "flag align4 af-unspec"),
        (Row(auth="sha256", udp=True), "encap espinudp 4500 4500 0.0.0.0"),
        (
            Row(mode=TRANSPORT, auth="sha256", udp=True),
            "proto udp sport 4500 dport 4500 dir in priority 9",
        ),
        (Row(auth="sha256", ipcomp=True), "mode tunnel flag af-unspec comp deflate"),
        (Row(auth="sha256", ipcomp=True), "mode tunnel level use tmpl"),
    ],
)
def test_what_linux_is_told(row: Row, wanted: str) -> None:
    assert wanted in " ".join(lines(row))


def test_a_bundle_is_signed_last() -> None:
    policy = words.installed(Row(auth="sha256", bundle=True)).splitlines()[-1]
    assert policy.index("proto esp") < policy.index("proto ah")


def test_the_page_tells_failures() -> None:
    results = [
        {"complaint": "", "row": row_fields(Row())},
        {"complaint": "it did not arrive", "row": row_fields(Row(protocol=AH, esn=True, fault="replay"))},
    ]
    text = page.written(results, "6.1.0", "native (portable)")
    assert "1 of 2 rows passed" in text
    assert "| ESP | tunnel | IPv4 in IPv4 | aes128 | sha1 |  |  | ok |" in text
    assert "| AH | tunnel | IPv4 in IPv4 |  | sha1 | ESN | replay | FAILED |" in text


def row_fields(row: Row) -> dict[str, object]:
    return {name: getattr(row, name) for name in Row.__dataclass_fields__}

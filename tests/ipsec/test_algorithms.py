"""The table of algorithms: its names, its lengths, and what every row does alike."""

import hmac
import random as seeded
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from culvert.ipsec.algorithms import (
    AUTHS,
    CIPHERS,
    NO_AUTH,
    NONE,
    AuthRow,
    BadKeyLength,
    CipherRow,
    Random,
    Standing,
    UnknownAlgorithm,
    auth_row,
    check_key_length,
    cipher_row,
)
from tests.ipsec.published import published

ROWS: list[CipherRow | AuthRow] = [*CIPHERS.values(), *AUTHS.values()]
SEPARATE = [name for name, row in CIPHERS.items() if row.prepare is not None]
COMBINED = [name for name, row in CIPHERS.items() if row.prepare_combined is not None]
CBC = ["3des", "aes128", "aes192", "aes256"]
COUNTER = [name for name, row in CIPHERS.items() if row.counter]
ASSOCIATED = b"SPI and number"
LAST_NUMBER = 2**64 - 1

KEY_OCTETS = {
    "null": 0,
    "3des": 24,
    **{f"aes{bits}": bits // 8 for bits in (128, 192, 256)},
    **{f"aes-{mode}{bits}": bits // 8 + 4 for mode in ("ctr", "gcm", "gmac") for bits in (128, 192, 256)},
    **{f"aes-gcm{bits}-icv{icv}": bits // 8 + 4 for icv in (12, 8) for bits in (128, 192, 256)},
    **{f"aes-ccm{bits}{icv}": bits // 8 + 3 for icv in ("", "-icv12", "-icv8") for bits in (128, 192, 256)},
    "chacha20-poly1305": 36,
}
"""RFC 2410, 2451, 3602, 3686, 4106, 4309, 4543, 7634: with salt or nonce."""
AUTH_KEY_OCTETS = {
    "md5": 16,
    "sha1": 20,
    "sha256": 32,
    "sha256-96": 32,
    "sha384": 48,
    "sha512": 64,
    "aes-xcbc": 16,
    "aes-cmac": 16,
    **{f"aes-gmac{bits}": bits // 8 + 4 for bits in (128, 192, 256)},
}
"""RFC 2403, 2404, 4868, 3566, 4494, 4543."""
ICV_OCTETS = {"md5": 12, "sha1": 12, "sha256": 16, "sha256-96": 12, "sha384": 24, "sha512": 32, "aes-xcbc": 12}

PUBLISHED_FAMILIES = {
    "aes-cbc": CBC[1:],
    "aes-ctr": [name for name in CIPHERS if name.startswith("aes-ctr")],
    "aes-gcm": [name for name in CIPHERS if name.startswith("aes-gcm")],
    "aes-gmac": [name for name in CIPHERS if name.startswith("aes-gmac")],
    "aes-ccm": [name for name in CIPHERS if name.startswith("aes-ccm")],
    "chacha20-poly1305": ["chacha20-poly1305"],
    "3des-cbc": ["3des"],
    "hmac-md5-96": ["md5"],
    "hmac-sha1-96": ["sha1"],
    "hmac-sha256-128": ["sha256"],
    "hmac-sha384-192": ["sha384"],
    "hmac-sha512-256": ["sha512"],
    "aes-xcbc-96": ["aes-xcbc"],
    "aes-cmac-96": ["aes-cmac"],
}
"""The names of tests/vectors/published.json, which knows no key length of its own for DES: no row has it."""

by_name = pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)


def dice(seed: int = 1) -> Random:
    """A source of octets that looks random and is the same in every run."""
    return seeded.Random(seed).randbytes


def key_of(row: CipherRow | AuthRow, seed: int = 7) -> bytes:
    return dice(seed)(row.key_octets)


def both_ways(row: CipherRow) -> tuple[Callable[[int, bytes], bytes], Callable[[bytes], bytes | None]]:
    """Hide and show, whatever sort of cipher it is."""
    key = key_of(row)
    if row.prepare is not None:
        return row.prepare(key, dice())
    assert row.prepare_combined is not None
    seal, unseal = row.prepare_combined(key)
    return lambda number, clear: seal(number, ASSOCIATED, clear), lambda sealed: unseal(ASSOCIATED, sealed)


# The table


def test_the_names_are_those_of_tmsh() -> None:
    assert set(CIPHERS) == set(KEY_OCTETS)
    assert set(AUTHS) == set(AUTH_KEY_OCTETS)
    assert all(row.name == name for table in (CIPHERS, AUTHS) for name, row in table.items())


@by_name
def test_every_row_is_complete(row: CipherRow | AuthRow) -> None:
    assert row.title and row.rfc
    assert 0 <= row.salt_octets <= row.key_octets
    # Linux has no GMAC in AH; Wireshark has no CCM, GMAC, XCBC or CMAC.
    assert row.kernel_name or (isinstance(row, AuthRow) and row.only_ah)
    assert row.wireshark_name or row.rfc in (3566, 4309, 4494, 4543)


def test_a_cipher_row_is_of_one_sort() -> None:
    assert not set(SEPARATE) & set(COMBINED)
    assert set(SEPARATE) | set(COMBINED) == set(CIPHERS)
    for name, row in CIPHERS.items():
        assert row.combined == (name in COMBINED) == (row.icv_octets > 0)


def test_titles_tell_rows_apart() -> None:
    for table in (CIPHERS, AUTHS):
        assert len({row.title for row in table.values()}) == len(table)


def test_counter_modes_and_weak_rows_say_why() -> None:
    assert set(COUNTER) == set(CIPHERS) - {"null", *CBC}
    assert {name for name, row in AUTHS.items() if row.counter} == {"aes-gmac128", "aes-gmac192", "aes-gmac256"}
    assert {row.name for row in ROWS if row.standing.is_weak} == {"3des", "md5", "sha256-96"}
    for row in ROWS:
        assert bool(row.why) == (row.counter or row.standing.is_weak)


def test_weak_is_what_rfc_8221_warns_of() -> None:
    assert {standing for standing in Standing if standing.is_weak} == {Standing.SHOULD_NOT, Standing.MUST_NOT}


def test_what_rfc_8221_wants_of_everybody_is_there() -> None:
    wanted = {row.name for row in ROWS if row.standing is Standing.MUST}
    assert wanted == {"null", "aes128", "aes256", "aes-gcm128", "aes-gcm256", "sha1", "sha256"}


def test_only_gmac_is_for_ah_alone() -> None:
    assert {name for name, row in AUTHS.items() if row.only_ah} == {"aes-gmac128", "aes-gmac192", "aes-gmac256"}


def test_rows_are_found_by_name_only() -> None:
    assert cipher_row("aes256") is CIPHERS["aes256"]
    assert auth_row("sha1") is AUTHS["sha1"]
    with pytest.raises(UnknownAlgorithm, match="rot13"):
        cipher_row("rot13")
    with pytest.raises(UnknownAlgorithm, match="null"):
        auth_row("null")
    for name in ("des", "AES256", "", "none"):
        with pytest.raises(UnknownAlgorithm, match="no cipher"):
            cipher_row(name)
    with pytest.raises(UnknownAlgorithm, match="no authentication algorithm"):
        auth_row("aes256")


def test_none_stands_beside_a_combined_cipher_and_is_no_row_of_the_table() -> None:
    assert auth_row(NONE) is NO_AUTH
    assert NONE not in AUTHS and NONE not in CIPHERS
    assert NO_AUTH.key_octets == NO_AUTH.icv_octets == 0
    sign, verify = NO_AUTH.prepare(b"")
    assert sign(1, b"octets") == b""
    assert verify(b"octets", b"")
    assert not verify(b"octets", b"\0")


# Lengths


@by_name
def test_key_lengths_are_exact(row: CipherRow | AuthRow) -> None:
    octets = (KEY_OCTETS if isinstance(row, CipherRow) else AUTH_KEY_OCTETS)[row.name]
    check_key_length(row, octets)
    for wrong in set(range(70)) - {octets}:
        with pytest.raises(BadKeyLength, match=f"{row.name} wants a key of {octets} octets, not {wrong}"):
            check_key_length(row, wrong)


def accepts(row: CipherRow | AuthRow, octets: int) -> bool:
    try:
        check_key_length(row, octets)
    except BadKeyLength:
        return False
    return True


@pytest.mark.parametrize("case", published()["configuration"]["key_lengths"], ids=lambda case: case["alg"])
def test_published_key_lengths_are_accepted_and_rejected(case: dict[str, Any]) -> None:
    if case["alg"] == "des-cbc":
        assert not any(octets in case["octets_accepted"] for octets in KEY_OCTETS.values())
        return
    rows = [(CIPHERS if name in CIPHERS else AUTHS)[name] for name in PUBLISHED_FAMILIES[case["alg"]]]
    assert {octets for octets in case["octets_accepted"] if any(accepts(row, octets) for row in rows)} == set(
        case["octets_accepted"]
    )
    assert not [octets for octets in case["octets_rejected"] if any(accepts(row, octets) for row in rows)]
    assert {row.key_octets for row in rows} == set(case["octets_accepted"])


def test_a_published_key_that_is_a_character_short_is_rejected() -> None:
    case = published()["configuration"]["published_bad_example"]
    with pytest.raises(BadKeyLength, match="3des wants a key of 24 octets, not 23"):
        check_key_length(cipher_row("3des"), len(case["key_text"].encode()))


@pytest.mark.parametrize("name", CIPHERS)
@pytest.mark.parametrize("clear_octets", [0, 48])
def test_a_cipher_adds_iv_and_icv_and_nothing_else(name: str, clear_octets: int) -> None:
    row = CIPHERS[name]
    hide, _show = both_ways(row)
    assert len(hide(1, bytes(clear_octets))) == row.iv_octets + clear_octets + row.icv_octets


@pytest.mark.parametrize("name", AUTHS)
def test_an_icv_is_as_long_as_its_row_says(name: str) -> None:
    row = AUTHS[name]
    assert row.icv_octets == ICV_OCTETS.get(name, 24 if row.only_ah else 12)
    sign = row.prepare(key_of(row)).sign
    assert {len(sign(number, bytes(number))) for number in range(40)} == {row.icv_octets}


# Behaviour


@pytest.mark.parametrize("name", CIPHERS)
@settings(max_examples=25)
@given(st.lists(st.integers(0, 20), min_size=1, max_size=5))
def test_a_stream_of_packets_decrypts_in_any_order(name: str, blocks: list[int]) -> None:
    row = CIPHERS[name]
    hide, show = both_ways(row)
    clear = [bytes((index,)) * (count * row.block_octets) for index, count in enumerate(blocks)]
    hidden = [hide(number, octets) for number, octets in enumerate(clear, 1)]
    assert [show(octets) for octets in reversed(hidden)] == clear[::-1]


@pytest.mark.parametrize("name", [name for name in CIPHERS if name != "null" and "gmac" not in name])
def test_clear_text_is_hidden(name: str) -> None:
    hide, _show = both_ways(CIPHERS[name])
    clear = dice(3)(64)
    assert not any(clear[at : at + 8] in hide(1, clear) for at in range(56))


@pytest.mark.parametrize("name", CBC)
def test_ivs_differ_and_are_not_the_random_octets_or_the_last_block(name: str) -> None:
    row = CIPHERS[name]
    said: list[bytes] = []

    def random(count: int) -> bytes:
        said.append(dice(len(said))(count))
        return said[-1]

    assert row.prepare is not None
    encrypt = row.prepare(key_of(row), random).encrypt
    packets = [encrypt(7, bytes(64)) for _ in range(200)]
    ivs = [packet[: row.iv_octets] for packet in packets]
    assert len(set(ivs)) == 200
    assert len(said) == 200
    assert {len(octets) for octets in said} == {row.block_octets}
    assert not set(ivs) & set(said)
    assert not set(ivs) & {packet[-row.block_octets :] for packet in packets}


@pytest.mark.parametrize("name", CBC)
def test_a_broken_random_source_still_gives_no_iv_twice(name: str) -> None:
    row = CIPHERS[name]
    assert row.prepare is not None
    encrypt = row.prepare(key_of(row), bytes).encrypt
    assert len({encrypt(7, bytes(64))[: row.iv_octets] for _ in range(200)}) == 200


@pytest.mark.parametrize("name", COUNTER)
@pytest.mark.parametrize("number", [0, 1, 2**32 - 1, 2**32, LAST_NUMBER])
def test_the_iv_of_a_counter_mode_is_the_whole_sequence_number(name: str, number: int) -> None:
    hide, show = both_ways(CIPHERS[name])
    hidden = hide(number, b"octets")
    assert hidden[:8] == number.to_bytes(8, "big")
    assert show(hidden) == b"octets"


@pytest.mark.parametrize("name", [name for name in COUNTER if "gmac" not in name])
def test_two_sequence_numbers_never_share_a_key_stream(name: str) -> None:
    hide, _show = both_ways(CIPHERS[name])
    streams = {hide(number, bytes(16))[8:24] for number in (0, 1, 2, 2**32, 2**32 + 1, LAST_NUMBER)}
    assert len(streams) == 6


@pytest.mark.parametrize("name", [name for name, row in CIPHERS.items() if row.salt_octets])
def test_every_octet_of_the_salt_counts(name: str) -> None:
    row = CIPHERS[name]
    key = key_of(row)
    prepare = row.prepare_combined
    for at in range(row.key_octets - row.salt_octets, row.key_octets):
        other = key[:at] + bytes((key[at] ^ 1,)) + key[at + 1 :]
        if prepare is not None:
            sealed = prepare(key).seal(1, ASSOCIATED, b"octets")
            assert prepare(other).unseal(ASSOCIATED, sealed) is None
        else:
            assert row.prepare is not None
            assert row.prepare(key, dice()).encrypt(1, bytes(16)) != row.prepare(other, dice()).encrypt(1, bytes(16))


@pytest.mark.parametrize("name", COMBINED)
def test_a_wrong_icv_is_refused(name: str) -> None:
    row = CIPHERS[name]
    assert row.prepare_combined is not None
    seal, unseal = row.prepare_combined(key_of(row))
    sealed = seal(5, ASSOCIATED, bytes(40))
    for wrong in (
        bytes(row.icv_octets),
        b"\xff" * row.icv_octets,
        bytes((sealed[-1] ^ 1,)).rjust(row.icv_octets, b"\0"),
    ):
        assert unseal(ASSOCIATED, sealed[: -row.icv_octets] + wrong) is None
    assert unseal(ASSOCIATED, sealed[: -row.icv_octets] + sealed[-row.icv_octets :][::-1]) is None
    assert unseal(ASSOCIATED[:-1], sealed) is None
    assert row.prepare_combined(key_of(row, seed=8)).unseal(ASSOCIATED, sealed) is None
    assert unseal(ASSOCIATED, sealed) == bytes(40)


@pytest.mark.parametrize("name", AUTHS)
def test_a_wrong_icv_of_an_auth_row_is_refused(name: str) -> None:
    row = AUTHS[name]
    sign, verify = row.prepare(key_of(row))
    icv = sign(5, b"octets")
    assert verify(b"octets", icv)
    for wrong in (bytes(row.icv_octets), b"\xff" * row.icv_octets, icv[::-1], icv[:-1], icv + b"\0"):
        assert not verify(b"octets", wrong)
    assert not verify(b"octet", icv)
    assert not row.prepare(key_of(row, seed=8)).verify(b"octets", icv)


@pytest.mark.parametrize("name", [name for name, row in AUTHS.items() if not row.only_ah])
def test_the_sequence_number_is_no_part_of_other_icvs(name: str) -> None:
    row = AUTHS[name]
    sign = row.prepare(key_of(row)).sign
    assert sign(1, b"octets") == sign(LAST_NUMBER, b"octets")


@pytest.mark.parametrize("name", ["md5", "sha1", "sha256", "sha256-96", "sha384", "sha512"])
def test_sign_agrees_with_the_standard_library(name: str) -> None:
    row = AUTHS[name]
    key = key_of(row)
    sign = row.prepare(key).sign
    for count in (0, 1, 63, 64, 65, 127, 128, 129, 1500):
        assert sign(count, bytes(count)) == hmac.digest(key, bytes(count), name.split("-")[0])[: row.icv_octets]

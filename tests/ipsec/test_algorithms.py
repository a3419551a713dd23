"""The table of algorithms, and every published known answer for the rows that it has."""

import hmac

import pytest
from hypothesis import given
from hypothesis import strategies as st

from culvert.ipsec.algorithms import (
    AUTHS,
    CIPHERS,
    AuthRow,
    BadKeyLength,
    CipherRow,
    UnknownAlgorithm,
    auth_row,
    check_key_length,
    cipher_row,
)
from tests.ipsec.building import AUTH_KEY, CIPHER_KEYS, dice
from tests.ipsec.published import CipherAnswer, cipher_answers, octets_that_give_iv, published

ROWS: list[CipherRow | AuthRow] = [*CIPHERS.values(), *AUTHS.values()]


def sha1_answers() -> list[dict[str, str]]:
    answers = [case for case in published()["primitives"] if case["alg"] == "hmac-sha1"]
    return [case for case in answers if len(case["result"]) == 40]


@pytest.mark.parametrize("case", sha1_answers(), ids=lambda case: case["id"])
def test_hmac_sha1_96_is_rfc_2202_cut_to_96_bits(case: dict[str, str]) -> None:
    sign = AUTHS["sha1"].prepare_sign(bytes.fromhex(case["key"]))
    for _packet in range(3):
        assert sign(bytes.fromhex(case["message"])).hex() == case["result"][:24]


@pytest.mark.parametrize("answer", cipher_answers(), ids=lambda answer: answer.name)
def test_known_answers_decrypt(answer: CipherAnswer) -> None:
    decrypt = CIPHERS[answer.cipher].prepare_decrypt(answer.key)
    for _packet in range(3):
        assert decrypt(answer.iv + answer.result) == answer.message


@pytest.mark.parametrize("answer", cipher_answers(), ids=lambda answer: answer.name)
def test_known_answers_encrypt(answer: CipherAnswer) -> None:
    chosen = octets_that_give_iv(answer.cipher, answer.key, answer.iv)
    encrypt = CIPHERS[answer.cipher].prepare_encrypt(answer.key, lambda _count: chosen)
    assert encrypt(answer.message) == answer.iv + answer.result


@pytest.mark.parametrize("name", CIPHERS)
@given(st.lists(st.integers(0, 20), min_size=1, max_size=5))
def test_a_stream_of_packets_decrypts_in_any_order(name: str, blocks: list[int]) -> None:
    row, key = CIPHERS[name], CIPHER_KEYS[name]
    encrypt, decrypt = row.prepare_encrypt(key, dice()), row.prepare_decrypt(key)
    clear = [bytes((index,)) * (count * row.block_octets) for index, count in enumerate(blocks)]
    ciphered = [encrypt(octets) for octets in clear]
    assert [decrypt(octets) for octets in reversed(ciphered)] == clear[::-1]


@pytest.mark.parametrize("name", [name for name, row in CIPHERS.items() if row.iv_octets])
def test_ivs_differ_and_are_not_the_random_octets_or_the_last_block(name: str) -> None:
    row = CIPHERS[name]
    said: list[bytes] = []

    def random(count: int) -> bytes:
        said.append(dice(len(said))(count))
        return said[-1]

    encrypt = row.prepare_encrypt(CIPHER_KEYS[name], random)
    packets = [encrypt(bytes(64)) for _ in range(200)]
    ivs = [packet[: row.iv_octets] for packet in packets]
    assert len(set(ivs)) == 200
    assert len(said) == 200
    assert {len(octets) for octets in said} == {row.block_octets}
    assert not set(ivs) & set(said)
    assert not set(ivs) & {packet[-row.block_octets :] for packet in packets}


@pytest.mark.parametrize("name", [name for name, row in CIPHERS.items() if row.iv_octets])
def test_a_broken_random_source_still_gives_no_iv_twice(name: str) -> None:
    row = CIPHERS[name]
    encrypt = row.prepare_encrypt(CIPHER_KEYS[name], bytes)
    assert len({encrypt(bytes(64))[: row.iv_octets] for _ in range(200)}) == 200


def test_sign_agrees_with_the_standard_library() -> None:
    sign = AUTHS["sha1"].prepare_sign(AUTH_KEY)
    for count in (0, 1, 63, 64, 65, 1500):
        assert sign(bytes(count)) == hmac.digest(AUTH_KEY, bytes(count), "sha1")[:12]


def test_the_names_are_those_of_tmsh() -> None:
    assert set(CIPHERS) == {"null", "3des", "aes128", "aes192", "aes256"}
    assert set(AUTHS) == {"sha1"}


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_every_row_is_complete(row: CipherRow | AuthRow) -> None:
    assert row.title and row.kernel_name and row.wireshark_name and row.rfc and row.manual_keys


@pytest.mark.parametrize(
    ("name", "octets"), [("null", 0), ("3des", 24), ("aes128", 16), ("aes192", 24), ("aes256", 32), ("sha1", 20)]
)
def test_key_lengths_are_exact(name: str, octets: int) -> None:
    row = (CIPHERS | AUTHS)[name]
    check_key_length(row, octets)
    for wrong in set(range(70)) - {octets}:
        with pytest.raises(BadKeyLength, match=f"{name} wants a key of {octets} octets, not {wrong}"):
            check_key_length(row, wrong)


def test_rows_are_found_by_name_only() -> None:
    assert cipher_row("aes256") is CIPHERS["aes256"]
    assert auth_row("sha1") is AUTHS["sha1"]
    with pytest.raises(UnknownAlgorithm, match="rot13"):
        cipher_row("rot13")
    with pytest.raises(UnknownAlgorithm, match="null"):
        auth_row("null")

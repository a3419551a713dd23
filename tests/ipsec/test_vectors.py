"""Every published answer of tests/vectors/rfc*.txt, given by the rows of the algorithm table."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from culvert.ipsec.algorithms import AUTHS, CIPHERS, AuthRow, auth_row, cipher_row
from culvert.ipsec.primitives import CipherPair, SealPair
from tests.ipsec.published import octets_that_give_iv
from tests.ipsec.vectors import (
    Answer,
    CipherAnswer,
    CombinedAnswer,
    MacAnswer,
    Packet,
    answer,
    answers,
    ciphers,
    combined,
    files,
    macs,
    packets,
    records,
)

NOT_PUBLISHED = {"aes-ccm128-icv12", "aes-ccm192-icv12", "aes-gmac192", "aes-gmac256"}
"""Ciphers that nobody gives an answer for; test_primitives.py compares them with their definition."""

PACKETS = 3
"""How many packets of one SA give the same answer, where chance or the sequence number doesn't come in."""


def named(cases: Sequence[Answer]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("case", cases, ids=lambda case: case.id)


def flipped(octets: bytes) -> Iterator[bytes]:
    """With one bit the other way, for every octet another bit."""
    for at in range(len(octets)):
        yield octets[:at] + bytes((octets[at] ^ 1 << at % 8,)) + octets[at + 1 :]


def pair(cipher: str, key: bytes, iv: bytes = b"") -> CipherPair:
    """Prepared so that its first packet has this IV, if a random source decides that."""
    prepare = cipher_row(cipher).prepare
    assert prepare is not None
    chosen = b"" if cipher_row(cipher).counter else octets_that_give_iv(cipher, key, iv)
    return prepare(key, lambda _count: chosen)


def seal_pair(cipher: str, key: bytes) -> SealPair:
    prepare = cipher_row(cipher).prepare_combined
    assert prepare is not None
    return prepare(key)


def rows_of(case: MacAnswer) -> list[AuthRow]:
    """The row that the answer is for, and the one that cuts the same MAC shorter."""
    return [AUTHS[name] for name in (case.auth, f"{case.auth}-96") if name in AUTHS]


# The files themselves


@pytest.mark.parametrize("path", files(), ids=lambda path: path.name)
def test_every_file_says_where_it_is_from(path: Path) -> None:
    lines = path.read_text().splitlines()
    assert lines[0].startswith(f"# RFC {path.stem.removeprefix('rfc')}, ")
    assert lines[1].startswith("# source: ")


def test_every_record_is_read() -> None:
    written = sum(path.read_text().count("\nkind = ") for path in files())
    assert len(answers()) == written == len(macs()) + len(ciphers()) + len(combined()) + len(packets())
    assert len({found.id for found in answers()}) == written


def test_every_row_has_an_answer() -> None:
    kept = packets()
    ciphers_told = {case.cipher for case in kept} | {case.cipher for case in ciphers()}
    ciphers_told |= {case.cipher for case in combined() if case.valid}
    auths_told = {case.auth for case in kept} | {case.auth for case in macs()}
    assert set(CIPHERS) - ciphers_told == NOT_PUBLISHED
    assert set(AUTHS) <= auths_told


@pytest.mark.parametrize(
    "text",
    ["kind\n", "kind = mac\nkind = mac\n", "    00\n", "a = 1\n\n    00\n"],
    ids=["word", "twice", "lost", "apart"],
)
def test_a_damaged_file_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="line"):
        list(records(text))


@pytest.mark.parametrize("key", ["colour", "id"])
def test_a_record_with_a_field_too_many_or_too_few_is_refused(key: str) -> None:
    record = next(records(files()[0].read_text()))
    changed = record | {key: "1"} if key not in record else {name: record[name] for name in record if name != key}
    with pytest.raises((KeyError, TypeError), match=key):
        answer(changed)


# Message authentication codes


@named(macs())
def test_a_mac_is_signed_and_verified(case: MacAnswer) -> None:
    for row in rows_of(case):
        expected = (case.mac or case.icv)[: row.icv_octets]
        sign, verify = row.prepare(case.key)
        for _packet in range(PACKETS):
            icv = sign(int.from_bytes(case.iv), case.message)
            assert len(icv) == row.icv_octets
            assert icv[: len(expected)] == expected
            assert len(expected) < row.icv_octets or verify(case.message, expected)
        assert case.icv in (b"", expected) or row.name != case.auth


@named(macs())
def test_a_mac_with_a_flipped_bit_is_refused(case: MacAnswer) -> None:
    for row in rows_of(case):
        expected = (case.mac or case.icv)[: row.icv_octets]
        if len(expected) < row.icv_octets:
            continue
        verify = row.prepare(case.key).verify
        assert verify(case.message, expected)
        assert not any(verify(case.message, wrong) for wrong in flipped(expected))
        assert not any(verify(wrong, expected) for wrong in flipped(case.message or b"\0"))
        assert not verify(case.message, expected[:-1])
        assert not verify(case.message, expected + b"\0")
        assert not verify(case.message + b"\0", expected)


# Ciphers


@named(ciphers())
def test_a_cipher_decrypts(case: CipherAnswer) -> None:
    decrypt = pair(case.cipher, case.key, case.iv).decrypt
    for _packet in range(PACKETS):
        assert decrypt(case.iv + case.ciphered) == case.clear


@named(ciphers())
def test_a_cipher_encrypts(case: CipherAnswer) -> None:
    encrypt = pair(case.cipher, case.key, case.iv).encrypt
    assert encrypt(int.from_bytes(case.iv), case.clear) == case.iv + case.ciphered


# Combined ciphers


@named([case for case in combined() if case.valid])
def test_a_combined_cipher_seals_and_unseals(case: CombinedAnswer) -> None:
    seal, unseal = seal_pair(case.cipher, case.key)
    for _packet in range(PACKETS):
        sealed = seal(int.from_bytes(case.iv), case.aad, case.clear)
        assert sealed == case.iv + case.ciphered + case.icv
        assert unseal(case.aad, sealed) == case.clear


@named([case for case in combined() if case.valid])
def test_a_combined_cipher_refuses_a_flipped_bit(case: CombinedAnswer) -> None:
    unseal = seal_pair(case.cipher, case.key).unseal
    sealed = case.iv + case.ciphered + case.icv
    assert not [wrong for wrong in flipped(sealed) if unseal(case.aad, wrong) is not None]
    assert not [wrong for wrong in flipped(case.aad) if unseal(wrong, sealed) is not None]
    assert unseal(case.aad + b"\0", sealed) is None
    assert unseal(case.aad, sealed) == case.clear


@named([case for case in combined() if not case.valid])
def test_a_combined_cipher_refuses_what_is_published_as_wrong(case: CombinedAnswer) -> None:
    assert seal_pair(case.cipher, case.key).unseal(case.aad, case.iv + case.ciphered + case.icv) is None


@named([case for case in combined() if case.cipher in ("aes-gcm128", "aes-gcm192", "aes-gcm256")])
@pytest.mark.parametrize("icv_octets", [12, 8])
def test_a_shorter_icv_of_gcm_is_the_beginning_of_the_longer_one(case: CombinedAnswer, icv_octets: int) -> None:
    """NIST SP 800-38D section 7.1. (Of CCM it isn't: the length is part of what is authenticated.)"""
    seal, unseal = seal_pair(f"{case.cipher}-icv{icv_octets}", case.key)
    sealed = case.iv + case.ciphered + case.icv[:icv_octets]
    assert seal(int.from_bytes(case.iv), case.aad, case.clear) == sealed
    assert unseal(case.aad, sealed) == case.clear


# Packets, as far as the rows go


def is_combined(case: Packet) -> bool:
    return case.protocol == "esp" and cipher_row(case.cipher).combined


@named(packets())
def test_a_packet_says_what_its_fields_say(case: Packet) -> None:
    outer, body = case.outer, case.body
    assert outer[-2 * len(case.source.packed) :] == case.source.packed + case.destination.packed
    assert outer[9 if case.source.version == 4 else 6] == {"esp": 50, "ah": 51}[case.protocol]
    at = 0 if case.protocol == "esp" else 4
    assert body[at : at + 8] == case.spi.to_bytes(4) + case.sequence.to_bytes(4)
    if case.protocol == "esp":
        assert body[8:].startswith(case.iv)
        assert len(body) == 8 + len(case.iv) + len(case.clear) + case.icv_octets
        assert len(case.iv) == cipher_row(case.cipher).iv_octets
        assert len(case.cipher_key) == cipher_row(case.cipher).key_octets
    else:
        assert case.cipher == "none" and not case.cipher_key and case.pad_length is None
        assert body[0] == case.next_header
        assert body[(body[1] + 2) * 4 :] == case.payload


@named(packets())
def test_a_packet_has_the_lengths_of_its_row(case: Packet) -> None:
    row = cipher_row(case.cipher) if is_combined(case) else auth_row(case.auth)
    assert case.icv_octets == row.icv_octets
    assert len(case.auth_key) == auth_row(case.auth).key_octets


@named(packets())
def test_a_tunnelled_payload_is_the_clear_packet(case: Packet) -> None:
    if case.clear_packet is None:
        assert case.level == "transform"
    elif case.mode == "tunnel":
        assert case.clear_packet == case.payload
        assert case.next_header == {4: 4, 6: 41}[case.payload[0] >> 4]
    else:
        assert case.clear_packet.endswith(case.payload)


@named([case for case in packets("esp") if is_combined(case)])
def test_esp_with_a_combined_cipher(case: Packet) -> None:
    seal, unseal = seal_pair(case.cipher, case.cipher_key)
    sealed = case.body[8:]
    assert unseal(case.associated, sealed) == case.clear
    assert seal(int.from_bytes(case.iv), case.associated, case.clear) == sealed
    assert not [wrong for wrong in flipped(sealed) if unseal(case.associated, wrong) is not None]
    assert not [wrong for wrong in flipped(case.associated) if unseal(wrong, sealed) is not None]


@named([case for case in packets("esp") if not is_combined(case)])
def test_esp_with_a_cipher_and_an_integrity_algorithm(case: Packet) -> None:
    covered, icv = case.body[: len(case.body) - case.icv_octets], case.body[len(case.body) - case.icv_octets :]
    encrypt, decrypt = pair(case.cipher, case.cipher_key, case.iv)
    assert decrypt(covered[8:]) == case.clear
    assert encrypt(int.from_bytes(case.iv), case.clear) == covered[8:]
    sign, verify = auth_row(case.auth).prepare(case.auth_key)
    assert sign(case.number, covered + case.high) == icv
    assert verify(covered + case.high, icv)
    assert not any(verify(covered + case.high, wrong) for wrong in flipped(icv))

"""The primitives against their definitions, written a second time out of nothing but AES itself.

What RFCs publish is in test_vectors.py. Here is what they don't: every length of message, the ICVs that have no
published answer, and what a prepared function may not share between packets. A definition that stands here is held
against published answers first.
"""

from collections.abc import Callable

import pytest
from cryptography.hazmat.decrepit.ciphers.algorithms import TripleDES
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import ECB

from culvert.ipsec import primitives
from culvert.ipsec.algorithms import AUTHS, CIPHERS
from tests.ipsec.vectors import CombinedAnswer, MacAnswer, combined, macs

BLOCK = 16
SPI_AND_NUMBER = bytes.fromhex("000003e900000007")
MESSAGE = bytes(index * 7 & 0xFF for index in range(200))


def aes(key: bytes) -> Callable[[bytes], bytes]:
    """One block, enciphered."""
    return lambda block: Cipher(AES(key), ECB()).encryptor().update(block)


def xor(left: bytes, right: bytes) -> bytes:
    return bytes(a ^ b for a, b in zip(left, right, strict=True))


def chunks(octets: bytes) -> list[bytes]:
    return [octets[at : at + BLOCK] for at in range(0, len(octets), BLOCK)]


def padded(octets: bytes) -> bytes:
    return octets + bytes(-len(octets) % BLOCK)


def cbc_mac(key: bytes, octets: bytes) -> bytes:
    state = bytes(BLOCK)
    for block in chunks(octets):
        state = aes(key)(xor(state, block))
    return state


def xcbc_by_definition(key: bytes, message: bytes) -> bytes:
    """RFC 3566 section 4.2, step by step."""
    first, second, third = (aes(key)(bytes((number,)) * BLOCK) for number in (1, 2, 3))
    *blocks, last = chunks(message) or [b""]
    state = cbc_mac(first, b"".join(blocks))
    if len(last) == BLOCK:
        return aes(first)(xor(xor(last, state), second))
    return aes(first)(xor(xor(padded(last + b"\x80"), state), third))


def ccm_by_definition(key: bytes, nonce: bytes, associated: bytes, clear: bytes, icv_octets: int) -> bytes:
    """RFC 3610 section 2 with L = 4: cipher text and ICV."""
    flags = (64 if associated else 0) | (icv_octets - 2) // 2 << 3 | 3
    start = bytes((flags,)) + nonce + len(clear).to_bytes(4)
    header = padded(len(associated).to_bytes(2) + associated) if associated else b""
    tag = cbc_mac(key, start + header + padded(clear))
    counters = (b"\3" + nonce + number.to_bytes(4) for number in range(len(clear) // BLOCK + 2))
    stream = b"".join(map(aes(key), counters))
    return xor(clear, stream[BLOCK : BLOCK + len(clear)]) + xor(tag, stream[:BLOCK])[:icv_octets]


# The definitions themselves


@pytest.mark.parametrize("case", [case for case in macs() if case.auth == "aes-xcbc"], ids=lambda case: case.id)
def test_the_definition_of_xcbc_gives_the_published_answers(case: MacAnswer) -> None:
    assert xcbc_by_definition(case.key, case.message) == case.mac


@pytest.mark.parametrize(
    "case", [case for case in combined() if "ccm" in case.cipher and case.valid], ids=lambda case: case.id
)
def test_the_definition_of_ccm_gives_the_published_answers(case: CombinedAnswer) -> None:
    key, nonce = case.key[:-3], case.key[-3:] + case.iv
    assert ccm_by_definition(key, nonce, case.aad, case.clear, len(case.icv)) == case.ciphered + case.icv


# XCBC


@pytest.mark.parametrize("octets", range(4 * BLOCK + 2))
def test_xcbc_of_every_length_of_the_last_block(octets: int) -> None:
    key = bytes(range(BLOCK))
    assert primitives.aes_xcbc_mac(key)(MESSAGE[:octets]) == xcbc_by_definition(key, MESSAGE[:octets])


def test_xcbc_tells_padding_from_a_message_that_looks_like_it() -> None:
    mac = primitives.aes_xcbc_mac(bytes(range(BLOCK)))
    assert mac(b"") != mac(b"\x80" + bytes(15))
    assert mac(MESSAGE[:20]) != mac(padded(MESSAGE[:20] + b"\x80"))


def test_xcbc_keeps_nothing_between_messages() -> None:
    mac = primitives.aes_xcbc_mac(bytes(range(BLOCK)))
    lengths = (0, 16, 17, 0, 16, 17)
    found = [mac(MESSAGE[:octets]) for octets in lengths]
    assert found[:3] == found[3:]
    assert len(set(found)) == 3


# CCM and GMAC where no answer is published


@pytest.mark.parametrize("name", [name for name in CIPHERS if name.startswith("aes-ccm")])
@pytest.mark.parametrize("octets", [0, 1, 15, 16, 17, 100])
def test_ccm_of_every_row_is_its_definition(name: str, octets: int) -> None:
    row = CIPHERS[name]
    key = MESSAGE[: row.key_octets]
    assert row.prepare_combined is not None
    seal, unseal = row.prepare_combined(key)
    number = 0x0102030405060708
    nonce = key[-3:] + number.to_bytes(8)
    expected = ccm_by_definition(key[:-3], nonce, SPI_AND_NUMBER, MESSAGE[:octets], row.icv_octets)
    sealed = seal(number, SPI_AND_NUMBER, MESSAGE[:octets])
    assert sealed == number.to_bytes(8) + expected
    assert unseal(SPI_AND_NUMBER, sealed) == MESSAGE[:octets]


@pytest.mark.parametrize("bits", [128, 192, 256])
@pytest.mark.parametrize("octets", [0, 1, 16, 100])
def test_gmac_in_esp_signs_header_iv_and_payload(bits: int, octets: int) -> None:
    """RFC 4543 section 3: with the same GMAC as in AH, which has published answers for every length of key."""
    seal, unseal = primitives.aes_gmac(key := MESSAGE[: bits // 8 + 4])
    clear, iv = MESSAGE[:octets], (9).to_bytes(8)
    signed = AUTHS[f"aes-gmac{bits}"].prepare(key).sign(9, SPI_AND_NUMBER + iv + clear)
    assert signed[:8] == iv
    sealed = seal(9, SPI_AND_NUMBER, clear)
    assert sealed == iv + clear + signed[8:]
    assert unseal(SPI_AND_NUMBER, sealed) == clear


# What one packet may not leave to the next


@pytest.mark.parametrize("algorithm", [AES, TripleDES])
def test_the_iv_of_cbc_is_the_enciphered_sum_of_chance_and_the_last_block(
    algorithm: type[AES] | type[TripleDES],
) -> None:
    key = MESSAGE[1:25]
    keyed = algorithm(key)
    size = keyed.block_size // 8
    encrypt = primitives.cbc(algorithm)(key, lambda count: MESSAGE[:count]).encrypt
    last = bytes(size)
    for number in range(4):
        packet = encrypt(number, bytes(3 * size))
        expected = Cipher(keyed, ECB()).encryptor().update(xor(MESSAGE[:size], last))
        assert packet[:size] == expected
        last = packet[-size:]


def test_cbc_decrypts_what_another_sa_with_this_key_sent() -> None:
    """Two streams under one key, mixed: the decryptor depends on the packet alone."""
    prepare = primitives.cbc(AES)
    one = prepare(MESSAGE[:16], lambda count: MESSAGE[16 : 16 + count]).encrypt
    other = prepare(MESSAGE[:16], lambda count: MESSAGE[48 : 48 + count]).encrypt
    decrypt = prepare(MESSAGE[:16], bytes).decrypt
    packets = [encrypt(number, bytes((number,)) * 32) for number in range(3) for encrypt in (one, other)]
    assert [decrypt(packet) for packet in packets] == [bytes((number,)) * 32 for number in (0, 0, 1, 1, 2, 2)]


def test_cbc_knows_block_ciphers_only() -> None:
    with pytest.raises(AssertionError):
        primitives.cbc(lambda _key: object())(MESSAGE[:16], bytes)  # type: ignore[arg-type, return-value]


@pytest.mark.parametrize("octets", [0, 1, 15, 16, 17, 100])
def test_ctr_begins_at_block_one(octets: int) -> None:
    """RFC 3686 section 4."""
    key, nonce = MESSAGE[:16], MESSAGE[16:20]
    encrypt, decrypt = primitives.aes_ctr(key + nonce, bytes)
    iv = (2**40).to_bytes(8)
    stream = b"".join(aes(key)(nonce + iv + number.to_bytes(4)) for number in range(1, 9))
    packet = encrypt(2**40, MESSAGE[:octets])
    assert packet == iv + xor(MESSAGE[:octets], stream[:octets])
    assert decrypt(packet) == MESSAGE[:octets]


def test_null_changes_nothing() -> None:
    encrypt, decrypt = primitives.null(b"", bytes)
    assert encrypt(1, MESSAGE) == MESSAGE == decrypt(MESSAGE)


def test_no_sign_takes_no_icv_but_the_empty_one() -> None:
    sign, verify = primitives.no_sign(b"")
    assert sign(1, MESSAGE) == b""
    assert verify(MESSAGE, b"")
    assert not verify(MESSAGE, b"\0")


def test_hmac_keeps_nothing_between_messages() -> None:
    sign, verify = primitives.hmac(hashes.SHA256(), 16)(MESSAGE[:32])
    first = sign(1, MESSAGE)
    assert sign(2, MESSAGE[:5]) != first
    assert sign(3, MESSAGE) == first
    assert verify(MESSAGE, first)


def test_a_refused_packet_leaves_the_next_one_alone() -> None:
    for name, row in CIPHERS.items():
        if row.prepare_combined is None:
            continue
        seal, unseal = row.prepare_combined(MESSAGE[: row.key_octets])
        good = seal(1, SPI_AND_NUMBER, MESSAGE)
        assert unseal(SPI_AND_NUMBER, good[:-1] + bytes((good[-1] ^ 1,))) is None, name
        assert unseal(SPI_AND_NUMBER, good) == MESSAGE, name

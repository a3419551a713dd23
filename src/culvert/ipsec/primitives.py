"""What the rows of the algorithm table are made of: prepared functions around the one library that does cryptography.

A cipher context of the library costs several times what it does to a packet, so each SA has one for life.

Shapes. A cipher gives `(encrypt, decrypt)`, a combined cipher `(seal, unseal)`, an auth algorithm `(sign, verify)`. The
sequence number is an argument of what goes out: the counter modes make their explicit IV of it, the eight octets of the
64-bit number (RFC 4106 section 3.1 and RFC 3686 section 3.1 want no more than that it never repeats under one key).

CBC lets the stream run on: `encrypt` puts one block of random octets in front of the clear text and goes on
encrypting. What that block becomes is E(random XOR last cipher block): nobody without the key can predict it (RFC 4303
section 3.3.3; NIST SP 800-38A appendix C allows an IV that is made by the forward cipher from a nonce), and it is
exactly the IV of what follows. `decrypt` feeds the IV as a cipher block, whose clear text means nothing and is cut off.
"""

from collections.abc import Callable
from hmac import compare_digest
from typing import NamedTuple

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import cmac, hashes
from cryptography.hazmat.primitives import hmac as hazmat_hmac
from cryptography.hazmat.primitives.ciphers import BlockCipherAlgorithm, Cipher, CipherAlgorithm, modes
from cryptography.hazmat.primitives.ciphers.aead import AESCCM, AESGCM, ChaCha20Poly1305
from cryptography.hazmat.primitives.ciphers.algorithms import AES

Random = Callable[[int], bytes]
Encrypt = Callable[[int, bytes], bytes]
"""Sequence number and clear text -> IV and cipher text."""
Decrypt = Callable[[bytes], bytes]
"""IV and cipher text -> clear text."""
Seal = Callable[[int, bytes, bytes], bytes]
"""Sequence number, associated data and clear text -> IV, cipher text and ICV."""
Unseal = Callable[[bytes, bytes], bytes | None]
"""Associated data and (IV, cipher text, ICV) -> clear text, or None where the ICV is wrong."""
Sign = Callable[[int, bytes], bytes]
"""Sequence number and octets -> integrity check value."""
Verify = Callable[[bytes, bytes], bool]
"""Octets and an integrity check value -> whether it is theirs; takes the same time for every wrong one."""

IV_OCTETS = 8
"""Of every counter mode."""
TAG_OCTETS = 16
_FIRST_BLOCK = (1).to_bytes(4)
"""RFC 3686 section 4: the block counter begins at one."""


class CipherPair(NamedTuple):
    encrypt: Encrypt
    decrypt: Decrypt


class SealPair(NamedTuple):
    seal: Seal
    unseal: Unseal


class SignPair(NamedTuple):
    sign: Sign
    verify: Verify


# Ciphers


def null(_key: bytes, _random: Random) -> CipherPair:
    """RFC 2410."""
    return CipherPair(lambda _sequence, clear: clear, lambda ciphered: ciphered)


def cbc(algorithm: Callable[[bytes], CipherAlgorithm]) -> Callable[[bytes, Random], CipherPair]:
    """RFC 2451 and RFC 3602."""

    def prepare(key: bytes, random: Random) -> CipherPair:
        keyed = algorithm(key)
        assert isinstance(keyed, BlockCipherAlgorithm)
        block_octets = keyed.block_size // 8
        mode = modes.CBC(bytes(block_octets))
        encrypt = Cipher(keyed, mode).encryptor().update
        decrypt = Cipher(keyed, mode).decryptor().update
        return CipherPair(
            lambda _sequence, clear: encrypt(random(block_octets) + clear),
            lambda ciphered: decrypt(ciphered)[block_octets:],
        )

    return prepare


def aes_ctr(key: bytes, _random: Random) -> CipherPair:
    """RFC 3686: the last four octets of the keying material are the nonce."""
    nonce = key[-4:]
    state = Cipher(AES(key[:-4]), modes.CTR(bytes(16))).encryptor()

    def apply(initial: bytes, octets: bytes) -> bytes:
        state.reset_nonce(nonce + initial + _FIRST_BLOCK)
        return state.update(octets)

    def encrypt(sequence: int, clear: bytes) -> bytes:
        initial = sequence.to_bytes(IV_OCTETS)
        return initial + apply(initial, clear)

    return CipherPair(encrypt, lambda ciphered: apply(ciphered[:IV_OCTETS], ciphered[IV_OCTETS:]))


# Combined ciphers


def aes_gcm(icv_octets: int) -> Callable[[bytes], SealPair]:
    """RFC 4106: the last four octets of the keying material are the salt. The library has the longest ICV only."""
    cut = TAG_OCTETS - icv_octets

    def prepare(key: bytes) -> SealPair:
        keyed, salt = AESGCM(key[:-4]), key[-4:]
        whole = _of_library(keyed, salt)

        def unseal(associated: bytes, sealed: bytes) -> bytes | None:
            nonce = salt + sealed[:IV_OCTETS]
            # A counter mode deciphers as it enciphers; and what was sealed is sealed again to the same tag.
            clear = keyed.encrypt(nonce, sealed[IV_OCTETS:-icv_octets], None)[:-TAG_OCTETS]
            tag = keyed.encrypt(nonce, clear, associated)[-TAG_OCTETS:-cut]
            return clear if compare_digest(tag, sealed[-icv_octets:]) else None

        return SealPair(lambda *packet: whole.seal(*packet)[:-cut], unseal) if cut else whole

    return prepare


def aes_ccm(icv_octets: int) -> Callable[[bytes], SealPair]:
    """RFC 4309: the last three octets of the keying material are the salt."""

    def prepare(key: bytes) -> SealPair:
        return _of_library(AESCCM(key[:-3], tag_length=icv_octets), key[-3:])

    return prepare


def chacha20_poly1305(key: bytes) -> SealPair:
    """RFC 7634: the last four octets of the keying material are the salt."""
    return _of_library(ChaCha20Poly1305(key[:-4]), key[-4:])


def _of_library(keyed: AESGCM | AESCCM | ChaCha20Poly1305, salt: bytes) -> SealPair:
    def seal(sequence: int, associated: bytes, clear: bytes) -> bytes:
        initial = sequence.to_bytes(IV_OCTETS)
        return initial + keyed.encrypt(salt + initial, clear, associated)

    def unseal(associated: bytes, sealed: bytes) -> bytes | None:
        try:
            return keyed.decrypt(salt + sealed[:IV_OCTETS], sealed[IV_OCTETS:], associated)
        except InvalidTag:
            return None

    return SealPair(seal, unseal)


def aes_gmac(key: bytes) -> SealPair:
    """RFC 4543 section 3: ESP whose payload stays readable. The IV is authenticated, as is everything else."""
    sign, verify = _gmac(key)

    def seal(sequence: int, associated: bytes, clear: bytes) -> bytes:
        initial = sequence.to_bytes(IV_OCTETS)
        return initial + clear + sign(initial, associated + initial + clear)

    def unseal(associated: bytes, sealed: bytes) -> bytes | None:
        initial, body, tag = sealed[:IV_OCTETS], sealed[:-TAG_OCTETS], sealed[-TAG_OCTETS:]
        return body[IV_OCTETS:] if verify(initial, associated + body, tag) else None

    return SealPair(seal, unseal)


def _gmac(key: bytes) -> tuple[Callable[[bytes, bytes], bytes], Callable[[bytes, bytes, bytes], bool]]:
    keyed, salt = AESGCM(key[:-4]), key[-4:]

    def sign(initial: bytes, octets: bytes) -> bytes:
        return keyed.encrypt(salt + initial, b"", octets)

    return sign, lambda initial, octets, tag: compare_digest(sign(initial, octets), tag)


# Authentication


def no_sign(_key: bytes) -> SignPair:
    """Beside a combined cipher: nothing is left to sign."""
    return SignPair(lambda _sequence, _octets: b"", lambda _octets, icv: not icv)


def hmac(algorithm: hashes.HashAlgorithm, icv_octets: int) -> Callable[[bytes], SignPair]:
    """RFC 2403, 2404 and 4868."""

    def prepare(key: bytes) -> SignPair:
        copy = hazmat_hmac.HMAC(key, algorithm).copy

        def sign(octets: bytes) -> bytes:
            state = copy()
            state.update(octets)
            return state.finalize()[:icv_octets]

        return _pair(sign)

    return prepare


def _pair(sign: Callable[[bytes], bytes]) -> SignPair:
    return SignPair(lambda _sequence, octets: sign(octets), lambda octets, icv: compare_digest(sign(octets), icv))


def aes_cmac(key: bytes) -> SignPair:
    """RFC 4494: AES-CMAC, the first 96 bits."""
    copy = cmac.CMAC(AES(key)).copy

    def sign(octets: bytes) -> bytes:
        state = copy()
        state.update(octets)
        return state.finalize()[:12]

    return _pair(sign)


def aes_xcbc(key: bytes) -> SignPair:
    """RFC 3566: AES-XCBC-MAC, the first 96 bits."""
    mac = aes_xcbc_mac(key)
    return _pair(lambda octets: mac(octets)[:12])


def aes_xcbc_mac(key: bytes) -> Callable[[bytes], bytes]:
    """RFC 3566 section 4: CBC-MAC under K1, whose last block is mixed with K2 if it was whole, and K3 if padded.

    One chain runs on for ever; mixed with where it stands, the first block of a message begins from zero.
    """
    derive = Cipher(AES(key), modes.ECB()).encryptor().update
    chain_key, whole_key, padded_key = (derive(bytes((number,)) * 16) for number in (1, 2, 3))
    chain = Cipher(AES(chain_key), modes.CBC(bytes(16))).encryptor().update
    stands = bytes(16)

    def mac(octets: bytes) -> bytes:
        nonlocal stands
        start = max(len(octets) - 1, 0) // 16 * 16
        last, mask = octets[start:], whole_key
        if len(last) < 16:
            last, mask = (last + b"\x80").ljust(16, b"\0"), padded_key
        blocks = octets[:start] + _xor(last, mask)
        stands = chain(_xor(blocks[:16], stands) + blocks[16:])[-16:]
        return stands

    return mac


def _xor(left: bytes, right: bytes) -> bytes:
    """Of two blocks."""
    return (int.from_bytes(left) ^ int.from_bytes(right)).to_bytes(16)


def aes_gmac_sign(key: bytes) -> SignPair:
    """RFC 4543 section 4: GMAC in AH, whose ICV field is the IV and behind it the tag."""
    tag_of, verify = _gmac(key)

    def sign(sequence: int, octets: bytes) -> bytes:
        initial = sequence.to_bytes(IV_OCTETS)
        return initial + tag_of(initial, octets)

    return SignPair(sign, lambda octets, icv: verify(icv[:IV_OCTETS], octets, icv[IV_OCTETS:]))

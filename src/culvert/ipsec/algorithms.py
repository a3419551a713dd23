"""One table of rows per kind of algorithm; everyone who needs a name, a length or a cipher reads it here.

A row's `prepare_*` function does the key set-up once and gives a plain function for the packets of one SA.

CBC rows keep one cipher context for the life of an SA instead of making one per packet, which costs more
than encrypting a full-size packet does. CBC lets the stream run on: `encrypt` puts one block of random
octets in front of the clear text and goes on encrypting. What that block becomes is E(random XOR last
cipher block): nobody without the key can predict it (RFC 4303 section 3.3.3; NIST SP 800-38A appendix C
allows an IV that is made by the forward cipher from a nonce), and it is exactly the IV of what follows.
`decrypt` feeds the IV as a cipher block, whose clear text means nothing and is cut off.
"""

from collections.abc import Callable
from dataclasses import dataclass

from cryptography.hazmat.decrepit.ciphers.algorithms import TripleDES
from cryptography.hazmat.primitives import hashes, hmac
from cryptography.hazmat.primitives.ciphers import BlockCipherAlgorithm, Cipher, CipherAlgorithm, modes
from cryptography.hazmat.primitives.ciphers.algorithms import AES

Random = Callable[[int], bytes]
Encrypt = Callable[[bytes], bytes]
"""Clear text -> IV and cipher text."""
Decrypt = Callable[[bytes], bytes]
"""IV and cipher text -> clear text."""
Sign = Callable[[bytes], bytes]
"""Octets -> integrity check value."""


class UnknownAlgorithm(ValueError):
    """No row has this name."""


class BadKeyLength(ValueError):
    """A key that isn't exactly as long as its algorithm wants it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CipherRow:
    """`name` is what tmsh says; `kernel_name` what Linux XFRM says; `wireshark_name` what an ESP SA table says.

    `manual_keys` False: never with a key that outlives its counter (RFC 4303 section 3.3.3, RFC 8221).
    """

    name: str
    title: str
    key_octets: int
    iv_octets: int
    block_octets: int
    kernel_name: str
    wireshark_name: str
    rfc: int
    manual_keys: bool = True
    prepare_encrypt: Callable[[bytes, Random], Encrypt]
    prepare_decrypt: Callable[[bytes], Decrypt]


@dataclass(frozen=True, slots=True, kw_only=True)
class AuthRow:
    """As CipherRow, for integrity. `icv_octets` is the truncated value that the packet carries."""

    name: str
    title: str
    key_octets: int
    icv_octets: int
    kernel_name: str
    wireshark_name: str
    rfc: int
    manual_keys: bool = True
    prepare_sign: Callable[[bytes], Sign]


def _cbc(
    algorithm: Callable[[bytes], CipherAlgorithm],
) -> tuple[Callable[[bytes, Random], Encrypt], Callable[[bytes], Decrypt]]:
    def mode_for(key: bytes) -> tuple[CipherAlgorithm, modes.CBC, int]:
        keyed = algorithm(key)
        assert isinstance(keyed, BlockCipherAlgorithm)
        block_octets = keyed.block_size // 8
        return keyed, modes.CBC(bytes(block_octets)), block_octets

    def prepare_encrypt(key: bytes, random: Random) -> Encrypt:
        keyed, mode, block_octets = mode_for(key)
        update = Cipher(keyed, mode).encryptor().update
        return lambda clear: update(random(block_octets) + clear)

    def prepare_decrypt(key: bytes) -> Decrypt:
        keyed, mode, block_octets = mode_for(key)
        update = Cipher(keyed, mode).decryptor().update
        return lambda ciphered: update(ciphered)[block_octets:]

    return prepare_encrypt, prepare_decrypt


def _unchanged(octets: bytes) -> bytes:
    return octets


def _prepare_null_encrypt(_key: bytes, _random: Random) -> Encrypt:
    return _unchanged


def _prepare_null_decrypt(_key: bytes) -> Decrypt:
    return _unchanged


def _hmac(algorithm: hashes.HashAlgorithm, icv_octets: int) -> Callable[[bytes], Sign]:
    def prepare_sign(key: bytes) -> Sign:
        copy = hmac.HMAC(key, algorithm).copy

        def sign(octets: bytes) -> bytes:
            state = copy()
            state.update(octets)
            return state.finalize()[:icv_octets]

        return sign

    return prepare_sign


def _aes_row(bits: int) -> CipherRow:
    prepare_encrypt, prepare_decrypt = _cbc(AES)
    return CipherRow(
        name=f"aes{bits}",
        title=f"AES-CBC with a {bits}-bit key",
        key_octets=bits // 8,
        iv_octets=16,
        block_octets=16,
        kernel_name="cbc(aes)",
        wireshark_name="AES-CBC [RFC3602]",
        rfc=3602,
        prepare_encrypt=prepare_encrypt,
        prepare_decrypt=prepare_decrypt,
    )


def _triple_des_row() -> CipherRow:
    prepare_encrypt, prepare_decrypt = _cbc(TripleDES)
    return CipherRow(
        name="3des",
        title="3DES-CBC",
        key_octets=24,
        iv_octets=8,
        block_octets=8,
        kernel_name="cbc(des3_ede)",
        wireshark_name="TripleDES-CBC [RFC2451]",
        rfc=2451,
        prepare_encrypt=prepare_encrypt,
        prepare_decrypt=prepare_decrypt,
    )


_NULL_ROW = CipherRow(
    name="null",
    title="no encryption",
    key_octets=0,
    iv_octets=0,
    block_octets=1,
    kernel_name="ecb(cipher_null)",
    wireshark_name="NULL",
    rfc=2410,
    prepare_encrypt=_prepare_null_encrypt,
    prepare_decrypt=_prepare_null_decrypt,
)

_SHA1_ROW = AuthRow(
    name="sha1",
    title="HMAC-SHA1-96",
    key_octets=20,
    icv_octets=12,
    kernel_name="hmac(sha1)",
    wireshark_name="HMAC-SHA-1-96 [RFC2404]",
    rfc=2404,
    prepare_sign=_hmac(hashes.SHA1(), 12),
)

CIPHERS: dict[str, CipherRow] = {
    row.name: row for row in (_NULL_ROW, _triple_des_row(), _aes_row(128), _aes_row(192), _aes_row(256))
}
AUTHS: dict[str, AuthRow] = {row.name: row for row in (_SHA1_ROW,)}


def cipher_row(name: str) -> CipherRow:
    """The row of this name, or UnknownAlgorithm."""
    try:
        return CIPHERS[name]
    except KeyError:
        raise UnknownAlgorithm(f"no cipher is called {name!r}") from None


def auth_row(name: str) -> AuthRow:
    """The row of this name, or UnknownAlgorithm."""
    try:
        return AUTHS[name]
    except KeyError:
        raise UnknownAlgorithm(f"no authentication algorithm is called {name!r}") from None


def check_key_length(row: CipherRow | AuthRow, key_octets: int) -> None:
    """Raises BadKeyLength, naming both lengths, unless a key of `key_octets` fits the row."""
    if key_octets != row.key_octets:
        raise BadKeyLength(f"{row.name} wants a key of {row.key_octets} octets, not {key_octets}")

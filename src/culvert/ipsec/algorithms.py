# house: table
"""One table of rows per kind of algorithm; everyone who needs a name, a length or a cipher reads it here.

A row's `prepare_*` function does the key set-up once and gives plain functions for the packets of one SA; what they
are made of is in `primitives.py`. There are three sorts of rows:

* a *cipher* (CBC, CTR, NULL) hides and does not authenticate: it needs an auth row beside it;
* a *combined* cipher (GCM, CCM, GMAC, ChaCha20-Poly1305) does both in one pass and has no auth row beside it;
* an *auth* row authenticates, in ESP or AH.

`key_octets` is all the keying material of a row, as an operator types it: with the salt or nonce that RFC 3686, 4106,
4309, 4543 and 7634 take from its end. A row whose packets must never repeat a counter under one key says so in
`counter`: with manual keys that takes a counter which survives everything (RFC 8221 section 3: "manual keying SHOULD
NOT be used", and counter modes "MUST NOT" be keyed by hand).
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import Enum

from cryptography.hazmat.decrepit.ciphers.algorithms import TripleDES
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers.algorithms import AES

from culvert.ipsec import primitives
from culvert.ipsec.primitives import CipherPair, Random, SealPair, SignPair

__all__ = ["AUTHS", "CIPHERS", "NONE", "AuthRow", "CipherRow", "Random", "Standing"]


class UnknownAlgorithm(ValueError):
    """No row has this name."""


class BadKeyLength(ValueError):
    """A key that isn't exactly as long as its algorithm wants it."""


class Standing(Enum):
    """What RFC 8221 says about implementing it today; everything below MAY is a reason to warn."""

    MUST = "MUST"
    SHOULD = "SHOULD"
    MAY = "MAY"
    SHOULD_NOT = "SHOULD NOT"
    MUST_NOT = "MUST NOT"

    @property
    def is_weak(self) -> bool:
        return self in (Standing.SHOULD_NOT, Standing.MUST_NOT)


@dataclass(frozen=True, slots=True, kw_only=True)
class CipherRow:
    """`name` is what tmsh says; `kernel_name` what Linux XFRM says; `wireshark_name` what an ESP SA table says.

    `salt_octets`: how many of `key_octets` are salt. `icv_octets`: of a combined cipher, else 0. `counter`: a
    repeated counter under one key breaks it. `standing` and `why`: what RFC 8221 says.
    """

    name: str
    title: str
    key_octets: int
    salt_octets: int = 0
    iv_octets: int
    block_octets: int
    icv_octets: int = 0
    kernel_name: str
    wireshark_name: str
    rfc: int
    counter: bool = False
    standing: Standing = Standing.MAY
    why: str = ""
    prepare: Callable[[bytes, Random], CipherPair] | None = None
    prepare_combined: Callable[[bytes], SealPair] | None = None

    @property
    def combined(self) -> bool:
        return self.prepare_combined is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class AuthRow:
    """As CipherRow, for integrity. `icv_octets` is the (truncated) value that the packet carries, `iv_octets` of it
    an initialization vector (GMAC in AH, RFC 4543 section 4)."""

    name: str
    title: str
    key_octets: int
    salt_octets: int = 0
    iv_octets: int = 0
    icv_octets: int
    kernel_name: str
    wireshark_name: str
    rfc: int
    counter: bool = False
    standing: Standing = Standing.MAY
    why: str = ""
    prepare: Callable[[bytes], SignPair]

    @property
    def only_ah(self) -> bool:
        """GMAC in ESP is a combined cipher row, not an auth row (RFC 4543 section 3)."""
        return self.iv_octets > 0


NONE = "none"
"""In place of an auth row's name beside a combined cipher, and of a cipher's in AH."""

_AES_BITS = (128, 192, 256)
_COUNTER = "a counter mode: one repeated sequence number under the same key gives everything away (RFC 8221 section 3)"


def _aes_cbc(bits: int) -> CipherRow:
    return CipherRow(
        name=f"aes{bits}",
        title=f"AES-CBC with a {bits}-bit key",
        key_octets=bits // 8,
        iv_octets=16,
        block_octets=16,
        kernel_name="cbc(aes)",
        wireshark_name="AES-CBC [RFC3602]",
        rfc=3602,
        standing=Standing.MUST if bits != 192 else Standing.MAY,
        prepare=primitives.cbc(AES),
    )


def _aes_ctr(bits: int) -> CipherRow:
    return CipherRow(
        name=f"aes-ctr{bits}",
        title=f"AES-CTR with a {bits}-bit key",
        key_octets=bits // 8 + 4,
        salt_octets=4,
        iv_octets=8,
        block_octets=1,
        kernel_name="rfc3686(ctr(aes))",
        wireshark_name="AES-CTR [RFC3686]",
        rfc=3686,
        counter=True,
        why=_COUNTER,
        prepare=primitives.aes_ctr,
    )


def _suffixed(name: str, icv_octets: int) -> str:
    return name if icv_octets == 16 else f"{name}-icv{icv_octets}"


def _aes_gcm(bits: int, icv_octets: int) -> CipherRow:
    return CipherRow(
        name=_suffixed(f"aes-gcm{bits}", icv_octets),
        title=f"AES-GCM with a {bits}-bit key and an ICV of {icv_octets} octets",
        key_octets=bits // 8 + 4,
        salt_octets=4,
        iv_octets=8,
        block_octets=1,
        icv_octets=icv_octets,
        kernel_name="rfc4106(gcm(aes))",
        wireshark_name=f"AES-GCM with {icv_octets} octet ICV [RFC4106]",
        rfc=4106,
        counter=True,
        standing=Standing.MUST if icv_octets == 16 and bits != 192 else Standing.MAY,
        why=_COUNTER,
        prepare_combined=primitives.aes_gcm(icv_octets),
    )


def _aes_ccm(bits: int, icv_octets: int) -> CipherRow:
    return CipherRow(
        name=_suffixed(f"aes-ccm{bits}", icv_octets),
        title=f"AES-CCM with a {bits}-bit key and an ICV of {icv_octets} octets",
        key_octets=bits // 8 + 3,
        salt_octets=3,
        iv_octets=8,
        block_octets=1,
        icv_octets=icv_octets,
        kernel_name="rfc4309(ccm(aes))",
        wireshark_name="",
        rfc=4309,
        counter=True,
        standing=Standing.SHOULD if icv_octets == 8 and bits != 192 else Standing.MAY,
        why=_COUNTER,
        prepare_combined=primitives.aes_ccm(icv_octets),
    )


def _aes_gmac(bits: int) -> CipherRow:
    return CipherRow(
        name=f"aes-gmac{bits}",
        title=f"AES-GMAC with a {bits}-bit key: authentic, not hidden",
        key_octets=bits // 8 + 4,
        salt_octets=4,
        iv_octets=8,
        block_octets=1,
        icv_octets=16,
        kernel_name="rfc4543(gcm(aes))",
        wireshark_name="",
        rfc=4543,
        counter=True,
        why=_COUNTER,
        prepare_combined=primitives.aes_gmac,
    )


def _aes_gmac_in_ah(bits: int) -> AuthRow:
    return AuthRow(
        name=f"aes-gmac{bits}",
        title=f"AES-GMAC with a {bits}-bit key",
        key_octets=bits // 8 + 4,
        salt_octets=4,
        iv_octets=8,
        icv_octets=24,
        kernel_name="",
        wireshark_name="",
        rfc=4543,
        counter=True,
        why=_COUNTER,
        prepare=primitives.aes_gmac_sign,
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
    standing=Standing.MUST,
    prepare=primitives.null,
)

_TRIPLE_DES_ROW = CipherRow(
    name="3des",
    title="3DES-CBC",
    key_octets=24,
    iv_octets=8,
    block_octets=8,
    kernel_name="cbc(des3_ede)",
    wireshark_name="TripleDES-CBC [RFC2451]",
    rfc=2451,
    standing=Standing.SHOULD_NOT,
    why="blocks of 64 bits repeat too soon (RFC 8221 section 5)",
    prepare=primitives.cbc(TripleDES),
)

_CHACHA_ROW = CipherRow(
    name="chacha20-poly1305",
    title="ChaCha20-Poly1305",
    key_octets=36,
    salt_octets=4,
    iv_octets=8,
    block_octets=1,
    icv_octets=16,
    kernel_name="rfc7539esp(chacha20,poly1305)",
    wireshark_name="ChaCha20 with Poly1305 [RFC7634]",
    rfc=7634,
    counter=True,
    standing=Standing.SHOULD,
    why=_COUNTER,
    prepare_combined=primitives.chacha20_poly1305,
)


def _hmac_row(
    name: str,
    algorithm: hashes.HashAlgorithm,
    icv_octets: int,
    kernel_name: str,
    wireshark_name: str,
    rfc: int,
    standing: Standing = Standing.MAY,
    why: str = "",
) -> AuthRow:
    bits = icv_octets * 8
    return AuthRow(
        name=name,
        title=f"HMAC-{algorithm.name.upper()}-{bits}",
        key_octets=algorithm.digest_size,
        icv_octets=icv_octets,
        kernel_name=kernel_name,
        wireshark_name=wireshark_name,
        rfc=rfc,
        standing=standing,
        why=why,
        prepare=primitives.hmac(algorithm, icv_octets),
    )


_MD5_WHY = "MD5 is broken (RFC 8221 section 6)"
_96_WHY = "a quirk of old systems: RFC 4868 has 128 bits of ICV, and RFC 8221 section 6 knows no other"
_HMAC_ROWS = (
    _hmac_row("sha1", hashes.SHA1(), 12, "hmac(sha1)", "HMAC-SHA-1-96 [RFC2404]", 2404, Standing.MUST),
    _hmac_row("sha256", hashes.SHA256(), 16, "hmac(sha256)", "HMAC-SHA-256-128 [RFC4868]", 4868, Standing.MUST),
    _hmac_row("sha384", hashes.SHA384(), 24, "hmac(sha384)", "HMAC-SHA-384-192 [RFC4868]", 4868),
    _hmac_row("sha512", hashes.SHA512(), 32, "hmac(sha512)", "HMAC-SHA-512-256 [RFC4868]", 4868, Standing.SHOULD),
    _hmac_row(
        "sha256-96",
        hashes.SHA256(),
        12,
        "hmac(sha256)",
        "HMAC-SHA-256-96 [draft-ietf-ipsec-ciph-sha-256-00]",
        4868,
        Standing.SHOULD_NOT,
        _96_WHY,
    ),
    _hmac_row("md5", hashes.MD5(), 12, "hmac(md5)", "HMAC-MD5-96 [RFC2403]", 2403, Standing.MUST_NOT, _MD5_WHY),
)

_XCBC_ROW = AuthRow(
    name="aes-xcbc",
    title="AES-XCBC-MAC-96",
    key_octets=16,
    icv_octets=12,
    kernel_name="xcbc(aes)",
    wireshark_name="",
    rfc=3566,
    standing=Standing.SHOULD,
    prepare=primitives.aes_xcbc,
)

_CMAC_ROW = AuthRow(
    name="aes-cmac",
    title="AES-CMAC-96",
    key_octets=16,
    icv_octets=12,
    kernel_name="cmac(aes)",
    wireshark_name="",
    rfc=4494,
    prepare=primitives.aes_cmac,
)


def _cipher_rows() -> Iterable[CipherRow]:
    yield from (_NULL_ROW, _TRIPLE_DES_ROW)
    yield from map(_aes_cbc, _AES_BITS)
    yield from map(_aes_ctr, _AES_BITS)
    for make in (_aes_gcm, _aes_ccm):
        yield from (make(bits, icv) for icv in (16, 12, 8) for bits in _AES_BITS)
    yield from map(_aes_gmac, _AES_BITS)
    yield _CHACHA_ROW


CIPHERS: dict[str, CipherRow] = {row.name: row for row in _cipher_rows()}
AUTHS: dict[str, AuthRow] = {
    row.name: row for row in (*_HMAC_ROWS, _XCBC_ROW, _CMAC_ROW, *map(_aes_gmac_in_ah, _AES_BITS))
}

NO_AUTH = AuthRow(
    name=NONE,
    title="none of its own",
    key_octets=0,
    icv_octets=0,
    kernel_name="",
    wireshark_name="NULL",
    rfc=4303,
    prepare=primitives.no_sign,
)
"""Beside a combined cipher. Not in AUTHS: no other SA may have it."""


def cipher_row(name: str) -> CipherRow:
    """The row of this name, or UnknownAlgorithm."""
    try:
        return CIPHERS[name]
    except KeyError:
        raise UnknownAlgorithm(f"no cipher is called {name!r}") from None


def auth_row(name: str) -> AuthRow:
    """The row of this name (NO_AUTH for "none"), or UnknownAlgorithm."""
    if name == NONE:
        return NO_AUTH
    try:
        return AUTHS[name]
    except KeyError:
        raise UnknownAlgorithm(f"no authentication algorithm is called {name!r}") from None


def check_key_length(row: CipherRow | AuthRow, key_octets: int) -> None:
    """Raises BadKeyLength, naming both lengths, unless a key of `key_octets` fits the row."""
    if key_octets != row.key_octets:
        raise BadKeyLength(f"{row.name} wants a key of {row.key_octets} octets, not {key_octets}")

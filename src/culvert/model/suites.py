"""Algorithms of a manual ESP association that go together and are worth choosing, and how long their keys are."""

from dataclasses import dataclass

from culvert.ipsec.algorithms import AUTHS, CIPHERS, NONE


@dataclass(frozen=True, slots=True)
class Suite:
    """An encryption algorithm with the authentication beside it; `auth` is none where the cipher does both.

    `counter`: a counter mode, which wants the counter journal. `vendor`: manual keys of the vendor's know it too.
    """

    encrypt: str
    auth: str = NONE
    vendor: bool = False

    @property
    def word(self) -> str:
        return self.encrypt if self.auth == NONE else f"{self.encrypt}+{self.auth}"

    @property
    def title(self) -> str:
        own = CIPHERS[self.encrypt].title
        return own if self.auth == NONE else f"{own}, {AUTHS[self.auth].title}"

    @property
    def counter(self) -> bool:
        return CIPHERS[self.encrypt].counter

    @property
    def encrypt_octets(self) -> int:
        return CIPHERS[self.encrypt].key_octets

    @property
    def auth_octets(self) -> int:
        return 0 if self.auth == NONE else AUTHS[self.auth].key_octets


SUITES = (
    Suite("aes256", "sha256"),
    Suite("aes128", "sha256"),
    Suite("aes256", "sha384"),
    Suite("aes256", "sha512"),
    Suite("aes256", "sha1", vendor=True),
    Suite("aes192", "sha1", vendor=True),
    Suite("aes128", "sha1", vendor=True),
    Suite("aes-gcm256"),
    Suite("aes-gcm128"),
    Suite("chacha20-poly1305"),
)
"""The best first. Weak ones, and those that hide nothing, aren't here: who needs them makes the objects one by one."""


def suite_of(encrypt: str, auth: str) -> Suite | None:
    """The suite of two algorithms, whether it is worth choosing or not; None for one that isn't known."""
    known = encrypt in CIPHERS and (auth == NONE or auth in AUTHS)
    return Suite(encrypt, auth) if known else None

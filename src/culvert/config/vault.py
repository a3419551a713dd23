"""The master key, and key text sealed under it for the saved configuration.

A sealed text is `$M$xx$<base64>`: two random letters or digits, then AES-256-GCM's nonce (12 octets), ciphertext
and tag (16 octets). The text before the base64 is authenticated too.
"""

import base64
import binascii
import os
import secrets
import string
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from culvert.ipsec.secret import Secret

KEY_OCTETS = 32
NONCE_OCTETS = 12
_LETTERS = string.ascii_letters + string.digits


class VaultError(ValueError):
    """A master key or a sealed text that can't be used. Never carries either."""


class Vault:
    """Seals and unseals key text."""

    def __init__(self, master: Secret) -> None:
        self._cipher = AESGCM(master.reveal())

    @classmethod
    def open(cls, path: Path) -> "Vault":
        """The vault of the master key in `path`, which is made at first use. Raises VaultError."""
        try:
            if not path.exists():
                _create(path)
            mode = path.stat().st_mode
            octets = path.read_bytes()
        except OSError as error:
            raise VaultError(f"master key {path}: {error.strerror}") from None
        if mode & 0o077:
            raise VaultError(f"master key {path}: others than its owner may read it; chmod 600 it")
        if len(octets) != KEY_OCTETS:
            raise VaultError(f"master key {path}: it has {len(octets)} octets, not {KEY_OCTETS}")
        return cls(Secret(octets))

    def seal(self, secret: Secret) -> str:
        head = f"$M${secrets.choice(_LETTERS)}{secrets.choice(_LETTERS)}$"
        nonce = secrets.token_bytes(NONCE_OCTETS)
        sealed = nonce + self._cipher.encrypt(nonce, secret.reveal(), head.encode())
        return head + base64.b64encode(sealed).decode("ascii")

    def unseal(self, text: str) -> Secret:
        """The key text behind a sealed text. Raises VaultError."""
        head, body = text[:6], text[6:]
        if not (head.startswith("$M$") and head.endswith("$") and len(head) == 6):
            raise VaultError("the sealed key is damaged: it does not begin with $M$xx$")
        try:
            sealed = base64.b64decode(body, validate=True)
            return Secret(self._cipher.decrypt(sealed[:NONCE_OCTETS], sealed[NONCE_OCTETS:], head.encode()))
        except (InvalidTag, binascii.Error, ValueError):
            raise VaultError(
                "the sealed key is damaged or was sealed under another system's master key; type the key again"
            ) from None

    def __repr__(self) -> str:
        return "Vault(...)"


def _create(path: Path) -> None:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        os.write(descriptor, secrets.token_bytes(KEY_OCTETS))
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    temporary.rename(path)
    directory = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)

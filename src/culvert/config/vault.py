"""The master key, and key text sealed under it for the saved configuration.

A sealed text is `$M$xx$<base64>`: two random letters or digits, then AES-256-GCM's nonce (12 octets), ciphertext
and tag (16 octets). The text before the base64 is authenticated too.
"""

import base64
import binascii
import contextlib
import os
import secrets
import stat
import string
from pathlib import Path

from argon2 import PasswordHasher
from argon2.profiles import RFC_9106_LOW_MEMORY
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from culvert.ipsec.secret import Secret

KEY_OCTETS = 32
NONCE_OCTETS = 12
_LETTERS = string.ascii_letters + string.digits


class VaultError(ValueError):
    """A master key or a sealed text that can't be used. Never carries either."""


class Vault:
    """Seals and unseals key text under one master key, for the saved configuration."""

    def __init__(self, master: Secret) -> None:
        """`master` has KEY_OCTETS octets and may be wiped afterwards."""
        self._cipher = AESGCM(master.reveal())

    @classmethod
    def open(cls, path: Path) -> "Vault":
        """The vault of the master key in `path`, which is made at first use, mode 0600.

        Raises VaultError when the file can't be read or made, isn't private, or holds anything but KEY_OCTETS octets.
        """
        try:
            if not path.exists():
                _create(path)
            master = _read(path)
        except OSError as error:
            raise VaultError(f"master key {path}: {error.strerror}") from None
        vault = cls(master)
        master.wipe()
        return vault

    def seal(self, secret: Secret) -> str:
        """`$M$xx$<base64>` of the key text; another one each time."""
        # One question to the kernel for both: a large file has tens of thousands of keys.
        chance = secrets.token_bytes(NONCE_OCTETS + 2)
        nonce, letters = chance[:NONCE_OCTETS], "".join(_LETTERS[octet % len(_LETTERS)] for octet in chance[-2:])
        head = f"$M${letters}$"
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

    def hash_password(self, password: Secret) -> str:
        """`$argon2id$...` of the password, by RFC 9106's profile for little memory; another one each time."""
        return PasswordHasher.from_parameters(RFC_9106_LOW_MEMORY).hash(password.reveal())

    def __repr__(self) -> str:
        return "Vault(...)"


def _read(path: Path) -> Secret:
    # One open for the questions and the octets, so that what is asked about is what is read. Not blocking: a pipe
    # put there would otherwise hold the daemon up for ever.
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    with os.fdopen(descriptor, "rb") as file:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode):
            raise VaultError(f"master key {path}: it is not a file")
        if found.st_uid not in (0, os.geteuid()):
            raise VaultError(f"master key {path}: it belongs to another user (uid {found.st_uid}), who can read it")
        if found.st_mode & 0o077:
            raise VaultError(f"master key {path}: others than its owner may read it; chmod 600 it")
        if found.st_size != KEY_OCTETS:
            raise VaultError(f"master key {path}: it has {found.st_size} octets, not {KEY_OCTETS}")
        return Secret(file.read(KEY_OCTETS))


def _create(path: Path) -> None:
    """Make the file whole and on the disk before it has its name: a key that sealed anything must never be lost."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.unlink(missing_ok=True)
    try:
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(secrets.token_bytes(KEY_OCTETS))
            file.flush()
            os.fsync(file.fileno())
        # A link, not a rename: a key that another process made meanwhile stays.
        with contextlib.suppress(FileExistsError):
            path.hardlink_to(temporary)
    finally:
        temporary.unlink(missing_ok=True)
    directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)

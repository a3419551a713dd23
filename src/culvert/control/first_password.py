"""The password of the first administrator: made at the first start, since there is no default one, and kept in a file.

The file is there until that password is changed.
"""

import contextlib
import os
import secrets
from collections.abc import Callable
from pathlib import Path

from argon2 import PasswordHasher
from argon2.exceptions import Argon2Error, InvalidHashError

from culvert.config.snapshot import Snapshot
from culvert.control.errors import ControlError
from culvert.model import auth
from culvert.observe.log import EventLog

NAME = "initial-password"
USER = "admin"
OCTETS = 15
LOG = EventLog("culvert.control.first_password")
Change = Callable[..., object]


class FirstPassword:
    """`<state>/initial-password`, mode 0600: the password and a line end."""

    def __init__(self, state: Path) -> None:
        self._path = state / NAME
        self._text: str | None = None

    def begin(self, users: Callable[[], Snapshot], call: Change) -> None:
        """Make the user and the file, unless somebody has a password already. `call` is a call of an administrator's.

        A gateway whose configuration is blocked has none made: the next start tries again.
        """
        snapshot = users()
        if any(own["password"] and own["password"].lets_in for own in snapshot.all(auth.USER)):
            return
        password = secrets.token_urlsafe(OCTETS)
        try:
            _write(self._path, f"{password}\n")
            call("transaction", operations=[_operation(snapshot, password)])
            call("save")
        except (ControlError, OSError) as error:
            self._remove()
            LOG.error("no-initial-password", reason=error.text if isinstance(error, ControlError) else error.strerror)
            return
        self._text = _text(users())
        LOG.warning("initial-password", user=USER, path=self._path)

    def settle(self, snapshot: Snapshot) -> None:
        """Remove the file once its password is not the user's any more."""
        if self._text is not None and _text(snapshot) != self._text:
            self._remove()

    def recognise(self, snapshot: Snapshot) -> None:
        """After a restart: whether the file still is about the user's password."""
        try:
            password = self._path.read_text().strip()
            PasswordHasher().verify(_text(snapshot) or "", password)
        except OSError:
            return
        except (Argon2Error, InvalidHashError, ValueError):
            self._remove()
            return
        self._text = _text(snapshot)

    def _remove(self) -> None:
        self._text = None
        with contextlib.suppress(OSError):
            self._path.unlink()
            LOG.info("initial-password-removed", path=self._path)


def _operation(snapshot: Snapshot, password: str) -> dict[str, object]:
    if snapshot.get(auth.USER, USER) is not None:
        return {"verb": "modify", "kind": "auth user", "names": [USER], "properties": {"password": password}}
    everywhere = [{"name": auth.ALL_PARTITIONS, "role": "admin"}]
    properties = {"password": password, "partition-access": everywhere, "shell": "tmsh"}
    return {"verb": "create", "kind": "auth user", "name": USER, "properties": properties}


def _text(snapshot: Snapshot) -> str | None:
    user = snapshot.get(auth.USER, USER)
    return user["password"].text if user is not None and user["password"] else None


def _write(path: Path, text: str) -> None:
    path.unlink(missing_ok=True)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(text)
        file.flush()
        os.fsync(descriptor)

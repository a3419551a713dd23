"""`cli preference` of each user: what the shell looks like is everyone's own affair, and no part of the configuration.

They are kept by user name in a file beside the saved configuration; no load, no rollback and nobody else changes them.
"""

import contextlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

from culvert import __version__
from culvert.config.snapshot import Snapshot
from culvert.config.store import Store
from culvert.config.transaction import Transaction
from culvert.control.operations import raw_properties
from culvert.model import cli, sys
from culvert.model.fields import Raw, Reader
from culvert.model.kind import Object, Path, defaults
from culvert.model.names import COMMON
from culvert.model.problems import BadValue, Invalid, Problem

FILE = "preferences.json"
KIND = cli.PREFERENCE_KIND
KEY = (KIND.path, "")

Operation = Mapping[str, Any]


class Preferences:
    """Those of all users. What can't be read, or isn't allowed any more, is as it came."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._raw: dict[str, dict[str, Raw]] = {}
        with contextlib.suppress(ValueError):
            found = json.loads(store.beside(FILE) or "{}")
            if isinstance(found, dict):
                self._raw = {user: own for user, own in found.items() if isinstance(own, dict)}

    def of(self, user: str) -> Object:
        try:
            return _modified(_shipped(), self._raw.get(user, {}))
        except Invalid:
            return _shipped()

    def taken(self, operations: Sequence[Operation], user: str) -> tuple[list[Operation], Object | None]:
        """The operations that don't speak of these, and what the others make of a user's; None when there are none.

        Raises Invalid, or ControlError for what is no property.
        """
        wanted = None
        for operation in operations:
            if _is_of_these(operation):
                if operation.get("verb") not in ("modify", "replace"):
                    raise Invalid(Problem("every user has these; they can be modified", KIND.title))
                start = _shipped() if operation["verb"] == "replace" else wanted or self.of(user)
                wanted = _modified(start, raw_properties(operation.get("properties", {})))
        return [own for own in operations if not _is_of_these(own)], wanted

    def keep(self, user: str, wanted: Object | None) -> None:
        """Make those of a user what they are wanted to be. Raises StoreError, changing nothing."""
        if wanted is None:
            return
        shipped = _shipped().raw()
        own = {word: value for word, value in wanted.raw().items() if value != shipped[word]}
        made = {name: each for name, each in {**self._raw, user: own}.items() if each}
        self._store.put_beside(FILE, json.dumps(made, indent=1) + "\n")
        self._raw = made

    def seen_by(self, user: str, snapshot: Snapshot, path: Path) -> Snapshot:
        """The configuration as a user's list of `path` has it: with the preferences, where that covers them."""
        return snapshot.with_changes({KEY: self.of(user)}) if KIND.path[: len(path)] == path else snapshot


def described(snapshot: Snapshot, user: str, preference: Object) -> dict[str, Any]:
    """What a shell asks when it starts: who and where it is, and how that user wants it to be."""
    settings, everyone, start = (
        snapshot.get(path, "") for path in (sys.GLOBAL_SETTINGS, cli.GLOBAL_SETTINGS, cli.ADMIN_PARTITIONS)
    )
    return {
        "hostname": settings["hostname"] if settings else "",
        "user": user,
        "version": __version__,
        "preference": preference.raw(),
        "folder": f"/{start['update-partition']}" if start else COMMON,
        "idle_timeout": everyone["idle-timeout"] if everyone else 0,
    }


def _is_of_these(operation: Operation) -> bool:
    return tuple(str(operation.get("kind")).split()) == KIND.path


def _shipped() -> Object:
    return Object(KIND, "", dict(defaults(KIND)))


def _modified(own: Object, raw: Mapping[str, Raw]) -> Object:
    return Transaction(Snapshot().with_changes({KEY: own}), Reader(COMMON, _Keyless())).modify(KIND, "", raw)


class _Keyless:
    """The sealer of what holds no key."""

    def seal(self, secret: object) -> str:
        raise BadValue("no key is expected here")

    def unseal(self, text: str) -> Any:
        raise BadValue("no key is expected here")

    def hash_password(self, password: object) -> str:
        raise BadValue("no password is expected here")

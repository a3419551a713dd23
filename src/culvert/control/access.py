"""Who may do what: the roles of `auth user`, partition by partition.

| role           | sees        | changes                       | resets, SAs | files, restarts     | captures  | shell |
|----------------|-------------|-------------------------------|-------------|---------------------|-----------|-------|
| admin          | everything  | everything                    | yes         | save, load, restart | decrypted | bash  |
| resource-admin | everything  | everything but users          | yes         | save, load, restart | outer     | no    |
| user-manager   | everything  | users below resource-admin    | no          | save                | outer     | no    |
| manager        | its folders | what stands in its partitions | yes         | save                | no        | no    |
| operator       | its folders | enabled, descriptions         | yes         | no                  | no        | no    |
| auditor        | everything  | nothing                       | no          | no                  | outer     | no    |
| guest          | its folders | nothing                       | no          | no                  | no        | no    |
| no-access      | nothing     | nothing                       | no          | no                  | no        | no    |

Whoever has a role with any right changes the own password, and nothing else of the own entry.

What is shown of running things is cut to the same folders (see `seen`). The log of IPsec can't be: its lines are for
those who see all partitions.

A change is judged twice: by what is asked for, before anything else is told about it, and by what it leads to, object
by object, however it came about (a move, a load, a name in another folder).

Root, and whoever the daemon runs as, is admin. So is a member of the group culvert, whom the host let in, as long as
nobody is named by an `auth user`; from then on those whom none names have no access. Whoever comes by a password or a
token has the roles of that `auth user`, whatever process brought the request. A user's folders are those of the
partitions that a user has a role in, and /Common, which all share. What is of the whole system and of no partition
(counters to zero, a restart) takes a role in all of them.
"""

import os
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from culvert.config.snapshot import Key, Snapshot
from culvert.control.errors import Refused
from culvert.control.listener import Peer
from culvert.model import auth
from culvert.model.kind import Kind, Naming, Object
from culvert.model.names import COMMON, full, partition
from culvert.model.registry import KINDS

Json = Any
READS = ("list", "show", "describe", "folder", "access", "explain", "verify")
RESTARTS = ("restart-tmm", "trust-counter-journal")
CAPTURES = ("capture-start", "capture-state", "capture-read", "capture-stop")
CHANGES = ("create", "modify", "delete", "transaction")
SWITCHES = frozenset({"enabled", "description"})


@dataclass(frozen=True, slots=True)
class Rights:
    """One row of the table above. `changes`: nothing, switches, folders, users, but-users or everything."""

    sees_all: bool = False
    changes: str = "nothing"
    acts: bool = False
    saves: bool = False
    loads: bool = False
    shell: bool = False
    sees: bool = True
    decrypts: bool = False


ROLES: Mapping[str, Rights] = {
    "admin": Rights(True, "everything", True, True, True, True, decrypts=True),
    "resource-admin": Rights(True, "but-users", True, True, True),
    "user-manager": Rights(True, "users", saves=True),
    "manager": Rights(changes="folders", acts=True, saves=True),
    "operator": Rights(changes="switches", acts=True),
    "auditor": Rights(True),
    "guest": Rights(),
    "no-access": Rights(sees=False),
}
ADMIN = {auth.ALL_PARTITIONS: "admin"}
ABOVE_USER_MANAGER = frozenset({"admin", "resource-admin"})
"""Roles that a user-manager neither gives nor takes."""


@dataclass(frozen=True, slots=True)
class Access:
    """What one user may do: a role by partition, or one under `all-partitions`."""

    user: str
    roles: Mapping[str, str]
    shell: str = "none"

    def check(self, call: str, args: Mapping[str, Json]) -> None:
        """Raises Refused for a call that this user may not make."""
        if not any(own.sees for own in self._rights()):
            raise self._refused("do anything here")
        if call in READS:
            return
        if call in CHANGES:
            self._check_asked(call, args)
        elif call == "delete-sas":
            self._need(any(own.acts for own in self._rights()), f"run {call}")
        elif call == "reset-stats":
            self._need(self._everywhere.acts, f"run {call}")
        elif call in RESTARTS:
            self._need(self._everywhere.loads, f"run {call}")
        elif call in CAPTURES:
            self._need(any(own.sees_all for own in self._rights()), "capture packets")
            self._need(self.may_decrypt or not args.get("decrypted"), "capture what the tunnels carry in clear")
        elif call == "save":
            self._need(any(own.saves for own in self._rights()), "save the configuration")
        elif call == "load":
            dry = bool(args.get("verify")) and any(own.sees_all for own in self._rights())
            self._need(dry or self._everywhere.loads, "load a configuration")
        else:
            self._need(any(own.sees_all for own in self._rights()), f"ask for {call}")

    def check_effect(
        self, before: Snapshot, after: Snapshot, keys: Collection[Key], *, own_password: bool = False
    ) -> None:
        """Raises Refused if what becomes of one of these objects is not this user's to bring about.

        `own_password`: the change came as one by which users may change their own.
        """
        if self._everywhere.changes == "everything":
            return
        for path, name in keys:
            old, new = before.get(path, name), after.get(path, name)
            kind = KINDS[path]
            verb = "create" if old is None else "delete" if new is None else "modify"
            if own_password and self._is_own_password(kind, name, verb, _changed(old, new)):
                continue
            self._check_object(kind, name, verb, _changed(old, new))
            if path == auth.USER:
                held = {inner["role"] for own in (old, new) if own for inner in own["partition-access"].values()}
                self._need(not held & ABOVE_USER_MANAGER, f"{verb} auth user {name}, who is or would be above")

    def acts_on(self, name: str) -> bool:
        """Whether this user may delete the SAs of the object with this full path."""
        return self._right(partition(name)).acts

    def sees(self, own: Mapping[str, Json]) -> bool:
        """Whether an object, as `list` gives it, is for this user's eyes."""
        kind = KINDS[tuple(str(own["kind"]).split())]
        if self.sees_everything:
            return True
        if kind.path == auth.USER:
            return bool(own["name"] == self.user)
        if kind.naming not in (Naming.FOLDER, Naming.LOOSE):
            return True
        return self.sees_inside(str(own["name"]))

    def sees_inside(self, name: str) -> bool:
        """Whether what has this full path is for this user's eyes; /Common is for everybody's."""
        place = partition(name)
        return self.sees_everything or f"/{place}" == COMMON or self._right(place).sees

    @property
    def sees_all_partitions(self) -> bool:
        """Whether there is nothing that stands in a partition and is not for this user's eyes."""
        return self.sees_everything or self._everywhere.sees

    def check_sees_all(self, what: str) -> None:
        """Raises Refused: `what` is of all partitions, and can't be told apart."""
        self._need(self.sees_all_partitions, f"see {what}, which is of all partitions")

    @property
    def sees_everything(self) -> bool:
        return any(own.sees_all for own in self._rights())

    @property
    def may_everything(self) -> bool:
        return self._everywhere.changes == "everything"

    @property
    def may_users(self) -> bool:
        """Whether this user changes users, and so passwords, of others."""
        return self._everywhere.changes in ("everything", "users")

    @property
    def may_decrypt(self) -> bool:
        """Whether captures may be of what the tunnels carry in clear."""
        return self._everywhere.decrypts

    @property
    def may_shell(self) -> bool:
        return self.shell == "bash" and any(own.shell for own in self._rights())

    @property
    def _everywhere(self) -> Rights:
        return ROLES[self.roles.get(auth.ALL_PARTITIONS, "no-access")]

    def _rights(self) -> Iterable[Rights]:
        return [ROLES[role] for role in self.roles.values()]

    def _right(self, place: str) -> Rights:
        role = self.roles.get(auth.ALL_PARTITIONS) or self.roles.get(place) or "no-access"
        return ROLES[role]

    def _check_asked(self, call: str, args: Mapping[str, Json]) -> None:
        folder = str(args.get("folder") or COMMON)
        for operation in args.get("operations", []) if call == "transaction" else [args]:
            folder = str(operation.get("folder") or folder)
            kind = KINDS.get(tuple(str(operation.get("kind")).split()))
            if kind is None:
                continue  # The call itself says what is wrong with it.
            verb = str(operation.get("verb")) if call == "transaction" else call
            names = operation.get("names", [operation.get("name", "")])
            for name in [*names, *([operation["to"]] if "to" in operation else [])]:
                if self._is_own_password(kind, str(name), verb, operation.get("properties", {})):
                    continue
                self._check_object(kind, full(str(name), folder), verb, operation.get("properties", {}))

    def _is_own_password(self, kind: Kind, name: str, verb: str, properties: Collection[str]) -> bool:
        """Whether this is the one thing about themselves that all may change."""
        return (kind.path, name, verb) == (auth.USER, self.user, "modify") and set(properties) <= {"password"}

    def _check_object(self, kind: Kind, name: str, verb: str, properties: Collection[str]) -> None:
        stands = kind.naming in (Naming.FOLDER, Naming.LOOSE)
        rights = [self._right(partition(name))] if stands else list(self._rights())
        allowed = any(self._changes(own.changes, kind, stands, verb, properties) for own in rights)
        self._need(allowed, f"{verb} {kind.word} {name if stands else name.rpartition('/')[2]}".strip())

    def _changes(self, what: str, kind: Kind, stands: bool, verb: str, properties: Collection[str]) -> bool:
        if what == "everything" or kind.path == ("cli", "preference"):
            return True
        if what in ("users", "but-users"):
            return (kind.path == auth.USER) is (what == "users")
        if what == "folders":
            return stands
        return what == "switches" and stands and verb == "modify" and set(properties) <= SWITCHES

    def _need(self, allowed: bool, what: str) -> None:
        if not allowed:
            raise self._refused(what)

    def _refused(self, what: str) -> Refused:
        held = ", ".join(f"{role} in {place}" for place, role in self.roles.items()) or "no role"
        return Refused(f"{self.user} ({held}) may not {what}")


def _changed(old: Object | None, new: Object | None) -> set[str]:
    """The properties in which two states of an object differ; all of them when one isn't there."""
    if old is None or new is None:
        return set((old or new).values) if old or new else set()  # type: ignore[union-attr]
    kept = {"what is kept"} if old.kept != new.kept else set()
    return {word for word, value in new.values.items() if old.values[word] != value} | kept


def of(peer: Peer, snapshot: Snapshot) -> Access:
    """What the one who asks may do."""
    user = snapshot.get(auth.USER, peer.user)
    if peer.by_password:
        return Access(peer.user, roles_of(user), user["shell"] if user else "none")
    if peer.uid in (0, os.geteuid()):
        return Access(peer.user, ADMIN, "bash")
    if user is None:
        return Access(peer.user, {} if any(snapshot.all(auth.USER)) else ADMIN)
    return Access(peer.user, roles_of(user), user["shell"])


def roles_of(user: Object | None) -> dict[str, str]:
    """The role by partition of an `auth user`; none for nobody."""
    return {place: inner["role"] for place, inner in user["partition-access"].items()} if user else {}

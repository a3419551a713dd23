"""Who may do what: the roles of `auth user`, partition by partition.

| role           | sees        | changes                       | resets, deletes SAs | files      | host's shell |
|----------------|-------------|-------------------------------|---------------------|------------|--------------|
| admin          | everything  | everything                    | yes                 | save, load | shell bash   |
| resource-admin | everything  | everything but users          | yes                 | save, load | no           |
| user-manager   | everything  | users                         | no                  | save       | no           |
| manager        | its folders | what stands in its partitions | yes                 | save       | no           |
| operator       | its folders | enabled, descriptions         | yes                 | no         | no           |
| auditor        | everything  | nothing                       | no                  | no         | no           |
| guest          | its folders | nothing                       | no                  | no         | no           |
| no-access      | nothing     | nothing                       | no                  | no         | no           |

Root, and whoever the daemon runs as, is admin. So is a member of the group culvert whom no `auth user` names: the host
let that person in. Its folders are those of the partitions that a user has a role in, and /Common, which all share.
"""

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from culvert.config.snapshot import Snapshot
from culvert.control.errors import Refused
from culvert.control.server import Peer
from culvert.model import auth
from culvert.model.kind import Kind, Naming
from culvert.model.names import COMMON, full, partition
from culvert.model.registry import KINDS

Json = Any
READS = ("list", "show", "describe", "folder", "access", "explain", "verify")
ACTS = ("delete-sas", "reset-stats", "restart-tmm", "trust-counter-journal")
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


ROLES: Mapping[str, Rights] = {
    "admin": Rights(True, "everything", True, True, True, True),
    "resource-admin": Rights(True, "but-users", True, True, True),
    "user-manager": Rights(True, "users", saves=True),
    "manager": Rights(changes="folders", acts=True, saves=True),
    "operator": Rights(changes="switches", acts=True),
    "auditor": Rights(True),
    "guest": Rights(),
    "no-access": Rights(sees=False),
}
ADMIN = {auth.ALL_PARTITIONS: "admin"}


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
            for operation in args.get("operations", [args]):
                self._check_change(operation, str(operation.get("verb", call)), args)
        elif call in ACTS:
            self._need(any(own.acts for own in self._rights()), f"run {call}")
        elif call == "save":
            self._need(any(own.saves for own in self._rights()), "save the configuration")
        elif call == "load":
            dry = bool(args.get("verify")) and any(own.sees_all for own in self._rights())
            self._need(dry or any(own.loads for own in self._rights()), "load a configuration")
        else:
            self._need(any(own.sees_all for own in self._rights()), f"ask for {call}")

    def sees(self, own: Mapping[str, Json]) -> bool:
        """Whether an object, as `list` gives it, is for this user's eyes."""
        kind = KINDS[tuple(str(own["kind"]).split())]
        if self.sees_everything:
            return True
        if kind.path == auth.USER:
            return bool(own["name"] == self.user)
        if kind.naming not in (Naming.FOLDER, Naming.LOOSE):
            return True
        place = partition(str(own["name"]))
        return f"/{place}" == COMMON or self._right(place).sees

    @property
    def sees_everything(self) -> bool:
        return any(own.sees_all for own in self._rights())

    @property
    def may_shell(self) -> bool:
        return self.shell == "bash" and any(own.shell for own in self._rights())

    def _rights(self) -> Iterable[Rights]:
        return [ROLES[role] for role in self.roles.values()]

    def _right(self, place: str) -> Rights:
        role = self.roles.get(auth.ALL_PARTITIONS) or self.roles.get(place) or "no-access"
        return ROLES[role]

    def _check_change(self, operation: Mapping[str, Json], verb: str, args: Mapping[str, Json]) -> None:
        kind = KINDS.get(tuple(str(operation.get("kind")).split()))
        if kind is None:
            return  # The call itself says what is wrong with it.
        names = operation.get("names", [operation.get("name", "")])
        folder = str(operation.get("folder") or args.get("folder") or COMMON)
        for name in [*names, *([operation["to"]] if "to" in operation else [])]:
            self._check_object(kind, full(str(name), folder), verb, operation.get("properties", {}))

    def _check_object(self, kind: Kind, name: str, verb: str, properties: Mapping[str, Json]) -> None:
        stands = kind.naming in (Naming.FOLDER, Naming.LOOSE)
        rights = [self._right(partition(name))] if stands else list(self._rights())
        allowed = any(self._changes(own.changes, kind, stands, verb, properties) for own in rights)
        self._need(allowed, f"{verb} {kind.word} {name if stands else name.rpartition('/')[2]}".strip())

    def _changes(self, what: str, kind: Kind, stands: bool, verb: str, properties: Mapping[str, Json]) -> bool:
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


def of(peer: Peer, snapshot: Snapshot) -> Access:
    """What the one who asks may do."""
    user = snapshot.get(auth.USER, peer.user)
    if peer.uid in (0, os.geteuid()):
        return Access(peer.user, ADMIN, "bash")
    if user is None:
        return Access(peer.user, ADMIN)
    return Access(peer.user, {place: inner["role"] for place, inner in user["partition-access"].items()}, user["shell"])

"""The last administrator: no change takes away the only user who gets in and may do everything.

Root always may, by the control socket; but a gateway that only root can still change is lost to all who work with it by
REST or the GUI. There are two ways to be the last one: to be the last who has a password as well, without whom
nobody logs in, and to be the last at all while other users are left, which shuts out those who come by the group.
"""

from collections.abc import Collection

from culvert.config.snapshot import Key, Snapshot
from culvert.config.transaction import Transaction
from culvert.control import access
from culvert.model import auth
from culvert.model.kind import Object
from culvert.model.problems import Invalid, Problem

NEEDED = f"a user with the role admin in {auth.ALL_PARTITIONS} and a password"


def check(before: Snapshot, after: Snapshot, changed: Collection[Key]) -> None:
    """Raises Invalid where there was an administrator, and is none any more."""
    if all(path != auth.USER for path, _ in changed):
        return
    if lost := _who_log_in(before) if not _who_log_in(after) else []:
        raise Invalid(_problem(lost[0], after, "the last administrator who can log in", NEEDED))
    if any(after.all(auth.USER)) and not _every(after) and (lost := _every(before)):
        needed = f"a user with the role admin in {auth.ALL_PARTITIONS}"
        raise Invalid(_problem(lost[0], after, "the last administrator", needed))


def keep(work: Transaction, before: Snapshot) -> list[str]:
    """Put back those who log in and administer, if a text that takes the place of everything names no such user.

    Returns what there is to tell. Who is there with less is left so, and found by `check`.
    """
    if _who_log_in(work.current):
        return []
    kept = [own for own in _who_log_in(before) if work.current.get(auth.USER, own.name) is None]
    for own in kept:
        work.create(own.kind, own.name, own.raw())
    return [f"user ({own.name}) is kept: what is loaded has no administrator who can log in" for own in kept]


def _every(snapshot: Snapshot) -> list[Object]:
    everywhere = (own for own in snapshot.all(auth.USER) if access.roles_of(own) == access.ADMIN)
    return sorted(everywhere, key=lambda own: own.name)


def _who_log_in(snapshot: Snapshot) -> list[Object]:
    return [own for own in _every(snapshot) if own["password"] is not None and own["password"].lets_in]


def _problem(own: Object, after: Snapshot, what: str, needed: str) -> Problem:
    given = _given(after.get(auth.USER, own.name))
    return own.problem(f"is {what}; given: {given}; allowed: {needed}, this one or another")


def _given(own: Object | None) -> str:
    """What is to become of the user."""
    if own is None:
        return "no such user"
    roles = ", ".join(f"{role} in {place}" for place, role in access.roles_of(own).items()) or "no role"
    return roles if own["password"] is not None and own["password"].lets_in else f"{roles}, no password that lets in"

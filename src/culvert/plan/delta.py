"""From one intent to the next when little changed: work by the size of the change, not of the configuration.

`intend` and `steps` say what is right, looking at everything. Most changes touch a policy, an SA or a selector or two
among tens of thousands, and then this gives the same answer from those alone. Whatever is not plainly of that kind is
left to them.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

from culvert.change import Change
from culvert.config.snapshot import Key, Snapshot
from culvert.ipsec.sa import Direction, SecurityAssociation
from culvert.ipsec.spd import Policy
from culvert.model import net_ipsec
from culvert.model.kind import Path
from culvert.plan import intent as whole
from culvert.plan.associations import UNCUT, security_associations, tunnel_mtu
from culvert.plan.intent import Intent
from culvert.plan.steps import steps

IPSEC: frozenset[Path] = frozenset({net_ipsec.POLICY, net_ipsec.MANUAL_SA, net_ipsec.SELECTOR})
IRRELEVANT = ("auth", "cli", "foreign")
"""Modules of which no plane hears."""


@dataclass(frozen=True, slots=True)
class _Affected:
    """Names of what may run otherwise: SAs and selectors of every policy that the change comes near."""

    associations: frozenset[str]
    selectors: frozenset[str]
    policies: frozenset[str]


def narrow(
    old: Intent, before: Snapshot, after: Snapshot, touched: Collection[Key], *, counter_journal: bool
) -> tuple[Intent, list[Change]] | None:
    """The intent of `after` and the changes that lead to it; None when everything has to be looked at.

    `old` is the intent of `before`, and `touched` names what differs. Raises Invalid as `intend` does.
    """
    keys = [key for key in touched if key[0][0] not in IRRELEVANT]
    if old.notes or not old.reqids or any(path not in IPSEC for path, _ in keys):
        return None
    if not keys:
        return old, []
    affected = _affected(before, after, keys)
    reqids = _reqids(old, after, affected.policies)
    if reqids is None:
        return None
    near = after.part(
        {
            net_ipsec.POLICY: affected.policies,
            net_ipsec.MANUAL_SA: affected.associations,
            net_ipsec.SELECTOR: affected.selectors,
        }
    )
    whole.refuse_what_cannot_run(near, counter_journal=counter_journal)
    notes: list[str] = []
    sas = tuple(security_associations(after, reqids, whole.links_of(after), notes, sorted(affected.associations)))
    if notes:
        return None
    policies = tuple(whole.policies_of(after, reqids, sorted(affected.selectors)))
    gone_sas, gone_policies = _labelled(old.sas, affected.associations), _labelled(old.policies, affected.selectors)
    new = replace(
        old,
        sas=_spliced(old.sas, affected.associations, sas),
        policies=_spliced(old.policies, affected.selectors, policies),
        reqids=reqids,
    )
    new = replace(new, tunnel_mtu=_tunnel_mtu(old, new, gone_sas, sas))
    return new, steps(
        Intent(sas=gone_sas, policies=gone_policies, tunnel_mtu=old.tunnel_mtu),
        Intent(sas=sas, policies=policies, tunnel_mtu=new.tunnel_mtu),
    )


def _affected(before: Snapshot, after: Snapshot, keys: Collection[Key]) -> _Affected:
    policies = {name for path, name in keys if path == net_ipsec.POLICY}
    for path, name in keys:
        if path != net_ipsec.POLICY:
            found = (own for snapshot in (before, after) if (own := snapshot.get(path, name)) is not None)
            policies |= {own["ipsec-policy"] for own in found}
    names: dict[Path, set[str]] = {path: {name for other, name in keys if other == path} for path in IPSEC}
    for snapshot in (before, after):
        for policy in policies:
            for user in snapshot.referrers(net_ipsec.POLICY, policy):
                if user.kind.path in names:
                    names[user.kind.path].add(user.name)
    return _Affected(frozenset(names[net_ipsec.MANUAL_SA]), frozenset(names[net_ipsec.SELECTOR]), frozenset(policies))


def _reqids(old: Intent, after: Snapshot, policies: Collection[str]) -> Mapping[str, int] | None:
    """The numbers of policies, with those that came and without those that went; None when two would be the same."""
    came = [name for name in policies if name not in old.reqids and after.get(net_ipsec.POLICY, name)]
    went = [name for name in policies if name in old.reqids and not after.get(net_ipsec.POLICY, name)]
    if not came and not went:
        return old.reqids
    numbers = dict(old.reqids)
    for name in went:
        if numbers.pop(name) != whole.reqid_of(name):
            return None
    taken = set(numbers.values())
    for name in came:
        number = whole.reqid_of(name)
        if number in taken:
            return None
        taken.add(number)
        numbers[name] = number
    return numbers


T = TypeVar("T", SecurityAssociation, Policy)


def _labelled(things: tuple[T, ...], names: Collection[str]) -> tuple[T, ...]:
    return tuple(own for name in sorted(names) for own in things[slice(*_span(things, name))])


def _spliced(things: tuple[T, ...], names: Collection[str], new: Collection[T]) -> tuple[T, ...]:
    """`things`, which stand in the order of their labels, with those of `names` taken out and `new` put in."""
    found = list(things)
    for name in sorted(names):
        first, last = _span(found, name)
        found[first:last] = [own for own in new if own.label == name]
    return tuple(found)


def _span(things: Sequence[SecurityAssociation] | Sequence[Policy], name: str) -> tuple[int, int]:
    return bisect_left(things, name, key=_label), bisect_right(things, name, key=_label)


def _label(own: SecurityAssociation | Policy) -> str:
    return own.label


def _tunnel_mtu(
    old: Intent, new: Intent, gone: Collection[SecurityAssociation], came: Collection[SecurityAssociation]
) -> int:
    """The smallest of all, from the old smallest and what changed, where that tells it."""
    lost, won = (tunnel_mtu(each) if any(_outbound(each)) else None for each in (gone, came))
    if lost is not None and (old.tunnel_mtu == UNCUT or lost <= old.tunnel_mtu) and lost != won:
        return tunnel_mtu(new.sas)
    if won is None or UNCUT in (old.tunnel_mtu, won):
        return old.tunnel_mtu if won is None else UNCUT
    return won if not any(_outbound(old.sas)) else min(old.tunnel_mtu, won)


def _outbound(sas: Collection[SecurityAssociation]) -> Iterator[bool]:
    return (True for sa in sas if sa.direction is Direction.OUT)

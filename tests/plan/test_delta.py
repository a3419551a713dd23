"""The short way to the next intent: the same answer as the long one, whatever is changed in whatever order."""

import contextlib
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from sealing import READER, SITE_A, configured

from culvert.config import transaction as tx
from culvert.config.snapshot import Snapshot
from culvert.config.transaction import Transaction
from culvert.model.problems import Invalid
from culvert.model.registry import KINDS
from culvert.plan.delta import narrow
from culvert.plan.intent import Intent, intend
from culvert.plan.steps import steps

POLICY, SA, SELECTOR = (
    KINDS["net", "ipsec", word] for word in ("ipsec-policy", "manual-security-association", "traffic-selector")
)
NAMES = st.sampled_from(["a", "b", "c", "pol-out", "pol-in"])
SA_NAMES = st.sampled_from(["s", "t", "sa-out", "sa-in"])
SELECTOR_NAMES = st.sampled_from(["x", "y", "ts-out", "ts-in"])
ENDS = st.sampled_from([("2.2.2.2", "3.3.3.3"), ("3.3.3.3", "2.2.2.2"), ("2.2.2.2", "4.4.4.4")])
KEYS = {"auth-key": "0x" + "ab" * 20, "encrypt-key": "0x" + "cd" * 16}


def policy_of(ends: tuple[str, str], extra: dict[str, str]) -> dict[str, str]:
    return {"mode": "tunnel", "tunnel-local-address": ends[0], "tunnel-remote-address": ends[1], **extra}


def association_of(ends: tuple[str, str], policy: str, spi: int) -> dict[str, str]:
    return {"source-address": ends[0], "destination-address": ends[1], "ipsec-policy": policy, "spi": str(spi), **KEYS}


def selector_of(policy: str, direction: str, order: int) -> dict[str, str]:
    networks = {"source-address": "10.1.0.0/24", "destination-address": "10.2.0.0/24"}
    return {**networks, "ipsec-policy": policy, "direction": direction, "order": str(order)}


EXTRAS = st.sampled_from([{}, {"fragmentation": "after"}, {"df-bit": "clear"}, {"udp-encapsulation": "enabled"}])
VERBS = st.sampled_from(["create", "modify", "delete"])
EDITS = st.one_of(
    st.tuples(VERBS, st.just(POLICY), NAMES, st.builds(policy_of, ENDS, EXTRAS)),
    st.tuples(VERBS, st.just(SA), SA_NAMES, st.builds(association_of, ENDS, NAMES, st.integers(900, 903))),
    st.tuples(
        VERBS,
        st.just(SELECTOR),
        SELECTOR_NAMES,
        st.builds(selector_of, NAMES, st.sampled_from(["in", "out", "both"]), st.integers(0, 2)),
    ),
)


def edited(base: Snapshot, edits: list[Any]) -> tuple[Transaction, Snapshot] | None:
    """The transaction of those edits that are possible; None when together they are not."""
    work = Transaction(base, READER)
    for verb, kind, name, properties in edits:
        with contextlib.suppress(tx.Refusal, Invalid):
            if verb == "delete":
                work.delete(kind, name)
            else:
                getattr(work, verb)(kind, name, properties)
    try:
        return work, work.check()
    except (tx.Refusal, Invalid):
        return None


@settings(deadline=None, max_examples=300)
@given(changes=st.lists(st.lists(EDITS, min_size=1, max_size=4), min_size=1, max_size=6))
def test_it_agrees_with_looking_at_everything(changes: list[list[Any]]) -> None:
    snapshot = configured(SITE_A)
    intent = intend(snapshot, counter_journal=True)
    for edits in changes:
        found = edited(snapshot, edits)
        if found is None:
            continue
        work, after = found
        wanted = intend(after, counter_journal=True)
        near = narrow(intent, snapshot, after, work.touched, counter_journal=True)
        if near is not None:
            assert near[0] == wanted
            assert sorted(map(repr, near[1])) == sorted(map(repr, steps(intent, wanted)))
            assert [type(own) for own in near[1]] == [type(own) for own in steps(intent, wanted)]
        else:
            # Only what is not plain is left to the long way.
            assert intent.notes or wanted.notes
        snapshot, intent = after, wanted


def test_other_kinds_are_looked_at_as_a_whole() -> None:
    snapshot = configured(SITE_A)
    intent = intend(snapshot, counter_journal=True)
    work = Transaction(snapshot, READER)
    work.modify(KINDS["ltm", "virtual"], "forward", {"enabled": False})
    assert narrow(intent, snapshot, work.check(), work.touched, counter_journal=True) is None
    assert narrow(Intent(), snapshot, work.check(), work.touched, counter_journal=True) is None


def test_what_no_plane_hears_of_changes_nothing() -> None:
    snapshot = configured(SITE_A)
    intent = intend(snapshot, counter_journal=True)
    work = Transaction(snapshot, READER)
    work.modify(KINDS["cli", "global-settings"], "", {"audit": "disabled"})
    work.create(KINDS["auth", "partition"], "P", {})
    assert narrow(intent, snapshot, work.check(), work.touched, counter_journal=True) == (intent, [])

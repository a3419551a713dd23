"""What `verify` found, by the objects that it is about."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from culvert.web.tunnels import ASSOCIATION, POLICY, SELECTOR

PASS, WARN, FAIL = "pass", "warn", "fail"
Named = tuple[str, str]
"""The words of a kind, and a full name."""
TUNNEL = frozenset((POLICY, SELECTOR, ASSOCIATION))
"""Kinds that tunnels are made of."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong or unwise, and what repairs it."""

    verdict: str
    sentence: str
    repair: str


@dataclass(frozen=True, slots=True)
class Findings:
    """`of`: by object. `others`: those that are about no object of a tunnel."""

    of: Mapping[Named, Sequence[Finding]]
    others: tuple[Finding, ...]


def sorted_out(found: Iterable[Mapping[str, Any]]) -> Findings:
    """The findings of a `verify` by what they are about. What only says that no packet went yet is left out."""
    named: dict[Named, list[Finding]] = {}
    others: list[Finding] = []
    for own in found:
        if own["verdict"] == PASS or own["check"] == "traffic":
            continue
        finding = Finding(own["verdict"], own["sentence"], own["repair"])
        about = [(each["kind"], each["name"]) for each in own["objects"] if each["kind"] in TUNNEL]
        for each in about:
            named.setdefault(each, []).append(finding)
        if not about:
            others.append(finding)
    return Findings(named, tuple(others))

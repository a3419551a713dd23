"""What `verify` found, by the objects that its sentences name."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from culvert.model import net_ipsec
from culvert.model.names import COMMON, full

PASS, WARN, FAIL = "pass", "warn", "fail"
PEER = "peer"
_NAME = r"(?P<name>/?[^\s/:](?:[^:]*?[^\s:])?)"
_FORMS = (
    (net_ipsec.SELECTOR[-1], re.compile(rf"^selector {_NAME}: ")),
    (net_ipsec.SELECTOR[-1], re.compile(rf" what selector {_NAME} speaks of: ")),
    (net_ipsec.POLICY[-1], re.compile(rf"^policy {_NAME} goes from ")),
    (net_ipsec.POLICY[-1], re.compile(rf"^{_NAME}: tunnel-(?:local|remote)-address ")),
    (PEER, re.compile(r"^there is no route to (?P<name>\S+)$")),
    (net_ipsec.MANUAL_SA[-1], re.compile(rf"^no traffic selector leads to {_NAME}$")),
    (net_ipsec.MANUAL_SA[-1], re.compile(rf"^manual security association {_NAME} waits: ")),
    (net_ipsec.MANUAL_SA[-1], re.compile(rf"^{_NAME} (?:is behind its hard lifetime|has no SA for the way back)$")),
    (net_ipsec.MANUAL_SA[-1], re.compile(rf"^{_NAME} has used \d+ of \d+ sequence numbers$")),
    (net_ipsec.MANUAL_SA[-1], re.compile(rf"^{_NAME}: the path takes ")),
)


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong or unwise, and what repairs it."""

    verdict: str
    sentence: str
    repair: str


@dataclass(frozen=True, slots=True)
class Findings:
    """`of`: by kind and full name. `others`: those that name no object of a tunnel."""

    of: Mapping[tuple[str, str], tuple[Finding, ...]]
    others: tuple[Finding, ...]


def sorted_out(found: Iterable[Mapping[str, str]]) -> Findings:
    """The findings of a `verify` by what they are about. What only says that no packet went yet is left out."""
    named: dict[tuple[str, str], tuple[Finding, ...]] = {}
    others: list[Finding] = []
    for own in found:
        if own["verdict"] == PASS or own["check"] == "traffic":
            continue
        finding = Finding(own["verdict"], own["sentence"], own["repair"])
        about = _about(finding.sentence)
        if about is None:
            others.append(finding)
        else:
            named[about] = (*named.get(about, ()), finding)
    return Findings(named, tuple(others))


def _about(sentence: str) -> tuple[str, str] | None:
    for kind, form in _FORMS:
        if match := form.search(sentence):
            name = match["name"]
            return (kind, name) if kind == PEER else (kind, full(name, COMMON))
    return None

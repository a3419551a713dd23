"""A tunnel that the wizard made: what the peer has to type, shown once, and new keys for both systems."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from culvert.control.errors import NotFound
from culvert.model import net_ipsec
from culvert.model.problems import BadValue
from culvert.model.suites import Suite, suite_of
from culvert.model.values import parse_address
from culvert.rest import naming
from culvert.rest.exchange import Answer
from culvert.web import wizard_keys, wizard_plan
from culvert.web.rendering import framed
from culvert.web.visit import Visit, page
from culvert.web.wizard_keys import Keys
from culvert.web.wizard_plan import IN, OUT, SIDES, Part, Wish

Json = Any
KIND = net_ipsec.MANUAL_SA_KIND
NO_STORE = {"Cache-Control": "no-store"}


def spis(visit: Visit) -> frozenset[int]:
    """The SPIs that are taken here."""
    return frozenset(int(str(own["properties"]["spi"])) for own in _associations(visit))


def _associations(visit: Visit, names: Sequence[str] | None = None) -> list[Mapping[str, Json]]:
    args: dict[str, Json] = {} if names is None else {"names": list(names)}
    found = visit.session.call("list", kind=KIND.word, folder="/", recursive=True, **args)
    return [own for own in found if own["kind"] == KIND.word]


def _pair(visit: Visit, name: str) -> dict[str, Mapping[str, Json]]:
    """The properties of a tunnel's associations by direction; {} when they aren't both there."""
    wanted = {f"{name}_{side}": side for side in SIDES}
    try:
        found = _associations(visit, list(wanted))
    except NotFound:
        return {}
    made = {wanted[own["name"]]: own["properties"] for own in found if own["properties"]["protocol"] == "esp"}
    return made if len(made) == len(SIDES) else {}


def is_there(visit: Visit, wish: Wish) -> bool:
    """Whether exactly this was made before: its random SPIs tell a form that is sent again from another tunnel."""
    found = _pair(visit, wish.name)
    return bool(found) and all(
        (str(found[side]["spi"]), _address(found[side]["source-address"]), _address(found[side]["destination-address"]))
        == (str(wish.spi(side)), *map(_address, wish.ends(side)))
        for side in SIDES
    )


def _address(text: Json) -> str:
    try:
        return str(parse_address(str(text).partition("/")[0], any_allowed=True))
    except BadValue:
        return str(text)


def handed(
    visit: Visit, wish: Wish, keys: Mapping[str, Keys], warnings: Sequence[str], *, placed: bool = False
) -> Answer:
    """The one answer with what the peer types. What is outbound here is inbound there, with the same keys."""
    there = wish.mirrored()
    parts = wizard_plan.parts(there, {OUT: keys[IN], IN: keys[OUT]})
    forwarders = wizard_plan.forwarders(there, wizard_plan.versions(there))
    text = framed(
        visit.session,
        "wizard-peer.html",
        title="The Peer's Commands",
        here="/wizard",
        wish=wish,
        said="made",
        commands=_transaction([own.command() for own in parts]),
        forward=[own.command() for own in forwarders],
        placed=placed,
        warnings=warnings,
        vendor=wish.suite.auth == "sha1" and not wish.in_udp,
        made=f"/wizard/made/{wish.name.replace('/', '~')}",
    )
    return page(text, headers=NO_STORE)


def _transaction(commands: Sequence[str]) -> list[str]:
    """All or nothing, as here."""
    return ["create cli transaction", *commands, "submit cli transaction"]


def answer(visit: Visit, segment: str) -> Answer:
    """Says that the commands were shown once; makes new keys when asked to. Raises NotFound."""
    name = naming.object_name(segment)
    found = _pair(visit, name)
    if not found:
        raise NotFound(KIND.title, f"{name}_{OUT}")
    suites = {side: suite_of(str(own["encrypt-algorithm"]), str(own["auth-algorithm"])) for side, own in found.items()}
    outer, inner = suites[OUT], suites[IN]
    if visit.posts and outer is not None and inner is not None and visit.form.one("spi") == str(found[OUT]["spi"]):
        return _renewed(visit, name, found, {OUT: outer, IN: inner})
    text = framed(
        visit.session,
        "wizard-made.html",
        title="Shown Once",
        here="/wizard",
        name=name,
        ends=(_address(found[OUT]["source-address"]), _address(found[OUT]["destination-address"])),
        spi=str(found[OUT]["spi"]),
        again=visit.posts or visit.asked("again") == "1",
    )
    return page(text, headers=NO_STORE)


def _renewed(visit: Visit, name: str, found: Mapping[str, Mapping[str, Json]], suites: Mapping[str, Suite]) -> Answer:
    """New keys under new SPIs, so that packets under way are never taken for ones of the other key."""
    keys = {side: wizard_keys.made(own) for side, own in suites.items()}
    taken = spis(visit)
    first = wizard_keys.free_spi(taken)
    numbers = {OUT: first, IN: wizard_keys.free_spi(taken | {first})}
    ours = [Part(KIND, f"{name}_{side}", {"spi": str(numbers[side])}, "", keys[side]) for side in SIDES]
    answer = visit.session.call("transaction", operations=[own.operation("modify") for own in ours])
    # What is outbound here is inbound there.
    there = [
        replace(own, name=f"/Common/{name.rpartition('/')[2]}_{side}")
        for own, side in zip(ours, (IN, OUT), strict=True)
    ]
    text = framed(
        visit.session,
        "wizard-peer.html",
        title="The Peer's Commands",
        here="/wizard",
        wish=None,
        said="renewed",
        name=name,
        ends=(_address(found[OUT]["source-address"]), _address(found[OUT]["destination-address"])),
        commands=_transaction([own.command("modify") for own in there]),
        forward=[],
        placed=False,
        warnings=answer["warnings"],
        vendor=True,
        made=f"/wizard/made/{name.replace('/', '~')}",
    )
    return page(text, headers=NO_STORE)

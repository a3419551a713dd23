"""The tunnel wizard: the whole procedure on one page, for both systems. What it does about keys: `wizard_keys`."""

from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote

from culvert.control.errors import ControlError
from culvert.model import ltm, net
from culvert.model.fields import NONE
from culvert.model.suites import SUITES, Suite
from culvert.model.values import parse_interface
from culvert.rest.exchange import Answer, not_found
from culvert.web import wizard_keys, wizard_made, wizard_plan, wizard_sheet
from culvert.web.forms import OTHER
from culvert.web.rendering import framed, render
from culvert.web.visit import Visit, elsewhere, page
from culvert.web.wizard_keys import Keys
from culvert.web.wizard_plan import SIDES, Wish
from culvert.web.wizard_sheet import Sheet

Json = Any
HERE = "/wizard"
MADE = "made"
TITLE = "Tunnel Wizard"
PARTS_SHOWN = 24
FIRST_NAME = "tunnel"


class Wizard:
    """Answers under /wizard."""

    def answer(self, visit: Visit) -> Answer:
        """The form, what it asks for, or the page of a tunnel that was made. Raises ControlError, BadRequest."""
        if len(visit.rest) == 2 and visit.rest[0] == MADE:
            return wizard_made.answer(visit, visit.rest[1])
        if visit.rest:
            raise not_found(visit.request)
        suites = suites_of(visit)
        if not visit.posts:
            return _drawn(visit, suites, _start(visit), None)
        action = visit.form.one("do")
        if action == "cancel":
            return elsewhere("/map")
        sheet = wizard_sheet.sheet_of(visit.form)
        if action == "refresh":
            return _drawn(visit, suites, sheet, wizard_sheet.wish_of(_copy(sheet), suites))
        wish = wizard_sheet.wish_of(sheet, suites)
        if action == "preview":
            return _previewed(visit, sheet, wish)
        if wish is None:
            return _drawn(visit, suites, sheet, None, 400)
        if action == "finished":
            return _finished(visit, suites, sheet, wish)
        _check(visit, sheet, wish)
        return _drawn(visit, suites, sheet, wish, 200 if sheet.is_whole else 400, checked=sheet.is_whole)


def suites_of(visit: Visit) -> list[Suite]:
    """What can be chosen: counter modes only where a journal keeps a counter from being used twice."""
    rows = visit.session.call("show", what="sys tmm-info", filters={})
    journal = any(own.get("journal") for own in rows)
    return [own for own in SUITES if journal or not own.counter]


def _copy(sheet: Sheet) -> Sheet:
    return Sheet(dict(sheet.texts))


def _listed(visit: Visit, word: str) -> list[Mapping[str, Json]]:
    found = visit.session.call("list", kind=word, folder="/", recursive=True)
    return [own for own in found if own["kind"] == word]


def _start(visit: Visit) -> Sheet:
    """A form with what can be known: a free name, this system's addresses and networks, new SPIs."""
    taken = {str(own["name"]) for own in _listed(visit, "net ipsec ipsec-policy")}
    spis = wizard_made.spis(visit)
    local, networks = _sides(visit)
    first = wizard_keys.free_spi(spis)
    return Sheet(
        wizard_sheet.texts_of(
            {
                wizard_sheet.NAME: visit.asked("name") or _free_name(taken),
                wizard_sheet.PARTITION: "Common",
                wizard_sheet.LOCAL: local,
                wizard_sheet.LOCAL_NETWORKS: "\n".join(networks),
                wizard_sheet.REMOTE: visit.asked("remote"),
                wizard_sheet.SUITE: SUITES[0].word,
                wizard_sheet.IPCOMP: NONE,
                wizard_sheet.KEYS: wizard_sheet.MAKE,
                wizard_sheet.SPIS[wizard_plan.OUT]: str(first),
                wizard_sheet.SPIS[wizard_plan.IN]: str(wizard_keys.free_spi(spis | {first})),
            }
        )
    )


def _free_name(taken: set[str]) -> str:
    number = 1
    while f"/Common/{FIRST_NAME}{number}_out" in taken:
        number += 1
    return f"{FIRST_NAME}{number}"


def _selves(visit: Visit) -> list[tuple[str, str, str]]:
    """The self IPs: address, network and VLAN, in order of their names."""
    found = []
    for own in _listed(visit, net.SELF_KIND.word):
        parsed = parse_interface(str(own["properties"]["address"]))
        domain = f"%{parsed.route_domain}" if parsed.route_domain else ""
        network = f"{parsed.network.network_address}{domain}/{parsed.network.prefixlen}"
        found.append((str(parsed.address), network, str(own["properties"]["vlan"]).rpartition("/")[2]))
    return found


def _sides(visit: Visit) -> tuple[str, list[str]]:
    """The address that a tunnel likely begins at, and the networks likely behind this system."""
    selves = _selves(visit)
    outer = next((own for own in selves if own[2] == "external"), selves[0] if selves else None)
    if outer is None:
        return "", []
    family = parse_interface(outer[1]).network.version
    inner = [own[1] for own in selves if own[2] != outer[2] and wizard_plan.version(own[1]) == family]
    return outer[0], list(dict.fromkeys(inner))


def _keys(visit: Visit, sheet: Sheet, wish: Wish) -> dict[str, Keys]:
    """What was typed, or new ones."""
    if sheet.keys_are_typed:
        return {side: wizard_keys.typed(visit.form, side, wish.suite) for side in SIDES}
    return {side: wizard_keys.made(wish.suite) for side in SIDES}


def _parts(visit: Visit, wish: Wish, keys: Mapping[str, Keys]) -> list[wizard_plan.Part]:
    """All objects that this system gets."""
    virtuals = [own["properties"] for own in _listed(visit, ltm.VIRTUAL_KIND.word)]
    missing = wizard_plan.uncovered(wish, virtuals)
    return [*wizard_plan.forwarders(wish, missing), *wizard_plan.parts(wish, keys)]


def _asked(visit: Visit, parts: Sequence[wizard_plan.Part], **args: Json) -> list[str]:
    """Returns the advice. Raises ControlError."""
    answer = visit.session.call("transaction", operations=[own.operation() for own in parts], **args)
    return list(answer["warnings"])


def _check(visit: Visit, sheet: Sheet, wish: Wish) -> list[str]:
    """Ask culvertd whether it could be made. For this, new keys are made up and thrown away."""
    keys = _keys(visit, sheet, wish)
    for word in wizard_keys.missing(keys, wish.suite):
        sheet.wrong(word, "The key is missing. Keys are not sent back, so type it again.")
    if not sheet.is_whole:
        return []
    try:
        return _asked(visit, _parts(visit, wish, keys), validate_only=True)
    except ControlError as error:
        wizard_sheet.tell(sheet, wish, error)
        return []


def _finished(visit: Visit, suites: Sequence[Suite], sheet: Sheet, wish: Wish) -> Answer:
    if wizard_made.is_there(visit, wish):
        return elsewhere(f"{HERE}/{MADE}/{quote(wish.name.replace('/', '~'), safe='~')}", {"again": "1"})
    keys = _keys(visit, sheet, wish)
    for word in wizard_keys.missing(keys, wish.suite):
        sheet.wrong(word, "The key is missing.")
    if not sheet.is_whole:
        return _drawn(visit, suites, sheet, wish, 400)
    try:
        warnings = _asked(visit, _parts(visit, wish, keys))
    except ControlError as error:
        wizard_sheet.tell(sheet, wish, error)
        return _drawn(visit, suites, sheet, wish, error.http)
    known = {side: wizard_keys.places(wish.suite) for side in SIDES} if sheet.keys_are_typed else keys
    return wizard_made.handed(visit, wish, known, warnings, placed=sheet.keys_are_typed)


def _previewed(visit: Visit, sheet: Sheet, wish: Wish | None) -> Answer:
    """The picture and the objects alone, with what is wrong in a list."""
    warnings = [] if wish is None or _lacks_keys(visit, sheet, wish) else _check(visit, sheet, wish)
    return page(render("wizard-preview.html", **_picture(visit, sheet, wish), warnings=warnings, told=True))


def _lacks_keys(visit: Visit, sheet: Sheet, wish: Wish) -> bool:
    """Whether keys are still being typed: what can't be complete yet isn't called wrong."""
    return bool(sheet.keys_are_typed and wizard_keys.missing(_keys(visit, sheet, wish), wish.suite))


def _picture(visit: Visit, sheet: Sheet, wish: Wish | None) -> dict[str, Json]:
    parts = _parts(visit, wish, {}) if wish is not None else []
    return {
        "sheet": sheet,
        "wish": wish,
        "parts": parts[:PARTS_SHOWN],
        "more": len(parts) - len(parts[:PARTS_SHOWN]),
        "hostname": visit.session.call("describe")["hostname"],
    }


def _drawn(
    visit: Visit, suites: Sequence[Suite], sheet: Sheet, wish: Wish | None, status: int = 200, *, checked: bool = False
) -> Answer:
    selves = _selves(visit)
    partitions = [str(own["name"]) for own in _listed(visit, "auth partition")]
    text = framed(
        visit.session,
        "wizard.html",
        title=TITLE,
        here=HERE,
        suites=suites,
        selves=[(address, f"{address} ({vlan})") for address, _, vlan in selves],
        networks=list(dict.fromkeys(network for _, network, _ in selves)),
        partitions=partitions,
        other=OTHER,
        all_suites=len(suites) == len(SUITES),
        checked=checked,
        key_fields=_key_fields(sheet),
        warnings=[],
        told=False,
        **_picture(visit, sheet, wish),
    )
    return page(text, status)


def _key_fields(sheet: Sheet) -> list[tuple[str, str, int]]:
    """The fields of keys: word, label, octets."""
    suite = sheet.suite
    lengths = {
        "auth-key": ("Authentication Key", suite.auth_octets),
        "encrypt-key": ("Encryption Key", suite.encrypt_octets),
    }
    return [
        (f"{side}-{word}", f"{label}, {'outbound' if side == wizard_plan.OUT else 'inbound'}", octets)
        for side in SIDES
        for word, (label, octets) in lengths.items()
        if octets
    ]

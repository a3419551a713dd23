"""The wizard's form: what was typed, as a wish, and at which field stands what is wrong with it."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from culvert.control.errors import ControlError
from culvert.model import net_ipsec
from culvert.model.fields import NONE
from culvert.model.names import COMMON, check
from culvert.model.problems import BadValue
from culvert.model.suites import SUITES, Suite
from culvert.model.values import parse_address, parse_interface, parse_number
from culvert.web import wizard_keys, wizard_plan
from culvert.web.forms import OTHER
from culvert.web.visit import Form
from culvert.web.wizard_plan import IN, OUT, SIDES, Wish

Json = Any
NETWORKS_MOST = 32
NAME, PARTITION, LOCAL, REMOTE = "name", "partition", "local-address", "remote-address"
LOCAL_NETWORKS, REMOTE_NETWORKS = "local-networks", "remote-networks"
SUITE, UDP, IPCOMP, KEYS = "suite", "udp-encapsulation", "ipcomp", "keys"
SPIS = {OUT: "spi-out", IN: "spi-in"}
WORDS = (NAME, PARTITION, LOCAL, REMOTE, LOCAL_NETWORKS, REMOTE_NETWORKS, SUITE, UDP, IPCOMP, KEYS, *SPIS.values())
MAKE, TYPED = "make", "typed"


@dataclass(slots=True)
class Sheet:
    """The fields' texts, without the keys; `errors` by field, `others` about none of them."""

    texts: dict[str, str]
    errors: dict[str, list[str]] = field(default_factory=dict)
    others: list[str] = field(default_factory=list)

    def __getitem__(self, word: str) -> str:
        return self.texts.get(word, "")

    def lines(self, word: str) -> list[str]:
        """A field of several values."""
        return self[word].replace(",", " ").split()

    @property
    def keys_are_typed(self) -> bool:
        return self[KEYS] == TYPED

    @property
    def is_whole(self) -> bool:
        """Whether nothing is wrong with it so far."""
        return not self.errors and not self.others

    @property
    def suite(self) -> Suite:
        return next((own for own in SUITES if own.word == self[SUITE]), SUITES[0])

    def wrong(self, word: str, sentence: str) -> None:
        self.errors.setdefault(word, []).append(sentence)


def sheet_of(form: Form) -> Sheet:
    """What was typed; where the list says Other, what stands behind it."""
    texts = {word: form.one(word).strip() for word in WORDS}
    if texts[LOCAL] == OTHER:
        texts[LOCAL] = form.one(f"{LOCAL}.other").strip()
    return Sheet(texts)


def wish_of(sheet: Sheet, suites: Sequence[Suite]) -> Wish | None:
    """The wish; None when it can't be read, which then stands in the sheet."""
    if sheet[SUITE] not in [own.word for own in suites]:
        sheet.wrong(SUITE, "Choose one of the list.")
    name = _name(sheet)
    ends = [_address(sheet, word) for word in (LOCAL, REMOTE)]
    networks = [_networks(sheet, word) for word in (LOCAL_NETWORKS, REMOTE_NETWORKS)]
    spis = [_spi(sheet, side) for side in SIDES]
    if not sheet.is_whole:
        return None
    wish = Wish(
        name=name,
        local=ends[0],
        remote=ends[1],
        local_networks=networks[0],
        remote_networks=networks[1],
        suite=sheet.suite,
        spi_out=spis[0],
        spi_in=spis[1],
        in_udp=bool(sheet[UDP]),
        ipcomp=sheet[IPCOMP] or NONE,
    )
    _check_families(sheet, wish)
    return wish if sheet.is_whole else None


def _name(sheet: Sheet) -> str:
    given, partition = sheet[NAME], sheet[PARTITION].strip("/") or COMMON.strip("/")
    if not given:
        sheet.wrong(NAME, "A name is missing.")
        return ""
    try:
        return check(given if given.startswith("/") else f"/{partition}/{given}")
    except BadValue as error:
        sheet.wrong(NAME, str(error))
        return ""


def _address(sheet: Sheet, word: str) -> str:
    text = sheet[word]
    try:
        if not text:
            raise BadValue("An address is missing.")
        return str(parse_address(text, any_allowed=False))
    except BadValue as error:
        sheet.wrong(word, str(error))
        return ""


def _networks(sheet: Sheet, word: str) -> tuple[str, ...]:
    given = list(dict.fromkeys(sheet.lines(word)))
    if not given:
        sheet.wrong(word, "At least one network is needed.")
    if len(given) > NETWORKS_MOST:
        sheet.wrong(word, f"These are {len(given)} networks; {NETWORKS_MOST} at most go into one tunnel here.")
        return ()
    found = []
    for text in given:
        try:
            parsed = parse_interface(text)
        except BadValue as error:
            sheet.wrong(word, str(error))
            continue
        found.append(_network_text(sheet, word, text, str(parsed), str(parsed.network)))
    return tuple(found)


def _network_text(sheet: Sheet, word: str, given: str, parsed: str, network: str) -> str:
    """The network as it goes into a selector; one with host bits may be a slip of the finger."""
    address, _, prefix = parsed.partition("/")
    domain = address[len(address.partition("%")[0]) :]
    start = network.partition("/")[0]
    if address.partition("%")[0] != start:
        sheet.wrong(
            word, f'"{given}" is an address inside {start}{domain}/{prefix}; type that if you mean the network.'
        )
    return parsed


def _spi(sheet: Sheet, side: str) -> int:
    number = parse_number(sheet[SPIS[side]])
    if not wizard_keys.SPI_LEAST <= number <= wizard_keys.SPI_MOST:
        sheet.wrong(
            SPIS[side],
            f"A number from {wizard_keys.SPI_LEAST} to {wizard_keys.SPI_MOST} is expected: a SPI has 32 bits.",
        )
    return number


def _check_families(sheet: Sheet, wish: Wish) -> None:
    """Every network has to have one on the other side that it can speak with."""
    here, there = wish.local_networks, wish.remote_networks
    for word, own, other in ((LOCAL_NETWORKS, here, there), (REMOTE_NETWORKS, there, here)):
        known = {wizard_plan.version(each) for each in other}
        for each in own:
            if wizard_plan.version(each) not in known:
                sheet.wrong(word, f"{each} has no network of its IP version on the other side.")


def tell(sheet: Sheet, wish: Wish, error: ControlError) -> None:
    """What culvertd found wrong, at the fields that it came from."""
    places = dict(_places(wish))
    if not error.problems:
        place = places.get(("", _named(error.message), ""))
        if place is None:
            sheet.others.append(error.message)
        else:
            sheet.wrong(place, error.message)
        return
    first: dict[str, str] = {}
    for own in error.problems:
        word = places.get((own["title"], own["name"], own["word"])) or places.get((own["title"], own["name"], ""))
        if word is None:
            owner = f"{own['title']} ({own['name']}): " if own["name"] else ""
            sheet.others.append(f"{owner}{own['word'] + ': ' if own['word'] else ''}{own['sentence']}")
        elif first.setdefault(word, own["title"]) == own["title"] and own["sentence"] not in sheet.errors.get(word, []):
            # An association says again what its policy said.
            sheet.wrong(word, own["sentence"])


def _named(message: str) -> str:
    """The name in a sentence such as: The requested IPsec policy (/Common/x) already exists in partition Common."""
    return message.partition("(")[2].partition(")")[0]


def _places(wish: Wish) -> Iterator[tuple[tuple[str, str, str], str]]:
    """Which property of which object was made from which field."""
    policy, association, selector = (
        kind.title for kind in (net_ipsec.IPSEC_POLICY_KIND, net_ipsec.MANUAL_SA_KIND, net_ipsec.TRAFFIC_SELECTOR_KIND)
    )
    for side in SIDES:
        name = wish.of(side)
        own, other = (LOCAL, REMOTE) if side == OUT else (REMOTE, LOCAL)
        here, there = (LOCAL_NETWORKS, REMOTE_NETWORKS) if side == OUT else (REMOTE_NETWORKS, LOCAL_NETWORKS)
        fields = {
            (policy, "tunnel-local-address"): own,
            (policy, "tunnel-remote-address"): other,
            (policy, UDP): UDP,
            (policy, IPCOMP): IPCOMP,
            (policy, ""): NAME,
            (association, "source-address"): own,
            (association, "destination-address"): other,
            (association, "spi"): SPIS[side],
            (association, ""): SPIS[side],
            (association, "auth-algorithm"): SUITE,
            (association, "encrypt-algorithm"): SUITE,
            **{(association, word): f"{side}-{word}" for word in wizard_keys.WORDS},
            ("", ""): NAME,
        }
        for (title, word), place in fields.items():
            yield (title, name, word), place
        for number in range(1, len(wish.pairs(side)) + 1):
            part = wish.of(f"{side}_{number}")
            yield ("", part, ""), NAME
            yield (selector, part, ""), NAME
            yield (selector, part, "source-address"), here
            yield (selector, part, "destination-address"), there


def texts_of(start: Mapping[str, Json]) -> dict[str, str]:
    """The texts that an empty form begins with."""
    return {word: str(start.get(word, "")) for word in WORDS}

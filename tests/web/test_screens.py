"""Every screen: it draws, it gives no key away, and what it shows, sent back as it is, changes nothing."""

import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from culvert.control.errors import ControlError
from culvert.model import fields
from culvert.model.fields import Field
from culvert.model.kind import Kind, Naming
from culvert.model.passwords import Password
from culvert.model.registry import KINDS
from culvert.rest.resources import HIDDEN
from culvert.web.forms import fields_of
from culvert.web.menu import Entry
from culvert.web.screens import RELATED, SCREENS, may_make, screen_of
from culvert.web.visit import place
from tests.control.guarded import PASSWORD
from tests.web.looking import KEYS, Browser, House, entries, screens

Raw = Any
SHOWN = [kind for path, kind in KINDS.items() if path not in HIDDEN]
ABSENT = "<something/that=isn't>"


@pytest.mark.parametrize("entry", list(entries()), ids=lambda entry: entry.title)
def test_every_entry_of_the_menu_leads_to_a_page(ann: Browser, entry: Entry) -> None:
    page = ann.open(entry.address)
    assert page.title and f'href="{entry.address}" aria-current="page"' in page.text
    menu, _, rest = page.text.partition("</nav>")
    assert menu.count('aria-current="page"') == 1 and rest.count("<h1>") == 1


@pytest.mark.parametrize("url", screens())
def test_every_kind_has_a_screen_that_draws(ann: Browser, url: str) -> None:
    page = ann.open(url)
    assert page.title
    if url.endswith("/new"):
        buttons = [own for own in page.form().buttons if own not in ("Show", "Add another")]
        assert buttons == ["Finished", "Refresh", "Cancel", "Repeat"]
        assert ann.open(f"{url}?configuration=Advanced").title == page.title


@pytest.mark.parametrize("kind", SHOWN, ids=lambda kind: kind.word)
def test_every_object_has_a_page(house: House, ann: Browser, kind: Kind) -> None:
    for name in house.names(kind.word):
        page = ann.open(f"{place(kind, name)}?configuration=Advanced")
        assert page.title == f"{screen_of(kind).one} Properties"
        labels = {own.label for own in page.form().controls}
        drawn = {own.name.partition(".")[0] for own in page.form().controls}
        related = RELATED.get(kind.path, {})
        missing = [word for word in fields_of(screen_of(kind)) if word not in drawn and word not in related]
        assert not missing, f"Advanced shows everything, but not {missing}"
        assert "Update" in labels or kind.derived


@pytest.mark.parametrize("kind", SHOWN, ids=lambda kind: kind.word)
@pytest.mark.parametrize("name", ["~Common~nothing", "nothing", "~Nowhere~x", "%3Cscript%3E", "%00", "%ff", "~", "~~~"])
def test_what_isnt_there_is_not_found(ann: Browser, kind: Kind, name: str) -> None:
    if kind.naming is Naming.SINGLE:
        return
    page = ann.ask("GET", f"{place(kind)}/{name}")
    # Host interfaces are there without being made, and are asked about by whatever name.
    assert page.status == 404 or (kind.implicit and page.status < 500), page.text
    assert "<script>" not in page.text


def test_screens_name_words_that_there_are() -> None:
    for path, screen in SCREENS.items():
        known = fields_of(screen)
        words = {*screen.columns, *(word for own in screen.sections for word in (*own.words, *own.advanced))}
        assert words <= known.keys(), (path, words - known.keys())
        related = RELATED.get(path, {})
        assert related.keys() | {word for needs in related.values() for word in needs} <= known.keys()


# keys


def addresses(house: House) -> Iterator[str]:
    """Every page there is, of every object too."""
    yield from (own.address for own in entries())
    yield from screens()
    for kind in SHOWN:
        for name in house.names(kind.word):
            yield place(kind, name)
            yield f"{place(kind, name)}?configuration=Advanced"
        yield f"{place(kind)}?sort=name&down=1&search=a:"
        yield f"/suggest/{'/'.join(kind.path)}"


def test_no_key_leaves_in_any_form(house: House, ann: Browser) -> None:
    sealed = {
        str(value)
        for name in house.names("net ipsec manual-security-association")
        for word, value in house.properties("net ipsec manual-security-association", name).items()
        if word in ("auth-key", "encrypt-key")
    }
    assert len(sealed) == 4 and all(text.startswith("$M$") for text in sealed)
    for url in addresses(house):
        ann.ask("GET", url)
    sas = "/objects/net/ipsec/manual-security-association"
    form = {"Authentication Key": KEYS[0], "Encryption Key": KEYS[1], "SPI": "3"}
    for button in ("Finished", "Refresh", "Repeat"):
        ann.fill(f"{sas}/new", form | {"Name": "x"}, button)
    for button in ("Update", "Refresh", "Delete..."):
        ann.fill(f"{sas}/~Common~sa-out", form, button)
    ann.ask("GET", f"{sas}/new?auth-key={KEYS[0]}")
    ann.ask("POST", sas, [("csrf", ann.csrf), ("select", "/Common/sa-out"), ("do", "delete")])
    for url in ("/objects/auth/user/ann", "/objects/auth/user"):
        ann.ask("GET", url)
    hidden = [*KEYS, *(key.encode().hex() for key in KEYS), *sealed, "$argon2", PASSWORD, ann.token]
    for answer in house.answers:
        text = answer.octets.decode("utf-8", "replace") + str(dict(answer.headers)).replace(ann.token, "", 1)
        assert not [own for own in hidden if own in text]
        assert not re.search(r"\$M\$[\w+/=]{4}", text), "a page may say what sealed texts look like, and no more"


def test_links_lead_to_pages(house: House, ann: Browser) -> None:
    """Whatever a page of objects links to is there."""
    found = {url for page in map(ann.open, screens()) for url in page.reading.links.values()}
    menu = {own.address for own in entries()}
    for url in sorted(found - menu):
        if url.startswith("/") and urlsplit(url).path not in menu | {"/map"}:
            assert ann.ask("GET", url).status == 200, url


# round trips


FREE = st.text(st.characters(codec="utf-8", exclude_categories=("Cc", "Cs", "Cf", "Zl", "Zp", "Cn", "Co")), max_size=20)
TEXT = FREE | st.sampled_from(["none", "", " a ", "*other", "&lt;", '"><b>', "a\\b", "%41"])
V4, V6 = st.ip_addresses(v=4).map(str), st.ip_addresses(v=6).map(str)
SPANS = st.sampled_from(["any", "0", "1-5", "443", "https", "10-19", "65535"])
LISTS = st.lists(st.sampled_from(["default", "tcp:443", "udp:500", "all", "esp:any", "e0", "10.0.0.1"]), max_size=3)


def raw_of(own: Field, names: "dict[tuple[str, ...], list[str]]") -> st.SearchStrategy[Raw]:
    """Raw values of a field, good ones mostly."""
    kind = own.type
    if isinstance(kind, fields.Choice):
        return st.sampled_from(kind.words)
    if isinstance(kind, fields.Toggle):
        return st.booleans()
    if isinstance(kind, fields.Integer):
        return st.integers(kind.least, kind.most).map(str) | st.sampled_from([str(kind.least), *kind.words])
    if isinstance(kind, fields.OneAddress):
        return V4 | V6 | st.just("none")
    if isinstance(kind, fields.Prefix):
        return st.tuples(V4, st.integers(0, 32)).map(lambda own: f"{own[0]}/{own[1]}") | V6.map(lambda ip: f"{ip}/64")
    if isinstance(kind, fields.Reference):
        return st.sampled_from([*names.get(kind.target, []), "none"])
    if isinstance(kind, fields.Members):
        return members_of(kind, names)
    if isinstance(kind, fields.Words):
        known = names.get(kind.target or (), [])
        return st.lists(st.sampled_from(known), unique=True, max_size=3) if known else LISTS
    return SPANS if isinstance(kind, fields.Span) else TEXT


def members_of(kind: fields.Members, names: "dict[tuple[str, ...], list[str]]") -> st.SearchStrategy[Raw]:
    known = names.get(kind.target or kind.suggests or ("auth", "partition"), []) or ["e0"]
    inner = {own.word: raw_of(own, names) for own in kind.fields}
    named = st.fixed_dictionaries({"name": st.sampled_from([*known, "e1", "other"]), **inner})
    return st.lists(named, max_size=3, unique_by=lambda own: own["name"])


@cache
def changes() -> st.SearchStrategy[tuple[Kind, str, dict[str, Raw]]]:
    """An object of any kind that can be changed, by its place in the list of names, and a few properties."""
    open_kinds = [kind for kind in SHOWN if not (kind.derived or kind.personal)]
    return st.sampled_from(open_kinds).flatmap(lambda kind: st.tuples(st.just(kind), st.text(max_size=3), of(kind)))


def of(kind: Kind) -> st.SearchStrategy[dict[str, Raw]]:
    names = {path: NAMES.get(path, []) for path in KINDS}
    shown = [own for own in kind.fields if not isinstance(own.type, fields.Key | Password)]
    each = {own.word: raw_of(own, names) for own in shown}
    return st.sets(st.sampled_from(sorted(each)), max_size=4).flatmap(
        lambda words: st.fixed_dictionaries({word: each[word] for word in sorted(words)})
    ) if each else st.just({})  # fmt: skip


NAMES = {
    ("net", "vlan"): ["/Common/external", "/Common/the inner one"],
    ("net", "ipsec", "ipsec-policy"): ["/Common/policy-out", "/Common/policy-in", "/Common/default-ipsec-policy"],
    ("ltm", "profile", "fastl4"): ["/Common/fastL4"],
    ("sys", "log-config", "destination", "local-syslog"): ["/Common/local-syslog", "/Common/far"],
    ("sys", "log-config", "publisher"): ["/Common/default-ipsec-log-publisher"],
    ("auth", "partition"): ["Common", "Sales", "all-partitions"],
}


@pytest.fixture
def wide(house: House) -> House:
    """At least one object of every kind that can be made."""
    house.make("net vlan", "/Common/the inner one", tag="5", interfaces=[{"name": "e5"}])
    house.make("sys folder", "/Common/deep")
    house.make("sys db", "some.variable", value="x")
    house.make("auth user", "bob", partition_access=[{"name": "Sales", "role": "manager"}])
    assert all(house.names(kind.word) for kind in SHOWN if may_make(kind) and kind.path != ("sys", "db"))
    return house


def test_what_a_form_shows_sent_back_changes_nothing(wide: House, tmp_path: Path) -> None:
    ann, tried, taken, saved = wide.browser(), set(), set(), wide.inside.root("text")

    @settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.too_slow])
    @given(changes())
    def same(drawn: tuple[Kind, str, dict[str, Raw]]) -> None:
        kind, salt, properties = drawn
        wide.inside.root("load", text=saved)
        names = [name for name in wide.names(kind.word) if name != "ann"]
        name = names[len(salt) % len(names)]
        for word, value in properties.items():
            tried.add((kind.path, word))
            try:
                wide.inside.root("modify", kind=kind.word, name=name, properties={word: value})
            except ControlError:
                continue
            taken.add((kind.path, word))
        returned(wide, ann, kind, name)

    same()
    assert len(taken) > len(tried) / 2 > 5, "most of what was drawn was refused"


def returned(house: House, ann: Browser, kind: Kind, name: str) -> None:
    before = house.properties(kind.word, name) if name else {}
    where = place(kind, name)
    for mode in ("Basic", "Advanced"):
        page = ann.open(f"{where}?configuration={mode}")
        house.door.calls.clear()
        answer = ann.send(page, "Update", where)
        assert answer.status == 303, (kind.word, name, answer.said("error"), answer.said("alert"))
        asked = [args for call, args in house.door.calls if call == "transaction"]
        assert not asked, (kind.word, name, asked)
        assert ann.follow(answer).said("done")[0].endswith("nothing was changed.")
    assert not name or house.properties(kind.word, name) == before


def test_a_new_form_sent_as_it_is_asks_for_nothing_but_the_name(house: House, ann: Browser) -> None:
    for kind in SHOWN:
        if may_make(kind):
            house.door.calls.clear()
            ann.fill(f"{place(kind)}/new?configuration=Advanced", {"Name": "fresh-one"})
            (asked,) = [args["operations"][0]["properties"] for call, args in house.door.calls if call == "transaction"]
            assert not asked.keys() - {"ip-forward", "destination", "mask"}, (kind.word, asked)


def test_names_are_unlike_markup(ann: Browser) -> None:
    """What a user's name may be, a page shows as text."""
    house, name = ann.house, "<b>'&amp;</b>".replace("/", "")
    house.make("auth user", name, partition_access=[{"name": "all-partitions", "role": "guest"}])
    listed = ann.open("/objects/auth/user")
    assert name not in listed.text and "&lt;b&gt;" in listed.text
    link = next(url for text, url in listed.reading.links.items() if text.startswith("<b>"))
    assert ann.open(link).title == "User Properties"
    assert re.search(r"&lt;b&gt;", ann.open(link).text)

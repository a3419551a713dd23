"""The GUI in this process, behind real accounts and over a gateway in memory, and a browser without a screen.

The browser keeps the cookie, reads forms out of pages and sends them as a real one would: what is hidden and what is
chosen included, with one button pressed.
"""

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

from culvert.model.registry import KINDS
from culvert.rest.exchange import Answer, Request
from culvert.rest.resources import HIDDEN
from culvert.web.menu import MENU, Entry
from culvert.web.screens import may_make
from culvert.web.site import Site
from culvert.web.visit import place
from tests.control.guarded import HOME, PASSWORD, Guarded

Json = Any
Fields = list[tuple[str, str]]
FORM = "application/x-www-form-urlencoded"
KEYS = ("k3y-of-20-characters", "another-key-of-sixte"[:16])
"""Key texts of the objects that `House.furnish` makes: they must never be seen again."""


@dataclass(frozen=True, slots=True)
class OwnDoor:
    """Asks the house as the web process does, over what would be a socket. `calls` has every call's name and words."""

    house: Guarded
    calls: list[tuple[str, dict[str, Json]]] = field(default_factory=list)

    def call(self, credentials: Mapping[str, str] | None, name: str, /, **args: Json) -> Json:
        self.calls.append((name, args))
        return json.loads(json.dumps(self.house.ask(name, credentials, **json.loads(json.dumps(args)))))


class House:
    """A gateway with the GUI in front."""

    def __init__(self, directory: Path) -> None:
        self.inside = Guarded(directory)
        self.door = OwnDoor(self.inside)
        self.site = Site(self.door)  # type: ignore[arg-type]
        self.answers: list[Answer] = []
        self.inside.user("ann")

    def browser(self, user: str = "ann", address: str = HOME) -> "Browser":
        """One that is logged in."""
        made = Browser(self, address)
        assert made.login(user).status == 303
        return made

    def make(self, kind: str, name: str, **properties: Json) -> None:
        """An object, with _ for - in the words of its properties."""
        raw = {word.replace("_", "-"): value for word, value in properties.items()}
        self.inside.root("create", kind=kind, name=name, properties=raw)

    def properties(self, kind: str, name: str) -> dict[str, Json]:
        """An object's, as culvertd has them."""
        found: dict[str, Json] = self.inside.root("list", kind=kind, names=[name])[0]["properties"]
        return found

    def names(self, kind: str) -> list[str]:
        found = self.inside.root("list", kind=kind, folder="/", recursive=True, names_only=True)
        return [str(own["name"]) for own in found if own["kind"] == kind]

    def furnish(self) -> None:
        """A site with a tunnel, and one object at least of most kinds."""
        self.make("net vlan", "/Common/external", interfaces=[{"name": "e0"}], description="outside")
        self.make("net self", "/Common/outside", address="2.2.2.2/24", vlan="/Common/external")
        self.make("net route", "/Common/away", network="10.2.0.0/16", gw="2.2.2.1")
        self.make("ltm virtual", "/Common/forward-all", destination="0.0.0.0:any", mask="any", ip_forward=True)
        for name, here, there in (("out", "2.2.2.2", "3.3.3.3"), ("in", "3.3.3.3", "2.2.2.2")):
            policy = f"/Common/policy-{name}"
            ends = {"tunnel_local_address": here, "tunnel_remote_address": there}
            self.make("net ipsec ipsec-policy", policy, mode="tunnel", **ends)
            self.make(
                "net ipsec manual-security-association", f"/Common/sa-{name}",
                spi="1001" if name == "out" else "1002", source_address=here, destination_address=there,
                auth_key=KEYS[0], encrypt_key=KEYS[1], ipsec_policy=policy,
            )  # fmt: skip
            networks = ("10.1.0.0/16", "10.2.0.0/16") if name == "out" else ("10.2.0.0/16", "10.1.0.0/16")
            self.make(
                "net ipsec traffic-selector", f"/Common/selector-{name}",
                source_address=networks[0], destination_address=networks[1], direction=name, ipsec_policy=policy,
            )  # fmt: skip
        self.make("sys log-config destination remote-syslog", "/Common/far", host="192.0.2.99")
        self.make("auth partition", "Sales", description="a partition")

    def close(self) -> None:
        self.inside.close()


@dataclass(slots=True)
class Control:
    """An input, select, textarea or button. `values`: what it would send; `options`: what a select offers, by words."""

    name: str
    kind: str
    values: list[str]
    ident: str = ""
    options: dict[str, str] = field(default_factory=dict)
    label: str = ""


@dataclass(slots=True)
class Found:
    """A form of a page."""

    action: str
    method: str
    controls: list[Control] = field(default_factory=list)

    def __contains__(self, label: str) -> bool:
        return any(own.label == label for own in self.controls)

    @property
    def buttons(self) -> dict[str, str]:
        """By the words on them, what they send."""
        return {own.label: own.values[0] for own in self.controls if own.kind == "button" and own.values}

    def control(self, label: str) -> Control:
        """The field with this label, or with this name."""
        return next(own for own in self.controls if label in (own.label, own.name) and own.kind != "button")

    def fields(self, changes: Mapping[str, str | list[str]] | None = None) -> Fields:
        """What would be sent, with other values in some fields, by label or name; a select's by its words too."""
        given: dict[int, list[str]] = {}
        for label, values in (changes or {}).items():
            own = self.control(label)
            wanted = [values] if isinstance(values, str) else values
            given[id(own)] = [own.options.get(value, value) for value in wanted]
        return [
            (own.name, value)
            for own in self.controls
            if own.kind != "button" and own.name
            for value in given.get(id(own), own.values)
        ]


class Reading(HTMLParser):
    """What a page has, as far as tests look at it."""

    def __init__(self) -> None:
        super().__init__()
        self.forms: list[Found] = []
        self.labels: dict[str, str] = {}
        self.texts: list[tuple[str, str]] = []
        self.rows: list[list[str]] = []
        self.links: dict[str, str] = {}
        self._select: Control | None = None
        self._option: tuple[str, bool] | None = None
        self._into: list[tuple[str, Callable[[str], None], list[str]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        if tag == "form":
            self.forms.append(Found(given.get("action", ""), given.get("method", "get")))
        elif tag == "label":
            ident = given.get("for", "")
            self._collect(tag, lambda text: self.labels.__setitem__(ident, text))
        elif tag in ("p", "h1", "h2", "li") or given.get("class") == "count":
            words = given.get("class", "") if tag in ("p", "span") else tag
            self._collect(tag, lambda text: self.texts.append((words, text)))
        elif tag == "a":
            self._collect(tag, lambda text: self.links.setdefault(text, given.get("href", "")))
        elif tag == "tr":
            self.rows.append([])
        elif tag in ("td", "th"):
            self._collect(tag, lambda text: self.rows[-1].append(text))
        if self.forms:
            self._control(tag, given)

    def _control(self, tag: str, given: dict[str, str]) -> None:
        form, name = self.forms[-1], given.get("name", "")
        label = given.get("aria-label", "")
        if tag == "input":
            kind = given.get("type", "text")
            boxed = kind in ("checkbox", "radio")
            values = [given.get("value", "on" if boxed else "")] if not boxed or "checked" in given else []
            form.controls.append(Control(name, kind, values, given.get("id", ""), {}, label))
        elif tag == "select":
            self._select = Control(name, tag, [], given.get("id", ""), {}, label)
            form.controls.append(self._select)
        elif tag == "option" and self._select is not None:
            select = self._select
            self._collect(tag, lambda text: self._chosen(select, text, given.get("value", text), "selected" in given))
        elif tag == "textarea":
            made = Control(name, tag, [], given.get("id", ""), {}, label)
            form.controls.append(made)
            self._collect(tag, lambda text: made.values.append(text), plain=True)
        elif tag == "button":
            pressed = Control(name, tag, [given.get("value", "")])
            form.controls.append(pressed)
            self._collect(tag, lambda text: setattr(pressed, "label", text))

    @staticmethod
    def _chosen(select: Control, text: str, value: str, selected: bool) -> None:
        if selected or not select.options:
            select.values = [value]
        select.options[text] = value

    def _collect(self, tag: str, done: Callable[[str], None], plain: bool = False) -> None:
        self._into.append((tag, done if plain else lambda text: done(" ".join(text.split())), []))

    def handle_data(self, data: str) -> None:
        for _, _, pieces in self._into:
            pieces.append(data)

    def handle_endtag(self, tag: str) -> None:
        for position in range(len(self._into) - 1, -1, -1):
            if self._into[position][0] == tag:
                _, done, pieces = self._into.pop(position)
                done("".join(pieces))
                break
        if tag == "select":
            self._select = None

    def close(self) -> None:
        super().close()
        for form in self.forms:
            for own in form.controls:
                own.label = own.label or self.labels.get(own.ident, "").removesuffix(" *")


@dataclass(frozen=True, slots=True)
class Page:
    """An answer, read."""

    answer: Answer
    reading: Reading

    @property
    def status(self) -> int:
        return self.answer.status

    @property
    def text(self) -> str:
        return self.answer.octets.decode()

    @property
    def location(self) -> str:
        return self.answer.headers.get("Location", "")

    @property
    def title(self) -> str:
        return next((text for words, text in self.reading.texts if words == "h1"), "")

    @property
    def rows(self) -> list[list[str]]:
        """Of a list, without its heads and without the boxes to tick."""
        return [row[1:] if row and not row[0] else row for row in self.reading.rows if row][1:]

    def said(self, words: str) -> list[str]:
        """The paragraphs of a class: alert, error, note, done."""
        return [text for own, text in self.reading.texts if words in own.split()]

    def form(self) -> Found:
        """The one that isn't the log-out button: the first that has more than the proof of its session."""
        return next(own for own in self.reading.forms if own.action != "/logout" and own.method == "post")


class Browser:
    """A client with a cookie. `token` is what the cookie holds."""

    def __init__(self, house: House, address: str = HOME) -> None:
        self.house = house
        self.address = address
        self.token = ""

    def ask(self, method: str, url: str, form: Fields | None = None, **headers: str) -> Page:
        """One request as it is given: nothing is added but the cookie."""
        parts = urlsplit(url)
        given = {name.replace("_", "-"): value for name, value in headers.items()}
        if self.token:
            given.setdefault("cookie", f"__Host-culvert={self.token}")
        if form is not None:
            given.setdefault("content-type", FORM)
        content = urlencode(form).encode() if form is not None else b""
        segments = tuple(part for part in parts.path.split("/") if part)
        query = dict(parse_qsl(parts.query, keep_blank_values=True))
        answer = self.house.site.answer(Request(method, segments, query, given, content, self.address))
        self.house.answers.append(answer)
        self._keep(answer.headers.get("Set-Cookie", ""))
        reading = Reading()
        if answer.octets and answer.media.startswith("text/html"):
            reading.feed(answer.octets.decode())
        reading.close()
        return Page(answer, reading)

    def _keep(self, cookie: str) -> None:
        if cookie:
            self.token = cookie.partition(";")[0].partition("=")[2]

    def login(self, user: str, password: str = PASSWORD, wanted: str = "") -> Page:
        return self.ask("POST", "/login", [("username", user), ("password", password), ("next", wanted)])

    def open(self, url: str) -> Page:
        """A page that has to be there."""
        found = self.ask("GET", url)
        assert found.status == 200, (url, found.status, found.text)
        return found

    def send(self, page: Page, button: str, url: str, changes: Mapping[str, str | list[str]] | None = None) -> Page:
        """The page's form with some fields filled in and a button pressed. `url`: where the page was."""
        form = page.form()
        return self.ask("POST", form.action or url, [*form.fields(changes), ("do", form.buttons[button])])

    def follow(self, page: Page) -> Page:
        """The page that a form's answer leads to."""
        assert page.status == 303, (page.status, page.said("alert"), page.said("error"))
        return self.open(page.location)

    def fill(self, url: str, changes: Mapping[str, str | list[str]], button: str = "Finished") -> Page:
        """Open a form, fill it in and press a button."""
        return self.send(self.open(url), button, url, changes)

    @property
    def csrf(self) -> str:
        return next(own.values[0] for own in self.open("/objects/net/vlan").form().controls if own.name == "csrf")


def entries(within: tuple[Entry, ...] = MENU) -> Iterator[Entry]:
    """Every page that the menu leads to."""
    for own in within:
        if own.address:
            yield own
        yield from entries(own.entries)


def screens() -> list[str]:
    """The address of every kind's list, and of every form of a new object."""
    kinds = [kind for path, kind in KINDS.items() if path not in HIDDEN]
    return [place(kind) for kind in kinds] + [f"{place(kind)}/new" for kind in kinds if may_make(kind)]

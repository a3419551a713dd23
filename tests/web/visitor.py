"""Somebody who looks at pages of the GUI in this process, over a gateway in memory behind real accounts."""

import html
import json
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

from culvert.rest.exchange import Answer, Request
from culvert.web.session import Session
from culvert.web.site import Site
from tests.control.guarded import HOME, Guarded

Json = Any
VLANS = (
    "create net vlan external { interfaces add { wan0 { untagged } } }",
    "create net vlan internal { interfaces add { lan0 { untagged } } }",
    "create net self outside address 2.2.2.2/24 vlan external",
    "create net self inside address 10.1.0.1/24 vlan internal",
)


class Looked:
    """A page that came back."""

    def __init__(self, answer: Answer) -> None:
        self.status, self.headers = answer.status, answer.headers
        self.text = answer.octets.decode()

    def said(self, *words: str) -> list[str]:
        """The sentences of a class: alert, error, done, note."""
        found = re.findall(rf'class="(?:{"|".join(words)})"[^>]*>(.*?)</', self.text, re.DOTALL)
        return [html.unescape(re.sub(r"<[^>]*>|\s+", " ", own)).strip() for own in found]

    def wrong(self) -> dict[str, str]:
        """The first error at each field."""
        found = re.findall(r'role="alert" id="e-([^"]+)">([^<]*)<', self.text)
        return {word: html.unescape(sentence) for word, sentence in reversed(found)}

    def area(self, name: str) -> str:
        """What stands in a text area."""
        found = re.search(rf'<textarea id="{name}"[^>]*>(.*?)</textarea>', self.text, re.DOTALL)
        assert found is not None, self.text
        return html.unescape(found[1])

    def value(self, name: str) -> str:
        """What stands in an input."""
        found = re.search(rf'name="{name}"[^>]* value="([^"]*)"', self.text)
        assert found is not None, self.text
        return html.unescape(found[1])


class Visitor:
    """A user who logged in. `calls` has the name of everything that was asked of culvertd, with its words."""

    def __init__(self, inside: Guarded, user: str = "ann") -> None:
        self.inside = inside
        self.calls: list[tuple[str, dict[str, Json]]] = []
        self.site = Site(self)  # type: ignore[arg-type]
        self.token = inside.token(user)["token"]

    def call(self, credentials: Mapping[str, str] | None, name: str, /, **args: Json) -> Json:
        """As the door of the web process."""
        self.calls.append((name, args))
        return json.loads(json.dumps(self.inside.ask(name, credentials, **json.loads(json.dumps(args)))))

    @property
    def session(self) -> Session:
        return Session(self, self.token, HOME)  # type: ignore[arg-type]

    def look(self, url: str, form: Mapping[str, str | list[str]] | None = None, **headers: str) -> Looked:
        """A page; with `form`, what comes of sending it."""
        parts = urlsplit(url)
        content = urlencode({"csrf": self.session.csrf, **form}, doseq=True).encode() if form is not None else b""
        given = {"cookie": f"__Host-culvert={self.token}", "content-type": "application/x-www-form-urlencoded"}
        given |= {name.replace("_", "-"): value for name, value in headers.items()}
        segments = tuple(part for part in parts.path.split("/") if part)
        method = "GET" if form is None else "POST"
        query = dict(parse_qsl(parts.query))
        return Looked(self.site.answer(Request(method, segments, query, given, content, HOME)))

    def listed(self, kind: str) -> dict[str, dict[str, Json]]:
        """The objects of a kind by their names."""
        found = self.inside.root("list", kind=kind, folder="/", recursive=True)
        return {str(own["name"]): own["properties"] for own in found if own["kind"] == kind}


@contextmanager
def visiting(directory: Path, **roles: str) -> Iterator[Visitor]:
    """ann, an administrator, at a gateway with two VLANs; others by name and role."""
    inside = Guarded(directory)
    try:
        for answer in inside.site.type(*VLANS):
            assert not answer, answer
        inside.user("ann")
        for name, role in roles.items():
            inside.user(name, role)
        yield Visitor(inside)
    finally:
        inside.close()

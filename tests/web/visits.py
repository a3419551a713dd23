"""Pages asked in this process, as users with real accounts, over a gateway in memory."""

import html
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

from sealing import SITE_A

from culvert.rest.exchange import Answer, Request
from culvert.web.session import Session
from culvert.web.site import Site
from tests.control.guarded import HOME, Guarded

Json = Any


@dataclass(frozen=True, slots=True)
class GuardedDoor:
    """What the web process has in place of a socket."""

    house: Guarded

    def call(self, credentials: Mapping[str, str] | None, name: str, /, **args: Json) -> Json:
        return json.loads(json.dumps(self.house.ask(name, credentials, **json.loads(json.dumps(args)))))


@dataclass(slots=True)
class Visits:
    """One user's. `house` is what is behind the pages."""

    house: Guarded
    token: str = ""
    door: GuardedDoor = field(init=False)
    site: Site = field(init=False)

    def __post_init__(self) -> None:
        self.door = GuardedDoor(self.house)
        self.site = Site(self.door)  # type: ignore[arg-type]

    def become(self, user: str) -> None:
        self.token = self.house.token(user)["token"]

    def ask(self, method: str, url: str, form: Mapping[str, str] | None = None, **headers: str) -> Answer:
        parts = urlsplit(url)
        given = {"cookie": f"__Host-culvert={self.token}", "content-type": "application/x-www-form-urlencoded"}
        given |= {name.replace("_", "-"): value for name, value in headers.items()}
        csrf = Session(self.door, self.token, HOME).csrf  # type: ignore[arg-type]
        content = b"" if form is None else urlencode({"csrf": csrf, **form}).encode()
        segments = tuple(part for part in parts.path.split("/") if part)
        return self.site.answer(Request(method, segments, dict(parse_qsl(parts.query)), given, content, HOME))

    def open(self, url: str, **headers: str) -> str:
        """The page's text, which has to come."""
        answer = self.ask("GET", url, **headers)
        assert answer.status == 200, answer.octets
        return answer.octets.decode()

    def words(self, url: str) -> str:
        """What stands on the page's own part."""
        page = self.open(url)
        return " ".join(html.unescape(re.sub(r"<[^>]+>", " ", page[page.index("<main") :])).split())

    def post(self, url: str, **form: str) -> str:
        """Where a form that worked leads to."""
        answer = self.ask("POST", url, {name.replace("_", "-"): value for name, value in form.items()})
        assert answer.status == 303, answer.octets
        return answer.headers["Location"]

    def user(self, name: str, role: str) -> None:
        self.house.user(name, role)
        self.become(name)


def site_a(directory: Path) -> Visits:
    """The gateway of site A, and an administrator who looks at its pages."""
    made = Visits(Guarded(directory))
    made.house.root("load", text=SITE_A)
    made.user("ann", "admin")
    return made

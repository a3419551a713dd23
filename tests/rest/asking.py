"""REST in this process over a gateway in memory: requests as a client's, answers as it gets them."""

import base64
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from culvert.rest.app import App
from culvert.rest.exchange import Answer, Request
from tests.control.live import Site

Json = Any
BASIC = "Basic " + base64.b64encode(b"root:anything").decode()


@dataclass(frozen=True, slots=True)
class OpenDoor:
    """Asks the gateway as its owner, whoever the credentials are of: who may do what is tested elsewhere."""

    site: Site

    def call(self, credentials: Mapping[str, str] | None, name: str, /, **args: Json) -> Json:
        if name == "access":
            return {"admin": True}
        return json.loads(json.dumps(self.site.call(name, **json.loads(json.dumps(args)))))


@dataclass(frozen=True, slots=True)
class Web:
    """A client of an App. `site` is what is behind it."""

    site: Site
    app: App = field(repr=False)

    def ask(self, method: str, url: str, body: Json = None, **headers: str) -> Answer:
        parts = urlsplit(url)
        content = body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
        given = {"authorization": BASIC, **{name.replace("_", "-"): value for name, value in headers.items()}}
        segments = tuple(part for part in parts.path.split("/") if part)
        return self.app.answer(Request(method, segments, dict(parse_qsl(parts.query)), given, content, "192.0.2.9"))

    def good(self, method: str, url: str, body: Json = None, **headers: str) -> Json:
        """The body of an answer that has to be 200."""
        answer = self.ask(method, url, body, **headers)
        assert answer.status == 200, answer.body
        return json.loads(answer.octets) if answer.octets else None

    def bad(self, method: str, url: str, body: Json = None, **headers: str) -> tuple[int, str]:
        """Status and message of an answer that has to be an error, in the vendor's shape."""
        answer = self.ask(method, url, body, **headers)
        assert answer.status >= 400, answer.body
        found = json.loads(answer.octets)
        assert found.keys() == {"code", "message", "errorStack", "apiError"}
        assert found["code"] == answer.status
        return answer.status, found["message"]


def web(directory: Path) -> Web:
    site = Site(directory)
    uploads = directory / "uploads"
    uploads.mkdir()
    return Web(site, App(uploads, OpenDoor(site)))  # type: ignore[arg-type]

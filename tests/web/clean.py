"""What must hold of every answer of the GUI, whatever was asked: tests say so of all that they were given."""

from html.parser import HTMLParser

from culvert.rest.exchange import SECURITY, Answer
from culvert.web.visit import POLICY

LOADING = {"src", "href", "action", "formaction", "data", "poster", "srcset", "hx-get", "hx-post", "xlink:href"}
OURS = ("/", "?", "#")


class Suspicion(HTMLParser):
    """Collects what the Content-Security-Policy would stop, or what leads elsewhere."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        if tag == "script" and not given.get("src", "").startswith("/assets/"):
            self.found.append("a script in the page")
        if tag in ("style", "base", "iframe", "object", "embed", "frame"):
            self.found.append(f"<{tag}>")
        for name, value in given.items():
            if name.startswith("on") or name == "style":
                self.found.append(f"{name}={value} at <{tag}>")
            elsewhere = not value.startswith(OURS) or value.startswith(("//", "/\\"))
            if name in LOADING and value and elsewhere:
                self.found.append(f"{name}={value} at <{tag}>")


def suspicions(answer: Answer) -> list[str]:
    """What is wrong with an answer; empty when nothing is."""
    found = []
    headers = {**SECURITY, **answer.headers}
    if answer.media.startswith("text/html") and answer.octets:
        reader = Suspicion()
        reader.feed(answer.octets.decode())
        found += reader.found
        if headers["Content-Security-Policy"] != POLICY:
            found.append("the policy of a page is missing")
    if "frame-ancestors 'none'" not in headers["Content-Security-Policy"] or headers["X-Frame-Options"] != "DENY":
        found.append("it may stand in a frame")
    if headers["X-Content-Type-Options"] != "nosniff":
        found.append("its type may be guessed")
    if "no-store" not in headers["Cache-Control"] and "immutable" not in headers["Cache-Control"]:
        found.append("it may be kept")
    found += [f"{name}: {value!r}" for name, value in headers.items() if not f"{name}{value}".isprintable()]
    place = headers.get("Location", "/")
    if not place.startswith("/") or place.startswith(("//", "/\\")):
        found.append(f"it leads to {place}")
    if answer.status >= 500:
        found.append(f"status {answer.status}")
    return found

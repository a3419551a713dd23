"""One look at a page, and what comes back: a Request with its session and form, and answers that are pages."""

import hmac
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, quote, urlencode

from culvert.model.kind import Kind, Naming
from culvert.rest.exchange import Answer, BadRequest, Request
from culvert.web.session import Session

Json = Any
HTML = "text/html; charset=utf-8"
FIELDS_MAX = 5000
NEW = "new"
"""The last word of the address where an object is made."""
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; font-src 'self'; "
    "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
"""Content-Security-Policy of every page: nothing from elsewhere, nothing inline, no frame around it."""
# With no-referrer a browser says `Origin: null` about our own forms, which is what another site's would look like.
HEADERS = {
    "Content-Security-Policy": POLICY,
    "Cross-Origin-Opener-Policy": "same-origin",
    "Referrer-Policy": "same-origin",
}


class Form:
    """What a form gave: every value of every field, as text."""

    def __init__(self, fields: Mapping[str, list[str]]) -> None:
        self._fields = fields

    def __contains__(self, name: object) -> bool:
        return name in self._fields

    def __iter__(self) -> Any:
        return iter(self._fields)

    def one(self, name: str, default: str = "") -> str:
        """The last value of a field."""
        found = self._fields.get(name)
        return found[-1] if found else default

    def every(self, name: str) -> list[str]:
        return list(self._fields.get(name, []))


@dataclass(frozen=True, slots=True)
class Visit:
    """`rest`: the segments of the address behind the one that chose the page."""

    request: Request
    session: Session
    rest: tuple[str, ...]
    form: Form = field(default_factory=lambda: Form({}))

    @property
    def posts(self) -> bool:
        return self.request.method == "POST"

    @property
    def is_part(self) -> bool:
        """Whether htmx asks for a part of a page; when it goes back in a browser's history it wants all of it."""
        headers = self.request.headers
        return headers.get("hx-request") == "true" and headers.get("hx-history-restore-request") != "true"

    def asked(self, name: str, default: str = "") -> str:
        """A parameter of the address."""
        return self.request.query.get(name, default)


ADVICE_MOST = 1500


def done(visit: Visit, said: str, name: str, warnings: Sequence[str] = ()) -> dict[str, str]:
    """What was done to which object, and what is only unwise about it, as parameters of the page that comes next.

    They are signed: a link that somebody else made can't put words there.
    """
    advice = "\n".join(warnings)[:ADVICE_MOST]
    sign = visit.session.sign("\0".join((said, name, advice)))
    return {"said": said, "name": name, **({"advice": advice} if advice else {}), "sign": sign}


def news(visit: Visit) -> dict[str, str]:
    """What the page before has to tell, as `done` put it."""
    said, name, advice, sign = (visit.asked(word) for word in ("said", "name", "advice", "sign"))
    genuine = hmac.compare_digest(visit.session.sign("\0".join((said, name, advice))).encode(), sign.encode())
    return (
        {"said": said, "said_of": name, "advice": advice}
        if genuine
        else dict.fromkeys(("said", "said_of", "advice"), "")
    )


def form_of(request: Request) -> Form:
    """The fields of a body. Raises BadRequest for one that is no form."""
    if not request.content:
        return Form({})
    media = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media != "application/x-www-form-urlencoded":
        raise BadRequest(415, "a form is expected")
    try:
        text = request.content.decode("utf-8")
        return Form(parse_qs(text, keep_blank_values=True, max_num_fields=FIELDS_MAX, errors="strict"))
    except (UnicodeDecodeError, ValueError):
        raise BadRequest(400, "this is no form that can be read") from None


def page(text: str, status: int = 200, headers: Mapping[str, str] | None = None) -> Answer:
    """A page, or a part of one."""
    return Answer(text.encode(), status, {**HEADERS, **(headers or {})}, HTML)


def elsewhere(
    path: str, parameters: Mapping[str, str] | None = None, headers: Mapping[str, str] | None = None
) -> Answer:
    """A redirection that is fetched by GET, as after a form that did its work (RFC 9110 section 15.4.4)."""
    target = f"{path}?{urlencode(parameters)}" if parameters else path
    return Answer(b"", 303, {**HEADERS, "Location": target, **(headers or {})}, HTML)


def download(content: bytes, name: str, media: str = "application/octet-stream") -> Answer:
    """A file to keep."""
    return Answer(content, 200, {**HEADERS, "Content-Disposition": f'attachment; filename="{quote(name)}"'}, media)


def place(kind: Kind, name: str | None = None) -> str:
    """The address of a kind's list, or of one object."""
    base = f"/objects/{'/'.join(kind.path)}"
    if name is None or kind.naming is Naming.SINGLE:
        return base
    own = quote(name.replace("/", "~"), safe="~:")
    # An object may be called what the form of a new one is called.
    return f"{base}/{'%6Eew' if own == NEW else own}"

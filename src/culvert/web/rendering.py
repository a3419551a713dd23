"""Templates: one environment for all pages, in which nothing is put into a page but escaped."""

import hashlib
from collections.abc import Mapping
from functools import cache
from importlib import resources
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from culvert.model import names
from culvert.web import menu, visit
from culvert.web.forms import OTHER
from culvert.web.session import Session, who

ASSETS = {
    "account.css": "text/css; charset=utf-8",
    "audit.css": "text/css; charset=utf-8",
    "checklist.css": "text/css; charset=utf-8",
    "configuration.css": "text/css; charset=utf-8",
    "configuration.js": "text/javascript; charset=utf-8",
    "copy.js": "text/javascript; charset=utf-8",
    "culvert.css": "text/css; charset=utf-8",
    "culvert.js": "text/javascript; charset=utf-8",
    "culvert.svg": "image/svg+xml",
    "diagnostics.css": "text/css; charset=utf-8",
    "htmx-2.0.11.min.js": "text/javascript; charset=utf-8",
    "live.css": "text/css; charset=utf-8",
    "logs.css": "text/css; charset=utf-8",
    "map.css": "text/css; charset=utf-8",
    "path.css": "text/css; charset=utf-8",
    "wizard.css": "text/css; charset=utf-8",
    "wizard.js": "text/javascript; charset=utf-8",
}
"""What a page may load: files of this package, by name."""


@cache
def asset(name: str) -> bytes:
    """The octets of a file that pages load."""
    return resources.files("culvert.web").joinpath("assets", name).read_bytes()


@cache
def _version(name: str) -> str:
    return hashlib.sha256(asset(name)).hexdigest()[:12]


def _asset_address(name: str) -> str:
    return f"/assets/{name}?v={_version(name)}"


@cache
def _environment() -> Environment:
    made = Environment(
        loader=PackageLoader("culvert.web"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
    )
    made.globals |= {"asset": _asset_address, "place": visit.place, "menu": menu.MENU, "other_value": OTHER}
    made.filters |= {"short": lambda name: names.relative(str(name), names.COMMON), "amount": amount}
    return made


def prepare() -> None:
    """Read all that pages are made of, while the process may: as another user it may not reach this package's files."""
    for name in _environment().list_templates():
        _environment().get_template(name)
    for name in ASSETS:
        asset(name)


def render(template: str, /, **words: Any) -> str:
    """A template's text."""
    return _environment().get_template(template).render(**words)


def framed(session: Session, template: str, /, *, title: str, here: str, **words: Any) -> str:
    """A whole page: the template inside the frame. `here`: the address of the menu's entry that is open."""
    frame: Mapping[str, Any] = {"title": title, "here": here, "who": who(session), "csrf": session.csrf}
    return render(template, **frame, **words)


def amount(number: float) -> str:
    """A count as people read it: 353.9K, 1.8M."""
    for limit, unit in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "K")):
        if number >= limit:
            return f"{number / limit:.1f}{unit}"
    return f"{number:g}"

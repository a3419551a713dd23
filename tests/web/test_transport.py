"""The GUI over HTTPS, in a process that gave root up: where requests come from, what the cookie opens, sizes."""

import os
import statistics
import time
from collections.abc import Iterator
from dataclasses import dataclass
from urllib.parse import urlencode

import pytest

from culvert.rest.exchange import SECURITY
from culvert.web.rendering import ASSETS
from culvert.web.visit import HEADERS
from tests.rest.gateways import Gateway
from tests.rest.wire import Reply, Wire, alone, basic

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root for network namespaces")
OWN = "https://127.0.0.1:8443"
FORM = "Content-Type: application/x-www-form-urlencoded"
VLANS = "/objects/net/vlan"
GUESSES = 3


@dataclass(slots=True)
class Visitor:
    """Somebody who is logged in. `csrf` is what their pages' forms carry."""

    gateway: Gateway
    cookie: str = ""
    csrf: str = ""

    def ask(self, method: str, target: str, *headers: str, form: dict[str, str] | bytes | None = None) -> Reply:
        body = urlencode(form).encode() if isinstance(form, dict) else form
        own = [f"Cookie: {self.cookie}"] if self.cookie else []
        with Wire(self.gateway) as wire:
            return wire.ask(method, target, *own, *([FORM] if form is not None else []), *headers, body=body)

    def make(self, name: str, *headers: str) -> int:
        """The status of the answer to a form that makes a VLAN."""
        form = {"csrf": self.csrf, "name": name, "do": "finished"}
        return self.ask("POST", f"{VLANS}/new", *headers, form=form).status

    @property
    def vlans(self) -> str:
        return self.gateway.lab.show(self.gateway.node, "list net vlan")


@pytest.fixture(scope="module")
def gateway() -> Iterator[Gateway]:
    with alone("wtr") as found:
        yield found


@pytest.fixture(scope="module")
def visitor(gateway: Gateway) -> Visitor:
    made = Visitor(gateway)
    reply = made.ask("POST", "/login", form={"username": "admin", "password": gateway.password})
    assert reply.status == 303 and reply.headers["location"] == "/map"
    made.cookie = reply.headers["set-cookie"].partition(";")[0]
    made.csrf = made.ask("GET", VLANS).body.decode().partition('name="csrf" value="')[2].partition('"')[0]
    assert len(made.csrf) == 64
    return made


def test_every_answer_has_the_headers(visitor: Visitor) -> None:
    pages = (VLANS, f"{VLANS}/new", "/nothing", "/login", "/favicon.ico", *(f"/assets/{name}" for name in ASSETS))
    for target in pages:
        reply = visitor.ask("GET", target)
        wanted = {**SECURITY, **HEADERS}
        if target.startswith("/assets/"):
            wanted |= {"Cache-Control": "public, max-age=31536000, immutable", "Pragma": ""}
        assert {name: reply.headers.get(name.lower()) for name in wanted} == wanted, target
    assert visitor.ask("GET", VLANS).headers["content-type"] == "text/html; charset=utf-8"


def test_head_has_no_body(visitor: Visitor) -> None:
    reply = visitor.ask("HEAD", VLANS)
    assert (reply.status, reply.body) == (200, b"") and int(reply.headers["content-length"]) > 1000


@pytest.mark.parametrize(
    "headers",
    [
        ("Origin: https://evil.example",),
        ("Origin: null",),
        ("Origin: http://127.0.0.1:8443",),
        ("Origin: https://127.0.0.1:8444",),
        ("Origin: https://127.0.0.1:8443.evil.example",),
        ("Sec-Fetch-Site: cross-site",),
        ("Sec-Fetch-Site: same-site",),
        ("Sec-Fetch-Site: cross-site", "Sec-Fetch-Mode: navigate", "Origin: https://evil.example"),
        (f"Origin: {OWN}", "Sec-Fetch-Site: cross-site"),
    ],
    ids=" ".join,
)
def test_forms_from_other_sites_are_refused(visitor: Visitor, headers: tuple[str, ...]) -> None:
    assert visitor.make("forged", *headers) == 403
    assert "forged" not in visitor.vlans
    login = {"username": "admin", "password": visitor.gateway.password}
    assert Visitor(visitor.gateway).ask("POST", "/login", *headers, form=login).status == 403, (
        "nor is anybody logged in"
    )


def test_forms_of_our_own_are_taken(visitor: Visitor) -> None:
    for number, headers in enumerate(
        ((), (f"Origin: {OWN}", "Sec-Fetch-Site: same-origin"), ("Sec-Fetch-Site: none",))
    ):
        assert visitor.make(f"own-{number}", *headers) == 303
        assert f"own-{number}" in visitor.vlans


def test_a_link_from_elsewhere_leads_to_a_page_and_to_nothing_else(visitor: Visitor) -> None:
    follows = ("Sec-Fetch-Site: cross-site", "Sec-Fetch-Mode: navigate")
    assert visitor.ask("GET", VLANS, *follows).status == 200
    assert visitor.ask("GET", VLANS, "Sec-Fetch-Site: cross-site", "Sec-Fetch-Mode: no-cors").status == 403
    assert visitor.ask("GET", "/mgmt/tm/net/vlan", *follows).status == 403


def test_rest_does_not_take_the_cookie(visitor: Visitor) -> None:
    for method, target in (("GET", "/mgmt/tm/net/vlan"), ("POST", "/mgmt/tm/net/vlan"), ("GET", "/metrics")):
        assert visitor.ask(method, target).status == 401
    assert "checks" not in visitor.ask("GET", "/health").body.decode()


def test_pages_take_nothing_but_the_cookie(visitor: Visitor) -> None:
    token = visitor.cookie.partition("=")[2]
    for header in (basic("admin", visitor.gateway.password), f"X-F5-Auth-Token: {token}", f"Cookie: culvert={token}"):
        assert Visitor(visitor.gateway).ask("GET", VLANS, header).status == 303


def test_a_body_without_end_is_refused(visitor: Visitor) -> None:
    head = f"POST {VLANS}/new HTTP/1.1\r\nHost: 127.0.0.1:8443\r\nCookie: {visitor.cookie}\r\n{FORM}\r\n"
    with Wire(visitor.gateway) as wire:
        wire.say(f"{head}Content-Length: 99000000\r\n\r\n".encode())
        assert wire.reply().status == 413


def test_a_form_as_large_as_may_be_is_answered_soon(visitor: Visitor) -> None:
    form = {"csrf": visitor.csrf, "name": "x", "description": "y" * 4_000_000, "do": "finished"}
    begun = time.monotonic()
    assert visitor.ask("POST", f"{VLANS}/new", form=form).status in (400, 413)
    assert time.monotonic() - begun < 30


@pytest.mark.parametrize("target", ["/objects/../mgmt", "/%2e%2e/x", "/assets/../../x", "//evil.example/", "/./login"])
def test_tricks_with_the_address(visitor: Visitor, target: str) -> None:
    reply = visitor.ask("GET", target)
    assert reply.status in (400, 404)


def test_ends_of_lines_reach_no_header(visitor: Visitor) -> None:
    for target in ("/x%0d%0aSet-Cookie:%20a=b", f"{VLANS}?search=%0d%0aX-Evil:%201", "/login?next=/%0d%0aX-Evil:%201"):
        for own in (visitor, Visitor(visitor.gateway)):
            reply = own.ask("GET", target)
            assert reply.status in (200, 303, 404) and not {"x-evil"} & reply.headers.keys()
            assert "a=b" not in reply.headers.get("set-cookie", "")


def test_how_long_a_refusal_takes_does_not_tell_who_there_is(visitor: Visitor) -> None:
    taken: dict[str, list[float]] = {"admin": [], "nobody-at-all": []}
    for number in range(GUESSES):
        for user, times in taken.items():
            begun = time.monotonic()
            form = {"username": user, "password": f"a wrong one {number}"}
            assert Visitor(visitor.gateway).ask("POST", "/login", form=form).status == 401
            times.append(time.monotonic() - begun)
    known, unknown = (statistics.median(times) for times in taken.values())
    assert known < 3 * unknown + 0.05 and unknown < 3 * known + 0.05, taken

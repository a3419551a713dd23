"""The tunnel wizard on one real system, its commands typed into the other one, and a ping through both."""

import html
import http.client
import os
import re
import ssl
from collections.abc import Iterator, Mapping
from urllib.parse import urlencode

import pytest

from culvert.lab import keys, sites, traffic
from culvert.lab.lab import Lab
from culvert.lab.sites import Line
from tests.rest.gateways import Gateway, prefix, web
from tests.scenarios.two_sites import Sites, watching

pytestmark = [
    pytest.mark.network,
    pytest.mark.skipif(os.geteuid() != 0, reason="network namespaces need root"),
]
SERVER = "10.2.0.10"


class Browser:
    """Pages of a gateway, over TLS, as its administrator."""

    def __init__(self, gateway: Gateway) -> None:
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        self._connection = http.client.HTTPSConnection("127.0.0.1", gateway.port, context=context, timeout=60)
        gateway.lab.namespace(gateway.node).inside(self._connection.connect)
        self._cookie = ""
        _, found = self.ask("/login", {"username": "admin", "password": gateway.password})
        self._cookie = found["Set-Cookie"].partition(";")[0]

    def ask(self, path: str, form: Mapping[str, str] | None = None) -> tuple[str, http.client.HTTPMessage]:
        headers = {"Cookie": self._cookie, "Content-Type": "application/x-www-form-urlencoded"}
        body = None if form is None else urlencode(form)
        self._connection.request("GET" if form is None else "POST", path, body, headers)
        answer = self._connection.getresponse()
        text = answer.read().decode()
        assert answer.status in (200, 303), (answer.status, text)
        return text, answer.headers

    def close(self) -> None:
        self._connection.close()


@pytest.fixture
def gateway() -> Iterator[Gateway]:
    """Both systems with their addresses and routes, and nothing of a tunnel; the first one with its pages."""
    lab = Lab(prefix("cvw"))
    lab.add_topology()
    try:
        with web(lab, "a") as found:
            lab.daemon("b").start()
            for node in "ab":
                for line in sites.lines(sites.SITES[node], keys.fresh()):
                    if " ipsec " not in line.text and " ltm " not in line.text:
                        lab.enter(node, line)
            yield found
    finally:
        lab.down()


def value(page: str, name: str) -> str:
    found = re.search(rf'name="{name}"[^>]* value="([^"]*)"', page)
    assert found is not None, name
    return html.unescape(found[1])


def area(page: str, name: str) -> str:
    found = re.search(rf'<textarea id="{name}"[^>]*>(.*?)</textarea>', page, re.DOTALL)
    assert found is not None, name
    return html.unescape(found[1])


def test_a_ping_passes_the_tunnel_of_the_wizard(gateway: Gateway) -> None:
    lab, browser = gateway.lab, Browser(gateway)
    try:
        page, _ = browser.ask("/wizard")
        assert area(page, "f-local-networks") == "10.1.0.0/24" and 'value="aes-gcm256"' in page
        form = {word: value(page, word) for word in ("csrf", "name", "spi-out", "spi-in")}
        form |= {"local-address": "2.2.2.2", "remote-address": "3.3.3.3", "suite": "aes-gcm256", "ipcomp": "none"}
        form |= {"local-networks": "10.1.0.0/24", "remote-networks": "10.2.0.0/24", "keys": "make"}
        assert traffic.ping(lab, SERVER, 1, wait_seconds=1).received == 0
        page, headers = browser.ask("/wizard", {**form, "do": "finished"})
        assert "no-store" in headers["Cache-Control"]
    finally:
        browser.close()
    typed = [*area(page, "forward").splitlines(), *area(page, "commands").splitlines()]
    lab.enter("b", Line("\n".join(typed), ('"',)))
    with watching(lab) as seen:
        pings = traffic.ping(lab, SERVER, 5)
    assert pings.lost == 0, {node: lab.show(node, "show net ipsec drops") for node in "ab"}
    assert seen.esp >= 10 and not seen.clear
    shown = {node: Sites(lab, {}).show(node, "net ipsec ipsec-sa") for node in "ab"}
    for spi in (form["spi-out"], form["spi-in"]):
        assert all(f"{int(spi):x}" in text for text in shown.values()), shown

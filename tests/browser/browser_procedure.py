"""The manual's procedure in a real browser, on two systems, by clicking what it says to click; then packets pass."""

import pytest
from playwright.sync_api import Browser

from culvert.lab.sites import SITES
from culvert.lab.topology import GATEWAYS, SERVER_ADDRESSES
from tests.browser.procedure import click_through
from tests.browser.way import way
from tests.browser.window import Window, window
from tests.clients.pair import PINGS, Pair, carries_traffic, pair

pytestmark = [pytest.mark.network, pytest.mark.timeout(900)]


def test_the_procedure_by_clicking_and_the_tunnel_carries_traffic(browser: Browser) -> None:
    with pair("brp") as own:
        for node in GATEWAYS:
            with way(own.gateways[node]) as url, window(browser, url) as at:
                at.log_in("admin", own.gateways[node].password)
                click_through(at, SITES[node], own.keys)
        carries_traffic(own, SERVER_ADDRESSES[:1])
        with way(own.gateways["a"]) as url, window(browser, url) as at:
            at.log_in("admin", own.gateways["a"].password)
            counters_grow(own, at)


def counters_grow(own: Pair, at: Window) -> None:
    """What the page of live traffic tells of a security association's packets goes up with them."""
    at.main_tab("Overview", "Live Traffic")
    before = packets(at, "sa-out"), packets(at, "sa-in")
    carries_traffic(own, SERVER_ADDRESSES[:1])
    at.main_tab("Overview", "Live Traffic")
    after = packets(at, "sa-out"), packets(at, "sa-in")
    assert all(new >= old + PINGS for new, old in zip(after, before, strict=True)), (before, after)


def packets(at: Window, name: str) -> int:
    """What stands below "Packets" in the line of an association."""
    link = at.page.get_by_role("link", name=name, exact=True)
    table = at.page.locator("main table", has=link).first
    position = [own.strip() for own in table.locator("thead th").all_inner_texts()].index("Packets")
    told = table.locator("tr", has=link).first.locator("td, th").nth(position).inner_text()
    return int(told.replace(",", ""))

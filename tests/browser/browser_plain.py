"""Without JavaScript, and without a mouse."""

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser

from tests.browser.way import way
from tests.browser.window import Window, window
from tests.rest.gateways import Gateway
from tests.rest.wire import alone

pytestmark = [pytest.mark.network, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def gateway() -> Iterator[Gateway]:
    with alone("brq") as found:
        yield found


@pytest.fixture(scope="module")
def url(gateway: Gateway) -> Iterator[str]:
    with way(gateway) as found:
        yield found


def test_forms_work_with_javascript_off(browser: Browser, gateway: Gateway, url: str) -> None:
    with window(browser, url, script=False) as at:
        at.log_in("admin", gateway.password)
        at.main_tab("Network", "IPsec", "IPsec Policies")
        at.create()
        at.fill({"Name": "plain", "Mode": "Tunnel"})
        at.press("Refresh")
        at.fill({"Tunnel Local Address": "2.2.2.2", "Tunnel Remote Address": "3.3.3.x"})
        at.press("Finished")
        assert any("3.3.3.x" in each for each in at.said)
        at.put("Tunnel Remote Address", "3.3.3.3")
        at.press("Finished")
        assert at.said == ["plain was created."]
        with at.page.expect_navigation():
            at.page.get_by_role("link", name="plain", exact=True).click()
        at.put("Description", "made without a script")
        at.press("Update")
        assert at.said[0].startswith("plain was updated.")
        at.press("Delete...")
        at.press("Delete")
        assert at.said == ["/Common/plain deleted."] or at.said == ["plain deleted."]
        at.page.get_by_label("Search IPsec Policies").fill("interface")
        at.press("Search")
        assert at.page.locator("tbody tr").count() == 1
        at.press("Log out")


def test_an_object_by_the_keyboard_alone(browser: Browser, gateway: Gateway, url: str) -> None:
    with window(browser, url) as at:
        keys = at.page.keyboard
        at.go("/login")
        assert at.focused == "Username"
        keys.type("admin")
        at.tab_to("Password")
        keys.type(gateway.password)
        enter(at)
        at.page.get_by_role("button", name="Log out").wait_for()
        keys.press("Tab")
        assert at.focused == "Skip to the content"
        at.tab_to("IPsec")
        keys.press("Enter")
        at.tab_to("IPsec Policies")
        enter(at)
        at.tab_to("Create...")
        enter(at)
        assert at.focused == "Name"
        keys.type("by-keys")
        at.tab_to("Mode")
        keys.type("Tun")
        at.label("Tunnel Local Address").wait_for()
        assert at.focused == "Mode", "the screen refreshed, and one is where one was"
        at.tab_to("Tunnel Local Address")
        keys.type("2.2.2.2")
        at.tab_to("Tunnel Remote Address")
        keys.type("3.3.3.3")
        at.tab_to("Finished")
        enter(at)
        assert at.said == ["by-keys was created."]
        at.tab_to("by-keys")
        enter(at)
        at.tab_to("Description")
        keys.type("typed")
        enter(at)
        assert at.said[0].startswith("by-keys was updated.")
        at.tab_to("Delete...")
        enter(at)
        at.tab_to("Delete")
        enter(at)
        assert "deleted" in at.said[0]


def enter(at: Window) -> None:
    """Press Enter, and see the next page."""
    with at.page.expect_navigation():
        at.page.keyboard.press("Enter")

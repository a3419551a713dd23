"""Every page in a real browser: wide and narrow, light and dark, as a screen reader has it, and quiet about it."""

import urllib.parse
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser

from tests.browser.places import Place, forms, menu
from tests.browser.reader import findings
from tests.browser.site import busy
from tests.browser.way import way
from tests.browser.window import Theme, Window, window
from tests.clients.pair import Pair

pytestmark = [pytest.mark.network, pytest.mark.timeout(900)]
LOOKS = [
    (1280, "light"),
    (360, "dark"),
    pytest.param((1280, "dark"), marks=pytest.mark.long),
    pytest.param((360, "light"), marks=pytest.mark.long),
    pytest.param((1920, "dark"), marks=pytest.mark.long),
]


@pytest.fixture(scope="module")
def site() -> Iterator[Pair]:
    with busy("brw") as found:
        yield found


@pytest.fixture(scope="module")
def url(site: Pair) -> Iterator[str]:
    with way(site.gateways["a"]) as found:
        yield found


@pytest.fixture
def at(browser: Browser, site: Pair, url: str, request: pytest.FixtureRequest) -> Iterator[Window]:
    width, theme = getattr(request, "param", (1280, "light"))
    with window(browser, url, width=width, theme=theme) as found:
        found.log_in("admin", site.gateways["a"].password)
        yield found


def look(at: Window, place: Place, width: int) -> list[str]:
    """What is wrong with one page."""
    at.go(place.address)
    wrong = []
    if not at.page.locator("h1").count() or at.title in ("Not possible", ""):
        wrong.append(f"it isn't there: {at.said}")
    if at.overflow > 0:
        wrong.append(f"at {width} pixels it is {at.overflow} too wide")
    return [f"{place.address}: {each}" for each in (*wrong, *findings(at))]


@pytest.mark.parametrize("at", LOOKS, indirect=True, ids=str)
def test_every_page_of_the_menu(at: Window, request: pytest.FixtureRequest) -> None:
    width = at.page.viewport_size["width"] if at.page.viewport_size else 0
    assert not [each for place in menu() for each in look(at, place, width)]


@pytest.mark.long
@pytest.mark.parametrize("at", LOOKS, indirect=True, ids=str)
def test_every_list_and_form(at: Window) -> None:
    width = at.page.viewport_size["width"] if at.page.viewport_size else 0
    assert not [each for place in forms() for each in look(at, place, width)]


@pytest.mark.parametrize("at", [(1280, "light"), (360, "dark")], indirect=True, ids=["wide", "narrow"])
def test_a_form_with_mistakes_and_a_question(at: Window) -> None:
    at.go("/objects/net/ipsec/manual-security-association/new")
    at.fill({"Name": "x", "SPI": "3", "Source Address": "nowhere"})
    at.press("Finished")
    assert at.overflow <= 0 and not findings(at) and at.said
    assert at.label("SPI").get_attribute("aria-invalid") == "true"
    at.go("/objects/net/vlan")
    at.page.get_by_label("Select /Common/external").check()
    at.press("Delete...")
    assert at.title == "Delete VLAN" and at.overflow <= 0 and not findings(at)


def test_a_search_goes_on_while_one_types_and_the_way_back_leads_to_a_page(at: Window) -> None:
    at.go("/objects/net/ipsec/ipsec-policy")
    at.page.get_by_label("Search IPsec Policies").press_sequentially("policy-out-v6")
    at.page.get_by_role("status").get_by_text("1 in all").wait_for()
    assert "search=policy-out-v6" in urllib.parse.unquote(at.page.url)
    at.go("/objects/net/vlan")
    at.page.go_back()
    at.page.get_by_role("heading", name="IPsec Policies").wait_for()
    at.page.get_by_role("button", name="Log out").wait_for()


def test_a_key_that_was_typed_stays_when_the_screen_refreshes(at: Window) -> None:
    at.go("/objects/net/ipsec/manual-security-association/new")
    at.fill({"Authentication Key": "k" * 20, "IPsec Protocol": "ah"})
    assert at.label("Authentication Key").input_value() == "k" * 20
    assert at.label("Encryption Key").count() == 0


def test_dark_and_light_are_kept(at: Window) -> None:
    before = at.page.evaluate("getComputedStyle(document.body).backgroundColor")
    at.page.get_by_role("button", name="Dark or light").click()
    after = at.page.evaluate("getComputedStyle(document.body).backgroundColor")
    at.go("/objects/net/vlan")
    assert before != after == at.page.evaluate("getComputedStyle(document.body).backgroundColor")


def test_the_log_out_button(at: Window) -> None:
    at.press("Log out")
    at.go("/objects/net/vlan")
    assert at.page.get_by_label("Username").is_visible() and "next=" in at.page.url


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_the_login_says_what_is_wrong(browser: Browser, url: str, theme: Theme) -> None:
    with window(browser, url, theme=theme, width=360) as at:
        at.go("/login?next=/objects/net/vlan")
        at.page.get_by_label("Username").fill("admin")
        at.page.get_by_label("Password").fill("not it")
        at.press("Log in")
        assert at.said == ["The user name or the password is wrong."]
        assert at.overflow <= 0 and not findings(at)

"""A window of a real Chromium at one gateway: by the words that a user sees. It tells what it did besides."""

import contextlib
import os
import re
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from playwright.sync_api import Browser, Locator, Page, sync_playwright

PROGRAM = os.environ.get("CHROMIUM", "/usr/bin/chromium")
WAIT_MS = 15_000
TIMES = 300
"""How often Tab is pressed before something counts as out of reach."""

Theme = Literal["light", "dark"]


@contextlib.contextmanager
def chromium() -> Iterator[Browser]:
    """Debian's, without a screen."""
    assert shutil.which(PROGRAM), f"{PROGRAM} is missing: tools/setup browser"
    with sync_playwright() as play:
        browser = play.chromium.launch(executable_path=PROGRAM, args=["--no-sandbox", "--disable-gpu"])
        try:
            yield browser
        finally:
            browser.close()


@dataclass(slots=True)
class Window:
    """One tab. `asked`: every address that it asked for; `complaints`: what the console said."""

    page: Page
    url: str
    asked: list[str] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)

    def go(self, path: str) -> None:
        """Type an address."""
        self.page.goto(f"{self.url}{path}")

    def log_in(self, user: str, password: str) -> None:
        self.go("/login")
        self.page.get_by_label("Username").fill(user)
        self.page.get_by_label("Password").fill(password)
        self.page.get_by_role("button", name="Log in").click()
        self.page.get_by_role("button", name="Log out").wait_for()

    def main_tab(self, *titles: str) -> None:
        """Click through the Main tab: its headings where they are closed, then the entry."""
        menu = self.page.get_by_role("navigation", name="Main")
        if not menu.get_by_role("list").first.is_visible():
            menu.locator("summary", has_text=re.compile("^Main$")).click()
        *headings, entry = titles
        for heading in headings:
            closed = menu.locator("details:not([open]) > summary", has_text=re.compile(f"^{heading}$"))
            if closed.count():
                closed.click()
        menu.get_by_role("link", name=entry, exact=True).click()
        self.page.get_by_role("heading", level=1).wait_for()

    @property
    def title(self) -> str:
        return self.page.get_by_role("heading", level=1).inner_text()

    def label(self, label: str) -> Locator:
        """The field that stands behind a label."""
        return self.page.get_by_label(re.compile(rf"^{re.escape(label)}( \*)?$"))

    def put(self, label: str, value: str) -> None:
        """Type into a field, or choose from a list by its words; the screen may refresh."""
        own = self.label(label)
        own.wait_for()
        if own.evaluate("one => one.tagName") != "SELECT":
            own.fill(value)
            return
        if value not in [each.strip() for each in own.locator("option").all_inner_texts()]:
            own.select_option(label="Other...")
            self.page.get_by_label(f"{label}, other").fill(value)
            return
        if own.get_attribute("data-refreshes") is None or not self.has_script:
            own.select_option(label=value)
            return
        old = own.element_handle()
        own.select_option(label=value)
        self.page.wait_for_function("old => !old.isConnected", arg=old)

    @property
    def has_script(self) -> bool:
        return bool(self.page.locator("[data-theme-switch]:visible").count())

    def fill(self, fields: Mapping[str, str]) -> None:
        for label, value in fields.items():
            self.put(label, value)

    def press(self, button: str) -> None:
        """A button of the page, by its words, and the next page."""
        with self.page.expect_navigation():
            self.page.get_by_role("button", name=button, exact=True).click()

    def create(self) -> None:
        self.page.get_by_role("link", name=re.compile("^Create")).click()
        self.page.get_by_role("heading", level=1, name=re.compile("^New ")).wait_for()

    @property
    def said(self) -> list[str]:
        """What the page tells of what was done, or of what is wrong."""
        return self.page.locator(".done, .alert, .error, .note").all_inner_texts()

    def tab_to(self, words: str) -> None:
        """Press Tab until what has the focus is called so."""
        for _ in range(TIMES):
            if self.focused == words:
                return
            self.page.keyboard.press("Tab")
        raise AssertionError(f"Tab doesn't reach {words!r}; it stands at {self.focused!r}")

    @property
    def focused(self) -> str:
        """The words of what has the focus: its label's, or its own."""
        return str(self.page.evaluate(
            """() => {
                const own = document.activeElement;
                if (!own || own === document.body) return "";
                const named = own.labels && own.labels[0];
                const label = own.getAttribute("aria-label") || (named && named.innerText);
                return (label || own.innerText || own.value || "").replace(/ \\*$/, "").trim();
            }"""
        ))  # fmt: skip

    @property
    def overflow(self) -> int:
        """By how many pixels the page is wider than the window."""
        return int(self.page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth"))

    def was_quiet(self) -> None:
        """Nothing was asked of any other host, and the console had nothing to complain about."""
        strangers = [url for url in self.asked if not url.startswith((self.url + "/", "data:"))]
        assert not strangers, strangers
        assert not self.complaints, self.complaints


@contextlib.contextmanager
def window(
    browser: Browser, url: str, *, width: int = 1280, height: int = 800, theme: Theme = "light", script: bool = True
) -> Iterator[Window]:
    """A window with cookies of its own, which has to have been quiet at the end."""
    given: dict[str, Any] = {"viewport": {"width": width, "height": height}, "color_scheme": theme}
    context = browser.new_context(ignore_https_errors=True, java_script_enabled=script, **given)
    context.set_default_timeout(WAIT_MS)
    try:
        made = Window(context.new_page(), url)
        context.on("request", lambda request: made.asked.append(request.url))
        # A form that is refused is an answer of 400; Chromium tells that, too.
        context.on("console", lambda said: _note(made, said.type, said.text))
        context.on("weberror", lambda error: made.complaints.append(str(error.error)))
        yield made
        made.was_quiet()
    finally:
        context.close()


def _note(own: Window, kind: str, text: str) -> None:
    if kind in ("error", "warning") and "Failed to load resource" not in text:
        own.complaints.append(text)

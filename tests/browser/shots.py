"""`make screenshots`: a picture of every page at three widths, light and dark, and those few that the docs show.

python -m tests.browser.shots [--only NAME] [--docs]
"""

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

from playwright.sync_api import Browser

from tests.browser.places import Place, forms, menu
from tests.browser.site import busy
from tests.browser.way import way
from tests.browser.window import Theme, Window, chromium, window
from tests.clients.pair import Pair, carries_traffic

ROOT = Path(__file__).resolve().parents[2]
SHOTS = ROOT / ".build" / "screenshots"
DOCS = ROOT / "docs" / "screens"
WIDTHS = (360, 1280, 1920)
REST_MS = 1500
"""Less than live traffic's time between two renewals, or the last one would show that nothing passes any more."""
THEMES: tuple[Theme, ...] = ("light", "dark")
CHOSEN: dict[str, Theme] = {
    "map": "light",
    "live": "dark",
    "why": "dark",
    "net-ipsec-ipsec-policy-new": "light",
}
"""Pictures of the docs."""


def main() -> int:
    """Always 0: whether they are beautiful, only eyes can tell."""
    parser = argparse.ArgumentParser(prog="make screenshots")
    parser.add_argument("--only", default="", help="pages whose name holds this")
    parser.add_argument("--docs", action="store_true", help="those of docs/screens alone, written there")
    options = parser.parse_args()
    (DOCS if options.docs else SHOTS).mkdir(parents=True, exist_ok=True)
    with busy("brs") as site, way(site.gateways["a"]) as url, chromium() as browser:
        if options.docs:
            for name, theme in CHOSEN.items():
                if options.only in name:
                    _for_docs(site, browser, url, name, theme)
            return 0
        for width in WIDTHS:
            for theme in THEMES:
                _all(site, browser, url, width, theme, options.only)
    return 0


def _all(site: Pair, browser: Browser, url: str, width: int, theme: Theme, only: str) -> None:
    with window(browser, url, width=width, theme=theme) as at:
        at.log_in("admin", site.gateways["a"].password)
        for place in (*menu(), *forms()):
            if only in place.name:
                _see(at, place)
                target = SHOTS / f"{place.name}-{width}-{theme}.png"
                at.page.screenshot(path=target, full_page=True)
                print(target.relative_to(ROOT), file=sys.stderr)


def _policy(at: Window) -> None:
    at.put("Mode", "Tunnel")
    ends = {"Tunnel Local Address": "2.2.2.2", "Tunnel Remote Address": "3.3.3.3"}
    at.fill({"Name": "policy-out", **ends, "Configuration": "Basic"})


def _question(at: Window) -> None:
    at.fill({"From": "10.1.0.10", "To": "10.9.0.10", "Destination port": "https"})
    at.press("Ask")
    answer = at.page.get_by_role("heading", name="Answer")
    answer.wait_for()
    # So low that the answer can begin at the window's edge, and no line is cut there.
    at.page.set_viewport_size({"width": 1280, "height": 640})
    answer.evaluate("one => one.scrollIntoView()")


PREPARED: dict[str, Callable[[Window], None]] = {"net-ipsec-ipsec-policy-new": _policy, "why": _question}
"""What is done on a page before its picture is made."""


def _for_docs(site: Pair, browser: Browser, url: str, name: str, theme: Theme) -> None:
    with window(browser, url, width=1280, height=800, theme=theme) as at:
        at.log_in("admin", site.gateways["a"].password)
        carries_traffic(site)
        _see(at, next(place for place in (*menu(), *forms()) if place.name == name))
        carries_traffic(site)
        PREPARED.get(name, lambda at: at.page.wait_for_timeout(REST_MS))(at)
        target = DOCS / f"{name}.png"
        at.page.screenshot(path=target)
        print(f"{target.relative_to(ROOT)}: {target.stat().st_size} octets", file=sys.stderr)


def _see(at: Window, place: Place) -> None:
    at.go(place.address)
    at.page.get_by_role("heading", level=1).wait_for()
    at.page.wait_for_timeout(300)


if __name__ == "__main__":
    sys.exit(main())

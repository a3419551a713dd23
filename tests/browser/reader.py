"""What axe-core finds on a page: what somebody would miss who doesn't see it, or not well."""

from axe_playwright_python.sync_playwright import Axe

from tests.browser.window import Window

GRAVE = ("serious", "critical")


def findings(at: Window) -> list[str]:
    """The grave ones, each with where it is."""
    found = Axe().run(at.page).response["violations"]
    return [
        f"{own['id']} ({own['impact']}): {own['help']}: {node['html'][:160]} {node['failureSummary'][-200:]}"
        for own in found
        if own["impact"] in GRAVE
        for node in own["nodes"][:4]
    ]

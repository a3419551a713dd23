"""One browser for all, and two gateways with nothing configured, for every test that asks for them."""

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser

from tests.browser.window import chromium


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    with chromium() as found:
        yield found

"""One browser for all tests that ask for it.

This file is read by every run of the tests, so what drives the browser is asked for where it is used: only
`make test-browser` sets that up.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Browser


@pytest.fixture(scope="session")
def browser() -> "Iterator[Browser]":
    from tests.browser.window import chromium

    with chromium() as found:
        yield found

"""The vendor's f5-sdk, unmodified, over Basic and over a token."""

from collections.abc import Iterator

import pytest

from tests.clients.pair import PROGRAMS, Pair, pair, put_on_trial, python

pytestmark = pytest.mark.network
PROGRAM = str(PROGRAMS / "f5sdk_site.py")


@pytest.fixture(scope="module")
def two_gateways() -> Iterator[Pair]:
    with pair("f5sdk") as found:
        yield found


@pytest.mark.parametrize("token", [False, True], ids=["basic", "token"])
def test_it_builds_both_sites_and_removes_them(two_gateways: Pair, token: bool) -> None:
    def run(node: str, verb: str) -> None:
        two_gateways.run(node, [python("f5sdk"), PROGRAM], two_gateways.task(node, verb=verb, token=token))

    put_on_trial(two_gateways, lambda node: run(node, "build"), lambda node: run(node, "remove"))

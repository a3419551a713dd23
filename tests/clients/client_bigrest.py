"""bigrest, unmodified, over Basic and over a token."""

from collections.abc import Iterator

import pytest

from tests.clients.pair import PROGRAMS, Pair, pair, put_on_trial, python

pytestmark = pytest.mark.network
PROGRAM = str(PROGRAMS / "bigrest_site.py")


@pytest.fixture(scope="module")
def two_gateways() -> Iterator[Pair]:
    with pair("brest") as found:
        yield found


@pytest.mark.parametrize("token", [False, True], ids=["basic", "token"])
def test_it_builds_both_sites_and_removes_them(two_gateways: Pair, token: bool) -> None:
    def run(node: str, verb: str) -> None:
        task = two_gateways.task(node, verb=verb, token=token)
        two_gateways.run(node, [python("bigrest"), PROGRAM], task)

    def build(node: str) -> None:
        run(node, "build")

    def remove(node: str) -> None:
        run(node, "look-around")
        run(node, "remove")

    put_on_trial(two_gateways, build, remove)

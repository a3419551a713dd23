"""The vendor's f5-sdk-python, unmodified."""

import pytest

from tests.clients.pair import PROGRAMS, pair, put_on_trial, python

pytestmark = pytest.mark.network
PROGRAM = str(PROGRAMS / "f5sdk_python_site.py")


def test_it_builds_both_sites_and_removes_them() -> None:
    with pair("f5py") as two_gateways:

        def run(node: str, verb: str) -> None:
            two_gateways.run(node, [python("f5sdk"), PROGRAM], two_gateways.task(node, verb=verb))

        put_on_trial(two_gateways, lambda node: run(node, "build"), lambda node: run(node, "remove"))

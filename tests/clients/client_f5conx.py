"""The vendor's SDK for JavaScript, f5-conx-core, unmodified."""

import shutil

import pytest

from tests.clients.pair import ENVIRONMENTS, PROGRAMS, pair, put_on_trial

pytestmark = pytest.mark.network
MODULES = ENVIRONMENTS / "node" / "node_modules"
SETTINGS = {
    "NODE_PATH": str(MODULES),
    "F5_CONX_CORE_REJECT_UNAUTORIZED": "false",
    "F5_CONX_CORE_TCP_TIMEOUT": "30000",
    "NODE_NO_WARNINGS": "1",
}


def test_it_builds_both_sites_and_removes_them() -> None:
    node_program = shutil.which("node")
    assert node_program is not None and (MODULES / "f5-conx-core").exists(), "missing: tools/setup clients"
    command = [node_program, str(PROGRAMS / "f5conx_site.js")]
    with pair("f5cx") as two_gateways:

        def run(node: str, verb: str) -> None:
            two_gateways.run(node, command, two_gateways.task(node, verb=verb), env=SETTINGS)

        def remove(node: str) -> None:
            run(node, "look-around")
            run(node, "remove")

        put_on_trial(two_gateways, lambda node: run(node, "build"), remove)

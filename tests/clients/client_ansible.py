"""The vendor's own collection for Ansible, unmodified. Its playbooks are in playbooks/."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from culvert.lab import sites
from culvert.lab.sites import SITES
from culvert.lab.topology import GATEWAYS, SERVER_ADDRESSES
from culvert.model.sys import HOSTNAME
from tests.clients.pair import ENVIRONMENTS, Pair, carries_traffic, pair, python

Json = Any
pytestmark = pytest.mark.network
PLAYBOOKS = Path(__file__).with_name("playbooks")
RECAP = re.compile(r"ok=(\d+) +changed=(\d+) +unreachable=(\d+) +failed=(\d+)")


@pytest.fixture(scope="module")
def two_gateways() -> Iterator[Pair]:
    with pair("ansib") as found:
        yield found


def variables(own: Pair, node: str) -> dict[str, Json]:
    """What the playbooks are told: the manual's site, which is the lab's IPv4."""
    gateway, site = own.gateways[node], SITES[node]
    family = site.families[0]
    provider = {"server": "127.0.0.1", "server_port": gateway.port, "user": "admin", "password": gateway.password}
    tunnel = {"local": family.tunnel_local, "remote": family.tunnel_remote}
    selfs = (("external", family.external_self), ("internal", family.internal_self))
    networks = {"source": family.network_local, "destination": family.network_remote}
    return {
        "provider": provider | {"validate_certs": False, "no_f5_teem": True},
        "hostname": site.hostname,
        "hostname_before": HOSTNAME,
        "selfs": [
            {"name": f"{vlan}-self", "address": text.split("/")[0], "length": text.split("/")[1], "vlan": vlan}
            for vlan, text in selfs
        ],
        "routes": [{"name": family.default_name, "destination": "0.0.0.0", "gateway": family.default_gateway}],
        "virtuals": [{"name": "forward-all", "destination": "0.0.0.0", "mask": "any", "source": "0.0.0.0/0"}],
        "policies": [
            {"name": "policy-out", **tunnel},
            {"name": "policy-in", "local": family.tunnel_remote, "remote": family.tunnel_local},
        ],
        "selectors": [
            {"name": "selector-out", "direction": "out", "policy": "policy-out", **networks},
            {
                **{"name": "selector-in", "direction": "in", "policy": "policy-in"},
                **{"source": family.network_remote, "destination": family.network_local},
            },
        ],
        "associations": _associations(own, node),
    }


def _associations(own: Pair, node: str) -> list[Json]:
    """As the procedure has them typed. Quotes are for a shell; these words need none."""
    only = sites.Site(SITES[node].hostname, SITES[node].families[:1])
    found = []
    for line in sites.lines(only, own.keys):
        words = line.text.replace('"', "").split()
        if words[:4] == ["create", "net", "ipsec", "manual-security-association"]:
            found.append({"name": words[4], "command": " ".join(words)})
    return found


def play(own: Pair, node: str, playbook: str, directory: Path) -> tuple[int, int]:
    """Run one on one gateway: how many of its tasks are ok, and how many changed something."""
    given = directory / f"{node}.json"
    given.write_text(json.dumps(variables(own, node)))
    home = directory / node
    here = {
        "ANSIBLE_COLLECTIONS_PATH": str(ENVIRONMENTS / "ansible" / "collections"),
        "ANSIBLE_HOME": str(home),
        "ANSIBLE_LOCAL_TEMP": str(home / "tmp"),
        "ANSIBLE_PIPELINING": "1",
        "ANSIBLE_NOCOLOR": "1",
        "LC_ALL": "C.UTF-8",
    }
    program = [python("ansible"), "-m", "ansible.cli.playbook", "--inventory", f"{node},", "--connection", "local"]
    ours = ["--extra-vars", f"ansible_python_interpreter={python('ansible')}", "--extra-vars", f"@{given}"]
    told = own.run(node, [*program, *ours, str(PLAYBOOKS / playbook)], env=here)
    recap = RECAP.search(told)
    assert recap is not None, told
    return int(recap[1]), int(recap[2])


@pytest.mark.parametrize("node", GATEWAYS)
def test_it_builds_a_site(two_gateways: Pair, tmp_path: Path, node: str) -> None:
    done, changed = play(two_gateways, node, "build.yml", tmp_path)
    assert changed >= 10, (done, changed)


def test_traffic_passes(two_gateways: Pair) -> None:
    carries_traffic(two_gateways, SERVER_ADDRESSES[:1])


@pytest.mark.parametrize("node", GATEWAYS)
def test_a_second_run_changes_nothing(two_gateways: Pair, tmp_path: Path, node: str) -> None:
    built = two_gateways.state(node)
    _, changed = play(two_gateways, node, "build.yml", tmp_path)
    assert changed == 0
    assert two_gateways.state(node) == built


@pytest.mark.timeout(300)
def test_it_gathers_what_there_is_and_loads_a_piece(two_gateways: Pair, tmp_path: Path) -> None:
    node = GATEWAYS[0]
    built = two_gateways.state(node)[1]
    play(two_gateways, node, "look.yml", tmp_path)
    assert two_gateways.state(node)[1] == built


@pytest.mark.parametrize("node", GATEWAYS)
def test_it_takes_all_away(two_gateways: Pair, tmp_path: Path, node: str) -> None:
    play(two_gateways, node, "remove.yml", tmp_path)
    text = two_gateways.call(node, "text")
    for name in ("policy-out", "selector-in", "sa-out", "forward-all", "external", "branch"):
        assert name not in text

"""The demonstration and the lab's commands, as a user runs them."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from culvert.lab import program
from culvert.lab.namespace import Namespace
from tests.scenarios.two_sites import Sites

pytestmark = pytest.mark.network
# Not http.server's own main: that asks for the name of its address first, for ten seconds where nobody knows names.
FILE_SERVER = """
import functools, http.server, socketserver, sys
handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=sys.argv[1])
socketserver.TCPServer(("10.2.0.10", 8080), handler).serve_forever()
"""


def culvert(*words: str, timeout_seconds: float = 100) -> program.Outcome:
    return program.run([program.ours("culvert"), *words], timeout_seconds=timeout_seconds)


@pytest.mark.skipif(os.geteuid() != 0, reason="network namespaces need root")
def test_the_demonstration_ends_well_and_leaves_nothing() -> None:
    prefix = f"cve{os.getpid()}"
    outcome = culvert("lab", "--prefix", prefix, "demo", "--size", "2")
    if outcome.status:
        culvert("lab", "--prefix", prefix, "down")
    assert outcome.status == 0, outcome.output + outcome.errors
    for words in (
        "0% packet loss", "only ESP on the wan", "the same SHA-256 at both ends", "IPsec::SecurityAssociations",
        "Net::Ipsec", "statistics of", "tmsh create net ipsec manual-security-association sa-out",
        "everything that the lab made is gone",
    ):
        assert words in outcome.output
    assert "FAIL" not in outcome.output
    assert "✘" not in outcome.output
    assert "\x1b" not in outcome.output
    assert not Namespace(f"{prefix}-a").exists
    assert not Path(f"/run/{prefix}-lab").exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="network namespaces need root")
def test_a_demonstration_that_fails_names_the_step_and_goes_down(tmp_path: Path) -> None:
    """On a machine where nobody can find ping."""
    prefix = f"cvg{os.getpid()}"
    nowhere = tmp_path / "bin"
    nowhere.mkdir()
    for name in ("ip", "sh"):
        (nowhere / name).symlink_to(subprocess.check_output(["sh", "-c", f"command -v {name}"], text=True).strip())
    outcome = program.run(
        [program.ours("culvert"), "lab", "--prefix", prefix, "demo", "--size", "1"], env={"PATH": str(nowhere)}
    )
    try:
        assert outcome.status == 1, outcome.output
        assert "Verify: " in outcome.output
        assert "ping" in outcome.output
        assert f"logs: /run/{prefix}-lab/a.log" in outcome.output
        assert Path(f"/run/{prefix}-lab/a.log").stat().st_size > 0
        assert not Namespace(f"{prefix}-a").exists
    finally:
        culvert("lab", "--prefix", prefix, "down")


def test_verify_for_programs(sites: Sites) -> None:
    outcome = culvert("lab", "--prefix", sites.lab.prefix, "verify", "--json")
    report = json.loads(outcome.output)
    assert (outcome.status, report["passed"]) == (0, True), outcome.output
    assert len(report["checks"]) > 15
    assert report["wan_counts"]["a0"] == report["wan_counts"]["a0"] | {"esp": 80, "clear": 0}
    assert report["statistics_after"]["a"]["packets_out"] >= report["statistics_before"]["a"]["packets_out"] + 40


def test_verify_sees_what_is_wrong(sites: Sites) -> None:
    sites.tell("b", "delete ltm virtual forward-all-v6")
    try:
        outcome = culvert("lab", "--prefix", sites.lab.prefix, "verify", "--json")
    finally:
        sites.tell("b", "create ltm virtual forward-all-v6 destination ::.any mask any6 ip-forward ip-protocol any")
    report = json.loads(outcome.output)
    failed = {check["name"] for check in report["checks"] if not check["passed"]}
    assert outcome.status == 1
    assert "ping from client to server fd00:2::10" in failed
    assert "ping from client to server 10.2.0.10" not in failed
    assert "log-level info" in sites.lab.show("a", "list net ipsec ike-daemon ikedaemon all-properties")


@pytest.mark.parametrize(("words", "status"), [(("true",), 0), (("sh", "-c", "exit 7"), 7)])
def test_exec_has_the_commands_own_status(sites: Sites, words: tuple[str, ...], status: int) -> None:
    assert culvert("lab", "--prefix", sites.lab.prefix, "exec", "client", "--", *words).status == status


def test_exec_runs_in_the_node(sites: Sites) -> None:
    outcome = culvert("lab", "--prefix", sites.lab.prefix, "exec", "server", "--", "ip", "-br", "address")
    assert "10.2.0.10/24" in outcome.output


def test_tmsh_passes_words_input_and_status_through(sites: Sites) -> None:
    prefix = ("lab", "--prefix", sites.lab.prefix, "tmsh", "a")
    assert "culvert-a.lab" in culvert(*prefix, "list", "sys", "global-settings").output
    wrong = culvert(*prefix, "delete", "net", "vlan", "external")
    assert wrong.status != 0
    assert "01070265:3" in wrong.errors
    by_input = program.run([program.ours("culvert"), *prefix], text="list net vlan external\n")
    assert "wan0" in by_input.output


def test_status_knows_all_nodes(sites: Sites) -> None:
    outcome = culvert("lab", "--prefix", sites.lab.prefix, "status")
    assert outcome.status == 0
    for node in ("client", "a", "wan", "b", "server"):
        assert f"{sites.lab.prefix}-{node}" in outcome.output


def test_a_second_up_is_refused_and_harms_nothing(sites: Sites) -> None:
    outcome = culvert("lab", "--prefix", sites.lab.prefix, "up")
    assert outcome.status == 1
    assert "a lab is there already" in outcome.output
    assert sites.is_healthy()


def test_curl_through_the_tunnel(sites: Sites, tmp_path: Path) -> None:
    content = os.urandom(3_000_000)
    (tmp_path / "file").write_bytes(content)
    server = subprocess.Popen(
        sites.lab.namespace("server").command(
            [sys.executable, "-c", FILE_SERVER, str(tmp_path)]
        ),
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )
    try:
        fetched = subprocess.run(
            sites.lab.namespace("client").command(
                ["curl", "-sS", "--retry", "20", "--retry-connrefused", "--retry-delay", "1", "http://10.2.0.10:8080/file"]
            ),
            capture_output=True, check=True, timeout=60,
        ).stdout
    finally:
        server.terminate()
        server.wait()
    assert fetched == content

"""explain, verify and config at a gateway behind a real control socket."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from scapy.layers.inet import ICMP, IP
from scapy.utils import wrpcap
from sealing import SITE_A

from culvert.cli import config, explain, verify
from culvert.control.server import Server
from tests.control.conftest import place as place
from tests.control.live import Site
from tests.control.running import serving

WORDS = ["--from", "10.1.0.10", "--to", "10.2.0.10"]


@pytest.fixture
def site(tmp_path: Path, place: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    made = Site(tmp_path)
    made.call("load", text=SITE_A)
    path = place / "culvertd.sock"
    monkeypatch.setenv("CULVERT_SOCKET", str(path))
    with serving(Server(path, lambda call, args, peer: made.gateway.call(call, args, peer))):
        yield made
    made.close()


@pytest.mark.parametrize(
    ("words", "status", "told"),
    [
        ([*WORDS, "--port", "https"], 0, "the protected packet leaves to 3.3.3.3"),
        ([*WORDS, "--protocol", "icmp"], 0, "the protected packet leaves"),
        ([*WORDS, "--size", "1480", "--df"], 1, "it dies here: too-big"),
        (["--in", "--from", "10.7.0.1", "--to", "10.1.0.10", "--protocol", "17"], 1, "it dies here: inner-mismatch"),
        (["--from", "fd00::1", "--to", "fd00::2", "--protocol", "udp"], 1, "it dies here: not-forwarded"),
    ],
)
def test_packets_in_words(
    site: Site, capsys: pytest.CaptureFixture[str], words: list[str], status: int, told: str
) -> None:
    assert explain.run(words) == status
    assert told in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ([], "--from and --to, or --capture, are needed"),
        (["--from", "10.0.0.1", "--to", "fd00::1"], "are of different families"),
        ([*WORDS, "--port", "99999"], "--port 99999 is not allowed"),
        ([*WORDS, "--protocol", "nonsense"], "--protocol nonsense is not allowed"),
        ([*WORDS, "--size", "10"], "--size 10 is not allowed; allowed: 40 to 65535"),
        (["--capture", "/nonexistent"], "/nonexistent: No such file"),
    ],
)
def test_words_that_make_no_packet(capsys: pytest.CaptureFixture[str], words: list[str], told: str) -> None:
    assert explain.run(words) == 2
    assert told in capsys.readouterr().err


def test_a_packet_of_a_capture(site: Site, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "c.pcap"
    wrpcap(str(path), [IP(src="10.1.0.10", dst="10.9.0.1") / ICMP(), IP(src="10.1.0.10", dst="10.2.0.10") / ICMP()])
    assert explain.run(["--capture", str(path), "--packet", "2", "--json"]) == 0
    steps = json.loads(capsys.readouterr().out)
    assert [own["step"] for own in steps][:3] == ["arrival", "virtual server", "traffic selector"]
    assert explain.run(["--capture", str(path), "--packet", "3"]) == 2
    assert "has no packet 3" in capsys.readouterr().err


def test_verify(site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    assert verify.run([]) == 0
    assert "ok    virtual servers" in capsys.readouterr().out
    site.tmsh("modify ltm virtual forward disabled")
    assert verify.run([]) == 1
    assert "FAIL  virtual servers" in capsys.readouterr().out
    assert verify.run(["--json"]) == 1
    assert json.loads(capsys.readouterr().out)[0]["check"] == "VLANs and links"


def test_history_diff_and_rollback(site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    site.call("save")
    assert config.run(["diff"]) == 0
    assert capsys.readouterr().out == "no difference\n"
    site.tmsh("create net ipsec ipsec-policy new")
    assert config.run(["diff"]) == 1
    assert "+net ipsec ipsec-policy /Common/new { }" in capsys.readouterr().out
    site.call("save")
    assert config.run(["diff", "1", "2"]) == 1
    assert "+net ipsec ipsec-policy /Common/new { }" in capsys.readouterr().out
    assert config.run(["rollback", "1", "--save"]) == 0
    told = capsys.readouterr().out
    assert told == "generation 1 runs now\nand is saved\n"
    assert config.run(["diff"]) == 0
    capsys.readouterr()
    assert config.run(["history"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == ["3", "2", "1"]
    site.tmsh("create net ipsec ipsec-policy never-saved")
    assert config.run(["rollback", "2"]) == 0
    assert capsys.readouterr().out.startswith("generation 2 runs now; what ran before is generation 4\n")
    assert config.run(["rollback", "77"]) == 1
    assert "there is no saved generation 77" in capsys.readouterr().err


@pytest.mark.parametrize(
    "tool", [lambda words: explain.run([*WORDS, *words]), verify.run, lambda words: config.run([*words, "history"])]
)
def test_no_daemon(tool, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:  # type: ignore[no-untyped-def]
    assert tool(["--socket", str(tmp_path / "nobody")]) == 1
    assert "culvertd does not answer" in capsys.readouterr().err

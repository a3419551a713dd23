"""The systemd unit: systemd understands it, and it holds the daemon as tightly as its comments say."""

import shutil
import subprocess
from pathlib import Path

import pytest

PACKAGING = Path(__file__).parents[2] / "packaging"
UNIT = PACKAGING / "culvertd.service"


def settings() -> dict[str, str]:
    lines = [line for line in UNIT.read_text().splitlines() if "=" in line and not line.startswith("#")]
    return dict(line.split("=", 1) for line in lines)


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="needs systemd-analyze")
@pytest.mark.parametrize("addition", [None, "culvertd-xdp.conf"])
def test_systemd_understands_it(tmp_path: Path, addition: str | None) -> None:
    # The program is not installed where the tests run; everything else is read as it is.
    unit = tmp_path / UNIT.name
    unit.write_text(UNIT.read_text().replace("/usr/local/bin/culvertd", shutil.which("true") or ""))
    if addition:
        (tmp_path / f"{UNIT.name}.d").mkdir()
        (tmp_path / f"{UNIT.name}.d" / addition).write_text((PACKAGING / addition).read_text())
    done = subprocess.run(["systemd-analyze", "verify", unit], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


def test_only_the_capabilities_it_uses() -> None:
    expected = {"CAP_NET_ADMIN", "CAP_NET_RAW", "CAP_SETUID", "CAP_SETGID", "CAP_KILL", "CAP_CHOWN"}
    assert set(settings()["CapabilityBoundingSet"].split()) == expected


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("Type", "notify"),
        ("Restart", "on-failure"),
        ("ProtectSystem", "strict"),
        ("NoNewPrivileges", "yes"),
        ("PrivateTmp", "yes"),
        ("MemoryDenyWriteExecute", "yes"),
        ("StateDirectoryMode", "0700"),
        ("ConfigurationDirectoryMode", "0700"),
        ("LimitCORE", "0"),
    ],
)
def test_hardening(setting: str, value: str) -> None:
    assert settings()[setting] == value


def test_the_directories_are_those_of_the_command_line() -> None:
    found = settings()
    words = found["ExecStart"].split()
    assert words[words.index("--config") + 1] == f"/etc/{found['ConfigurationDirectory']}/culvert.conf"
    assert words[words.index("--state") + 1] == f"/var/lib/{found['StateDirectory']}"
    assert words[words.index("--socket") + 1] == f"/run/{found['RuntimeDirectory']}/culvertd.sock"


# the web process

REST = PACKAGING / "culvert-rest.service"


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="needs systemd-analyze")
def test_systemd_understands_the_web_process(tmp_path: Path) -> None:
    unit = tmp_path / REST.name
    content = REST.read_text().replace("/usr/local/bin/culvert-rest", shutil.which("true") or "")
    # Neither the user nor the programs are there where the tests run.
    unit.write_text(content.replace("User=culvert-web", "User=root").replace("Group=culvert-web", "Group=nogroup"))
    (tmp_path / UNIT.name).write_text(UNIT.read_text().replace("/usr/local/bin/culvertd", shutil.which("true") or ""))
    done = subprocess.run(["systemd-analyze", "verify", unit], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


def test_the_web_process_has_no_rights_but_a_low_port() -> None:
    found = dict(line.split("=", 1) for line in REST.read_text().splitlines() if "=" in line and line[0] != "#")
    assert found["User"] == "culvert-web" and found["CapabilityBoundingSet"] == "CAP_NET_BIND_SERVICE"
    assert found["ExecStart"].endswith("--socket /run/culvert/culvertd.sock.web")
    for setting in ("NoNewPrivileges", "PrivateDevices", "MemoryDenyWriteExecute", "ProtectHome"):
        assert found[setting] == "yes"

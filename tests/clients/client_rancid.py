"""rancid, as it backs up the vendor's systems: its own programs, its own lists of commands."""

import os
import subprocess
from pathlib import Path

import pytest

from tests.clients.sshd import serving

RANCID = Path("/usr/lib/rancid/bin")
TYPES = {"bigip13": "tmsh", "bigip": "bash"}


@pytest.mark.parametrize("kind", TYPES)
def test_it_collects_the_configuration(kind: str, tmp_path: Path, control_socket: Path) -> None:
    assert (RANCID / "rancid").exists(), "rancid is missing: install the package rancid"
    with serving(tmp_path, control_socket, login_shell=TYPES[kind]) as server:
        collected = _collected(kind, tmp_path, server.port, server.key)
    assert "net ipsec ipsec-policy" in collected
    assert "tunnel-local-address 2.2.2.2" in collected
    assert "net ipsec traffic-selector" in collected
    assert "Sys::Version" in collected


def _collected(kind: str, directory: Path, port: int, key: Path) -> str:
    home = directory / "rancid"
    home.mkdir()
    ssh = home / "ssh"
    options = "-o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -o LogLevel=ERROR"
    ssh.write_text(f'#!/bin/sh\nexec ssh -p {port} {options} "$@"\n')
    ssh.chmod(0o755)
    login = home / ".cloginrc"
    login.write_text(
        f"add user * root\nadd password * none none\nadd method * ssh\nadd sshcmd * {ssh}\nadd identity * {key}\n"
        "add noenable * 1\nadd autoenable * 1\n"
    )
    login.chmod(0o600)
    environment = os.environ | {"HOME": str(home), "PATH": f"{RANCID}:{os.environ['PATH']}", "LC_ALL": "C"}
    done = subprocess.run(
        [RANCID / "rancid", "-t", kind, "127.0.0.1"],
        cwd=home,
        env=environment,
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
    )
    found = home / "127.0.0.1.new"
    assert found.exists(), f"rancid made no file: {done.stdout}{done.stderr}"
    return found.read_text() + done.stderr

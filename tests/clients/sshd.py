"""An OpenSSH server on loopback whose one user gets a shell of a gateway, as on the vendor's systems."""

import contextlib
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

PROGRAMS = Path(sys.executable).parent
READY_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class Server:
    """Where it is, and the key that opens it."""

    port: int
    key: Path
    directory: Path


@contextlib.contextmanager
def serving(directory: Path, control_socket: Path, *, login_shell: str) -> Iterator[Server]:
    """A server until the block ends. `login_shell`: bash or tmsh, which is what the user lands in."""
    port = _free_port()
    _make_keys(directory)
    shell = _shell(directory, control_socket, login_shell)
    config = directory / "sshd_config"
    config.write_text(
        f"Port {port}\nListenAddress 127.0.0.1\nHostKey {directory}/host\nAuthorizedKeysFile {directory}/user.pub\n"
        f"PidFile none\nPasswordAuthentication no\nKbdInteractiveAuthentication no\nUsePAM no\nStrictModes no\n"
        f"PermitRootLogin yes\nForceCommand {shell}\nPrintMotd no\nPrintLastLog no\n"
    )
    Path("/run/sshd").mkdir(exist_ok=True)
    program = shutil.which("sshd", path=f"{os.environ['PATH']}:/usr/sbin")
    assert program, "sshd is missing: install openssh-server"
    with (directory / "sshd.log").open("wb") as log:
        process = subprocess.Popen([program, "-D", "-e", "-f", config], stdout=log, stderr=log)
        try:
            _await(port)
            yield Server(port, directory / "user", directory)
        finally:
            process.terminate()
            process.wait(5)


def _make_keys(directory: Path) -> None:
    for name in ("host", "user"):
        subprocess.run(
            ["ssh-keygen", "-q", "-t", "rsa", "-b", "2048", "-m", "PEM", "-N", "", "-f", directory / name], check=True
        )


def _shell(directory: Path, control_socket: Path, login_shell: str) -> Path:
    home = directory / "home"
    home.mkdir()
    (home / ".bashrc").write_text(
        "PS1='[root@gateway:Active:Standalone] config # '\nbind 'set enable-bracketed-paste off'\n"
    )
    script = directory / "shell"
    interactive = "exec bash --rcfile $HOME/.bashrc -i" if login_shell == "bash" else "exec tmsh"
    asked = 'exec bash -c "$SSH_ORIGINAL_COMMAND"' if login_shell == "bash" else 'exec tmsh -c "$SSH_ORIGINAL_COMMAND"'
    script.write_text(
        f"#!/bin/bash\nexport HOME={home} CULVERT_SOCKET={control_socket} PATH={PROGRAMS}:$PATH\ncd $HOME\n"
        f'if [ -n "$SSH_ORIGINAL_COMMAND" ]; then {asked}; fi\n{interactive}\n'
    )
    script.chmod(0o755)
    return script


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _await(port: int) -> None:
    deadline = time.monotonic() + READY_SECONDS
    while time.monotonic() < deadline:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        time.sleep(0.05)
    raise TimeoutError(f"sshd doesn't listen on port {port}")

"""Gateways of a lab with their REST processes, as programs: what clients of other people talk to."""

import contextlib
import os
import signal
import ssl
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass

from culvert.lab import program
from culvert.lab.lab import Lab

WEB_UID = 64123
PORT = 8443
SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class Gateway:
    """One of the lab's, and how its REST is reached from inside its namespace."""

    lab: Lab
    node: str
    password: str
    port: int = PORT

    @property
    def url(self) -> str:
        return f"https://127.0.0.1:{self.port}"

    def command(self, words: list[str]) -> list[str]:
        """`words` as a command inside the gateway's namespace."""
        return self.lab.namespace(self.node).command(words)


@contextlib.contextmanager
def web(lab: Lab, node: str) -> Iterator[Gateway]:
    """A gateway of a lab whose topology is there, with its REST process, until the end of the block."""
    lab.directory.chmod(0o711)  # For the web process's way to its socket.
    daemon = lab.daemon(node)
    daemon.start("--web-user", str(WEB_UID))
    socket = daemon.socket_path.with_name(daemon.socket_path.name + ".web")
    command = lab.namespace(node).command(
        [
            *(program.ours("culvert-rest"), "--host", "127.0.0.1", "--port", str(PORT), "--user", str(WEB_UID)),
            *("--socket", str(socket), "--certificate", str(lab.directory / f"{node}.crt")),
            *("--key", str(lab.directory / f"{node}.key")),
        ]
    )
    with (lab.directory / f"{node}-rest.log").open("ab") as log:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd="/")
    try:
        found = Gateway(lab, node, (lab.directory / node / "initial-password").read_text().strip())
        _wait(lab, found, process)
        yield found
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(15)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        daemon.stop()


def _wait(lab: Lab, gateway: Gateway, process: "subprocess.Popen[bytes]") -> None:
    deadline = time.monotonic() + SECONDS
    while time.monotonic() < deadline:
        assert process.poll() is None, (lab.directory / f"{gateway.node}-rest.log").read_text()
        if lab.namespace(gateway.node).inside(lambda: _alive(gateway.url)):
            return
        time.sleep(0.1)
    raise AssertionError(f"no REST after {SECONDS} s: {(lab.directory / f'{gateway.node}-rest.log').read_text()}")


def _alive(url: str) -> bool:
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    try:
        with urllib.request.urlopen(f"{url}/health", timeout=5, context=context) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


def prefix(name: str) -> str:
    """A lab's prefix of this test run's own."""
    return f"{name}{os.getpid() % 100_000}"



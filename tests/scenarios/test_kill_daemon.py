"""kill -9 of culvertd amid random commits: after a restart the store holds the last saved configuration, whole.

Every round makes commits and saves as fast as it can and kills the daemon at a random moment. What was acknowledged
must be there; what was under way may be. CULVERT_DAEMON_KILLS sets the rounds (200 in the long run).
"""

import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from culvert.control.client import Client
from culvert.control.errors import ControlError

ROUNDS = int(os.environ.get("CULVERT_DAEMON_KILLS", "6"))
READY_SECONDS = 20.0
pytestmark = [pytest.mark.network, pytest.mark.timeout(60 + 15 * ROUNDS)]


@pytest.fixture
def namespace() -> Iterator[str]:
    name = f"cvkill{os.getpid()}"
    subprocess.run(["ip", "netns", "add", name], check=True)
    yield name
    # A packet process outlives a daemon that was killed.
    there = subprocess.run(["ip", "netns", "pids", name], check=True, capture_output=True, text=True)
    for word in there.stdout.split():
        os.kill(int(word), signal.SIGKILL)
    subprocess.run(["ip", "netns", "del", name], check=True)


class Daemon:
    """culvertd in a namespace, on files in a directory."""

    def __init__(self, namespace: str, directory: Path) -> None:
        words = ["ip", "netns", "exec", namespace, sys.executable, "-m", "culvert.control.main"]
        files = {"--config": "culvert.conf", "--socket": "culvertd.sock", "--state": "state"}
        for option, name in files.items():
            words += [option, str(directory / name)]
        self.log = (directory / "log").open("ab")
        self.process = subprocess.Popen(words, stdout=self.log, stderr=self.log)
        self.client = Client(directory / "culvertd.sock", timeout=30)
        self._wait()

    def _wait(self) -> None:
        deadline = time.monotonic() + READY_SECONDS
        while time.monotonic() < deadline:
            assert self.process.poll() is None, "culvertd ended instead of starting"
            try:
                self.client.call("describe")
                return
            except ControlError:
                time.sleep(0.05)
        raise AssertionError(f"culvertd is not ready after {READY_SECONDS} s")

    def end(self, number: int) -> None:
        self.process.send_signal(number)
        self.process.wait(20)
        self.client.close()
        self.log.close()


def commit_until_killed(client: Client, chance: random.Random, saved: list[str]) -> None:
    """Random commits and saves. `saved` gets each text before its save, and "ok" after the acknowledgement."""
    names = {own["name"] for own in client.call("list", kind="net vlan")}  # type: ignore[attr-defined]
    try:
        while True:
            if names and chance.random() < 0.3:
                name = chance.choice(sorted(names))
                client.call("delete", kind="net vlan", names=[name])
                names.discard(name)
            else:
                name = f"/Common/v{chance.randrange(10**9)}"
                raw = {"description": "x" * chance.randrange(200), "mtu": str(chance.randrange(1280, 1500))}
                client.call("create", kind="net vlan", name=name, properties=raw)
                names.add(name)
            if chance.random() < 0.6:
                saved.append(str(client.call("text")))
                client.call("save")
                saved.append("ok")
    except ControlError:
        return


def test_the_last_saved_configuration_is_there_whole(namespace: str, tmp_path: Path) -> None:
    chance = random.Random(20)
    daemon = Daemon(namespace, tmp_path)
    daemon.client.call("save")
    expected = [str(daemon.client.call("text"))]
    for _ in range(ROUNDS):
        saved: list[str] = []
        worker = threading.Thread(target=commit_until_killed, args=(daemon.client, chance, saved))
        worker.start()
        time.sleep(chance.uniform(0.05, 0.6))
        daemon.process.send_signal(signal.SIGKILL)
        worker.join(40)
        daemon.end(signal.SIGKILL)
        texts = [text for text in saved if text != "ok"]
        if saved and saved[-1] == "ok":
            expected = [texts[-1]]
        elif saved:
            expected = [texts[-2] if len(texts) > 1 else expected[0], texts[-1]]
        daemon = Daemon(namespace, tmp_path)
        running = str(daemon.client.call("text"))
        assert running in expected
        assert (tmp_path / "culvert.conf").read_text() == running
        expected = [running]
    daemon.end(signal.SIGTERM)
    assert daemon.process.returncode == 0

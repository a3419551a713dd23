"""culvertd as a program: how it starts, what it tells, how it ends, and what it refuses to start on."""

import asyncio
import contextlib
import ctypes
import json
import os
import signal
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from culvert.cli import audit
from culvert.config.vault import Vault
from culvert.control import main as program
from culvert.control.client import Client
from culvert.control.errors import ControlError
from culvert.ipsec.secret import Secret

SECONDS = 20.0
PR_SET_MDWE = 65
NEEDS_ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="needs root for a network of its own")
SA = {"spi": "256", "ipsec-policy": "/Common/p", "source-address": "2.2.2.2", "destination-address": "3.3.3.3"}


class Daemon:
    """culvertd on files in `place`, in a network namespace that goes away with it."""

    def __init__(self, place: Path, *words: str, before: str = "") -> None:
        self.place = place
        self.socket = place / "run" / "c.sock"
        code = f"import os, sys\n{before}\nos.execv(sys.argv[1], sys.argv[1:])"
        files = ["--config", place / "etc" / "c.conf", "--socket", self.socket, "--state", place / "state"]
        command = ["unshare", "-n", sys.executable, "-c", code, sys.executable, "-m", "culvert.control.main", *files]
        self.notices = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.notices.bind(str(place / "notify"))
        self.notices.settimeout(SECONDS)
        self.log = (place / "log").open("ab")
        environment = {**os.environ, "NOTIFY_SOCKET": str(place / "notify")}
        self.process = subprocess.Popen([*command, *words], stderr=self.log, env=environment)

    def ready(self) -> "Daemon":
        assert self.notices.recv(100) == b"READY=1"
        return self

    def end(self, number: int = signal.SIGTERM) -> int:
        self.process.send_signal(number)
        return self.process.wait(SECONDS)

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        # A packet process outlives a daemon that was killed.
        with contextlib.suppress(OSError, ValueError):
            os.kill(int((self.place / "state" / "tmm.pid").read_text()), signal.SIGKILL)
        self.notices.close()
        self.log.close()
        (self.place / "notify").unlink()

    @property
    def lines(self) -> list[str]:
        return (self.place / "log").read_text().splitlines()


@pytest.fixture
def daemon(place: Path) -> Iterator[Daemon]:
    made = Daemon(place)
    yield made.ready()
    made.close()


@NEEDS_ROOT
@pytest.mark.network
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_start_and_clean_stop(daemon: Daemon, number: int) -> None:
    with Client(daemon.socket) as client:
        assert client.call("describe")["user"] == "root"  # type: ignore[index]
        daemon.process.send_signal(signal.SIGHUP)
        assert client.call("describe")["user"] == "root"  # type: ignore[index]
        assert daemon.end(number) == 0
    assert daemon.notices.recv(100) == b"STOPPING=1"
    assert not daemon.socket.exists()
    assert " ready " in daemon.lines[0] and daemon.lines[-1].endswith(" stopped")


@NEEDS_ROOT
@pytest.mark.network
def test_memory_and_files_are_private(daemon: Daemon) -> None:
    status = Path(f"/proc/{daemon.process.pid}/status").read_text()
    assert "Umask:\t0077" in status
    core = next(
        line for line in Path(f"/proc/{daemon.process.pid}/limits").read_text().splitlines() if "core file" in line
    )
    assert core.split()[-3:-1] == ["0", "0"]
    for path in [daemon.place / "state", *(daemon.place / "state").rglob("*")]:
        assert stat.S_IMODE(path.stat().st_mode) & 0o077 == 0, path
    assert stat.S_IMODE(daemon.socket.parent.stat().st_mode) == 0o755
    assert stat.S_IMODE(daemon.socket.stat().st_mode) == 0o660


def test_no_core_and_no_debugger() -> None:
    child = os.fork()
    if child == 0:
        with contextlib.suppress(Exception):
            program._keep_memory_private()
            os._exit(10 + ctypes.CDLL(None).prctl(3, 0, 0, 0, 0))
        os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 10


@NEEDS_ROOT
@pytest.mark.network
def test_a_second_daemon_is_refused_and_the_first_goes_on(daemon: Daemon) -> None:
    files = ["--config", daemon.place / "etc" / "c.conf", "--state", daemon.place / "state"]
    for own in ([*files, "--socket", daemon.place / "other.sock"], ["--socket", daemon.socket, "--state", "s2"]):
        second = subprocess.run(
            ["unshare", "-n", sys.executable, "-m", "culvert.control.main", *own, "--config", "c2"],
            capture_output=True,
            text=True,
            cwd=daemon.place,
            timeout=SECONDS,
            check=False,
        )
        assert second.returncode == 1
        assert f"another culvertd is running, pid {daemon.process.pid} " in second.stderr
        assert "Traceback" not in second.stderr
    with Client(daemon.socket) as client:
        assert client.call("describe")


@NEEDS_ROOT
@pytest.mark.network
def test_what_was_saved_runs_again_after_kill_9(place: Path) -> None:
    daemon = Daemon(place).ready()
    with Client(daemon.socket) as client:
        client.call("create", kind="net vlan", name="/Common/v", properties={"description": "kept"})
        client.call("save")
        client.call("create", kind="net vlan", name="/Common/w", properties={"description": "not saved"})
        text = (place / "etc" / "c.conf").read_text()
    daemon.end(signal.SIGKILL)
    daemon.close()
    daemon = Daemon(place).ready()
    with Client(daemon.socket) as client:
        assert client.call("text") == text
    assert "kept" in text and "not saved" not in text
    assert daemon.end() == 0
    daemon.close()


@NEEDS_ROOT
@pytest.mark.network
def test_key_text_is_in_no_log_and_no_file(daemon: Daemon) -> None:
    policy = {"mode": "tunnel", "tunnel-local-address": "2.2.2.2", "tunnel-remote-address": "3.3.3.3"}
    keys = {"auth-key": "sesame-open-sesame-1", "encrypt-key": "sesame-open-secret-2"}
    kind = "net ipsec manual-security-association"
    algorithms = {"auth-algorithm": "sha1", "encrypt-algorithm": "aes128"}
    with Client(daemon.socket) as client:
        client.call("create", kind="net ipsec ipsec-policy", name="/Common/p", properties=policy)
        for wrong in ({"encrypt-key": "sesame-open-secret-2"}, {"encrypt-key": "sesame"}):
            with pytest.raises(ControlError) as caught:
                client.call("create", kind=kind, name="/Common/x", properties={**SA, **algorithms, **keys, **wrong})
            assert "sesame" not in caught.value.text
        right = {**keys, "encrypt-key": "sesame-open-sesa"}
        client.call("create", kind=kind, name="/Common/x", properties={**SA, **algorithms, **right})
        client.call("save")
    assert daemon.end() == 0
    for path in daemon.place.rglob("*"):
        assert not path.is_file() or b"sesame" not in path.read_bytes(), path
    assert "$M$" in (daemon.place / "etc" / "c.conf").read_text()


AS_WEB = """
import json, os, sys
from pathlib import Path
from culvert.control.client import Client
from culvert.control.errors import ControlError
os.setgroups([]); os.setgid(4242); os.setuid(4242)
told = []
with Client(Path(sys.argv[1])) as client:
    login = client.call("login", username="admin", password=sys.stdin.read().strip(), address="192.0.2.1")
    own = {"token": login["token"], "address": "192.0.2.1"}
    told.append(client.call_as(own, "describe")["user"])
    client.call_as(own, "modify", kind="auth user", names=["admin"], properties={"password": "changed by hand"})
    for call in ("describe", "save"):
        try:
            client.call(call)
        except ControlError as error:
            told.append(error.http)
    for credentials in (own, {"username": "admin", "password": "wrong one", "address": "192.0.2.1"}):
        try:
            client.call_as(credentials, "describe")
        except ControlError as error:
            told.append(error.http)
print(json.dumps(told))
"""


@NEEDS_ROOT
@pytest.mark.network
def test_the_web_process_and_the_first_password(place: Path) -> None:
    daemon = Daemon(place, "--web-user", "4242").ready()
    path = place / "state" / "initial-password"
    password = path.read_text().strip()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert sum(str(path) in line for line in daemon.lines) == 1
    command = [sys.executable, "-c", AS_WEB, f"{daemon.socket}.web"]
    done = subprocess.run(command, input=password, capture_output=True, text=True, timeout=SECONDS, check=False)
    assert json.loads(done.stdout or "0") == ["admin", 403, 403, 401, 401], done.stderr
    assert not path.exists()
    assert daemon.end() == 0
    for own in place.rglob("*"):
        assert not own.is_file() or password.encode() not in own.read_bytes(), own
        assert not own.is_file() or b"changed by hand" not in own.read_bytes(), own
    daemon.close()
    # Somebody has a password now, so the next start makes none; and goes on behind the last line of the audit log.
    daemon = Daemon(place, "--web-user", "4242").ready()
    assert not path.exists() and daemon.end() == 0
    daemon.close()
    assert audit.run(["verify", "--state", str(place / "state")]) == 0


@NEEDS_ROOT
@pytest.mark.network
@pytest.mark.parametrize("user", ["0", "root"])
def test_the_web_process_must_not_be_root(place: Path, user: str) -> None:
    daemon = Daemon(place, "--web-user", user)
    assert daemon.process.wait(SECONDS) == 1
    assert "must not run as root" in daemon.lines[-2] + daemon.lines[-1]
    daemon.close()


@NEEDS_ROOT
@pytest.mark.network
def test_without_a_web_user_there_is_no_door_and_no_password(place: Path) -> None:
    daemon = Daemon(place, "--web-user", "no-such-user").ready()
    assert not (place / "state" / "initial-password").exists()
    assert not Path(f"{daemon.socket}.web").exists()
    assert daemon.end() == 0
    daemon.close()


@NEEDS_ROOT
@pytest.mark.network
def test_json_log(place: Path) -> None:
    daemon = Daemon(place, "--log-format", "json").ready()
    assert daemon.end() == 0
    assert [json.loads(line)["event"] for line in daemon.lines] == ["ready", "stopped"]
    daemon.close()


@NEEDS_ROOT
@pytest.mark.network
def test_it_lives_with_memory_that_is_never_both_writable_and_executable(place: Path) -> None:
    """What MemoryDenyWriteExecute of the unit does to it, and to the packet process."""
    child = os.fork()
    if child == 0:
        os._exit(1 if ctypes.CDLL(None).prctl(PR_SET_MDWE, 1, 0, 0, 0) else 0)
    if os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]):
        pytest.skip("this kernel has no PR_SET_MDWE")
    before = f"import ctypes; assert ctypes.CDLL(None).prctl({PR_SET_MDWE}, 1, 0, 0, 0) == 0"
    daemon = Daemon(place, before=before).ready()
    with Client(daemon.socket) as client:
        policy = {"mode": "tunnel", "tunnel-local-address": "2.2.2.2", "tunnel-remote-address": "3.3.3.3"}
        client.call("create", kind="net ipsec ipsec-policy", name="/Common/p", properties=policy)
        keys = {"auth-algorithm": "sha1", "auth-key": "a" * 20, "encrypt-algorithm": "aes128", "encrypt-key": "b" * 16}
        kind = "net ipsec manual-security-association"
        client.call("create", kind=kind, name="/Common/x", properties={**SA, **keys})
        client.call("save")
    assert daemon.end() == 0
    daemon.close()


@NEEDS_ROOT
@pytest.mark.network
def test_a_start_that_fails_is_one_sentence(place: Path) -> None:
    (place / "state").mkdir()
    (place / "state" / "master.key").write_bytes(b"k" * 32)
    (place / "state" / "master.key").chmod(0o644)
    daemon = Daemon(place)
    assert daemon.process.wait(SECONDS) == 1
    assert len(daemon.lines) == 1 and "others than its owner may read it" in daemon.lines[0]
    daemon.close()


def check(place: Path, *words: object) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "culvert.control.main", "--check", "--state", place / "state", *words]
    return subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, check=False)


@pytest.mark.parametrize(
    ("octets", "status", "sentence"),
    [
        (b"", 0, "is good"),
        (b"net vlan /Common/v {\n    description x\n}\n", 0, "is good"),
        (b"net vlan /Common/v {\n    mtu huge\n}\n", 1, "Configuration error: line 2"),
        (b"net vlan {{{\n", 1, "line 1"),
        (b"\xff", 1, "utf-8"),
        (None, 1, "No such file or directory"),
    ],
)
def test_check(place: Path, octets: bytes | None, status: int, sentence: str) -> None:
    config = place / "c.conf"
    if octets is not None:
        config.write_bytes(octets)
    done = check(place, "--config", config)
    assert done.returncode == status
    assert sentence in (done.stderr if status else done.stdout), done.stderr
    assert "Traceback" not in done.stderr
    assert [path.name for path in place.iterdir()] == ([] if octets is None else ["c.conf"])


def test_check_knows_the_key_that_sealed_and_no_other(place: Path) -> None:
    vault = Vault.open(place / "state" / "master.key")
    config = place / "c.conf"
    config.write_text(
        "net ipsec ipsec-policy /Common/p {\n    mode tunnel\n    tunnel-local-address 2.2.2.2\n"
        "    tunnel-remote-address 3.3.3.3\n}\n"
        "net ipsec manual-security-association /Common/x {\n    auth-algorithm sha1\n"
        f"    auth-key-encrypted {vault.seal(Secret(b'a' * 20))}\n    destination-address 3.3.3.3\n"
        f"    encrypt-algorithm aes128\n    encrypt-key-encrypted {vault.seal(Secret(b'b' * 16))}\n"
        "    ipsec-policy /Common/p\n    source-address 2.2.2.2\n    spi 256\n}\n"
    )
    good = check(place, "--config", config)
    assert good.returncode == 0, good.stderr
    (place / "state" / "master.key").unlink()
    assert check(place, "--config", config).returncode == 1
    assert list((place / "state").iterdir()) == []


def test_a_failing_tick_ends_nothing(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    ticks = []

    class Failing:
        def tick(self, now: float) -> None:
            ticks.append(now)
            raise (OSError(5, "disk"), RuntimeError("fault"))[len(ticks) % 2]

    async def run() -> None:
        stop = asyncio.Event()
        asyncio.get_running_loop().call_later(0.2, stop.set)
        with ThreadPoolExecutor(max_workers=1) as live:
            await program._tick_until(stop, live, Failing())  # type: ignore[arg-type]

    monkeypatch.setattr(program, "TICK_SECONDS", 0.01)
    asyncio.run(run())
    assert len(ticks) > 3 and abs(ticks[0] - time.time()) < 60
    assert {record.getMessage() for record in caplog.records} == {"tick-failed"}


def test_a_wrong_notify_socket_is_no_reason_to_end(
    place: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("NOTIFY_SOCKET", str(place / "none"))
    program._notify("READY=1")
    assert [record.getMessage() for record in caplog.records] == ["notify-failed"]
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as abstract:
        abstract.bind(f"\0culvert-test-{os.getpid()}")
        monkeypatch.setenv("NOTIFY_SOCKET", f"@culvert-test-{os.getpid()}")
        program._notify("READY=1")
        assert abstract.recv(100) == b"READY=1"

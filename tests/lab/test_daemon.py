"""When a daemon of the lab counts as ended."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from culvert.lab import daemon as lab_daemon
from culvert.lab.daemon import Daemon
from culvert.lab.namespace import Namespace

# Its first thread ends alone (exit(2), not exit_group(2)); the other one still has what the process had open.
LAST_THREAD = """
import ctypes, threading, time
threading.Thread(target=time.sleep, args=(0.6,)).start()
ctypes.CDLL(None).syscall({exit}, 0)
"""
EXIT = {"x86_64": 60, "aarch64": 93}


def test_a_daemon_runs_until_its_last_thread_has_ended(tmp_path: Path) -> None:
    program = LAST_THREAD.format(exit=EXIT[os.uname().machine])
    with subprocess.Popen([sys.executable, "-c", program]) as process:
        started = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()[19]
        daemon = Daemon("a", Namespace("none"), tmp_path)
        daemon.pid_path.write_text(f"{process.pid} {started}\n")
        deadline = time.monotonic() + 10
        while "State:\tZ" not in Path(f"/proc/{process.pid}/status").read_text():
            assert time.monotonic() < deadline
        assert daemon.pid == process.pid
        while daemon.pid is not None:
            assert time.monotonic() < deadline
        assert not Path(f"/proc/{process.pid}").exists()


def test_a_child_that_ends_while_it_is_looked_at_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    stubborn = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print(flush=True); time.sleep(100)"
    look = lab_daemon._stat
    with subprocess.Popen([sys.executable, "-c", stubborn], stdout=subprocess.PIPE) as child:

        def end_and_look(pid: int) -> list[str]:
            child.kill()
            while (fields := look(pid))[0] != "Z":
                time.sleep(0.01)
            return fields

        assert child.stdout is not None and child.stdout.readline()
        monkeypatch.setattr(lab_daemon, "_stat", end_and_look)
        lab_daemon.end([child.pid])
        assert not Path(f"/proc/{child.pid}").exists()

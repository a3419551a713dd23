"""The local syslog: a daemon that is away, restarted or stuck costs events, never time."""

import socket
import time
from pathlib import Path

import pytest

from culvert.observe.syslog import FACILITIES, SEVERITIES, LocalSyslog


def daemon(path: Path) -> socket.socket:
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    listening.bind(str(path))
    listening.settimeout(5)
    return listening


@pytest.mark.parametrize("facility", FACILITIES)
@pytest.mark.parametrize("severity", SEVERITIES)
def test_priority(tmp_path: Path, facility: str, severity: str) -> None:
    with daemon(tmp_path / "log") as listening:
        syslog = LocalSyslog(str(tmp_path / "log"), "culvert")
        syslog.send(facility, severity, "hello ü")
        expected = (16 + int(facility[-1])) * 8 + SEVERITIES.index(severity)
        assert listening.recv(4096) == f"<{expected}>culvert: hello ü".encode()
        syslog.close()


def test_no_daemon_then_one_then_another(tmp_path: Path) -> None:
    syslog = LocalSyslog(str(tmp_path / "log"), "culvert")
    syslog.send("local0", "info", "before")
    assert syslog.lost == 1
    for word in ("first", "second"):
        with daemon(tmp_path / "log") as listening:
            syslog.send("local0", "info", word)
            assert listening.recv(4096) == f"<134>culvert: {word}".encode()
        (tmp_path / "log").unlink()
    assert syslog.lost == 1
    syslog.close()


def test_a_stuck_daemon_costs_no_time(tmp_path: Path) -> None:
    with daemon(tmp_path / "log"):
        syslog = LocalSyslog(str(tmp_path / "log"), "culvert")
        started = time.monotonic()
        for _ in range(2000):
            syslog.send("local0", "info", "x" * 1000)
        assert time.monotonic() - started < 5
        assert syslog.lost > 0
        syslog.close()


def test_an_event_too_long_for_a_datagram_is_lost_alone(tmp_path: Path) -> None:
    with daemon(tmp_path / "log") as listening:
        syslog = LocalSyslog(str(tmp_path / "log"), "culvert")
        syslog.send("local0", "info", "x" * 10_000_000)
        syslog.send("local0", "info", "short \ud800")
        assert listening.recv(4096) == b"<134>culvert: short ?"
        assert syslog.lost == 1
        syslog.close()


def test_of_many_events_for_nobody_only_the_first_is_tried(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    syslog = LocalSyslog(str(tmp_path / "none"), "culvert")
    tried = []
    monkeypatch.setattr(syslog, "_opened", lambda read=syslog._opened: tried.append(1) or read())
    syslog.send("local0", "info", *("event" for _ in range(50)))
    assert (syslog.lost, len(tried)) == (50, 1)

"""Events on their way out: levels, the file's shape, the local syslog."""

import logging
import resource
import signal
import socket
from pathlib import Path

import pytest

from culvert.observe import publisher as publishing
from culvert.observe.publisher import LEVELS, Outlet, Publisher

NOW = 1340988314.0


@pytest.mark.parametrize("level", LEVELS)
def test_only_events_up_to_the_level_are_written(tmp_path: Path, level: str) -> None:
    publisher = Publisher(tmp_path / "log" / "ipsec.log", lambda: NOW, syslog=str(tmp_path / "none"))
    publisher.configure(level, [Outlet("local")])
    for own in LEVELS:
        publisher.emit(own, f"event {own}")
    publisher.close()
    written = [line.rsplit(" ", 1)[1] for line in (tmp_path / "log" / "ipsec.log").read_text().splitlines()]
    assert written == list(LEVELS[: LEVELS.index(level) + 1])


def test_the_line_has_racoons_shape(tmp_path: Path) -> None:
    publisher = Publisher(tmp_path / "ipsec.log", lambda: NOW, syslog=str(tmp_path / "none"))
    publisher.emit("info", "IPsec-SA established: ESP/Tunnel 1.1.1.1[0]->2.2.2.2[0] spi=300(0x12c)")
    publisher.close()
    assert (tmp_path / "ipsec.log").read_text() == (
        "2012-06-29 16:45:14: INFO: IPsec-SA established: ESP/Tunnel 1.1.1.1[0]->2.2.2.2[0] spi=300(0x12c)\n"
    )


@pytest.mark.parametrize(("level", "number"), [("error", 3), ("warning", 4), ("notify", 5), ("info", 6), ("debug2", 7)])
def test_syslog_gets_facility_and_severity(tmp_path: Path, level: str, number: int) -> None:
    path = tmp_path / "log.sock"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as syslog:
        syslog.bind(str(path))
        syslog.settimeout(5)
        publisher = Publisher(tmp_path / "ipsec.log", lambda: NOW, syslog=str(path))
        publisher.configure("debug2", [Outlet("local", "local3")])
        publisher.emit(level, "hello")
        received = syslog.recv(4096)
        publisher.close()
    assert received.startswith(f"<{(16 + 3) * 8 + number}>culvert: hello".encode())


def test_a_log_that_cannot_be_written_stops_nothing(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    publisher = Publisher(tmp_path / "file" / "ipsec.log", lambda: NOW)
    publisher.emit("info", "lost")
    publisher.close()


def test_the_default_severity_is_that_of_ordinary_events(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as syslog:
        syslog.bind(str(tmp_path / "log.sock"))
        syslog.settimeout(5)
        publisher = Publisher(tmp_path / "ipsec.log", lambda: NOW, syslog=str(tmp_path / "log.sock"))
        for severity, number in (("emerg", 0), ("debug", 7)):
            publisher.configure("info", [Outlet("local", severity=severity)])
            publisher.emit("info", "ordinary")
            assert syslog.recv(4096).startswith(f"<{16 * 8 + number}>".encode())
            publisher.emit("error", "bad")
            assert syslog.recv(4096).startswith(b"<131>")
        publisher.configure("info", [])
        publisher.emit("info", "not for syslog")
        syslog.settimeout(0.05)
        with pytest.raises(TimeoutError):
            syslog.recv(4096)
        publisher.close()
    assert (tmp_path / "ipsec.log").read_text().count("\n") == 5


def test_an_event_is_one_line_without_keys(tmp_path: Path) -> None:
    publisher = Publisher(tmp_path / "ipsec.log", lambda: NOW, syslog=str(tmp_path / "none"))
    publisher.emit("error", 'not loaded: auth-key "sesame"\n2012-06-29 16:45:14: INFO: forged \ud800')
    publisher.close()
    text = (tmp_path / "ipsec.log").read_text()
    assert text.count("\n") == 1 and "sesame" not in text and "forged ?" in text


def test_the_file_is_rotated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(publishing, "FILE_OCTETS", 1000)
    publisher = Publisher(tmp_path / "ipsec.log", lambda: NOW, syslog=str(tmp_path / "none"))
    for number in range(200):
        publisher.emit("info", f"event {number}")
    publisher.close()
    files = sorted(path.name for path in tmp_path.iterdir())
    assert files == ["ipsec.log", "ipsec.log.1", "ipsec.log.2", "ipsec.log.3"]
    assert all(path.stat().st_size <= 1000 for path in tmp_path.iterdir())
    assert (tmp_path / "ipsec.log").read_text().endswith("event 199\n")


def test_a_full_disk_is_said_once_and_got_over(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    publisher = Publisher(tmp_path / "ipsec.log", lambda: NOW, syslog=str(tmp_path / "none"))
    publisher.emit("info", "before")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10, limits[1]))
    try:
        with caplog.at_level(logging.WARNING):
            for _ in range(20):
                publisher.emit("info", "lost")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)
    publisher.emit("info", "after")
    publisher.close()
    assert [record.getMessage() for record in caplog.records] == ["ipsec-log-lost"]
    assert capfd.readouterr().err == ""
    assert (tmp_path / "ipsec.log").read_text().endswith("INFO: after\n")


def test_many_events_at_once_are_each_a_line_and_one_in_the_daemons_log(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(publishing, "TOGETHER", 70)
    texts = [f"event\n{number} key auth-key secret{number}" for number in range(150)]
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as syslog, caplog.at_level(logging.INFO):
        syslog.bind(str(tmp_path / "log.sock"))
        publisher = Publisher(tmp_path / "ipsec.log", lambda: NOW, syslog=str(tmp_path / "log.sock"))
        publisher.configure("info", [Outlet("local")])
        publisher.emit("info", *texts)
        publisher.emit("info")
        publisher.close()
        syslog.settimeout(5)
        assert syslog.recv(4096) == b"<134>culvert: event 0 key auth-key <hidden>"
    lines = (tmp_path / "ipsec.log").read_text().splitlines()
    assert lines == [f"2012-06-29 16:45:14: INFO: event {number} key auth-key <hidden>" for number in range(150)]
    (record,) = [own for own in caplog.records if own.name == "culvert.observe.publisher"]
    assert record.fields == {"level": "info", "count": 150, "path": tmp_path / "ipsec.log"}  # type: ignore[attr-defined]

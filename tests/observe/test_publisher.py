"""Events on their way out: levels, the file's shape, the local syslog."""

import socket
from pathlib import Path

import pytest

from culvert.observe.publisher import LEVELS, Publisher

NOW = 1340988314.0


@pytest.mark.parametrize("level", LEVELS)
def test_only_events_up_to_the_level_are_written(tmp_path: Path, level: str) -> None:
    publisher = Publisher(tmp_path / "log" / "ipsec.log", lambda: NOW, syslog=str(tmp_path / "none"))
    publisher.configure(level, facility="local0", severity="info", to_syslog=True)
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
        publisher.configure("debug2", facility="local3", severity="info", to_syslog=True)
        publisher.emit(level, "hello")
        received = syslog.recv(4096)
        publisher.close()
    assert received.startswith(f"<{(16 + 3) * 8 + number}>culvert: hello".encode())


def test_a_log_that_cannot_be_written_stops_nothing(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    publisher = Publisher(tmp_path / "file" / "ipsec.log", lambda: NOW)
    publisher.emit("info", "lost")
    publisher.close()

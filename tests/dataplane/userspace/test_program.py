"""Which packet process, and how long it stays awake: what the daemon's environment says of it."""

import os
from pathlib import Path

import pytest

from culvert.dataplane.userspace import program
from culvert.dataplane.userspace.program import IN_PYTHON, NoSuchEngine, chosen
from tests.dataplane.topology import Wan


@pytest.fixture
def native(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A program that says what the native one says of itself."""
    made = tmp_path / "culvert-tmm"
    made.write_text("#!/bin/sh\necho 'native (portable)'\n")
    made.chmod(0o755)
    monkeypatch.setattr(program, "native_path", lambda: made)
    monkeypatch.delenv(program.CHOICE, raising=False)
    monkeypatch.delenv(program.BUSY_POLL, raising=False)
    monkeypatch.delenv(program.WORKERS, raising=False)
    return made


def test_it_sleeps_at_once_unless_asked(native: Path) -> None:
    assert chosen() == program.Program((str(native),), "native (portable)", is_native=True)


def test_busy_polling_is_handed_over_and_told(native: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(program.BUSY_POLL, "50")
    made = chosen()
    assert made.arguments == (str(native), "busy-poll=50")
    assert made.engine == "native (portable), busy poll 50 us"


@pytest.mark.parametrize("text", ["", "-1", "1.5", "soon", "1000001", "²"])
def test_what_is_no_time_is_refused(native: Path, monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setenv(program.BUSY_POLL, text)
    with pytest.raises(NoSuchEngine, match=r"no number of microseconds in 0\.\.1000000"):
        chosen()


def test_as_many_workers_as_asked_for(native: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert chosen().workers == 1
    monkeypatch.setenv(program.WORKERS, "16")
    assert (chosen().workers, chosen().engine) == (16, "native (portable)")
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(3)))
    monkeypatch.setenv(program.WORKERS, "auto")
    assert chosen().workers == 3
    assert chosen().words != chosen()._replace(workers=2).words, "a process with another number is another one"
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(200)))
    assert chosen().workers == 16
    monkeypatch.setenv(program.CHOICE, program.PYTHON)
    assert chosen().workers == 1


@pytest.mark.parametrize("text", ["", "0", "17", "-1", "two", "1.0", "²"])
def test_what_is_no_number_of_workers_is_refused(native: Path, monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setenv(program.WORKERS, text)
    with pytest.raises(NoSuchEngine, match=r"neither auto nor a number in 1\.\.16"):
        chosen()


def test_the_one_in_python_always_sleeps(native: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(program.CHOICE, program.PYTHON)
    monkeypatch.setenv(program.BUSY_POLL, "50")
    assert chosen() == IN_PYTHON


@pytest.mark.network
def test_packets_flow_while_it_stays_awake_and_it_sleeps_afterwards(wan: Wan, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(program.BUSY_POLL, "2000")
    wan.start("site(side)")
    assert wan.client.pings("10.2.0.5", count=20)
    spent = [_ticks(gateway.process_id) for gateway in wan.gateways]
    wan.a.do("time.sleep(0.5)")
    assert all(_ticks(gateway.process_id) - before <= 10 for gateway, before in zip(wan.gateways, spent, strict=True))


def _ticks(pid: int) -> int:
    """Hundredths of a second of a processor's time."""
    words = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return int(words[11]) + int(words[12])

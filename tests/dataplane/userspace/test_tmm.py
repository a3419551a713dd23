"""The packet process as a program."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from culvert.change import AddSa
from culvert.dataplane.userspace import process, wire
from culvert.dataplane.userspace.counters import CountersFile
from culvert.dataplane.userspace.leases import Lease
from culvert.dataplane.userspace.process import Backoff, PacketProcess, ProcessDown
from culvert.dataplane.userspace.program import Program
from tests.dataplane.sites import OUT, association, associations
from tests.dataplane.topology import Gateway, wait_until


@pytest.fixture
def running(tmp_path: Path) -> object:
    """With a pipe in the place of the TUN, and no sockets."""
    counters = CountersFile(tmp_path / "counters")
    tun, far = os.pipe2(os.O_NONBLOCK)
    made = PacketProcess.start({"tun": tun, "counters": counters.fd})
    yield made
    made.end()
    counters.close()
    os.close(tun)
    os.close(far)


def test_started_by_hand_it_explains_itself() -> None:
    done = subprocess.run(
        [sys.executable, "-I", "-m", "culvert.dataplane.userspace.tmm", "nonsense"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert "started by culvertd" in done.stderr


@pytest.mark.parametrize("own", [None, "glibc.malloc.check=0"])
def test_the_native_one_asks_for_large_pages(
    own: str | None, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("GLIBC_TUNABLES", raising=False)
    if own is not None:
        monkeypatch.setenv("GLIBC_TUNABLES", own)
    made = PacketProcess.start({}, Program(("env",), "native", is_native=True))
    wait_until(lambda: not made.alive)
    assert f"GLIBC_TUNABLES={own or 'glibc.malloc.hugetlb=1'}\n" in capfd.readouterr().out


def test_it_has_no_privileges_and_leaves_no_core(running: PacketProcess) -> None:
    assert running.ask(wire.Apply((), ())) == wire.Reply()
    status = Path(f"/proc/{running.pid}/status").read_text()
    if os.geteuid() == 0:
        assert "Uid:\t65534\t65534\t65534\t65534" in status
        assert "CapEff:\t0000000000000000" in status
    assert "NoNewPrivs:\t1" in status
    assert "Max core file size        0                    0" in Path(f"/proc/{running.pid}/limits").read_text()
    # The kernel gives the files of an undumpable process to root.
    assert Path(f"/proc/{running.pid}/environ").stat().st_uid == 0


@pytest.mark.network
def test_the_native_one_is_confined_to_what_packets_need(gateway: Gateway) -> None:
    gateway.start()
    gateway.apply("site('a')")
    status = Path(f"/proc/{gateway.process_id}/status").read_text()
    assert "NoNewPrivs:\t1" in status
    if gateway.do("plane.features.engine").startswith("native"):
        assert "Seccomp:\t2" in status
    gateway.stop()


def test_no_key_in_its_arguments(running: PacketProcess) -> None:
    running.ask(wire.Apply(tuple(associations("a")), (0, 1)))  # type: ignore[arg-type]
    arguments = Path(f"/proc/{running.pid}/cmdline").read_bytes()
    assert association("a", OUT).auth_key.reveal().hex().encode() not in arguments


def test_refused_batch_names_the_change_and_changes_nothing(running: PacketProcess) -> None:
    good, bad = associations("a"), associations("a", spi=3)
    reply = running.ask(wire.Apply((*good, *bad), (0, 1, 2, 3)))  # type: ignore[arg-type]
    assert reply.failed == 2
    assert reply.sentence == "SPI 3 is not in 256..4294967295"
    assert running.ask(wire.Apply(tuple(good), (0, 1))) == wire.Reply()  # type: ignore[arg-type]


def test_who_reads_its_log_may_be_gone_and_the_journal_unwritable(tmp_path: Path) -> None:
    counters = CountersFile(tmp_path / "counters")
    tun, far = os.pipe2(os.O_NONBLOCK)
    (tmp_path / "leases").touch()
    leases = os.open(tmp_path / "leases", os.O_RDONLY)
    reading, writing = os.pipe()
    own = os.dup(2)
    os.dup2(writing, 2)
    try:
        made = PacketProcess.start({"tun": tun, "counters": counters.fd, "leases": leases})
    finally:
        os.dup2(own, 2)
    for fd in (reading, writing, own):
        os.close(fd)
    # It gets no block of numbers, and has something to say.
    lease = Lease(bytes(16).hex(), bytes(16).hex(), 0, strict=False)
    counters.slot_for(association("a", OUT).identity(), OUT, ())
    assert made.ask(wire.Apply((AddSa(association("a", OUT)),), (0,), (lease,))) == wire.Reply()
    assert made.ask(wire.Apply((), ())) == wire.Reply() and made.alive
    made.end()
    counters.close()
    for fd in (tun, far, leases):
        os.close(fd)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_its_end_is_noticed(running: PacketProcess, number: signal.Signals) -> None:
    running.ask(wire.Apply((), ()))
    os.kill(running.pid, number)
    wait_until(lambda: not running.alive)
    told = "was ended by signal 9" if number == signal.SIGKILL else "ended with exit status 0"
    assert running.epitaph() == told
    with pytest.raises(ProcessDown):
        running.ask(wire.Apply((), ()))


def test_a_forbidden_system_call_is_told_in_words(running: PacketProcess) -> None:
    running.ask(wire.Apply((), ()))
    os.kill(running.pid, signal.SIGSYS)
    wait_until(lambda: not running.alive)
    assert "for a system call that moving packets doesn't need" in running.epitaph()


def test_ctrl_c_is_not_for_it(running: PacketProcess) -> None:
    running.ask(wire.Apply((), ()))
    os.kill(running.pid, signal.SIGINT)
    assert running.ask(wire.Apply((), ())) == wire.Reply()


def test_hung_process_is_given_up(running: PacketProcess, monkeypatch: pytest.MonkeyPatch) -> None:
    running.ask(wire.Apply((), ()))
    os.kill(running.pid, signal.SIGSTOP)
    monkeypatch.setattr(process, "REPLY_SECONDS", 0.2)
    with pytest.raises(ProcessDown, match="doesn't answer"):
        running.ask(wire.Apply((), ()))


def test_backoff_grows_and_is_forgiven(monkeypatch: pytest.MonkeyPatch) -> None:
    backoff = Backoff()
    backoff.started()
    waits = [backoff.ended() for _ in range(12)]
    assert waits[:2] == [0.0, 0.0]
    assert waits == sorted(waits)
    assert waits[-1] == 15.0
    monkeypatch.setattr(process, "STEADY_SECONDS", -1.0)
    assert backoff.ended() == 0.0

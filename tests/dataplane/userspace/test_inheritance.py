"""Who finds a packet process that a predecessor left, and what becomes of one that is of no use."""

import contextlib
import gc
import os
import select
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from culvert.dataplane.userspace import wire
from culvert.dataplane.userspace.counters import CountersFile
from culvert.dataplane.userspace.inheritance import PYTHON_MODULE, Meeting, version_of
from culvert.dataplane.userspace.leases import Journal
from culvert.dataplane.userspace.plane import UserspacePlane
from culvert.dataplane.userspace.process import PacketProcess
from culvert.dataplane.userspace.program import chosen

BALLAST = "import time; octets = b'x' * (400 << 20); print(flush=True); time.sleep(60)"


@contextlib.contextmanager
def answering(state: Path, answer: Callable[[socket.socket], None]) -> Iterator[None]:
    """Somebody at the place where the packet process should be."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        listener.bind(str(state / "tmm.sock"))
        listener.listen(1)

        def serve() -> None:
            with listener.accept()[0] as control:
                answer(control)

        thread = threading.Thread(target=serve)
        thread.start()
        yield
        thread.join()


def descriptors() -> int:
    # Those of mappings that an earlier test has left behind go at any moment.
    gc.collect()
    return len(os.listdir("/proc/self/fd"))  # noqa: PTH208


@pytest.mark.parametrize(
    "line",
    [b"nonsense\n", b"no end", wire.emit(wire.Reply()), wire.emit(wire.Welcome(os.getpid(), "1", ("tun",)))],
    ids=["nonsense", "in part", "another message", "too few names"],
)
def test_descriptors_of_who_talks_nonsense_are_closed(tmp_path: Path, line: bytes) -> None:
    def answer(control: socket.socket) -> None:
        socket.send_fds(control, [line], [0, 1])

    before = descriptors()
    with answering(tmp_path, answer):
        assert Meeting(tmp_path).find() is None
    assert descriptors() == before


def test_a_deaf_packet_process_is_gone_before_anything_else_is_read(tmp_path: Path) -> None:
    # Much memory takes a moment to be given back.
    child = subprocess.Popen([sys.executable, "-c", BALLAST, PYTHON_MODULE], stdout=subprocess.PIPE)
    assert child.stdout is not None
    child.stdout.readline()
    (tmp_path / "tmm.pid").write_text(f"{child.pid}\n")
    pidfd = os.pidfd_open(child.pid)
    assert Meeting(tmp_path).find() is None
    assert select.select([pidfd], [], [], 0)[0]
    os.close(pidfd)
    child.communicate()


@pytest.mark.parametrize("pid", ["", "nonsense", "0", "999999999", "{}"])
def test_a_number_that_is_no_packet_processs_ends_nobody(tmp_path: Path, pid: str) -> None:
    # An editor, say, of a file whose name has the program's in it.
    stranger = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)", "culvert-tmm.log"])
    (tmp_path / "tmm.pid").write_text(pid.format(stranger.pid))
    assert Meeting(tmp_path).find() is None
    assert stranger.poll() is None
    stranger.kill()
    stranger.wait()


@pytest.mark.parametrize("has_journal", [False, True])
def test_a_process_without_a_journal_is_not_gone_on_with_where_there_can_be_one(
    tmp_path: Path, has_journal: bool
) -> None:
    """It would never send what has a counter mode."""
    counters, meeting = CountersFile(tmp_path / "counters"), Meeting(tmp_path)
    journal = Journal(tmp_path / "leases", 1.0)
    tun, far = os.pipe2(os.O_NONBLOCK)
    fds = {"tun": tun, "counters": counters.fd, "listen": meeting.listener()}
    if has_journal:
        fds["leases"] = journal.fd
    process = PacketProcess.start(fds, version=version_of(chosen().words))
    meeting.note(process.pid)
    counters.close()
    journal.close()
    plane = UserspacePlane(tmp_path, random=os.urandom, clock=lambda: 1.0)
    # A pipe is no device, so it isn't gone on with for long.
    assert any("of before" in sentence for sentence in plane.tick(1.0)) == has_journal
    assert plane.process_id is None and not process.alive
    process.end()
    plane.close()
    os.close(tun)
    os.close(far)


def test_where_there_can_be_no_journal_none_is_needed(tmp_path: Path) -> None:
    (tmp_path / "leases").mkdir()
    counters, meeting = CountersFile(tmp_path / "counters"), Meeting(tmp_path)
    tun, far = os.pipe2(os.O_NONBLOCK)
    fds = {"tun": tun, "counters": counters.fd, "listen": meeting.listener()}
    process = PacketProcess.start(fds, version=version_of(chosen().words))
    counters.close()
    plane = UserspacePlane(tmp_path, random=os.urandom, clock=lambda: 1.0)
    assert any("of before" in sentence for sentence in plane.tick(1.0))
    process.end()
    plane.close()
    os.close(tun)
    os.close(far)

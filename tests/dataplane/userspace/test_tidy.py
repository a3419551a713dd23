"""The counter journal gives the disk back under what was overtaken, and never loses what counts."""

import errno
import os
import shutil
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from culvert.dataplane.userspace import custody, leases, sparse
from culvert.dataplane.userspace.leases import (
    BLOCK,
    EDGE,
    NOBODY,
    RECORD_OCTETS,
    TIDY_OCTETS,
    TIDY_SECONDS,
    TIDY_TIMES,
    Block,
    Journal,
    Record,
    append,
)
from tests.ipsec.building import NOW

OWNER = bytes([7] * 16)
NAMES = [bytes([number]) * 16 for number in range(1, 51)]
MUCH = (TIDY_OCTETS + 2 * TIDY_TIMES * len(NAMES) * RECORD_OCTETS) // RECORD_OCTETS // len(NAMES)
"""So often all the edges have to be saved for the journal to be untidy."""


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leases, "TIDY_SECONDS", 0.0)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "leases"


@pytest.fixture
def journal(path: Path) -> Iterator[Journal]:
    made = Journal(path, NOW)
    yield made
    made.close()


def fill(journal: Journal, start: int = 0, times: int = MUCH) -> None:
    """Blocks of all names once, and their edges again and again."""
    append(journal.fd, [Record(BLOCK, name, OWNER, start + 1000, NOW) for name in NAMES])
    for number in range(start, start + times):
        append(journal.fd, [Record(EDGE, name, NOBODY, number, NOW) for name in NAMES])


def known(path: Path) -> tuple[dict[bytes, Block], dict[bytes, int], list[str]]:
    """What a start on a copy of the file makes of it."""
    copy = path.with_name("copy")
    shutil.copyfile(path, copy)
    journal = Journal(copy, NOW)
    journal.close()
    return journal.blocks, journal.edges, journal.sentences


def everything(number: int) -> tuple[dict[bytes, Block], dict[bytes, int], list[str]]:
    start = number // MUCH * MUCH
    return {name: Block(start + 1000, OWNER) for name in NAMES}, dict.fromkeys(NAMES, number), []


def test_the_disk_that_it_takes_is_bounded_and_nothing_is_lost(journal: Journal, path: Path) -> None:
    for turn in range(8):
        fill(journal, turn * MUCH)
        assert journal.tidy(NOW) == ""
        assert path.stat().st_blocks * 512 < TIDY_OCTETS
        assert known(path) == everything((turn + 1) * MUCH - 1)
    assert path.stat().st_size > 8 * TIDY_OCTETS
    again = Journal(path, NOW, os.dup(journal.fd))
    assert (again.blocks, again.edges) == everything(8 * MUCH - 1)[:2]
    again.close()
    anew = Journal(path, NOW)
    assert (anew.blocks, anew.edges, anew.sentences) == everything(8 * MUCH - 1)
    assert path.stat().st_size == 2 * len(NAMES) * RECORD_OCTETS
    anew.close()


def test_a_tidy_journal_is_left_alone(journal: Journal, path: Path) -> None:
    fill(journal, times=10)
    before = path.stat()
    assert journal.tidy(NOW) == ""
    assert (path.stat().st_size, path.stat().st_blocks) == (before.st_size, before.st_blocks)


def test_once_a_minute_is_enough(journal: Journal, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leases, "TIDY_SECONDS", TIDY_SECONDS)
    fill(journal)
    size = path.stat().st_size
    assert custody.tidied(journal, NOW) == [] and path.stat().st_size == size
    journal._tidied_at -= TIDY_SECONDS
    assert custody.tidied(journal, NOW) == [] and path.stat().st_size > size
    assert custody.tidied(None, NOW) == []


def test_a_packet_process_that_writes_meanwhile_loses_nothing(journal: Journal, path: Path) -> None:
    fill(journal)
    fd, stop, count = os.open(path, os.O_RDWR | os.O_APPEND), threading.Event(), 0
    name = bytes([99]) * 16

    def write() -> None:
        nonlocal count
        while not stop.is_set():
            count += 1
            append(fd, [Record(BLOCK, name, OWNER, count, NOW), Record(BLOCK, count.to_bytes(16), OWNER, 1, NOW)])

    writer = threading.Thread(target=write)
    writer.start()
    try:
        for turn in range(1, 6):
            fill(journal, turn * MUCH)
            assert journal.tidy(NOW) == ""
    finally:
        stop.set()
        writer.join()
        os.close(fd)
    blocks, edges, sentences = known(path)
    assert blocks.pop(name) == Block(count, OWNER)
    assert {each.to_bytes(16) for each in range(1, count + 1)} == blocks.keys() - set(NAMES)
    assert edges == dict.fromkeys(NAMES, 6 * MUCH - 1) and not sentences and count > 10


def test_a_record_that_comes_between_reading_and_writing_is_kept(
    journal: Journal, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(journal)
    statvfs = os.statvfs

    def late(fd: int) -> os.statvfs_result:
        append(journal.fd, [Record(BLOCK, bytes([99]) * 16, OWNER, at, NOW) for at in range(1, 1000)])
        return statvfs(fd)

    monkeypatch.setattr(os, "statvfs", late)
    assert journal.tidy(NOW) == ""
    assert known(path)[0][bytes([99]) * 16] == Block(999, OWNER)
    assert path.stat().st_blocks * 512 < TIDY_OCTETS


class Killed(BaseException):
    """As if by SIGKILL."""


@pytest.mark.parametrize("when", ["write", "fdatasync", "pread", "punch"])
@pytest.mark.parametrize("done", [False, True], ids=["before", "after"])
def test_killed_at_any_point_it_loses_nothing(
    journal: Journal, path: Path, monkeypatch: pytest.MonkeyPatch, when: str, done: bool
) -> None:
    fill(journal)
    journal.refresh()
    module: Any = sparse if when == "punch" else os
    real: Callable[..., Any] = getattr(module, when)

    def killed(*arguments: Any) -> Any:
        if done:
            real(*arguments)
        raise Killed

    monkeypatch.setattr(module, when, killed)
    with pytest.raises(Killed):
        journal.tidy(NOW)
    monkeypatch.undo()
    assert known(path) == everything(MUCH - 1)
    monkeypatch.setattr(leases, "TIDY_SECONDS", 0.0)
    successor = Journal(path, NOW, os.dup(journal.fd))
    assert successor.tidy(NOW) == ""
    successor.close()
    assert known(path) == everything(MUCH - 1) and path.stat().st_blocks * 512 < TIDY_OCTETS


def test_a_file_system_without_holes_is_told_once_and_written_once(
    journal: Journal, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unable(fd: int, end: int) -> None:
        raise OSError(errno.EOPNOTSUPP, os.strerror(errno.EOPNOTSUPP))

    monkeypatch.setattr(sparse, "punch", unable)
    fill(journal)
    (sentence,) = custody.tidied(journal, NOW)
    assert sentence.endswith(": Operation not supported")
    size = path.stat().st_size
    assert custody.tidied(journal, NOW) == [] and path.stat().st_size == size
    assert known(path) == everything(MUCH - 1)


def test_what_was_not_written_as_it_should_costs_nothing(
    journal: Journal, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(journal)
    write, size = os.write, path.stat().st_size
    monkeypatch.setattr(os, "write", lambda fd, octets: write(fd, octets[:100]))
    assert journal.tidy(NOW).endswith("No space left on device")
    monkeypatch.undo()
    assert path.stat().st_size == size + RECORD_OCTETS
    assert known(path) == everything(MUCH - 1)


def test_the_last_room_of_a_disk_is_the_packet_processs(
    journal: Journal, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(journal)
    size = path.stat().st_size
    monkeypatch.setattr(os, "statvfs", lambda fd: SimpleNamespace(f_bavail=2, f_frsize=4096))
    assert journal.tidy(NOW) == "" and path.stat().st_size == size


def test_the_margin_of_a_hole_is_not_torn_but_zeros_between_records_are(path: Path) -> None:
    record = Record(BLOCK, NAMES[0], OWNER, 5, NOW).emit()
    path.write_bytes(bytes(64 * 100) + record)
    assert known(path) == ({NAMES[0]: Block(5, OWNER)}, {}, [])
    path.write_bytes(record + bytes(64) + record)
    assert known(path)[2][0].startswith("1 records of ")


def test_a_large_hole_is_not_read(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    record = Record(BLOCK, NAMES[0], OWNER, 5, NOW).emit()
    with path.open("wb") as file:
        file.truncate(1 << 40)
        file.seek(1 << 40)
        file.write(record)
    journal = Journal(path, NOW)
    assert journal.blocks == {NAMES[0]: Block(5, OWNER)} and not journal.sentences
    journal.close()

"""What is said of the counter journal: by the files alone, and of a real disk that is full for a while."""

import os
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from culvert.change import AddSa
from culvert.dataplane.plane import JournalState
from culvert.dataplane.userspace import custody
from culvert.dataplane.userspace.counters import SEQUENCE, CountersFile
from culvert.dataplane.userspace.leases import BLOCK, Journal, Record, append, key_name
from culvert.dataplane.userspace.slots import Slots
from culvert.ipsec.sa import Direction
from tests.dataplane.topology import Wan, run, wait_until
from tests.ipsec.building import NOW, make_sa

GCM = make_sa(Direction.OUT, cipher="aes-gcm128", label="/Common/gcm")


class Files:
    """A journal and a counters file with one SA in them."""

    def __init__(self, state: Path) -> None:
        self.journal = Journal(state / "leases", NOW)
        self.counters = CountersFile(state / "counters", journal=self.journal)
        self.slots = Slots(self.counters, self.journal)
        (self.slot,) = self.slots.of([AddSa(GCM)], ())
        self.slots.leases([AddSa(GCM)], [self.slot])

    def grant(self, last: int) -> None:
        append(self.journal.fd, [Record(BLOCK, key_name(GCM), GCM.identity(), last, NOW + 5)])

    def use(self, number: int) -> None:
        self.counters.numbers[self.counters.base(self.slot) + SEQUENCE] = number

    def state(self) -> JournalState:
        return custody.state(self.journal, self.slots, [GCM, make_sa(Direction.IN)])


@pytest.fixture
def files(tmp_path: Path) -> Iterator[Files]:
    made = Files(tmp_path)
    yield made
    made.counters.close()
    made.journal.close()


def test_numbers_ahead_are_all_that_is_needed(files: Files, tmp_path: Path) -> None:
    files.grant(1024)
    files.use(700)
    assert files.state() == JournalState(str(tmp_path / "leases"), "", NOW + 5)


def test_an_sa_whose_next_block_did_not_come_is_named(files: Files) -> None:
    files.grant(1024)
    files.use(1000)
    told = files.state()
    assert told.short == ("/Common/gcm",)
    assert told.trouble == "numbers were asked for and not written: the log of culvertd says why"
    files.grant(2048)
    assert (files.state().short, files.state().trouble) == ((), "")


def test_the_end_of_all_numbers_is_no_trouble_of_the_journal(files: Files) -> None:
    files.grant(GCM.sequence_max)
    files.use(GCM.sequence_max)
    assert files.state().short == ()


@pytest.mark.parametrize(
    ("flag", "room", "trouble"),
    [
        (os.ST_RDONLY, 1, "the file system can only be read"),
        (0, 0, "no space is left on the disk"),
    ],
)
def test_why_it_can_not_be_written(
    files: Files, monkeypatch: pytest.MonkeyPatch, flag: int, room: int, trouble: str
) -> None:
    files.grant(1024)
    monkeypatch.setattr(os, "statvfs", lambda fd: SimpleNamespace(f_flag=flag, f_bavail=room))
    assert files.state().trouble == trouble


def test_a_file_that_somebody_deleted(files: Files) -> None:
    files.journal.path.unlink()
    assert files.state().trouble.startswith("the file was taken away")


def test_without_a_journal_it_is_said_why(tmp_path: Path) -> None:
    (tmp_path / "leases").mkdir()
    sentences: list[str] = []
    assert custody.opened(tmp_path / "leases", NOW, -1, sentences) is None
    assert sentences[0].startswith("there is no counter journal, so counter modes are refused: ")


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """Under the state of gateway a."""
    path = tmp_path / "a"
    path.mkdir()
    run("mount", "-t", "tmpfs", "-o", "size=16m", "tmpfs", str(path))
    # Of other keys, so that little more fits the page.
    strangers = (Record(BLOCK, bytes([number] * 16), bytes(16), 1, NOW) for number in range(61))
    (path / "leases").write_bytes(b"".join(record.emit() for record in strangers))
    yield path
    run("umount", "-l", str(path))


@pytest.mark.network
def test_a_full_disk_is_seen_and_gone_on_from(small_disk: Path, wan: Wan) -> None:
    keys = "'cipher_key': Secret(bytes(range(20))), 'auth_key': Secret(b'')"
    wan.start(f"shaped(site(side), sa={{'cipher': 'aes-gcm128', 'auth': 'none', {keys}}})")
    assert wan.client.pings("10.2.0.5")
    assert wan.a.do("plane.counter_journal().trouble") == ""
    ballast = small_disk / "ballast"
    with ballast.open("wb", buffering=0) as file, pytest.raises(OSError, match="No space left"):
        while True:
            file.write(bytes(4096))
    # Until the page that the journal's end is in is full, and the last block used up.
    with wan.client.flooding("10.2.0.5"):
        wait_until(lambda: "COUNTER_JOURNAL" in wan.a.drops(), 30)
    assert not wan.client.pings("10.2.0.5")
    assert wan.a.do("plane.counter_journal().short") == ["/Common/sa-out-4"]
    assert wan.a.do("plane.counter_journal().trouble") == "no space is left on the disk"
    ballast.unlink()
    wait_until(lambda: wan.client.pings("10.2.0.5"))
    assert wan.a.do("(plane.counter_journal().trouble, plane.counter_journal().short)") == ["", []]

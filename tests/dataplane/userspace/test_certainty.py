"""What the disk may have kept to itself: no number is used again, whichever writes it lost."""

import fcntl
import os
import resource
from pathlib import Path
from types import SimpleNamespace

import pytest

from culvert.change import AddSa, RemoveSa
from culvert.dataplane.userspace import counters as file
from culvert.dataplane.userspace import custody, leases
from culvert.dataplane.userspace.counters import SEQUENCE_JUMP, CountersBusy, CountersFile
from culvert.dataplane.userspace.leases import BLOCK, EDGE, NOBODY, Block, Journal, Record, append
from culvert.dataplane.userspace.plane import UserspacePlane
from culvert.ipsec.sa import Direction
from tests.dataplane.topology import Wan, wait_until
from tests.dataplane.userspace.test_leases import (
    BOOT,
    GCM,
    GCM_AGAIN,
    NEXT_BOOT,
    ONE,
    OTHER,
    OWNER,
    RECEIVED,
    Plane,
    file_limit,
)
from tests.ipsec.building import NOW, make_sa

CBC = make_sa(Direction.OUT)


def kill(plane: Plane) -> None:
    """As kill -9 of culvertd and of a packet process: the lock goes with them, and nothing is closed in order."""
    plane.counters.lent()
    fcntl.flock(plane.counters.fd, fcntl.LOCK_UN)


def no_holes(_: Journal) -> bool:
    raise OSError(95, "Operation not supported")


# What was written, and not seen to go to the disk


def test_what_another_process_has_written_is_behind_us_and_no_lease(tmp_path: Path) -> None:
    plane = Plane(tmp_path)
    plane.add(GCM)
    plane.use(GCM, 500, 3072)
    sequence, lease = plane.add(GCM, RemoveSa(GCM))
    assert (sequence, lease.last) == (500, 0)
    sequence, lease = plane.add(GCM_AGAIN, RemoveSa(GCM))
    assert (sequence, lease.last) == (3072, 0)
    plane.close()
    # Written anew at the next start, in a file of its own.
    after = Plane(tmp_path)
    assert after.add(GCM_AGAIN)[1].last == 3072
    after.close()


def test_what_the_parent_wrote_itself_is_a_lease_only_if_it_could(tmp_path: Path) -> None:
    plane = Plane(tmp_path)
    plane.receive(RECEIVED, 5000)
    with file_limit(0):
        sequence, lease = plane.add(GCM, RemoveSa(RECEIVED))
    assert (sequence, lease.last) == (5000 + SEQUENCE_JUMP, 0)
    plane.close()


def test_what_could_not_be_written_is_written_later(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plane = Plane(tmp_path)
    plane.receive(RECEIVED, 5000)
    monkeypatch.setattr(leases, "TIDY_SECONDS", 0.0)
    with file_limit(0):
        plane.remove(RECEIVED)
        # Nor does it depend on whether the file can be tidied.
        monkeypatch.setattr(Journal, "_is_untidy", no_holes)
        (sentence,) = custody.tidied(plane.journal, NOW)
    assert "grows until" in sentence
    assert custody.tidied(plane.journal, NOW) == []
    kill(plane)
    after = Plane(tmp_path)
    assert after.add(GCM)[0] == 5000 + SEQUENCE_JUMP
    after.close()


@pytest.mark.parametrize("fails", ["", "fdatasync", "pwrite"])
def test_where_no_file_can_be_made_only_what_was_written_over_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fails: str
) -> None:
    path = tmp_path / "leases"
    path.write_bytes(Record(BLOCK, ONE, OWNER, 5000, NOW).emit())
    (tmp_path / "leases.new").mkdir()
    if fails == "fdatasync":

        def refuse(_: int) -> None:
            raise OSError(5, "Input/output error")

        monkeypatch.setattr(os, "fdatasync", refuse)
    if fails == "pwrite":
        monkeypatch.setattr(os, "pwrite", lambda fd, octets, at: len(octets) // 2)
    journal = Journal(path, NOW)
    assert journal.blocks == {ONE: Block(5000, OWNER)}
    assert journal.certain(ONE) == (0 if fails else 5000)
    journal.close()
    assert path.read_bytes() == Record(BLOCK, ONE, OWNER, 5000, NOW).emit()


def test_on_a_full_disk_a_new_process_has_what_the_last_one_leased(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plane = Plane(tmp_path)
    plane.add(GCM)
    plane.use(GCM, 500, 3072)
    plane.journal.lent()
    assert plane.add(GCM)[1].last == 0, "it leases its own"
    monkeypatch.setattr(os, "statvfs", lambda fd: SimpleNamespace(f_bavail=0, f_frsize=4096))
    plane.journal.lent()
    assert plane.add(GCM)[1].last == 3072
    plane.close()


def test_each_process_hears_of_its_own_what_could_not_be_written(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "leases", NOW)
    lent = journal.lent()
    # Of one open file both would have one place in it, and one memory of what failed.
    os.lseek(lent, 7, os.SEEK_SET)
    assert os.lseek(journal.fd, 0, os.SEEK_CUR) != 7
    assert os.path.sameopenfile(lent, journal.fd)
    assert fcntl.fcntl(lent, fcntl.F_GETFL) & os.O_APPEND
    journal.close()


# A file that is older than what was sent


def test_when_both_were_killed_numbers_go_on_behind_the_last_block(tmp_path: Path) -> None:
    before = Plane(tmp_path)
    before.add(GCM)
    before.use(GCM, 500, 1024)
    kill(before)
    after = Plane(tmp_path)
    assert after.add(GCM)[0] == 1024
    after.close()


def test_starts_that_send_nothing_skip_nothing_more(tmp_path: Path) -> None:
    before = Plane(tmp_path)
    before.add(GCM)
    before.add(CBC)
    before.use(GCM, 500, 1024)
    before.use(CBC, 600, 1024)
    kill(before)
    for number in range(3):
        after = Plane(tmp_path, now=NOW + number)
        assert (after.add(GCM)[0], after.add(CBC)[0]) == (1024, 1024)
        # As an exception in the middle of a start.
        fcntl.flock(after.counters.fd, fcntl.LOCK_UN)
    for number in range(3):
        after = Plane(tmp_path, now=NOW + 10 + number)
        assert after.add(GCM)[0] == 1024, "a counter mode is never beyond its block"
        kill(after)


def test_counters_of_a_backup_go_on_behind_the_last_block(tmp_path: Path) -> None:
    first = Plane(tmp_path)
    first.add(GCM)
    first.use(GCM, 500, 1024)
    first.close()
    backup = (tmp_path / "counters").read_bytes()
    second = Plane(tmp_path, now=NOW + 1)
    assert second.add(GCM)[0] == 500
    second.use(GCM, 900, 2048)
    second.close()
    (tmp_path / "counters").write_bytes(backup)
    third = Plane(tmp_path, now=NOW + 2)
    assert third.add(GCM)[0] == 2048
    third.close()


def test_without_its_journal_a_restart_does_not_count_as_the_one_after_the_loss_of_power(tmp_path: Path) -> None:
    before = Plane(tmp_path)
    before.add(GCM)
    before.use(GCM, 500, 9_000_000)
    before.close()
    CountersFile(tmp_path / "counters", boot_id=NEXT_BOOT).close()
    after = Plane(tmp_path, NEXT_BOOT)
    assert after.add(GCM)[0] == 9_000_000
    after.close()


def test_who_went_beyond_its_block_jumps(tmp_path: Path) -> None:
    """As other algorithms do while the journal can't be written."""
    before = Plane(tmp_path)
    before.add(CBC)
    before.use(CBC, 400_000, 1024)
    before.close()
    after = Plane(tmp_path, NEXT_BOOT)
    assert after.add(CBC)[0] == 400_000 + SEQUENCE_JUMP
    after.close()


def test_a_damaged_file_goes_behind_blocks_and_edges(tmp_path: Path) -> None:
    window = make_sa(Direction.IN)
    before = Plane(tmp_path)
    before.add(GCM)
    before.use(GCM, 500, 9_000_000)
    before.receive(window, 4000)
    append(before.journal.fd, [Record(EDGE, window.identity(), NOBODY, 7000, NOW)])
    before.close()
    with (tmp_path / "counters").open("ab") as damaged:
        damaged.write(b"x")
    after = Plane(tmp_path)
    (slot,) = after.slots.of([AddSa(window)], ())
    assert (after.add(GCM)[0], after.sequence(slot)) == (9_000_000, 7000)
    assert len(after.counters.sentences) == 1
    after.close()


def test_a_window_that_has_no_counters_yet_begins_where_the_journal_says(tmp_path: Path) -> None:
    window = make_sa(Direction.IN)
    plane = Plane(tmp_path)
    append(plane.journal.fd, [Record(EDGE, window.identity(), NOBODY, 70_000, NOW)])
    changes = [AddSa(window)]
    slots = plane.slots.of(changes, ())
    assert plane.slots.leases(changes, slots) == [] and plane.sequence(slots[0]) == 70_000
    plane.close()


# Whose the last block is


def test_a_key_that_was_received_with_in_between_goes_behind_what_the_peer_has_used(tmp_path: Path) -> None:
    plane = Plane(tmp_path)
    plane.add(GCM)
    plane.use(GCM, 5_000_000, 9_000_000)
    plane.slots.of([RemoveSa(GCM)], ())
    plane.receive(RECEIVED, 6_548_576)
    # The peer's numbers and a jump are within our own block.
    assert plane.add(GCM, RemoveSa(RECEIVED))[0] == 9_000_000
    plane.close()


# A file that went


def test_a_missing_journal_is_a_doubt_where_counters_are_left(tmp_path: Path) -> None:
    sentences: list[str] = []
    path = tmp_path / "leases"
    first = custody.opened(path, NOW, -1, sentences)
    assert first is not None and not first.doubt.sentence
    CountersFile(tmp_path / "counters", boot_id=BOOT, journal=first).close()
    first.close()
    path.unlink()
    again = custody.opened(path, NOW, -1, sentences)
    assert again is not None and again.doubt.sentence == "the counter journal was missing"
    assert sentences[0].startswith("the counter journal was missing: ") and "counter-journal trust" in sentences[0]
    again.close()


@pytest.mark.parametrize("moved", [False, True])
def test_a_journal_that_was_taken_away_is_written_anew_with_all_that_is_known(tmp_path: Path, moved: bool) -> None:
    journal = Journal(tmp_path / "leases", NOW)
    append(journal.fd, [Record(BLOCK, ONE, OWNER, 5, NOW)])
    process = journal.lent()

    def end() -> None:
        # What it has leased a moment ago.
        append(process, [Record(BLOCK, OTHER, OWNER, 9, NOW)])

    assert custody.renewed(journal, NOW, end) == []
    journal.path.rename(tmp_path / "elsewhere") if moved else journal.path.unlink()
    assert custody.renewed(journal, NOW, end) == [f"{journal.path} was taken away by another program; wrote it anew"]
    assert custody.renewed(journal, NOW, end) == [] and journal.certain(OTHER) == 9
    journal.close()
    assert Journal(tmp_path / "leases", NOW).blocks == {ONE: Block(5, OWNER), OTHER: Block(9, OWNER)}


def test_a_journal_that_is_full_as_soon_as_it_is_written_anew_is_told_too(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "leases", NOW)
    process = journal.lent()
    journal.path.unlink()

    def end() -> None:
        append(process, [Record(BLOCK, OTHER, OWNER, 9, NOW)])
        resource.setrlimit(resource.RLIMIT_FSIZE, (0, limits[1]))

    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        assert len(custody.renewed(journal, NOW, end)) == 1
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert (journal.block(OTHER).last, journal.certain(OTHER)) == (9, 0)
    journal.pay()
    assert journal.certain(OTHER) == 9
    journal.close()


def test_a_journal_that_can_not_be_written_anew_ends_no_process(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "leases", NOW)
    journal.path.unlink()
    (tmp_path / "leases.new").mkdir()
    assert custody.renewed(journal, NOW, lambda: pytest.fail("it goes on")) == []
    append(journal.fd, [Record(BLOCK, ONE, OWNER, 5, NOW)])
    journal.refresh()
    assert journal.blocks == {ONE: Block(5, OWNER)}
    journal.close()


@pytest.mark.network
def test_a_packet_process_is_given_the_journal_that_took_the_place_of_a_deleted_one(wan: Wan) -> None:
    keys = "'cipher_key': Secret(bytes(range(20))), 'auth_key': Secret(b'')"
    wan.start(f"shaped(site(side), sa={{'cipher': 'aes-gcm128', 'auth': 'none', {keys}}})")
    assert wan.client.pings("10.2.0.5")
    path = wan.a.state / "leases"
    path.unlink()
    assert "wrote it anew" in str(wan.a.do("plane.tick(0)"))
    assert wan.client.pings("10.2.0.5")
    octets = path.stat().st_size
    with wan.client.flooding("10.2.0.5"):
        wait_until(lambda: path.stat().st_size > octets)
    # A disk that is slow for a moment holds it up.
    assert all(gateway.drops().keys() <= {"COUNTER_JOURNAL"} for gateway in wan.gateways)


def test_who_can_not_have_the_counters_leaves_the_journal_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plane = Plane(tmp_path)
    before = (tmp_path / "leases").stat().st_ino
    monkeypatch.setattr(file, "LOCK_WAIT_SECONDS", 0.05)
    with pytest.raises(CountersBusy):
        UserspacePlane(tmp_path, random=os.urandom, clock=lambda: NOW)
    assert (tmp_path / "leases").stat().st_ino == before
    plane.close()

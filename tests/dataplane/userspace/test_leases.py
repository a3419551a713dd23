"""The counter journal: what is on the disk before it is used, and what is made of a file that was cut or damaged."""

import errno
import os
import resource
import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from culvert.change import AddSa, RemoveSa
from culvert.dataplane.userspace import leases
from culvert.dataplane.userspace.counters import SEQUENCE, SEQUENCE_JUMP, CountersFile
from culvert.dataplane.userspace.leases import (
    BLOCK,
    BLOCK_NUMBERS_MAX,
    BLOCK_NUMBERS_MIN,
    EDGE,
    NOBODY,
    RECORD_OCTETS,
    Block,
    Journal,
    Lease,
    Leased,
    Leases,
    Record,
    append,
    is_counter_mode,
    key_name,
)
from culvert.dataplane.userspace.slots import Slots
from culvert.ipsec.sa import Direction, SecurityAssociation
from tests.ipsec.building import NOW, make_sa

OUT = Direction.OUT
ONE, OTHER, OWNER = bytes([1] * 16), bytes([2] * 16), bytes([7] * 16)
BOOT, NEXT_BOOT = bytes(16), bytes([1] * 16)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "leases"


def opened(path: Path, now: float = NOW) -> Journal:
    journal = Journal(path, now)
    journal.close()
    return journal


def test_a_record_is_laid_out_as_the_page_says() -> None:
    octets = Record(BLOCK, ONE, OWNER, 0x0102030405060708, 1.5).emit()
    start = b"CLJ1\x01\0\0\0" + ONE + OWNER + bytes.fromhex("0807060504030201") + struct.pack("<d", 1.5) + bytes(4)
    assert octets == start + struct.pack("<I", zlib.crc32(start))
    assert len(octets) == RECORD_OCTETS
    assert leases.parse(octets) == Record(BLOCK, ONE, OWNER, 0x0102030405060708, 1.5)


@pytest.mark.parametrize("octets", [b"", bytes(64), b"x" * 64, Record(9, ONE, OWNER, 1, 0.0).emit()])
def test_what_is_no_record_says_nothing(octets: bytes) -> None:
    assert leases.parse(octets) is None


def written(path: Path) -> list[Record]:
    records = [Record(BLOCK, (ONE, OTHER)[at % 2], OWNER, 1000 * (at + 1), NOW) for at in range(6)]
    records.append(Record(EDGE, OTHER, NOBODY, 77, NOW))
    path.write_bytes(b"".join(record.emit() for record in records))
    return records


def test_a_journal_cut_at_any_octet_keeps_every_record_that_is_whole(path: Path) -> None:
    records = written(path)
    octets = path.read_bytes()
    for cut in range(len(octets) + 1):
        path.write_bytes(octets[:cut])
        journal = opened(path)
        whole = records[: cut // RECORD_OCTETS]
        for name in (ONE, OTHER):
            last = max((record.number for record in whole if record.kind == BLOCK and record.name == name), default=0)
            assert journal.blocks.get(name, Block(0, NOBODY)).last == last
        assert journal.edges == ({OTHER: 77} if len(whole) == len(records) else {})
        assert bool(journal.sentences) == bool(cut % RECORD_OCTETS)


def test_any_octet_may_be_damaged_and_the_others_still_count(path: Path) -> None:
    records = written(path)
    octets = path.read_bytes()
    for at in range(0, len(octets), 7):
        path.write_bytes(octets[:at] + bytes((octets[at] ^ 0x5A,)) + octets[at + 1 :])
        journal = opened(path)
        rest = [each for number, each in enumerate(records) if number != at // RECORD_OCTETS and each.kind == BLOCK]
        for name in (ONE, OTHER):
            assert journal.blocks[name].last == max(each.number for each in rest if each.name == name)
        assert "1 records" in journal.sentences[0]


def test_a_journal_is_written_anew_with_only_what_counts(path: Path) -> None:
    written(path)
    opened(path)
    assert path.stat().st_size == 3 * RECORD_OCTETS
    assert opened(path).blocks == {ONE: Block(5000, OWNER), OTHER: Block(6000, OWNER)}
    assert not path.with_name("leases.new").exists()


def test_a_clock_behind_the_journal_is_told(path: Path) -> None:
    written(path)
    (sentence,) = opened(path, NOW - 3600).sentences
    assert "3,600 seconds behind" in sentence and "earlier state" in sentence


def test_the_doubt_outlives_a_restart_until_it_is_settled(path: Path) -> None:
    written(path)
    assert opened(path, NOW).doubt.sentence == ""
    opened(path, NOW - 3600)
    # Written anew, the journal itself knows nothing of it any more.
    again = opened(path, NOW)
    assert again.doubt.sentence == "the clock was 3,600 seconds behind the counter journal"
    assert "run sys counter-journal trust" in again.sentences[0]
    again.doubt.settle()
    assert again.doubt.sentence == "" and opened(path, NOW).sentences == []


def test_a_doubt_that_lost_its_words_is_still_one(path: Path) -> None:
    path.with_name("leases.doubt").touch()
    assert opened(path).doubt.sentence == "it was in doubt before"


def test_on_a_full_disk_the_doubt_lasts_as_long_as_the_process(path: Path) -> None:
    written(path)
    with file_limit(0):
        journal = opened(path, NOW - 3600)
    assert journal.doubt.sentence


# Blocks


@pytest.fixture
def fd(path: Path) -> Iterator[int]:
    opened_fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND)
    yield opened_fd
    os.close(opened_fd)


def leased(last: int = 0, *, strict: bool = True, limit: int = 2**32 - 1) -> Leased:
    return Leased(Lease(ONE.hex(), OWNER.hex(), last, strict), limit)


def test_a_block_is_on_the_disk_before_it_may_be_used(fd: int, path: Path) -> None:
    one, journal = leased(), Leases(fd)
    assert one.is_short(0) and one.last == 0
    assert journal.extend({one: 0}, NOW)
    assert one.last == BLOCK_NUMBERS_MIN
    assert opened(path).blocks == {ONE: Block(one.last, OWNER)}
    assert not one.is_short(100) and one.is_short(one.last - 1)


def test_blocks_grow_with_the_rate_and_stay_small_without(fd: int) -> None:
    quick, slow, journal = leased(), leased(), Leases(fd)
    for step in range(20):
        journal.extend({quick: quick.last}, NOW + step)
        before = slow.last
        journal.extend({slow: slow.last}, NOW + 60 * step)
        assert slow.last - before == BLOCK_NUMBERS_MIN
    assert quick.block == BLOCK_NUMBERS_MAX


def test_the_last_block_ends_where_the_numbers_end(fd: int) -> None:
    one = leased(2**32 - 10)
    assert Leases(fd).extend({one: 2**32 - 12}, NOW)
    assert one.last == 2**32 - 1 and not one.is_short(2**32 - 1)


@contextmanager
def file_limit(octets: int) -> Iterator[None]:
    """No file may grow beyond: what a full disk does, without root. SIGXFSZ is ignored by Python."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (octets, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_what_does_not_fit_the_disk_leaves_nothing_behind_and_is_tried_again(
    fd: int, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(leases, "TRIED_AGAIN_SECONDS", 0.0)
    one, journal = leased(), Leases(fd)
    assert journal.extend({one: 0}, NOW)
    last, size = one.last, path.stat().st_size
    # Room for half a record.
    with file_limit(size + RECORD_OCTETS // 2):
        assert not journal.extend({one: last}, NOW)
    assert one.last == last and path.stat().st_size == size
    assert journal.trouble == os.strerror(errno.EFBIG)
    assert journal.extend({one: last}, NOW) and not journal.trouble
    assert opened(path).blocks[ONE].last == one.last


@pytest.mark.parametrize("fitting", [0, 1, 2])
def test_records_of_another_writer_outlive_an_append_that_fails(
    fd: int, path: Path, monkeypatch: pytest.MonkeyPatch, fitting: int
) -> None:
    """They were appended by the parent while the packet process found the disk full in the middle of a record."""
    theirs, ours = Record(BLOCK, OTHER, OWNER, 5, NOW), [Record(BLOCK, ONE, OWNER, at + 1, NOW) for at in range(3)]
    write = os.write
    writes: list[bytes] = []

    def full(fd: int, octets: bytes) -> int:
        if writes:
            raise OSError(errno.ENOSPC, "full")
        writes.append(octets)
        write(fd, theirs.emit())
        return write(fd, octets[: fitting * RECORD_OCTETS + 10])

    monkeypatch.setattr(os, "write", full)
    with pytest.raises(OSError, match="full"):
        append(fd, ours)
    monkeypatch.undo()
    assert path.read_bytes() == b"".join(record.emit() for record in [theirs, *ours[:fitting]])


def test_what_a_packet_process_did_not_finish_is_cut_off_for_the_next_one(path: Path) -> None:
    journal = Journal(path, NOW)
    whole = Record(BLOCK, ONE, OWNER, 5, NOW).emit()
    os.write(journal.fd, whole + whole[:20])
    assert Leases(journal.lent()).extend({leased(5): 5}, NOW)
    journal.close()
    again = opened(path)
    assert again.blocks == {ONE: Block(5 + BLOCK_NUMBERS_MIN, OWNER)} and not again.sentences


def test_an_inherited_journal_is_read_by_its_descriptor(fd: int, path: Path) -> None:
    append(fd, [Record(BLOCK, ONE, OWNER, 5, NOW)])
    path.unlink()
    journal = Journal(path, NOW, fd)
    assert journal.blocks == {ONE: Block(5, OWNER)}
    append(fd, [Record(BLOCK, ONE, OWNER, 9, NOW)])
    journal.refresh()
    assert journal.blocks == {ONE: Block(9, OWNER)} and not path.exists()


def test_on_a_full_disk_the_old_journal_is_gone_on_with(path: Path) -> None:
    written(path)
    whole = path.read_bytes()
    path.write_bytes(whole + b"torn")
    with file_limit(RECORD_OCTETS):
        journal = Journal(path, NOW)
    assert journal.blocks == {ONE: Block(5000, OWNER), OTHER: Block(6000, OWNER)}
    append(journal.fd, [Record(BLOCK, ONE, OWNER, 9000, NOW)])
    journal.refresh()
    assert journal.blocks[ONE].last == 9000
    journal.close()
    assert path.read_bytes()[: len(whole)] == whole and path.stat().st_size == len(whole) + RECORD_OCTETS


def test_a_journal_hears_of_what_the_packet_process_wrote(path: Path) -> None:
    journal = Journal(path, NOW)
    for last in (1024, 3072):
        append(journal.fd, [Record(BLOCK, ONE, OWNER, last, NOW)])
        journal.refresh()
        assert journal.blocks == {ONE: Block(last, OWNER)}
    journal.close()


def test_a_file_that_can_only_be_read_extends_nothing(path: Path) -> None:
    written(path)
    fd = os.open(path, os.O_RDONLY)
    try:
        one = leased(10)
        assert not Leases(fd).extend({one: 10}, NOW)
        assert one.last == 10
    finally:
        os.close(fd)


def test_without_a_journal_nothing_is_extended() -> None:
    assert not Leases(-1).extend({leased(): 0}, NOW)


def test_edges_that_could_not_be_written_are_to_be_saved_later(fd: int, path: Path) -> None:
    with file_limit(0):
        assert not Leases(fd).save_edges({ONE: 5}, NOW)
    assert Leases(fd).save_edges({ONE: 6}, NOW) and Leases(-1).save_edges({ONE: 7}, NOW)
    assert opened(path).edges == {ONE: 6}


# Whose numbers


def test_a_counter_modes_numbers_belong_to_its_key_alone() -> None:
    one = make_sa(OUT, cipher="aes-gcm128")
    again = make_sa(OUT, cipher="aes-gcm128", spi=77, label="/Common/again")
    assert one.identity() != again.identity() and key_name(one) == key_name(again)
    assert is_counter_mode(one) and is_counter_mode(make_sa(OUT, cipher="chacha20-poly1305"))
    other = make_sa(OUT)
    assert not is_counter_mode(other) and key_name(other) == other.identity()


class Plane:
    """The parent's files, as a boot finds them."""

    def __init__(self, state: Path, boot: bytes = BOOT, now: float = NOW) -> None:
        self.journal = Journal(state / "leases", now)
        self.counters = CountersFile(state / "counters", boot_id=boot, journal=self.journal)
        self.sentences: list[str] = []
        self.slots = Slots(self.counters, self.journal, self.sentences)

    def add(self, sa: SecurityAssociation, *before: AddSa | RemoveSa) -> tuple[int, Lease]:
        """Where the numbers of a new SA begin, and its lease."""
        changes = [*before, AddSa(sa)]
        slots = self.slots.of(changes, ())
        (lease,) = self.slots.leases(changes, slots)
        self.slots.begin(changes, slots, NOW)
        return self.sequence(slots[-1]), lease

    def receive(self, sa: SecurityAssociation, edge: int) -> None:
        (slot,) = self.slots.of([AddSa(sa)], ())
        self.counters.numbers[self.counters.base(slot) + SEQUENCE] = edge

    def remove(self, *sas: SecurityAssociation) -> None:
        changes = [RemoveSa(sa) for sa in sas]
        assert self.slots.leases(changes, self.slots.of(changes, ())) == []

    def sequence(self, slot: int) -> int:
        number: int = self.counters.numbers[self.counters.base(slot) + SEQUENCE]
        return number

    def use(self, sa: SecurityAssociation, number: int, last: int) -> None:
        """Packets were sent, by a block that ends at `last`."""
        (slot,) = self.slots.of([AddSa(sa)], ())
        self.counters.numbers[self.counters.base(slot) + SEQUENCE] = number
        append(self.journal.fd, [Record(BLOCK, key_name(sa), sa.identity(), last, NOW)])

    def close(self) -> None:
        self.counters.close()
        self.journal.close()


GCM = make_sa(OUT, cipher="aes-gcm128")
GCM_AGAIN = make_sa(OUT, cipher="aes-gcm128", spi=77)


def test_a_restarted_process_goes_on_without_a_gap(tmp_path: Path) -> None:
    before = Plane(tmp_path)
    assert before.add(GCM)[0] == 0
    before.use(GCM, 500, 1024)
    before.close()
    after = Plane(tmp_path)
    sequence, lease = after.add(GCM)
    assert sequence == 500 and lease.last == 1024 and lease.strict
    after.close()


def test_a_restarted_machine_goes_on_behind_the_last_block(tmp_path: Path) -> None:
    before = Plane(tmp_path)
    before.add(GCM)
    before.use(GCM, 500, 1024)
    before.close()
    after = Plane(tmp_path, NEXT_BOOT)
    assert after.add(GCM)[0] == 1024
    after.close()


def test_a_lost_counters_file_is_made_good_by_the_journal(tmp_path: Path) -> None:
    before = Plane(tmp_path)
    before.add(GCM)
    before.use(GCM, 500, 1024)
    before.close()
    (tmp_path / "counters").unlink()
    after = Plane(tmp_path)
    assert after.add(GCM)[0] == 1024
    after.close()


def test_the_same_key_under_another_spi_goes_on_behind_the_first_ones_numbers(tmp_path: Path) -> None:
    plane = Plane(tmp_path)
    plane.add(GCM)
    plane.use(GCM, 500, 1024)
    assert plane.add(GCM_AGAIN)[0] == 1024
    plane.use(GCM_AGAIN, 1100, 2048)
    # And back: not where it stopped, but behind the other's.
    assert plane.add(GCM)[0] == 2048
    plane.close()


RECEIVED = make_sa(Direction.IN, cipher="aes-gcm128", spi=600)


@pytest.mark.parametrize("at_once", [True, False])
def test_a_key_that_was_received_with_sends_behind_what_the_peer_has_used(tmp_path: Path, at_once: bool) -> None:
    plane = Plane(tmp_path)
    plane.receive(RECEIVED, 5000)
    if not at_once:
        plane.remove(RECEIVED)
        plane.close()
        plane = Plane(tmp_path, NEXT_BOOT)
    sequence, lease = plane.add(GCM, *([RemoveSa(RECEIVED)] if at_once else []))
    assert sequence == lease.last == 5000 + SEQUENCE_JUMP and lease.owner == GCM.identity().hex()
    plane.close()


def test_only_what_may_be_used_by_a_sender_is_kept_of_what_was_received(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plane = Plane(tmp_path)
    other, idle = make_sa(Direction.IN), make_sa(Direction.IN, cipher="aes-gcm128", spi=601)
    plane.receive(other, 5000)
    plane.receive(idle, 0)
    plane.remove(other, idle)
    assert plane.journal.blocks == {}
    plane.receive(RECEIVED, 5000)
    ours = make_sa(Direction.IN, cipher="chacha20-poly1305", spi=602)
    plane.receive(ours, 7)
    syncs: list[int] = []
    monkeypatch.setattr(os, "fdatasync", syncs.append)
    plane.remove(RECEIVED, ours)
    # Nothing is said twice.
    plane.remove(RECEIVED, ours)
    assert len(syncs) == 1 and plane.sentences == []
    assert {block.last - SEQUENCE_JUMP for block in plane.journal.blocks.values()} == {5000, 7}
    plane.close()


def test_what_was_received_is_known_until_the_end_where_it_can_not_be_written(tmp_path: Path) -> None:
    plane = Plane(tmp_path)
    plane.receive(RECEIVED, 5000)
    with file_limit(0):
        sequence, _ = plane.add(GCM, RemoveSa(RECEIVED))
    assert sequence == 5000 + SEQUENCE_JUMP
    (sentence,) = plane.sentences
    assert sentence.startswith(f"{tmp_path}/leases: File too large: 1 keys") and "nothing may be sent" in sentence
    plane.close()


def test_edges_of_windows_survive_a_loss_of_power(tmp_path: Path) -> None:
    sa = make_sa(Direction.IN)
    before = Plane(tmp_path)
    (slot,) = before.slots.of([AddSa(sa)], ())
    append(before.journal.fd, [Record(EDGE, sa.identity(), NOBODY, 4321, NOW)])
    before.close()
    after = Plane(tmp_path, NEXT_BOOT)
    assert after.sequence(slot) == 4321
    after.close()

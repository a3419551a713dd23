"""The counters file: what survives whom."""

import errno
import os
import signal
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from culvert.dataplane.userspace import counters as file
from culvert.dataplane.userspace.counters import Counters, CountersBusy, CountersFile
from culvert.ipsec.drops import Reason
from culvert.ipsec.sa import Direction

BOOT, NEXT_BOOT = b"1" * 16, b"2" * 16
OUT, IN = Direction.OUT, Direction.IN


def name(number: int) -> bytes:
    return struct.pack("=QQ", 77, number)


def sequence(counters: Counters, slot: int) -> int:
    return int(counters.numbers[counters.base(slot) + file.SEQUENCE])


def test_numbers_written_by_a_killed_process_are_there(tmp_path: Path) -> None:
    counters = CountersFile(tmp_path / "counters")
    slot = counters.slot_for(name(1), OUT, set())
    program = (
        "import sys, os, signal\n"
        "from culvert.dataplane.userspace import counters as file\n"
        "counters = file.Counters(int(sys.argv[1]))\n"
        "counters.numbers[counters.base(int(sys.argv[2])) + file.SEQUENCE] = 4711\n"
        "counters.count_drop(file.Reason.REPLAY, 12.5, 'a packet')\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(counters.fd), str(slot)], pass_fds=[counters.fd], check=False
    )
    assert done.returncode == -signal.SIGKILL
    assert sequence(counters, slot) == 4711
    assert counters.drop(Reason.REPLAY) == (1, 12.5, "a packet")
    counters.close()
    again = CountersFile(tmp_path / "counters")
    assert again.sentences == []
    assert sequence(again, again.slot_for(name(1), OUT, set())) == 4711


def test_same_identity_gets_the_same_slot(tmp_path: Path) -> None:
    counters = CountersFile(tmp_path / "counters", boot_id=BOOT)
    slots = [counters.slot_for(name(number), IN, set()) for number in range(3)]
    assert slots == [0, 1, 2]
    assert counters.slot_for(name(1), IN, set()) == 1


def test_growth_is_seen_by_the_other_mapping(tmp_path: Path) -> None:
    counters = CountersFile(tmp_path / "counters", boot_id=BOOT)
    other = Counters(os.dup(counters.fd))
    early = counters.numbers
    last = [counters.slot_for(name(number), OUT, set()) for number in range(file.SLOTS_GROWTH * 2 + 1)][-1]
    counters.numbers[counters.base(last) + file.SEQUENCE] = 9
    other.refresh()
    assert sequence(other, last) == 9
    other.numbers[other.base(0) + file.SEQUENCE] = 8
    assert early[counters.base(0) + file.SEQUENCE] == 8, "views of before the growth show the same memory"


def test_after_a_restart_of_the_machine_send_sequences_jump(tmp_path: Path) -> None:
    counters = CountersFile(tmp_path / "counters", boot_id=BOOT)
    sent, received = counters.slot_for(name(1), OUT, set()), counters.slot_for(name(2), IN, set())
    nearly = counters.slot_for(name(3), OUT, set())
    for slot, number in ((sent, 5), (received, 6), (nearly, file.SEQUENCE_MAX - 1)):
        counters.numbers[counters.base(slot) + file.SEQUENCE] = number
    counters.close()
    after = CountersFile(tmp_path / "counters", boot_id=NEXT_BOOT)
    assert sequence(after, sent) == 5 + 2**20
    assert sequence(after, received) == 6
    assert sequence(after, nearly) == file.SEQUENCE_MAX
    assert "2 send sequence numbers skip 1,048,576" in after.sentences[0]
    after.close()
    assert CountersFile(tmp_path / "counters", boot_id=NEXT_BOOT).sentences == []


@pytest.mark.parametrize(
    ("damage", "sent", "received"),
    [
        pytest.param(lambda octets: octets[:100], 0, 0, id="torn"),
        pytest.param(lambda octets: octets[: file.HEADER_OCTETS + 31], 0, 0, id="torn in a sequence"),
        pytest.param(lambda octets: octets[:-7], 2**20 + 500, 600, id="torn at the end"),
        pytest.param(lambda octets: octets + b"x", 2**20 + 500, 600, id="one octet more"),
        pytest.param(lambda octets: b"x" + octets[1:], 2**20 + 500, 600, id="other magic"),
        pytest.param(
            lambda octets: octets[:8] + struct.pack("=Q", 2**40) + octets[16:], 2**20 + 500, 600, id="too many slots"
        ),
        pytest.param(lambda octets: b"\xff" * len(octets), 0, 0, id="garbage"),
        pytest.param(
            lambda octets: octets[: file.HEADER_OCTETS + 16] + b"\x09" + octets[file.HEADER_OCTETS + 17 :],
            2**20 + 500,
            600,
            id="slot",
        ),
    ],
)
def test_damaged_file_is_set_aside_and_sequences_are_saved(
    tmp_path: Path, damage: Callable[[bytes], bytes], sent: int, received: int
) -> None:
    path = tmp_path / "counters"
    counters = CountersFile(path, boot_id=BOOT)
    for number, direction, last in ((1, OUT, 500), (2, IN, 600)):
        slot = counters.slot_for(name(number), direction, set())
        counters.numbers[counters.base(slot) + file.SEQUENCE] = last
    counters.close()
    broken = damage(path.read_bytes())
    path.write_bytes(broken)
    fresh = CountersFile(path, boot_id=BOOT)
    assert "was damaged and is now counters.damaged" in fresh.sentences[0]
    assert (tmp_path / "counters.damaged").read_bytes() == broken
    assert sequence(fresh, fresh.slot_for(name(1), OUT, set())) == sent
    assert sequence(fresh, fresh.slot_for(name(2), IN, set())) == received
    fresh.close()
    assert CountersFile(path, boot_id=BOOT).sentences == []


def test_saved_sequences_stay_in_range_and_in_number(tmp_path: Path) -> None:
    path = tmp_path / "counters"
    counters = CountersFile(path, boot_id=BOOT)
    count = file.SLOTS_GROWTH + 1
    for number in range(count):
        slot = counters.slot_for(name(number), OUT, set())
        counters.numbers[counters.base(slot) + file.SEQUENCE] = file.SEQUENCE_MAX - 1 if number == 0 else number
    counters.close()
    path.write_bytes(path.read_bytes() + b"x")
    fresh = CountersFile(path, boot_id=NEXT_BOOT)
    words = f"{count} send sequence numbers could be read and go on behind their blocks, or skip 1,048,576"
    assert words in fresh.sentences[0]
    assert len(fresh.sentences) == 1
    assert sequence(fresh, fresh.slot_for(name(0), OUT, set())) == file.SEQUENCE_MAX
    assert sequence(fresh, fresh.slot_for(name(count - 1), OUT, set())) == count - 1 + 2**20


def first_layout(*slots: tuple[bytes, int, int], boot: bytes = BOOT) -> bytes:
    """A file of the first version: of each slot identity, direction, sequence; and 10 packets, 1000 octets."""
    header = struct.pack("=8sQ16s", b"CULVERT1", len(slots), boot).ljust(8192, b"\0")
    rows = [
        struct.pack("=16sQQQQdd", *each, 10, 1000, 5.0, 4.0).ljust(320, b"\0") for each in (*slots, (bytes(16), 0, 0))
    ]
    return header + b"".join(rows)


def test_file_of_the_first_version_is_converted(tmp_path: Path) -> None:
    path = tmp_path / "counters"
    path.write_bytes(first_layout((name(1), 2, 500), (name(2), 1, 600)))
    counters = CountersFile(path, boot_id=BOOT)
    # That version didn't say whether it was closed in order.
    assert "1 send sequence numbers skip 1,048,576" in counters.sentences[0]
    sent, received = counters.slot_for(name(1), OUT, set()), counters.slot_for(name(2), IN, set())
    assert (sequence(counters, sent), sequence(counters, received)) == (500 + 2**20, 600)
    base = counters.base(sent)
    assert [counters.numbers[base + index] for index in (file.PACKETS, file.OCTETS)] == [10, 1000]
    assert [counters.times[base + index] for index in (file.LAST_USE, file.CREATED)] == [5.0, 4.0]
    assert counters.slot_for(name(3), OUT, set()) == 2
    counters.close()
    assert [each.name for each in tmp_path.iterdir()] == ["counters"]
    assert path.read_bytes()[:8] == b"CULVERT2"
    assert CountersFile(path, boot_id=BOOT).sentences == []


def test_damaged_file_of_the_first_version_is_saved(tmp_path: Path) -> None:
    path = tmp_path / "counters"
    path.write_bytes(first_layout((name(1), 2, 500), (name(2), 1, 600))[:-7])
    counters = CountersFile(path, boot_id=BOOT)
    assert "was damaged" in counters.sentences[0]
    assert sequence(counters, counters.slot_for(name(1), OUT, set())) == 500 + 2**20
    assert sequence(counters, counters.slot_for(name(2), IN, set())) == 600


def test_full_disk_leaves_the_file_of_the_first_version(tmp_path: Path) -> None:
    path = tmp_path / "counters"
    path.write_bytes(first_layout((name(1), 2, 500)))
    with pytest.MonkeyPatch.context() as full:
        fill_disk(full)
        with pytest.raises(OSError, match="No space left"):
            CountersFile(path, boot_id=BOOT)
    assert path.read_bytes() == first_layout((name(1), 2, 500))
    assert [each.name for each in tmp_path.iterdir()] == ["counters"]


def test_age_of_a_key_counts_from_its_first_time(tmp_path: Path) -> None:
    counters = CountersFile(tmp_path / "counters", boot_id=BOOT)
    slot = counters.slot_for(name(1), OUT, set())
    for now in (100.0, 200.0):
        counters.begin(slot, now)
    counters.close()
    again = CountersFile(tmp_path / "counters", boot_id=NEXT_BOOT)
    again.begin(again.slot_for(name(1), OUT, set()), 300.0)
    assert again.times[again.base(slot) + file.CREATED] == 100.0


def fill_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(fd: int, offset: int, length: int) -> None:
        os.ftruncate(fd, max(os.fstat(fd).st_size, offset + length // 2))
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "posix_fallocate", refuse)


def test_no_hole_in_the_file(tmp_path: Path) -> None:
    path = tmp_path / "counters"
    counters = CountersFile(path, boot_id=BOOT)
    assert path.stat().st_blocks * 512 >= path.stat().st_size
    for number in range(file.SLOTS_GROWTH + 1):
        counters.slot_for(name(number), OUT, set())
    assert path.stat().st_blocks * 512 >= path.stat().st_size
    counters.close()
    with path.open("r+b") as sparse:
        sparse.truncate(path.stat().st_size + file.SLOTS_GROWTH * file.SLOT_OCTETS)
    CountersFile(path, boot_id=BOOT)
    assert path.stat().st_blocks * 512 >= path.stat().st_size, "a hole that a predecessor left is filled"


def test_full_disk_refuses_growth_and_leaves_the_file_usable(tmp_path: Path) -> None:
    path = tmp_path / "counters"
    counters = CountersFile(path, boot_id=BOOT)
    for number in range(file.SLOTS_GROWTH):
        counters.slot_for(name(number), OUT, set())
    size = path.stat().st_size
    with pytest.MonkeyPatch.context() as full:
        fill_disk(full)
        for _ in range(2):
            with pytest.raises(OSError, match=f"no room for .* octets of counters: No space left.*{path}"):
                counters.slot_for(name(999), OUT, set())
    assert path.stat().st_size == size
    assert counters.slot_for(name(3), OUT, set()) == 3
    assert counters.slot_for(name(999), OUT, set()) == file.SLOTS_GROWTH
    counters.close()
    assert CountersFile(path, boot_id=BOOT).sentences == []


def test_full_disk_refuses_a_new_file(tmp_path: Path) -> None:
    path = tmp_path / "counters"
    with pytest.MonkeyPatch.context() as full:
        fill_disk(full)
        with pytest.raises(OSError, match="No space left"):
            CountersFile(path, boot_id=BOOT)
    assert CountersFile(path, boot_id=BOOT).sentences == []


def test_full_disk_leaves_the_damaged_file_in_place(tmp_path: Path) -> None:
    path = tmp_path / "counters"
    counters = CountersFile(path, boot_id=BOOT)
    counters.numbers[counters.base(counters.slot_for(name(1), OUT, set())) + file.SEQUENCE] = 5
    counters.close()
    path.write_bytes(path.read_bytes() + b"x")
    with pytest.MonkeyPatch.context() as full:
        fill_disk(full)
        with pytest.raises(OSError, match="No space left"):
            CountersFile(path, boot_id=BOOT)
    assert [each.name for each in tmp_path.iterdir()] == ["counters"]
    later = CountersFile(path, boot_id=BOOT)
    assert sequence(later, later.slot_for(name(1), OUT, set())) == 5 + 2**20


def test_full_file_gives_up_the_longest_unused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(file, "SLOTS_MAX", 3)
    counters = CountersFile(tmp_path / "counters", boot_id=BOOT)
    for number, last_use in ((0, 5.0), (1, 1.0), (2, 3.0)):
        slot = counters.slot_for(name(number), OUT, set())
        counters.times[counters.base(slot) + file.LAST_USE] = last_use
        counters.numbers[counters.base(slot) + file.SEQUENCE] = 100 + number
    reused = counters.slot_for(name(9), OUT, {name(1)})
    assert reused == 2
    assert sequence(counters, reused) == 0
    assert sequence(counters, counters.slot_for(name(1), OUT, set())) == 101


def test_zero_keeps_sequences(tmp_path: Path) -> None:
    counters = CountersFile(tmp_path / "counters", boot_id=BOOT)
    slot = counters.slot_for(name(1), OUT, set())
    base = counters.base(slot)
    kept = (file.SEQUENCE, file.LIFE_PACKETS, file.LIFE_OCTETS, file.CREATED, file.PATH_MTU)
    for index in (*kept, file.PACKETS, file.OCTETS, file.LOST, file.DROPS + Reason.REPLAY):
        counters.numbers[base + index] = 7
    counters.numbers[counters.mode_base(3)] = 7
    counters.count_drop(Reason.REPLAY, 1.0, "x")
    assert counters.slot_drops(slot) == {Reason.REPLAY: 7}
    counters.zero()
    assert [counters.numbers[base + index] for index in kept] == [7] * len(kept)
    assert [counters.numbers[base + index] for index in (file.PACKETS, file.OCTETS, file.LOST)] == [0, 0, 0]
    assert counters.slot_drops(slot) == {}
    assert counters.mode(3) == (0, 0, 0, 0)
    assert counters.drop(Reason.REPLAY) == (0, 0.0, "")


def test_long_words_about_a_drop_are_cut(tmp_path: Path) -> None:
    counters = CountersFile(tmp_path / "counters", boot_id=BOOT)
    counters.count_drop(Reason.MALFORMED_HEADER, 2.0, "é" * 500)
    counters.count_drop(Reason.NO_SA_IN, 3.0, "b")
    assert counters.drop(Reason.MALFORMED_HEADER)[2].startswith("éé")
    assert counters.drop(Reason.NO_SA_IN) == (1, 3.0, "b")


def test_last_reason_stays_clear_of_the_slots(tmp_path: Path) -> None:
    counters = CountersFile(tmp_path / "counters", boot_id=BOOT)
    slot = counters.slot_for(name(1), OUT, set())
    counters.count_drop(max(Reason), 1.0, "x" * 500)
    start = counters.base(slot)
    assert list(counters.numbers[start + 3 : start + file.SLOT_OCTETS // 8]) == [0] * 77
    assert counters.slot_for(name(1), OUT, set()) == slot
    assert max(Reason) < 64
    counters.numbers[counters.base(slot) + file.DROPS + max(Reason)] = 3
    assert counters.slot_for(name(2), OUT, set()) == 1
    assert counters.slot_drops(1) == {}


def test_file_belongs_to_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(file, "LOCK_WAIT_SECONDS", 0.05)
    counters = CountersFile(tmp_path / "counters")
    with pytest.raises(CountersBusy, match="in use by another process"):
        CountersFile(tmp_path / "counters")
    counters.close()
    CountersFile(tmp_path / "counters").close()


def test_nobody_else_can_read_it(tmp_path: Path) -> None:
    CountersFile(tmp_path / "counters")
    assert (tmp_path / "counters").stat().st_mode & 0o777 == 0o600


def test_each_worker_has_rows_of_its_own(tmp_path: Path) -> None:
    counters = CountersFile(tmp_path / "counters")
    slot = counters.slot_for(name(1), OUT, set())
    counters.numbers[counters.base(slot) + file.SEQUENCE] = 4711
    counters.count_drop(list(Reason)[-1], 1.0, "x" * 1000)
    places = [counters.mode_base(row, worker) + at for worker in range(16) for row in range(4) for at in range(4)]
    assert len(set(places)) == 256
    assert all(counters.numbers[place] == 0 for place in places), "nobody else's"
    assert max(places) < counters.base(0)
    for number, place in enumerate(places):
        counters.numbers[place] = number
    assert counters.mode(3, 15) == (252, 253, 254, 255)
    assert (counters.drop(list(Reason)[-1])[0], sequence(counters, slot)) == (1, 4711)
    counters.zero()
    assert all(counters.mode(row, worker) == (0, 0, 0, 0) for row in range(4) for worker in range(16))

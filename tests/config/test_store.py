"""The saved configuration: whole at every instant, with its last fifty generations."""

import hashlib
import os
import random
import resource
import select
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest

from culvert.config.store import GENERATIONS_KEPT, Store, StoreError

KILLS = int(os.environ.get("CULVERT_STORE_KILLS", "60"))
LINES = 20_000


def stored(base: Path) -> Store:
    return Store(base / "culvert.conf", base / "history")


def whole(number: int) -> str:
    return f"begin {number}\n" + f"line {number}\n" * LINES + f"end {number}\n"


def test_save_load_and_history(tmp_path: Path) -> None:
    store = stored(tmp_path)
    assert store.load() is None
    for number in range(GENERATIONS_KEPT + 5):
        made = store.save(f"text {number}\n", 1000.0 + number, "an odd/user")
        assert made.number == number + 1
    assert store.load() == f"text {GENERATIONS_KEPT + 4}\n"
    kept = store.generations()
    assert len(kept) == GENERATIONS_KEPT
    assert kept[-1] == made
    assert (kept[0].number, kept[0].saved_at, kept[0].who) == (6, 1005.0, "an_odd_user")
    assert (kept[0].octets, kept[0].sha256) == (7, hashlib.sha256(b"text 5\n").hexdigest())
    assert store.read(6) == "text 5\n"
    with pytest.raises(StoreError, match="no saved generation 1"):
        store.read(1)


@pytest.mark.parametrize("text", ["", "no newline", "a\r\nb\rc\n\n", "ü€😀\n", "\x00\x7f\ufeff"])
def test_text_comes_back_exactly(tmp_path: Path, text: str) -> None:
    made = stored(tmp_path).save(text, 5.25, "me")
    again = stored(tmp_path)
    assert (again.load(), again.read(made.number), again.generations()) == (text, text, [made])


def test_files_are_private(tmp_path: Path) -> None:
    (tmp_path / "culvert.conf").write_text("old")
    (tmp_path / "culvert.conf").chmod(0o644)
    before = os.umask(0)
    try:
        stored(tmp_path).save("text", 1.0, "me")
    finally:
        os.umask(before)
    files = [tmp_path / "culvert.conf", *(tmp_path / "history").iterdir()]
    assert [stat.S_IMODE(path.stat().st_mode) for path in files] == [0o600, 0o600]
    assert stat.S_IMODE((tmp_path / "history").stat().st_mode) == 0o700


def test_generations_go_on_in_number_order(tmp_path: Path) -> None:
    history = tmp_path / "history"
    history.mkdir()
    (history / "99999999-1.000-me.conf").write_text("a")
    (history / "notes.txt").write_text("mine")
    store = stored(tmp_path)
    assert store.save("b", 2.0, "me").number == 100_000_000
    assert store.save("c", 3.0, "me").number == 100_000_001
    assert [own.number for own in store.generations()] == [99_999_999, 100_000_000, 100_000_001]
    assert (history / "notes.txt").read_text() == "mine"


def test_a_symbolic_link_is_written_through(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "culvert.conf").symlink_to(tmp_path / "real" / "site.conf")
    stored(tmp_path).save("text", 1.0, "me")
    assert (tmp_path / "culvert.conf").is_symlink()
    assert (tmp_path / "real" / "site.conf").read_text() == "text"


def test_leftovers_of_killed_saves_go_and_nothing_else(tmp_path: Path) -> None:
    stored(tmp_path).save("text", 1.0, "me")
    for directory in (tmp_path, tmp_path / "history"):
        (directory / ".culvert.conf.saving.123").write_text("half")
        (directory / ".other").write_text("mine")
    stored(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == [".other", "culvert.conf", "history"]
    assert sorted(path.name for path in (tmp_path / "history").iterdir()) == [".other", "00000001-1.000-me.conf"]
    assert stored(tmp_path).load() == "text"


def test_the_text_is_on_disk_before_it_has_the_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a kill can't show: the order of writes that a power failure would."""
    store = stored(tmp_path)
    steps: list[str] = []
    fsync, rename = os.fsync, Path.rename

    def synced(descriptor: int) -> None:
        path = Path(f"/proc/self/fd/{descriptor}").readlink()
        kind = "directory" if path.is_dir() else f"{path.stat().st_size} octets"
        steps.append(f"sync {kind} in {path.parent.name if path.is_file() else path.name}")
        fsync(descriptor)

    def renamed(self: Path, target: Path) -> Path:
        steps.append(f"name in {target.parent.name}")
        return rename(self, target)

    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(Path, "rename", renamed)
    store.save("12345", 1.0, "me")
    here = tmp_path.name
    assert steps == [
        "sync 5 octets in history",
        "name in history",
        f"sync 5 octets in {here}",
        f"name in {here}",
        "sync directory in history",
        f"sync directory in {here}",
    ]


def save_until_killed(base: Path, number: int, told: int) -> None:
    store = stored(base)
    while True:
        number += 1
        store.save(whole(number), 1.5, "tester")
        os.write(told, f"{number}\n".encode())


def killed_saver(base: Path, number: int) -> list[int]:
    """The saves that a child got acknowledged until it was killed, at a moment that nobody chose."""
    reading, told = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reading)
        try:
            save_until_killed(base, number, told)
        finally:
            os._exit(1)
    os.close(told)
    if random.random() < 0.75:
        # On a busy machine it takes a while until the child saves at all.
        select.select([reading], [], [], 10)
    time.sleep(random.uniform(0.005, 0.06))
    os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == -signal.SIGKILL
    with os.fdopen(reading) as lines:
        return [int(line) for line in lines.read().split()]


def test_kill_9_at_any_moment_leaves_a_whole_text(tmp_path: Path) -> None:
    stored(tmp_path).save(whole(0), 1.0, "tester")
    last = saves = leftovers = 0
    for _ in range(KILLS):
        acknowledged = killed_saver(tmp_path, last)
        saves += len(acknowledged)
        leftovers += sum(path.name.startswith(".") for path in tmp_path.rglob("*"))
        store = stored(tmp_path)
        text = store.load()
        assert text is not None
        number = int(text.split("\n", 1)[0].removeprefix("begin "))
        assert text == whole(number)
        # A save that nobody was told of may have landed; one that was acknowledged must have.
        assert number in (
            (acknowledged[-1] if acknowledged else last),
            (acknowledged[-1] if acknowledged else last) + 1,
        )
        newest = store.generations()[-1]
        assert newest.octets == len(store.read(newest.number)) and store.read(newest.number).endswith("\n")
        assert not [path for path in tmp_path.rglob("*") if path.name.startswith(".")]
        last = number
    for generation in stored(tmp_path).generations():
        text = stored(tmp_path).read(generation.number)
        assert text == whole(int(text.split("\n", 1)[0].removeprefix("begin ")))
    assert saves > KILLS / 4, "the children were killed too early for the test to mean anything"
    assert leftovers, "no kill fell into a save"


def test_a_file_size_limit_keeps_the_old_text(tmp_path: Path) -> None:
    store = stored(tmp_path)
    store.save("old\n", 1.0, "me")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))
    try:
        with pytest.raises(StoreError, match=r"history/00000002-2\.000-me\.conf: File too large; .* is as it was"):
            store.save("x" * 5000, 2.0, "me")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, before)
    assert store.load() == "old\n"
    assert [own.number for own in store.generations()] == [1]
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["00000001-1.000-me.conf", "culvert.conf", "history"]


# Runs in a mount namespace of its own, so the tiny disks are gone with the process.
ON_A_TINY_DISK = """
import subprocess, sys
from pathlib import Path
from culvert.config.store import Store, StoreError
config, history = Path(sys.argv[1]) / "config", Path(sys.argv[1]) / "history"
for name, size in ((config, sys.argv[2]), (history, sys.argv[3])):
    name.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", name], check=True)
store = Store(config / "culvert.conf", history)
number = 0
try:
    while number < 100:
        store.save(f"{number}\\n" * 4000, 1.0, "me")
        number += 1
except StoreError as error:
    print(error)
assert Store(config / "culvert.conf", history).load() == f"{number - 1}\\n" * 4000, "another text"
assert [own.number for own in store.generations()] == list(range(1, number + 1)), "a generation of a failed save"
assert not [left for at in (config, history) for left in at.iterdir() if left.name.startswith(".")], "left behind"
for at in (config, history):
    subprocess.run(["mount", "-o", "remount,ro", at], check=True)
store = Store(config / "culvert.conf", history)
try:
    store.save("new", 1.0, "me")
except StoreError as error:
    print(error)
assert store.load() == f"{number - 1}\\n" * 4000
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to mount a disk")
@pytest.mark.parametrize(("config", "history", "full"), [("1m", "200k", "history"), ("20k", "1m", "config")])
def test_full_and_read_only_disks_keep_the_last_text(tmp_path: Path, config: str, history: str, full: str) -> None:
    done = subprocess.run(
        ["unshare", "-m", "--propagation", "private", sys.executable, "-c", ON_A_TINY_DISK, tmp_path, config, history],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    first, second = done.stdout.splitlines()
    assert first.startswith(f"{tmp_path}/{full}/") and "No space left on device; " in first, first
    assert second.startswith(f"{tmp_path}/history/") and "Read-only file system; " in second, second


def test_a_missing_directory_is_told(tmp_path: Path) -> None:
    store = stored(tmp_path)
    (tmp_path / "history").rmdir()
    with pytest.raises(StoreError, match=r"history: No such file or directory"):
        store.save("x", 1.0, "me")
    assert store.load() is None
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match=r"file/history: Not a directory"):
        Store(tmp_path / "culvert.conf", tmp_path / "file" / "history")


def test_a_directory_in_the_place_of_the_configuration_is_told(tmp_path: Path) -> None:
    (tmp_path / "culvert.conf").mkdir()
    store = stored(tmp_path)
    with pytest.raises(StoreError, match="Is a directory"):
        store.load()
    with pytest.raises(StoreError, match="Is a directory; the saved configuration is as it was"):
        store.save("x", 1.0, "me")
    assert store.generations() == []


def test_a_directory_that_does_not_sync_is_told_as_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = stored(tmp_path)
    real = os.fsync

    def failing(descriptor: int) -> None:
        if Path(f"/proc/self/fd/{descriptor}").resolve().is_dir():
            raise OSError(5, "Input/output error")
        real(descriptor)

    monkeypatch.setattr(os, "fsync", failing)
    with pytest.raises(StoreError, match="Input/output error; it is saved, but may not survive a power failure"):
        store.save("new", 1.0, "me")
    assert store.load() == store.read(1) == "new"


def test_text_that_is_none_is_told(tmp_path: Path) -> None:
    store = stored(tmp_path)
    with pytest.raises(StoreError, match="character 1 of the configuration is half a character"):
        store.save("a\ud800", 1.0, "me")
    store.save("good", 1.0, "me")
    (tmp_path / "culvert.conf").write_bytes(b"ab\xff")
    with pytest.raises(StoreError, match=r"culvert\.conf: it is not UTF-8 text \(octet 2\)"):
        store.load()
    (tmp_path / "history" / "00000001-1.000-me.conf").write_bytes(b"\xff")
    with pytest.raises(StoreError, match="not UTF-8"):
        store.read(1)

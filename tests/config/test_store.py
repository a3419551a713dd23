"""The saved configuration: whole at every instant, with its last fifty generations."""

import os
import random
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from culvert.config.store import GENERATIONS_KEPT, Store, StoreError

KILLS = int(os.environ.get("CULVERT_STORE_KILLS", "40"))
SAVER = """
import sys
from pathlib import Path
from culvert.config.store import Store
base = Path(sys.argv[1])
store = Store(base / "culvert.conf", base / "history")
number = int(sys.argv[2])
while True:
    number += 1
    text = f"begin {number}\\n" + f"line {number}\\n" * 20000 + f"end {number}\\n"
    store.save(text, 1.5, "tester")
    print(number, flush=True)
"""


def stored(base: Path) -> Store:
    return Store(base / "culvert.conf", base / "history")


def test_save_load_and_history(tmp_path: Path) -> None:
    store = stored(tmp_path)
    assert store.load() is None
    for number in range(GENERATIONS_KEPT + 5):
        made = store.save(f"text {number}\n", 1000.0 + number, "an odd/user")
        assert made.number == number + 1
    assert store.load() == f"text {GENERATIONS_KEPT + 4}\n"
    kept = store.generations()
    assert len(kept) == GENERATIONS_KEPT
    assert (kept[0].number, kept[0].saved_at, kept[0].who) == (6, 1005.0, "an_odd_user")
    assert store.read(6) == "text 5\n"
    with pytest.raises(StoreError, match="no saved generation 1"):
        store.read(1)
    assert (tmp_path / "culvert.conf").stat().st_mode & 0o777 == 0o600


def test_kill_9_at_any_moment_leaves_a_whole_text(tmp_path: Path) -> None:
    acknowledged = 0
    for _ in range(KILLS):
        child = subprocess.Popen(
            [sys.executable, "-c", SAVER, str(tmp_path), str(acknowledged)], stdout=subprocess.PIPE, text=True
        )
        assert child.stdout is not None
        child.stdout.readline()
        time.sleep(random.uniform(0, 0.02))
        child.send_signal(signal.SIGKILL)
        rest = child.stdout.read().split()
        child.wait()
        acknowledged = int(rest[-1]) if rest else acknowledged + 1
        text = stored(tmp_path).load()
        assert text is not None
        lines = text.splitlines()
        number = int(lines[0].removeprefix("begin "))
        assert lines[-1] == f"end {number}"
        assert len(lines) == 20002
        # A save that was not acknowledged any more may have landed, an acknowledged one must have.
        assert number in (acknowledged, acknowledged + 1)
        assert not [left for left in tmp_path.iterdir() if left.name.startswith(".")]
        acknowledged = number


def test_a_full_disk_keeps_the_old_text(tmp_path: Path) -> None:
    store = stored(tmp_path)
    store.save("old\n", 1.0, "me")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))
    try:
        with pytest.raises(StoreError, match="as it was"):
            store.save("x" * 5000, 2.0, "me")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, before)
    assert store.load() == "old\n"
    assert [own.number for own in store.generations()] == [1]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["culvert.conf", "history"]


def test_a_missing_history_is_told(tmp_path: Path) -> None:
    store = stored(tmp_path)
    (tmp_path / "history").rmdir()
    with pytest.raises(StoreError, match="No such file or directory"):
        store.save("x", 1.0, "me")
    assert store.load() is None


def test_wrong_utf8_is_told(tmp_path: Path) -> None:
    (tmp_path / "culvert.conf").write_bytes(b"\xff")
    with pytest.raises(StoreError, match="not UTF-8"):
        stored(tmp_path).load()

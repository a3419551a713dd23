"""The journal of what there is to undo."""

from pathlib import Path

from culvert.dataplane.userspace.journal import Journal


def test_first_note_stays(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "j", scope="here")
    journal.remember("mtu wan", 1500)
    journal.remember("mtu wan", 1400)
    assert journal.entries == {"mtu wan": 1500}


def test_successor_inherits_in_order(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "j", scope="here")
    for key in ("a", "b", "c"):
        journal.remember(key, key)
    journal.forget("b")
    heir = Journal(tmp_path / "j", scope="here")
    assert list(heir.entries.items()) == [("a", "a"), ("c", "c")]
    assert heir.inherited == {"a", "c"}
    heir.remember("a", "new")
    assert heir.inherited == {"c"}
    assert heir.entries["a"] == "a"


def test_other_boot_or_namespace_has_nothing_to_undo(tmp_path: Path) -> None:
    Journal(tmp_path / "j", scope="here").remember("a")
    assert Journal(tmp_path / "j", scope="there").entries == {}


def test_torn_last_line_is_ignored(tmp_path: Path) -> None:
    Journal(tmp_path / "j", scope="here").remember("a")
    with (tmp_path / "j").open("a") as file:
        file.write('{"key": "b", "val')
    assert Journal(tmp_path / "j", scope="here").entries == {"a": None}


def test_garbage_is_an_empty_journal(tmp_path: Path) -> None:
    (tmp_path / "j").write_bytes(b"\xff\xfe\x00")
    assert Journal(tmp_path / "j", scope="here").entries == {}


def test_file_goes_when_nothing_is_left(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "j", scope="here")
    journal.remember("a")
    journal.forget("a")
    journal.close()
    assert not (tmp_path / "j").exists()

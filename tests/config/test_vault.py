"""The master key and what is sealed under it."""

import base64
import os
import pickle
import re
import stat
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from culvert.config.vault import Vault, VaultError
from culvert.ipsec.secret import Secret


def test_seal_and_unseal(tmp_path: Path) -> None:
    vault = Vault.open(tmp_path / "deep" / "master.key")
    sealed = vault.seal(Secret(b"the key text"))
    assert sealed.startswith("$M$")
    assert sealed[5] == "$"
    assert "the key" not in sealed
    assert vault.unseal(sealed) == Secret(b"the key text")
    assert Vault.open(tmp_path / "deep" / "master.key").unseal(sealed) == Secret(b"the key text")
    assert vault.seal(Secret(b"the key text")) != sealed


def test_the_sealed_form_is_the_documented_one(tmp_path: Path) -> None:
    vault = Vault.open(tmp_path / "master.key")
    sealed = vault.seal(Secret(b"the key text"))
    assert re.fullmatch(r"\$M\$[A-Za-z0-9]{2}\$[A-Za-z0-9+/]+={0,2}", sealed)
    body = base64.b64decode(sealed[6:])
    master = (tmp_path / "master.key").read_bytes()
    assert AESGCM(master).decrypt(body[:12], body[12:], sealed[:6].encode()) == b"the key text"
    assert len(body) == 12 + len(b"the key text") + 16


def test_nonces_and_heads_are_not_repeated(tmp_path: Path) -> None:
    vault = Vault.open(tmp_path / "master.key")
    sealed = [vault.seal(Secret(b"x")) for _ in range(500)]
    assert len({base64.b64decode(text[6:])[:12] for text in sealed}) == 500
    assert len({text[3:5] for text in sealed}) > 100


@pytest.mark.parametrize("octets", [b"", b"x", bytes(range(256)), b"\xff\x00" * 5000])
def test_any_octets_come_back(tmp_path: Path, octets: bytes) -> None:
    vault = Vault.open(tmp_path / "master.key")
    assert vault.unseal(vault.seal(Secret(octets))) == Secret(octets)


def test_the_key_is_made_once_and_then_stays(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        Vault.open(tmp_path / "state" / "master.key")
    finally:
        os.umask(before)
    octets = (tmp_path / "state" / "master.key").read_bytes()
    Vault.open(tmp_path / "state" / "master.key")
    assert (tmp_path / "state" / "master.key").read_bytes() == octets
    assert [path.name for path in (tmp_path / "state").iterdir()] == ["master.key"]
    assert stat.S_IMODE((tmp_path / "state").stat().st_mode) == 0o700
    Vault.open(tmp_path / "other.key")
    assert (tmp_path / "other.key").read_bytes() != octets


def test_a_key_that_another_process_made_meanwhile_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "master.key"
    theirs = b"k" * 32
    link = Path.hardlink_to

    def late(self: Path, target: Path) -> None:
        path.write_bytes(theirs)
        path.chmod(0o600)
        link(self, target)

    monkeypatch.setattr(Path, "hardlink_to", late)
    sealed = Vault.open(path).seal(Secret(b"x"))
    assert path.read_bytes() == theirs
    assert Vault(Secret(theirs)).unseal(sealed) == Secret(b"x")


def test_the_key_is_on_disk_before_it_has_the_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    steps: list[str] = []
    fsync, link = os.fsync, Path.hardlink_to

    def synced(descriptor: int) -> None:
        path = Path(f"/proc/self/fd/{descriptor}").readlink()
        steps.append("directory" if path.is_dir() else f"{path.stat().st_size} octets")
        fsync(descriptor)

    def linked(self: Path, target: Path) -> None:
        steps.append("name")
        link(self, target)

    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(Path, "hardlink_to", linked)
    Vault.open(tmp_path / "master.key")
    assert steps == ["32 octets", "name", "directory"]


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to give a file away")
def test_a_key_of_another_user_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "master.key"
    Vault.open(path)
    os.chown(path, 65534, -1)
    with pytest.raises(VaultError, match=r"belongs to another user \(uid 65534\)"):
        Vault.open(path)


def test_what_is_no_file_is_refused_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe", 0o600)
    with pytest.raises(VaultError, match="it is not a file"):
        Vault.open(tmp_path / "pipe")
    (tmp_path / "file").write_text("")
    with pytest.raises(VaultError, match=r"file/master\.key: File exists"):
        Vault.open(tmp_path / "file" / "master.key")


def test_nothing_shows_or_carries_the_key_away(tmp_path: Path) -> None:
    vault = Vault.open(tmp_path / "master.key")
    assert repr(vault) == str(vault) == "Vault(...)"
    with pytest.raises(TypeError):
        pickle.dumps(vault)


def test_the_key_file_is_private(tmp_path: Path) -> None:
    path = tmp_path / "master.key"
    Vault.open(path)
    assert path.stat().st_mode & 0o777 == 0o600
    assert len(path.read_bytes()) == 32
    for mode in (0o640, 0o604, 0o620, 0o602):
        path.chmod(mode)
        with pytest.raises(VaultError, match="others than its owner may read it"):
            Vault.open(path)
    path.chmod(0o600)
    for octets in (b"short", b"", b"x" * 33):
        path.write_bytes(octets)
        with pytest.raises(VaultError, match=f"it has {len(octets)} octets, not 32"):
            Vault.open(path)


@pytest.mark.parametrize(
    "damage", ["", "$M$ab$", "$M$ab$!!!!", "$M$ab$AAAA", "$X$ab$AAAA", "plain", "$M$ab$\u00fc\u00fc", "$M$a\ud800$AAAA"]
)
def test_garbled_texts_are_refused_and_not_quoted(tmp_path: Path, damage: str) -> None:
    with pytest.raises(VaultError) as caught:
        Vault.open(tmp_path / "master.key").unseal(damage)
    assert not damage or damage not in str(caught.value)


def test_every_flipped_character_is_found(tmp_path: Path) -> None:
    vault = Vault.open(tmp_path / "master.key")
    sealed = vault.seal(Secret(b"k" * 20))
    for position in range(len(sealed)):
        flipped = sealed[:position] + ("A" if sealed[position] != "A" else "B") + sealed[position + 1 :]
        if flipped.rstrip("=") == sealed.rstrip("="):
            continue
        with pytest.raises(VaultError):
            vault.unseal(flipped)


def test_another_systems_text_is_refused(tmp_path: Path) -> None:
    sealed = Vault.open(tmp_path / "one").seal(Secret(b"x"))
    with pytest.raises(VaultError, match="another system's master key; type the key again"):
        Vault.open(tmp_path / "two").unseal(sealed)
    assert repr(Vault.open(tmp_path / "two")) == "Vault(...)"

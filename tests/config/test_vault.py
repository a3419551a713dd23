"""The master key and what is sealed under it."""

from pathlib import Path

import pytest

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


def test_the_key_file_is_private(tmp_path: Path) -> None:
    path = tmp_path / "master.key"
    Vault.open(path)
    assert path.stat().st_mode & 0o777 == 0o600
    assert len(path.read_bytes()) == 32
    path.chmod(0o640)
    with pytest.raises(VaultError, match="others than its owner may read it"):
        Vault.open(path)
    path.chmod(0o600)
    path.write_bytes(b"short")
    with pytest.raises(VaultError, match="it has 5 octets, not 32"):
        Vault.open(path)


@pytest.mark.parametrize("damage", ["", "$M$ab$", "$M$ab$!!!!", "$M$ab$AAAA", "$X$ab$AAAA", "plain"])
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

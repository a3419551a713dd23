"""Key octets: compared, named and wiped, never shown."""

import pickle
from typing import Any

import pytest

from culvert.ipsec.secret import Secret


def test_only_reveal_gives_the_octets() -> None:
    assert Secret(b"0123456789").reveal() == b"0123456789"
    assert len(Secret(b"0123456789")) == 10
    assert f"{Secret(b'abc')} {Secret(b'abc')!r} {Secret(b'abc'):>30}" == " ".join(["Secret(3 octets)"] * 3)


def test_a_secret_does_not_follow_the_octets_it_was_made_of() -> None:
    octets = bytearray(b"key")
    secret = Secret(octets)
    octets[0] = 0
    assert secret.reveal() == b"key"


def test_equality_and_hash() -> None:
    assert Secret(b"a") == Secret(b"a") and hash(Secret(b"a")) == hash(Secret(b"a"))
    assert Secret(b"a") != Secret(b"b") and Secret(b"a") != Secret(b"aa")
    other: Any = b"a"
    assert Secret(b"a") != other


def test_wipe_overwrites() -> None:
    secret = Secret(b"key")
    secret.wipe()
    assert secret.reveal() == bytes(3)


def test_digests_tell_keys_and_uses_apart() -> None:
    digests = {Secret(key).digest(label) for key in (b"a", b"b") for label in (b"x", b"y")}
    assert len(digests) == 4 and {len(digest) for digest in digests} == {32}


def test_no_pickle() -> None:
    with pytest.raises(TypeError, match="can't be pickled"):
        pickle.dumps(Secret(b"key"))

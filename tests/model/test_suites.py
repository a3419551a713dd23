"""Suites: only pairs that make sense, and strong ones."""

import pytest

from culvert.ipsec.algorithms import AUTHS, CIPHERS, NONE
from culvert.model.suites import SUITES, Suite, suite_of


@pytest.mark.parametrize("suite", SUITES, ids=lambda own: own.word)
def test_a_suite_encrypts_and_authenticates_and_is_not_weak(suite: Suite) -> None:
    cipher = CIPHERS[suite.encrypt]
    assert cipher.combined is (suite.auth == NONE)
    assert cipher.key_octets == suite.encrypt_octets > 0
    assert not cipher.standing.is_weak
    if suite.auth != NONE:
        assert AUTHS[suite.auth].key_octets == suite.auth_octets > 0
        assert not AUTHS[suite.auth].standing.is_weak and not AUTHS[suite.auth].only_ah
    assert suite.vendor is (suite.auth == "sha1")


def test_words_tell_suites_apart() -> None:
    assert len({own.word for own in SUITES}) == len(SUITES)
    assert Suite("aes256", "sha256").word == "aes256+sha256"
    assert Suite("aes-gcm128").word == "aes-gcm128"
    assert Suite("aes-gcm128").counter and not Suite("aes128", "sha1").counter


def test_the_suite_of_algorithms() -> None:
    assert suite_of("aes256", "sha256") == Suite("aes256", "sha256")
    assert suite_of("3des", "md5") == Suite("3des", "md5"), "whatever an association has"
    assert suite_of("rot13", "sha1") is None
    assert suite_of("aes256", "crc32") is None

"""Keys in clear in what is kept: hidden where it is listed, refused in IPsec, and never quoted."""

import pytest
from sealing import configured

from culvert.config import transaction as tx
from culvert.model import clear_keys
from culvert.model.problems import Invalid

SERVER = "auth radius-server /Common/r {{\n    secret {}\n    server 192.0.2.9\n}}"
PEER = "net ipsec ike-peer /Common/p {{\n    {}\n    state disabled\n}}"


@pytest.mark.parametrize(
    ("written", "shown"),
    [
        ("secret open-sesame", "secret ********"),
        ('secret "open { \\" sesame"', "secret ********"),
        ("bind-password x1 { }", "bind-password ******** { }"),
        ("{ passphrase x1 }", "{ passphrase ******** }"),
        ("proxy-ca-key x1\n    depth 2", "proxy-ca-key ********\n    depth 2"),
        ("secret-encrypted x1", "secret-encrypted ********"),
        ("secret $M$3b$abc==", "secret $M$3b$abc=="),
        ("encrypted-password $6$salt$hash", "encrypted-password $6$salt$hash"),
        ("passphrase none", "passphrase none"),
        ("key /Common/default.key", "key /Common/default.key"),
        ('description "the secret is out"', 'description "the secret is out"'),
        ("description secret\n    mtu 9", "description secret\n    mtu 9"),
    ],
)
def test_what_is_hidden(written: str, shown: str) -> None:
    assert clear_keys.hide(written) == shown


@pytest.mark.parametrize(
    "line",
    [
        'preshared-key "open sesame"',
        "preshared-key open-sesame",
        "preshared-key-encrypted open-sesame",
        "my-cert-key-passphrase open-sesame",
    ],
)
def test_a_key_of_ipsec_in_clear_is_an_error_that_doesnt_quote_it(line: str) -> None:
    with pytest.raises(Invalid) as caught:
        configured(PEER.format(f"lifetime 7\n    {line}"))
    (problem,) = caught.value.problems
    assert (problem.word, problem.line, problem.column) == (line.split()[0], 3, 5)
    assert "-encrypted $M$..., or leave it out" in problem.sentence
    assert "sesame" not in str(problem)


def test_a_sealed_key_of_ipsec_is_kept() -> None:
    stanza = PEER.format("preshared-key-encrypted $M$70$abc==\n    my-cert-key-passphrase none")
    assert stanza in tx.saved_text(configured(stanza))


def test_other_keys_are_saved_as_they_were() -> None:
    stanza = SERVER.format('"open sesame"')
    assert stanza in tx.saved_text(configured(stanza))


def test_what_was_listed_is_not_taken_for_the_key() -> None:
    with pytest.raises(Invalid, match="needs the value itself"):
        configured(SERVER.format(clear_keys.HIDDEN))


def test_a_program_is_no_list_of_properties() -> None:
    rule = "ltm rule /Common/r {\n    when CLIENT_ACCEPTED { set password ******** }\n}"
    assert rule in tx.saved_text(configured(rule))

"""What remembers a line remembers no key."""

import pytest

from culvert.tmsh.keys import without_keys


@pytest.mark.parametrize(
    "line",
    [
        'create net ipsec manual-security-association a auth-key "se cret\\" x" encrypt-key 0xsecret',
        "modify net ipsec manual-security-association a { auth-key secret }",
        "mod net ipsec man a encrypt-k secret",
        'mod net ipsec man a auth-key "secret never closed',
        "create net ipsec ike-peer p preshared-key secret",
        'modify net ipsec manual-security-association a auth-key"secret"',
        'modify net ipsec manual-security-association a "auth-key" "secret"',
        'modify net ipsec manual-security-association a authkey "secret"',
        "modify net ipsec manual-security-association a auth_key secret",
        "modify net ipsec manual-security-association a auth-key { secret }",
        'modify net ipsec manual-security-association a auth "secret"',
        'modify net ipsec manual-security-association a key="secret"',
        'create auth user jo password "secret"',
        "create auth user jo password secret",
    ],
)
def test_keys_are_left_out(line: str) -> None:
    shown = without_keys(line)
    assert "secret" not in shown.replace("se cret", "secret")
    assert '"..."' in shown
    assert shown.split()[0] == line.split()[0]


def test_a_long_number_is_left_out_wherever_it_stands() -> None:
    assert "0123456789" not in without_keys("modify net ipsec manual-security-association a aut 0x0123456789abcdef0123")


def test_other_words_stay() -> None:
    line = "list net ipsec manual-security-association sa auth-algorithm encrypt-algorithm"
    assert without_keys(line) == line


def test_a_description_stays() -> None:
    line = 'modify net ipsec ipsec-policy p description "to the key store"'
    assert without_keys(line) == line

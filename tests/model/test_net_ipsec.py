"""The rules and the advice of `net ipsec`, beyond what the vendor has."""

import json
from pathlib import Path

import pytest
from sealing import READER, SITE_A, TWO_POLICIES, configured

from culvert.config import transaction as tx
from culvert.config.transaction import Transaction, saved_text
from culvert.ipsec.algorithms import AUTHS, CIPHERS
from culvert.model import text, weak_keys
from culvert.model.problems import Invalid
from culvert.model.registry import KINDS
from culvert.model.text import Style

POLICY = KINDS["net", "ipsec", "ipsec-policy"]
SA = KINDS["net", "ipsec", "manual-security-association"]
SELECTOR = KINDS["net", "ipsec", "traffic-selector"]
PUBLISHED = json.loads((Path(__file__).parents[1] / "vectors" / "published.json").read_text())
ENDS = {"source-address": "2.2.2.2", "destination-address": "3.3.3.3", "ipsec-policy": "pol-out"}


def digits(octets: int, first: int = 1) -> str:
    """Key text that repeats nothing."""
    return "0x" + bytes((first + 37 * at) % 251 for at in range(octets)).hex()


def sa(**properties: str) -> dict[str, str]:
    keys = {"spi": "5000", "auth-key": digits(20), "encrypt-key": digits(16, 7)}
    return {**ENDS, **keys, **{word.replace("_", "-"): value for word, value in properties.items()}}


def create(properties: dict[str, str], base: str = TWO_POLICIES) -> Transaction:
    work = Transaction(configured(base), READER)
    work.create(SA, "extra", properties)
    work.check()
    return work


def refusal(properties: dict[str, str], base: str = TWO_POLICIES) -> str:
    with pytest.raises(Invalid) as caught:
        create(properties, base)
    return str(caught.value)


@pytest.mark.parametrize("cipher", CIPHERS)
def test_every_cipher_of_the_table_is_a_value(cipher: str) -> None:
    row = CIPHERS[cipher]
    key = digits(row.key_octets) if row.key_octets else "none"
    given = sa(encrypt_algorithm=cipher, encrypt_key=key)
    if row.combined:
        del given["auth-key"]
    made = create(given).current.get(SA.path, "/Common/extra")
    assert made is not None
    # A cipher that authenticates by itself says so where the user said nothing.
    assert made["auth-algorithm"] == ("none" if row.combined else "sha1")


@pytest.mark.parametrize("auth", AUTHS)
def test_every_integrity_algorithm_of_the_table_is_a_value_for_ah(auth: str) -> None:
    base = TWO_POLICIES.replace("mode tunnel", "protocol ah\n    mode tunnel")
    given = sa(protocol="ah", auth_algorithm=auth, auth_key=digits(AUTHS[auth].key_octets))
    del given["encrypt-key"]
    create(given, base)
    if AUTHS[auth].only_ah:
        told = refusal(sa(auth_algorithm=auth, auth_key=digits(AUTHS[auth].key_octets)))
        assert f"in ESP {auth} is an encrypt-algorithm (RFC 4543 section 3)" in told


@pytest.mark.parametrize(
    ("properties", "told"),
    [
        ({"auth_algorithm": "none", "auth_key": "none"}, "encryption without authentication is refused (RFC 8221"),
        (
            {"encrypt_algorithm": "null", "encrypt_key": "none", "auth_algorithm": "none", "auth_key": "none"},
            "encryption without authentication is refused",
        ),
        (
            {"encrypt_algorithm": "aes-gcm128", "encrypt_key": digits(20), "auth_algorithm": "sha256"},
            "sha256 beside aes-gcm128, which authenticates by itself; allowed: none",
        ),
        ({"encrypt_algorithm": "aes-gcm128", "encrypt_key": digits(16)}, "of which the last 4 octets are the salt"),
        ({"auth_algorithm": "sha256"}, "sha256 needs 32 characters, or 0x and 64 hexadecimal digits"),
        (
            {"extended_sequence_numbers": "enabled", "replay_window_size": "0"},
            "0 is not allowed with extended-sequence-numbers",
        ),
        ({"replay_window_size": "4097"}, "a number from 0 to 4096"),
        ({"lifetime_bytes": "10", "soft_lifetime_bytes": "10"}, "10 is not below lifetime-bytes, which is 10"),
        ({"encrypt_algorithm": "blowfish"}, '"blowfish" is not allowed (RFC 8221 section 5'),
    ],
)
def test_refused(properties: dict[str, str], told: str) -> None:
    assert told in refusal(sa(**properties))


def test_ah_without_algorithm_is_refused() -> None:
    base = TWO_POLICIES.replace("mode tunnel", "protocol ah\n    mode tunnel")
    given = sa(protocol="ah", auth_algorithm="none", auth_key="none")
    assert "AH is nothing but authentication" in refusal(given, base)


def test_a_counter_mode_key_is_in_one_association_only() -> None:
    given = sa(encrypt_algorithm="aes-gcm256", encrypt_key=digits(36))
    del given["auth-key"]
    work = create(given)
    work.create(SA, "other", given | {"spi": "5001"})
    with pytest.raises(Invalid, match="the key is that of /Common/"):
        work.check()


@pytest.mark.parametrize("case", PUBLISHED["configuration"]["key_lengths"], ids=lambda case: case["alg"])
def test_key_lengths_as_published(case: dict[str, object]) -> None:
    """Every length that an RFC allows is allowed, with the salt where there is one, and no other."""
    ours = {
        "aes-cbc": ("aes128", "aes192", "aes256"),
        "aes-ctr": ("aes-ctr128", "aes-ctr192", "aes-ctr256"),
        "aes-gcm": ("aes-gcm128", "aes-gcm192", "aes-gcm256"),
        "aes-gmac": ("aes-gmac128", "aes-gmac192", "aes-gmac256"),
        "aes-ccm": ("aes-ccm128", "aes-ccm192", "aes-ccm256"),
        "chacha20-poly1305": ("chacha20-poly1305",),
        "3des-cbc": ("3des",),
        "des-cbc": (),
        "hmac-md5-96": ("md5",),
        "hmac-sha1-96": ("sha1",),
        "hmac-sha256-128": ("sha256",),
        "hmac-sha384-192": ("sha384",),
        "hmac-sha512-256": ("sha512",),
        "aes-xcbc-96": ("aes-xcbc",),
        "aes-cmac-96": ("aes-cmac",),
    }[str(case["alg"])]
    table = AUTHS if case["field"] == "authentication" else CIPHERS
    if ours:
        assert sorted(table[name].key_octets for name in ours) == case["octets_accepted"]


def test_weak_3des_keys_as_published_are_refused() -> None:
    weak = PUBLISHED["configuration"]["weak_des_keys"]
    thirds = [*weak["weak"], *(key for pair in weak["semi_weak_pairs"] for key in pair)]
    assert len(set(thirds)) == len(weak_keys.WEAK_DES_KEYS) == 16
    good = ("133457799bbcdff1", "23456789abcdef01", "456789abcdef0123")
    for third in thirds:
        # Parity says nothing about a key: without it the key is as weak.
        for spelled in (third, bytes(octet ^ 1 for octet in bytes.fromhex(third)).hex()):
            told = refusal(sa(encrypt_algorithm="3des", encrypt_key="0x" + good[0] + spelled + good[1]))
            assert "weak or semi-weak DES keys (RFC 2451 section 2.3)" in told
            assert spelled not in told
    for key in PUBLISHED["configuration"]["degenerate_3des"]:
        assert "makes it single DES" in refusal(sa(encrypt_algorithm="3des", encrypt_key="0x" + key))
    create(sa(encrypt_algorithm="3des", encrypt_key="0x" + "".join(good)))


def advice(properties: dict[str, str]) -> str:
    return "\n".join(map(str, create(properties).advice()))


@pytest.mark.parametrize(
    ("properties", "told"),
    [
        (
            {"encrypt_algorithm": "3des", "encrypt_key": digits(24)},
            "3des SHOULD NOT be used any more: blocks of 64 bits",
        ),
        ({"auth_algorithm": "md5", "auth_key": digits(16)}, "md5 MUST NOT be used any more"),
        ({"auth_algorithm": "sha256-96", "auth_key": digits(32)}, "RFC 4868 has 128 bits"),
        ({"encrypt_algorithm": "null", "encrypt_key": "none"}, "null hides nothing"),
        ({"replay_window_size": "0"}, "0 lets anybody send recorded packets again"),
        ({"auth_key": "abababababababababab"}, "auth-key: the key is a short pattern again and again"),
        ({"encrypt_key": "0x" + "12" * 16}, "encrypt-key: the key is a short pattern"),
        ({"auth_key": digits(20), "encrypt_key": digits(16)}, ""),
        ({}, ""),
    ],
)
def test_advice(properties: dict[str, str], told: str) -> None:
    given = advice(sa(**properties))
    assert told in given if told else given == ""


def test_the_manuals_own_destination_is_a_group_and_taken() -> None:
    ends = {"source_address": "fd00::1", "destination_address": "ffe1::0020/64", "ipsec_policy": "default-ipsec-policy"}
    work = create(sa(**ends))
    made = work.current.get(SA.path, "/Common/extra")
    assert made is not None
    assert made.raw()["destination-address"] == "ffe1::20/64"
    (told,) = map(str, work.advice())
    assert "destination-address: ffe1::20 is a multicast group" in told
    assert "any6 is not an address of a system" in refusal(sa(**ends | {"destination_address": "any6"}))


def test_a_key_that_two_associations_share_is_told() -> None:
    work = create(sa())
    work.create(SA, "other", sa() | {"spi": "5001"})
    work.check()
    told = "\n".join(map(str, work.advice()))
    assert "a key is used in /Common/other too" in told
    assert "a key is used in /Common/extra too" in told


@pytest.mark.parametrize(
    ("properties", "told"),
    [
        ({"udp-encapsulation": "enabled", "protocol": "ah"}, "only ESP goes in UDP"),
        ({"udp-encapsulation": "enabled", "bundle-ah": "enabled"}, "only ESP goes in UDP"),
        ({"bundle-ah": "enabled", "protocol": "ah"}, "protocol has to be esp"),
        ({"dscp": "64"}, "a number from 0 to 63"),
        ({"df-bit": "maybe"}, "allowed: copy, set, clear"),
        ({"hop-limit": "0"}, "a number from 1 to 255"),
    ],
)
def test_policies_refused(properties: dict[str, str], told: str) -> None:
    work = Transaction(configured(""), READER)
    with pytest.raises(Invalid) as caught:
        work.create(POLICY, "p", properties)
        work.check()
    assert told in str(caught.value)


def selector(**properties: str) -> dict[str, str]:
    given = {word.replace("_", "-"): value for word, value in properties.items()}
    ends = {"source-address": "10.1.0.0/24", "destination-address": "10.2.0.0/24", "ipsec-policy": "pol-out"}
    return {**ends, "direction": "out", **given}


@pytest.mark.parametrize(
    ("properties", "told"),
    [
        ({"source_port": "9-8"}, '"9-8" is not allowed'),
        ({"source_port": "1-65536"}, "a number from 1 to 65535"),
        ({"source_port": "0-5"}, '"0-5" is not allowed'),
        ({"icmp_type": "8"}, "is for ip-protocol 1 of IPv4 only, not 255"),
        ({"icmp_type": "256", "ip_protocol": "icmp"}, "from 0 to 255"),
        ({"icmp_code": "1", "ip_protocol": "icmp"}, "a code means nothing without its icmp-type"),
        ({"destination_port": "80", "ip_protocol": "icmp"}, "ip-protocol 1 has no ports"),
    ],
)
def test_selectors_refused(properties: dict[str, str], told: str) -> None:
    work = Transaction(configured(TWO_POLICIES), READER)
    with pytest.raises(Invalid) as caught:
        work.create(SELECTOR, "s", selector(**properties))
        work.check()
    assert told in str(caught.value)


def test_ranges_and_types_list_and_load_again() -> None:
    work = Transaction(configured(TWO_POLICIES), READER)
    work.create(SELECTOR, "s", selector(ip_protocol="tcp", source_port="1000-1999", destination_port="https"))
    work.create(SELECTOR, "i", selector(ip_protocol="icmp", icmp_type="8", icmp_code="0-1"))
    made = work.check()
    again = tx.read_file(saved_text(made), tx.SHIPPED, READER).check()
    assert again == made
    lines = text.render(SELECTOR, "s", made.objects[SELECTOR.path]["/Common/s"].raw(), Style("/Common"))
    assert "source-port 1000-1999" in lines
    assert "destination-port https" in lines
    lines = text.render(SELECTOR, "i", made.objects[SELECTOR.path]["/Common/i"].raw(), Style("/Common"))
    assert "icmp-code 0-1" in lines
    assert "icmp-type 8" in lines


def test_a_file_of_the_vendor_lists_without_a_word_of_ours() -> None:
    ours = {own.word for kind in (POLICY, SA, SELECTOR) for own in kind.fields if own.beyond}
    assert len(ours) > 20
    assert not ours & set(saved_text(configured(SITE_A)).split())


def test_a_counter_mode_key_is_found_however_it_is_spelled() -> None:
    """In other letters, as characters, or with another salt: to the cipher it is one key."""
    octets = b"abcdefghijklmnop" + b"salt"
    spellings = ["0x" + octets.hex().upper(), octets.decode(), "0x" + (octets[:-4] + b"SALT").hex()]
    given = sa(encrypt_algorithm="aes-gcm128", encrypt_key="0x" + octets.hex())
    del given["auth-key"]
    for spelling in spellings:
        work = create(given)
        work.create(SA, "other", given | {"spi": "5001", "encrypt-key": spelling})
        with pytest.raises(Invalid, match="the key is that of /Common/"):
            work.check()


@pytest.mark.parametrize(
    ("properties", "told"),
    [
        ({"tfc-padding": "300"}, "only ESP in tunnel mode can pad packets"),
        ({"dummy-interval": "9", "protocol": "ah"}, "only ESP by itself has dummy packets"),
        ({"dummy-interval": "9", "bundle-ah": "enabled"}, "only ESP by itself has dummy packets"),
    ],
)
def test_what_would_hide_nothing_is_refused(properties: dict[str, str], told: str) -> None:
    work = Transaction(configured(""), READER)
    work.create(POLICY, "p", properties)
    with pytest.raises(Invalid, match=told):
        work.check()


def test_properties_that_do_nothing_are_told() -> None:
    work = Transaction(configured(""), READER)
    work.create(POLICY, "p", {"df-bit": "set", "udp-port": "4501", "ipcomp-cpi": "300"})
    work.check()
    told = "\n".join(map(str, work.advice()))
    assert [word for word in ("df-bit", "udp-port", "ipcomp-cpi") if f"{word}: does nothing here" not in told] == []

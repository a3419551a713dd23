"""One ESP packet sealed, one opened; the published packets; and everything that can be wrong with one."""

import hmac
import struct
from ipaddress import ip_address
from typing import Any

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from hypothesis import given, settings
from hypothesis import strategies as st

from culvert.ipsec.algorithms import CIPHERS, NONE, BadKeyLength, UnknownAlgorithm
from culvert.ipsec.drops import Reason
from culvert.ipsec.esp import Layout, Opener, Payload, Sealer, Unauthenticated, layout
from culvert.ipsec.gateway import Gateway
from culvert.ipsec.replay import Window
from culvert.ipsec.sa import Direction
from tests.ipsec.building import (
    AUTH_KEY,
    AUTH_KEYS,
    CIPHER_KEYS,
    NOW,
    SPI,
    delivered,
    dice,
    dropped,
    make_policy,
    make_sa,
)
from tests.ipsec.published import EspAnswer, esp_answers, octets_that_give_iv

SEPARATE = [name for name, row in CIPHERS.items() if not row.combined]
ONE_OF_EACH = [
    "null",
    "3des",
    "aes128",
    "aes-ctr256",
    "aes-gcm128",
    "aes-ccm192-icv8",
    "aes-gmac256",
    "chacha20-poly1305",
]
ANSWERS = esp_answers()
WITH_CIPHER = [answer for answer in ANSWERS if answer.cipher != "null"]


def icv(authenticated: bytes) -> bytes:
    return hmac.digest(AUTH_KEY, authenticated, "sha1")[:12]


def decrypted(cipher: str, key: bytes, octets: bytes) -> bytes:
    prepare = CIPHERS[cipher].prepare
    assert prepare is not None
    return prepare(key, dice()).decrypt(octets)


def encrypted(cipher: str, key: bytes, clear: bytes, sequence: int, chosen: bytes | None = None) -> bytes:
    prepare = CIPHERS[cipher].prepare
    assert prepare is not None
    return prepare(key, dice() if chosen is None else lambda _count: chosen).encrypt(sequence, clear)


def sealed_by_hand(cipher: str, clear: bytes, sequence: int = 1) -> bytes:
    """An authentic ESP packet around a clear text of any shape."""
    authenticated = struct.pack("!II", SPI, sequence) + encrypted(cipher, CIPHER_KEYS[cipher], clear, sequence)
    return authenticated + icv(authenticated)


def opener(cipher: str = "aes128", **sa: Any) -> Opener:
    return Opener(make_sa(Direction.IN, cipher=cipher, **sa))


def sealer(cipher: str = "aes128", **sa: Any) -> Sealer:
    return Sealer(make_sa(Direction.OUT, cipher=cipher, **sa), dice())


def seal(cipher: str, sequence: int, next_header: int, payload: bytes, **sa: Any) -> bytes:
    return sealer(cipher, **sa).seal(b"", sequence, next_header, payload)


def opened(ready: Opener, window: Window, packet: bytes) -> Payload | Reason:
    """Between other octets, which are none of its business."""
    return ready.open(window, b"before" + packet + b"behind", 6, 6 + len(packet))


@pytest.mark.parametrize("cipher", CIPHERS)
@settings(max_examples=15, deadline=None)
@given(
    payload=st.binary(max_size=200),
    sequence=st.integers(1, 2**64 - 1),
    next_header=st.sampled_from((4, 6, 41)),
    esn=st.booleans(),
)
def test_what_was_sealed_opens(cipher: str, payload: bytes, sequence: int, next_header: int, esn: bool) -> None:
    number = sequence if esn else sequence & 0xFFFFFFFF or 1
    packet = seal(cipher, number, next_header, payload, esn=esn)
    assert packet[:8] == struct.pack("!II", SPI, number & 0xFFFFFFFF)
    window = Window(64, number - 1, extended=esn)
    assert opened(opener(cipher, esn=esn), window, packet) == Payload(next_header, payload)
    assert window.top == number


@pytest.mark.parametrize("cipher", SEPARATE)
def test_the_fields_are_where_the_rfc_has_them(cipher: str) -> None:
    row = CIPHERS[cipher]
    for count in range(70):
        packet = seal(cipher, 0x01020304, 4, bytes(count))
        assert packet[:8] == struct.pack("!II", SPI, 0x01020304)
        assert packet[-12:] == icv(packet[:-12])
        clear = decrypted(cipher, CIPHER_KEYS[cipher], packet[8:-12])
        assert len(clear) % row.block_octets == 0
        pad_octets = clear[-2]
        assert clear == bytes(count) + bytes(range(1, pad_octets + 1)) + bytes((pad_octets, 4))
        # No more padding than is needed, and the ICV begins at a multiple of four octets.
        assert pad_octets < max(row.block_octets, 4)
        assert len(packet) % 4 == 0


@pytest.mark.parametrize("esn", [False, True])
def test_a_combined_packet_is_what_rfc_4106_says(esn: bool) -> None:
    """Salt and IV are the nonce; SPI and the whole sequence number are the associated data (section 5)."""
    number = 0x0000000201020304 if esn else 0x01020304
    packet = seal("aes-gcm128", number, 4, b"payload", esn=esn)
    key = CIPHER_KEYS["aes-gcm128"]
    associated = struct.pack("!IQ" if esn else "!II", SPI, number)
    clear = AESGCM(key[:16]).decrypt(key[16:] + packet[8:16], packet[16:], associated)
    assert clear == b"payload" + b"\1\2\3\3\4"


def test_the_upper_half_of_an_extended_number_is_signed_behind_the_trailer() -> None:
    """RFC 4303 section 2.2.1."""
    packet = seal("null", 0x0000000500000009, 4, b"payload", esn=True)
    assert packet[4:8] == b"\0\0\0\x09"
    assert packet[-12:] == icv(packet[:-12] + b"\0\0\0\5")
    assert opened(opener("null", esn=True), Window(64, 0x0000000500000000, extended=True), packet) == Payload(
        4, b"payload"
    )
    assert opened(opener("null", esn=True), Window(64, 0x0000000600000000, extended=True), packet) is Reason.INTEGRITY
    assert opened(opener("null"), Window(64), packet) is Reason.INTEGRITY


def test_null_shows_what_it_carries() -> None:
    assert seal("null", 1, 4, b"clear text")[8:-12] == b"clear text" + b"\0\4"


@pytest.mark.parametrize("answer", ANSWERS, ids=lambda answer: answer.name)
def test_published_packets_decrypt(answer: EspAnswer) -> None:
    clear = decrypted(answer.cipher, answer.key, answer.esp[8:])
    assert tuple(clear[-2:]) == (answer.pad_octets, answer.next_header)
    assert clear[: -2 - answer.pad_octets] == answer.payload
    assert answer.esp[:8] == struct.pack("!II", answer.spi, answer.sequence)


@pytest.mark.parametrize("answer", WITH_CIPHER, ids=lambda answer: answer.name)
def test_published_packets_are_what_we_encrypt(answer: EspAnswer) -> None:
    iv_octets = CIPHERS[answer.cipher].iv_octets
    clear = decrypted(answer.cipher, answer.key, answer.esp[8:])
    chosen = octets_that_give_iv(answer.cipher, answer.key, answer.esp[8 : 8 + iv_octets])
    assert encrypted(answer.cipher, answer.key, clear, 1, chosen) == answer.esp[8:]


@pytest.mark.parametrize("answer", ANSWERS, ids=lambda answer: answer.name)
def test_published_packets_pass_the_gateway_under_our_icv(answer: EspAnswer) -> None:
    """They come without integrity or with another one; so the ICV is made anew, all the rest is theirs."""
    source, destination = ip_address(answer.source), ip_address(answer.destination)
    # Some have an SPI that is reserved (RFC 4303 section 2.1).
    spi = answer.spi | 0x10000
    gateway = Gateway(dice())
    gateway.add_sa(
        make_sa(
            Direction.IN,
            cipher=answer.cipher,
            cipher_key=answer.key,
            spi=spi,
            source=source,
            destination=destination,
        ),
        now=NOW,
    )
    for version in (4, 6):
        gateway.add_policy(make_policy(Direction.IN, inner=version, label=f"ts{version}"))
    authenticated = spi.to_bytes(4) + answer.esp[4:]
    esp = authenticated + icv(authenticated)
    header = bytearray(answer.outer_header)
    at, length = (2, len(header) + len(esp)) if source.version == 4 else (4, len(esp))
    header[at : at + 2] = length.to_bytes(2)
    verdict = gateway.inbound(bytes(header) + esp, NOW)
    if answer.next_header in (4, 41):
        assert delivered(verdict).packet == answer.payload
    else:
        assert dropped(verdict).reason is Reason.MODE_MISMATCH


def test_the_published_packets_cover_the_ciphers() -> None:
    assert {answer.cipher for answer in ANSWERS} >= {"null", "3des", "aes128"}
    assert {answer.name for answer in ANSWERS} >= {f"rfc3602-case{number}" for number in (5, 6, 7, 8)}
    assert {41} <= {answer.next_header for answer in ANSWERS}


@pytest.mark.parametrize("esn", [False, True])
@pytest.mark.parametrize("cipher", ONE_OF_EACH)
def test_every_flipped_bit_is_seen(cipher: str, esn: bool) -> None:
    packet = seal(cipher, 70, 4, b"payload", esn=esn)
    window, ready = Window(64, extended=esn), opener(cipher, esn=esn)
    for bit in range(len(packet) * 8):
        damaged = bytearray(packet)
        damaged[bit // 8] ^= 1 << bit % 8
        # The SPI isn't looked at here: it chose the SA. For a combined cipher it is authenticated as that of the SA.
        expected = Payload(4, b"payload") if bit < 32 and CIPHERS[cipher].combined else Reason.INTEGRITY
        result = opened(ready, Window(64, extended=esn) if bit < 32 else window, bytes(damaged))
        assert result == expected
    assert window.top == 0
    assert opened(ready, window, packet) == Payload(4, b"payload")


@pytest.mark.parametrize("cipher", ONE_OF_EACH)
def test_every_wrong_length_is_seen_before_any_arithmetic(cipher: str) -> None:
    packet = seal(cipher, 1, 4, bytes(70))
    shortest = len(seal(cipher, 1, 4, b""))
    window, ready = Window(64), opener(cipher)
    for count in range(len(packet)):
        reason = opened(ready, window, packet[:count])
        whole_blocks = count >= shortest and (count - shortest) % max(CIPHERS[cipher].block_octets, 4) == 0
        assert reason is (Reason.INTEGRITY if whole_blocks else Reason.RUNT)
    assert opened(ready, window, packet + bytes(1)) is Reason.RUNT


@pytest.mark.parametrize("cipher", ["aes128", "aes-gcm128"])
def test_a_replay_is_seen_before_the_icv_is_computed(cipher: str) -> None:
    window = Window(64)
    packet = seal(cipher, 5, 4, b"payload")
    ready = opener(cipher)
    assert opened(ready, window, packet) == Payload(4, b"payload")
    assert opened(ready, window, packet) is Reason.REPLAY
    assert opened(ready, window, packet[:-1] + bytes(1)) is Reason.REPLAY
    assert opened(ready, window, seal(cipher, 0, 4, b"payload")) is Reason.REPLAY


def test_what_is_not_authentic_moves_no_window() -> None:
    window = Window(64)
    forged = sealed_by_hand("aes128", bytes(14) + b"\0\4", sequence=2**32 - 1)
    assert opened(opener(), window, forged[:-1] + bytes((forged[-1] ^ 1,))) is Reason.INTEGRITY
    assert window.top == 0


def test_what_is_authentic_moves_it_whatever_was_inside() -> None:
    window = Window(64)
    assert opened(opener(), window, sealed_by_hand("aes128", bytes(14) + b"\3\4", sequence=9)) is Reason.PADDING
    assert window.top == 9


@pytest.mark.parametrize(
    ("clear", "expected"),
    [
        (b"ab\0\4", Payload(4, b"ab")),
        (b"\1\2\2\4", Payload(4, b"")),
        (b"abcde\1\1\4", Payload(4, b"abcde")),
        (b"ab\3\4", Reason.PADDING),
        (b"\1\2\3\4", Reason.PADDING),
        (b"\1\2\xff\4", Reason.PADDING),
        (b"abc\1\2\3\4\4", Reason.PADDING),
        (b"abc\1\2\2\3\4", Reason.PADDING),
        (b"abc\0\0\0\3\4", Reason.PADDING),
        (bytes(range(1, 6)) + b"\5\5\4", Reason.PADDING),
        (b"a" + bytes(range(1, 6)) + b"\5\4", Payload(4, b"a")),
        (bytes(range(1, 255)) + b"\xfe\x29", Payload(41, b"")),
        (b"a" + bytes(range(1, 256)) + bytes(2) + b"\xff\x29", Reason.PADDING),
        (b"abc" + bytes(range(1, 256)) + b"\xff\x29", Payload(41, b"abc")),
        (b"noise!\0\x3b", Reason.DUMMY),
        (b"\1\2\2\x3b", Reason.DUMMY),
        (b"ab\0\6", Payload(6, b"ab")),
    ],
)
def test_padding(clear: bytes, expected: Payload | Reason) -> None:
    assert opened(opener("null"), Window(64), sealed_by_hand("null", clear)) == expected


def test_a_wrong_cipher_key_shows_as_padding() -> None:
    ready = opener(cipher_key=bytes(16))
    window = Window(4096)
    out = sealer()
    results = [opened(ready, window, out.seal(b"", number, 4, bytes(40))) for number in range(1, 300)]
    assert results.count(Reason.PADDING) > 280


@pytest.mark.parametrize("cipher", ONE_OF_EACH)
def test_sizes_are_promised_as_they_come(cipher: str) -> None:
    sizes = layout(make_sa(Direction.OUT, cipher=cipher))
    for count in range(70):
        assert sizes.sealed(count) == len(seal(cipher, 1, 4, bytes(count)))
    for room in range(40, 200):
        largest = sizes.largest_payload(room)
        assert largest < 0 or sizes.sealed(largest) <= room
        assert sizes.sealed(max(largest, -1) + 1) > room


def test_known_sizes() -> None:
    # SPI and number 8, IV 16, two blocks, ICV 12; then without blocks, whose trailer is aligned to four octets.
    assert Layout(16, 16, 12).sealed(20) == 8 + 16 + 32 + 12
    assert Layout(8, 4, 16).sealed(20) == 8 + 8 + 24 + 16


def test_keys_of_a_wrong_length_and_unknown_algorithms_never_go_into_service() -> None:
    for direction in Direction:
        with pytest.raises(BadKeyLength):
            Opener(make_sa(direction, cipher_key=bytes(15)))
        with pytest.raises(BadKeyLength):
            Opener(make_sa(direction, auth_key=bytes(19)))
        with pytest.raises(UnknownAlgorithm):
            Opener(make_sa(direction, auth="null", auth_key=b""))


@pytest.mark.parametrize(
    ("cipher", "auth"),
    # RFC 8221 section 4; GMAC as an integrity algorithm beside a cipher is of AH only (RFC 4543).
    [("aes-gcm128", "sha1"), ("aes128", NONE), ("null", NONE), ("aes128", "aes-gmac128")],
)
def test_encryption_without_integrity_or_integrity_twice_never_goes_into_service(cipher: str, auth: str) -> None:
    with pytest.raises(Unauthenticated):
        Opener(make_sa(Direction.IN, cipher=cipher, auth=auth, auth_key=AUTH_KEYS[auth]))

"""One ESP packet sealed, one opened; the published packets; and everything that can be wrong with one."""

import hmac
import struct
from ipaddress import ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from culvert.ipsec.algorithms import CIPHERS, BadKeyLength, UnknownAlgorithm
from culvert.ipsec.drops import Reason
from culvert.ipsec.esp import Opener, Payload, Sealer
from culvert.ipsec.gateway import Gateway
from culvert.ipsec.replay import Window
from culvert.ipsec.sa import Direction
from tests.ipsec.building import AUTH_KEY, CIPHER_KEYS, NOW, SPI, delivered, dice, dropped, make_policy, make_sa
from tests.ipsec.published import EspAnswer, esp_answers, octets_that_give_iv

ANSWERS = esp_answers()
WITH_CIPHER = [answer for answer in ANSWERS if answer.cipher != "null"]


def icv(authenticated: bytes) -> bytes:
    return hmac.digest(AUTH_KEY, authenticated, "sha1")[:12]


def sealed_by_hand(cipher: str, clear: bytes, sequence: int = 1) -> bytes:
    """An authentic ESP packet around a clear text of any shape."""
    encrypt = CIPHERS[cipher].prepare_encrypt(CIPHER_KEYS[cipher], dice())
    authenticated = struct.pack("!II", SPI, sequence) + encrypt(clear)
    return authenticated + icv(authenticated)


def opener(cipher: str = "aes128") -> Opener:
    return Opener(make_sa(Direction.IN, cipher=cipher))


def sealer(cipher: str = "aes128") -> Sealer:
    return Sealer(make_sa(Direction.OUT, cipher=cipher), dice())


@pytest.mark.parametrize("cipher", CIPHERS)
@given(payload=st.binary(max_size=200), sequence=st.integers(1, 2**32 - 1), next_header=st.sampled_from((4, 41)))
def test_what_was_sealed_opens(cipher: str, payload: bytes, sequence: int, next_header: int) -> None:
    packet = sealer(cipher).seal(sequence, next_header, payload)
    assert opener(cipher).open(Window(64), packet) == Payload(next_header, payload)


@pytest.mark.parametrize("cipher", CIPHERS)
def test_the_fields_are_where_the_rfc_has_them(cipher: str) -> None:
    row = CIPHERS[cipher]
    for count in range(70):
        packet = sealer(cipher).seal(0x01020304, 4, bytes(count))
        assert packet[:8] == struct.pack("!II", SPI, 0x01020304)
        assert packet[-12:] == icv(packet[:-12])
        clear = row.prepare_decrypt(CIPHER_KEYS[cipher])(packet[8:-12])
        assert len(clear) % row.block_octets == 0
        pad_octets = clear[-2]
        assert clear == bytes(count) + bytes(range(1, pad_octets + 1)) + bytes((pad_octets, 4))
        # No more padding than is needed, and the ICV begins at a multiple of four octets.
        assert pad_octets < max(row.block_octets, 4)
        assert len(packet) % 4 == 0


def test_null_shows_what_it_carries() -> None:
    packet = sealer("null").seal(1, 4, b"clear text")
    assert packet[8:-12] == b"clear text" + b"\0\4"


@pytest.mark.parametrize("answer", ANSWERS, ids=lambda answer: answer.name)
def test_published_packets_decrypt(answer: EspAnswer) -> None:
    clear = CIPHERS[answer.cipher].prepare_decrypt(answer.key)(answer.esp[8:])
    assert tuple(clear[-2:]) == (answer.pad_octets, answer.next_header)
    assert clear[: -2 - answer.pad_octets] == answer.payload
    assert answer.esp[:8] == struct.pack("!II", answer.spi, answer.sequence)


@pytest.mark.parametrize("answer", WITH_CIPHER, ids=lambda answer: answer.name)
def test_published_packets_are_what_we_encrypt(answer: EspAnswer) -> None:
    row = CIPHERS[answer.cipher]
    clear = row.prepare_decrypt(answer.key)(answer.esp[8:])
    chosen = octets_that_give_iv(answer.cipher, answer.key, answer.esp[8 : 8 + row.iv_octets])
    assert row.prepare_encrypt(answer.key, lambda _count: chosen)(clear) == answer.esp[8:]


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
        assert dropped(verdict).reason is Reason.PROTOCOL_MISMATCH


def test_the_published_packets_cover_the_ciphers() -> None:
    assert {answer.cipher for answer in ANSWERS} >= {"null", "3des", "aes128"}
    assert {answer.name for answer in ANSWERS} >= {f"rfc3602-case{number}" for number in (5, 6, 7, 8)}
    assert {41} <= {answer.next_header for answer in ANSWERS}


@pytest.mark.parametrize("cipher", CIPHERS)
def test_every_flipped_bit_is_seen(cipher: str) -> None:
    packet = sealer(cipher).seal(70, 4, b"payload")
    window = Window(64)
    for bit in range(len(packet) * 8):
        damaged = bytearray(packet)
        damaged[bit // 8] ^= 1 << bit % 8
        assert opener(cipher).open(window, bytes(damaged)) in (Reason.INTEGRITY, Reason.REPLAY)
    assert window.top == 0
    assert opener(cipher).open(window, packet) == Payload(4, b"payload")


@pytest.mark.parametrize("cipher", CIPHERS)
def test_every_wrong_length_is_seen_before_any_arithmetic(cipher: str) -> None:
    packet = sealer(cipher).seal(1, 4, bytes(70))
    shortest = len(sealer(cipher).seal(1, 4, b""))
    window = Window(64)
    for count in range(len(packet)):
        reason = opener(cipher).open(window, packet[:count])
        whole_blocks = count >= shortest and (count - shortest) % max(CIPHERS[cipher].block_octets, 4) == 0
        assert reason is (Reason.INTEGRITY if whole_blocks else Reason.RUNT)
    assert opener(cipher).open(window, packet + bytes(1)) is Reason.RUNT


def test_a_replay_is_seen_before_the_icv_is_computed() -> None:
    window = Window(64)
    packet = sealer().seal(5, 4, b"payload")
    ready = opener()
    assert isinstance(ready.open(window, packet), Payload)
    assert ready.open(window, packet) is Reason.REPLAY
    assert ready.open(window, packet[:-1] + bytes(1)) is Reason.REPLAY
    assert ready.open(window, sealer().seal(0, 4, b"payload")) is Reason.REPLAY


def test_what_is_not_authentic_moves_no_window() -> None:
    window = Window(64)
    forged = sealed_by_hand("aes128", bytes(14) + b"\0\4", sequence=2**32 - 1)
    assert opener().open(window, forged[:-1] + bytes((forged[-1] ^ 1,))) is Reason.INTEGRITY
    assert window.top == 0


def test_what_is_authentic_moves_it_whatever_was_inside() -> None:
    window = Window(64)
    assert opener().open(window, sealed_by_hand("aes128", bytes(14) + b"\3\4", sequence=9)) is Reason.PADDING
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
    assert opener("null").open(Window(64), sealed_by_hand("null", clear)) == expected


def test_a_wrong_cipher_key_shows_as_padding() -> None:
    ready = Opener(make_sa(Direction.IN, cipher_key=bytes(16)))
    window = Window(4096)
    out = sealer()
    results = [ready.open(window, out.seal(number, 4, bytes(40))) for number in range(1, 300)]
    assert results.count(Reason.PADDING) > 280


def test_keys_of_a_wrong_length_and_unknown_algorithms_never_go_into_service() -> None:
    for direction in Direction:
        with pytest.raises(BadKeyLength):
            Opener(make_sa(direction, cipher_key=bytes(15)))
        with pytest.raises(BadKeyLength):
            Opener(make_sa(direction, auth_key=bytes(19)))
        with pytest.raises(UnknownAlgorithm):
            Opener(make_sa(direction, auth="null", auth_key=b""))

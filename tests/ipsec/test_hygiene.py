"""Nothing that holds a key shows it, whoever asks and however."""

import copy
import io
import pickle
import pprint
import traceback
from collections.abc import Iterator
from dataclasses import asdict, replace

import pytest

from culvert.change import AddSa, RemoveSa
from culvert.ipsec import ah
from culvert.ipsec.esp import Opener, Sealer
from culvert.ipsec.gateway import Gateway
from culvert.ipsec.sa import Direction, Protocol
from culvert.ipsec.secret import Secret
from tests.ipsec.building import AUTH_KEY, CIPHER_KEYS, NOW, dice, make_sa, packet_of, receiver, sender, sent

KEYS = (AUTH_KEY, CIPHER_KEYS["aes128"])


def forms(key: bytes) -> Iterator[str]:
    """How a key may look in a text; eight octets of it are a leak."""
    for start in range(0, len(key) - 7, 4):
        part = key[start : start + 8]
        yield from (part.hex(), part.hex().upper(), part.hex(" "), part.hex(":"), part.decode("latin-1"))
        yield repr(part)[2:-1]
        yield ", ".join(map(str, part))
        yield ", ".join(map(hex, part))


def assert_shows_no_key(text: str) -> None:
    for key in KEYS:
        for form in forms(key):
            assert form not in text


def holders() -> list[object]:
    here, there = sender(), receiver()
    send = sent(here.outbound(packet_of(4), NOW))
    deliver = there.inbound(send.packet, NOW)
    drop = there.inbound(send.packet, NOW)
    sa, signing = make_sa(Direction.OUT), make_sa(Direction.IN, protocol=Protocol.AH)
    return [
        Secret(AUTH_KEY),
        sa,
        sa.key,
        AddSa(sa),
        RemoveSa(sa),
        Sealer(sa, dice()),
        Opener(make_sa(Direction.IN)),
        ah.Sealer(signing, dice()),
        ah.Opener(signing),
        here,
        here.sadb,
        here.spd,
        *here.sadb,
        *there.sadb,
        send,
        deliver,
        drop,
        [sa],
        {"sa": sa},
    ]


HOLDERS = holders()


@pytest.mark.parametrize("holder", HOLDERS, ids=lambda holder: type(holder).__name__)
def test_no_text_of_it_shows_a_key(holder: object) -> None:
    assert_shows_no_key(repr(holder))
    assert_shows_no_key(str(holder))
    assert_shows_no_key(f"{holder}")
    assert_shows_no_key(f"{holder!r:>400}")
    assert_shows_no_key(pprint.pformat(holder))
    assert_shows_no_key("%s %r" % (holder, holder))  # noqa: UP031
    if isinstance(holder, Secret):
        assert_shows_no_key(f"{holder:>40}{holder:x}")


def test_the_tests_would_see_a_key() -> None:
    with pytest.raises(AssertionError):
        assert_shows_no_key(f"key is {AUTH_KEY.hex()}")
    with pytest.raises(AssertionError):
        assert_shows_no_key(repr(bytearray(CIPHER_KEYS["aes128"])))


KEYED = [holder for holder in HOLDERS if not isinstance(holder, tuple) and type(holder).__name__ != "Spd"]


@pytest.mark.parametrize("holder", KEYED, ids=lambda holder: type(holder).__name__)
@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_it_can_not_be_pickled_or_copied(holder: object, protocol: int) -> None:
    sink = io.BytesIO()
    with pytest.raises((TypeError, pickle.PicklingError, AttributeError)):
        pickle.Pickler(sink, protocol).dump(holder)
    assert_shows_no_key(sink.getvalue().decode("latin-1"))
    with pytest.raises((TypeError, pickle.PicklingError, AttributeError)):
        copy.deepcopy(holder)


def test_as_a_dictionary() -> None:
    with pytest.raises(TypeError):
        asdict(make_sa(Direction.OUT))


@pytest.mark.parametrize("wrong", [{"cipher_key": Secret(AUTH_KEY)}, {"auth_key": Secret(CIPHER_KEYS["aes128"])}])
def test_what_goes_wrong_with_a_key_is_told_without_it(wrong: dict[str, Secret]) -> None:
    gateway = Gateway(dice())
    for direction in Direction:
        with pytest.raises(ValueError, match="wants a key") as caught:
            gateway.add_sa(replace(make_sa(direction), **wrong), now=NOW)  # type: ignore[arg-type]
        assert_shows_no_key("".join(traceback.format_exception(caught.value)))
        assert_shows_no_key(repr(caught.value.args))

"""Targets: ESP and AH behind their ICV. The input says what an honest key holder puts in; the harness signs it.

So the fuzzer gets behind the integrity check, and the same run shows that nothing gets there unsigned: what is changed
after signing, or never was signed, must not be opened.
"""

import struct
from typing import NamedTuple

from culvert.ipsec import ah, esp, ip, transport
from culvert.ipsec.algorithms import AUTHS, CIPHERS, NONE
from culvert.ipsec.drops import Reason
from culvert.ipsec.esp import Payload
from culvert.ipsec.replay import Window
from culvert.ipsec.sa import Direction, Protocol
from tests.fuzz.parts import dice, make_sa, stretched, with_true_length

_FIELDS = struct.Struct("!BBHQQH")
ESP_OUTCOMES = (Reason.PADDING, Reason.DUMMY)
WINDOW = 64


class Pair(NamedTuple):
    """Both ends of one SA."""

    sealer: esp.Sealer | ah.Sealer
    opener: esp.Opener | ah.Opener
    esn: bool


def _pair(protocol: Protocol, cipher: str, auth: str, esn: bool) -> Pair:
    settings: dict[str, object] = {"protocol": protocol, "cipher": cipher, "auth": auth, "esn": esn}
    out, back = make_sa(Direction.OUT, **settings), make_sa(Direction.IN, **settings)
    if protocol is Protocol.ESP:
        return Pair(esp.Sealer(out, dice()), esp.Opener(back), esn)
    return Pair(ah.Sealer(out, dice()), ah.Opener(back), esn)


_ESP_AUTHS = sorted(name for name, row in AUTHS.items() if not row.only_ah)
ESP = [
    _pair(Protocol.ESP, name, NONE if row.combined else _ESP_AUTHS[at % len(_ESP_AUTHS)], esn)
    for at, (name, row) in enumerate(CIPHERS.items())
    for esn in (False, True)
]
AH = [_pair(Protocol.AH, "null", name, esn) for name in AUTHS for esn in (False, True)]


class _Case(NamedTuple):
    """`number`: the sequence number signed; `window`: what the receiver has seen. `flip`: where tampering happens."""

    pair: Pair
    flags: int
    flip: int
    number: int
    window: Window
    octets: bytes

    @property
    def is_seen_as_signed(self) -> bool:
        """Whether the receiver, who sees 32 bits of the number, takes it for the one that was signed."""
        number = self.window.number_of(self.number & 0xFFFFFFFF)
        return number == self.number and self.window.check(number)


def _case(data: bytes, pairs: list[Pair]) -> _Case | None:
    if len(data) < _FIELDS.size:
        return None
    which, flags, flip, number, top, size = _FIELDS.unpack_from(data)
    pair = pairs[which % len(pairs)]
    if not pair.esn:
        number, top = number & 0xFFFFFFFF, top & 0xFFFFFFFF
    if flags & 2:
        # Near each other: else the window is all that is ever tried.
        number = max(0, min(top + flip % 128 - 32, 2**64 - 1 if pair.esn else 2**32 - 1))
    window = Window(WINDOW, top, extended=pair.esn)
    return _Case(pair, flags, flip, number, window, stretched(data[_FIELDS.size :], size))


def _judge_opened(case: _Case, packet: bytes, start: int) -> Payload | Reason:
    """Once, and never again."""
    opener, window = case.pair.opener, case.window
    before = window.top, window._seen
    found = opener.open(window, packet, start, len(packet))
    if found in (Reason.REPLAY, Reason.INTEGRITY, Reason.RUNT):
        assert (window.top, window._seen) == before, "a refused packet moved the window"
    else:
        assert opener.open(window, packet, start, len(packet)) is Reason.REPLAY
    return found


def judge_esp(data: bytes) -> None:
    """Any clear text that a key holder seals, with any trailer; the same tampered with; and the input as it is."""
    case = _case(data, ESP)
    if case is None:
        return
    sealer, opener = case.pair.sealer, case.pair.opener
    assert isinstance(sealer, esp.Sealer)
    raw = opener.open(Window(0, 0, extended=case.pair.esn), data, 0, len(data))
    assert isinstance(raw, Reason) and raw in (Reason.INTEGRITY, Reason.RUNT, Reason.REPLAY)
    clear = case.octets
    if case.flags & 1:
        packet = sealer.seal(b"", case.number, 17, clear)
    else:
        # The suite itself, so that the trailer is the input's too.
        packet = sealer._suite.seal(case.number, clear + bytes(-len(clear) % sealer.layout.alignment))
    if case.flags & 4:
        # Behind the SPI, which finds the SA and is compared by that.
        at = 4 + case.flip % (len(packet) - 4)
        packet = packet[:at] + bytes((packet[at] ^ 1 << (case.flip & 7),)) + packet[at + 1 :]
        found = opener.open(case.window, packet, 0, len(packet))
        assert found in (Reason.INTEGRITY, Reason.REPLAY, Reason.RUNT)
        return
    seen_as_signed = case.is_seen_as_signed
    found = _judge_opened(case, packet, 0)
    if len(packet) < sealer.layout.sealed(0):
        assert found is Reason.RUNT
    elif not seen_as_signed:
        assert found in (Reason.REPLAY, Reason.INTEGRITY)
    elif case.flags & 1:
        assert found == Payload(17, clear)
    else:
        assert isinstance(found, Payload) or found in ESP_OUTCOMES


def judge_ah(data: bytes) -> None:
    """Any packet that a key holder signs, with options and extension headers; changed on the way as routers may."""
    case = _case(data, AH)
    if case is None:
        return
    clear = with_true_length(case.octets)
    datagram = ip.parse(clear)
    if datagram is None or datagram.fragment or datagram.length > 60000:
        return
    place = transport.place(clear, datagram)
    sealer = case.pair.sealer
    octets = sealer.layout.sealed(len(place.payload))
    header = ip.with_length(place.header, place.protocol_at, Protocol.AH, octets)
    body = sealer.seal(header, case.number, place.protocol, place.payload)
    if isinstance(body, Reason):
        assert ah.immutable(header, foretell=True) is None
        return
    packet = header + body
    assert isinstance(case.pair.opener.open(Window(0), clear, datagram.offset, datagram.length), Reason)
    if case.flags & 4:
        _judge_tampered(case, packet, len(header))
        return
    seen_as_signed = case.is_seen_as_signed
    found = _judge_opened(case, _en_route(packet) if case.flags & 8 else packet, len(header))
    if not seen_as_signed:
        assert found in (Reason.REPLAY, Reason.INTEGRITY)
    elif ah.immutable(header, foretell=True) == ah.immutable(header, foretell=False):
        assert found == (Reason.DUMMY if place.protocol == 59 else Payload(place.protocol, place.payload))


def _en_route(packet: bytes) -> bytes:
    """What routers may change without asking."""
    if packet[0] >> 4 == 4:
        return packet[:1] + b"\xff" + packet[2:6] + b"\x40\0\x01" + packet[9:10] + b"\xab\xcd" + packet[12:]
    return b"\x6f\xff\xff\xff" + packet[4:7] + b"\x01" + packet[8:]


def _judge_tampered(case: _Case, packet: bytes, start: int) -> None:
    at = case.flip % len(packet)
    changed = packet[:at] + bytes((packet[at] ^ 1 << (case.flip & 7),)) + packet[at + 1 :]
    if changed[0] >> 4 != packet[0] >> 4:
        return
    found = case.pair.opener.open(case.window, changed, start, len(changed))
    if isinstance(found, Payload) or found is Reason.DUMMY:
        assert at < start, "something else was signed"
        assert ah.immutable(changed[:start], foretell=False) == ah.immutable(packet[:start], foretell=True)

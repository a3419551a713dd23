"""What mutants had to be made to see: behaviour that no other test would have missed, tried in every small case."""

import copy
import pickle
from collections.abc import Iterator
from dataclasses import replace
from ipaddress import ip_address, ip_network
from itertools import product

import pytest

from culvert.ipsec import esp
from culvert.ipsec.algorithms import NONE, BadKeyLength
from culvert.ipsec.drops import Reason
from culvert.ipsec.esp import Layout, Opener, Payload, Sealer, Unauthenticated
from culvert.ipsec.replay import LOW_MASK, NUMBER_MAX, Window
from culvert.ipsec.sa import Direction
from culvert.ipsec.secret import Secret
from culvert.ipsec.selector import ICMP_BASE, Flow, PortRange, Selector, mirrored
from tests.fuzz.parts import dice, make_sa

# The replay window


class Account:
    """Every number, one by one."""

    def __init__(self, size: int, top: int) -> None:
        self.size, self.start, self.top, self.seen = size, top, top, set[int]()

    def arrive(self, number: int) -> bool:
        inside = number > max(0, self.top - self.size) and number > self.start and number not in self.seen
        if not (inside if self.size else number > 0):
            return False
        self.seen.add(number)
        self.top = max(self.top, number)
        return True

    @property
    def lost(self) -> int:
        """Behind the window, and never seen."""
        edge = self.top - self.size if self.size else self.top
        return sum(1 for number in range(self.start + 1, edge + 1) if number not in self.seen)


def stories() -> Iterator[tuple[int, int, tuple[int, ...]]]:
    for size in range(5):
        for start in (0, 1, 7):
            for jumps in product(range(start + 9), repeat=3):
                yield size, start, jumps


def test_small_windows_in_every_story_of_three_numbers() -> None:
    for size, start, numbers in stories():
        window, account = Window(size, start), Account(size, start)
        for number in numbers:
            right = account.arrive(number)
            assert window.check(number) is right, (size, start, numbers)
            if right:
                window.mark(number)
        assert window.top == account.top
        if size:
            assert window.lost == account.lost, (size, start, numbers)


def test_a_window_that_slides_through_counts_each_gap_once() -> None:
    window = Window(4)
    for number in (1, 2, 5, 9, 10, 40):
        window.mark(number)
    # 3, 4, 6, 7, 8, and what 40 jumped over, but for 37..39, which may still come.
    assert window.lost == 5 + 26
    window.mark(41)
    assert window.lost == 5 + 27


@pytest.mark.parametrize("size", [1, 4, 64])
def test_what_is_just_behind_the_window_is_not_counted_as_seen(size: int) -> None:
    """Nobody marks what `check` refused; if somebody did, the losses would still be right."""
    window, other = Window(size), Window(size)
    for each in (window, other):
        each.mark(100)
    other.mark(100 - size)
    for each in (window, other):
        each.mark(101 + size)
    assert window.lost == other.lost


def test_without_a_window_only_the_gaps_count() -> None:
    window = Window(0)
    for number in (1, 2, 5):
        assert window.check(number) and not window.check(0)
        window.mark(number)
    assert window.lost == 2 and window.top == 5


def test_the_last_number_and_what_is_behind_it() -> None:
    window = Window(2, NUMBER_MAX - 2, extended=True)
    assert NUMBER_MAX == 0xFFFF_FFFF_FFFF_FFFF and LOW_MASK == 0xFFFF_FFFF
    assert window.check(NUMBER_MAX) and not window.check(NUMBER_MAX + 1)
    window.mark(NUMBER_MAX)
    assert not window.check(NUMBER_MAX) and not window.check(NUMBER_MAX + 1)


@pytest.mark.parametrize("top", [0, 5, 2**32 - 3, 2**32, 2**32 + 3, 3 * 2**32 + 10])
def test_extended_numbers_are_those_from_the_lower_edge_of_the_window(top: int) -> None:
    """RFC 4303 appendix A2.2: the 2**32 numbers that begin at the window's lower edge."""
    window = Window(4, top, extended=True)
    for number in (top - 3, top, top + 1, top - 4 + 2**32):
        assert window.number_of(number & LOW_MASK) == number
    assert window.number_of((top - 4) & LOW_MASK) == top - 4 + 2**32
    assert Window(4, top).number_of(7) == 7


# Selectors

SOURCE, DESTINATION = ip_address("10.1.0.9"), ip_address("10.2.0.9")
FLOW = Flow(SOURCE, DESTINATION, 6, 1000, 80)
FITTING = Selector(
    source=ip_network("10.1.0.0/24"),
    destination=ip_network("10.2.0.0/24"),
    protocol=6,
    source_ports=PortRange(1000, 1001),
    destination_ports=PortRange(79, 80),
)
ICMP = replace(FITTING, protocol=1, source_ports=PortRange(ICMP_BASE + 8, ICMP_BASE + 8), destination_ports=None)


def test_every_field_of_a_selector_counts_by_itself() -> None:
    assert FITTING.matches(FLOW)
    for other in (
        replace(FLOW, source=ip_address("10.1.1.9")),
        replace(FLOW, destination=ip_address("10.2.1.9")),
        replace(FLOW, protocol=17),
        replace(FLOW, source_port=1002),
        replace(FLOW, source_port=999),
        replace(FLOW, source_port=None),
        replace(FLOW, destination_port=81),
        replace(FLOW, destination_port=78),
        replace(FLOW, destination_port=None),
    ):
        assert FITTING.matches(other) is False
    anything = Selector(source=FITTING.source, destination=FITTING.destination)
    assert anything.matches(FLOW) and anything.matches(replace(FLOW, source_port=None, destination_port=None))


def test_a_flow_of_another_family_never_fits() -> None:
    six = Flow(ip_address("::1"), ip_address("::2"), 6)
    everything = Selector(source=ip_network("0.0.0.0/0"), destination=ip_network("0.0.0.0/0"))
    assert not everything.matches(six)
    assert not Selector(source=ip_network("::/0"), destination=ip_network("::/0")).matches(FLOW)


def test_ports_are_in_their_range_with_both_ends() -> None:
    assert [port in PortRange(5, 7) for port in (4, 5, 6, 7, 8, None, "6")] == [False, True, True, True] + [False] * 3


def test_icmp_is_told_by_either_of_its_ranges() -> None:
    assert ICMP_BASE == 2**16, "above every port"
    assert ICMP.is_icmp and replace(ICMP, source_ports=None, destination_ports=ICMP.source_ports).is_icmp
    assert not FITTING.is_icmp and not replace(FITTING, source_ports=None, destination_ports=None).is_icmp
    assert replace(ICMP, source_ports=PortRange(ICMP_BASE, ICMP_BASE)).is_icmp
    assert not replace(ICMP, source_ports=PortRange(ICMP_BASE - 1, ICMP_BASE - 1)).is_icmp


def test_the_way_back_turns_ports_round_but_no_icmp_types() -> None:
    back = FITTING.mirrored()
    assert (back.source, back.destination, back.protocol) == (FITTING.destination, FITTING.source, 6)
    assert (back.source_ports, back.destination_ports) == (FITTING.destination_ports, FITTING.source_ports)
    assert (ICMP.mirrored().source_ports, ICMP.mirrored().destination_ports) == (ICMP.source_ports, None)
    key = FLOW.key
    assert key == (SOURCE.packed, DESTINATION.packed, 6, 1000, 80)
    assert mirrored(key) == (DESTINATION.packed, SOURCE.packed, 6, 80, 1000)
    for port, turned in ((ICMP_BASE, False), (ICMP_BASE + 8, False), (ICMP_BASE - 1, True), (0, True)):
        sides = mirrored((b"s", b"d", 1, port, port + 1))[3:]
        assert sides == ((port + 1, port) if turned else (port, port + 1))
    assert mirrored((b"s", b"d", 1, None, None)) == (b"d", b"s", 1, None, None)


# ESP


def keyed(**settings: object) -> tuple[Sealer, Opener]:
    return Sealer(make_sa(Direction.OUT, **settings), dice()), Opener(make_sa(Direction.IN, **settings))


def test_sizes_are_those_of_what_is_sealed_for_every_payload() -> None:
    for cipher, auth in (("aes128", "sha1"), ("3des", "md5"), ("null", "sha256"), ("aes-gcm128-icv8", NONE)):
        sealer, _ = keyed(cipher=cipher, auth=auth)
        for octets in range(40):
            sealed = sealer.seal(b"", 1, 4, bytes(octets))
            assert len(sealed) == sealer.layout.sealed(octets)
            assert sealer.layout.largest_payload(len(sealed)) >= octets
            assert sealer.layout.sealed(sealer.layout.largest_payload(len(sealed))) == len(sealed)
            assert sealer.layout.largest_payload(len(sealed) - 1) < octets
    assert Layout(16, 16, 12).largest_payload(0) < 0


def test_every_length_of_a_packet_that_no_sealer_makes_is_a_runt() -> None:
    sealer, opener = keyed()
    whole = sealer.seal(b"", 1, 4, bytes(60))
    for octets in range(len(whole)):
        found = opener.open(Window(64), whole, 0, octets)
        fits = octets >= sealer.layout.sealed(0) and not (octets - sealer.layout.sealed(0)) % 16
        assert found is (Reason.INTEGRITY if fits else Reason.RUNT), octets


@pytest.mark.parametrize(("cipher", "auth"), [("null", "sha1"), ("aes-gcm128", NONE), ("aes128", "sha256")])
def test_every_trailer_there_is(cipher: str, auth: str) -> None:
    """A padding of 1, 2, 3... that is as long as its length says, and not longer than the packet; all else is wrong."""
    sealer, opener = keyed(cipher=cipher, auth=auth)
    alignment = sealer.layout.alignment
    for octets, named in product((0, 4, 14, 30, 254), range(0, 256, 1 if cipher == "null" else 15)):
        filling = octets + -(octets + 2) % alignment
        right = bytes(filling - min(filling, named)) + bytes(range(1, min(filling, named) + 1))
        for body in {right, right[:-1] + b"\xff" if right else right}:
            packet = sealer._suite.seal(1, body + bytes((named, 4)))
            found = opener.open(Window(64), packet, 0, len(packet))
            good = named <= filling and (not named or body[filling - named :] == bytes(range(1, named + 1)))
            assert found == (Payload(4, body[: filling - named]) if good else Reason.PADDING), (octets, named)


@pytest.mark.parametrize(("cipher", "auth"), [("aes128", "sha1"), ("aes-gcm128", NONE), ("chacha20-poly1305", NONE)])
@pytest.mark.parametrize("number", [1, 2**32 - 1, 2**32, 2**32 + 1, 2**63 + 5])
def test_both_halves_of_an_extended_number_are_signed(cipher: str, auth: str, number: int) -> None:
    sealer, opener = keyed(cipher=cipher, auth=auth, esn=True)
    sealed = sealer.seal(b"", number, 4, b"payload")
    assert sealed[:8] == (0x1002).to_bytes(4) + (number & 0xFFFFFFFF).to_bytes(4)
    window = Window(64, number - 1, extended=True)
    assert opener.open(window, sealed, 0, len(sealed)) == Payload(4, b"payload") and window.top == number
    assert opener.open(window, sealed, 0, len(sealed)) is Reason.REPLAY
    elsewhere = Window(64, number - 1 + 2**32, extended=True)
    assert opener.open(elsewhere, sealed, 0, len(sealed)) is Reason.INTEGRITY
    assert elsewhere.top == number - 1 + 2**32


def test_an_opener_looks_only_between_start_and_end() -> None:
    sealer, opener = keyed()
    sealed = sealer.seal(b"", 1, 4, b"payload")
    assert opener.open(Window(64), b"before" + sealed + b"behind", 6, 6 + len(sealed)) == Payload(4, b"payload")


def test_a_dummy_is_known_only_after_its_icv() -> None:
    sealer, opener = keyed()
    window, sealed = Window(64), sealer.seal(b"", 9, 59, b"noise")
    assert opener.open(window, sealed[:-1] + bytes((sealed[-1] ^ 1,)), 0, len(sealed)) is Reason.INTEGRITY
    assert window.top == 0
    assert opener.open(window, sealed, 0, len(sealed)) is Reason.DUMMY and window.top == 9


def test_prepared_keys_say_that_they_stay_where_they_are() -> None:
    for each in keyed():
        for take in (pickle.dumps, copy.copy, copy.deepcopy):
            with pytest.raises(TypeError, match="can't be pickled or copied"):
                take(each)


@pytest.mark.parametrize(
    ("settings", "error"),
    [
        ({"cipher": "aes-gcm128", "auth": "sha1"}, Unauthenticated),
        ({"cipher": "aes128", "auth": NONE}, Unauthenticated),
        ({"cipher": "null", "auth": NONE}, Unauthenticated),
        ({"cipher": "aes128", "auth": "aes-gmac128"}, Unauthenticated),
        ({"auth_key": Secret(bytes(19))}, BadKeyLength),
        ({"cipher_key": Secret(bytes(17))}, BadKeyLength),
        ({"cipher": "aes-gcm128", "auth": NONE, "auth_key": Secret(b"x")}, BadKeyLength),
    ],
)
def test_algorithms_and_keys_that_do_not_go_together(settings: dict[str, object], error: type[ValueError]) -> None:
    sa = make_sa(Direction.IN, **settings)
    for make in (esp.check, Opener, lambda each: Sealer(each, dice())):
        with pytest.raises(error):
            make(sa)
    esp.check(make_sa(Direction.IN))
    esp.check(make_sa(Direction.IN, cipher="aes-gcm128", auth=NONE))

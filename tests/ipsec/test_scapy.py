"""scapy beyond the matrix: the same octets where nothing is left to chance, and what scapy itself gets wrong.

Every fault and gap that docs/oracles.md lists is held fast here: when a newer scapy repairs one, its test fails, and
the case can go back into the matrix.
"""

import hmac
from ipaddress import ip_address
from typing import Any

import pytest
from scapy.layers.inet import IP, UDP
from scapy.layers.inet6 import IPv6
from scapy.packet import Raw

from culvert.ipsec import ah, esp
from culvert.ipsec.algorithms import AUTHS, CIPHERS, NONE
from culvert.ipsec.drops import Reason
from culvert.ipsec.replay import Window
from culvert.ipsec.sa import Direction, Mode, Protocol, UdpPorts
from tests.ipsec.building import (
    AUTH_KEYS,
    NOW,
    OUTER,
    SPI,
    dice,
    dropped,
    end_to_end,
    ipv4,
    ipv6,
    make_sa,
    packet_of,
    receiver,
    sender,
    sent,
    udp,
)
from tests.ipsec.matrix import HIGH
from tests.ipsec.scapy_peer import AH, AUTH_NAMES, CIPHER_NAMES, ESP, IntegrityError, association, ipsec, rebuilt

SURE = [name for name, row in CIPHERS.items() if row.counter or name == "null"]
"""Ciphers whose packets hold nothing of chance."""
TRANSPORT: dict[str, Any] = {"protocol": Protocol.AH, "mode": Mode.TRANSPORT}


@pytest.mark.parametrize("esn", [False, True])
@pytest.mark.parametrize("cipher", SURE)
def test_scapy_makes_the_very_same_octets(cipher: str, esn: bool) -> None:
    number = (HIGH << 32 if esn else 0) + 5
    auth = NONE if CIPHERS[cipher].combined else "sha256"
    ours = sent(sender(cipher, auth=auth, esn=esn, sequence=number - 1).outbound(packet_of(4), NOW)).packet
    there = association(Protocol.ESP, cipher, auth, esn=esn, tunnel=4)
    initial = {"iv": number.to_bytes(8)} if CIPHERS[cipher].counter else {}
    theirs = bytes(there.encrypt(rebuilt(packet_of(4)), seq_num=5, **initial))
    assert ours[20:] == theirs[20:]


@pytest.mark.parametrize("auth", [name for name in AUTHS if not AUTHS[name].only_ah])
@pytest.mark.parametrize("version", [4, 6])
def test_scapy_signs_the_very_same(version: int, auth: str) -> None:
    packet = end_to_end(version)
    here = sender(outer=version, auth=auth, **TRANSPORT)
    there = association(Protocol.AH, auth=auth)
    assert sent(here.outbound(packet, NOW)).packet == bytes(there.encrypt(rebuilt(packet)))


def test_scapy_refuses_what_we_damage() -> None:
    """So that its consent is known to mean something."""
    packet = bytearray(sent(sender().outbound(packet_of(4), NOW)).packet)
    packet[-1] ^= 1
    with pytest.raises(IntegrityError):
        association(Protocol.ESP, "aes128", "sha1", tunnel=4).decrypt(rebuilt(bytes(packet)))


@pytest.mark.parametrize("cipher", ["null", "3des", "aes128"])
def test_numbers_go_up_on_the_wire(cipher: str) -> None:
    here = sender(cipher)
    for number in (1, 2, 3):
        outside = rebuilt(sent(here.outbound(packet_of(4), NOW)).packet)
        assert (outside[ESP].spi, outside[ESP].seq) == (SPI, number)


# A route that lies ahead counts as travelled (RFC 4302 section 3.3.3.1)

STOPS = [bytes.fromhex("20010db8") + bytes(11) + bytes((number,)) for number in (0x33, 0x44)]


def routed6(left: int) -> bytes:
    """Behind a routing header of two addresses, of which `left` are still ahead."""
    header = bytes((17, 4, 0, left)) + bytes(4) + b"".join(STOPS)
    source, destination = OUTER[6]
    return ipv6(header + udp(), protocol=43, source=source, destination=destination)


def signed_by_us(packet: bytes, header: int, version: int) -> bytes:
    """With our AH behind `header` octets of the packet."""
    sealer = ah.Sealer(make_sa(Direction.OUT, outer=version, **TRANSPORT), dice())
    names_ah = bytearray(packet[:header])
    names_ah[9 if version == 4 else 40] = 51
    octets = sealer.layout.sealed(len(packet) - header) + header
    if version == 4:
        names_ah[2:4] = octets.to_bytes(2)
    else:
        names_ah[4:6] = (octets - 40).to_bytes(2)
    body = sealer.seal(bytes(names_ah), 1, 17, packet[header:])
    assert isinstance(body, bytes)
    return bytes(names_ah) + body


def test_a_route_ahead_is_foretold_as_scapy_does() -> None:
    theirs = bytes(association(Protocol.AH, auth="sha1").encrypt(rebuilt(routed6(2))))
    assert signed_by_us(routed6(2), 80, 6)[80:] == theirs[80:]


def test_what_was_foretold_comes_true() -> None:
    packet = bytearray(signed_by_us(routed6(2), 80, 6))
    for turn in (0, 1):
        start = 48 + 16 * turn
        packet[24:40], packet[start : start + 16] = packet[start : start + 16], packet[24:40]
        packet[43] -= 1
    opener = ah.Opener(make_sa(Direction.IN, outer=6, **TRANSPORT))
    assert opener.open(Window(64), bytes(packet), 80, len(packet)) == esp.Payload(17, udp())
    association(Protocol.AH, auth="sha1").decrypt(rebuilt(bytes(packet)))


def test_fault_a_travelled_route_is_turned_again() -> None:
    """RFC 8200 section 4.4: with no segments left the header is as it was when it arrived."""
    theirs = association(Protocol.AH, auth="sha1").encrypt(rebuilt(routed6(0)))
    with pytest.raises(IntegrityError):
        association(Protocol.AH, auth="sha1").decrypt(rebuilt(bytes(theirs)))
    association(Protocol.AH, auth="sha1").decrypt(rebuilt(signed_by_us(routed6(0), 80, 6)))


def test_fault_an_ipv4_route_is_not_foretold() -> None:
    """RFC 4302 section 3.3.3.1.1: the destination is predictable. Linux foretells it (net/ipv4/ah4.c)."""
    source, destination = OUTER[4]
    last = ip_address("198.51.100.9").packed
    packet = ipv4(udp(), source=source, destination=destination, options=b"\x83\7\4" + last + b"\0")
    theirs = association(Protocol.AH, auth="sha1").encrypt(rebuilt(packet))
    ours = signed_by_us(packet, 28, 4)

    def travelled(signed: bytes) -> bytes:
        return signed[:16] + last + signed[20:22] + b"\x08" + destination.packed + signed[27:]

    opener = ah.Opener(make_sa(Direction.IN, **TRANSPORT))
    for signed, expected in ((ours, esp.Payload(17, udp())), (bytes(theirs), Reason.INTEGRITY)):
        there = travelled(signed)
        assert opener.open(Window(64), there, 28, len(there)) == expected


def test_fault_options_are_told_apart_by_number_alone() -> None:
    """RFC 4302 appendix A1 lists whole octets: 20 isn't 148 (router alert), so it counts as zeros."""
    options = b"\x14\4\xab\xcd"
    source, destination = OUTER[4]
    packet = ipv4(udp(), source=source, destination=destination, options=options)
    ours = signed_by_us(packet, 24, 4)
    with pytest.raises(IntegrityError):
        association(Protocol.AH, auth="sha1").decrypt(rebuilt(ours))
    changed = ours[:22] + b"\0\0" + ours[24:]
    opener = ah.Opener(make_sa(Direction.IN, **TRANSPORT))
    assert opener.open(Window(64), changed, 24, len(changed)) == esp.Payload(17, udp())


# Other faults


def test_fault_ah_around_esp_signs_the_esp() -> None:
    """sign() asks for an ESP layer first, and finds the one that AH stands in front of."""
    inside = sent(sender().outbound(packet_of(4), NOW)).packet
    signed = association(Protocol.AH, auth="sha1").encrypt(rebuilt(inside))
    assert signed[AH].icv == bytes(12)
    assert len(bytes(signed)) == len(inside) + 24 + 12


@pytest.mark.parametrize("icv_octets", [8, 12])
def test_fault_gcm_has_one_length_of_tag(icv_octets: int) -> None:
    cipher = f"aes-gcm128-icv{icv_octets}"
    there = association(Protocol.ESP, cipher, tunnel=4, lent=False)
    sealed = bytes(there.encrypt(rebuilt(packet_of(4))))
    assert len(sealed) == len(sent(sender(cipher).outbound(packet_of(4), NOW)).packet) + 16 - icv_octets
    with pytest.raises(IntegrityError):
        there.decrypt(rebuilt(sent(sender(cipher).outbound(packet_of(4), NOW)).packet))


def test_fault_no_checksum_in_udp_over_ipv6() -> None:
    """RFC 8200 section 8.1 wants one; we send it."""
    there = association(Protocol.ESP, "aes128", "sha1", tunnel=6, in_udp=True)
    assert bytes(there.encrypt(rebuilt(packet_of(4))))[46:48] == bytes(2)
    ours = sent(sender(outer=6, encapsulation=UdpPorts()).outbound(packet_of(4), NOW)).packet
    checked = IPv6(ours)
    del checked[UDP].chksum
    assert ours[46:48] != bytes(2) and bytes(checked)[46:48] == ours[46:48]


def test_fault_extension_headers_are_lost_in_udp() -> None:
    """The header in front goes on naming ESP, and on the way back it is gone."""
    options = bytes.fromhex("1100 0502 0000 0100")
    packet = end_to_end(6, options + udp(), protocol=0)
    there = association(Protocol.ESP, "aes128", "sha1", in_udp=True)
    assert bytes(there.encrypt(rebuilt(packet)))[40] == 50
    here = sender(outer=6, mode=Mode.TRANSPORT, encapsulation=UdpPorts())
    opened = there.decrypt(rebuilt(sent(here.outbound(packet, NOW)).packet))
    assert bytes(opened) == end_to_end(6)


def test_fault_padding_is_not_looked_at() -> None:
    """RFC 4303 section 2.4: the receiver should. So the octets of an ESP packet with wrong padding pass scapy alone."""
    clear = packet_of(4, b"\0" * 3) + b"\7\7\7" + bytes((3, 4))
    covered = SPI.to_bytes(4) + (1).to_bytes(4) + clear
    body = covered + hmac.digest(AUTH_KEYS["sha1"], covered, "sha1")[:12]
    source, destination = OUTER[4]
    packet = ipv4(body, protocol=50, source=source, destination=destination)
    assert bytes(association(Protocol.ESP, "null", "sha1", tunnel=4).decrypt(rebuilt(packet))) == packet_of(4, bytes(3))
    assert dropped(receiver("null").inbound(packet, NOW)).reason is Reason.PADDING


def test_fault_ah_in_front_of_an_ip_packet_is_not_dissected() -> None:
    """Bound to next header 0 (socket.IPPROTO_IP) where 4 stands."""
    packet = rebuilt(sent(sender(**TRANSPORT | {"mode": Mode.TUNNEL}).outbound(packet_of(4), NOW)).packet)
    assert packet[AH].nh == 4 and not isinstance(packet[AH].payload, IP)


def test_gap_there_is_no_replay_window() -> None:
    packet = sent(sender().outbound(packet_of(4), NOW)).packet
    there, here = association(Protocol.ESP, "aes128", "sha1", tunnel=4), receiver()
    here.inbound(packet, NOW)
    for _ in range(2):
        assert bytes(there.decrypt(rebuilt(packet))) == packet_of(4)
    assert dropped(here.inbound(packet, NOW)).reason is Reason.REPLAY


def test_gap_algorithms() -> None:
    """All that scapy has; what it lacks is lent to it by scapy_peer.py."""
    assert set(ipsec.AUTH_ALGOS) == {"NULL", *AUTH_NAMES.values()}
    assert set(ipsec.CRYPT_ALGOS) == {*CIPHER_NAMES.values(), "DES", "CAST", "Blowfish"}
    assert set(AUTHS) - set(AUTH_NAMES) == {"sha256-96", "aes-xcbc", "aes-gmac128", "aes-gmac192", "aes-gmac256"}


def test_gap_ip_compression() -> None:
    """A payload of protocol 108 is octets to it."""
    assert isinstance(IP(src="192.0.2.1", dst="192.0.2.2", proto=108).guess_payload_class(b"\4\0\0\2")(), Raw)


def test_difference_destination_options_stand_in_front() -> None:
    """RFC 4303 section 3.1.1 allows both places. scapy and Linux put ESP behind them, we protect them."""
    packet = end_to_end(6, bytes.fromhex("1100 1e04 01020304") + udp(), protocol=60)
    theirs = bytes(association(Protocol.ESP, "null", "sha1").encrypt(rebuilt(packet)))
    ours = sent(sender("null", outer=6, mode=Mode.TRANSPORT).outbound(packet, NOW)).packet
    assert (theirs[6], theirs[40], ours[6]) == (60, 50, 50)

"""The published packets of tests/vectors/rfc*.txt through the protocol that they are of, sealed and opened."""

import pytest

from culvert.ipsec import ah, esp
from culvert.ipsec.drops import Reason
from culvert.ipsec.esp import Payload
from culvert.ipsec.replay import Window
from culvert.ipsec.sa import Direction, Mode, Protocol, SecurityAssociation
from culvert.ipsec.secret import Secret
from tests.ipsec.vectors import Packet, packets

AUTHENTIC = {packet.id: packet for packet in packets() if packet.icv_octets}
WITHOUT_IV = {name: found for name, found in AUTHENTIC.items() if not found.iv}


def association(packet: Packet) -> SecurityAssociation:
    return SecurityAssociation(
        spi=packet.spi,
        source=packet.source,
        destination=packet.destination,
        protocol=Protocol.ESP if packet.protocol == "esp" else Protocol.AH,
        mode=Mode(packet.mode),
        direction=Direction.IN,
        auth=packet.auth,
        auth_key=Secret(packet.auth_key),
        cipher="null" if packet.protocol == "ah" else packet.cipher,
        cipher_key=Secret(packet.cipher_key),
        reqid=1,
        esn=packet.sequence_high is not None,
    )


def opened(packet: Packet, octets: bytes) -> Payload | Reason:
    sa = association(packet)
    opener = esp.Opener(sa) if packet.protocol == "esp" else ah.Opener(sa)
    window = Window(64, max(0, packet.number - 1), extended=sa.esn)
    return opener.open(window, octets, len(packet.outer), len(octets))


def test_there_are_enough_of_them() -> None:
    assert len(AUTHENTIC) >= 40
    assert {packet.protocol for packet in AUTHENTIC.values()} == {"esp", "ah"}
    assert {packet.protocol for packet in WITHOUT_IV.values()} == {"esp", "ah"}
    assert sum(packet.sequence_high is not None for packet in AUTHENTIC.values()) >= 8


@pytest.mark.parametrize("name", AUTHENTIC)
def test_a_published_packet_opens(name: str) -> None:
    packet = AUTHENTIC[name]
    if not packet.number:
        # RFC 4303 section 3.3.3: the first number is 1.
        assert opened(packet, packet.protected_packet) is Reason.REPLAY
        return
    assert opened(packet, packet.protected_packet) == Payload(packet.next_header, packet.payload)
    damaged = bytearray(packet.protected_packet)
    damaged[-1] ^= 1
    assert opened(packet, bytes(damaged)) is Reason.INTEGRITY


@pytest.mark.parametrize("name", WITHOUT_IV)
def test_what_has_no_iv_is_sealed_to_the_same_octets(name: str) -> None:
    packet = WITHOUT_IV[name]
    sa = association(packet)
    sealer = esp.Sealer(sa, bytes) if packet.protocol == "esp" else ah.Sealer(sa, bytes)
    assert sealer.seal(packet.outer, packet.number, packet.next_header, packet.payload) == packet.body

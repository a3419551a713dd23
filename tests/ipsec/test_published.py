"""Every published packet, by its id, through the largest part of the gateway that can take it. None is left out.

| how     | what it goes through                                  | why not further                           |
|---------|-------------------------------------------------------|-------------------------------------------|
| gateway | `Gateway.inbound`: addresses, SPI, window, policy     |                                           |
| opener  | the `Opener` of its protocol, with the replay window  | a reserved SPI, or no IP packet is inside |
| cipher  | the cipher alone                                      | no SA of ours may go unauthenticated      |
| refused | the table of algorithms, by the name of the cipher    | DES, Blowfish and CAST-128 have no row    |
"""

from collections.abc import Callable

import pytest

from culvert.ipsec import ah, esp
from culvert.ipsec.algorithms import CIPHERS, NONE, UnknownAlgorithm, cipher_row
from culvert.ipsec.drops import Reason
from culvert.ipsec.gateway import Gateway
from culvert.ipsec.replay import Window
from culvert.ipsec.sa import Direction, Mode, Protocol, SecurityAssociation
from culvert.ipsec.sadb import SPI_MIN, BadSa
from tests.ipsec.building import NOW, delivered, dice, dropped, make_policy, make_sa, sent
from tests.ipsec.published import octets_that_give_iv, published
from tests.ipsec.vectors import Packet, packets

BY_ID = {case.id: case for case in packets()}

GATEWAY = (
    "rfc7634-appendix-a",
    "dpdk-pkt_aes_128_gcm",
    "dpdk-pkt_aes_192_gcm",
    "dpdk-pkt_aes_256_gcm",
    "dpdk-pkt_aes_256_ccm",
    "dpdk-pkt_null_aes_xcbc",
    "scapy-kernelref-aes-gcm",
    "scapy-kernelref-aes-gcm-esn",
    "scapy-kernelref-aes-gmac",
    "scapy-kernelref-aes-gmac-esn",
    "scapy-kernelref-aes-ccm",
    "embeddedipsec-ah-encap",
    "embeddedipsec-ah-sample",
    "embeddedipsec-fork-ah-sha256-96",
)
OPENER = (
    "mcgrew-gcm-01",
    "mcgrew-gcm-02",
    "mcgrew-gcm-03",
    "mcgrew-gcm-04",
    "mcgrew-gcm-05",
    "mcgrew-gcm-06",
    "mcgrew-gcm-07",
    "mcgrew-gcm-08",
    "mcgrew-gcm-09",
    "mcgrew-gcm-10",
    "mcgrew-gcm-11",
    "mcgrew-gcm-12",
    "mcgrew-gcm-13",
    "mcgrew-gcm-14",
    "mcgrew-gmac-01",
    "dpdk-pkt_aes_256_gcm_v6",
    "dpdk-pkt_aes_128_cbc_md5",
    "dpdk-pkt_aes_128_cbc_hmac_sha256",
    "dpdk-pkt_aes_128_cbc_hmac_sha384",
    "dpdk-pkt_aes_128_cbc_hmac_sha512",
    "dpdk-pkt_3des_cbc_hmac_sha256",
    "dpdk-pkt_3des_cbc_hmac_sha384",
    "dpdk-pkt_3des_cbc_hmac_sha512",
    "dpdk-pkt_aes_128_ctr_hmac_sha256",
    "dpdk-pkt_aes_128_ctr_hmac_sha384",
    "dpdk-pkt_aes_128_ctr_hmac_sha512",
    "dpdk-pkt_aes_128_cbc_hmac_sha256_v6",
    "dpdk-pkt_3des_cbc_hmac_sha256_v6",
    "dpdk-pkt_aes_128_gcm_frag",
    "dpdk-pkt_ah_tunnel_sha256",
    "dpdk-pkt_ah_transport_sha256",
    "dpdk-pkt_ah_ipv4_aes_gmac_128",
)
CIPHER = (
    "rfc3602-case5",
    "rfc3602-case6",
    "rfc3602-case7",
    "rfc3602-case8",
    "dpdk-pkt_aes_128_cbc_null",
    "scapy-kernelref-3des-cbc",
    "scapy-kernelref-aes-cbc",
    "scapy-kernelref-aes-ctr",
    "embeddedipsec-esp-1",
    "embeddedipsec-esp-2",
    "embeddedipsec-dump-esp_data_1",
    "embeddedipsec-dump-esp_data_2",
    "embeddedipsec-dump-esp_data_3",
    "embeddedipsec-dump-esp_data_4",
)
REFUSED = (
    "dpdk-pkt_des_cbc_hmac_sha256",
    "dpdk-pkt_des_cbc_hmac_sha384",
    "dpdk-pkt_des_cbc_hmac_sha512",
    "dpdk-pkt_des_cbc_hmac_sha256_v6",
    "scapy-kernelref-des-cbc",
    "scapy-kernelref-blowfish-cbc",
    "scapy-kernelref-cast5-cbc",
)


def association(case: Packet, direction: Direction) -> SecurityAssociation:
    return make_sa(
        direction,
        spi=case.spi,
        source=case.source,
        destination=case.destination,
        protocol=Protocol[case.protocol.upper()],
        mode=Mode(case.mode),
        cipher="null" if case.protocol == "ah" else case.cipher,
        cipher_key=case.cipher_key,
        auth=case.auth,
        auth_key=case.auth_key,
        esn=case.sequence_high is not None,
    )


def gateway(case: Packet, direction: Direction, random: Callable[[int], bytes]) -> Gateway:
    """One that has just this SA, and has come as far as to the packet before."""
    made = Gateway(random)
    sa = association(case, direction)
    made.add_sa(sa, sequence=case.number - 1, now=NOW)
    for version in (4, 6):
        made.add_policy(make_policy(direction, inner=version, protocol=sa.protocol, mode=sa.mode))
    return made


def opened(case: Packet, packet: bytes) -> esp.Payload | Reason:
    """By the Opener."""
    sa = association(case, Direction.IN)
    opener = esp.Opener(sa) if case.protocol == "esp" else ah.Opener(sa)
    window = Window(64, max(case.number - 1, 0), extended=sa.esn)
    return opener.open(window, packet, len(case.outer), len(packet))


def damaged(packet: bytes, at: int) -> bytes:
    return packet[:at] + bytes((packet[at] ^ 0x80,)) + packet[at + 1 :]


def test_none_is_left_out() -> None:
    named = [*GATEWAY, *OPENER, *CIPHER, *REFUSED]
    assert len(named) == len(set(named)) == 67
    assert set(named) == {case["id"] for case in published()["packets"]}
    assert set(named) - set(REFUSED) == set(BY_ID)


def test_none_is_taken_less_far_than_it_could() -> None:
    for case in BY_ID.values():
        authentic = case.auth != NONE or (case.protocol == "esp" and cipher_row(case.cipher).combined)
        whole = case.level == "packet" and case.spi >= SPI_MIN
        assert (case.id in CIPHER) is not authentic
        assert (case.id in GATEWAY) is (authentic and whole)


@pytest.mark.parametrize("name", GATEWAY)
def test_a_gateway_delivers_it_once(name: str) -> None:
    case = BY_ID[name]
    here = gateway(case, Direction.IN, dice())
    result = delivered(here.inbound(case.protected_packet, NOW))
    assert result.packet == case.clear_packet
    assert result.record.sequence == case.number
    assert dropped(here.inbound(case.protected_packet, NOW)).reason is Reason.REPLAY


@pytest.mark.parametrize("name", GATEWAY)
def test_a_gateway_refuses_it_damaged(name: str) -> None:
    """In every octet behind the outer header but those that name SA and number."""
    case = BY_ID[name]
    here = gateway(case, Direction.IN, dice())
    named = range(4) if case.protocol == "esp" else range(4, 8)
    for at in range(len(case.body)):
        result = dropped(here.inbound(damaged(case.protected_packet, len(case.outer) + at), NOW))
        lengths = case.protocol == "ah" and at == 1
        assert result.reason is (Reason.NO_SA_IN if at in named else Reason.RUNT if lengths else Reason.INTEGRITY), at
    delivered(here.inbound(case.protected_packet, NOW))


@pytest.mark.parametrize("name", [name for name in GATEWAY if BY_ID[name].sequence_high is not None])
def test_a_gateway_with_the_wrong_upper_half_refuses_it(name: str) -> None:
    case = BY_ID[name]
    for number in (case.sequence, case.number + 2**32):
        here = Gateway(dice())
        here.add_sa(association(case, Direction.IN), sequence=number - 1, now=NOW)
        assert dropped(here.inbound(case.protected_packet, NOW)).reason is Reason.INTEGRITY


@pytest.mark.parametrize("name", OPENER)
def test_the_opener_opens_it(name: str) -> None:
    case = BY_ID[name]
    found = opened(case, case.protected_packet)
    assert found == esp.Payload(case.next_header, case.payload)
    last = len(case.protected_packet) - 1
    assert opened(case, damaged(case.protected_packet, last)) is Reason.INTEGRITY


@pytest.mark.parametrize("name", [name for name in OPENER if BY_ID[name].level == "packet"])
def test_no_gateway_takes_a_reserved_spi(name: str) -> None:
    with pytest.raises(BadSa, match="SPI"):
        gateway(BY_ID[name], Direction.IN, dice())


@pytest.mark.parametrize("name", CIPHER)
def test_the_cipher_alone_makes_and_opens_it(name: str) -> None:
    case = BY_ID[name]
    prepare = cipher_row(case.cipher).prepare
    assert prepare is not None
    counter = cipher_row(case.cipher).counter
    chosen = b"" if counter else octets_that_give_iv(case.cipher, case.cipher_key, case.iv)
    encrypt, decrypt = prepare(case.cipher_key, lambda _count: chosen)
    assert decrypt(case.body[8:]) == case.clear
    assert encrypt(int.from_bytes(case.iv) if counter else case.sequence, case.clear) == case.body[8:]


@pytest.mark.parametrize("name", CIPHER)
def test_no_gateway_takes_it_without_authentication(name: str) -> None:
    with pytest.raises(esp.Unauthenticated):
        esp.Opener(association(BY_ID[name], Direction.IN))


@pytest.mark.parametrize("name", REFUSED)
def test_its_cipher_has_no_row(name: str) -> None:
    (case,) = (case for case in published()["packets"] if case["id"] == name)
    algorithm = case["enc"]["alg"]
    assert algorithm in ("des-cbc", "blowfish-cbc", "cast5-cbc")
    for called in (algorithm, algorithm.removesuffix("-cbc")):
        with pytest.raises(UnknownAlgorithm, match=called):
            cipher_row(called)


# Sealed again


def padding_is_least(case: Packet) -> bool:
    octets = esp.layout(association(case, Direction.OUT)).sealed(len(case.payload))
    return octets == len(case.body)


def forced(case: Packet) -> Callable[[int], bytes]:
    """A source of random octets that makes the published IV; the outer header's identification is no matter."""
    chosen = octets_that_give_iv(case.cipher, case.cipher_key, case.iv) if case.cipher in CIPHERS else b""
    return lambda count: chosen if count == len(chosen) else bytes(count)


NOT_AGAIN = {
    "rfc7634-appendix-a": "its IV is not the sequence number",
    "dpdk-pkt_aes_128_gcm": "its IV is not the sequence number",
    "dpdk-pkt_aes_192_gcm": "its IV is not the sequence number",
    "dpdk-pkt_aes_256_gcm": "its IV is not the sequence number",
    "dpdk-pkt_aes_256_ccm": "its IV is not the sequence number",
    "scapy-kernelref-aes-gcm": "its IV is not the sequence number",
    "scapy-kernelref-aes-gcm-esn": "its IV is not the sequence number",
    "scapy-kernelref-aes-gmac": "its IV is not the sequence number",
    "scapy-kernelref-aes-gmac-esn": "its IV is not the sequence number",
    "scapy-kernelref-aes-ccm": "its IV is not the sequence number",
    "mcgrew-gcm-01": "its IV is not the sequence number",
    "mcgrew-gcm-02": "its IV is not the sequence number",
    "mcgrew-gcm-03": "its IV is not the sequence number",
    "mcgrew-gcm-04": "its IV is not the sequence number",
    "mcgrew-gcm-05": "its IV is not the sequence number",
    "mcgrew-gcm-06": "its IV is not the sequence number",
    "mcgrew-gcm-07": "its IV is not the sequence number",
    "mcgrew-gcm-08": "its IV is not the sequence number",
    "mcgrew-gcm-09": "its IV is not the sequence number",
    "mcgrew-gcm-10": "its IV is not the sequence number",
    "mcgrew-gcm-11": "its IV is not the sequence number",
    "mcgrew-gcm-12": "its IV is not the sequence number",
    "mcgrew-gcm-13": "its IV is not the sequence number",
    "mcgrew-gcm-14": "its IV is not the sequence number",
    "mcgrew-gmac-01": "its IV is not the sequence number",
    "dpdk-pkt_aes_256_gcm_v6": "its IV is not the sequence number",
    "dpdk-pkt_aes_128_ctr_hmac_sha256": "its IV is not the sequence number",
    "dpdk-pkt_aes_128_ctr_hmac_sha384": "its IV is not the sequence number",
    "dpdk-pkt_aes_128_ctr_hmac_sha512": "its IV is not the sequence number",
    "dpdk-pkt_aes_128_gcm_frag": "its IV is not the sequence number",
    "dpdk-pkt_ah_ipv4_aes_gmac_128": "its IV is not the sequence number, and AH with GMAC makes it of that",
}
"""Opened only, and why. test_vectors.py makes their octets again of the published IV, with the algorithm alone."""


def may_be_made_again(name: str) -> bool:
    case = BY_ID[name]
    if case.protocol == "ah":
        return case.auth in ("md5", "sha256", "sha256-96")
    row = cipher_row(case.cipher)
    return padding_is_least(case) and (not row.counter or int.from_bytes(case.iv) == case.number)


def test_what_is_not_made_again_is_named() -> None:
    found = {name for name in (*GATEWAY, *OPENER) if not may_be_made_again(name)}
    assert found == set(NOT_AGAIN)


@pytest.mark.parametrize("name", [name for name in (*GATEWAY, *OPENER) if name not in NOT_AGAIN])
def test_the_same_octets_are_made_again(name: str) -> None:
    case = BY_ID[name]
    if name in GATEWAY and case.protocol == "esp":
        assert case.clear_packet is not None
        packet = sent(gateway(case, Direction.OUT, forced(case)).outbound(case.clear_packet, NOW)).packet
        assert packet[len(case.outer) :] == case.body
        return
    sa = association(case, Direction.OUT)
    sealer = esp.Sealer(sa, forced(case)) if case.protocol == "esp" else ah.Sealer(sa, dice())
    assert sealer.seal(case.outer, case.number, case.next_header, case.payload) == case.body

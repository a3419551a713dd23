"""scapy as the other end of a `Shape`: an independent implementation of ESP and AH, both ways.

Where scapy has no algorithm (docs/oracles.md lists them) its own packet code is used with an algorithm lent to it
here, which shares nothing with ours: XCBC from RFC 3566 on bare AES, GCM with a shorter tag by scapy's general code,
GMAC in AH by AESGCM over scapy's own zeroed copy. IPComp it doesn't know at all: that layer is made here.
"""

import warnings
import zlib
from typing import Any

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.hmac import HMAC
from scapy.layers.inet import IP, UDP
from scapy.layers.inet6 import IPv6
from scapy.packet import Packet, Raw

from culvert.ipsec.algorithms import CIPHERS, NONE
from culvert.ipsec.ipcomp import CPI_DEFLATE
from culvert.ipsec.sa import Mode, Protocol
from tests.ipsec.building import AH_SPI, AUTH_KEYS, CIPHER_KEYS, OUTER, SPI
from tests.ipsec.matrix import HIGH, IN_FRONT, Case, Shape

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from scapy.layers import ipsec

ESP, AH = ipsec.ESP, ipsec.AH
make_association: Any = ipsec.SecurityAssociation
IntegrityError: type[Exception] = ipsec.IPSecIntegrityError

CIPHER_NAMES = {"null": "NULL", "3des": "3DES", "chacha20-poly1305": "CHACHA20-POLY1305"} | {
    f"{ours}{bits}": theirs
    for ours, theirs in (
        ("aes", "AES-CBC"),
        ("aes-ctr", "AES-CTR"),
        ("aes-gcm", "AES-GCM"),
        ("aes-ccm", "AES-CCM"),
        ("aes-gmac", "AES-NULL-GMAC"),
    )
    for bits in (128, 192, 256)
}
AUTH_NAMES = {
    "sha1": "HMAC-SHA1-96",
    "sha256": "SHA2-256-128",
    "sha384": "SHA2-384-192",
    "sha512": "SHA2-512-256",
    "md5": "HMAC-MD5-96",
    "aes-cmac": "AES-CMAC-96",
}


# Algorithms lent to scapy


class Xcbc:
    """RFC 3566 section 4, step by step."""

    def __init__(self, key: bytes, *_unused: object) -> None:
        self._keys = [self._encrypt(key, bytes((number,)) * 16) for number in (1, 2, 3)]
        self._octets = b""

    @staticmethod
    def _encrypt(key: bytes, block: bytes) -> bytes:
        return Cipher(algorithms.AES(key), modes.ECB()).encryptor().update(block)

    def update(self, octets: bytes) -> None:
        self._octets += octets

    def finalize(self) -> bytes:
        blocks = [self._octets[at : at + 16] for at in range(0, len(self._octets), 16)] or [b""]
        chain = bytes(16)
        for block in blocks[:-1]:
            chain = self._encrypt(self._keys[0], _xor(chain, block))
        last, mask = blocks[-1], self._keys[1]
        if len(last) < 16:
            last, mask = (last + b"\x80").ljust(16, b"\0"), self._keys[2]
        return self._encrypt(self._keys[0], _xor(_xor(last, chain), mask))


def _xor(one: bytes, other: bytes) -> bytes:
    return bytes(a ^ b for a, b in zip(one, other, strict=True))


class GmacInAh(ipsec.AuthAlgo):  # type: ignore[misc]
    """RFC 4543 section 4: the ICV is the IV and the tag, and the tag counts as zeros in what is authenticated."""

    def __init__(self) -> None:
        super().__init__("AES-GMAC", mac=None, digestmod=None, icv_size=24)

    def _tag(self, packet: Packet, key: bytes, initial: bytes, high: bytes, sending: bool) -> bytes:
        still = ipsec.zero_mutable_fields(packet.copy(), sending=sending)
        still[AH].icv = initial + bytes(16)
        return AESGCM(key[:-4]).encrypt(key[-4:] + initial, b"", bytes(still) + high)

    def sign(self, pkt: Packet, key: bytes, esn_en: bool = False, esn: int = 0) -> Packet:
        initial = b"any 8 oc"
        pkt[AH].icv = initial + self._tag(pkt, key, initial, esn.to_bytes(4) if esn_en else b"", True)
        return pkt

    def verify(self, pkt: Packet, key: bytes, esn_en: bool = False, esn: int = 0) -> None:
        whole = pkt[AH].icv
        pkt[AH].icv, pkt[AH].padding = whole[:24], whole[24:]
        initial = whole[:8]
        if self._tag(pkt, key, initial, esn.to_bytes(4) if esn_en else b"", False) != whole[8:24]:
            raise IntegrityError("GMAC")


class AroundEsp(ipsec.AuthAlgo):  # type: ignore[misc]
    """scapy's own algorithm for an AH with ESP in it, of which scapy would sign the ESP instead."""

    def __init__(self, own: Any) -> None:
        super().__init__(own.name, own.mac, own.digestmod, own.icv_size, own.key_size)

    def sign(self, pkt: Packet, key: bytes, esn_en: bool = False, esn: int = 0) -> Packet:
        mac = self.new_mac(key)
        mac.update(bytes(ipsec.zero_mutable_fields(pkt.copy(), sending=True)))
        mac.update(esn.to_bytes(4) if esn_en else b"")
        pkt[AH].icv = mac.finalize()[: self.icv_size]
        return pkt


def _short_gcm(icv_octets: int) -> Any:
    """scapy's code for modes of a cipher, which cuts tags; its code for AESGCM doesn't."""
    return ipsec.CryptAlgo(
        "AES-GCM",
        cipher=algorithms.AES,
        mode=modes.GCM,
        block_size=1,
        iv_size=8,
        salt_size=4,
        icv_size=icv_octets,
        format_mode_iv=lambda sa, iv, **_: sa.crypt_salt + iv,
    )


def _lent_auth(name: str) -> Any:
    if name == "aes-xcbc":
        return ipsec.AuthAlgo("AES-XCBC-96", mac=Xcbc, digestmod=lambda: None, icv_size=12)
    if name == "sha256-96":
        return ipsec.AuthAlgo("SHA2-256-96", mac=HMAC, digestmod=SHA256, icv_size=12)
    return GmacInAh()


# One SA


def association(
    protocol: Protocol,
    cipher: str = "null",
    auth: str = NONE,
    *,
    spi: int = SPI,
    esn: bool = False,
    tunnel: int = 0,
    in_udp: bool = False,
    lent: bool = True,
) -> Any:
    """scapy's SA for our algorithms. `tunnel`: the family of the outer header, 0 for transport mode."""
    settings: dict[str, Any] = {"spi": spi, "esn_en": esn, "esn": HIGH if esn else 0}
    if tunnel:
        source, destination = map(str, OUTER[tunnel])
        settings["tunnel_header"] = (IP if tunnel == 4 else IPv6)(src=source, dst=destination)
    if in_udp:
        settings["nat_t_header"] = UDP(sport=4500, dport=4500)
    row = CIPHERS[cipher]
    if protocol is Protocol.ESP:
        name = cipher.removesuffix("-icv8").removesuffix("-icv12")
        settings |= {"crypt_algo": CIPHER_NAMES[name], "crypt_key": CIPHER_KEYS[cipher]}
        if row.combined and row.icv_octets != 16:
            settings["crypt_icv_size"] = row.icv_octets
    if auth in AUTH_NAMES:
        settings |= {"auth_algo": AUTH_NAMES[auth], "auth_key": AUTH_KEYS[auth]}
    made = make_association(ESP if protocol is Protocol.ESP else AH, **settings)
    if lent and auth not in (NONE, *AUTH_NAMES):
        made.auth_algo, made.auth_key = _lent_auth(auth), AUTH_KEYS[auth]
    if lent and settings.get("crypt_algo") == "AES-GCM" and row.icv_octets != 16:
        made.crypt_algo = _short_gcm(row.icv_octets)
    return made


def rebuilt(octets: bytes) -> Packet:
    return IP(octets) if octets[0] >> 4 == 4 else IPv6(octets)


# All of a shape


def _bundled(shape: Shape) -> Any:
    made = association(Protocol.AH, auth=shape.around, spi=AH_SPI, esn=shape.esn)
    if not isinstance(made.auth_algo, GmacInAh):
        made.auth_algo = AroundEsp(made.auth_algo)
    return made


class Peer:
    """The other end."""

    def __init__(self, shape: Shape) -> None:
        self._shape = shape
        # What is compressed needs a header in front before scapy protects it, so scapy is told of no tunnel then.
        self._tunnel = shape.outer if shape.mode is Mode.TUNNEL else 0
        self._own = association(
            shape.protocol,
            shape.cipher,
            shape.auth,
            esn=shape.esn,
            tunnel=0 if shape.compressed else self._tunnel,
            in_udp=shape.in_udp,
        )
        self._around = _bundled(shape) if shape.around else None

    def seal(self, packet: bytes, sequence_low: int) -> bytes:
        compressed = self._compressed(packet) if self._shape.compressed else packet
        sealed = bytes(self._own.encrypt(rebuilt(compressed), seq_num=sequence_low))
        return bytes(self._around.encrypt(rebuilt(sealed), seq_num=sequence_low)) if self._around else sealed

    def open(self, packet: bytes) -> bytes:
        """Raises what scapy raises."""
        if self._around:
            packet = bytes(self._around.decrypt(rebuilt(packet)))
        opened = bytes(self._own.decrypt(rebuilt(packet)))
        return self._decompressed(opened) if self._shape.compressed else opened

    def _compressed(self, packet: bytes) -> bytes:
        if self._tunnel:
            source, destination = map(str, OUTER[self._tunnel])
            header: Any = (IP if self._tunnel == 4 else IPv6)(src=source, dst=destination)
            next_header, payload = 4 if packet[0] >> 4 == 4 else 41, packet
        else:
            header, next_header, rest = ipsec.split_for_transport(rebuilt(packet), 108)
            payload = bytes(rest)
        state = zlib.compressobj(wbits=-15)
        squeezed = state.compress(payload) + state.flush()
        body = bytes((next_header, 0)) + CPI_DEFLATE.to_bytes(2) + squeezed
        return _behind(header, 108, body)

    def _decompressed(self, opened: bytes) -> bytes:
        header, next_header, rest = ipsec.split_for_transport(rebuilt(opened), 0)
        payload = bytes(rest)
        if next_header == 108:
            assert payload[1:4] == b"\0" + CPI_DEFLATE.to_bytes(2)
            next_header, payload = payload[0], zlib.decompress(payload[4:], wbits=-15)
        if not self._tunnel:
            return _behind(header, next_header, payload)
        assert next_header == (4 if self._shape.inner == 4 else 41)
        return payload


def _behind(header: Packet, protocol: int, payload: bytes) -> bytes:
    """scapy works out lengths and the checksum again."""
    last = header
    while last.payload:
        last = last.payload
    if header.version == 4:
        header.proto = protocol
        del header.len, header.chksum
    else:
        last.nh = protocol
        del header.plen
    return bytes(header / Raw(payload))


# Where scapy is known to be wrong: docs/oracles.md


def opens_wrong(case: Case) -> bool:
    """Whether scapy loses something of what we sealed."""
    shape = case.shape
    udp6 = shape.in_udp and shape.mode is Mode.TRANSPORT and shape.outer == 6
    # It drops the extension headers in front of the UDP header.
    return udp6 and case.kind in IN_FRONT


def seals_wrong(case: Case) -> bool:
    """Whether scapy makes a packet that is damaged."""
    shape = case.shape
    if shape.mode is not Mode.TRANSPORT or shape.outer != 6:
        return False
    if shape.in_udp:
        # The last extension header goes on naming ESP, where UDP follows.
        return case.kind in IN_FRONT or case.kind == "destination-options"
    # It turns a route round that has been travelled to its end.
    return case.kind == "route-done" and (shape.protocol is Protocol.AH or bool(shape.around))

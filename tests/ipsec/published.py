"""The published known answers (tests/vectors/), in the words of the algorithm table."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cryptography.hazmat.decrepit.ciphers.algorithms import TripleDES
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import ECB

VECTORS = Path(__file__).parents[1] / "vectors"

_CIPHERS = {("null", 0): "null", ("3des-cbc", 24): "3des"} | {
    ("aes-cbc", octets): f"aes{octets * 8}" for octets in (16, 24, 32)
}


def published() -> dict[str, Any]:
    """The whole file."""
    found: dict[str, Any] = json.loads((VECTORS / "published.json").read_text())
    return found


@dataclass(frozen=True)
class CipherAnswer:
    """`iv` and `message` give `result`."""

    name: str
    cipher: str
    key: bytes
    iv: bytes
    message: bytes
    result: bytes


@dataclass(frozen=True)
class EspAnswer:
    """A published ESP packet whose cipher we have. Its integrity algorithm may be another one, or none."""

    name: str
    cipher: str
    key: bytes
    spi: int
    sequence: int
    source: str
    destination: str
    next_header: int
    pad_octets: int
    payload: bytes
    outer_header: bytes
    esp: bytes
    """From the SPI to the last octet before the ICV."""


def cipher_answers() -> list[CipherAnswer]:
    nist = json.loads((VECTORS / "sp800-38a-cbc.json").read_text())
    answers = [
        CipherAnswer(
            f"sp800-38a-{case['cipher']}",
            case["cipher"],
            bytes.fromhex(case["key"]),
            bytes.fromhex(nist["iv"]),
            bytes.fromhex(nist["message"]),
            bytes.fromhex(case["result"]),
        )
        for case in nist["cases"]
    ]
    for case in published()["primitives"]:
        if case["kind"] == "cipher" and case["alg"] == "aes-cbc":
            key, iv, message, result = (bytes.fromhex(case[field]) for field in ("key", "iv", "message", "result"))
            answers.append(CipherAnswer(case["id"], f"aes{len(key) * 8}", key, iv, message, result))
    return answers


def esp_answers() -> list[EspAnswer]:
    answers = []
    for case in published()["packets"]:
        cipher = _CIPHERS.get((case.get("enc", {}).get("alg"), len(case.get("enc", {}).get("key", "")) // 2))
        if case["protocol"] != "esp" or cipher is None or case["level"] != "packet":
            continue
        packet = bytes.fromhex(case["protected_packet"])
        header = 20 if packet[0] >> 4 == 4 else 40
        answers.append(
            EspAnswer(
                case["id"],
                cipher,
                bytes.fromhex(case["enc"]["key"]),
                case["spi"],
                case["seq"],
                case["src"],
                case["dst"],
                case["next_header"],
                case["pad_length"],
                bytes.fromhex(case["payload"]),
                packet[:header],
                packet[header : len(packet) - case["icv_bytes"]],
            )
        )
    return answers


def octets_that_give_iv(cipher: str, key: bytes, iv: bytes) -> bytes:
    """What a random source must say for the first packet of an SA to carry this IV."""
    if not iv:
        return b""
    algorithm = TripleDES(key) if cipher == "3des" else AES(key)
    return Cipher(algorithm, ECB()).decryptor().update(iv)

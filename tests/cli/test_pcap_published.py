"""`culvert pcap` opens published packets, other people's captures and vectors, or says which rule refuses them."""

import json
import struct
from pathlib import Path
from typing import Any

import pytest

from culvert.cli import offline

PACKETS = json.loads((Path(__file__).parents[1] / "vectors" / "published.json").read_text())["packets"]
WHOLE = [case for case in PACKETS if case["level"] == "packet"]
CIPHERS = {"3des-cbc": "3des", "null": "null", "chacha20-poly1305": "chacha20-poly1305"}
AUTHS = {
    "null": "none",
    "hmac-md5-96": "md5",
    "hmac-sha256-128": "sha256",
    "hmac-sha256-96": "sha256-96",
    "hmac-sha384-192": "sha384",
    "hmac-sha512-256": "sha512",
    "aes-xcbc-96": "aes-xcbc",
}
COMBINED = ("aes-gcm", "aes-ccm")


def cipher_of(case: dict[str, Any]) -> str:
    name, bits = case["enc"]["alg"], len(case["enc"]["key"]) * 4
    if name == "aes-cbc":
        return f"aes{bits}"
    if name.startswith("aes-"):
        suffix = f"-icv{case['icv_bytes']}" if name in COMBINED and case["icv_bytes"] != 16 else ""
        return f"{name}{bits}{suffix}"
    return CIPHERS.get(name, name.removesuffix("-cbc").replace("cast5", "cast128"))


def auth_of(case: dict[str, Any]) -> str:
    auth = case["auth"]
    return f"aes-gmac{len(auth['key']) * 4}" if auth["alg"] == "aes-gmac" else AUTHS[auth["alg"]]


def configuration(case: dict[str, Any]) -> str:
    ends = f"source-address {case['src']} destination-address {case['dst']}"
    tunnel = f"tunnel-local-address {case['src']} tunnel-remote-address {case['dst']}"
    properties = [f"spi {case['spi']} {ends} protocol {case['protocol']} auth-algorithm {auth_of(case)}"]
    if auth_key := case["auth"]["key"] + case["auth"]["salt"]:
        properties.append(f"auth-key 0x{auth_key}")
    if case["protocol"] == "esp":
        properties.append(f"encrypt-algorithm {cipher_of(case)}")
        properties += [f"encrypt-key 0x{case['enc']['keymat']}"] if case["enc"]["keymat"] else []
    properties += ["extended-sequence-numbers enabled"] if case["seq_hi"] is not None else []
    mode = f"mode {case['mode']} " + (tunnel if case["mode"] == "tunnel" else "")
    any_family = (f"source-address {net} destination-address {net}" for net in ("0.0.0.0/0", "::/0"))
    return "\n".join(
        [
            f"net ipsec ipsec-policy /Common/p {{ protocol {case['protocol']} {mode} }}",
            f"net ipsec manual-security-association /Common/s {{ {' '.join(properties)} ipsec-policy /Common/p }}",
            *(
                f"net ipsec traffic-selector /Common/t{number} {{ {each} direction in ipsec-policy /Common/p }}"
                for number, each in enumerate(any_family)
            ),
        ]
    )


def run(directory: Path, case: dict[str, Any]) -> int:
    packet = bytes.fromhex(case["protected_packet"])
    header = struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 262144, 101)
    (directory / "in.pcap").write_bytes(header + struct.pack("<IIII", 1, 0, len(packet), len(packet)) + packet)
    (directory / "c.conf").write_text(configuration(case))
    words = {"--config": "c.conf", "--read": "in.pcap", "--write": "out.pcap", "--json": "report"}
    arguments = [part for option, name in words.items() for part in (option, str(directory / name))]
    return offline.run([*arguments, "--keep-sequence", "--sequence-high", str(case["seq_hi"] or 0)])


def refusal_of(case: dict[str, Any]) -> str:
    """What of a published packet a configuration may not have; empty for what is opened."""
    if case["enc"]["alg"] in ("des-cbc", "blowfish-cbc", "cast5-cbc"):
        return "(RFC 8221 section 5"
    if case["spi"] < 256:
        return f"spi: {case['spi']} is not allowed; allowed: a number from 256"
    combined = case["enc"]["alg"].startswith(("aes-g", "aes-ccm", "chacha"))
    return "" if combined or case["auth"]["alg"] != "null" else "encryption without authentication is refused"


@pytest.mark.parametrize("case", WHOLE, ids=lambda case: case["id"])
def test_a_published_packet(tmp_path: Path, case: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
    refusal = refusal_of(case)
    assert run(tmp_path, case) == bool(refusal)
    if refusal:
        assert refusal in capsys.readouterr().err
        return
    (line,) = (tmp_path / "report").read_text().splitlines()
    assert json.loads(line)["verdict"] == "open"
    assert (tmp_path / "out.pcap").read_bytes()[40:].hex() == case["plain_packet"]


def test_enough_of_them_are_opened() -> None:
    opened = [case for case in WHOLE if not refusal_of(case)]
    assert len(opened) >= 14
    assert {case["protocol"] for case in opened} == {"esp", "ah"}
    assert any(case["seq_hi"] is not None for case in opened)

"""tshark opens what `culvert pcap` wrote: another independent implementation, from the file up."""

import shutil
import struct
import subprocess
from pathlib import Path

import pytest

from culvert.cli import pcap
from culvert.ipsec.algorithms import AUTHS, CIPHERS
from tests.ipsec.building import AUTH_KEY, CIPHER_KEYS, INNER, OUTER, SPI, ipv4, ipv6, packet_of, sender, udp

FIELDS = (
    "esp.sequence",
    "esp.icv_good",
    "esp.icv_bad",
    "esp.pad_len",
    "ip.src",
    "ipv6.src",
    "udp.dstport",
    "_ws.expert",
)


@pytest.fixture(scope="module")
def tshark() -> str:
    found = shutil.which("tshark")
    if not found:
        pytest.fail("tshark is not installed; these tests need it (Debian package: tshark)")
    return found


def opened(
    tshark: str, capture: Path, cipher: str, outer: int, auth_key: bytes = AUTH_KEY
) -> list[dict[str, list[str]]]:
    """One dictionary per frame: field -> its values, outermost first."""
    source, destination = OUTER[outer]
    cipher_key = CIPHER_KEYS[cipher].hex()
    entry = (
        f'"IPv{outer}","{source}","{destination}","{SPI:#010x}","{CIPHERS[cipher].wireshark_name}",'
        f'"{"0x" + cipher_key if cipher_key else ""}","{AUTHS["sha1"].wireshark_name}","0x{auth_key.hex()}"'
    )
    command = [tshark, "-n", "-r", str(capture), "-T", "fields", "-E", "separator=;", "-E", "occurrence=a"]
    for option in ("esp.enable_encryption_decode:TRUE", "esp.enable_authentication_check:TRUE"):
        command += ["-o", option]
    command += ["-o", f"uat:esp_sa:{entry}"]
    for field in FIELDS:
        command += ["-e", field]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    rows = [line.split(";") for line in done.stdout.splitlines()]
    return [{field: text.split(",") if text else [] for field, text in zip(FIELDS, row, strict=True)} for row in rows]


def protect(directory: Path, cipher: str, outer: int, packets: list[bytes], link_type: int = 101) -> Path:
    octets = struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 262144, link_type)
    for packet in packets:
        octets += struct.pack("<IIII", 1_700_000_000, 5, len(packet), len(packet)) + packet
    read, write = directory / "in.pcap", directory / "out.pcap"
    read.write_bytes(octets)
    summary = pcap.run(sender(cipher, outer), set(), read, write, None, False)
    assert summary.verdicts == {"protect": len(packets)}
    return write


@pytest.mark.parametrize("cipher", ["null", "3des", "aes128", "aes192", "aes256"])
@pytest.mark.parametrize("outer", [4, 6])
def test_tshark_opens_what_we_wrote(tshark: str, tmp_path: Path, cipher: str, outer: int) -> None:
    ports = list(range(7001, 7041))
    packets = [packet_of(4 if port % 2 else 6, udp(1111, port, bytes(range(port - 7000)))) for port in ports] + [
        ipv4(udp(1111, 7999, bytes(8972))),
        ipv6(udp(1111, 8000, bytes(8952))),
    ]
    rows = opened(tshark, protect(tmp_path, cipher, outer, packets), cipher, outer)
    assert [row["udp.dstport"] for row in rows] == [[str(port)] for port in [*ports, 7999, 8000]]
    assert [row["esp.sequence"] for row in rows] == [[str(number)] for number in range(1, 43)]
    assert all(row["esp.icv_good"] == ["1"] or row["esp.icv_good"] == ["True"] for row in rows), rows[0]
    for row, packet in zip(rows, packets, strict=True):
        version = packet[0] >> 4
        field = "ip.src" if version == 4 else "ipv6.src"
        assert row[field][-1] == str(INNER[version][0])
        field = "ip.src" if outer == 4 else "ipv6.src"
        assert row[field][0] == str(OUTER[outer][0])


def test_tshark_sees_a_wrong_key(tshark: str, tmp_path: Path) -> None:
    """So that the test above is known to be able to fail."""
    written = protect(tmp_path, "aes128", 4, [packet_of(4)])
    (row,) = opened(tshark, written, "aes128", 4, auth_key=bytes(20))
    assert row["esp.icv_good"] not in (["1"], ["True"])


def test_tshark_reads_our_ethernet_frames(tshark: str, tmp_path: Path) -> None:
    frames = [
        bytes(range(12)) + b"\x81\x00\x00\x64\x08\x00" + packet_of(4),
        bytes(range(12)) + b"\x86\xdd" + packet_of(6),
    ]
    for outer in (4, 6):
        rows = opened(tshark, protect(tmp_path, "aes256", outer, frames, 1), "aes256", outer)
        assert [row["udp.dstport"] for row in rows] == [["53"], ["53"]]

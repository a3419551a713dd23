"""tshark reads what we seal: another independent implementation of ESP, and the names that it knows algorithms by.

All packets go into one capture and all SAs into one table, so tshark runs once. What it can't check stands in
docs/oracles.md; the tests at the end hold that fast.
"""

import shutil
import struct
import subprocess
import zlib
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pytest

from culvert.ipsec.algorithms import AUTHS, CIPHERS, NONE, auth_row, cipher_row
from culvert.ipsec.sa import Direction, Mode, Protocol
from culvert.ipsec.sadb import SPI_MIN
from tests.ipsec.building import (
    AH_SPI,
    AUTH_KEYS,
    CIPHER_KEYS,
    NOW,
    OUTER,
    SPI,
    around_it,
    gateway_of,
    make_policy,
    sent,
)
from tests.ipsec.matrix import PLAIN, ROUTE_AHEAD, Case, Shape, thinned

NEWER = {"chacha20-poly1305"}
"""Rows whose name tshark learned after the version that Debian 12 has."""
UNKNOWN_CIPHERS = {name for name in CIPHERS if name.startswith(("aes-ccm", "aes-gmac"))}
UNKNOWN_AUTHS = {"aes-xcbc", "aes-cmac", "aes-gmac128", "aes-gmac192", "aes-gmac256"}
FIELDS = (
    "esp.spi", "esp.sequence", "esp.icv_good", "esp.icv_bad", "esp.decrypted_data", "esp.pad_len", "esp.protocol",
    "ah.spi", "ah.sequence", "ah.next_header", "ah.length", "ah.reserved", "ah.icv",
    "ipcomp.next_header", "ipcomp.cpi", "udp.port", "ip.src", "ipv6.src", "tcp.dstport", "_ws.malformed",
)  # fmt: skip
Row = dict[str, list[str]]


@cache
def program() -> str:
    found = shutil.which("tshark")
    if not found:
        pytest.fail("tshark is not installed; these tests need it (Debian package: tshark)")
    return found


def run(capture: Path, entries: list[str]) -> "subprocess.CompletedProcess[str]":
    command = [program(), "-n", "-r", str(capture), "-T", "fields", "-E", "separator=;", "-E", "occurrence=a"]
    for option in ("enable_encryption_decode", "enable_authentication_check"):
        command += ["-o", f"esp.{option}:TRUE"]
    for entry in entries:
        command += ["-o", f"uat:esp_sa:{entry}"]
    for field in FIELDS:
        command += ["-e", field]
    return subprocess.run(command, capture_output=True, text=True, timeout=100, check=False)


def written(directory: Path, packets: list[bytes]) -> Path:
    octets = struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 262144, 101)
    for packet in packets:
        octets += struct.pack("<IIII", 1_700_000_000, 5, len(packet), len(packet)) + packet
    path = directory / "sealed.pcap"
    path.write_bytes(octets)
    return path


def read(directory: Path, packets: list[bytes], entries: list[str]) -> list[Row]:
    """One dictionary per packet: field -> its values, outermost first."""
    done = run(written(directory, packets), entries)
    assert done.returncode == 0, done.stderr
    rows = [line.split(";") for line in done.stdout.splitlines()]
    return [{field: text.split(",") if text else [] for field, text in zip(FIELDS, row, strict=True)} for row in rows]


def entry(shape: Shape, spi: int) -> str:
    """A line of tshark's table of SAs."""
    source, destination = OUTER[shape.outer]
    keys = (CIPHER_KEYS[shape.cipher].hex(), AUTH_KEYS[shape.auth].hex())
    cipher_key, auth_key = (f"0x{key}" if key else "" for key in keys)
    names = cipher_row(shape.cipher).wireshark_name, auth_row(shape.auth).wireshark_name
    columns = (f"IPv{shape.outer}", source, destination, f"{spi:#010x}", names[0], cipher_key, names[1], auth_key)
    return ",".join(f'"{column}"' for column in columns)


class Sealed(NamedTuple):
    case: Case
    spi: int
    packet: bytes


def is_known(case: Case) -> bool:
    """Whether tshark has the algorithms. A route ahead: it looks for an SA of the route's end, we of its next stop."""
    shape = case.shape
    if shape.mode is Mode.TRANSPORT and case.kind == ROUTE_AHEAD:
        return False
    unknown = shape.cipher in NEWER | UNKNOWN_CIPHERS or shape.auth in UNKNOWN_AUTHS
    return shape.protocol is Protocol.AH or not unknown


def sealed(case: Case, spi: int) -> Sealed:
    shape = case.shape
    sa = shape.sa(Direction.OUT, spi=spi)
    bundled = [around_it(sa, auth=shape.around)] if shape.around else []
    here = gateway_of(sa, *bundled, policies=False)
    here.add_policy(
        make_policy(Direction.OUT, inner=shape.inner, protocol=sa.protocol, mode=sa.mode, bundle_ah=bool(shape.around))
    )
    return Sealed(case, spi, sent(here.outbound(case.packet, NOW)).packet)


@cache
def everything() -> list[Sealed]:
    """Every case of the thinned matrix whose algorithms tshark knows, each with an SPI of its own."""
    found = (Case(case.shape._replace(esn=False), case.kind) for case in thinned() if is_known(case))
    return [sealed(case, SPI_MIN + 0x10000 + number) for number, case in enumerate(dict.fromkeys(found))]


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> list[tuple[Sealed, Row]]:
    esp = [entry(each.case.shape, each.spi) for each in everything() if each.case.shape.protocol is Protocol.ESP]
    read_back = read(tmp_path_factory.mktemp("tshark"), [each.packet for each in everything()], esp)
    return list(zip(everything(), read_back, strict=True))


def of(rows: list[tuple[Sealed, Row]], protocol: Protocol) -> list[tuple[Sealed, Row]]:
    return [(each, row) for each, row in rows if each.case.shape.protocol is protocol]


def restored(each: Sealed, next_header: int, payload: bytes) -> bytes | None:
    """The packet that was protected, made of what tshark found inside; None where it can't have been that."""
    if next_header == 108:
        if payload[1:4] != b"\0\0\2":
            return None
        next_header, payload = payload[0], zlib.decompress(payload[4:], wbits=-15)
    if each.case.shape.mode is Mode.TUNNEL:
        return payload if next_header == (4 if each.case.shape.inner == 4 else 41) else None
    packet = each.case.packet
    return packet[: len(packet) - len(payload)] + payload


def test_every_esp_packet_is_authentic_to_tshark(rows: list[tuple[Sealed, Row]]) -> None:
    found = of(rows, Protocol.ESP)
    wrong = [str(each.case) for each, row in found if (row["esp.icv_good"], row["esp.icv_bad"]) != (["1"], ["0"])]
    assert not wrong, wrong[:10]
    assert {each.case.shape.cipher for each, _ in found} == set(CIPHERS) - UNKNOWN_CIPHERS - NEWER
    assert {each.case.shape.auth for each, _ in found} == {*AUTHS, NONE} - UNKNOWN_AUTHS
    assert len(found) > 1500


def test_every_esp_packet_is_decrypted_by_tshark(rows: list[tuple[Sealed, Row]]) -> None:
    for each, row in of(rows, Protocol.ESP):
        clear = bytes.fromhex(row["esp.decrypted_data"][0])
        pad_octets, next_header = clear[-2:]
        # It shows the trailer only of what it has a dissector for.
        trailer = ([], []) if next_header == 253 else ([str(pad_octets)], [f"0x{next_header:02x}"])
        assert (row["esp.pad_len"], row["esp.protocol"]) == trailer, each.case
        end = len(clear) - 2 - pad_octets
        assert clear[end:-2] == bytes(range(1, pad_octets + 1)), each.case
        assert restored(each, next_header, clear[:end]) == each.case.packet, each.case
        assert (row["esp.spi"], row["esp.sequence"]) == ([f"0x{each.spi:08x}"], ["1"])


def test_what_is_inside_is_dissected(rows: list[tuple[Sealed, Row]]) -> None:
    """Addresses of both headers, and the port of a TCP segment: through UDP, AH around and IPComp."""
    for each, row in rows:
        shape = each.case.shape
        assert not row["_ws.malformed"], each.case
        outside, inside = ("ip.src" if version == 4 else "ipv6.src" for version in (shape.outer, shape.inner))
        assert row[outside][0] == str(OUTER[shape.outer][0])
        if shape.mode is Mode.TUNNEL:
            assert row[inside][-1] == ("10.1.0.9" if shape.inner == 4 else "fd00:1::9"), each.case
        assert row["tcp.dstport"] == (["80"] if each.case.kind == "tcp" else []), each.case


def test_esp_in_udp_has_its_port(rows: list[tuple[Sealed, Row]]) -> None:
    for each, row in of(rows, Protocol.ESP):
        assert (row["udp.port"][:2] == ["4500", "4500"]) is each.case.shape.in_udp, each.case


def test_every_ah_is_dissected(rows: list[tuple[Sealed, Row]]) -> None:
    for each, row in rows:
        shape = each.case.shape
        if shape.protocol is Protocol.ESP and not shape.around:
            assert not row["ah.spi"]
            continue
        icv = bytes.fromhex(row["ah.icv"][0])
        auth = AUTHS[shape.around or shape.auth]
        assert [f"0x{AH_SPI if shape.around else each.spi:08x}"] == row["ah.spi"]
        assert (row["ah.sequence"], row["ah.reserved"]) == (["1"], ["0000"])
        assert (
            len(icv)
            == -(-(12 + auth.icv_octets) // (4 if shape.outer == 4 else 8)) * (4 if shape.outer == 4 else 8) - 12
        )
        assert row["ah.length"] == [str((12 + len(icv)) // 4 - 2)]
        assert not any(icv[auth.icv_octets :]) and icv in each.packet
        if shape.around:
            assert row["ah.next_header"] == ["50"]
        elif shape.wrapping == PLAIN and shape.mode is Mode.TUNNEL:
            assert row["ah.next_header"] == ["4" if shape.inner == 4 else "41"]


def test_ipcomp_is_dissected(rows: list[tuple[Sealed, Row]]) -> None:
    squeezed = [(each, row) for each, row in rows if row["ipcomp.cpi"]]
    assert len(squeezed) > 100 and {each.case.kind for each, _ in squeezed} >= {"tcp", "jumbo"}
    for each, row in squeezed:
        shape = each.case.shape
        assert shape.compressed and row["ipcomp.cpi"] == ["0x0002"]
        if shape.mode is Mode.TUNNEL:
            assert row["ipcomp.next_header"] == ["0x04" if shape.inner == 4 else "0x29"]


# What tshark says no to


def example(directory: Path, packet: bytes, shape: Shape) -> Row:
    (row,) = read(directory, [packet], [entry(shape, SPI_MIN + 0x10000)])
    return row


EXAMPLE = Case(Shape(Protocol.ESP, Mode.TUNNEL, "aes128", "sha256", 4, 4, False, PLAIN), "tcp")


@pytest.mark.parametrize(("cipher", "auth"), [("aes128", "sha256"), ("aes-gcm128", NONE), ("aes-gcm256-icv8", NONE)])
def test_tshark_sees_damage(tmp_path: Path, cipher: str, auth: str) -> None:
    """So that its consent is known to mean something."""
    shape = EXAMPLE.shape._replace(cipher=cipher, auth=auth)
    packet = sealed(Case(shape, "tcp"), SPI_MIN + 0x10000).packet
    assert example(tmp_path, packet, shape)["esp.icv_good"] == ["1"]
    assert example(tmp_path, packet[:-1] + bytes((packet[-1] ^ 1,)), shape)["esp.icv_good"] != ["1"]


@pytest.mark.parametrize("name", [*CIPHERS, *AUTHS])
def test_the_names_are_empty_just_where_tshark_has_none(name: str) -> None:
    row = CIPHERS[name] if name in CIPHERS else AUTHS[name]
    assert (not row.wireshark_name) is (name in UNKNOWN_CIPHERS | UNKNOWN_AUTHS)


def test_gap_a_name_that_this_tshark_does_not_know(tmp_path: Path) -> None:
    """Wireshark 4.0 has no ChaCha20-Poly1305; later ones do, by the name in the table."""
    shape = EXAMPLE.shape._replace(cipher="chacha20-poly1305", auth=NONE)
    done = run(written(tmp_path, []), [entry(shape, 1000)])
    version = subprocess.run([program(), "--version"], capture_output=True, text=True, check=True).stdout.split()[2]
    assert (done.returncode != 0) is version.startswith("4.0.")
    assert done.returncode == 0 or "invalid value: ChaCha20 with Poly1305 [RFC7634]" in done.stderr


@pytest.mark.parametrize(
    "name", ["AES-CCM [RFC4309]", "AES-GMAC [RFC4543]", "AES-XCBC-MAC-96 [RFC3566]", "AES-CMAC-96 [RFC4494]"]
)
def test_gap_algorithms_without_a_name(tmp_path: Path, name: str) -> None:
    for column in (4, 6):
        columns = ["IPv4", "*", "*", "0x100", "NULL", "", "NULL", ""]
        columns[column] = name
        done = run(written(tmp_path, []), [",".join(f'"{text}"' for text in columns)])
        assert "invalid value" in done.stderr


def test_gap_extended_sequence_numbers(tmp_path: Path) -> None:
    """Wireshark 4.0 has no column for the upper half, so what is authenticated with it looks damaged."""
    shape = EXAMPLE.shape._replace(esn=True)
    packet = sent(shape.gateway(Direction.OUT).outbound(EXAMPLE.packet, NOW)).packet
    (row,) = read(tmp_path, [packet], [entry(shape, SPI)])
    assert row["esp.icv_bad"] == ["1"]

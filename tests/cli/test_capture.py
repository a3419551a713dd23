"""Capture files of every kind that is read, against scapy's writers, and damaged ones of every length."""

import io
import struct
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scapy.layers.l2 import Ether
from scapy.utils import PcapNgWriter, PcapWriter, RawPcapReader

from culvert.cli import capture
from culvert.cli.capture import CaptureError, Frame, Writer
from tests.ipsec.building import ipv4, ipv6

PACKETS = [ipv4(b"one"), ipv6(b"two"), ipv4(b"three")]
MACS = bytes(range(12))
TIMES = [0, 1_700_000_000_123_456_789, 4_294_967_295_999_999_999]


def pcap(
    octets: list[bytes], link_type: int = 101, order: str = "<", magic: int = 0xA1B23C4D, times: list[int] = TIMES
) -> bytes:
    unit = 1 if magic == 0xA1B23C4D else 1000
    out = struct.pack(f"{order}IHHiIII", magic, 2, 4, 0, 0, 262144, link_type)
    for packet, time in zip(octets, times, strict=False):
        seconds, rest = divmod(time, 10**9)
        out += struct.pack(f"{order}IIII", seconds, rest // unit, len(packet), len(packet)) + packet
    return out


def block(kind: int, body: bytes, order: str = "<") -> bytes:
    body += bytes(-len(body) % 4)
    length = struct.pack(f"{order}I", 12 + len(body))
    return struct.pack(f"{order}I", kind) + length + body + length


def section(order: str = "<", options: bytes = b"") -> bytes:
    return block(0x0A0D0D0A, struct.pack(f"{order}IHHq", 0x1A2B3C4D, 1, 0, -1) + options, order)


def interface(link_type: int = 101, order: str = "<", options: bytes = b"", snap: int = 0) -> bytes:
    return block(1, struct.pack(f"{order}HHI", link_type, 0, snap) + options, order)


def enhanced(packet: bytes, time: int, order: str = "<", number: int = 0) -> bytes:
    fields = (number, time >> 32, time & 0xFFFFFFFF, len(packet), len(packet))
    return block(6, struct.pack(f"{order}IIIII", *fields) + packet, order)


def frames(octets: bytes) -> list[Frame]:
    return list(capture.read(io.BytesIO(octets)))


@pytest.mark.parametrize("order", "<>")
def test_pcap_of_both_byte_orders_and_resolutions(order: str) -> None:
    exact = frames(pcap(PACKETS, order=order))
    assert exact == [Frame(101, time, packet) for time, packet in zip(TIMES, PACKETS, strict=True)]
    coarse = frames(pcap(PACKETS, order=order, magic=0xA1B2C3D4))
    assert [frame.nanoseconds for frame in coarse] == [time // 1000 * 1000 for time in TIMES]
    assert [frame.octets for frame in coarse] == PACKETS


def test_a_capture_of_nothing() -> None:
    assert frames(pcap([])) == []
    assert frames(section()) == []


def test_the_frame_check_sequence_bits_are_not_the_link_type() -> None:
    assert frames(pcap(PACKETS, link_type=0x14000001))[0].link_type == 1


@pytest.mark.parametrize("order", "<>")
def test_pcapng(order: str) -> None:
    nano = struct.pack(f"{order}HHBxxx", 9, 1, 9)
    binary = struct.pack(f"{order}HHBxxx", 9, 1, 0x80 | 10)
    shifted = struct.pack(f"{order}HHq", 14, 8, 1000) + struct.pack(f"{order}HH", 0, 0)
    name = struct.pack(f"{order}HH", 2, 3) + b"abc\0"
    octets = (
        section(order, struct.pack(f"{order}HH", 0, 0))
        + interface(101, order)
        + interface(1, order, name + nano)
        + interface(101, order, shifted)
        + interface(101, order, binary)
        + block(5, bytes(12), order)
        + enhanced(PACKETS[0], 1_700_000_000_000_001, order, 0)
        + enhanced(MACS + PACKETS[1], 1_700_000_000_000_000_001, order, 1)
        + enhanced(PACKETS[2], 5_000_000, order, 2)
        + enhanced(PACKETS[2], 1536, order, 3)
        + section(order)
        + interface(101, order, snap=30)
        + block(3, struct.pack(f"{order}I", len(PACKETS[0])) + PACKETS[0], order)
        + block(3, struct.pack(f"{order}I", 99) + PACKETS[1][:30], order)
        + block(2, struct.pack(f"{order}HHIIII", 0, 0, 0, 7, len(PACKETS[0]), 99) + PACKETS[0], order)
    )
    assert frames(octets) == [
        Frame(101, 1_700_000_000_000_001_000, PACKETS[0]),
        Frame(1, 1_700_000_000_000_000_001, MACS + PACKETS[1]),
        Frame(101, 1_005_000_000_000, PACKETS[2]),
        Frame(101, 1_500_000_000, PACKETS[2]),
        Frame(101, 0, PACKETS[0]),
        Frame(101, 0, PACKETS[1][:30]),
        Frame(101, 7000, PACKETS[0]),
    ]


@pytest.mark.parametrize("nano", [False, True])
@pytest.mark.parametrize("endianness", "<>")
def test_what_scapy_writes(tmp_path: Path, nano: bool, endianness: str) -> None:
    path = tmp_path / "scapy.pcap"
    with PcapWriter(str(path), linktype=101, nano=nano, endianness=endianness) as writer:
        writer.write_header(PACKETS[0])
        for packet in PACKETS:
            writer.write_packet(packet, sec=1_700_000_000, usec=5)
    expected = 1_700_000_000_000_000_000 + (5 if nano else 5000)
    assert frames(path.read_bytes()) == [Frame(101, expected, packet) for packet in PACKETS]


def test_what_scapy_writes_as_pcapng(tmp_path: Path) -> None:
    path = tmp_path / "scapy.pcapng"
    packets = [Ether(MACS + b"\x08\x00" + PACKETS[0]), Ether(MACS + b"\x86\xdd" + PACKETS[1])]
    with PcapNgWriter(str(path)) as writer:
        for packet in packets:
            packet.time = 1_700_000_000.25
            writer.write(packet)
    assert frames(path.read_bytes()) == [Frame(1, 1_700_000_000_250_000_000, bytes(packet)) for packet in packets]


@pytest.mark.parametrize("link_type", [1, 101])
def test_what_we_write_is_read_by_scapy_and_by_us(tmp_path: Path, link_type: int) -> None:
    path = tmp_path / "ours.pcap"
    with path.open("wb") as file:
        writer = Writer(file, link_type)
        for time, packet in zip(TIMES, PACKETS, strict=True):
            writer.write(Frame(link_type, time, b""), MACS + b"\x08\x00", packet)
    ethertypes = [b"\x08\x00", b"\x86\xdd", b"\x08\x00"]
    expected = [
        MACS + ethertype + packet if link_type == 1 else packet
        for ethertype, packet in zip(ethertypes, PACKETS, strict=True)
    ]
    assert frames(path.read_bytes()) == [Frame(link_type, *pair) for pair in zip(TIMES, expected, strict=True)]
    with RawPcapReader(str(path)) as reader:
        assert reader.linktype == link_type and reader.nano
        seen = [(octets, meta.sec, meta.usec) for octets, meta in reader]
    assert seen == [(octets, *divmod(time, 10**9)) for octets, time in zip(expected, TIMES, strict=True)]


IPV4 = b"\x08\x00"


@pytest.mark.parametrize(
    ("link_type", "header"),
    [
        (0, b"\2\0\0\0"),
        (1, MACS + IPV4),
        (1, MACS + b"\x86\xdd"),
        (1, MACS + b"\x81\x00\x00\x05" + IPV4),
        (1, MACS + b"\x88\xa8\x00\x05\x81\x00\x00\x06" + IPV4),
        (1, MACS + b"\x91\x00\x00\x05" + IPV4),
        (12, b""),
        (14, b""),
        (101, b""),
        (108, b"\0\0\0\2"),
        (113, bytes(14) + IPV4),
        (228, b""),
        (229, b""),
        (276, IPV4 + bytes(18)),
    ],
)
def test_link_headers(link_type: int, header: bytes) -> None:
    assert capture.split(Frame(link_type, 0, header + PACKETS[0])) == (header, PACKETS[0])
    assert frames(pcap([header + PACKETS[0]], link_type)) == [Frame(link_type, 0, header + PACKETS[0])]


@pytest.mark.parametrize(
    ("link_type", "octets"),
    [
        (1, MACS + b"\x08\x06" + bytes(28)),
        (1, MACS + b"\x00\x26\x42\x42\x03"),
        (1, MACS + b"\x81\x00\x00\x05\x08\x06" + bytes(28)),
        (1, MACS + b"\x81\x00\x00\x05"),
        (1, MACS + b"\x81\x00" * 50),
        (1, MACS),
        (1, b""),
        (113, bytes(14) + b"\x08\x06" + bytes(28)),
        (276, b"\x08\x06" + bytes(40)),
        (276, b""),
    ],
)
def test_frames_without_ip(link_type: int, octets: bytes) -> None:
    assert capture.split(Frame(link_type, 0, octets)) is None


@pytest.mark.parametrize(
    ("octets", "sentence", "offset"),
    [
        (b"", "the file ends inside the file header", 0),
        (b"\xd4\xc3", "the file ends inside the file header", 2),
        (b"GET / HTTP/1.1\r\n", "this is neither a pcap nor a pcapng file", 0),
        (pcap([])[:23], "the file ends inside the file header", 23),
        (pcap([], link_type=147), "link type 147 is not one that can be read", 20),
        (pcap(PACKETS[:1])[:30], "the file ends inside a packet header", 30),
        (pcap(PACKETS[:1])[:-1], "the file ends inside a packet", 24 + 16 + 22),
        (pcap([]) + struct.pack("<IIII", 0, 0, 2**31, 1), "a packet of 2147483648 octets", 40),
        (section()[:8], "the file ends inside a section header", 8),
        (section()[:20], "the file ends inside a section header", 20),
        (section()[:8] + bytes(20), "a pcapng section without its byte-order magic", 0),
        (section()[:4] + struct.pack("<II", 24, 0x1A2B3C4D) + bytes(16), "a section header of 24 octets", 0),
        (section()[:4] + struct.pack("<II", 30, 0x1A2B3C4D) + bytes(22), "a section header of 30 octets", 0),
        (section() + interface(147), "link type 147 is not one that can be read", 36),
        (section() + b"\1\0", "the file ends inside a block header", 30),
        (section() + struct.pack("<II", 1, 8), "a block of 8 octets", 28),
        (section() + struct.pack("<II", 1, 13), "a block of 13 octets", 28),
        (section() + struct.pack("<II", 1, 2**30), "a block of 1073741812 octets", 36),
        (section() + interface()[:-4] + b"\0\0\0\0", "a block whose two lengths differ", 28),
        (section() + block(1, b"\1"), "a damaged block of type 1", 28),
        (section() + interface(options=struct.pack("<HH", 9, 0)), "a damaged block of type 1", 28),
        (section() + interface(options=struct.pack("<HHI", 14, 4, 0)), "a damaged block of type 1", 28),
        (section() + enhanced(PACKETS[0], 1), "a damaged block of type 6", 28),
        (section() + block(3, b"\0\0\0\0"), "a damaged block of type 3", 28),
        (section() + interface() + block(6, bytes(8)), "a damaged block of type 6", 48),
        (section() + interface() + block(6, struct.pack("<IIIII", 0, 0, 0, 9, 9)), "a damaged block of type 6", 48),
    ],
)
def test_damage_is_one_error_that_says_where(octets: bytes, sentence: str, offset: int) -> None:
    with pytest.raises(CaptureError) as caught:
        frames(octets)
    assert str(caught.value) == f"{sentence} (at byte {offset})"
    assert caught.value.offset == offset


@pytest.mark.parametrize(
    "whole", [pcap(PACKETS), section() + interface() + enhanced(PACKETS[0], 1) + enhanced(PACKETS[1], 2)]
)
def test_every_truncation(whole: bytes) -> None:
    complete = frames(whole)
    for count in range(len(whole)):
        read: list[Frame] = []
        try:
            read.extend(capture.read(io.BytesIO(whole[:count])))
        except CaptureError as error:
            assert error.offset <= count
        assert read == complete[: len(read)]


@settings(max_examples=400, deadline=None)
@given(
    st.sampled_from((pcap(PACKETS), section() + interface() + enhanced(PACKETS[0], 1))),
    st.lists(st.tuples(st.integers(0, 200), st.integers(0, 255)), max_size=4),
)
def test_damaged_files(whole: bytes, changes: list[tuple[int, int]]) -> None:
    octets = bytearray(whole)
    for position, octet in changes:
        octets[position % len(octets)] = octet
    try:
        for frame in frames(bytes(octets)):
            capture.split(frame)
    except CaptureError:
        pass


@given(st.sampled_from((0, 1, 101, 108, 113, 276)), st.binary(max_size=60))
def test_any_frame_is_split_or_not(link_type: int, octets: bytes) -> None:
    parts = capture.split(Frame(link_type, 0, octets))
    assert parts is None or b"".join(parts) == octets

"""Captures through a gateway: what is emitted, what is reported, and that bad files end in one clear error."""

import io
import json
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from culvert.cli import capture, pcap
from culvert.cli.capture import CaptureError, Frame
from culvert.ipsec.gateway import Gateway
from culvert.ipsec.sa import Direction
from tests.ipsec.building import (
    NOW,
    OUTER,
    SPI,
    delivered,
    dice,
    ipv4,
    ipv6,
    make_policy,
    make_sa,
    make_selector,
    packet_of,
    receiver,
    sender,
    sent,
    udp,
)

MACS = bytes(range(12))
TAGGED = MACS + b"\x81\x00\x00\x64"
ETHERTYPES = {4: b"\x08\x00", 6: b"\x86\xdd"}
SECOND = 10**9
AT = int(NOW) * SECOND


def write_capture(path: Path, octets: list[bytes], link_type: int = 101, start: int = AT) -> Path:
    out = struct.pack("<IHHiIII", 0xA1B23C4D, 2, 4, 0, 0, 262144, link_type)
    for index, packet in enumerate(octets):
        seconds, rest = divmod(start + index * 1_000_000_001, SECOND)
        out += struct.pack("<IIII", seconds, rest, len(packet), len(packet)) + packet
    path.write_bytes(out)
    return path


def frames(path: Path) -> list[Frame]:
    with path.open("rb") as file:
        return list(capture.read(file))


class Bench:
    """A directory with a capture to read, one to write, and what was reported."""

    def __init__(self, directory: Path) -> None:
        self.read = directory / "in.pcap"
        self.write = directory / "out.pcap"
        self.report: list[dict[str, Any]] = []
        self.summary = pcap.Summary()

    def run(
        self, gateway: Gateway, octets: list[bytes], link_type: int = 101, *, keep_sequence: bool = False
    ) -> list[Frame]:
        write_capture(self.read, octets, link_type)
        lines = io.StringIO()
        endpoints = {OUTER[4][1], OUTER[6][1]}
        self.summary = pcap.run(gateway, endpoints, self.read, self.write, lines, keep_sequence)
        self.report = [json.loads(line) for line in lines.getvalue().splitlines()]
        return frames(self.write)


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


def both_ways() -> Gateway:
    """Protects 10.1/16 -> 10.2/16 and IPv6, opens the peer's, and lets the rest by."""
    gateway = Gateway(dice())
    gateway.add_sa(make_sa(Direction.IN), now=NOW)
    gateway.add_sa(make_sa(Direction.OUT, source=OUTER[4][1], destination=OUTER[4][0]), now=NOW)
    for direction in Direction:
        gateway.add_policy(make_policy(direction, make_selector("10.1.0.0/16", "10.2.0.0/16")))
        gateway.add_policy(make_policy(direction, inner=6, label="/Common/ts6"))
    return gateway


def test_packets_go_out_sealed_and_come_back(bench: Bench, tmp_path: Path) -> None:
    packets = [packet_of(4), packet_of(6), ipv4(udp(data=bytes(1400)))]
    written = bench.run(sender(), packets)
    assert [frame.link_type for frame in written] == [101] * 3
    assert [frame.nanoseconds for frame in written] == [AT + index * 1_000_000_001 for index in range(3)]
    there = receiver()
    assert [delivered(there.inbound(frame.octets, NOW)).packet for frame in written] == packets
    again = Bench(tmp_path / "b")
    again.read.parent.mkdir()
    assert [frame.octets for frame in again.run(receiver(), [frame.octets for frame in written])] == packets
    assert {line["verdict"] for line in again.report} == {"open"}


def test_the_report(bench: Bench) -> None:
    gateway = both_ways()
    peer = sender()
    good = sent(peer.outbound(packet_of(4), NOW)).packet
    other = ipv4(udp(), destination=OUTER[4][0])
    written = bench.run(
        gateway,
        [packet_of(4), good, good, other, b"\x45nonsense", packet_of(6), good[:23] + b"\0" + good[24:]],
    )
    sa_out, sa_in = ({"label": f"/Common/sa-{direction}", "spi": SPI} for direction in ("out", "in"))

    def line(index: int, direction: str, verdict: str, reason: str | None, sa: Any, selector: str | None) -> Any:
        return {
            "index": index,
            "direction": direction,
            "verdict": verdict,
            "reason": reason,
            "sa": sa,
            "selector": selector,
        }

    assert bench.report == [
        line(1, "out", "protect", None, sa_out, "/Common/ts"),
        line(2, "in", "open", None, sa_in, "/Common/ts"),
        line(3, "in", "drop", "replay", sa_in, None),
        line(4, "out", "bypass", None, None, None),
        line(5, "out", "drop", "malformed-header", None, None),
        line(6, "out", "protect", None, sa_out, "/Common/ts6"),
        line(7, "in", "drop", "no-sa-in", None, None),
    ]
    assert [frame.octets for frame in written][1:3] == [packet_of(4), other]
    assert len(written) == 4
    assert bench.summary.packets == 7
    assert str(bench.summary) == (
        "7 packets: 2 protect, 1 open, 1 bypass, 3 drop (malformed-header 1, no-sa-in 1, replay 1)"
    )


def test_the_clock_is_the_captures(bench: Bench) -> None:
    gateway = sender()
    bench.run(gateway, [packet_of(4)] * 3)
    (record,) = gateway.sadb
    assert record.usage.last_use == pytest.approx(NOW + 2)


@pytest.mark.parametrize("inner", [4, 6])
@pytest.mark.parametrize("outer", [4, 6])
@pytest.mark.parametrize("header", [MACS, TAGGED])
def test_ethernet_frames_keep_their_header(bench: Bench, inner: int, outer: int, header: bytes) -> None:
    packet = packet_of(inner)
    (frame,) = bench.run(sender(outer=outer), [header + ETHERTYPES[inner] + packet], 1)
    start = header + ETHERTYPES[outer]
    assert frame.link_type == 1 and frame.octets.startswith(start)
    (back,) = bench.run(receiver(outer=outer), [frame.octets + bytes(9)], 1)
    assert back.octets == header + ETHERTYPES[inner] + packet


def test_a_bypassed_frame_is_the_frame(bench: Bench) -> None:
    padded = MACS + ETHERTYPES[4] + ipv4(udp()) + bytes(14)
    tagged = TAGGED + ETHERTYPES[6] + ipv6(udp())
    written = bench.run(Gateway(dice()), [padded, tagged], 1)
    assert [frame.octets for frame in written] == [padded, tagged]
    assert [line["verdict"] for line in bench.report] == ["bypass", "bypass"]


@pytest.mark.parametrize(
    ("link_type", "header"), [(0, b"\2\0\0\0"), (12, b""), (113, bytes(14) + b"\x08\x00"), (228, b"")]
)
def test_other_links_become_raw_ip(bench: Bench, link_type: int, header: bytes) -> None:
    packet = packet_of(4)
    (frame,) = bench.run(Gateway(dice()), [header + packet], link_type)
    assert (frame.link_type, frame.octets) == (101, packet)


def test_what_is_not_ip_is_dropped(bench: Bench) -> None:
    arp = MACS + b"\x08\x06" + bytes(28)
    assert bench.run(sender(), [arp, MACS], 1) == []
    assert [(line["verdict"], line["reason"]) for line in bench.report] == [("drop", "malformed-header")] * 2


def test_an_empty_capture_gives_an_empty_capture(bench: Bench) -> None:
    assert bench.run(sender(), []) == []
    assert str(bench.summary) == "0 packets: 0 protect, 0 open, 0 bypass, 0 drop"


def test_a_snapped_packet_is_dropped(bench: Bench) -> None:
    assert bench.run(sender(), [packet_of(4)[:30]]) == []
    assert bench.report[0]["reason"] == "malformed-header"


@pytest.mark.parametrize(
    ("packet", "direction"),
    [
        (ipv4(bytes(20), protocol=50, destination=OUTER[4][1]), "in"),
        (ipv4(bytes(20), protocol=51, destination=OUTER[4][1]), "in"),
        (ipv4(bytes(20), protocol=108, destination=OUTER[4][1]), "in"),
        (ipv4(udp(4500, 4500), destination=OUTER[4][1]), "in"),
        (ipv6(udp(4500, 4500), destination=OUTER[6][1]), "in"),
        (ipv4(udp(4500, 500), destination=OUTER[4][1]), "out"),
        (ipv4(udp(4500, 4500), protocol=6, destination=OUTER[4][1]), "out"),
        (ipv4(bytes(20), protocol=50, destination=OUTER[4][0]), "out"),
        (ipv4(udp(), destination=OUTER[4][1]), "out"),
    ],
)
def test_what_is_inbound(bench: Bench, packet: bytes, direction: str) -> None:
    bench.run(Gateway(dice()), [packet])
    assert bench.report[0]["direction"] == direction
    assert bench.report[0]["verdict"] == ("drop" if direction == "in" else "bypass")


def numbered(first: int, count: int) -> list[bytes]:
    peer = sender(sequence=first - 1)
    return [sent(peer.outbound(packet_of(4), NOW)).packet for _ in range(count)]


def test_counters_of_today_refuse_a_capture_of_last_week_unless_told(bench: Bench) -> None:
    packets = numbered(100, 3)
    assert len(bench.run(receiver(sequence=5000), packets)) == 0
    assert {line["reason"] for line in bench.report} == {"replay"}
    assert len(bench.run(receiver(sequence=5000), packets, keep_sequence=True)) == 3


def test_with_keep_sequence_a_replay_is_still_one(bench: Bench) -> None:
    packets = numbered(100, 3)
    bench.run(receiver(), [packets[2], packets[0], packets[0], packets[1], packets[2]], keep_sequence=True)
    assert [line["verdict"] for line in bench.report] == ["open", "open", "drop", "open", "drop"]


def test_keep_sequence_leaves_outbound_counters_alone(bench: Bench) -> None:
    (frame,) = bench.run(sender(sequence=41), [packet_of(4)], keep_sequence=True)
    assert int.from_bytes(frame.octets[24:28]) == 42


def test_no_report_is_no_trouble(tmp_path: Path) -> None:
    read = write_capture(tmp_path / "in.pcap", [packet_of(4)])
    summary = pcap.run(sender(), set(), read, tmp_path / "out.pcap", None, False)
    assert summary.verdicts == {"protect": 1}


def test_a_damaged_capture_keeps_what_was_before_the_damage(bench: Bench) -> None:
    write_capture(bench.read, [packet_of(4)] * 3)
    bench.read.write_bytes(bench.read.read_bytes()[:-5])
    with pytest.raises(CaptureError, match="the file ends inside a packet"):
        pcap.run(sender(), set(), bench.read, bench.write, None, False)
    assert len(frames(bench.write)) == 2


def test_what_is_no_capture_touches_no_output(bench: Bench) -> None:
    bench.read.write_text("not a capture")
    bench.write.write_text("precious")
    with pytest.raises(CaptureError, match="neither a pcap nor a pcapng"):
        pcap.run(sender(), set(), bench.read, bench.write, None, False)
    assert bench.write.read_text() == "precious"


def test_one_file_can_not_be_both(bench: Bench) -> None:
    write_capture(bench.read, [packet_of(4)])
    before = bench.read.read_bytes()
    bench.write.symlink_to(bench.read)
    for write in (bench.read, bench.write):
        with pytest.raises(pcap.SameFile):
            pcap.run(sender(), set(), bench.read, write, None, False)
    assert bench.read.read_bytes() == before


def test_interfaces_of_different_kinds_in_one_pcapng(tmp_path: Path) -> None:
    def block(kind: int, body: bytes) -> bytes:
        body += bytes(-len(body) % 4)
        return struct.pack("<II", kind, 12 + len(body)) + body + struct.pack("<I", 12 + len(body))

    def blocks() -> Iterator[bytes]:
        yield block(0x0A0D0D0A, struct.pack("<IHHq", 0x1A2B3C4D, 1, 0, -1))
        yield from (block(1, struct.pack("<HHI", link_type, 0, 0)) for link_type in (1, 101))
        for number, octets in ((0, MACS + ETHERTYPES[4] + packet_of(4)), (1, packet_of(6))):
            yield block(6, struct.pack("<IIIII", number, 0, 0, len(octets), len(octets)) + octets)

    read, write = tmp_path / "in.pcapng", tmp_path / "out.pcap"
    read.write_bytes(b"".join(blocks()))
    pcap.run(Gateway(dice()), set(), read, write, None, False)
    assert [frame.octets for frame in frames(write)] == [
        MACS + ETHERTYPES[4] + packet_of(4),
        bytes(12) + ETHERTYPES[6] + packet_of(6),
    ]

"""Capture files: pcap of either byte order and resolution and pcapng are read, pcap is written.

A frame's IP packet is found under Ethernet (802.1Q tags too), raw IP, BSD loopback and Linux cooked headers.
Damage gives one CaptureError that names the octet where it is; it is never guessed around.
"""

import struct
from collections.abc import Iterator
from typing import BinaryIO, NamedTuple

NANOSECONDS = 10**9
BLOCK_OCTETS_MAX = 1 << 24
"""No honest record is larger; a damaged length must not make us ask for its gigabytes."""

ETHERNET = 1
RAW_IP = 101

_MAGIC = {
    bytes.fromhex("a1b2c3d4"): (">", 1000),
    bytes.fromhex("d4c3b2a1"): ("<", 1000),
    bytes.fromhex("a1b23c4d"): (">", 1),
    bytes.fromhex("4d3cb2a1"): ("<", 1),
}
_SECTION = bytes.fromhex("0a0d0d0a")
_SECTION_ORDER = {bytes.fromhex("1a2b3c4d"): ">", bytes.fromhex("4d3c2b1a"): "<"}
_INTERFACE, _OBSOLETE_PACKET, _SIMPLE_PACKET, _ENHANCED_PACKET = 1, 2, 3, 6
_RESOLUTION_OPTION, _OFFSET_OPTION = 9, 14

_ETHERTYPES = {4: b"\x08\x00", 6: b"\x86\xdd"}
_IP_ETHERTYPES = frozenset(_ETHERTYPES.values())
_TAG_ETHERTYPES = frozenset((b"\x81\x00", b"\x88\xa8", b"\x91\x00"))

# Link types whose header has a fixed length: where the packet begins, where the ethertype is (None: there is none).
_FIXED: dict[int, tuple[int, int | None]] = {
    0: (4, None),
    12: (0, None),
    14: (0, None),
    RAW_IP: (0, None),
    108: (4, None),
    113: (16, 14),
    228: (0, None),
    229: (0, None),
    276: (20, 0),
}


class CaptureError(ValueError):
    """A capture file that can't be read on, and the offset of the octet where that shows."""

    def __init__(self, sentence: str, offset: int) -> None:
        super().__init__(f"{sentence} (at byte {offset})")
        self.offset = offset


class Frame(NamedTuple):
    """One captured frame. `nanoseconds` since the epoch."""

    link_type: int
    nanoseconds: int
    octets: bytes


class _Source:
    """A file that knows where it is."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.offset = 0

    def take(self, count: int, what: str, *, or_end: bool = False) -> bytes:
        """Exactly `count` octets; none at all only at the end of the file and where `or_end` allows it."""
        if count > BLOCK_OCTETS_MAX:
            raise CaptureError(f"{what} of {count} octets", self.offset)
        octets = self._file.read(count)
        if len(octets) < count and (octets or not or_end):
            raise CaptureError(f"the file ends inside {what}", self.offset + len(octets))
        self.offset += len(octets)
        return octets


def _check_link_type(link_type: int, offset: int) -> None:
    if link_type != ETHERNET and link_type not in _FIXED:
        raise CaptureError(f"link type {link_type} is not one that can be read", offset)


def read(file: BinaryIO) -> Iterator[Frame]:
    """All frames of a pcap or pcapng file."""
    source = _Source(file)
    magic = source.take(4, "the file header")
    if magic == _SECTION:
        return _read_pcapng(source)
    if magic in _MAGIC:
        return _read_pcap(source, *_MAGIC[magic])
    raise CaptureError("this is neither a pcap nor a pcapng file", 0)


def _read_pcap(source: _Source, order: str, nanoseconds_per_unit: int) -> Iterator[Frame]:
    _, _, _, _, _, network = struct.unpack(f"{order}HHiIII", source.take(20, "the file header"))
    # The upper bits say how long a frame check sequence is.
    link_type = network & 0xFFFF
    _check_link_type(link_type, 20)
    while header := source.take(16, "a packet header", or_end=True):
        seconds, fraction, captured, _ = struct.unpack(f"{order}IIII", header)
        octets = source.take(captured, "a packet")
        yield Frame(link_type, seconds * NANOSECONDS + fraction * nanoseconds_per_unit, octets)


class _Interface(NamedTuple):
    link_type: int
    snap_octets: int
    units_per_second: int
    offset_seconds: int

    def nanoseconds(self, high: int, low: int) -> int:
        units = (high << 32 | low) * NANOSECONDS // self.units_per_second
        return units + self.offset_seconds * NANOSECONDS


def _read_pcapng(source: _Source) -> Iterator[Frame]:
    order = _section_order(source)
    interfaces: list[_Interface] = []
    while header := source.take(4, "a block header", or_end=True):
        if header == _SECTION:
            order, interfaces = _section_order(source), []
            continue
        start = source.offset - 4
        kind = int(struct.unpack(f"{order}I", header)[0])
        body = _block_body(source, order, start)
        try:
            if kind == _INTERFACE:
                interfaces.append(_interface(body, order, start))
            elif kind in (_SIMPLE_PACKET, _ENHANCED_PACKET, _OBSOLETE_PACKET):
                yield _packet(kind, body, order, interfaces)
        except (struct.error, IndexError):
            raise CaptureError(f"a damaged block of type {kind}", start) from None


def _section_order(source: _Source) -> str:
    start = source.offset - 4
    length, magic = source.take(4, "a section header"), source.take(4, "a section header")
    order = _SECTION_ORDER.get(magic)
    if order is None:
        raise CaptureError("a pcapng section without its byte-order magic", start)
    octets = int(struct.unpack(f"{order}I", length)[0])
    if octets < 28 or octets % 4:
        raise CaptureError(f"a section header of {octets} octets", start)
    source.take(octets - 12, "a section header")
    return order


def _block_body(source: _Source, order: str, start: int) -> bytes:
    length = source.take(4, "a block header")
    octets = int(struct.unpack(f"{order}I", length)[0])
    if octets < 12 or octets % 4:
        raise CaptureError(f"a block of {octets} octets", start)
    body = source.take(octets - 12, "a block")
    if source.take(4, "a block") != length:
        raise CaptureError("a block whose two lengths differ", start)
    return body


def _interface(body: bytes, order: str, start: int) -> _Interface:
    link_type, _, snap_octets = struct.unpack_from(f"{order}HHI", body)
    _check_link_type(link_type, start + 8)
    units_per_second, offset_seconds = 10**6, 0
    position = 8
    while position + 4 <= len(body):
        code, octets = struct.unpack_from(f"{order}HH", body, position)
        value = body[position + 4 : position + 4 + octets]
        if code == _RESOLUTION_OPTION:
            units_per_second = 2 ** (value[0] & 0x7F) if value[0] & 0x80 else 10 ** value[0]
        elif code == _OFFSET_OPTION:
            (offset_seconds,) = struct.unpack(f"{order}q", value)
        position += 4 + -(-octets // 4) * 4
    return _Interface(link_type, snap_octets, units_per_second, offset_seconds)


def _packet(kind: int, body: bytes, order: str, interfaces: list[_Interface]) -> Frame:
    if kind == _SIMPLE_PACKET:
        interface = interfaces[0]
        (captured,) = struct.unpack_from(f"{order}I", body)
        captured = min(captured, interface.snap_octets or captured, len(body) - 4)
        return Frame(interface.link_type, 0, body[4 : 4 + captured])
    layout = "IIIII" if kind == _ENHANCED_PACKET else "HxxIIII"
    number, high, low, captured, _ = struct.unpack_from(order + layout, body)
    if captured > len(body) - 20:
        raise IndexError
    interface = interfaces[number]
    return Frame(interface.link_type, interface.nanoseconds(high, low), body[20 : 20 + captured])


def split(frame: Frame) -> tuple[bytes, bytes] | None:
    """The link header and the IP packet (link padding may follow it), or None where it carries none."""
    octets = frame.octets
    if frame.link_type == ETHERNET:
        at = 12
        while octets[at : at + 2] in _TAG_ETHERTYPES:
            at += 4
        start = at + 2
    else:
        start, ethertype_at = _FIXED[frame.link_type]
        if ethertype_at is None:
            return octets[:start], octets[start:]
        at = ethertype_at
    return (octets[:start], octets[start:]) if octets[at : at + 2] in _IP_ETHERTYPES else None


class Writer:
    """Writes a pcap file of nanoseconds: Ethernet if `link_type` is, else raw IP."""

    def __init__(self, file: BinaryIO, link_type: int) -> None:
        self._file = file
        self.link_type = ETHERNET if link_type == ETHERNET else RAW_IP
        file.write(struct.pack("<IHHiIII", 0xA1B23C4D, 2, 4, 0, 0, 1 << 18, self.link_type))

    def write(self, frame: Frame, header: bytes, packet: bytes) -> None:
        """Add `packet` with the time of `frame`, under its Ethernet `header` with the right ethertype."""
        octets = packet
        if self.link_type == ETHERNET:
            addresses = header[:-2] if frame.link_type == ETHERNET else bytes(12)
            octets = addresses + _ETHERTYPES[packet[0] >> 4] + packet
        seconds, nanoseconds = divmod(frame.nanoseconds, NANOSECONDS)
        self._file.write(struct.pack("<IIII", seconds & 0xFFFFFFFF, nanoseconds, len(octets), len(octets)) + octets)

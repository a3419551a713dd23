"""Targets: everything that reads a packet without a key. The input is the packet, or a few fields and the packet."""

import struct
import zlib

from culvert.ipsec import ah, fragment, icmp, ip, ipcomp, mss, transport, udp
from culvert.ipsec.drops import Reason
from culvert.ipsec.fragment import OCTETS_MAX, PACKETS_MAX, PIECES_MAX, Reassembler
from culvert.ipsec.ip import Datagram
from tests.fuzz.parts import FAR, NEAR, NOW, stretched, sum16, with_true_length

PORT = 17
_FRAGMENT_FIELDS = struct.Struct("!BHH")
_PIECE = struct.Struct("!BBHHB")
_UDP_FIELDS = struct.Struct("!HH")
_FILLINGS = (bytes(at * 7 & 0xFF for at in range(256)) * 5, bytes(at * 7 & 0xFF ^ 4 for at in range(256)) * 5)
_COMPRESSION_FIELDS = struct.Struct("!BHH")


def judge_ip(data: bytes) -> None:
    """Header parsing, and everything that trusts it: transport mode's place, MSS, ICMP answers, AH's still header."""
    datagram = ip.parse(data)
    if datagram is None:
        return
    assert datagram.length <= len(data) and datagram.protocol_at < datagram.offset <= datagram.length
    packet = data[: datagram.length]
    assert ip.parse(packet) == datagram == ip.parse(packet + b"link padding")
    assert datagram.flow.key == datagram.key
    if datagram.fragment is None:
        _judge_transport(packet, datagram)
    _judge_mss(packet, datagram)
    _judge_answer(packet, datagram)
    for foretell in (False, True):
        still = ah.immutable(packet[: datagram.offset], foretell=foretell)
        assert still is None or len(still) == datagram.offset
        assert still is None or ah.immutable(still, foretell=False) == still


def _judge_transport(packet: bytes, datagram: Datagram) -> None:
    place = transport.place(packet, datagram)
    assert place.header + place.payload == packet
    assert packet[place.protocol_at] == place.protocol
    header = ip.with_length(place.header, place.protocol_at, place.protocol, len(place.payload))
    assert header[:10] == packet[:10] and header[12:] == packet[12 : len(header)]
    closed = transport.closed(packet, datagram, PORT, b"payload")
    parsed = ip.parse(closed)
    assert parsed is not None and parsed.protocol == PORT and closed.endswith(b"payload")


def _judge_mss(packet: bytes, datagram: Datagram) -> None:
    clamped = mss.clamped(packet, datagram, 536)
    assert len(clamped) == len(packet) and clamped[: datagram.offset] == packet[: datagram.offset]
    assert sum16(clamped[datagram.offset :]) == sum16(packet[datagram.offset :])
    assert mss.clamped(clamped, datagram, 536) == clamped


def _judge_answer(packet: bytes, datagram: Datagram) -> None:
    answer = icmp.too_big(packet, datagram, 1280)
    if answer is None:
        return
    parsed = ip.parse(answer)
    assert parsed is not None and len(answer) <= (576 if datagram.version == 4 else 1280)
    assert parsed.key[0] == datagram.key[1] and parsed.key[1] == datagram.key[0]
    assert icmp.too_big(answer, parsed, 1280) is None, "an error about an error"
    complaint = icmp.parse_too_big(answer)
    assert complaint is None or complaint.mtu == 1280


def judge_complaint(data: bytes) -> None:
    """ICMP errors about our packets, as they come from the way."""
    complaint = icmp.parse_too_big(data)
    if complaint is None:
        return
    assert complaint.protocol in (50, 51) and len(complaint.source) == len(complaint.destination)
    assert complaint.mtu > 0 and 0 <= complaint.spi <= 0xFFFFFFFF and 0 <= complaint.sequence_low <= 0xFFFFFFFF


def judge_udp(data: bytes) -> None:
    """What is in a UDP datagram that stands anywhere in a packet."""
    if len(data) < _UDP_FIELDS.size:
        return
    end, offset = (part % len(data) for part in _UDP_FIELDS.unpack_from(data))
    found = udp.esp_in(data, min(offset, end), end)
    if not isinstance(found, Reason):
        assert min(offset, end) + udp.HEADER_OCTETS == found[0] <= found[1] - 4 <= end - 4


def judge_ipcomp(data: bytes) -> None:
    """Decompression against zlib itself, and what compression makes of the same octets."""
    if len(data) < _COMPRESSION_FIELDS.size:
        return
    next_header, cpi, size = _COMPRESSION_FIELDS.unpack_from(data)
    content = data[_COMPRESSION_FIELDS.size :]
    found = ipcomp.decompress(cpi, struct.pack("!BBH", next_header, 0, cpi) + content)
    state = zlib.decompressobj(-zlib.MAX_WBITS)
    try:
        right = state.decompress(content, ip.LENGTH_MAX + 1)
    except zlib.error:
        assert isinstance(found, Reason)
    else:
        fits = state.eof and len(right) <= ip.LENGTH_MAX and cpi and next_header != 108
        assert found == (next_header, right) if fits else isinstance(found, Reason)
    if cpi:
        clear = stretched(content, size)[: ip.LENGTH_MAX]
        then, octets = ipcomp.Compressor(cpi).compress(PORT, clear)
        assert len(octets) < len(clear) or (then, octets) == (PORT, clear)
        assert then == PORT or ipcomp.decompress(cpi, octets) == (PORT, clear)


def judge_cut(data: bytes) -> None:
    """Packets cut for a path and put together again."""
    if len(data) < _FRAGMENT_FIELDS.size:
        return
    flags, mtu, size = _FRAGMENT_FIELDS.unpack_from(data)
    packet = stretched(data[_FRAGMENT_FIELDS.size :], size)
    packet = with_true_length(packet) if flags & 1 else packet
    datagram = ip.parse(packet)
    if datagram is None or (datagram.version == 6 and datagram.fragment):
        return
    if datagram.fragment and datagram.fragment.offset + datagram.length - datagram.offset > ip.LENGTH_MAX:
        return
    mtu = max(mtu, len(packet) // 100)
    if datagram.offset == datagram.length:
        # Nothing behind the header: there is nothing to cut, and no MTU is smaller than a header.
        return
    pieces = fragment.split(packet, datagram, mtu, 0x12345678)
    if len(pieces) == 1:
        assert len(packet[: datagram.length]) <= mtu or len(pieces[0]) <= datagram.length + 8
        return
    parsed = [(piece, ip.parse(piece)) for piece in pieces]
    for piece, each in parsed:
        assert len(piece) <= max(mtu, datagram.offset + 16)
        if each is None:
            # The header chain of IPv6 was cut in two (RFC 7112 forbids it, whoever sends so much of it).
            assert datagram.version == 6
            return
        assert each.length == len(piece) and each.fragment is not None
    if datagram.fragment is None and len(pieces) <= PIECES_MAX and datagram.length <= ip.LENGTH_MAX:
        _judge_joined(packet[: datagram.length], datagram, parsed[flags >> 1 :] + parsed[: flags >> 1])


def _judge_joined(packet: bytes, datagram: Datagram, pieces: list[tuple[bytes, Datagram | None]]) -> None:
    reassembler = Reassembler()
    whole: bytes | Reason | None = None
    for piece, parsed in pieces:
        assert whole is None and parsed is not None
        whole = reassembler.add(piece, parsed, NOW)
    assert isinstance(whole, bytes) and not len(reassembler)
    if datagram.version == 6:
        assert whole == packet
    else:
        assert whole[:6] == packet[:6] and whole[8:10] == packet[8:10] and whole[12:] == packet[12:]


def _piece(kind: int, number: int, offset: int, size: int) -> bytes:
    """A fragment whose octets follow from where it stands; `kind`: bit 0 more, bit 1 IPv6, bit 2 another filling."""
    begin = offset * 8 & 0xFF
    body = _FILLINGS[kind >> 2 & 1][begin : begin + size]
    if kind & 2:
        behind = struct.pack("!BBHI", PORT, 0, (offset & 0x1FFF) << 3 | kind & 1, number)
        start = struct.pack("!IHBB", 6 << 28, 8 + len(body), 44, 64)
        return start + NEAR[6].packed + FAR[6].packed + behind + body
    place = offset & 0x1FFF | (kind & 1) << 13
    start = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(body), number, place, 64, PORT, 0)
    return start + NEAR[4].packed + FAR[4].packed + body


def judge_reassembly(data: bytes) -> None:
    """Fragments in any order and time, next to the simplest account of what came."""
    reassembler, now = Reassembler(), NOW
    account: dict[fragment.Key, tuple[float, dict[int, bytes]]] = {}
    for kind, number, offset, size, seconds in _PIECE.iter_unpack(data[: len(data) // _PIECE.size * _PIECE.size]):
        now += seconds / 8
        packet = _piece(kind, number & 7, offset, size & 0x3FF)
        parsed = ip.parse(packet)
        if parsed is None or parsed.fragment is None:
            continue
        key = fragment.key_of(parsed)
        verdict = reassembler.add(packet, parsed, now)
        part = packet[parsed.offset : parsed.length]
        _, parts = account.setdefault(key, (now, {}))
        if verdict is None:
            parts[parsed.fragment.offset] = part
        elif isinstance(verdict, bytes):
            parts[parsed.fragment.offset] = part
            _judge_whole(verdict, account.pop(key)[1])
        elif verdict is Reason.REASSEMBLY or not parts:
            del account[key]
        dead = sum(1 for _ in reassembler.expire(now))
        late = [key for key, (since, _) in account.items() if now - since >= fragment.WAIT_SECONDS]
        assert dead == len(late)
        for each in late:
            del account[each]
        held = sum(len(part) for _, parts in account.values() for part in parts.values())
        assert len(reassembler) == len(account) <= PACKETS_MAX and reassembler._octets == held <= OCTETS_MAX


def _judge_whole(whole: bytes, parts: dict[int, bytes]) -> None:
    body = b""
    for at, part in sorted(parts.items()):
        assert at == len(body), "a hole or an overlap"
        body += part
    parsed = ip.parse(whole)
    assert parsed is not None and parsed.fragment is None and whole[parsed.offset :] == body

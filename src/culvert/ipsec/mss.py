"""TCP's maximum segment size (RFC 9293 section 3.7.1), made to fit the tunnel in the SYNs that pass.

For paths where the ICMP messages of path MTU discovery get lost: both ends then choose segments that fit.
"""

from culvert.ipsec import ip
from culvert.ipsec.ip import Datagram, NextHeader

TCP_OCTETS = 20
_SYN, _FLAGS_AT, _DATA_OFFSET_AT, _CHECKSUM_AT = 0x02, 13, 12, 16
_END, _NO_OPERATION, _SEGMENT_SIZE = 0, 1, 2
SIZES = {4: ip.IPV4_HEADER_OCTETS + TCP_OCTETS, 6: ip.IPV6_HEADER_OCTETS + TCP_OCTETS}
"""What of a packet is no segment."""


def clamped(packet: bytes, datagram: Datagram, largest: int) -> bytes:
    """The packet, with a segment size of at most `largest` if it is a SYN that asks for more."""
    start = datagram.offset
    if datagram.protocol != NextHeader.TCP or datagram.fragment or datagram.length < start + TCP_OCTETS:
        return packet
    if not packet[start + _FLAGS_AT] & _SYN:
        return packet
    at = _option_at(
        packet, start + TCP_OCTETS, min(datagram.length, start + (packet[start + _DATA_OFFSET_AT] >> 4) * 4)
    )
    if at is None or int.from_bytes(packet[at : at + 2]) <= largest:
        return packet
    changed = bytearray(packet)
    changed[at : at + 2] = largest.to_bytes(2)
    # RFC 1624, over the 16-bit words that changed: the option may stand at an odd place of the segment.
    first, last = start + (at - start) // 2 * 2, start + (at + 3 - start) // 2 * 2
    old, new = packet[first:last], bytes(changed[first:last])
    checksum_at = start + _CHECKSUM_AT
    checksum = int.from_bytes(packet[checksum_at : checksum_at + 2]) ^ 0xFFFF
    checksum += ip.ones_complement_sum(new) - ip.ones_complement_sum(old)
    changed[checksum_at : checksum_at + 2] = ((checksum - 1) % 0xFFFF + 1 ^ 0xFFFF).to_bytes(2)
    return bytes(changed)


def _option_at(packet: bytes, at: int, end: int) -> int | None:
    """Where the value of the segment size option stands."""
    while at < end and packet[at] != _END:
        if packet[at] == _NO_OPERATION:
            at += 1
            continue
        octets = packet[at + 1] if at + 1 < end else 0
        if octets < 2 or at + octets > end:
            return None
        if packet[at] == _SEGMENT_SIZE and octets == 4:
            return at + 2
        at += octets
    return None

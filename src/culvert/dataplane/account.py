"""What packets came to, in the words and rows that every plane shares."""

from culvert.ipsec import ip
from culvert.ipsec.ip import NextHeader
from culvert.ipsec.sa import Mode, Protocol, SecurityAssociation
from culvert.ipsec.verdict import Drop

MODES = (
    (Mode.TRANSPORT, Protocol.AH),
    (Mode.TRANSPORT, Protocol.ESP),
    (Mode.TUNNEL, Protocol.AH),
    (Mode.TUNNEL, Protocol.ESP),
)
"""The rows of `show net ipsec-stat`, in its order."""


def mode_row(sa: SecurityAssociation) -> int:
    """The row of MODES where this SA's packets are counted."""
    return MODES.index((sa.mode, sa.protocol))


def describe(packet: bytes, drop: Drop) -> str:
    """A dropped packet in words, such as `2.2.2.2 -> 3.3.3.3 SPI(0x3e9) seq 17 (/Common/sa-in)`."""
    words = [_addresses_and_protocol(packet)]
    labels = [each.label for each in (drop.sa, drop.policy) if each is not None and each.label]
    if labels:
        words.append(f"({', '.join(labels)})")
    return " ".join(words)


def _addresses_and_protocol(packet: bytes) -> str:
    datagram = ip.parse(packet)
    if datagram is None:
        return f"{len(packet)} octets that are no IP packet"
    flow = datagram.flow
    ends = f"{flow.source} -> {flow.destination}"
    if flow.protocol in (NextHeader.ESP, NextHeader.AH):
        # AH has its SPI four octets further in (RFC 4302 section 2).
        at = datagram.offset + (4 if flow.protocol == NextHeader.AH else 0)
        spi, sequence = packet[at : at + 4], packet[at + 4 : at + 8]
        return f"{ends} SPI({int.from_bytes(spi):#x}) seq {int.from_bytes(sequence)}"
    if flow.destination_port is None:
        return f"{ends} protocol {flow.protocol}"
    return f"{ends} protocol {flow.protocol} port {flow.source_port} -> {flow.destination_port}"

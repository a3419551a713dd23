"""What packets came to, in the words and rows that every plane shares."""

from culvert.ipsec import ip
from culvert.ipsec.drops import Reason
from culvert.ipsec.esp import HEADER_OCTETS as ESP_OCTETS
from culvert.ipsec.ip import Datagram, NextHeader
from culvert.ipsec.sa import Mode, Protocol, SecurityAssociation
from culvert.ipsec.selector import ICMP_BASE
from culvert.ipsec.udp import HEADER_OCTETS as UDP_OCTETS
from culvert.ipsec.verdict import Drop

MODES = (
    (Mode.TRANSPORT, Protocol.AH),
    (Mode.TRANSPORT, Protocol.ESP),
    (Mode.TUNNEL, Protocol.AH),
    (Mode.TUNNEL, Protocol.ESP),
)
"""The rows of `show net ipsec-stat`, in its order."""

_SPI_AT = {int(NextHeader.ESP): 0, int(NextHeader.AH): 4}
"""AH has its SPI four octets further in (RFC 4302 section 2)."""

_NO_ESP = frozenset((Reason.IKE, Reason.KEEP_ALIVE))


def mode_row(sa: SecurityAssociation) -> int:
    """The row of MODES where this SA's packets are counted."""
    return MODES.index((sa.mode, sa.protocol))


def describe(packet: bytes, drop: Drop, *, arrived: bool = False) -> str:
    """A dropped packet in words, such as `2.2.2.2 -> 3.3.3.3 SPI(0x3e9) seq 17 (/Common/sa-in)`.

    `arrived`: it came from the way, so what it has in UDP should be ESP.
    All that RFC 4303 and RFC 4301 want of an audit event: addresses, SPI, sequence number, flow label of IPv6.
    """
    words = [_addresses_and_protocol(packet, in_udp=arrived and drop.reason not in _NO_ESP)]
    labels = [each.label for each in (drop.sa, drop.policy) if each is not None and each.label]
    if labels:
        words.append(f"({', '.join(labels)})")
    return " ".join(words)


def _addresses_and_protocol(packet: bytes, *, in_udp: bool) -> str:
    if not packet:
        return "what the gateway sends by itself"
    datagram = ip.parse(packet)
    if datagram is None:
        return f"{len(packet)} octets that are no IP packet"
    flow = datagram.flow
    label = f" flow {datagram.flow_label:#x}" if datagram.version == 6 else ""
    return f"{flow.source} -> {flow.destination} {_protocol(packet, datagram, in_udp=in_udp)}{label}"


def _protocol(packet: bytes, datagram: Datagram, *, in_udp: bool) -> str:
    protocol, source, destination = datagram.key[2:]
    if datagram.is_later_fragment:
        return f"protocol {protocol} fragment"
    if protocol in _SPI_AT:
        return _spi(packet, datagram.offset + _SPI_AT[protocol])
    if source is None or destination is None:
        return f"protocol {protocol}"
    if source >= ICMP_BASE:
        return f"protocol {protocol} type {source - ICMP_BASE} code {destination - ICMP_BASE}"
    ports = f"protocol {protocol} port {source} -> {destination}"
    esp_at = datagram.offset + UDP_OCTETS
    if in_udp and protocol == NextHeader.UDP and datagram.length >= esp_at + ESP_OCTETS:
        return f"{ports} {_spi(packet, esp_at)}"
    return ports


def _spi(packet: bytes, at: int) -> str:
    spi, sequence = packet[at : at + 4], packet[at + 4 : at + 8]
    return f"SPI({int.from_bytes(spi):#x}) seq {int.from_bytes(sequence)}"

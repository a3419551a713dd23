"""`culvert pcap`: what would this gateway do with the packets of a capture? No root, no daemon, no network.

Every frame of the capture is offered to a Gateway, at the time of its record. ESP, AH, IPComp and UDP port
4500 addressed to one of the endpoints is inbound, everything else outbound. What the gateway would emit is
written: sealed and opened packets, and bypassed ones unchanged.

With an `Admission`, the checks that the live gateway makes around its SPD are made too: clear packets that
should have come protected, transit packets that no virtual server forwards (opened ones too), and clear
packets whose answers are protected. Without one, the SPD and the SAs alone decide.

A frame without an IP packet (ARP, spanning tree) is reported as an outbound drop with the reason
malformed-header: this gateway moves IP packets and would emit nothing for it.

The replay window of an inbound SA begins behind the sequence number that the SA was added with. With
`keep_sequence` that number is forgotten and the first authentic packet sets the window wherever it is; so
a capture from last week can be opened under counters of today.
"""

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, TextIO

from culvert.cli import capture
from culvert.cli.capture import Frame
from culvert.dataplane.admission import Admission
from culvert.ipsec import ip
from culvert.ipsec.drops import TABLE, Reason
from culvert.ipsec.fragment import Trail, key_of
from culvert.ipsec.gateway import Gateway
from culvert.ipsec.ip import NextHeader
from culvert.ipsec.sa import NAT_TRAVERSAL_PORT, IPAddress
from culvert.ipsec.sadb import Inbound
from culvert.ipsec.verdict import Bypass, Deliver, Drop, Hold, Send, Verdict

_ALWAYS_IPSEC = frozenset((NextHeader.ESP, NextHeader.AH, NextHeader.IPCOMP))
_WORDS: dict[type[Verdict], str] = {Send: "protect", Deliver: "open", Bypass: "bypass", Drop: "drop", Hold: "hold"}


class SameFile(ValueError):
    """The capture to read and the capture to write are one file."""


@dataclass(slots=True)
class Summary:
    """How many packets had which verdict, and which reason those had that were dropped."""

    packets: int = 0
    verdicts: Counter[str] = field(default_factory=Counter)
    reasons: Counter[str] = field(default_factory=Counter)

    def __str__(self) -> str:
        shown = [word for kind, word in _WORDS.items() if kind is not Hold or self.verdicts[word]]
        words = ", ".join(f"{self.verdicts[word]} {word}" for word in shown)
        reasons = ", ".join(f"{word} {count}" for word, count in sorted(self.reasons.items()))
        return f"{self.packets} packets: {words}" + (f" ({reasons})" if reasons else "")


def run(
    gateway: Gateway,
    endpoints: set[IPAddress],
    read: Path,
    write: Path,
    report: TextIO | None,
    keep_sequence: bool,
    admission: Admission | None = None,
    sequence_high: int = 0,
) -> Summary:
    """Offer every packet of the capture `read` to the gateway, behind `admission`.

    `sequence_high`: the upper half of the first extended sequence numbers, which no packet shows.

    Raises CaptureError, SameFile or OSError.
    """
    if keep_sequence:
        for record in gateway.sadb:
            if isinstance(record, Inbound):
                epoch = sequence_high << 32 if record.replay.extended else 0
                record.replay.restart(max(0, epoch - 1))
    with read.open("rb") as source:
        frames = capture.read(source)
        if write.exists() and write.samefile(read):
            raise SameFile(f"{write} can't be read and written at once")
        with write.open("wb") as sink:
            packed = {endpoint.packed for endpoint in endpoints}
            return _Run(gateway, packed, report, admission).over(frames, sink)


def _emitted(verdict: Verdict) -> tuple[bytes, ...]:
    if isinstance(verdict, Send):
        return verdict.packet, *verdict.rest
    return (verdict.packet,) if isinstance(verdict, Deliver | Bypass) else ()


class _Run:
    def __init__(
        self, gateway: Gateway, endpoints: set[bytes], report: TextIO | None, admission: Admission | None
    ) -> None:
        self._admission = admission
        self._gateway = gateway
        self._endpoints = endpoints
        encapsulations = (record.sa.encapsulation for record in gateway.sadb)
        self._ports = {NAT_TRAVERSAL_PORT} | {ports.destination for ports in encapsulations if ports}
        self._directions: Trail[bool] = Trail()
        self._report = report
        self._summary = Summary()

    def over(self, frames: Iterator[Frame], sink: BinaryIO) -> Summary:
        writer: capture.Writer | None = None
        for frame in frames:
            writer = writer or capture.Writer(sink, frame.link_type)
            header, packet = capture.split(frame) or (b"", b"")
            direction, verdict = self._judge(packet, frame.nanoseconds / capture.NANOSECONDS)
            self._tell(direction, verdict)
            for emitted in _emitted(verdict):
                writer.write(frame, header, emitted)
        if writer is None:
            capture.Writer(sink, capture.RAW_IP)
        return self._summary

    def _judge(self, packet: bytes, now: float) -> tuple[str, Verdict]:
        datagram = ip.parse(packet)
        if datagram is None:
            return "out", Drop(Reason.MALFORMED_HEADER)
        if self._comes_in(datagram, now):
            return "in", self._inbound(packet, now)
        return "out", self._outbound(packet, datagram, now)

    def _inbound(self, packet: bytes, now: float) -> Verdict:
        verdict = self._gateway.inbound(packet, now)
        if self._admission is None or not isinstance(verdict, Deliver):
            return verdict
        return self._admission.opened(verdict) or verdict

    def _outbound(self, packet: bytes, datagram: ip.Datagram, now: float) -> Verdict:
        if self._admission is None:
            return self._gateway.outbound(packet, now)
        refused = self._admission.entering(packet, datagram)
        if refused is not None:
            return refused
        verdict = self._gateway.outbound(packet, now)
        if not isinstance(verdict, Bypass):
            return verdict
        return self._admission.leaving(packet, datagram) or verdict

    def _comes_in(self, datagram: ip.Datagram, now: float) -> bool:
        """A later fragment shows no ports, so it goes the way of its first one."""
        if datagram.fragment is None:
            return self._is_inbound(datagram)
        key = key_of(datagram)
        followed = self._directions.follow(key, now) if datagram.is_later_fragment else None
        inbound = self._is_inbound(datagram) if followed is None else followed
        self._directions.lay(key, inbound, now)
        return inbound

    def _is_inbound(self, datagram: ip.Datagram) -> bool:
        _, destination, protocol, _, port = datagram.key
        if destination not in self._endpoints:
            return False
        return protocol in _ALWAYS_IPSEC or (protocol == NextHeader.UDP and port in self._ports)

    def _tell(self, direction: str, verdict: Verdict) -> None:
        summary, word = self._summary, _WORDS[type(verdict)]
        reason = TABLE[verdict.reason].word if isinstance(verdict, Drop) else None
        summary.packets += 1
        summary.verdicts[word] += 1
        if reason:
            summary.reasons[reason] += 1
        if self._report:
            sa, policy = (None, None) if isinstance(verdict, Bypass | Hold) else (verdict.sa, verdict.policy)
            line = {
                "index": summary.packets,
                "direction": direction,
                "verdict": word,
                "reason": reason,
                "sa": {"label": sa.label, "spi": sa.spi} if sa else None,
                "selector": policy.label if policy else None,
            }
            self._report.write(json.dumps(line) + "\n")

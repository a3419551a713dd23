"""The packet path: clear packets go out sealed, sealed packets come in clear, and every other packet has a reason.

Packets never raise: any octets give a Verdict. No socket, clock or random source of its own (`random` and
`now` are passed in), so a test can be the network and the clock.
"""

from typing import NamedTuple

from culvert.ipsec import ip, tunnel
from culvert.ipsec.algorithms import Random
from culvert.ipsec.drops import Reason
from culvert.ipsec.esp import HEADER_OCTETS
from culvert.ipsec.ip import NextHeader
from culvert.ipsec.sa import IPAddress, SecurityAssociation
from culvert.ipsec.sadb import SEQUENCE_MAX, Inbound, Outbound, Record, Sadb
from culvert.ipsec.spd import Action, Policy, Spd

INNER_VERSIONS = {int(NextHeader.IPV4): 4, int(NextHeader.IPV6): 6}


class Send(NamedTuple):
    """Give this outer packet to the network. `record.sequence` is the number that it carries."""

    packet: bytes
    destination: IPAddress
    sa: SecurityAssociation
    policy: Policy
    record: Outbound


class Deliver(NamedTuple):
    """Give this inner packet to the host, which forwards or takes it."""

    packet: bytes
    sa: SecurityAssociation
    policy: Policy
    record: Inbound


class Bypass(NamedTuple):
    """An outbound packet that no entry of the SPD speaks of."""

    packet: bytes


class Drop(NamedTuple):
    """The packet's end. `sa` and `policy` as far as they were known by then."""

    reason: Reason
    sa: SecurityAssociation | None = None
    policy: Policy | None = None
    record: Record | None = None


Verdict = Send | Deliver | Bypass | Drop


def _drop_of(record: Record, reason: Reason, policy: Policy | None = None) -> Drop:
    record.usage.count_drop(reason)
    return Drop(reason, record.sa, policy, record)


class Gateway:
    """One gateway: an SPD, an SADB, and what they make of packets."""

    def __init__(self, random: Random) -> None:
        self.sadb = Sadb(random)
        self.spd = Spd()

    def add_sa(self, sa: SecurityAssociation, *, sequence: int = 0, now: float) -> Record:
        """`sequence`: the last number sent, or, inbound, the highest seen (all up to it count as seen)."""
        return self.sadb.add(sa, sequence, now)

    def remove_sa(self, sa: SecurityAssociation) -> Record:
        return self.sadb.remove(sa)

    def add_policy(self, policy: Policy) -> None:
        self.spd.add(policy)

    def remove_policy(self, policy: Policy) -> None:
        self.spd.remove(policy)

    def outbound(self, packet: bytes, now: float) -> Verdict:
        """What becomes of a clear IP packet (RFC 4301 section 5.1)."""
        inner = ip.parse(packet)
        if inner is None:
            return Drop(Reason.MALFORMED_HEADER)
        policy = self.spd.find_out(inner.key)
        if policy is None:
            return Bypass(packet)
        if policy.action is Action.DISCARD:
            return Drop(Reason.DISCARD, None, policy)
        record = self.sadb.outbound(policy.reqid)
        if record is None:
            return Drop(Reason.NO_SA_OUT, None, policy)
        return self._seal(packet, inner, policy, record, now)

    def _seal(self, packet: bytes, inner: ip.Datagram, policy: Policy, record: Outbound, now: float) -> Verdict:
        sa, sealer, header = record.sa, record.sealer, record.header
        if sealer is None or policy.mode is not sa.mode or policy.protocol is not sa.protocol:
            return _drop_of(record, Reason.PROTOCOL_MISMATCH, policy)
        if record.sequence >= SEQUENCE_MAX:
            return _drop_of(record, Reason.SEQUENCE_EXHAUSTED, policy)
        if sealer.layout.sealed(inner.length) > header.payload_max:
            return _drop_of(record, Reason.TOO_BIG, policy)
        record.sequence += 1
        next_header = NextHeader.IPV4 if inner.version == 4 else NextHeader.IPV6
        sealed = sealer.seal(record.sequence, next_header, packet[: inner.length])
        record.usage.count(inner.length, now)
        return Send(header.emit(inner, len(sealed)) + sealed, sa.destination, sa, policy, record)

    def inbound(self, packet: bytes, now: float) -> Verdict:
        """What becomes of an IP packet that carries ESP (RFC 4301 section 5.2)."""
        outer = ip.parse(packet)
        if outer is None:
            return Drop(Reason.MALFORMED_HEADER)
        if outer.protocol not in (NextHeader.ESP, NextHeader.AH):
            return Drop(Reason.PROTOCOL_MISMATCH)
        if outer.fragment:
            return Drop(Reason.FRAGMENT)
        if outer.length < outer.offset + HEADER_OCTETS:
            return Drop(Reason.RUNT)
        at = outer.offset if outer.protocol == NextHeader.ESP else outer.offset + 4
        spi = int.from_bytes(packet[at : at + 4])
        record = self.sadb.inbound(spi, outer.key[1], outer.protocol)
        if record is None:
            return Drop(Reason.NO_SA_IN)
        if outer.key[0] != record.source:
            return _drop_of(record, Reason.OUTER_MISMATCH)
        return self._open(packet, outer, record, now)

    def _open(self, packet: bytes, outer: ip.Datagram, record: Inbound, now: float) -> Verdict:
        if record.opener is None:
            return _drop_of(record, Reason.PROTOCOL_MISMATCH)
        payload = record.opener.open(record.replay, packet[outer.offset : outer.length])
        if isinstance(payload, Reason):
            return _drop_of(record, payload)
        version = INNER_VERSIONS.get(payload.next_header)
        if version is None:
            return _drop_of(record, Reason.PROTOCOL_MISMATCH)
        inner = ip.parse(payload.octets)
        if inner is None or inner.version != version:
            return _drop_of(record, Reason.INNER_MALFORMED)
        return self._admit(payload.octets[: inner.length], inner, outer, record, now)

    def _admit(self, packet: bytes, inner: ip.Datagram, outer: ip.Datagram, record: Inbound, now: float) -> Verdict:
        """RFC 4301 section 5.2 step 4: the peer may only send what the inbound selectors of its SA allow."""
        policy = self.spd.find_in(inner.key)
        if policy is None:
            return _drop_of(record, Reason.INNER_MISMATCH)
        if policy.action is Action.DISCARD:
            return _drop_of(record, Reason.DISCARD, policy)
        sa = record.sa
        if policy.reqid != sa.reqid:
            return _drop_of(record, Reason.INNER_MISMATCH, policy)
        if policy.mode is not sa.mode or policy.protocol is not sa.protocol:
            return _drop_of(record, Reason.PROTOCOL_MISMATCH, policy)
        marked = tunnel.with_ecn(packet, inner, outer)
        if marked is None:
            return _drop_of(record, Reason.CONGESTION, policy)
        record.usage.count(inner.length, now)
        return Deliver(marked, sa, policy, record)

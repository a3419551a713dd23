"""The packet path: clear packets go out sealed, sealed packets come in clear, and every other packet has a reason.

Packets never raise: any octets give a Verdict. No socket, clock or random source of its own (`random` and
`now` are passed in), so a test can be the network and the clock.
"""

from collections.abc import Iterator
from ipaddress import ip_address
from typing import NamedTuple

from culvert.ipsec import icmp
from culvert.ipsec.algorithms import Random
from culvert.ipsec.drops import Reason
from culvert.ipsec.inbound import Incoming
from culvert.ipsec.outbound import Outgoing
from culvert.ipsec.sa import Direction, Protocol, SaKey, SecurityAssociation
from culvert.ipsec.sadb import Outbound, Record, Sadb
from culvert.ipsec.spd import Policy, Spd
from culvert.ipsec.verdict import Bypass, Drop, Send, drop_of


class Learned(NamedTuple):
    """The path of an SA is `mtu` octets wide from here on."""

    record: Outbound
    mtu: int


class Expired(NamedTuple):
    """A packet whose fragments didn't all come. `packet`: one of those that came."""

    packet: bytes
    drop: Drop


class Gateway:
    """One gateway: an SPD, an SADB, and what they make of packets."""

    def __init__(self, random: Random) -> None:
        self.sadb = Sadb(random)
        self.spd = Spd()
        self._outgoing = Outgoing(self.sadb, self.spd, random)
        self._incoming = Incoming(self.sadb, self.spd)
        self.outbound = self._outgoing.protect
        """`(packet, now)`: what becomes of a clear IP packet (RFC 4301 section 5.1)."""
        self.inbound = self._incoming.open
        """`(packet, now)`: what becomes of an IP packet that carries ESP or AH (RFC 4301 section 5.2)."""

    def add_sa(self, sa: SecurityAssociation, *, sequence: int = 0, now: float) -> Record:
        """`sequence`: the last number sent, or, inbound, the highest seen (all up to it count as seen)."""
        return self.sadb.add(sa, sequence, now)

    def remove_sa(self, sa: SecurityAssociation) -> Record:
        return self.sadb.remove(sa)

    def add_policy(self, policy: Policy) -> None:
        self.spd.add(policy)
        self._forget_trails()

    def remove_policy(self, policy: Policy) -> None:
        self.spd.remove(policy)
        self._forget_trails()

    def _forget_trails(self) -> None:
        self._outgoing.trail.clear()
        self._incoming.trail.clear()

    def told_too_big(self, packet: bytes, now: float) -> Learned | Drop | Bypass:
        """What an ICMP packet from the way out teaches (RFC 4301 section 8.2.1). Bypass: nothing."""
        complaint = icmp.parse_too_big(packet)
        if complaint is None:
            return Bypass(packet)
        key = SaKey(complaint.spi, ip_address(complaint.destination), Protocol(complaint.protocol))
        record = self.sadb.find(Direction.OUT, key)
        if not isinstance(record, Outbound) or record.sa.encapsulation != complaint.encapsulation:
            # UDP of other ports belongs to another program of this host.
            return Bypass(packet) if complaint.encapsulation else Drop(Reason.FORGED_TOO_BIG)
        age = record.sequence - complaint.sequence_low & 0xFFFFFFFF
        # Numbers begin at 1, so there are no more ages than numbers sent.
        if complaint.source != record.sa.source.packed or age >= min(icmp.RECENT, record.sequence):
            return drop_of(record, Reason.FORGED_TOO_BIG)
        if complaint.mtu > record.mtu(now):
            # About a packet from before the last lesson: nothing new.
            return Bypass(packet)
        return Learned(record, record.learn_mtu(complaint.mtu, now))

    def due(self, now: float) -> Iterator[Send | Drop]:
        """What the gateway sends by itself, asked about once a second: keep-alives, and dummies of silent SAs."""
        for record in self.sadb.all_outbound():
            sa, last = record.sa, max(record.usage.last_use, record.usage.created)
            if sa.keep_alive_seconds and now - max(last, record.kept_alive) >= sa.keep_alive_seconds:
                yield self._outgoing.keep_alive(record, now)
            if sa.dummy_seconds and now - last >= sa.dummy_seconds and not record.is_dead(now):
                yield self._outgoing.dummy(record, now)

    def expire(self, now: float) -> Iterator[Expired]:
        """Packets whose other fragments didn't come in time, asked about once a second."""
        for reassembler in (self._outgoing.reassembler, self._incoming.reassembler):
            for packet in reassembler.expire(now):
                yield Expired(packet, Drop(Reason.REASSEMBLY_TIMEOUT))

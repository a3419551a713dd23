"""The packets' way through the packet process: from the TUN to the network, and from the network to the TUN.

It takes bursts, and per packet does only what must be done per packet: the verdict, the sequence number into the
counters file, the system call. The order of the last two is a promise: a number that is not in the file was never
sent, so a killed process's successor repeats none.
"""

import errno
import os
import socket
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from typing import NamedTuple

from culvert.change import AddPolicy, AddSa, Change, RemovePolicy, RemoveSa
from culvert.dataplane.plane import PlaneError
from culvert.dataplane.userspace import sockets
from culvert.dataplane.userspace.leases import Lease, Leased, Leases, is_counter_mode
from culvert.dataplane.userspace.ledger import Ledger
from culvert.dataplane.userspace.overflows import Overflows
from culvert.dataplane.userspace.sockets import PACKET_OCTETS_MAX
from culvert.dataplane.userspace.telling import tell
from culvert.ipsec import fragment, ip
from culvert.ipsec.drops import Reason
from culvert.ipsec.fragment import WAIT_SECONDS
from culvert.ipsec.gateway import Gateway, Learned
from culvert.ipsec.icmp import FLOORS
from culvert.ipsec.sa import Direction, SecurityAssociation
from culvert.ipsec.sadb import Inbound, Outbound, Record
from culvert.ipsec.verdict import Deliver, Drop, Hold, Send

BURST = 64
"""Fewer than half the smallest block of numbers."""
EDGES_SECONDS = 5.0
QUEUE_FULL = (errno.ENOBUFS, errno.EAGAIN)

Receive = Callable[[], bytes]


class Way(NamedTuple):
    """What a record needs here: where its sequence number is kept and, of an outbound one, where its packets go."""

    sequence_at: int
    """Index in `Counters.numbers`."""
    sender: socket.socket | None
    address: tuple[str, int]
    slot: int
    leased: Leased | None = None


class Place(NamedTuple):
    """Where an SA was that went out of service: it can be put back as if it had never gone."""

    sa: SecurityAssociation
    slot: int
    leased: Leased | None
    bound: int
    """The last number that it might use; 0 for an inbound one."""


class _Moved(NamedTuple):
    """A counter mode's key whose SA went out of service a moment ago: numbers up to `last` may have been used."""

    owner: str
    last: int


class Mover:
    """The gateway between the TUN and the sockets that packets leave by."""

    def __init__(
        self,
        tun: int,
        senders: dict[int, socket.socket],
        ledger: Ledger,
        leases: Leases,
        heard: Iterable[socket.socket] = (),
    ) -> None:
        """`senders` by IP version. `heard`: sockets that protected packets arrive at."""
        self._tun = tun
        self._senders = senders
        self._ledger = ledger
        self._leases = leases
        self._overflows = Overflows(heard, ledger.counters)
        self._short: dict[Outbound, Leased] = {}
        """Those whose block of numbers comes to its end."""
        self._edges: set[Inbound] = set()
        """Those whose windows moved since they were saved."""
        self._edges_at = 0.0
        self.gateway = Gateway(random=os.urandom)
        self._ways: dict[Record, Way] = {}
        self._talkative: set[Record] = set()
        """Those that send by themselves."""
        self._moved: dict[str, _Moved] = {}
        """By the names of their keys, in one message: its sender read the journal before the last packets left."""
        self._waiting_until = 0.0
        """So long a fragment may still wait for others."""

    # Changes

    def add_sa(self, sa: SecurityAssociation, slot: int, lease: Lease | None) -> None:
        """`lease`: what the counter journal knows of an outbound SA's numbers."""
        is_out = sa.direction is Direction.OUT
        if is_out and lease is None and self._leases.is_there and is_counter_mode(sa):
            raise PlaneError(None, f"{sa.label}: the counter journal says nothing of the numbers of its key")
        moved = self._moved.get(lease.name) if lease is not None else None
        if moved is not None and lease is not None and moved.owner != lease.owner:
            self._ledger.go_behind(slot, moved.last)
        record = self._open(sa, slot, Leased(lease, sa.sequence_max) if lease is not None and is_out else None)
        leased = self._ways[record].leased
        if leased is not None and isinstance(record, Outbound):
            if moved is not None:
                leased.last = min(max(leased.last, moved.last), leased.limit)
            self._bound(record, leased, working=False)
            if leased.is_short(record.sequence):
                self._short[record] = leased

    def _open(self, sa: SecurityAssociation, slot: int, leased: Leased | None) -> Record:
        record = self._ledger.open(self.gateway, sa, slot, time.time())
        sender = self._senders.get(sa.destination.version)
        self._ways[record] = Way(self._ledger.sequence_at(record), sender, (str(sa.destination), 0), slot, leased)
        if isinstance(record, Outbound) and (sa.dummy_seconds or sa.keep_alive_seconds):
            self._talkative.add(record)
        return record

    def remove_sa(self, sa: SecurityAssociation) -> Place:
        """What it takes to put it back."""
        record = self.gateway.remove_sa(sa)
        self._ledger.close(record)
        self._talkative.discard(record)
        way = self._ways.pop(record)
        if isinstance(record, Inbound):
            self._edges.discard(record)
            return Place(record.sa, way.slot, None, 0)
        self._short.pop(record, None)
        if way.leased is not None and way.leased.lease.strict:
            lease = way.leased.lease
            self._moved[lease.name] = _Moved(lease.owner, max(lease.last, way.leased.last, record.sequence))
        return Place(record.sa, way.slot, way.leased, record.leased)

    def put_back(self, place: Place) -> None:
        """Undo a removal of the same message: with the numbers that it had, and no others."""
        record = self._open(place.sa, place.slot, place.leased)
        if isinstance(record, Outbound):
            record.leased = place.bound
            if place.leased is not None and place.leased.is_short(record.sequence):
                self._short[record] = place.leased

    def forget_moved(self) -> None:
        """A message is at its end: who sends the next one knows what was written by now."""
        self._moved.clear()

    def differing(self, changes: Sequence[Change]) -> list[Change]:
        """What it takes to have just what these changes add: what is the same stays as it is."""
        sas = {change.sa for change in changes if isinstance(change, AddSa)}
        policies = {change.policy for change in changes if isinstance(change, AddPolicy)}
        spd = self.gateway.spd
        there = [policy for direction in Direction for policy in spd.policies(direction)]
        here = [record.sa for record in self.gateway.sadb]
        steps: list[Change] = [RemovePolicy(policy) for policy in there if policy not in policies]
        steps += [RemoveSa(sa) for sa in here if sa not in sas]
        kept_sas, kept_policies = sas.intersection(here), policies.intersection(there)
        for change in changes:
            is_kept = (isinstance(change, AddSa) and change.sa in kept_sas) or (
                isinstance(change, AddPolicy) and change.policy in kept_policies
            )
            if not is_kept:
                steps.append(change)
        return steps

    # The counter journal

    def extend_leases(self) -> None:
        """Further numbers for those that come to the end of theirs."""
        if not self._short:
            return
        wanted = {leased: record.sequence for record, leased in self._short.items()}
        trouble = self._leases.trouble
        working = self._leases.extend(wanted, time.time())
        for record, leased in self._short.items():
            self._bound(record, leased, working=working)
        if working:
            self._short.clear()
        if self._leases.trouble and self._leases.trouble != trouble:
            tell(f"the counter journal can't be written: {self._leases.trouble}")

    @staticmethod
    def _bound(record: Outbound, leased: Leased, *, working: bool) -> None:
        """Without a journal a counter mode stops behind its last block; the rest goes on."""
        record.leased = leased.last if working or leased.lease.strict else leased.limit

    def save_edges(self) -> None:
        """Now and then, where replay windows have moved."""
        now = time.time()
        if self._edges and abs(now - self._edges_at) >= EDGES_SECONDS:
            self._edges_at = now
            if self._leases.save_edges({record.sa.identity(): record.sequence for record in self._edges}, now):
                self._edges.clear()

    # Out

    def outbound_burst(self) -> None:
        """Packets that the kernel steered into the TUN."""
        now = time.time()
        tun, read, judge, send = self._tun, os.read, self.gateway.outbound, self._send
        for _ in range(BURST):
            try:
                packet = read(tun, PACKET_OCTETS_MAX)
            except OSError:
                return
            verdict = judge(packet, now)
            if type(verdict) is Send:
                send(verdict, packet, now)
            elif type(verdict) is Drop:
                self._dropped_outbound(packet, verdict, now)
            elif type(verdict) is Hold:
                self._waiting_until = now + WAIT_SECONDS
            else:
                self._ledger.drop(packet, Drop(Reason.NO_POLICY), now)

    def _send(self, verdict: Send, packet: bytes, now: float) -> None:
        """`packet`: what the verdict was about, for reports."""
        record = verdict.record
        way = self._ways[record]
        ledger = self._ledger
        # Before the packet leaves.
        ledger.counters.numbers[way.sequence_at] = record.sequence
        ledger.touched.add(record)
        if way.leased is not None and way.leased.is_short(record.sequence):
            self._short[record] = way.leased
        if verdict.bundled is not None:
            around = self._ways[verdict.bundled]
            ledger.counters.numbers[around.sequence_at] = verdict.bundled.sequence
            ledger.touched.add(verdict.bundled)
            if around.leased is not None and around.leased.is_short(verdict.bundled.sequence):
                self._short[verdict.bundled] = around.leased
        for piece in (verdict.packet, *verdict.rest):
            try:
                _give(way, piece)
            except OSError as error:
                self._refused(verdict, way, piece, packet, error, now)

    def _refused(self, verdict: Send, way: Way, piece: bytes, packet: bytes, error: OSError, now: float) -> None:
        if way.sender is not None:
            mtu = sockets.refused_mtu(way.sender)
            if mtu:
                # The link is smaller than was known.
                self._learn(verdict, mtu, now)
            # Without: what waited on the socket was somebody else's complaint, and this packet wasn't even tried.
            pieces = _cut(piece, max(mtu, FLOORS[verdict.destination.version])) if mtu else [piece]
            try:
                for each in pieces:
                    _give(way, each)
            except OSError as second:
                error = second
            else:
                if pieces:
                    return
        self._count_refused(packet, verdict, _reason(error), f": {error.strerror}", now)

    def _learn(self, verdict: Send, mtu: int, now: float) -> None:
        for record in (verdict.record, verdict.bundled):
            if record is not None and mtu < record.mtu(now):
                self._ledger.learned(record, record.learn_mtu(mtu, now), now)

    def _count_refused(self, packet: bytes, verdict: Send | Deliver, reason: Reason, why: str, now: float) -> None:
        verdict.record.usage.count_drop(reason)
        self._ledger.drop(packet, Drop(reason, verdict.sa, verdict.policy, verdict.record), now, why)

    def _dropped_outbound(self, packet: bytes, drop: Drop, now: float) -> None:
        if drop.answer is not None:
            # The kernel brings it to the packet's source, as if it came from the far end.
            with suppress(OSError):
                os.write(self._tun, drop.answer)
        if drop.reason is Reason.COUNTER_JOURNAL:
            self._ask_again(drop)
        self._ledger.drop(packet, drop, now)

    def _ask_again(self, drop: Drop) -> None:
        """Perhaps the journal can be written by now."""
        for record, way in self._ways.items():
            if isinstance(record, Outbound) and way.leased is not None and record.sequence >= record.leased:
                self._short[record] = way.leased

    # In

    def inbound_burst(self, receive: Receive) -> None:
        """Packets that arrived for a security protocol."""
        now = time.time()
        self._overflows.is_due = True
        tun, write, judge = self._tun, os.write, self.gateway.inbound
        ways, numbers, touched = self._ways, self._ledger.counters.numbers, self._ledger.touched
        for _ in range(BURST):
            try:
                packet = receive()
            except OSError:
                return
            verdict = judge(packet, now)
            if type(verdict) is Deliver:
                record, bundled = verdict.record, verdict.bundled
                numbers[ways[record].sequence_at] = record.sequence
                touched.add(record)
                self._edges.add(record)
                if bundled is not None:
                    self._edges.add(bundled)
                    numbers[ways[bundled].sequence_at] = bundled.sequence
                    touched.add(bundled)
                try:
                    write(tun, verdict.packet)
                except OSError as error:
                    self._count_refused(verdict.packet, verdict, _reason(error), f": the TUN: {error.strerror}", now)
            elif type(verdict) is Drop:
                self._ledger.drop(packet, verdict, now, arrived=True)
            elif type(verdict) is Hold:
                self._waiting_until = now + WAIT_SECONDS

    def complaint_burst(self, receive: Receive) -> None:
        """ICMP messages of routers to which a packet of ours was too big."""
        now = time.time()
        for _ in range(BURST):
            try:
                packet = receive()
            except OSError:
                return
            learned = self.gateway.told_too_big(packet, now)
            if isinstance(learned, Learned):
                self._ledger.learned(learned.record, learned.mtu, now)
            elif isinstance(learned, Drop):
                self._ledger.drop(packet, learned, now, arrived=True)

    # Once a second

    @property
    def has_chores(self) -> bool:
        """Whether `do_chores` has to be called though no packet comes."""
        return bool(self._talkative or self._edges) or self._overflows.is_due or time.time() < self._waiting_until + 2

    def do_chores(self) -> None:
        """Send what the gateway sends by itself; give up fragments that wait in vain; count what was lost."""
        now = time.time()
        self._overflows.count(now)
        for packet, drop in self.gateway.expire(now):
            self._ledger.drop(packet, drop, now)
        for verdict in self._due(now):
            if isinstance(verdict, Send):
                self._send(verdict, verdict.packet, now)
            else:
                self._ledger.drop(b"", verdict, now)

    def _due(self, now: float) -> Iterator[Send | Drop]:
        yield from self.gateway.due(now) if self._talkative else ()


def _give(way: Way, packet: bytes) -> None:
    if way.sender is None:
        raise OSError(errno.EAFNOSUPPORT, os.strerror(errno.EAFNOSUPPORT))
    way.sender.sendto(packet, way.address)


def _cut(packet: bytes, mtu: int) -> list[bytes]:
    """An outer packet in pieces that fit the link; none where it may not be cut.

    The source of an IPv6 packet may always (RFC 8200 section 4.5). By ourselves and not by the kernel, which writes
    the header anew: AH has signed it.
    """
    datagram = ip.parse(packet)
    if datagram is None or datagram.fragment is not None or (datagram.version == 4 and datagram.dont_fragment):
        return []
    return fragment.split(packet, datagram, mtu, int.from_bytes(os.urandom(4)))


def _reason(error: OSError) -> Reason:
    if error.errno == errno.EMSGSIZE:
        return Reason.TOO_BIG
    return Reason.QUEUE_FULL if error.errno in QUEUE_FULL else Reason.SEND_FAILED

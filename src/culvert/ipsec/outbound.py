"""The way out (RFC 4301 section 5.1): a clear packet finds its policy and SA, is sealed, and gets an outer header.

A packet that is too large once it is sealed is cut before or after, as the SA says and its DF bit allows; what may not
be cut is dropped, and its source told which size would fit. In transport mode whole packets are sealed (RFC 4303
section 3.3.4), so fragments are put together first and cut again behind.
"""

from collections.abc import Callable
from typing import NamedTuple

from culvert.ipsec import fragment, icmp, ip, mss, transport, udp
from culvert.ipsec.algorithms import Random
from culvert.ipsec.drops import Reason
from culvert.ipsec.fragment import Reassembler, Trail
from culvert.ipsec.ip import Datagram, NextHeader
from culvert.ipsec.sa import DUMMY_OCTETS_DEFAULT, Direction, Fragmentation, Mode, Protocol
from culvert.ipsec.sadb import Outbound, Sadb
from culvert.ipsec.spd import Action, Policy, Spd
from culvert.ipsec.verdict import Bypass, Drop, Hold, Send, Verdict, drop_of

SMALLEST_INNER = {4: 68, 6: 1280}
"""What every path passes (RFC 791 section 3.2, RFC 8200 section 5): no source is told to send smaller packets."""

_OF_THE_GATEWAY = Datagram(4, 0, 0, False, None, NextHeader.NONE, 0, (b"", b"", NextHeader.NONE, None, None), 0, 64)
"""Stands for the inner packet of what the gateway sends by itself."""

MakeHeader = Callable[[int, int], bytes]
"""Protocol and octets of what follows -> the IP header in front of it."""


class _Job(NamedTuple):
    """A packet that is going to be protected, and by what.

    `mtu`: octets of the largest outer packet. `around`: of it, those in front of what the SA seals, in tunnel mode.
    """

    packet: bytes
    inner: Datagram
    policy: Policy
    record: Outbound
    bundled: Outbound | None
    now: float
    mtu: int
    around: int

    def drop(self, reason: Reason, answer: bytes | None = None) -> Drop:
        return drop_of(self.record, reason, self.policy, answer)


class Outgoing:
    """What becomes of clear packets."""

    def __init__(self, sadb: Sadb, spd: Spd, random: Random) -> None:
        self._sadb = sadb
        self._spd = spd
        self._random = random
        self.trail: Trail[tuple[Policy | None]] = Trail()
        self.reassembler = Reassembler()
        self._allowance = icmp.Allowance()

    def protect(self, packet: bytes, now: float) -> Verdict:
        inner = ip.parse(packet)
        if inner is None:
            return Drop(Reason.MALFORMED_HEADER)
        policy = self._spd.find_out(inner.key) if inner.fragment is None else self._policy_of_fragment(inner, now)
        if policy is None:
            return Bypass(packet)
        if isinstance(policy, Reason):
            return Drop(policy)
        if policy.action is Action.DISCARD:
            return Drop(Reason.DISCARD, None, policy)
        record = self._sadb.outbound(policy.reqid, policy.protocol)
        if record is None:
            return Drop(Reason.NO_SA_OUT, None, policy)
        if not policy.bundle_ah:
            return self._protect(_Job(packet, inner, policy, record, None, now, record.mtu(now), record.around))
        bundled = self._sadb.outbound(policy.reqid, Protocol.AH)
        if bundled is None:
            return drop_of(record, Reason.NO_BUNDLE_SA, policy)
        mtu, around = min(record.mtu(now), bundled.mtu(now)), record.around + bundled.sealer.layout.sealed(0)
        return self._protect(_Job(packet, inner, policy, record, bundled, now, mtu, around))

    def _policy_of_fragment(self, inner: Datagram, now: float) -> Policy | Reason | None:
        """RFC 4301 section 7.3: a later fragment follows its first one, since it shows no ports itself."""
        assert inner.fragment is not None
        if inner.fragment.offset + inner.length - inner.offset > ip.LENGTH_MAX:
            # Cut once more, it would have pieces whose place doesn't fit 13 bits and is another one.
            return Reason.FRAGMENT
        key = fragment.key_of(inner)
        if not inner.is_later_fragment:
            policy = self._spd.find_out(inner.key)
            self.trail.lay(key, (policy,), now)
            return policy
        followed = self.trail.follow(key, now)
        if followed is not None:
            return followed[0]
        if self._spd.needs_ports(Direction.OUT, inner.key):
            return Reason.FRAGMENT_PORTS
        return self._spd.find_out(inner.key)

    def _protect(self, job: _Job) -> Verdict:
        sa, record, bundled = job.record.sa, job.record, job.bundled
        if job.policy.mode is not sa.mode or (bundled and not _may_wrap(bundled, record)):
            return job.drop(Reason.PROTOCOL_MISMATCH)
        if record.is_dead(job.now) or (bundled and bundled.is_dead(job.now)):
            return job.drop(Reason.EXPIRED_OUT)
        if not job.inner.hops:
            # RFC 1122 section 3.2.1.7, RFC 8200 section 3: nobody sends or forwards it.
            return job.drop(Reason.HOP_LIMIT)
        return self._in_tunnel(job) if sa.mode is Mode.TUNNEL else self._in_transport(job)

    # Tunnel mode

    def _in_tunnel(self, job: _Job) -> Verdict:
        if job.record.sa.mss is not None:
            job = self._clamped(job, job.record.sealer.layout.largest_payload(job.mtu - job.around))
        next_header, payload = self._tunnel_payload(job)
        if job.around + job.record.sealer.layout.sealed(len(payload)) > job.mtu:
            return self._oversize(job)
        return self._sent(job, self._seal_tunnel(job, next_header, payload))

    def _clamped(self, job: _Job, room: int) -> _Job:
        wanted = job.record.sa.mss
        largest = room - mss.SIZES[job.inner.version]
        return job._replace(packet=mss.clamped(job.packet, job.inner, max(1, min(wanted or largest, largest))))

    def _tunnel_payload(self, job: _Job) -> tuple[int, bytes]:
        next_header: int = NextHeader.IPV4 if job.inner.version == 4 else NextHeader.IPV6
        payload = job.packet[: job.inner.length]
        if job.record.compressor is not None:
            next_header, payload = job.record.compressor.compress(next_header, payload)
        least = job.record.sa.tfc_octets
        if least > len(payload) and next_header != NextHeader.IPCOMP:
            # RFC 4303 section 2.7: the inner packet says itself how long it is.
            room = job.record.sealer.layout.largest_payload(job.mtu - job.around)
            payload = payload.ljust(min(least, max(room, len(payload))), b"\0")
        return next_header, payload

    def _seal_tunnel(self, job: _Job, next_header: int, payload: bytes) -> bytes | Reason:
        emit, inner = job.record.header.emit, job.inner
        return self._seal(job, next_header, payload, lambda protocol, octets: emit(inner, protocol, octets))

    def _oversize(self, job: _Job) -> Verdict:
        inner, header = job.inner, job.record.header
        room = job.record.sealer.layout.largest_payload(job.mtu - job.around)
        may_cut_inner = not inner.dont_fragment and room >= SMALLEST_INNER[4]
        if room < SMALLEST_INNER[inner.version]:
            # Nobody may be told so little, so the tunnel has to cut (RFC 2473 section 7.1).
            job = job._replace(inner=inner._replace(dont_fragment=False))
        may_cut_outer = not header.may_not_fragment(job.inner)
        if may_cut_outer and (job.record.sa.fragmentation is Fragmentation.AFTER or not may_cut_inner):
            return self._cut_after(job, self._seal_tunnel(job, *self._tunnel_payload(job)))
        if may_cut_inner:
            pieces = fragment.split(job.packet, inner, room, 0)
            jobs = [job._replace(packet=piece, inner=_parsed(piece)) for piece in pieces]
            return self._sent(job, *(self._seal_tunnel(each, *self._tunnel_payload(each)) for each in jobs))
        return self._refuse(job, max(room, SMALLEST_INNER[inner.version]))

    def _refuse(self, job: _Job, mtu: int) -> Drop:
        """The packet may not be cut, and its source is told."""
        answer = icmp.too_big(job.packet, job.inner, mtu) if mtu < job.inner.length else None
        return job.drop(Reason.TOO_BIG, answer if answer and self._allowance.take(job.now) else None)

    def _cut_after(self, job: _Job, outer: bytes | Reason) -> Verdict:
        if isinstance(outer, Reason):
            return job.drop(outer)
        identification = int.from_bytes(self._random(4))
        return self._sent(job, *fragment.split(outer, _parsed(outer), job.mtu, identification))

    # Transport mode

    def _in_transport(self, job: _Job) -> Verdict:
        sa = job.record.sa
        if job.inner.key[0] != sa.source.packed or job.inner.key[1] != sa.destination.packed:
            return job.drop(Reason.NOT_AN_END)
        in_pieces = job.inner.fragment is not None
        if in_pieces:
            whole = self.reassembler.add(job.packet, job.inner, job.now)
            if whole is None:
                return Hold()
            if isinstance(whole, Reason):
                return job.drop(whole)
            datagram = _parsed(whole)
            if datagram.fragment is not None:
                # A fragment of a fragment.
                return job.drop(Reason.FRAGMENT)
            job = job._replace(packet=whole, inner=datagram)
        return self._seal_transport(self._identified(job), in_pieces)

    def _identified(self, job: _Job) -> _Job:
        """Linux gives a packet without identification one, and AH has signed that it has none."""
        packet, inner = job.packet, job.inner
        if inner.version == 6 or inner.dont_fragment or packet[4:6] != bytes(2):
            return job
        number = int.from_bytes(self._random(2)) or 1
        header = packet[:4] + number.to_bytes(2) + packet[6 : inner.offset]
        rest = packet[inner.offset : inner.length]
        return job._replace(packet=ip.with_length(header, inner.protocol_at, inner.protocol, len(rest)) + rest)

    def _seal_transport(self, job: _Job, in_pieces: bool) -> Verdict:
        before = transport.place(job.packet, job.inner)
        around = job.around - job.record.header.octets + len(before.header)
        layout = job.record.sealer.layout
        room = len(before.header) + layout.largest_payload(job.mtu - around)
        if job.record.sa.mss is not None:
            job = self._clamped(job, room)
        header, protocol_at, next_header, payload = transport.place(job.packet, job.inner)
        if job.record.compressor is not None:
            next_header, payload = job.record.compressor.compress(next_header, payload)
        too_big = around + layout.sealed(len(payload)) > job.mtu
        # A source that may not be told so little is helped by cutting behind, as in tunnel mode.
        if too_big and job.inner.dont_fragment and not in_pieces and room >= SMALLEST_INNER[job.inner.version]:
            return self._refuse(job, room)
        if around - len(header) + layout.sealed(len(payload)) > ip.payload_max(header):
            return job.drop(Reason.TOO_BIG)

        def make_header(protocol: int, octets: int) -> bytes:
            return ip.with_length(header, protocol_at, protocol, octets)

        outer = self._seal(job, next_header, payload, make_header)
        return self._cut_after(job, outer) if too_big else self._sent(job, outer)

    # Both

    def _seal(self, job: _Job, next_header: int, payload: bytes, make_header: MakeHeader) -> bytes | Reason:
        """One outer packet, with the next sequence numbers of its SAs."""
        record, sa, bundled = job.record, job.record.sa, job.bundled
        octets = job.around - record.header.octets + record.sealer.layout.sealed(len(payload))
        if octets > record.header.payload_max:
            return Reason.TOO_BIG
        if record.sequence >= record.leased or (bundled and bundled.sequence >= bundled.leased):
            reason = record.out_of_numbers() or (bundled and bundled.out_of_numbers())
            assert reason
            return reason
        protocol: int = NextHeader.UDP if sa.encapsulation else sa.protocol
        header = make_header(NextHeader.AH if bundled else protocol, octets)
        record.sequence += 1
        body = record.sealer.seal(header, record.sequence, next_header, payload)
        if isinstance(body, Reason):
            return body
        if sa.encapsulation:
            body = udp.wrap(sa.encapsulation, sa.source.packed, sa.destination.packed, body)
        if bundled:
            if bundled is record and (reason := record.out_of_numbers()):
                # An AH SA whose policy bundles it with itself, and the number that it took a moment ago was the last.
                return reason
            bundled.sequence += 1
            signed = bundled.sealer.seal(header, bundled.sequence, protocol, body)
            return signed if isinstance(signed, Reason) else header + signed
        return header + body

    def _sent(self, job: _Job, first: bytes | Reason, *rest: bytes | Reason) -> Send | Drop:
        if isinstance(first, Reason):
            return job.drop(first)
        others: list[bytes] = []
        for packet in rest:
            if isinstance(packet, Reason):
                return job.drop(packet)
            others.append(packet)
        job.record.usage.count(job.inner.length, job.now)
        if job.bundled:
            job.bundled.usage.count(job.inner.length, job.now)
        sa = job.record.sa
        return Send(first, sa.destination, sa, job.policy, job.record, tuple(others), job.bundled)

    # What the gateway sends by itself

    def dummy(self, record: Outbound, now: float) -> Send | Drop:
        """A packet of noise that the receiver throws away (RFC 4303 section 2.6)."""
        layout = record.sealer.layout
        room = layout.largest_payload(record.mtu(now) - record.around)
        octets = min(max(DUMMY_OCTETS_DEFAULT, record.sa.tfc_octets), max(room, 0))
        size = layout.sealed(octets) + (udp.HEADER_OCTETS if record.sa.encapsulation else 0)
        reason = record.out_of_numbers()
        if reason is not None:
            return drop_of(record, reason)
        protocol: int = NextHeader.UDP if record.sa.encapsulation else record.sa.protocol
        header = record.header.emit(_OF_THE_GATEWAY, protocol, size)
        record.sequence += 1
        body = record.sealer.seal(header, record.sequence, NextHeader.NONE, self._random(octets))
        assert not isinstance(body, Reason)
        sa = record.sa
        if sa.encapsulation:
            body = udp.wrap(sa.encapsulation, sa.source.packed, sa.destination.packed, body)
        record.usage.last_use = now
        record.usage.life_packets += 1
        record.usage.life_octets += octets
        return Send(header + body, sa.destination, sa, None, record)

    def keep_alive(self, record: Outbound, now: float) -> Send:
        """One octet that keeps a NAT's mapping (RFC 3948 section 2.3)."""
        sa = record.sa
        assert sa.encapsulation is not None
        body = udp.wrap(sa.encapsulation, sa.source.packed, sa.destination.packed, udp.KEEP_ALIVE)
        record.kept_alive = now
        return Send(
            record.header.emit(_OF_THE_GATEWAY, NextHeader.UDP, len(body)) + body, sa.destination, sa, None, record
        )


def _may_wrap(ah: Outbound, sealed: Outbound) -> bool:
    """AH goes around what has an outer header already, and not around UDP, where no receiver would look for it."""
    return ah.sa.mode is Mode.TRANSPORT and sealed.sa.encapsulation is None


def _parsed(packet: bytes) -> Datagram:
    """Of a packet that was made here."""
    datagram = ip.parse(packet)
    assert datagram is not None
    return datagram

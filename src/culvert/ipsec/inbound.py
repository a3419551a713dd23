"""The way in (RFC 4301 section 5.2): a protected packet finds its SA, is opened, and must be what the policy allows.

A packet may be protected more than once, for this gateway: AH around ESP is two layers of the same outer header. Every
layer is opened in turn, up to a limit; at the end the inbound selector that fits the clear packet must ask for
exactly the SAs that the packet came through.
"""

from ipaddress import ip_address
from typing import NamedTuple

from culvert.ipsec import fragment, ip, ipcomp, mss, transport, tunnel, udp
from culvert.ipsec.ah import FIXED_OCTETS
from culvert.ipsec.drops import Reason
from culvert.ipsec.esp import HEADER_OCTETS, Payload
from culvert.ipsec.fragment import Reassembler, Trail
from culvert.ipsec.ip import Datagram, NextHeader
from culvert.ipsec.overhead import largest_inner
from culvert.ipsec.sa import Direction, Mode, Protocol, SaKey
from culvert.ipsec.sadb import Inbound, Sadb
from culvert.ipsec.spd import Action, Policy, Spd
from culvert.ipsec.verdict import Deliver, Drop, Hold, Verdict, drop_of

INNER_VERSIONS = {int(NextHeader.IPV4): 4, int(NextHeader.IPV6): 6}
LAYERS_MAX = 2
_IPSEC = frozenset((NextHeader.ESP, NextHeader.AH))


_Records = tuple[Inbound, ...]


class _Arrival(NamedTuple):
    """A packet on its way through its layers. `records`: the SAs that it came through so far."""

    packet: bytes
    outer: Datagram
    records: _Records
    now: float


class Incoming:
    """What becomes of protected packets."""

    def __init__(self, sadb: Sadb, spd: Spd) -> None:
        self._sadb = sadb
        self._spd = spd
        self.trail: Trail[tuple[Policy | None]] = Trail()
        self.reassembler = Reassembler()

    def open(self, packet: bytes, now: float) -> Verdict:
        outer = ip.parse(packet)
        if outer is not None and outer.fragment is not None:
            if not self._sadb.has_inbound_between(outer.key[0], outer.key[1]):
                # Nothing of a stranger's is kept.
                return Drop(Reason.NO_SA_IN)
            # RFC 4303 section 3.4.1: before ESP.
            whole = self.reassembler.add(packet, outer, now)
            if whole is None:
                return Hold()
            if isinstance(whole, Reason):
                return Drop(whole)
            packet, outer = whole, ip.parse(whole)
            if outer is not None and outer.fragment is not None:
                return Drop(Reason.FRAGMENT)
        if outer is None:
            return Drop(Reason.MALFORMED_HEADER)
        return self._open_layers(_Arrival(packet, outer, (), now))

    def _open_layers(self, arrival: _Arrival) -> Verdict:
        for _ in range(LAYERS_MAX):
            opened = self._open_layer(arrival)
            if not isinstance(opened, _Arrival):
                return opened
            arrival = opened
        return drop_of(arrival.records[-1], Reason.NESTING)

    def _open_layer(self, arrival: _Arrival) -> Verdict | _Arrival:
        """The verdict, or the packet with a layer less if there is another one below."""
        packet, outer = arrival.packet, arrival.outer
        span = _span(packet, outer)
        if isinstance(span, Reason):
            return Drop(span)
        start, end = span
        protocol = NextHeader.AH if outer.protocol == NextHeader.AH else NextHeader.ESP
        record = self._record(arrival, protocol, start)
        if isinstance(record, Reason):
            return Drop(record)
        reason = _refusal(record, outer, arrival.now)
        if reason is not None:
            return drop_of(record, reason)
        payload = _decompressed(record, record.opener.open(record.replay, packet, start, end))
        if isinstance(payload, Reason):
            return drop_of(record, payload)
        records = (*arrival.records, record)
        if record.sa.mode is Mode.TUNNEL:
            return self._from_tunnel(arrival, records, payload)
        return self._from_transport(arrival, records, payload)

    def _record(self, arrival: _Arrival, protocol: int, start: int) -> Inbound | Reason:
        at = start + 4 if protocol == NextHeader.AH else start
        spi = int.from_bytes(arrival.packet[at : at + 4])
        destination = arrival.outer.key[1]
        record = self._sadb.inbound(spi, destination, protocol)
        if record is not None:
            return record
        key = SaKey(spi, ip_address(destination), Protocol(protocol))
        return Reason.WRONG_DIRECTION if self._sadb.has_outbound(key) else Reason.NO_SA_IN

    def _from_tunnel(self, arrival: _Arrival, records: _Records, payload: Payload) -> Verdict:
        version = INNER_VERSIONS.get(payload.next_header)
        if version is None:
            return drop_of(records[-1], Reason.MODE_MISMATCH)
        inner = ip.parse(payload.octets)
        if inner is None or inner.version != version:
            return drop_of(records[-1], Reason.INNER_MALFORMED)
        return self._admit(arrival, records, payload.octets[: inner.length], inner)

    def _from_transport(self, arrival: _Arrival, records: _Records, payload: Payload) -> Verdict | _Arrival:
        if len(payload.octets) > ip.payload_max(arrival.packet[: arrival.outer.offset]):
            # Of IPComp only: in front of it stands a header that its sender left no room for.
            return drop_of(records[-1], Reason.DECOMPRESSION)
        packet = transport.closed(arrival.packet, arrival.outer, payload.next_header, payload.octets)
        inner = ip.parse(packet)
        if inner is None:
            return drop_of(records[-1], Reason.INNER_MALFORMED)
        if inner.protocol in _IPSEC:
            return _Arrival(packet, inner, records, arrival.now)
        return self._admit(arrival, records, packet, inner)

    def _admit(self, arrival: _Arrival, records: _Records, packet: bytes, inner: Datagram) -> Verdict:
        """RFC 4301 section 5.2 step 4: the peer may only send what the inbound selectors of its SAs allow."""
        record = records[-1]
        policy = self._policy(inner, record.sa.reqid, arrival.now)
        if isinstance(policy, Reason):
            return drop_of(record, policy)
        reason = _objection(policy, records, inner)
        if reason is not None:
            return drop_of(record, reason, policy)
        sa = record.sa
        if sa.mode is Mode.TUNNEL:
            marked = tunnel.with_ecn(packet, inner, arrival.outer.traffic_class)
            if marked is None:
                return drop_of(record, Reason.CONGESTION, policy)
            packet = marked
        for each in records:
            each.usage.count(inner.length, arrival.now)
        clamped = packet if sa.mss is None else _clamped(records, packet, inner)
        return Deliver(clamped, sa, policy, record, records[0] if len(records) > 1 else None)

    def _policy(self, inner: Datagram, reqid: int, now: float) -> Policy | Reason:
        """As on the way out, a later fragment follows its first one, of the same SAs: no peer lays another's trail."""
        key = (reqid, *fragment.key_of(inner)) if inner.fragment else None
        if key is not None and inner.is_later_fragment:
            followed = self.trail.follow(key, now)
            if followed is None and self._spd.needs_ports(Direction.IN, inner.key):
                return Reason.FRAGMENT_PORTS
            policy = followed[0] if followed else self._spd.find_in(inner.key)
        else:
            policy = self._spd.find_in(inner.key)
            if key is not None:
                self.trail.lay(key, (policy,), now)
        return policy or Reason.INNER_MISMATCH


def _span(packet: bytes, outer: Datagram) -> tuple[int, int] | Reason:
    """Where the security header stands and where what it covers ends."""
    start, end = outer.offset, outer.length
    if outer.protocol == NextHeader.UDP:
        found = udp.esp_in(packet, start, end)
        if isinstance(found, Reason):
            return found
        start, end = found
    elif outer.protocol not in _IPSEC:
        return Reason.PROTOCOL_MISMATCH
    least = FIXED_OCTETS if outer.protocol == NextHeader.AH else HEADER_OCTETS
    return (start, end) if end - start >= least else Reason.RUNT


def _refusal(record: Inbound, outer: Datagram, now: float) -> Reason | None:
    """Why this packet isn't even looked into."""
    if outer.key[0] != record.source:
        return Reason.OUTER_MISMATCH
    if (outer.protocol == NextHeader.UDP) != (record.sa.encapsulation is not None):
        return Reason.ENCAPSULATION_MISMATCH
    return Reason.EXPIRED_IN if record.is_dead(now) else None


def _decompressed(record: Inbound, payload: Payload | Reason) -> Payload | Reason:
    if isinstance(payload, Reason) or payload.next_header != NextHeader.IPCOMP:
        return payload
    found = ipcomp.decompress(record.sa.compression, payload.octets)
    return found if isinstance(found, Reason) else Payload(*found)


def _objection(policy: Policy, records: _Records, inner: Datagram) -> Reason | None:
    """Why the policy that speaks of a clear packet doesn't let it in by the SAs that it came through."""
    if policy.action is Action.DISCARD:
        return Reason.DISCARD_IN
    sa = records[-1].sa
    if sa.reqid != policy.reqid:
        return Reason.SA_MISMATCH
    if len(records) > 1 or policy.bundle_ah:
        bundle = len(records) > 1 and policy.bundle_ah and sa.protocol is Protocol.ESP
        if not bundle or records[0].sa.reqid != policy.reqid or records[0].sa.protocol is not Protocol.AH:
            return Reason.SA_MISMATCH
    if policy.mode is not sa.mode or policy.protocol is not sa.protocol:
        return Reason.PROTOCOL_MISMATCH
    if sa.mode is Mode.TRANSPORT and inner.protocol in INNER_VERSIONS and policy.selector.protocol != inner.protocol:
        # A tunnel of the peer's: its inner packet would get by without having been asked who it is.
        return Reason.MODE_MISMATCH
    return None


def _clamped(records: _Records, packet: bytes, inner: Datagram) -> bytes:
    """The segments that the other side will be sent have to fit the way back, which is as wide as the way in."""
    sa, bundled = records[-1].sa, records[0].sa if len(records) > 1 else None
    room = largest_inner(sa, sa.path_mtu or ip.LENGTH_MAX, bundled) - mss.SIZES[inner.version]
    return mss.clamped(packet, inner, max(1, min(sa.mss or room, room)))

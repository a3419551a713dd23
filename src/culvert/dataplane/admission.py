"""Which packets of a capture the live gateway would not let by, besides what its SPD says. Pure.

The live gateway asks these questions in its packet filter, in this order; so does `Admission`:

1. Does a clear packet match an inbound selector, as it stands, and no outbound one? It should have come
   protected: clear-inbound.
2. Is it a transit packet, protected or not, that no forwarder accepts? not-forwarded. What is from or to an
   address of the gateway is not transit.
3. Would it leave in clear while an inbound selector protects its answers? half-protected.

A capture knows less than the gateway. It has no links, so a forwarder that is limited to links counts as
accepting (one that is limited to no link at all accepts nothing). It has no connection tracking, so a packet
is an answer if a forwarder accepts the mirrored flow; and a later fragment, or an ICMP error, shows no ports
and fits no forwarder that names some.
"""

from collections.abc import Iterable

from culvert.change import Forwarder
from culvert.ipsec import ip
from culvert.ipsec.drops import Reason
from culvert.ipsec.ip import Datagram, NextHeader
from culvert.ipsec.sa import Direction, IPAddress
from culvert.ipsec.selector import Flow, FlowKey, mirrored
from culvert.ipsec.spd import Action, Policy, Spd
from culvert.ipsec.verdict import Deliver, Drop

IKE_PORTS = frozenset((500, 4500))

_IPSEC = frozenset((NextHeader.ESP, NextHeader.AH, NextHeader.IPCOMP))
_NEIGHBOUR_DISCOVERY = range(133, 138)
_HOP_LIMIT_AT = 7
_HOP_LIMIT_OF_NEIGHBOURS = 255


class Admission:
    """`own`: the gateway's addresses and tunnel endpoints. `forwarders` None: forwarding is not judged."""

    def __init__(
        self, policies: Iterable[Policy], forwarders: Iterable[Forwarder] | None, own: Iterable[IPAddress]
    ) -> None:
        self._forwarders = None if forwarders is None else tuple(forwarders)
        self._own = {address.packed for address in own}
        self._spd = Spd()
        for policy in policies:
            if policy.direction is Direction.OUT or policy.action is Action.PROTECT:
                self._spd.add(policy)

    def entering(self, packet: bytes, datagram: Datagram) -> Drop | None:
        """Why a clear packet ends before the SPD is asked, so before it costs an SA a sequence number."""
        if _is_neighbour_discovery(packet, datagram):
            return None
        key = datagram.key
        # Only what arrives can have lost its protection; what is from us was never due to come protected.
        if key[0] not in self._own and not self._is_own_ipsec(key):
            policy = self._spd.find_in(key)
            if policy is not None and self._spd.find_out(key) is None:
                return Drop(Reason.CLEAR_INBOUND, None, policy)
        if key[0] in self._own or key[1] in self._own or self._is_forwarded(datagram):
            return None
        return Drop(Reason.NOT_FORWARDED)

    def leaving(self, packet: bytes, datagram: Datagram) -> Drop | None:
        """Why a packet that no outbound selector wants does not leave in clear all the same."""
        key = datagram.key
        # What is for the gateway itself does not leave at all.
        if key[1] in self._own or self._is_own_ipsec(key) or _is_neighbour_discovery(packet, datagram):
            return None
        policy = self._spd.find_in(mirrored(key))
        return Drop(Reason.HALF_PROTECTED, None, policy) if policy is not None else None

    def opened(self, verdict: Deliver) -> Drop | None:
        """Why a packet out of a tunnel goes no further."""
        datagram = ip.parse(verdict.packet)
        if datagram is None or datagram.key[1] in self._own or self._is_forwarded(datagram):
            return None
        return Drop(Reason.NOT_FORWARDED, verdict.sa, verdict.policy, verdict.record)

    def _is_own_ipsec(self, key: FlowKey) -> bool:
        """A selector may equal the tunnel's addresses, and then the tunnel's own packets look protected."""
        source, destination, protocol, _, port = key
        if source not in self._own and destination not in self._own:
            return False
        return protocol in _IPSEC or (protocol == NextHeader.UDP and port in IKE_PORTS)

    def _is_forwarded(self, datagram: Datagram) -> bool:
        if self._forwarders is None:
            return True
        flow = datagram.flow
        answered = Flow(flow.destination, flow.source, flow.protocol, flow.destination_port, flow.source_port)
        return any(_accepts(forwarder, each) for forwarder in self._forwarders for each in (flow, answered))


def _accepts(forwarder: Forwarder, flow: Flow) -> bool:
    return (
        forwarder.links != ()
        and flow.source in forwarder.source
        and flow.destination in forwarder.destination
        and forwarder.protocol in (None, flow.protocol)
        and (forwarder.ports is None or flow.destination_port in forwarder.ports)
    )


def _is_neighbour_discovery(packet: bytes, datagram: Datagram) -> bool:
    """RFC 4861: only a neighbour can send a hop limit of 255, so this never covers a transit packet."""
    return (
        datagram.version == 6
        and datagram.protocol == NextHeader.ICMPV6
        and packet[_HOP_LIMIT_AT] == _HOP_LIMIT_OF_NEIGHBOURS
        and datagram.offset < datagram.length
        and packet[datagram.offset] in _NEIGHBOUR_DISCOVERY
    )

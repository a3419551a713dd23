# house: table
"""Every reason a packet can die for: one row each. Counters, `show`, logs and `explain` all read this table."""

from dataclasses import dataclass
from enum import IntEnum


class Reason(IntEnum):
    """Stable numbers: counter files and the native engine index by them. Append, never renumber."""

    MALFORMED_HEADER = 0
    NO_SA_IN = 1
    REPLAY = 2
    INTEGRITY = 3
    PADDING = 4
    RUNT = 5
    INNER_MISMATCH = 6
    INNER_MALFORMED = 7
    DUMMY = 8
    FRAGMENT = 9
    NO_POLICY = 10
    NO_SA_OUT = 11
    DISCARD = 12
    SEQUENCE_EXHAUSTED = 13
    TOO_BIG = 14
    HOP_LIMIT = 15
    SEND_FAILED = 16
    OUTER_MISMATCH = 17
    PROTOCOL_MISMATCH = 18
    CLEAR_INBOUND = 19
    NOT_FORWARDED = 20
    LEAK_STOPPED = 21
    NOT_ALLOWED = 22
    CONGESTION = 23
    HALF_PROTECTED = 24
    EXPIRED_IN = 25
    EXPIRED_OUT = 26
    DISCARD_IN = 27
    MODE_MISMATCH = 28
    SA_MISMATCH = 29
    ENCAPSULATION_MISMATCH = 30
    WRONG_DIRECTION = 31
    DECOMPRESSION = 32
    UNSUPPORTED_PAYLOAD = 33
    NESTING = 34
    KEEP_ALIVE = 35
    IKE = 36
    REASSEMBLY = 37
    REASSEMBLY_TIMEOUT = 38
    FRAGMENT_PORTS = 39
    NOT_AN_END = 40
    QUEUE_FULL = 41
    FORGED_TOO_BIG = 42
    INTERNAL = 43
    NO_BUNDLE_SA = 44
    COUNTER_JOURNAL = 45
    RING_FULL = 46
    BUFFER_FULL = 47


@dataclass(frozen=True, slots=True)
class Row:
    """`word` is the stable short name, `sentence` what happened, `hint` the likely fix.

    `audit`: the section that makes this an auditable event, to be logged with SPI, time, addresses, sequence number
    and flow label; empty for the others.
    """

    word: str
    sentence: str
    hint: str
    audit: str = ""


TABLE: dict[Reason, Row] = {
    Reason.MALFORMED_HEADER: Row(
        "malformed-header",
        "the IP header is damaged or its length fields contradict the packet",
        "look at the sender",
    ),
    Reason.NO_SA_IN: Row(
        "no-sa-in",
        "no security association has this SPI, destination and protocol",
        "compare spi and destination-address of the inbound SA with the peer's outbound SA",
        "RFC 4303 section 3.4.2",
    ),
    Reason.REPLAY: Row(
        "replay",
        "the sequence number was seen before or is behind the replay window",
        "a captured packet sent again, a peer that restarted its counter, or a window that is too small",
        "RFC 4303 section 3.4.3",
    ),
    Reason.INTEGRITY: Row(
        "integrity",
        "the integrity check value is wrong",
        "compare auth-key and auth-algorithm on both systems",
        "RFC 4303 section 3.4.4",
    ),
    Reason.PADDING: Row(
        "padding",
        "the ESP padding is wrong after decryption",
        "compare encrypt-key and encrypt-algorithm on both systems",
        "RFC 4303 section 2.4",
    ),
    Reason.RUNT: Row(
        "runt",
        "the packet is shorter than its protocol allows, or no whole number of cipher blocks",
        "compare encrypt-algorithm on both systems",
    ),
    Reason.INNER_MISMATCH: Row(
        "inner-mismatch",
        "the decapsulated packet fits no inbound traffic selector of this SA (RFC 4301 section 5.2)",
        "compare the inbound traffic-selector with the peer's outbound one",
        "RFC 4301 section 5.2",
    ),
    Reason.INNER_MALFORMED: Row(
        "inner-malformed",
        "what was inside the protected packet is no IP packet",
        "compare encrypt-key and encrypt-algorithm on both systems",
    ),
    Reason.DUMMY: Row("dummy", "a dummy packet of traffic flow confidentiality", "nothing to do"),
    Reason.FRAGMENT: Row(
        "fragment",
        "a fragment that can be part of no packet: it ends at no multiple of eight octets, or behind the last one",
        "somebody plays with fragments: look at the sender",
        "RFC 4303 section 3.4.1",
    ),
    Reason.NO_POLICY: Row(
        "no-policy",
        "a packet reached the tunnel but fits no outbound traffic selector",
        "check source-address, destination-address, ports and order of the outbound selectors",
    ),
    Reason.NO_SA_OUT: Row(
        "no-sa-out",
        "an outbound traffic selector matched but its policy has no security association",
        "create an outbound manual-security-association that names the selector's ipsec-policy",
    ),
    Reason.DISCARD: Row(
        "discard", "an outbound traffic selector with action discard matched", "change the selector's action"
    ),
    Reason.SEQUENCE_EXHAUSTED: Row(
        "sequence-exhausted",
        "the send counter reached its end and must not wrap",
        "give both systems a new key and SPI",
        "RFC 4303 section 3.3.3",
    ),
    Reason.TOO_BIG: Row("too-big", "the protected packet does not fit the way out", "lower the MTU of the senders"),
    Reason.HOP_LIMIT: Row("hop-limit", "the packet's TTL or hop limit ran out", "look for a routing loop"),
    Reason.SEND_FAILED: Row(
        "send-failed",
        "the host refused to send the protected packet",
        "check the link, the route to tunnel-remote-address and the self IP",
    ),
    Reason.OUTER_MISMATCH: Row(
        "outer-mismatch",
        "the outer source is not the SA's source address",
        "compare source-address of the inbound SA with the peer's tunnel-local-address",
    ),
    Reason.PROTOCOL_MISMATCH: Row(
        "protocol-mismatch",
        "the traffic selector's policy wants another protocol or mode than the packet's SA has",
        "compare mode and protocol of the ipsec-policy on both systems",
        "RFC 4301 section 5.2",
    ),
    Reason.CLEAR_INBOUND: Row(
        "clear-inbound",
        "a packet that an inbound traffic selector protects arrived in clear",
        "check that the peer protects this traffic",
        "RFC 4301 section 5.2",
    ),
    Reason.NOT_FORWARDED: Row(
        "not-forwarded",
        "no forwarding virtual server accepts this packet",
        "create an ltm virtual with ip-forward for this destination, port, protocol and VLAN",
    ),
    Reason.LEAK_STOPPED: Row(
        "leak-stopped",
        "a packet that an outbound traffic selector protects was about to leave in clear",
        "the packet process is down or its steering is damaged; see the log",
    ),
    Reason.NOT_ALLOWED: Row(
        "not-allowed",
        "a self IP does not accept this service",
        "change allow-service of the self IP",
    ),
    Reason.CONGESTION: Row(
        "congestion",
        "the tunnel packet was marked as congested and the packet inside can't carry the mark (RFC 6040 section 4.2)",
        "a queue between the two systems is full; nothing is wrong with the configuration",
    ),
    Reason.HALF_PROTECTED: Row(
        "half-protected",
        "a packet was about to leave in clear whose answers an inbound traffic selector protects",
        "create the outbound traffic-selector that mirrors the inbound one, or correct its addresses and ports",
    ),
    Reason.EXPIRED_IN: Row(
        "expired-in",
        "the inbound security association is past a hard limit of its life",
        "give both systems a new key and SPI, or raise the limit on the SA",
    ),
    Reason.EXPIRED_OUT: Row(
        "expired-out",
        "the outbound security association is past a hard limit of its life",
        "give both systems a new key and SPI, or raise the limit on the SA",
    ),
    Reason.DISCARD_IN: Row(
        "discard-in",
        "an inbound traffic selector with action discard matched what was inside",
        "change the selector's action",
        "RFC 4301 section 5.2",
    ),
    Reason.MODE_MISMATCH: Row(
        "mode-mismatch",
        "what was inside is not what the mode carries: an IP packet in tunnel mode, none in transport mode",
        "compare mode of the ipsec-policy on both systems",
        "RFC 4301 section 5.2",
    ),
    Reason.SA_MISMATCH: Row(
        "sa-mismatch",
        "the inbound traffic selector that matched belongs to another policy than the SAs that the packet came through",
        "compare the inbound traffic selectors and the ipsec-policy of the inbound SA; a bundle needs all of its SAs",
        "RFC 4301 section 5.2",
    ),
    Reason.ENCAPSULATION_MISMATCH: Row(
        "encapsulation-mismatch",
        "the packet came in UDP for an SA without UDP encapsulation, or the other way round",
        "compare udp-encapsulation of the ipsec-policy on both systems",
    ),
    Reason.WRONG_DIRECTION: Row(
        "wrong-direction",
        "the packet names a security association that is outbound here",
        "use another SPI in each direction; or the packet is our own and was sent back to us",
    ),
    Reason.DECOMPRESSION: Row(
        "decompression",
        "the compressed payload is damaged, or larger than an IP packet can be",
        "compare encrypt-key on both systems, and ipcomp of the ipsec-policy",
    ),
    Reason.UNSUPPORTED_PAYLOAD: Row(
        "unsupported-payload",
        "the payload is IPComp with another index than the policy's, or for a policy without ipcomp",
        "compare ipcomp of the ipsec-policy on both systems",
    ),
    Reason.NESTING: Row("nesting", "the packet is protected more often than any policy asks for", "look at the sender"),
    Reason.KEEP_ALIVE: Row("keep-alive", "a keep-alive of a NAT (RFC 3948 section 2.3)", "nothing to do"),
    Reason.IKE: Row("ike", "an IKE message on the port of UDP-encapsulated ESP", "this gateway has manual keys only"),
    Reason.REASSEMBLY: Row(
        "reassembly",
        "fragments overlap, contradict each other or are too many",
        "somebody plays with fragments; or raise the MTU between the systems",
    ),
    Reason.REASSEMBLY_TIMEOUT: Row(
        "reassembly-timeout",
        "the rest of a fragmented packet did not arrive in time",
        "look for loss between the systems",
    ),
    Reason.FRAGMENT_PORTS: Row(
        "fragment-ports",
        "a later fragment shows no ports, its first fragment was not seen, and a selector asks for ports",
        "use selectors without ports for fragmented traffic, or lower the MTU of the senders",
    ),
    Reason.NOT_AN_END: Row(
        "not-an-end",
        "transport mode protects only what goes from the SA's source to its destination",
        "use mode tunnel for traffic that this system forwards",
    ),
    Reason.QUEUE_FULL: Row(
        "queue-full", "a queue of the host is full", "the link or the receiver is slower than what comes in"
    ),
    Reason.FORGED_TOO_BIG: Row(
        "forged-too-big",
        "an ICMP message about a packet that this gateway did not just send",
        "somebody tries to make packets small; nothing was changed",
    ),
    Reason.INTERNAL: Row(
        "internal", "a mistake in this program met the packet", "please report it with the log's traceback"
    ),
    Reason.NO_BUNDLE_SA: Row(
        "no-bundle-sa",
        "the policy wants AH around ESP, and one of the two has no outbound security association",
        "create a manual-security-association with protocol ah, and one with esp, for the ipsec-policy",
    ),
    Reason.COUNTER_JOURNAL: Row(
        "counter-journal",
        "the counter journal can't be written, so no sequence number is certain to be unused",
        "look at show sys tmm-info; make room on the disk of the state directory, or make it writable",
    ),
    Reason.RING_FULL: Row(
        "ring-full",
        "AF_XDP had no free frame for what arrived: the packet process was slower than what came",
        "give the link more receive queues (ethtool -L) and as many workers; for bursts raw sockets, which hold more",
    ),
    Reason.BUFFER_FULL: Row(
        "buffer-full",
        "a raw socket or a UDP port had no room for what arrived: the packet process was slower than what came",
        "have more workers, or AF_XDP for plain ESP; a packet process that stood still for a while does it too",
    ),
}

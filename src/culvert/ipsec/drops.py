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


@dataclass(frozen=True, slots=True)
class Row:
    """`word` is the stable short name, `sentence` what happened, `hint` the likely fix."""

    word: str
    sentence: str
    hint: str


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
    ),
    Reason.REPLAY: Row(
        "replay",
        "the sequence number was seen before or is behind the replay window",
        "a captured packet sent again, a peer that restarted its counter, or a window that is too small",
    ),
    Reason.INTEGRITY: Row(
        "integrity",
        "the integrity check value is wrong",
        "compare auth-key and auth-algorithm on both systems",
    ),
    Reason.PADDING: Row(
        "padding",
        "the ESP padding is wrong after decryption",
        "compare encrypt-key and encrypt-algorithm on both systems",
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
    ),
    Reason.INNER_MALFORMED: Row(
        "inner-malformed",
        "what was inside the protected packet is no IP packet",
        "compare encrypt-key and encrypt-algorithm on both systems",
    ),
    Reason.DUMMY: Row("dummy", "a dummy packet of traffic flow confidentiality", "nothing to do"),
    Reason.FRAGMENT: Row(
        "fragment",
        "a fragment was offered where only whole packets are allowed",
        "lower the MTU or let the kernel reassemble",
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
    Reason.DISCARD: Row("discard", "a traffic selector with action discard matched", "change the selector's action"),
    Reason.SEQUENCE_EXHAUSTED: Row(
        "sequence-exhausted",
        "the send counter reached its end and must not wrap",
        "give both systems a new key and SPI",
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
        "the SA and what arrived disagree about mode or protocol",
        "compare mode and protocol of the ipsec-policy on both systems",
    ),
    Reason.CLEAR_INBOUND: Row(
        "clear-inbound",
        "a packet that an inbound traffic selector protects arrived in clear",
        "check that the peer protects this traffic",
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
}

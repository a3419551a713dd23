"""`net ipsec ...`: policies, manual security associations, traffic selectors and the ike-daemon object.

Everything that the vendor has stands first in its kind. What is Culvert's own follows, with defaults that are what the
vendor does, so that a vendor's file loads and lists as it was.
"""

from dataclasses import replace

from culvert.ipsec.algorithms import AUTHS, CIPHERS, NONE
from culvert.model import net_ipsec_rules as rules
from culvert.model.fields import Choice, Field, Integer, Key, OneAddress, Prefix, Reference, Span, Text
from culvert.model.kind import Kind, Unique
from culvert.model.net_ipsec_rules import ANY_PROTOCOL as ANY_PROTOCOL
from culvert.model.net_ipsec_rules import MANUAL_SA as MANUAL_SA
from culvert.model.net_ipsec_rules import POLICY as POLICY
from culvert.model.net_ipsec_rules import SELECTOR as SELECTOR
from culvert.model.services import DSCP, PROTOCOLS, SERVICES
from culvert.model.values import ANY_WORDS, Address

IKE_DAEMON = ("net", "ipsec", "ike-daemon")
PUBLISHER = ("sys", "log-config", "publisher")

SPI_NOTE = "a SPI has 32 bits, so 4294967296 does not fit"
ANY6 = Address(ANY_WORDS["any6"])
LOG_LEVELS = ("error", "warning", "notify", "info", "debug", "debug2")
GCM_GMAC = tuple(f"aes-{mode}{bits}" for mode in ("gcm", "gmac") for bits in (128, 192, 256))
GROUPS = ("none", *(f"modp{bits}" for bits in (768, 1024, 1536, 2048, 3072, 4096, 6144, 8192)))

APP_SERVICE = Field("app-service", Text(), "The application service that the object belongs to")
DESCRIPTION = Field("description", Text(), "User defined description", label="Description")


_PORT = Span(65535, SERVICES, zero_is_any=True)
_ICMP = Span(255, {})
_ON_OFF = Choice(("disabled", "enabled"))
REFUSED_CIPHERS = {
    name: f"RFC 8221 section 5: {title} MUST NOT be used" for name, title in (("des", "DES"), ("blowfish", "Blowfish"))
} | {"cast128": "RFC 8221 section 5 leaves it out: 64-bit blocks"}
_IP_PROTOCOL = Integer(
    0, 255, {"any": ANY_PROTOCOL, **PROTOCOLS, "icmpv6": 58, "icmp6": 58, "*": 255}, show_words=False
)


def _beyond(*fields: Field) -> tuple[Field, ...]:
    return tuple(replace(own, beyond=True) for own in fields)


OWN_POLICY_FIELDS = _beyond(
    Field("bundle-ah", _ON_OFF, "Sign with AH what ESP encrypted; needs a second SA with protocol ah", "disabled"),
    Field("ipcomp-cpi", Integer(256, 65535, {"deflate": 2}), "IPComp index of both systems (RFC 3173)", 2),
    Field("udp-encapsulation", _ON_OFF, "ESP goes in UDP (RFC 3948)", "disabled"),
    Field("udp-port", Integer(1, 65535), "UDP port of both systems for udp-encapsulation", 4500),
    Field("nat-keep-alive", Integer(0, 3600), "Seconds of silence before a NAT keep-alive; 0 is never", 20),
    Field("df-bit", Choice(("copy", "set", "clear")), "DF bit of the outer header", "copy"),
    Field("dscp", Integer(0, 63, {"copy": -1, **DSCP}), "DSCP of the outer header", -1),
    Field("ecn", Choice(("copy", "clear")), "ECN of the outer header (RFC 6040)", "copy"),
    Field("hop-limit", Integer(1, 255, {"copy": 0}), "TTL or hop limit of the outer header", 64),
    Field("flow-label", Choice(("zero", "copy")), "IPv6 flow label of the outer header", "zero"),
    Field("fragmentation", Choice(("before", "after")), "Cut large packets before or after protection", "before"),
    Field(
        "tcp-mss",
        Integer(64, 65495, {"disabled": -1, "automatic": 0}),
        "Largest TCP segment let into connections; automatic: what fits the tunnel",
        -1,
    ),
    Field("tfc-padding", Integer(0, 65535), "Octets that shorter packets are padded to (RFC 4303 section 2.7)", 0),
    Field("dummy-interval", Integer(0, 86400), "Seconds of silence before a dummy packet; 0 is never", 0),
)
"""Beyond the vendor: what goes around a packet."""

OWN_SA_FIELDS = _beyond(
    Field("extended-sequence-numbers", _ON_OFF, "64-bit sequence numbers, as on the peer (RFC 4303)", "disabled"),
    Field("replay-window-size", Integer(0, 4096), "Packets that may come late; 0 lets replays in", 64),
    *(
        Field(f"{prefix}lifetime-{unit}", Integer(0, 2**63 - 1), f"{text} {unit} of use; 0 is no limit", 0)
        for prefix, text in (("", "Ends after so many"), ("soft-", "Warns after so many"))
        for unit in ("seconds", "bytes", "packets")
    ),
)
"""Beyond the vendor: the life of a key."""

OWN_SELECTOR_FIELDS = _beyond(
    Field("icmp-type", _ICMP, "ICMP type, or a range, where ip-protocol is icmp or ipv6-icmp"),
    Field("icmp-code", _ICMP, "ICMP code, or a range, of one icmp-type"),
)
"""Beyond the vendor: what ICMP has in place of ports."""

IPSEC_POLICY_KIND = Kind(
    path=POLICY,
    title="IPsec policy",
    help="How IPsec protects traffic: protocol, mode and tunnel ends",
    partitioned=True,
    rules=(
        rules.tunnel_needs_both_ends,
        rules.encapsulation_is_possible,
        rules.one_direction_for_manual_keys,
        rules.directions_fit_the_self_ips,
    ),
    advice=(rules.header_rules_are_for_tunnels,),
    fields=(
        APP_SERVICE,
        DESCRIPTION,
        Field("protocol", Choice(("esp", "ah")), "IPsec protocol", "esp", label="IPsec Protocol"),
        Field(
            "mode",
            Choice(("transport", "tunnel", "interface", "isession")),
            "How packets are encapsulated",
            "transport",
            label="Mode",
        ),
        Field(
            "tunnel-local-address",
            OneAddress(any_allowed=True),
            "Address of the system that sends into the tunnel; for an inbound policy the remote system",
            ANY6,
            label="Tunnel Local Address",
        ),
        Field(
            "tunnel-remote-address",
            OneAddress(any_allowed=True),
            "Address of the system that receives from the tunnel; for an inbound policy this system",
            ANY6,
            label="Tunnel Remote Address",
        ),
        Field(
            "ike-phase2-auth-algorithm",
            Choice(("sha1", "sha256", "sha384", "sha512", *GCM_GMAC)),
            "Authentication of negotiated security associations",
            "aes-gcm128",
            label="Authentication Algorithm",
        ),
        Field(
            "ike-phase2-encrypt-algorithm",
            Choice(("null", "3des", "aes128", "aes192", "aes256", *GCM_GMAC)),
            "Encryption of negotiated security associations",
            "aes-gcm128",
            label="Encryption Algorithm",
        ),
        Field(
            "ike-phase2-perfect-forward-secrecy",
            Choice((*GROUPS, "ecp256", "ecp384", "ecp521")),
            "Diffie-Hellman group of negotiated security associations",
            "none",
            label="Perfect Forward Secrecy",
        ),
        Field(
            "ipcomp",
            Choice(("none", "null", "deflate")),
            "Compression before encryption",
            "none",
            label="IPComp",
        ),
        Field(
            "ike-phase2-lifetime",
            Integer(1, 4294967295),
            "Minutes until a negotiated security association expires",
            1440,
            label="Lifetime",
        ),
        Field(
            "ike-phase2-lifetime-kilobytes",
            Integer(0, 4294967295),
            "Kilobytes until a negotiated security association expires; 0 is no limit",
            0,
            label="KBLifetime",
        ),
        *OWN_POLICY_FIELDS,
    ),
)

MANUAL_SA_KIND = Kind(
    path=MANUAL_SA,
    title="IPsec manual security association",
    help="Keys, SPI and addresses of one direction, set by hand",
    complete=rules.complete_sa,
    rules=(
        rules.sa_ends_make_sense,
        rules.sa_matches_policy,
        rules.sa_algorithms_go_together,
        rules.sa_keys_fit,
        rules.sa_key_is_no_weak_des_key,
        rules.sa_life_makes_sense,
    ),
    advice=(rules.sa_goes_to_one_system, rules.sa_algorithms_are_strong, rules.sa_keys_are_good),
    unique=(
        Unique(rules.wire_key, "spi, destination-address and protocol are those of {other}; use another spi"),
        Unique(
            rules.counter_key,
            "the key is that of {other}: with a counter mode, two security associations must not have one key "
            "(RFC 4106 section 2)",
        ),
        Unique(
            rules.any_key,
            "a key is used in {other} too; every direction and every use wants its own (RFC 4301 section 4.4.2.1)",
            advice=True,
        ),
    ),
    fields=(
        APP_SERVICE,
        DESCRIPTION,
        Field(
            "spi",
            Integer(256, 4294967295, note=SPI_NOTE),
            "Security parameter index",
            required=True,
            label="SPI",
        ),
        Field("source-address", OneAddress(), "Sending system", required=True, label="Source Address"),
        Field(
            "destination-address",
            Prefix(keep_host_bits=True, hide_host_prefix=True),
            "Receiving system",
            required=True,
            label="Destination Address",
        ),
        Field("protocol", Choice(("esp", "ah")), "IPsec protocol", "esp", label="IPsec Protocol"),
        Field(
            "auth-algorithm",
            Choice((*AUTHS, NONE)),
            "Authentication algorithm; none beside a cipher that authenticates by itself",
            "sha1",
        ),
        Field("auth-key", Key(), "Authentication key", label="Authentication Key", shown_as="auth-key-encrypted"),
        Field(
            "encrypt-algorithm",
            Choice(tuple(CIPHERS), REFUSED_CIPHERS),
            "Encryption algorithm",
            "aes128",
            label="Encryption Algorithm",
        ),
        Field("encrypt-key", Key(), "Encryption key", label="Encryption Key", shown_as="encrypt-key-encrypted"),
        Field(
            "ipsec-policy",
            Reference(POLICY),
            "The policy whose traffic this security association serves",
            required=True,
            label="IPsec Policy Name",
        ),
        *OWN_SA_FIELDS,
    ),
)

TRAFFIC_SELECTOR_KIND = Kind(
    path=SELECTOR,
    title="IPsec traffic selector",
    help="Which traffic an IPsec policy handles",
    partitioned=True,
    rules=(rules.selector_is_consistent, rules.selector_ports_fit_its_protocol),
    fields=(
        Field("action", Choice(("protect", "discard")), "What happens to the traffic", "protect"),
        APP_SERVICE,
        DESCRIPTION,
        Field(
            "source-address",
            Prefix(),
            "Where the traffic comes from",
            required=True,
            label="Source IP Address or CIDR",
        ),
        Field("source-port", _PORT, "Source port, or a range such as 1000-1999", label="Source Port"),
        Field(
            "destination-address",
            Prefix(),
            "Where the traffic goes",
            required=True,
            label="Destination IP Address or CIDR",
        ),
        Field("destination-port", _PORT, "Destination port, or a range such as 1000-1999", label="Destination Port"),
        Field(
            "ip-protocol",
            _IP_PROTOCOL,
            "IP protocol, by number or name; 255 is any",
            ANY_PROTOCOL,
            label="Protocol",
        ),
        Field("direction", Choice(("both", "in", "out")), "Direction of the traffic", "both", label="Direction"),
        Field(
            "ipsec-policy",
            Reference(POLICY),
            "The policy that handles the traffic",
            required=True,
            label="IPsec Policy Name",
        ),
        Field("order", Integer(0, 4294967295), "Lower is tried first; equal orders by name", 0, label="Order"),
        *OWN_SELECTOR_FIELDS,
    ),
)

IKE_DAEMON_KIND = Kind(
    path=IKE_DAEMON,
    title="IKE daemon",
    help="Logging and ports of IPsec",
    fixed=True,
    fields=(
        APP_SERVICE,
        DESCRIPTION,
        Field("isakmp-port", Integer(500, 500), "IKE port; only 500 is supported", 500),
        Field("isakmp-natt-port", Integer(4500, 4500), "NAT traversal port; only 4500 is supported", 4500),
        Field("log-level", Choice(LOG_LEVELS), "How much IPsec writes to the log", "info", label="Log Level"),
        Field(
            "log-publisher",
            Reference(PUBLISHER, none_allowed=True),
            "Where IPsec's log goes",
            label="Log Publisher",
        ),
        Field("natt-keep-alive", Integer(0, 4294967295), "Seconds between NAT keep-alives; 0 is never", 0),
    ),
)

KINDS = (IKE_DAEMON_KIND, IPSEC_POLICY_KIND, MANUAL_SA_KIND, TRAFFIC_SELECTOR_KIND)

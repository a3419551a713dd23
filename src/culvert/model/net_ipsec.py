"""`net ipsec ...`: policies, manual security associations, traffic selectors and the ike-daemon object."""

from collections.abc import Iterator

from culvert.ipsec.algorithms import AUTHS, CIPHERS
from culvert.model.fields import Choice, Field, Integer, Key, OneAddress, Prefix, Reference, Text
from culvert.model.kind import Kind, Object, Unique, World
from culvert.model.problems import Problem
from culvert.model.services import PROTOCOLS, SERVICES
from culvert.model.values import ANY_WORDS, Address, KeyText

POLICY = ("net", "ipsec", "ipsec-policy")
MANUAL_SA = ("net", "ipsec", "manual-security-association")
SELECTOR = ("net", "ipsec", "traffic-selector")
IKE_DAEMON = ("net", "ipsec", "ike-daemon")
PUBLISHER = ("sys", "log-config", "publisher")

SPI_NOTE = "a SPI has 32 bits, so 4294967296 does not fit"
ANY_PROTOCOL = 255
ANY6 = Address(ANY_WORDS["any6"])
LOG_LEVELS = ("error", "warning", "notify", "info", "debug", "debug2")
GCM_GMAC = tuple(f"aes-{mode}{bits}" for mode in ("gcm", "gmac") for bits in (128, 192, 256))
GROUPS = ("none", *(f"modp{bits}" for bits in (768, 1024, 1536, 2048, 3072, 4096, 6144, 8192)))

APP_SERVICE = Field("app-service", Text(), "The application service that the object belongs to")
DESCRIPTION = Field("description", Text(), "User defined description", label="Description")


def tunnel_needs_both_ends(policy: Object, world: World) -> Iterator[Problem]:
    """Tunnel mode without both addresses has no outer header to write."""
    if policy["mode"] != "tunnel":
        return
    for word in ("tunnel-local-address", "tunnel-remote-address"):
        if policy[word].unspecified:
            yield policy.problem(f"mode tunnel needs an address here, not {policy[word]}", word)
    local, remote = policy["tunnel-local-address"], policy["tunnel-remote-address"]
    if local.unspecified or remote.unspecified:
        return
    if local.ip.version != remote.ip.version:
        yield policy.problem(f"{remote} is not of the family of tunnel-local-address {local}", "tunnel-remote-address")
    elif local == remote:
        yield policy.problem(f"both ends of the tunnel are {local}", "tunnel-remote-address")


def one_direction_for_manual_keys(policy: Object, world: World) -> Iterator[Problem]:
    """A manual SA is unidirectional, so every selector of its policy must say the same way."""
    referrers = list(world.referrers(POLICY, policy.name))
    sas = [other for other in referrers if other.kind.path == MANUAL_SA]
    if not sas:
        return
    first = ""
    for selector in (other for other in referrers if other.kind.path == SELECTOR):
        if selector["direction"] == "both":
            yield selector.problem(
                f"both is not allowed with ipsec-policy {policy.name}, which the manual security association "
                f"{sas[0].name} uses; allowed: in, out",
                "direction",
            )
        elif first and selector["direction"] != first:
            yield selector.problem(
                f"{selector['direction']} contradicts another selector of ipsec-policy {policy.name}, "
                f"which says {first}; use one policy for each direction",
                "direction",
            )
        first = first or selector["direction"]


def directions_fit_the_self_ips(policy: Object, world: World) -> Iterator[Problem]:
    """What this system sends is outbound, what it receives is inbound, whatever a selector says."""
    referrers = list(world.referrers(POLICY, policy.name))
    own = {each["address"].address for each in world.all(("net", "self"))}
    against: dict[str, Object] = {}
    for sa in (other for other in referrers if other.kind.path == MANUAL_SA):
        sends, receives = sa["source-address"] in own, sa["destination-address"].address in own
        if sends != receives:
            against.setdefault("in" if sends else "out", sa)
    for selector in (other for other in referrers if other.kind.path == SELECTOR):
        if contradicted := against.get(selector["direction"]):
            end = "source" if selector["direction"] == "in" else "destination"
            yield selector.problem(
                f"{selector['direction']} contradicts the manual security association {contradicted.name}, whose "
                f"{end}-address is a self IP of this system",
                "direction",
            )


def sa_matches_policy(sa: Object, world: World) -> Iterator[Problem]:
    """SA addresses against the tunnel addresses of its policy, and the protocol of both."""
    policy = world.get(POLICY, sa["ipsec-policy"])
    if policy is None:
        return
    if policy["mode"] in ("interface", "isession"):
        yield sa.problem(
            f"{policy.name} has mode {policy['mode']}, which manual keys can't serve; allowed: tunnel, transport",
            "ipsec-policy",
        )
    if sa["protocol"] != policy["protocol"]:
        yield sa.problem(
            f"{sa['protocol']} is not the protocol of ipsec-policy {policy.name}, which is {policy['protocol']}",
            "protocol",
        )
    if policy["mode"] != "tunnel":
        return
    pairs = (
        ("source-address", sa["source-address"], "tunnel-local-address"),
        ("destination-address", sa["destination-address"].address, "tunnel-remote-address"),
    )
    for word, given, other in pairs:
        if given != policy[other] and not policy[other].unspecified:
            yield sa.problem(
                f"{given} is not the {other} of ipsec-policy {policy.name}, which is {policy[other]}", word
            )


def sa_ends_make_sense(sa: Object, world: World) -> Iterator[Problem]:
    """One family, two different systems, a host on each end."""
    source, destination = sa["source-address"], sa["destination-address"].address
    if destination.unspecified or destination.ip.is_multicast:
        yield sa.problem(f"{destination} is not an address of one system", "destination-address")
    elif source.ip.version != destination.ip.version:
        yield sa.problem(f"{destination} is not of the family of source-address {source}", "destination-address")
    elif source == destination:
        yield sa.problem(f"source-address and destination-address are both {source}", "destination-address")


def sa_keys_fit(sa: Object, world: World) -> Iterator[Problem]:
    """Key text: exactly the algorithm's length, or 0x and exactly its hexadecimal digits."""
    auth = AUTHS[sa["auth-algorithm"]]
    cipher = CIPHERS[sa["encrypt-algorithm"]]
    for word, algorithm, octets in (
        ("auth-key", sa["auth-algorithm"], auth.key_octets),
        ("encrypt-key", sa["encrypt-algorithm"], cipher.key_octets),
    ):
        if sentence := key_problem(sa[word], algorithm, octets):
            yield sa.problem(sentence, word)


def key_problem(key: KeyText | None, algorithm: str, octets: int) -> str:
    """What is wrong with `key` for an algorithm of `octets`; empty when it fits. Never quotes the key."""
    if octets == 0:
        return f"{algorithm} takes no key; leave it out or say none" if key else ""
    allowed = f"{algorithm} needs {octets} characters, or 0x and {2 * octets} hexadecimal digits"
    if key is None:
        return f"a key is missing; {allowed}"
    text = key.secret.reveal().decode("latin-1")
    if len(text) == octets:
        return ""
    if not text.startswith(("0x", "0X")):
        return f"the key has {len(text)} characters; {allowed}"
    digits = text[2:]
    if any(digit not in "0123456789abcdefABCDEF" for digit in digits):
        return f"the key begins with 0x but not only hexadecimal digits follow; {allowed}"
    return "" if len(digits) == 2 * octets else f"the key has {len(digits)} hexadecimal digits after 0x; {allowed}"


def selector_is_consistent(selector: Object, world: World) -> Iterator[Problem]:
    """One family, one route domain per end, and ports only where the protocol has them."""
    source, destination = selector["source-address"], selector["destination-address"]
    if source.network.version != destination.network.version:
        yield selector.problem(f"{destination} is not of the family of source-address {source}", "destination-address")
    if source.route_domain != destination.route_domain:
        yield selector.problem(
            f"{destination} is not in the route domain of source-address {source}", "destination-address"
        )
    with_ports = (
        PROTOCOLS["tcp"],
        PROTOCOLS["udp"],
        PROTOCOLS["sctp"],
        PROTOCOLS["dccp"],
        PROTOCOLS["udplite"],
    )
    for word in ("source-port", "destination-port"):
        if selector[word] and selector["ip-protocol"] not in (*with_ports, ANY_PROTOCOL):
            yield selector.problem(
                f"ip-protocol {selector['ip-protocol']} has no ports; allowed: any, or ip-protocol tcp, udp, sctp, "
                "dccp, udplite or 255",
                word,
            )


def _wire_key(sa: Object) -> Iterator[object]:
    destination: Address = sa["destination-address"].address
    yield sa["spi"], destination, sa["protocol"]


_PORT = Integer(0, 65535, {"any": 0, **SERVICES, "*": 0})
_IP_PROTOCOL = Integer(
    0, 255, {"any": ANY_PROTOCOL, **PROTOCOLS, "icmpv6": 58, "icmp6": 58, "*": 255}, show_words=False
)

IPSEC_POLICY_KIND = Kind(
    path=POLICY,
    title="IPsec policy",
    help="How IPsec protects traffic: protocol, mode and tunnel ends",
    partitioned=True,
    rules=(tunnel_needs_both_ends, one_direction_for_manual_keys, directions_fit_the_self_ips),
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
    ),
)

MANUAL_SA_KIND = Kind(
    path=MANUAL_SA,
    title="IPsec manual security association",
    help="Keys, SPI and addresses of one direction, set by hand",
    rules=(sa_ends_make_sense, sa_matches_policy, sa_keys_fit),
    unique=(Unique(_wire_key, "spi, destination-address and protocol are those of {other}; use another spi"),),
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
        Field("protocol", Choice(("esp", "ah")), "IPsec protocol", "esp"),
        Field("auth-algorithm", Choice(tuple(AUTHS)), "Authentication algorithm", "sha1"),
        Field("auth-key", Key(), "Authentication key", label="Authentication Key", shown_as="auth-key-encrypted"),
        Field(
            "encrypt-algorithm",
            Choice(tuple(CIPHERS)),
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
    ),
)

TRAFFIC_SELECTOR_KIND = Kind(
    path=SELECTOR,
    title="IPsec traffic selector",
    help="Which traffic an IPsec policy handles",
    partitioned=True,
    rules=(selector_is_consistent,),
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
        Field("source-port", _PORT, "Source port", 0, label="Source Port"),
        Field(
            "destination-address",
            Prefix(),
            "Where the traffic goes",
            required=True,
            label="Destination IP Address or CIDR",
        ),
        Field("destination-port", _PORT, "Destination port", 0, label="Destination Port"),
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

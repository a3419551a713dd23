"""What must be true of `net ipsec` objects, each by itself and together; and advice where something is only unwise.

Rules give problems, which stop a change. Advice gives problems too, which are told and stop nothing.
"""

import re
from collections.abc import Iterator

from culvert.ipsec.algorithms import AUTHS, CIPHERS, NONE, AuthRow, CipherRow, auth_row
from culvert.ipsec.secret import Secret
from culvert.model import weak_keys
from culvert.model.fields import Raw
from culvert.model.kind import Object, World
from culvert.model.problems import Problem
from culvert.model.services import PROTOCOLS
from culvert.model.values import Address, KeyText

POLICY = ("net", "ipsec", "ipsec-policy")
MANUAL_SA = ("net", "ipsec", "manual-security-association")
SELECTOR = ("net", "ipsec", "traffic-selector")
ANY_PROTOCOL = 255
SELF, SELF_ADDRESS = ("net", "self"), 0
"""The kind of self IPs, and which of its unique keys is the address."""

_KEY_OF = {"auth-algorithm": "auth-key", "encrypt-algorithm": "encrypt-key"}
_WITH_PORTS = tuple(PROTOCOLS[name] for name in ("tcp", "udp", "sctp", "dccp", "udplite"))


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


def _hiding_is_possible(policy: Object) -> Iterator[Problem]:
    """What is asked for to hide traffic must not silently do nothing."""
    if policy["tfc-padding"] and (policy["protocol"], policy["mode"]) != ("esp", "tunnel"):
        yield policy.problem("only ESP in tunnel mode can pad packets (RFC 4303 section 2.7)", "tfc-padding")
    if policy["dummy-interval"] and (policy["protocol"] != "esp" or policy["bundle-ah"] == "enabled"):
        yield policy.problem("only ESP by itself has dummy packets (RFC 4303 section 2.6)", "dummy-interval")


def header_rules_are_for_tunnels(policy: Object, world: World) -> Iterator[Problem]:
    """Advice: properties that do nothing as the others are."""
    own = {each.word: each for each in policy.kind.fields if each.beyond}
    idle = [word for word in ("df-bit", "dscp", "ecn", "hop-limit", "flow-label") if policy["mode"] != "tunnel"]
    idle += ["udp-port", "nat-keep-alive"] if policy["udp-encapsulation"] != "enabled" else []
    if policy["udp-encapsulation"] == "enabled" and policy["mode"] == "transport":
        yield policy.problem(
            "in transport mode a NAT leaves checksums of TCP and UDP wrong (RFC 3948 section 3.1.2); use mode tunnel "
            "where one is on the way",
            "udp-encapsulation",
        )
    idle += ["ipcomp-cpi"] if policy["ipcomp"] != "deflate" else []
    for word in idle:
        if policy[word] != own[word].default:
            yield policy.problem("does nothing here: see docs/properties.md for what it goes with", word)


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
    against: dict[str, Object] = {}
    for sa in (other for other in referrers if other.kind.path == MANUAL_SA):
        ends = sa["source-address"], sa["destination-address"].address
        # Asked of the index: to look at all self IPs for each of all policies would take their product.
        sends, receives = (bool(world.holders(SELF, SELF_ADDRESS, end)) for end in ends)
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
    bundle = policy["bundle-ah"] == "enabled"
    if sa["protocol"] != policy["protocol"] and not bundle:
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


def encapsulation_is_possible(policy: Object, world: World) -> Iterator[Problem]:
    """What goes in UDP, and what goes around ESP."""
    if policy["bundle-ah"] == "enabled" and policy["protocol"] != "esp":
        yield policy.problem("AH goes around ESP, so protocol has to be esp", "bundle-ah")
    yield from _hiding_is_possible(policy)
    if policy["udp-encapsulation"] != "enabled":
        return
    if policy["protocol"] != "esp" or policy["bundle-ah"] == "enabled":
        yield policy.problem("AH covers addresses that a NAT changes: only ESP goes in UDP", "udp-encapsulation")


def sa_ends_make_sense(sa: Object, world: World) -> Iterator[Problem]:
    """One family, two different systems."""
    source, destination = sa["source-address"], sa["destination-address"].address
    if destination.unspecified:
        yield sa.problem(f"{destination} is not an address of a system", "destination-address")
    elif source.ip.version != destination.ip.version:
        yield sa.problem(f"{destination} is not of the family of source-address {source}", "destination-address")
    elif source == destination:
        yield sa.problem(f"source-address and destination-address are both {source}", "destination-address")


def sa_goes_to_one_system(sa: Object, world: World) -> Iterator[Problem]:
    """Advice: the manual's own example of a destination, ffe1::0020/64, is a multicast group."""
    destination = sa["destination-address"].address
    if destination.ip.is_multicast:
        yield sa.problem(
            f"{destination} is a multicast group: this system sends to it, but is no member that receives",
            "destination-address",
        )


def complete_sa(name: str, raw: dict[str, Raw], world: World) -> None:
    """A cipher that authenticates by itself leaves nothing to another algorithm."""
    cipher = CIPHERS.get(str(raw.get("encrypt-algorithm")))
    if cipher is not None and cipher.combined and raw.get("protocol") != "ah":
        raw.setdefault("auth-algorithm", NONE)


def sa_algorithms_go_together(sa: Object, world: World) -> Iterator[Problem]:
    """Never encryption without authentication, never authentication twice (RFC 8221 section 4)."""
    auth = sa["auth-algorithm"]
    if sa["protocol"] == "ah":
        if auth == NONE:
            yield sa.problem(f"AH is nothing but authentication; allowed: {', '.join(AUTHS)}", "auth-algorithm")
        return
    cipher = CIPHERS[sa["encrypt-algorithm"]]
    allowed = ", ".join(name for name, row in AUTHS.items() if not row.only_ah)
    if cipher.combined and auth != NONE:
        yield sa.problem(f"{auth} beside {cipher.name}, which authenticates by itself; allowed: none", "auth-algorithm")
    elif not cipher.combined and auth == NONE:
        yield sa.problem(
            f"encryption without authentication is refused (RFC 8221 section 4); allowed: {allowed}", "auth-algorithm"
        )
    elif not cipher.combined and AUTHS[auth].only_ah:
        yield sa.problem(
            f"in ESP {auth} is an encrypt-algorithm (RFC 4543 section 3); allowed here: {allowed}", "auth-algorithm"
        )


def sa_keys_fit(sa: Object, world: World) -> Iterator[Problem]:
    """Key text: exactly the algorithm's length, or 0x and exactly its hexadecimal digits."""
    auth = auth_row(sa["auth-algorithm"])
    if sentence := key_problem(sa["auth-key"], auth.name, auth.key_octets):
        yield sa.problem(sentence, "auth-key")
    if sa["protocol"] == "ah":
        # The vendor has encryption properties here too, and doesn't use them.
        return
    cipher = CIPHERS[sa["encrypt-algorithm"]]
    if sentence := key_problem(sa["encrypt-key"], cipher.name, cipher.key_octets):
        salt = f", of which the last {cipher.salt_octets} octets are the salt" if cipher.salt_octets else ""
        yield sa.problem(sentence + salt, "encrypt-key")


_HEXADECIMAL = re.compile("[0-9a-fA-F]*")


def key_problem(key: KeyText | None, algorithm: str, octets: int) -> str:
    """What is wrong with `key` for an algorithm of `octets`; empty when it fits. Never quotes the key."""
    if octets == 0:
        return f"{algorithm} takes no key; leave it out or say none" if key else ""
    if key is not None and key.octets(octets) is not None:
        return ""
    allowed = f"{algorithm} needs {octets} characters, or 0x and {2 * octets} hexadecimal digits"
    if key is None:
        return f"a key is missing; {allowed}"
    text = key.secret.reveal().decode("latin-1")
    if not text.startswith(("0x", "0X")):
        return f"the key has {len(text)} characters; {allowed}"
    digits = text[2:]
    if not _HEXADECIMAL.fullmatch(digits):
        return f"the key begins with 0x but not only hexadecimal digits follow; {allowed}"
    return f"the key has {len(digits)} hexadecimal digits after 0x; {allowed}"


def sa_key_is_no_weak_des_key(sa: Object, world: World) -> Iterator[Problem]:
    """RFC 2451 section 2.3: a 3DES key that is a DES key in disguise, or made of weak ones."""
    if sa["encrypt-algorithm"] != "3des" or sa["protocol"] == "ah":
        return
    key = sa["encrypt-key"] and sa["encrypt-key"].octets(24)
    if key and (sentence := weak_keys.triple_des_problem(key.reveal())):
        yield sa.problem(f"{sentence} (RFC 2451 section 2.3); use a key from a random source", "encrypt-key")


def sa_life_makes_sense(sa: Object, world: World) -> Iterator[Problem]:
    """Soft limits come before hard ones, and 64-bit numbers need a window."""
    for unit in ("seconds", "bytes", "packets"):
        soft, hard = sa[f"soft-lifetime-{unit}"], sa[f"lifetime-{unit}"]
        if soft and hard and soft >= hard:
            yield sa.problem(f"{soft} is not below lifetime-{unit}, which is {hard}", f"soft-lifetime-{unit}")
    if sa["extended-sequence-numbers"] == "enabled" and not sa["replay-window-size"]:
        yield sa.problem(
            "0 is not allowed with extended-sequence-numbers: the receiver finds the upper half of a number by its "
            "window (RFC 4303 section 2.2.1)",
            "replay-window-size",
        )


def algorithm_rows(sa: Object) -> Iterator[tuple[str, AuthRow | CipherRow]]:
    """The algorithms that a manual security association really uses, each with the property that names it."""
    yield "auth-algorithm", auth_row(sa["auth-algorithm"])
    if sa["protocol"] != "ah":
        yield "encrypt-algorithm", CIPHERS[sa["encrypt-algorithm"]]


def sa_algorithms_are_strong(sa: Object, world: World) -> Iterator[Problem]:
    """Advice: what RFC 8221 would rather not see."""
    for word, row in algorithm_rows(sa):
        if row.name == "null":
            yield sa.problem("null hides nothing: everybody on the way can read the traffic (RFC 8221 section 5)", word)
        if row.standing.is_weak:
            yield sa.problem(f"{row.name} {row.standing.value} be used any more: {row.why}", word)
    if not sa["replay-window-size"]:
        yield sa.problem("0 lets anybody send recorded packets again", "replay-window-size")


def sa_keys_are_good(sa: Object, world: World) -> Iterator[Problem]:
    """Advice: keys that repeat themselves."""
    encrypt, auth = sa["encrypt-key"], sa["auth-key"]
    for word, key in (("auth-key", auth), ("encrypt-key", encrypt)):
        if key is not None and weak_keys.repeats(key.secret.reveal()):
            yield sa.problem("the key is a short pattern again and again; use one from a random source", word)
    used = _used_keys(sa)
    if len(set(used.values())) < len(used):
        yield sa.problem("encrypt-key and auth-key are the same; use two", "encrypt-key")


def selector_is_consistent(selector: Object, world: World) -> Iterator[Problem]:
    """One family, one route domain per end, and ports only where the protocol has them."""
    source, destination = selector["source-address"], selector["destination-address"]
    if source.network.version != destination.network.version:
        yield selector.problem(f"{destination} is not of the family of source-address {source}", "destination-address")
    if source.route_domain != destination.route_domain:
        yield selector.problem(
            f"{destination} is not in the route domain of source-address {source}", "destination-address"
        )


def selector_ports_fit_its_protocol(selector: Object, world: World) -> Iterator[Problem]:
    """Ports only where the protocol has them, ICMP types only for ICMP."""
    protocol, version = selector["ip-protocol"], selector["source-address"].network.version
    for word in ("source-port", "destination-port"):
        if selector[word] and protocol not in (*_WITH_PORTS, ANY_PROTOCOL):
            yield selector.problem(
                f"ip-protocol {protocol} has no ports; allowed: any, or ip-protocol tcp, udp, sctp, "
                "dccp, udplite or 255",
                word,
            )
    icmp = PROTOCOLS["icmp" if version == 4 else "ipv6-icmp"]
    for word in ("icmp-type", "icmp-code"):
        if selector[word] and protocol != icmp:
            yield selector.problem(f"is for ip-protocol {icmp} of IPv{version} only, not {protocol}", word)
    if selector["icmp-code"] and not selector["icmp-type"]:
        yield selector.problem("a code means nothing without its icmp-type", "icmp-code")


def wire_key(sa: Object) -> Iterator[object]:
    destination: Address = sa["destination-address"].address
    yield sa["spi"], destination, sa["protocol"]


def counter_key(sa: Object) -> Iterator[object]:
    """A key that may be in one security association only."""
    for word, row in algorithm_rows(sa):
        if row.counter and (key := _used_key(sa, word, row)) is not None:
            # Without the salt: that is no secret, and may be all that differs.
            yield Secret(key.reveal()[: -row.salt_octets])


def any_key(sa: Object) -> Iterator[object]:
    """Every key: each had better be in one security association only."""
    yield from _used_keys(sa).values()


def _used_keys(sa: Object) -> dict[str, Secret]:
    """The octets of each right key, however they are spelled, by property."""
    found = ((_KEY_OF[word], _used_key(sa, word, row)) for word, row in algorithm_rows(sa))
    return {word: key for word, key in found if key is not None}


def _used_key(sa: Object, word: str, row: AuthRow | CipherRow) -> Secret | None:
    """The octets of the key for the algorithm under `word`, if it takes one and this fits."""
    key = sa[_KEY_OF[word]]
    return key.octets(row.key_octets) if key is not None and row.key_octets else None

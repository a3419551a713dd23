"""Manual security associations and their policies, as the SAs that they mean."""

from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache

from culvert.change import Link
from culvert.config.snapshot import Snapshot
from culvert.ipsec.algorithms import CIPHERS, auth_row
from culvert.ipsec.lifetime import Lifetime, Limits
from culvert.ipsec.overhead import largest_inner
from culvert.ipsec.sa import (
    Copy,
    Direction,
    Fragmentation,
    HeaderRules,
    IPAddress,
    Mode,
    Protocol,
    SecurityAssociation,
    UdpPorts,
)
from culvert.ipsec.secret import Secret
from culvert.model import net, net_ipsec
from culvert.model.kind import Object
from culvert.plan import keys

LINK_MTU_DEFAULT = 1500
_LIMITS = tuple(f"{prefix}lifetime-{unit}" for prefix in ("soft-", "") for unit in ("seconds", "bytes", "packets"))
"""The properties behind a Lifetime, in the order of its limits."""
SHARED_KEPT = 1024
_WAITS, _FOR = "manual security association ", " waits: "
UNCUT = 65535
"""The MTU of a tunnel device that leaves all cutting to the packet process."""


def waits(name: str, why: str) -> str:
    """The note of an SA that can't run yet."""
    return f"{_WAITS}{name}{_FOR}{why}"


def waiting(notes: Iterable[str]) -> Iterator[tuple[str, str]]:
    """The notes that `waits` made, each with its SA's name."""
    for note in notes:
        if note.startswith(_WAITS):
            yield note, note.removeprefix(_WAITS).partition(_FOR)[0]


def security_associations(
    snapshot: Snapshot,
    reqids: Mapping[str, int],
    links: Mapping[str, Link],
    notes: list[str],
    names: Iterable[str] | None = None,
) -> Iterator[SecurityAssociation]:
    """Every SA that has a direction, or those with `names`. `links`: by the name of their VLAN.

    `notes` says which ones wait, and for what.
    """
    mtus = _link_mtus(snapshot, links)
    own_addresses = {own["address"].interface.ip for own in snapshot.all(net.SELF)}
    smallest = min(mtus.values(), default=LINK_MTU_DEFAULT)
    for own in snapshot.some(net_ipsec.MANUAL_SA, names):
        policy = snapshot.get(net_ipsec.POLICY, own["ipsec-policy"])
        assert policy is not None
        direction = _direction(snapshot, own, policy, own_addresses)
        if direction is None:
            why = f"no traffic selector names {policy.name}, and neither address is a self IP"
            notes.append(waits(own.name, f"{why}, so it has no direction yet"))
            continue
        end = own["source-address"].ip if direction is Direction.OUT else own["destination-address"].address.ip
        path_mtu = mtus.get(end, smallest)
        yield _association(own, policy, direction, reqids[policy.name], path_mtu)


def _link_mtus(snapshot: Snapshot, links: Mapping[str, Link]) -> dict[IPAddress, int]:
    """The MTU of the link that each of our addresses is on."""
    return {
        own["address"].interface.ip: links[own["vlan"]].mtu for own in snapshot.all(net.SELF) if own["vlan"] in links
    }


def _direction(snapshot: Snapshot, sa: Object, policy: Object, own_addresses: set[IPAddress]) -> Direction | None:
    for other in snapshot.referrers(net_ipsec.POLICY, policy.name):
        if other.kind.path == net_ipsec.SELECTOR and other["direction"] != "both":
            return Direction(other["direction"])
    if sa["source-address"].ip in own_addresses:
        return Direction.OUT
    return Direction.IN if sa["destination-address"].address.ip in own_addresses else None


def _association(own: Object, policy: Object, direction: Direction, reqid: int, path_mtu: int) -> SecurityAssociation:
    is_ah = own["protocol"] == "ah"
    bundled = is_ah and policy["bundle-ah"] == "enabled"
    auth = own["auth-algorithm"]
    cipher = "null" if is_ah else own["encrypt-algorithm"]
    in_udp = policy["udp-encapsulation"] == "enabled"
    return SecurityAssociation(
        spi=own["spi"],
        source=own["source-address"].ip,
        destination=own["destination-address"].address.ip,
        protocol=Protocol.AH if is_ah else Protocol.ESP,
        # Around ESP, AH is always in transport mode: the outer header is the one that ESP made (RFC 4301 section 5).
        mode=Mode.TRANSPORT if bundled else Mode(policy["mode"]),
        direction=direction,
        auth=auth,
        auth_key=keys.octets(own["auth-key"], auth_row(auth).key_octets),
        cipher=cipher,
        cipher_key=Secret(b"") if is_ah else keys.octets(own["encrypt-key"], CIPHERS[cipher].key_octets),
        reqid=reqid,
        replay_window=own["replay-window-size"],
        esn=own["extended-sequence-numbers"] == "enabled",
        compression=policy["ipcomp-cpi"] if policy["ipcomp"] == "deflate" and not bundled else 0,
        encapsulation=UdpPorts(policy["udp-port"], policy["udp-port"]) if in_udp else None,
        header=_header_rules(policy),
        fragmentation=Fragmentation(policy["fragmentation"]),
        path_mtu=path_mtu,
        mss=None if policy["tcp-mss"] < 0 else policy["tcp-mss"],
        tfc_octets=0 if is_ah else policy["tfc-padding"],
        dummy_seconds=0 if policy["bundle-ah"] == "enabled" else policy["dummy-interval"],
        keep_alive_seconds=policy["nat-keep-alive"] if in_udp else 0,
        lifetime=_lifetime(own),
        label=own.name,
    )


def _header_rules(policy: Object) -> HeaderRules:
    return _shared_rules(policy["dscp"], policy["ecn"], policy["df-bit"], policy["hop-limit"], policy["flow-label"])


@lru_cache(SHARED_KEPT)
def _shared_rules(dscp: int, ecn: str, df_bit: str, hop_limit: int, flow_label: str) -> HeaderRules:
    """One value for all SAs whose policies say the same: most of tens of thousands do."""
    return HeaderRules(
        dscp=None if dscp < 0 else dscp,
        ecn=ecn == "copy",
        dont_fragment=Copy(df_bit),
        hops=hop_limit or None,
        flow_label=flow_label == "copy",
    )


def _lifetime(own: Object) -> Lifetime:
    return _shared_lifetime(*(own[word] for word in _LIMITS))


@lru_cache(SHARED_KEPT)
def _shared_lifetime(*limits: int) -> Lifetime:
    soft, hard = (Limits(seconds=own[0], octets=own[1], packets=own[2]) for own in (limits[:3], limits[3:]))
    return Lifetime(soft, hard)


def tunnel_mtu(sas: Iterable[SecurityAssociation]) -> int:
    """What the host is told to cut packets to that go into the tunnel device: the smallest of all SAs.

    Where one of them wants packets cut after protection, or whatever their DF bit says, the packet process must see
    them whole, and does all the cutting.
    """
    outbound = [sa for sa in sas if sa.direction is Direction.OUT]
    sealed = {sa.reqid for sa in outbound if sa.protocol is Protocol.ESP}
    around = {sa.reqid: sa for sa in outbound if sa.protocol is Protocol.AH and sa.reqid in sealed}
    first = [sa for sa in outbound if around.get(sa.reqid) is not sa]
    if any(sa.fragmentation is Fragmentation.AFTER or sa.header.dont_fragment is not Copy.COPY for sa in first):
        return UNCUT
    return min((largest_inner(sa, sa.path_mtu, around.get(sa.reqid)) for sa in first), default=LINK_MTU_DEFAULT)

"""Shows of the network as it is configured and runs: selectors, self IPs, VLANs, routes."""

from collections.abc import Mapping, Sequence
from typing import Any

from culvert.config.snapshot import Snapshot
from culvert.dataplane.plane import DataPlane, LinkState, SaUsage
from culvert.model import net, net_ipsec
from culvert.model.kind import Object
from culvert.plan.intent import Intent

Record = dict[str, Any]
IKE_EVENTS = (
    *("active_tunnels", "auth_failures", "auth_success", "child_rekey_l_init", "child_rekey_r_init"),
    *("decrypt_failures", "hash_failures", "ike_rekey_l_init", "ike_rekey_r_init", "in_sa_negotiation"),
    *("invalid_spi", "l_init_fail_sa", "l_init_sa", "negotiated_tunnels", "out_sa_negotiation"),
    *("proposal_mismatch", "r_init_fail_sa", "r_init_sa", "v2_negotiations", "v2_negotiations_fail"),
)
_IKE_MESSAGES = (
    *("bytes", "packets", "child_exch", "child_exch_invalid", "child_exch_reject"),
    *("dpd_msgs", "drop_packets", "ike_delete", "ipsec_delete", "notifys"),
)
IKE_MESSAGES = tuple(f"{what}_{way}" for what in _IKE_MESSAGES for way in ("in", "out"))
"""The vendor's counters of IKE. Keys are typed in here and nothing is negotiated, so all of them stay zero."""


def selectors(snapshot: Snapshot, intent: Intent, plane: DataPlane) -> list[Record]:
    """Every traffic selector, in the order in which packets meet them, with what its SAs carried."""
    reqids = {policy.label: policy.reqid for policy in intent.policies}
    usage: dict[int, list[SaUsage]] = {}
    for each in plane.usage():
        usage.setdefault(each.sa.reqid, []).append(each)
    found = sorted(snapshot.all(net_ipsec.SELECTOR), key=lambda own: (own["order"], own.name))
    return [_selector(own, reqids.get(own.name), usage) for own in found]


def _selector(own: Object, reqid: int | None, usage: Mapping[int, Sequence[SaUsage]]) -> Record:
    carried = usage.get(reqid, ()) if reqid is not None else ()
    return {
        "name": own.name,
        "direction": own["direction"],
        "order": own["order"],
        "source": str(own["source-address"]),
        "destination": str(own["destination-address"]),
        "ipsec_policy": own["ipsec-policy"],
        "active": reqid is not None,
        "sas": [each.sa.label for each in carried],
        "packets": sum(each.packets for each in carried),
        "bytes": sum(each.octets for each in carried),
        "last_use": max((each.last_use for each in carried), default=0.0),
    }


def selves(snapshot: Snapshot, plane: DataPlane) -> list[Record]:
    """Self IPs, and whether the link below is up."""
    links = _links(snapshot, plane)
    return [
        {"name": own.name, "address": str(own["address"]), "vlan": own["vlan"], "state": _state(links, own["vlan"])}
        for own in snapshot.all(net.SELF)
    ]


def vlans(snapshot: Snapshot, plane: DataPlane) -> list[Record]:
    """VLANs with their Linux links."""
    links = _links(snapshot, plane)
    return [
        {
            "name": own.name,
            "tag": own["tag"],
            "interfaces": sorted(own["interfaces"]),
            "mac": links[own.name].mac if own.name in links else "",
            "mtu": own["mtu"],
            "state": _state(links, own.name),
        }
        for own in snapshot.all(net.VLAN)
    ]


def routes(snapshot: Snapshot) -> list[Record]:
    """Static routes, and those that self IPs bring."""
    static = [
        {
            "name": own.name,
            "destination": str(own["network"]),
            "type": "gw" if own["gw"] else "interface" if own["interface"] else "blackhole",
            "next_hop": str(own["gw"] or own["interface"] or "-"),
            "origin": "static",
        }
        for own in snapshot.all(net.ROUTE)
    ]
    connected = [
        {
            "name": own.name,
            "destination": str(own["address"].network),
            "type": "interface",
            "next_hop": own["vlan"],
            "origin": "connected",
        }
        for own in snapshot.all(net.SELF)
    ]
    return static + connected


def _links(snapshot: Snapshot, plane: DataPlane) -> dict[str, LinkState]:
    """The first link of each VLAN that has one."""
    states = {link.name: link for link in plane.links()}
    named = ((own.name, next(iter(sorted(own["interfaces"])), "")) for own in snapshot.all(net.VLAN))
    return {vlan: states[link] for vlan, link in named if link in states}


def _state(links: Mapping[str, LinkState], vlan: str) -> str:
    return links[vlan].state if vlan in links else "missing"

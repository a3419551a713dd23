"""The two sites of the lab as iControl REST has them: every object's collection, name and body, in order of need."""

from collections.abc import Iterator, Mapping
from typing import Any

from culvert.lab.keys import Keys
from culvert.lab.sites import Family, Site
from culvert.model.sys import HOSTNAME

Json = Any
SETTINGS = "/mgmt/tm/sys/global-settings"
POLICY = "/mgmt/tm/net/ipsec/ipsec-policy"
ASSOCIATION = "/mgmt/tm/net/ipsec/manual-security-association"
SELECTOR = "/mgmt/tm/net/ipsec/traffic-selector"


def task(site: Site, keys: Mapping[str, Keys]) -> dict[str, Json]:
    """What a client is to build: the host's name, what it was called before, and the objects."""
    return {"hostname": site.hostname, "hostname_before": HOSTNAME, "objects": list(objects(site, keys))}


def objects(site: Site, keys: Mapping[str, Keys]) -> Iterator[dict[str, Json]]:
    """Each as `{"collection", "name", "body"}`."""
    for vlan, link in (("external", "wan0"), ("internal", "lan0")):
        interfaces = [{"name": link, "untagged": True}]
        yield _object("/mgmt/tm/net/vlan", vlan, {"interfaces": interfaces})
    for family in site.families:
        yield from _addresses(family)
    for family in site.families:
        yield from _policies(family)
        yield from _associations(family, keys)
        yield from _selectors(family)


def _object(collection: str, name: str, body: Mapping[str, Json]) -> dict[str, Json]:
    return {"collection": collection, "name": name, "body": {"name": name, "partition": "Common", **body}}


def _addresses(family: Family) -> Iterator[dict[str, Json]]:
    for vlan, address in (("external", family.external_self), ("internal", family.internal_self)):
        body: Json = {"address": address, "vlan": f"/Common/{vlan}", "allowService": ["default"]}
        yield _object("/mgmt/tm/net/self", f"{vlan}-self{family.suffix}", body)
    body = {"network": family.default_network, "gw": family.default_gateway}
    yield _object("/mgmt/tm/net/route", family.default_name, body)
    body = {
        "destination": f"/Common/{family.virtual_destination.replace('any', '0')}",
        "mask": family.virtual_mask,
        "ipForward": True,
        "ipProtocol": "any",
        "profiles": ["fastL4"],
        "translateAddress": "disabled",
        "translatePort": "disabled",
    }
    yield _object("/mgmt/tm/ltm/virtual", f"forward-all{family.suffix}", body)


def _policies(family: Family) -> Iterator[dict[str, Json]]:
    for name, local, remote in (
        ("policy-out", family.tunnel_local, family.tunnel_remote),
        ("policy-in", family.tunnel_remote, family.tunnel_local),
    ):
        body = {
            "protocol": "esp",
            "mode": "tunnel",
            "tunnelLocalAddress": local,
            "tunnelRemoteAddress": remote,
            "ikePhase2PerfectForwardSecrecy": "none",
            "ikePhase2Lifetime": 1440,
            "ipcomp": "none",
        }
        yield _object(POLICY, f"{name}{family.suffix}", body)


def _associations(family: Family, keys: Mapping[str, Keys]) -> Iterator[dict[str, Json]]:
    for direction, association, source, destination in (
        ("out", family.association_out, family.tunnel_local, family.tunnel_remote),
        ("in", family.association_in, family.tunnel_remote, family.tunnel_local),
    ):
        key = keys[association]
        body = {
            "description": association,
            "spi": key.spi,
            "sourceAddress": source,
            "destinationAddress": destination,
            "protocol": "esp",
            "authAlgorithm": "sha1",
            "authKey": key.auth_key,
            "encryptAlgorithm": "aes128",
            "encryptKey": key.encrypt_key,
            "ipsecPolicy": f"/Common/policy-{direction}{family.suffix}",
        }
        yield _object(ASSOCIATION, f"sa-{direction}{family.suffix}", body)


def _selectors(family: Family) -> Iterator[dict[str, Json]]:
    for direction, source, destination in (
        ("out", family.network_local, family.network_remote),
        ("in", family.network_remote, family.network_local),
    ):
        body = {
            "description": f"{source} to {destination}",
            "sourceAddress": source,
            "sourcePort": 0,
            "destinationAddress": destination,
            "destinationPort": 0,
            "ipProtocol": 255,
            "direction": direction,
            "ipsecPolicy": f"/Common/policy-{direction}{family.suffix}",
        }
        yield _object(SELECTOR, f"selector-{direction}{family.suffix}", body)

"""The virtual server's screen: type, Destination Address/Mask, Service Port, and VLAN and Tunnel Traffic."""

from collections.abc import Mapping
from ipaddress import ip_network
from typing import Any

from culvert.model.fields import Choice, Field, Text
from culvert.model.problems import BadValue
from culvert.model.services import SERVICES
from culvert.model.values import parse_interface
from culvert.web.codec import BadField, Codec

Raw = Any
TYPE, NETWORK, PORT, TRAFFIC = "type", "destination-network", "service-port", "vlan-traffic"
FORWARDING = "Forwarding (IP)"
EVERYWHERE, ENABLED_ON, DISABLED_ON = "All VLANs and Tunnels", "Enabled on...", "Disabled on..."

FIELDS = (
    Field(TYPE, Choice((FORWARDING,)), "Forwards what it accepts without translating it", FORWARDING, label="Type"),
    Field(
        NETWORK,
        Text(),
        "A network in CIDR format: 0.0.0.0/0 or ::/0 to accept any traffic",
        required=True,
        label="Destination Address/Mask",
    ),
    Field(PORT, Text(), "Port or service that it accepts", "any", label="Service Port"),
    Field(
        TRAFFIC,
        Choice((EVERYWHERE, ENABLED_ON, DISABLED_ON)),
        "Where it accepts traffic from",
        EVERYWHERE,
        label="VLAN and Tunnel Traffic",
    ),
)


def show(raw: Mapping[str, Raw]) -> dict[str, Raw]:
    """Properties as the form has them."""
    _, _, text = str(raw["destination"]).rpartition("/")
    host, port = text.rsplit(":" if text.count(":") == 1 else ".", 1)
    on, vlans = raw["vlans-enabled"], raw["vlans"]
    return {
        TYPE: FORWARDING,
        NETWORK: f"{host}/{_prefix(host, str(raw['mask']))}",
        PORT: str(SERVICES.get(port, port)) if port != "0" else "any",
        TRAFFIC: ENABLED_ON if on else DISABLED_ON if vlans else EVERYWHERE,
        **raw,
    }


def _prefix(host: str, mask: str) -> int:
    version6 = ":" in host or host == "any6"
    plain = host.partition("%")[0]
    if mask in ("any", "any6"):
        return 0 if plain in ("any", "any6", "0.0.0.0", "::") else 128 if version6 else 32
    if version6:
        return int.from_bytes(ip_network(f"{mask}/128").network_address.packed).bit_count()
    return ip_network(f"0.0.0.0/{mask}").prefixlen


def read(form: Mapping[str, Raw]) -> dict[str, Raw]:
    """What the form has, as properties. Raises BadField."""
    raw = {word: value for word, value in form.items() if word not in (TYPE, NETWORK, PORT, TRAFFIC)}
    if NETWORK in form:
        raw |= _destination(str(form[NETWORK]).strip(), str(form.get(PORT, "any")).strip())
    if TRAFFIC in form:
        raw["vlans-enabled"] = form[TRAFFIC] == ENABLED_ON
        if form[TRAFFIC] == EVERYWHERE:
            raw["vlans"] = []
    return raw | {"ip-forward": True}


def _destination(network: str, port: str) -> dict[str, Raw]:
    try:
        parsed = parse_interface({"any": "0.0.0.0/0", "any6": "::/0"}.get(network, network))
    except BadValue as error:
        raise BadField(NETWORK, str(error)) from None
    address, version6 = parsed.network.network_address, parsed.network.version == 6
    domain = f"%{parsed.route_domain}" if parsed.route_domain else ""
    mask = str(parsed.network.netmask) if parsed.network.prefixlen else "any6" if version6 else "any"
    return {
        "destination": f"{address}{domain}{'.' if version6 else ':'}{port.lower() or 'any'}",
        "mask": mask,
    }


CODEC = Codec(
    fields=FIELDS,
    hides=frozenset({"destination", "mask", "ip-forward", "vlans-enabled"}),
    words={"destination": NETWORK, "mask": NETWORK, "vlans-enabled": TRAFFIC, "ip-forward": TYPE},
    show=show,
    read=read,
)

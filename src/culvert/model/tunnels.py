"""`net tunnels ...`: the tunnels that every system of the vendor has. Interface mode is not carried out."""

from culvert.model.fields import Choice, Field, Integer, OneAddress, Reference, Text
from culvert.model.kind import Kind, Path
from culvert.model.net_ipsec import ANY6, APP_SERVICE, DESCRIPTION, SELECTOR

TUNNEL: Path = ("net", "tunnels", "tunnel")
PROFILE: Path = ("net", "tunnels", "ipsec")
_SWITCH = Choice(("disabled", "enabled"))

TUNNEL_KIND = Kind(
    path=TUNNEL,
    keeps=True,
    title="tunnel",
    help="Tunnels that come with the system",
    fixed=True,
    fields=(
        APP_SERVICE,
        DESCRIPTION,
        Field("idle-timeout", Integer(0, 2**32 - 1), "Seconds until an idle tunnel ends", 300),
        Field("key", Integer(0, 2**32 - 1), "Key of the tunnel", 0),
        Field("local-address", OneAddress(any_allowed=True), "Address of this end", ANY6),
        Field("mode", Choice(("bidirectional", "inbound", "outbound")), "Direction", "bidirectional"),
        Field("mtu", Integer(0, 65535), "Largest packet in octets; 0 is automatic", 0),
        Field("profile", Text(), "Profile of the tunnel", "/Common/tcp-forward", always=True),
        Field("remote-address", OneAddress(any_allowed=True), "Address of the other end", ANY6),
        Field("tos", Integer(0, 255, {"preserve": -1}), "Type of service of outer packets", -1),
        Field("transparent", _SWITCH, "Whether packets keep their addresses", "disabled"),
        Field("use-pmtu", _SWITCH, "Whether the path MTU is used", "enabled"),
    ),
)

PROFILE_KIND = Kind(
    path=PROFILE,
    title="IPsec tunnel profile",
    help="Profiles of interface-mode tunnels",
    fixed=True,
    fields=(
        APP_SERVICE,
        Field("defaults-from", Reference(PROFILE, none_allowed=True), "Profile that gives the defaults"),
        DESCRIPTION,
        Field("traffic-selector", Reference(SELECTOR, none_allowed=True), "What goes through the tunnel", always=True),
    ),
)

KINDS = (PROFILE_KIND, TUNNEL_KIND)

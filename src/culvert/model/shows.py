"""What a show may be asked about: names of objects, or filters. The faces offer it, and the daemon holds them to it."""

from collections.abc import Mapping

IPSEC_SA = "net ipsec ipsec-sa"
IKE_SA = "net ipsec ike-sa"
_ROUTE_DOMAIN = {"route-domain": "Number of a route domain"}
_SELECTOR = {"traffic-selector": "Name of a traffic selector"}

FILTERS: Mapping[str, Mapping[str, str]] = {
    IPSEC_SA: {
        "dst-addr": "Destination address",
        **_ROUTE_DOMAIN,
        "spi": "Security parameter index",
        "src-addr": "Source address",
        **_SELECTOR,
    },
    IKE_SA: {"peer-ip": "Address of the peer", "peer-name": "Name of an ike-peer", **_ROUTE_DOMAIN, **_SELECTOR},
    "sys log audit": {"lines": "How many of the newest lines"},
    "sys log ipsec": {"lines": "How many of the newest lines"},
}
"""The filters of each show that has some, each with its help."""

NAMED = (
    *("ltm virtual", "ltm virtual-address", "net interface"),
    *("net ipsec traffic-selector", "net route", "net self", "net vlan"),
)
"""Shows of objects, which may be asked about some of them by name."""

PROTOCOL = "protocol"
"""A filter of SAs that only racoonctl has words for: esp or ah."""

NAMES, STATIC = "names", "static"
"""The filter that holds names; and the one that `show net route` takes for all routes that somebody configured."""

COUNTED = (
    *("ltm virtual", "net ike-evt-stat", "net ike-msg-stat"),
    *("net ipsec drops", IPSEC_SA, "net ipsec traffic-selector", "net ipsec-stat"),
)
"""Counters that can be reset by themselves."""

FILTER_WORDS = frozenset(word for own in FILTERS.values() for word in own)


def filters_of(what: str) -> frozenset[str]:
    """The filters that `show <what>` has."""
    hidden = {NAMES} if what in NAMED else {PROTOCOL} if what == IPSEC_SA else ()
    return frozenset(FILTERS.get(what, ())) | frozenset(hidden)

"""Every kind by its path, and the objects that a system has before anyone configures it."""

from collections.abc import Sequence
from types import MappingProxyType

from culvert.model import auth, cli, foreign, ltm, net, net_ipsec, sys, tunnels
from culvert.model.kind import Kind, Path

_MODULES = (auth, cli, foreign, ltm, net, net_ipsec, sys, tunnels)
KINDS: MappingProxyType[Path, Kind] = MappingProxyType({own.path: own for module in _MODULES for own in module.KINDS})



def stranger(words: Sequence[str]) -> str:
    """The first of `words` that leads to no kind; "" when all do."""
    known = max(count for count in range(len(words) + 1) if any(path[:count] == (*words[:count],) for path in KINDS))
    return words[known] if known < len(words) else ""


SHIPPED_TEXT = """
auth partition Common { }
cli admin-partitions { }
cli global-settings { }
ltm profile fastl4 /Common/fastL4 { }
net ipsec ike-daemon /Common/ikedaemon {
    log-publisher /Common/default-ipsec-log-publisher
}
net ipsec ipsec-policy /Common/default-ipsec-policy { }
net ipsec ipsec-policy /Common/default-ipsec-policy-interface {
    mode interface
}
net ipsec ipsec-policy /Common/default-ipsec-policy-isession {
    mode isession
}
net ipsec traffic-selector /Common/default-traffic-selector-interface {
    destination-address ::/0
    ipsec-policy /Common/default-ipsec-policy-interface
    source-address ::/0
}
net route-domain /Common/0 {
    id 0
}
net self-allow { }
net tunnels ipsec /Common/ipsec {
    traffic-selector /Common/default-traffic-selector-interface
}
net tunnels tunnel /Common/http-tunnel {
    description "Tunnel for http-explicit profile"
}
net tunnels tunnel /Common/socks-tunnel {
    description "Tunnel for socks profile"
}
sys db config.allow.rfc3927 {
    value disable
}
sys db connection.vlankeyed {
    value enable
}
sys db ipsec.if.checkpolicy {
    value enable
}
sys db ipsec.lookupspi {
    value enable
}
sys global-settings { }
sys log-config destination local-syslog /Common/local-syslog { }
sys log-config publisher /Common/default-ipsec-log-publisher {
    destinations {
        /Common/local-syslog { }
    }
}
sys log-config publisher /Common/default-mgmt-acl-log-publisher { }
"""

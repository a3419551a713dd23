"""How much larger a packet gets by being protected: what a tunnel's MTU is made of."""

from culvert.ipsec import esp, ip
from culvert.ipsec.sa import SecurityAssociation


def _outer_octets(sa: SecurityAssociation) -> int:
    return ip.IPV4_HEADER_OCTETS if sa.destination.version == 4 else ip.IPV6_HEADER_OCTETS


def sealed_size(sa: SecurityAssociation, inner_length: int) -> int:
    """Octets of the outer packet, its IP header included, for an inner packet of `inner_length` octets."""
    return _outer_octets(sa) + esp.layout(sa).sealed(inner_length)


def largest_inner(sa: SecurityAssociation, outer_mtu: int) -> int:
    """The largest inner packet whose outer packet is at most `outer_mtu` octets; 0 where none fits."""
    return max(0, esp.layout(sa).largest_payload(outer_mtu - _outer_octets(sa)))

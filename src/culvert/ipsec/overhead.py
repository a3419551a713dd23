"""How much larger a packet gets by being protected: what a tunnel's MTU is made of."""

from culvert.ipsec import ah, esp, ip, udp
from culvert.ipsec.sa import Mode, Protocol, SecurityAssociation


def layout_of(sa: SecurityAssociation) -> esp.Layout | ah.Layout:
    """The sizes that this SA's algorithms bring."""
    return esp.layout(sa) if sa.protocol is Protocol.ESP else ah.layout(sa)


def around(sa: SecurityAssociation, bundled: SecurityAssociation | None = None) -> int:
    """Octets in front of what the SA seals: the outer header, a UDP header, and the AH of a bundle."""
    octets = ip.HEADER_OCTETS[sa.destination.version]
    octets += udp.HEADER_OCTETS if sa.encapsulation else 0
    return octets + (ah.layout(bundled).header if bundled else 0)


def sealed_size(sa: SecurityAssociation, inner_length: int, bundled: SecurityAssociation | None = None) -> int:
    """Octets of the outer packet, its IP header included, for an inner packet of `inner_length` octets."""
    return around(sa, bundled) + layout_of(sa).sealed(inner_length)


def largest_inner(sa: SecurityAssociation, outer_mtu: int, bundled: SecurityAssociation | None = None) -> int:
    """The largest inner packet whose outer packet is at most `outer_mtu` octets; 0 where none fits.

    In transport mode the inner packet's header is the outer packet's, here without options.
    """
    header = ip.HEADER_OCTETS[sa.destination.version] if sa.mode is Mode.TRANSPORT else 0
    return max(0, header + layout_of(sa).largest_payload(outer_mtu - around(sa, bundled)))

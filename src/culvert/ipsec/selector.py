"""Traffic selectors: which packets an SPD entry speaks of (RFC 4301 section 4.4.1.1)."""

from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network

from culvert.ipsec.sa import IPAddress

IPNetwork = IPv4Network | IPv6Network

FlowKey = tuple[bytes, bytes, int, int | None, int | None]
"""A Flow as the packet path carries it: packed addresses, protocol, ports."""

ICMP_BASE = 0x10000
"""ICMP type and code stand where ports do (RFC 4301 section 4.4.1.1), lifted above every port: so a range of ports
never takes a type for a port, whatever protocol its selector names."""


@dataclass(frozen=True, slots=True)
class PortRange:
    """Ports `first`..`last`, both included."""

    first: int
    last: int

    def __contains__(self, port: object) -> bool:
        return isinstance(port, int) and self.first <= port <= self.last


@dataclass(frozen=True, slots=True)
class Flow:
    """What a selector looks at. Ports are None where the packet shows none (RFC 4301: OPAQUE); of ICMP they are
    type and code, each plus ICMP_BASE."""

    source: IPAddress
    destination: IPAddress
    protocol: int
    source_port: int | None = None
    destination_port: int | None = None

    @property
    def key(self) -> FlowKey:
        return (
            self.source.packed,
            self.destination.packed,
            self.protocol,
            self.source_port,
            self.destination_port,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Selector:
    """Source, destination, protocol and ports as they stand in the packet. None means any.

    Of ICMP, `source_ports` are the types and `destination_ports` the codes, each plus ICMP_BASE.
    """

    source: IPNetwork
    destination: IPNetwork
    protocol: int | None = None
    source_ports: PortRange | None = None
    destination_ports: PortRange | None = None

    def matches(self, flow: Flow) -> bool:
        """Whether every field fits. A port range never fits a packet that shows no port."""
        return (
            flow.source.version == self.source.version
            and flow.source in self.source
            and flow.destination in self.destination
            and (self.protocol is None or self.protocol == flow.protocol)
            and (self.source_ports is None or flow.source_port in self.source_ports)
            and (self.destination_ports is None or flow.destination_port in self.destination_ports)
        )

    @property
    def is_icmp(self) -> bool:
        """Whether it looks at ICMP types or codes."""
        return any(
            ports is not None and ports.first >= ICMP_BASE for ports in (self.source_ports, self.destination_ports)
        )

    def mirrored(self) -> "Selector":
        """The same, for the way back. Type and code of ICMP have no sides."""
        source_ports, destination_ports = self.source_ports, self.destination_ports
        if not self.is_icmp:
            source_ports, destination_ports = destination_ports, source_ports
        return Selector(
            source=self.destination,
            destination=self.source,
            protocol=self.protocol,
            source_ports=source_ports,
            destination_ports=destination_ports,
        )


def mirrored(key: FlowKey) -> FlowKey:
    """The flow of the answers."""
    source, destination, protocol, source_port, destination_port = key
    if source_port is not None and source_port >= ICMP_BASE:
        return destination, source, protocol, source_port, destination_port
    return destination, source, protocol, destination_port, source_port

"""The Main tab: what there is, in the vendor's order and words, with what the vendor doesn't have in front."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Entry:
    """A line of the menu: a page, or a heading with entries below it."""

    title: str
    address: str = ""
    entries: "tuple[Entry, ...]" = ()

    def holds(self, address: str) -> bool:
        """Whether a page is this entry's or below it."""
        return self.address == address or any(own.holds(address) for own in self.entries)


MENU = (
    Entry(
        "Overview",
        entries=(
            Entry("Network Map", "/map"),
            Entry("Live Traffic", "/live"),
            Entry("Verification", "/checklist"),
            Entry("Why Did It Not Pass", "/why"),
            Entry("Packet Capture", "/capture"),
            Entry("Tunnel Wizard", "/wizard"),
        ),
    ),
    Entry("Local Traffic", entries=(Entry("Virtual Servers", "/objects/ltm/virtual"),)),
    Entry(
        "Network",
        entries=(
            Entry("Interfaces", "/objects/net/interface"),
            Entry("VLANs", "/objects/net/vlan"),
            Entry("Self IPs", "/objects/net/self"),
            Entry("Routes", "/objects/net/route"),
            Entry("Route Domains", "/objects/net/route-domain"),
            Entry(
                "IPsec",
                entries=(
                    Entry("IPsec Policies", "/objects/net/ipsec/ipsec-policy"),
                    Entry("Manual Security Associations", "/objects/net/ipsec/manual-security-association"),
                    Entry("Traffic Selectors", "/objects/net/ipsec/traffic-selector"),
                    Entry("IKE Daemon", "/objects/net/ipsec/ike-daemon/~Common~ikedaemon"),
                    Entry("Diagnostics", "/diagnostics"),
                ),
            ),
        ),
    ),
    Entry(
        "System",
        entries=(
            Entry("Users", "/objects/auth/user"),
            Entry("Partitions", "/objects/auth/partition"),
            Entry("Log Publishers", "/objects/sys/log-config/publisher"),
            Entry("Configuration", "/configuration"),
            Entry("Logs", "/logs"),
            Entry("Audit", "/audit"),
        ),
    ),
)

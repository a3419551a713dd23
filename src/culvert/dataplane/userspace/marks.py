"""The numbers that nftables, routing rules and our sockets agree on."""

STEERED = 0x43550001
"""Mark of a clear transit packet that has to go through the TUN."""

ORIGINATED = 0x43550004
"""The same, for a packet of this host itself, or one that goes from tunnel to tunnel."""

OWN = 0x43550002
"""SO_MARK of the packet process's sockets: what they send is protected already."""

UNWRAPPED = 0x43550003
"""Mark of a packet that came out of the TUN: see `detour`."""

TABLE = 17238
"""Routing table, and priority of the rules that lead to it."""

MAIN_TABLE = 254

NFT_TABLE = "culvert"
TUN_NAME = "culvert0"
TUN_MTU_MIN = 1280
"""RFC 8200 section 5: no IPv6 link may be smaller."""

"""The userspace plane: nftables steering, a TUN, raw sockets and a packet process."""

//! Transport mode (RFC 4302 section 3.1.1, RFC 4303 section 3.1.1): where in a packet the security header goes.
//!
//! IPv4: behind the header and its options. IPv6: behind the extension headers that routers read on the way (hop-by-hop,
//! routing, and destination options in front of a routing header); other destination options are protected.

use super::fragment::unfragmentable;
use super::ip::Datagram;

/// Where a packet is opened: its header stays in front, what follows is protected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// Of what stays in front.
    pub header_octets: usize,
    /// The octet of the header that names what follows.
    pub protocol_at: usize,
    /// What it names.
    pub protocol: u8,
}

/// Where the security header of a whole packet goes.
pub fn place(packet: &[u8], datagram: &Datagram) -> Place {
    let (header_octets, protocol_at) =
        if datagram.version == 4 { (datagram.offset, datagram.protocol_at) } else { unfragmentable(packet, datagram) };
    Place { header_octets, protocol_at, protocol: packet[protocol_at] }
}

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

#[cfg(test)]
mod tests {
    use super::super::building::{chained, ipv4_with, ipv6_of, parsed, udp, unhex};
    use super::super::ip;
    use super::*;

    const HOP: u8 = 0;
    const ROUTE: u8 = 43;
    const DESTINATION: u8 = 60;

    /// Headers, and how many of them stay in front (RFC 4303 section 3.1.1).
    const PLACES: [(&[u8], usize); 8] = [
        (&[], 0),
        (&[HOP], 1),
        (&[ROUTE], 1),
        (&[HOP, ROUTE], 2),
        (&[HOP, DESTINATION, ROUTE], 3),
        (&[HOP, DESTINATION, ROUTE, DESTINATION], 3),
        (&[DESTINATION], 0),
        (&[HOP, DESTINATION], 1),
    ];

    #[test]
    fn in_ipv6() {
        for (kinds, in_front) in PLACES {
            let packet = chained(kinds, &udp());
            let found = place(&[&packet[..], b"behind"].concat(), &parsed(&packet));
            assert_eq!(found.header_octets, 40 + 8 * in_front, "{kinds:?}");
            assert_eq!(found.protocol, *kinds.get(in_front).unwrap_or(&17));
            assert_eq!(packet[found.protocol_at], found.protocol);
        }
    }

    #[test]
    fn in_ipv4_behind_the_options() {
        let packet = ipv4_with(&udp(), &unhex("94040000"), |_| ());
        assert_eq!(place(&packet, &parsed(&packet)), Place { header_octets: 24, protocol_at: 9, protocol: 17 });
    }

    #[test]
    fn the_fragment_header_of_a_whole_packet_is_protected_with_it() {
        let packet = ipv6_of(44, &[unhex("11000000 01020304"), udp()].concat());
        assert_eq!(place(&packet, &parsed(&packet)), Place { header_octets: 40, protocol_at: 6, protocol: 44 });
    }

    #[test]
    fn a_header_that_names_another_payload_and_back() {
        for (kinds, _) in PLACES {
            let packet = chained(kinds, &udp());
            let found = place(&packet, &parsed(&packet));
            let mut header = packet[..found.header_octets].to_vec();
            let payload_octets = packet.len() - header.len();
            ip::set_length(&mut header, found.protocol_at, 50, payload_octets + 24);
            let sealed = parsed(&[&header[..], &vec![0; payload_octets + 24]].concat());
            assert_eq!((sealed.protocol, sealed.offset, sealed.protocol_at), (50, header.len(), found.protocol_at));
            ip::set_length(&mut header, sealed.protocol_at, found.protocol, payload_octets);
            assert_eq!(header, packet[..found.header_octets]);
        }
    }
}

//! TCP's maximum segment size (RFC 9293 section 3.7.1), made to fit the tunnel in the SYNs that pass.
//!
//! For paths where the ICMP messages of path MTU discovery get lost: both ends then choose segments that fit.

use super::ip::{self, Datagram, header_octets, next_header};

const TCP_OCTETS: usize = 20;
const SYN: u8 = 0x02;
const FLAGS_AT: usize = 13;
const DATA_OFFSET_AT: usize = 12;
const CHECKSUM_AT: usize = 16;
const END: u8 = 0;
const NO_OPERATION: u8 = 1;
const SEGMENT_SIZE: u8 = 2;

/// What of a packet is no segment.
pub fn sizes(version: u8) -> usize {
    header_octets(version) + TCP_OCTETS
}

/// Give a SYN that asks for more a segment size of at most `largest`. Whether it was one.
pub fn clamp(packet: &mut [u8], datagram: &Datagram, largest: usize) -> bool {
    let start = datagram.offset;
    let is_tcp = datagram.protocol == next_header::TCP && datagram.fragment.is_none();
    if !is_tcp || datagram.length < start + TCP_OCTETS || packet[start + FLAGS_AT] & SYN == 0 {
        return false;
    }
    let end = datagram.length.min(start + usize::from(packet[start + DATA_OFFSET_AT] >> 4) * 4);
    let Some(at) = option_at(packet, start + TCP_OCTETS, end) else {
        return false;
    };
    if usize::from(ip::word(packet, at)) <= largest {
        return false;
    }
    // RFC 1624, over the 16-bit words that changed: the option may stand at an odd place of the segment.
    let (first, last) = (start + (at - start) / 2 * 2, start + (at + 3 - start) / 2 * 2);
    let old = ip::ones_complement_sum(&packet[first..last.min(packet.len())]);
    packet[at..at + 2].copy_from_slice(&(largest as u16).to_be_bytes());
    let new = ip::ones_complement_sum(&packet[first..last.min(packet.len())]);
    let checksum_at = start + CHECKSUM_AT;
    let sum = i64::from(!ip::word(packet, checksum_at)) + i64::from(new) - i64::from(old);
    let checksum = !(((sum - 1).rem_euclid(0xFFFF) + 1) as u16);
    packet[checksum_at..checksum_at + 2].copy_from_slice(&checksum.to_be_bytes());
    true
}

/// Where the value of the segment size option stands.
fn option_at(packet: &[u8], mut at: usize, end: usize) -> Option<usize> {
    while at < end && packet[at] != END {
        if packet[at] == NO_OPERATION {
            at += 1;
            continue;
        }
        let octets = if at + 1 < end { usize::from(packet[at + 1]) } else { 0 };
        if octets < 2 || at + octets > end {
            return None;
        }
        if packet[at] == SEGMENT_SIZE && octets == 4 {
            return Some(at + 2);
        }
        at += octets;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::super::building::{ipv4_of, ipv6_of, parsed, unhex};
    use super::*;

    /// A SYN's TCP header, with these options behind it.
    fn syn(options: &str) -> Vec<u8> {
        let mut segment = unhex("045701bb 00000000 00000000 50022000 00000000");
        segment.extend(unhex(options));
        segment.resize(segment.len().div_ceil(4) * 4, 0);
        segment[DATA_OFFSET_AT] = (segment.len() * 4) as u8;
        segment
    }

    fn clamped(mut packet: Vec<u8>, largest: usize) -> Option<Vec<u8>> {
        let datagram = parsed(&packet);
        let before = packet.clone();
        let changed = clamp(&mut packet, &datagram, largest);
        assert_eq!(changed, packet != before);
        changed.then_some(packet)
    }

    /// Whether the checksum covers all of the segment.
    fn is_right(packet: &[u8]) -> bool {
        let datagram = parsed(packet);
        let (key, upper) = (datagram.key, &packet[datagram.offset..datagram.length]);
        let pseudo = ip::pseudo_header_sum(key.source, key.destination, next_header::TCP, upper.len());
        ip::fold(pseudo + u64::from(ip::ones_complement_sum(upper))) == 0xFFFF
    }

    #[test]
    fn both_places_of_the_value() {
        let even = "045701bb 00000000 00000000 60022000 5e000000 020405b4";
        let even_after = "045701bb 00000000 00000000 60022000 5ea00000 02040514";
        assert_eq!(clamped(ipv4_of(6, &unhex(even)), 1300), Some(ipv4_of(6, &unhex(even_after))));
        let odd = "045701bb 00000000 00000000 70022000 9cac0000 01020405 b4000000";
        let odd_after = "045701bb 00000000 00000000 70022000 3cad0000 01020405 14000000";
        assert_eq!(clamped(ipv4_of(6, &unhex(odd)), 1300), Some(ipv4_of(6, &unhex(odd_after))));
    }

    #[test]
    fn in_ipv6() {
        let before = "045701bb 00000000 00000000 60022000 78120000 020405a0";
        let after = "045701bb 00000000 00000000 60022000 78ee0000 020404c4";
        assert_eq!(clamped(ipv6_of(6, &unhex(before)), 1220), Some(ipv6_of(6, &unhex(after))));
        assert_eq!((sizes(4), sizes(6)), (40, 60));
    }

    #[test]
    fn no_more_than_is_wanted_and_every_checksum_stays_right() {
        for options in ["020405b4", "01020405b4", "0402020405b4", "0303070204ffff"] {
            let mut packet = ipv4_of(6, &syn(options));
            let datagram = parsed(&packet);
            let pseudo = ip::pseudo_header_sum(datagram.key.source, datagram.key.destination, 6, datagram.length - 20);
            let sum = ip::fold(pseudo + u64::from(ip::ones_complement_sum(&packet[20..])));
            packet[36..38].copy_from_slice(&(!sum).to_be_bytes());
            assert!(is_right(&packet));
            for largest in [0, 1, 536, 1459] {
                assert!(is_right(&clamped(packet.clone(), largest).expect("it asks for more")));
            }
            assert_eq!(clamped(packet, 65535), None);
        }
    }

    #[test]
    fn an_odd_value_at_the_very_end() {
        let mut segment = syn("010101020405b4");
        segment.truncate(27);
        // The data offset says more than there is.
        let changed = clamped(ipv4_of(6, &segment), 1300).expect("it asks for more");
        assert_eq!(changed[45..47], 1300u16.to_be_bytes());
    }

    #[test]
    fn what_is_left_alone() {
        let good = ipv4_of(6, &syn("020405b4"));
        let changed = |at: usize, octet: u8| {
            let mut packet = good.clone();
            packet[at] = octet;
            packet
        };
        let short = [&good[..2], &[0, 39], &good[4..39]].concat();
        // A fragment, an ACK, no TCP, a header cut short.
        for packet in [changed(6, 0x20), changed(33, 0x10), changed(9, 17), short] {
            assert_eq!(clamped(packet, 100), None);
        }
        assert!(clamped(good, 100).is_some());
    }

    #[test]
    fn options_as_they_may_come() {
        for (options, found) in [
            ("02040fff", true),
            ("0101010102040fff", true),
            ("0002040fff010101", false),
            ("0201020402040fff", false),
            ("0300020402040fff", false),
            ("01010204", false),
            ("1e0602040fff0101", false),
            ("02060fff00000000", false),
            ("01010102", false),
            ("", false),
        ] {
            assert_eq!(clamped(ipv4_of(6, &syn(options)), 100).is_some(), found, "{options}");
        }
    }

    #[test]
    fn a_data_offset_that_lies() {
        for words in 0..16 {
            let mut packet = ipv4_of(6, &syn("020405b4"));
            packet[32] = words << 4;
            assert_eq!(clamped(packet, 100).is_some(), words >= 6);
        }
    }
}

//! A header as it counts in the ICV of AH (RFC 4302 section 3.3.3.1): what routers may change on the way counts as zeros,
//! and what they change in a way that can be foretold counts as it will be. Which is which stands in tables.

use super::ip::{self, next_header};

/// RFC 4302 appendix A1: end, no operation, three kinds of security, router alert, multi-destination delivery.
fn is_immutable_option(kind: u8) -> bool {
    matches!(kind, 0 | 1 | 130 | 133 | 134 | 148 | 149)
}

/// Loose and strict.
fn is_source_route(kind: u8) -> bool {
    matches!(kind, 131 | 137)
}

/// RFC 8200 section 4.2: of an option type.
const CHANGES_EN_ROUTE: u8 = 0x20;
const PAD1: u8 = 0;
/// Of AH in front of its ICV.
const FIXED_OCTETS: usize = 12;

/// Octets of the whole AH around an ICV.
pub fn aligned(icv_octets: usize, alignment: usize) -> usize {
    (FIXED_OCTETS + icv_octets).div_ceil(alignment) * alignment
}

/// Make it that header; false where its options or extension headers are damaged, with whatever is left of it.
///
/// `foretell`: we are the sender, and what the way will change is to count as the receiver will see it.
pub fn immutable(header: &mut [u8], foretell: bool) -> bool {
    if header[0] >> 4 == 4 { immutable_ipv4(header, foretell) } else { immutable_ipv6(header, foretell) }
}

fn immutable_ipv4(header: &mut [u8], foretell: bool) -> bool {
    // Type of service; flags and fragment offset; time to live; checksum.
    for at in [1, 6, 7, 8, 10, 11] {
        header[at] = 0;
    }
    let mut at = ip::IPV4_HEADER_OCTETS;
    while at < header.len() {
        let kind = header[at];
        if kind == 0 {
            break;
        }
        let octets = match kind {
            1 => 1,
            _ => header.get(at + 1).copied().unwrap_or(0).into(),
        };
        if octets == 0 || (octets < 2 && kind != 1) || at + octets > header.len() {
            return false;
        }
        still_option_ipv4(header, kind, at, octets, foretell);
        at += octets;
    }
    true
}

fn still_option_ipv4(header: &mut [u8], kind: u8, at: usize, octets: usize, foretell: bool) {
    // A pointer behind the last address says that all have been visited.
    if is_source_route(kind) && foretell && octets >= 7 && usize::from(header[at + 2]) <= octets {
        header.copy_within(at + octets - 4..at + octets, 16);
    }
    if !is_immutable_option(kind) {
        header[at..at + octets].fill(0);
    }
}

fn immutable_ipv6(header: &mut [u8], foretell: bool) -> bool {
    // Traffic class and flow label; hop limit.
    header[0..4].copy_from_slice(&[0x60, 0, 0, 0]);
    header[7] = 0;
    let (mut kind, mut at) = (header[6], ip::IPV6_HEADER_OCTETS);
    while at < header.len() {
        if at + 8 > header.len() {
            return false;
        }
        let end = at + ip::extension_octets(header, at, kind);
        if end > header.len() || !still_extension(header, kind, at, end, foretell) {
            return false;
        }
        (kind, at) = (header[at], end);
    }
    true
}

fn still_extension(header: &mut [u8], kind: u8, at: usize, end: usize, foretell: bool) -> bool {
    match kind {
        next_header::HOP_BY_HOP | next_header::DESTINATION_OPTIONS => still_options(header, at + 2, end),
        next_header::ROUTING => !foretell || foretell_route(header, at, end),
        // A fragment header of a whole packet (RFC 6946) is as the sender made it.
        next_header::FRAGMENT => true,
        _ => false,
    }
}

fn still_options(header: &mut [u8], mut at: usize, end: usize) -> bool {
    while at < end {
        if header[at] == PAD1 {
            at += 1;
            continue;
        }
        let stop = if at + 1 < end { at + 2 + usize::from(header[at + 1]) } else { end + 1 };
        if stop > end {
            return false;
        }
        if header[at] & CHANGES_EN_ROUTE != 0 {
            header[at + 2..stop].fill(0);
        }
        at = stop;
    }
    true
}

/// RFC 4302 section 3.3.3.1.2.2: as at the last system, where the list has been worked through.
fn foretell_route(header: &mut [u8], at: usize, end: usize) -> bool {
    let left = usize::from(header[at + 3]);
    if left == 0 {
        return true;
    }
    let addresses = (end - at - 8).div_ceil(16);
    let is_address_list = matches!(header[at + 2], 0 | 2);
    if !is_address_list || (end - at) % 16 != 8 || left > addresses {
        return false;
    }
    // Every stop swaps the destination with the next address of the list.
    for place in (end - 16 * left..end).step_by(16) {
        let mut here = [0; 16];
        here.copy_from_slice(&header[place..place + 16]);
        header.copy_within(24..40, place);
        header[24..40].copy_from_slice(&here);
    }
    header[at + 3] = 0;
    true
}

#[cfg(test)]
mod tests {
    use super::super::building::{ipv4_with, ipv6_of, unhex};
    use super::*;

    const AH: u8 = next_header::AH;
    /// The addresses of the way.
    const STOPS: [&str; 3] =
        ["20010db8000500000000000000000001", "20010db8000500000000000000000002", "20010db8000500000000000000000003"];

    fn still(header: &[u8], foretell: bool) -> Option<Vec<u8>> {
        let mut header = header.to_vec();
        immutable(&mut header, foretell).then_some(header)
    }

    fn header4(options: &str) -> Vec<u8> {
        ipv4_with(&[], &unhex(options), |header| (header[1], header[6], header[9]) = (0xB9, 0x40, AH))
    }

    /// What must be of `header4` with other options, and with another destination if one is foretold.
    fn still4(options: &str, destination: Option<&str>) -> Vec<u8> {
        let mut header = header4(options);
        for at in [1, 6, 7, 8, 10, 11] {
            header[at] = 0;
        }
        if let Some(destination) = destination {
            header[16..20].copy_from_slice(&unhex(destination));
        }
        header
    }

    fn header6(first: u8, chain: &str) -> Vec<u8> {
        let mut header = ipv6_of(first, &unhex(chain));
        (header[0], header[1]) = (0x6B, 0x91);
        header
    }

    fn still6(first: u8, chain: &str) -> Vec<u8> {
        let mut header = header6(first, chain);
        header[..4].copy_from_slice(&[0x60, 0, 0, 0]);
        header[7] = 0;
        header
    }

    fn route(kind: u8, left: u8, addresses: &[&str]) -> String {
        format!("33{:02x}{kind:02x}{left:02x}00000000{}", 2 * addresses.len(), addresses.concat())
    }

    #[test]
    fn what_routers_write_counts_as_zeros_in_ipv4() {
        let (kept, record) = ("820b0000000000000000ff 01 94040000", "070b080a0000010a000002");
        for foretell in [false, true] {
            let found = still(&header4(&format!("{kept} {record} 00")), foretell);
            assert_eq!(found, Some(still4(&format!("{kept} {} 00", "00".repeat(11)), None)));
            assert_eq!(still(&header4(""), foretell), Some(still4("", None)));
            // What stands behind the end of options is as it is.
            assert_eq!(still(&header4("00 070b08"), foretell), Some(still4("00 070b08", None)));
        }
    }

    #[test]
    fn the_destination_of_a_source_route_is_foretold() {
        for kind in ["83", "89"] {
            let header = header4(&format!("01 {kind}0b04 c0000263 c0000202"));
            let blank = format!("01 {}", "00".repeat(11));
            assert_eq!(still(&header, true), Some(still4(&blank, Some("c0000202"))));
            assert_eq!(still(&header, false), Some(still4(&blank, None)));
            let one_stop = header4(&format!("{kind}0704 c0000202 00"));
            assert_eq!(still(&one_stop, true), Some(still4(&"00".repeat(8), Some("c0000202"))));
            // The pointer is behind the last address: all have been visited.
            let done = header4(&format!("{kind}0708 01020304 00"));
            assert_eq!(still(&done, true), Some(still4(&"00".repeat(8), None)));
        }
    }

    #[test]
    fn damaged_options() {
        for options in ["830300ff", "07010000", "07000000", "0709ff00", "01010144", "01010107", "83070000"] {
            assert_eq!(still(&header4(options), true), None, "{options}");
        }
        // Short for a source route, but whole.
        for options in ["83030001", "83020000"] {
            assert!(still(&header4(options), true).is_some(), "{options}");
        }
    }

    #[test]
    fn what_routers_write_counts_as_zeros_in_ipv6() {
        let (before, after) = ("3e03616263", "3e03000000");
        let chain = |moving: &str| format!("3c01 05020000 {moving} 010300000033001e0361626300");
        for foretell in [false, true] {
            assert_eq!(still(&header6(0, &chain(before)), foretell), Some(still6(0, &chain(after))));
            assert_eq!(still(&header6(AH, ""), foretell), Some(still6(AH, "")));
        }
    }

    #[test]
    fn a_route_counts_as_it_will_have_been_worked_through() {
        for kind in [0, 2] {
            let header = header6(43, &route(kind, 2, &STOPS));
            let first = "fd000002000000000000000000000009";
            let mut expected = still6(43, &route(kind, 0, &[STOPS[0], first, STOPS[1]]));
            expected[24..40].copy_from_slice(&unhex(STOPS[2]));
            assert_eq!(still(&header, true), Some(expected));
            assert_eq!(still(&header, false), Some(still6(43, &route(kind, 2, &STOPS))));
        }
    }

    #[test]
    fn a_route_of_which_nothing_was_worked_through() {
        let first = "fd000002000000000000000000000009";
        let mut expected = still6(43, &route(0, 0, &[first, STOPS[0], STOPS[1]]));
        expected[24..40].copy_from_slice(&unhex(STOPS[2]));
        assert_eq!(still(&header6(43, &route(0, 3, &STOPS)), true), Some(expected));
    }

    #[test]
    fn a_route_of_any_kind_that_was_worked_through_is_as_it_is() {
        let chain = route(4, 0, &STOPS);
        assert_eq!(still(&header6(43, &chain), true), Some(still6(43, &chain)));
    }

    #[test]
    fn the_fragment_header_of_a_whole_packet_is_as_it_is() {
        for reserved in ["00", "03", "ff"] {
            let chain = format!("33{reserved}0000 00001234");
            assert_eq!(still(&header6(44, &chain), true), Some(still6(44, &chain)));
        }
    }

    #[test]
    fn damaged_extension_headers() {
        let odd = route(0, 1, &STOPS);
        for (first, chain) in [
            (0, "3300050900000000"),
            (60, "3300010300000005"),
            (60, "3301000000000000"),
            (60, "330000000000000000000000"),
            (43, &route(0, 4, &STOPS)),
            (43, &route(3, 1, &STOPS)),
            (43, &odd[..odd.len() - 16]),
            (43, "3301000100000000 0000000000000000"),
            (135, "3300000000000000"),
        ] {
            assert_eq!(still(&header6(first, chain), true), None, "{chain}");
        }
    }

    /// RFC 4302 section 2.6: of ICVs of 12, 16, 24 and 32 octets.
    #[test]
    fn sizes() {
        assert_eq!([12, 16, 24, 32].map(|icv| aligned(icv, 4)), [24, 28, 36, 44]);
        assert_eq!([12, 16, 24, 32].map(|icv| aligned(icv, 8)), [24, 32, 40, 48]);
    }
}

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

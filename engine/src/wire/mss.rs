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

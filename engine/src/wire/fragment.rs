//! Packets cut for a path (RFC 791 section 3.2, RFC 8200 section 4.5).

use super::address::Address;
use super::ip::{self, Datagram, next_header};

/// Of the IPv6 extension header.
pub const IPV6_FRAGMENT_OCTETS: usize = 8;
/// RFC 791: options with this bit stand in every fragment, others only in the first.
const COPIED: u8 = 0x80;
const END_OF_OPTIONS: u8 = 0;
const NO_OPERATION: u8 = 1;

/// What fragments of one packet share.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs, reason = "as in the header")]
pub struct FragmentKey {
    pub source: Address,
    pub destination: Address,
    /// 0 for IPv6, whose later fragments may name another one (RFC 8200 section 4.5).
    pub protocol: u8,
    pub identification: u32,
}

/// Of a fragment.
pub fn key_of(datagram: &Datagram) -> FragmentKey {
    FragmentKey {
        source: datagram.key.source,
        destination: datagram.key.destination,
        protocol: if datagram.version == 4 { datagram.protocol } else { 0 },
        identification: datagram.fragment.map_or(0, |fragment| fragment.identification),
    }
}

/// The packet in pieces of at most `mtu` octets each; `identification` is for IPv6, IPv4 has its own.
///
/// A piece always carries at least eight octets, so an absurd `mtu` gives pieces that are larger.
pub fn split(packet: &[u8], datagram: &Datagram, mtu: usize, identification: u32) -> Vec<Vec<u8>> {
    if datagram.length <= mtu {
        return vec![packet[..datagram.length].to_vec()];
    }
    if datagram.version == 4 {
        split_ipv4(packet, datagram, mtu)
    } else {
        split_ipv6(packet, datagram, mtu, identification)
    }
}

/// Octets of payload in a piece.
fn room(mtu: usize, around: usize) -> usize {
    (mtu.saturating_sub(around) / 8 * 8).max(8)
}

fn split_ipv4(packet: &[u8], datagram: &Datagram, mtu: usize) -> Vec<Vec<u8>> {
    let first_header = packet[..datagram.offset].to_vec();
    let later_header = copied_options(&first_header);
    let (begin, more_after) = datagram.fragment.map_or((0, false), |fragment| (fragment.offset, fragment.more));
    let body = &packet[datagram.offset..datagram.length];
    let (mut pieces, mut header, mut at) = (Vec::new(), &first_header, 0);
    while at < body.len() {
        let part = &body[at..body.len().min(at + room(mtu, header.len()))];
        let more = more_after || at + part.len() < body.len();
        let place = ((begin + at) / 8) as u16 | if more { ip::MORE_FRAGMENTS } else { 0 };
        let mut piece = header.clone();
        piece[6..8].copy_from_slice(&place.to_be_bytes());
        ip::set_length(&mut piece, 9, datagram.protocol, part.len());
        piece.extend_from_slice(part);
        pieces.push(piece);
        (header, at) = (&later_header, at + part.len());
    }
    pieces
}

/// The header of a later fragment: only with the options that are copied into every one.
fn copied_options(header: &[u8]) -> Vec<u8> {
    let mut kept = header[..ip::IPV4_HEADER_OCTETS].to_vec();
    let mut at = ip::IPV4_HEADER_OCTETS;
    while at < header.len() && header[at] != END_OF_OPTIONS {
        if header[at] == NO_OPERATION {
            at += 1;
            continue;
        }
        let octets = usize::from(header.get(at + 1).copied().unwrap_or(0));
        if octets < 2 || at + octets > header.len() {
            break;
        }
        if header[at] & COPIED != 0 {
            kept.extend_from_slice(&header[at..at + octets]);
        }
        at += octets;
    }
    kept.resize(kept.len().div_ceil(4) * 4, 0);
    kept[0] = 0x40 | (kept.len() / 4) as u8;
    kept
}

fn split_ipv6(packet: &[u8], datagram: &Datagram, mtu: usize, identification: u32) -> Vec<Vec<u8>> {
    let (at, named_at) = unfragmentable(packet, datagram);
    let (next, body) = (packet[named_at], &packet[at..datagram.length]);
    let room = room(mtu, at + IPV6_FRAGMENT_OCTETS);
    let piece = |(number, part): (usize, &[u8])| {
        let offset = number * room;
        let more = offset + part.len() < body.len();
        let mut piece = packet[..at].to_vec();
        ip::set_length(&mut piece, named_at, next_header::FRAGMENT, IPV6_FRAGMENT_OCTETS + part.len());
        piece.extend_from_slice(&[next, 0]);
        piece.extend_from_slice(&(offset as u16 | u16::from(more)).to_be_bytes());
        piece.extend_from_slice(&identification.to_be_bytes());
        piece.extend_from_slice(part);
        piece
    };
    body.chunks(room).enumerate().map(piece).collect()
}

/// Where the part ends that every router reads, and which octet names what follows (RFC 8200 section 4.5).
pub fn unfragmentable(packet: &[u8], datagram: &Datagram) -> (usize, usize) {
    let (mut at, mut named_at) = (ip::IPV6_HEADER_OCTETS, 6);
    let (mut end, mut end_named_at) = (at, named_at);
    while at < datagram.offset && ip::is_read_by_routers(packet[named_at]) {
        let routing = packet[named_at] != next_header::DESTINATION_OPTIONS;
        (named_at, at) = (at, at + 8 * (usize::from(packet[at + 1]) + 1));
        // Destination options belong to it only where a routing header follows.
        if routing {
            (end, end_named_at) = (at, named_at);
        }
    }
    (end, end_named_at)
}

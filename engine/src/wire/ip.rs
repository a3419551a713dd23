//! IPv4 and IPv6 headers: strict, bounded parsing (RFC 791, RFC 8200) of what IPsec needs to know.
//!
//! `parse` gives None for anything whose length fields contradict the octets that are there. Header checksums are not
//! looked at: the host checks them before it hands us a packet and again after it takes one.

use super::address::Address;

/// IP protocol numbers that the packet path itself speaks of.
#[allow(missing_docs, reason = "the names of the registry say it")]
pub mod next_header {
    pub const HOP_BY_HOP: u8 = 0;
    pub const ICMP: u8 = 1;
    pub const IPV4: u8 = 4;
    pub const TCP: u8 = 6;
    pub const UDP: u8 = 17;
    pub const DCCP: u8 = 33;
    pub const IPV6: u8 = 41;
    pub const ROUTING: u8 = 43;
    pub const FRAGMENT: u8 = 44;
    pub const ESP: u8 = 50;
    pub const AH: u8 = 51;
    pub const ICMPV6: u8 = 58;
    pub const NONE: u8 = 59;
    pub const DESTINATION_OPTIONS: u8 = 60;
    pub const IPCOMP: u8 = 108;
    pub const SCTP: u8 = 132;
    pub const UDP_LITE: u8 = 136;
}
use next_header::*;

/// Of a header without options.
pub const IPV4_HEADER_OCTETS: usize = 20;
/// Of the fixed header.
pub const IPV6_HEADER_OCTETS: usize = 40;
/// What a length field of 16 bits can say.
pub const LENGTH_MAX: usize = 65535;
/// A chain longer than this is an attack on whoever walks it (RFC 8504 section 5.3 allows a limit).
pub const IPV6_EXTENSIONS_MAX: usize = 16;
/// ICMP type and code stand where ports do, lifted above every port (RFC 4301 section 4.4.1.1).
pub const ICMP_BASE: u32 = 0x10000;
/// In place of a port that the packet doesn't show (RFC 4301: OPAQUE).
pub const NO_PORT: u32 = u32::MAX;

/// Flags of IPv4's word of flags and fragment offset.
pub const DONT_FRAGMENT: u16 = 0x4000;
/// As above.
pub const MORE_FRAGMENTS: u16 = 0x2000;
const MORE_OR_OFFSET: u16 = 0x3FFF;
const OFFSET: u16 = 0x1FFF;
const IPV4_PROTOCOL_AT: usize = 9;
const IPV6_NEXT_HEADER_AT: usize = 6;

/// Octets of a header without options, by version.
pub fn header_octets(version: u8) -> usize {
    if version == 4 { IPV4_HEADER_OCTETS } else { IPV6_HEADER_OCTETS }
}

/// What a selector looks at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct FlowKey {
    /// As it stands in the packet, as are all.
    pub source: Address,
    /// Of the same version as the source.
    pub destination: Address,
    /// Of the upper layer; AH counts as one.
    pub protocol: u8,
    /// NO_PORT where there is none to see; of ICMP the type plus ICMP_BASE.
    pub source_port: u32,
    /// As above; of ICMP the code.
    pub destination_port: u32,
}

/// Which part of a datagram a fragment is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fragment {
    /// 16 bits in IPv4, 32 in IPv6.
    pub identification: u32,
    /// Octets of the datagram's fragmentable part that come before this one.
    pub offset: usize,
    /// Others follow.
    pub more: bool,
    /// Where the IPv6 fragment header stands, 0 for IPv4.
    pub header_at: usize,
}

/// What one IP header (with its extension headers) says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Datagram {
    /// 4 or 6.
    pub version: u8,
    /// Octets of the packet; more may follow (link padding, or RFC 4303 section 2.7 padding).
    pub length: usize,
    /// DSCP and ECN.
    pub traffic_class: u8,
    /// The DF bit; always set for IPv6.
    pub dont_fragment: bool,
    /// Of any fragment, the first one too; None for a whole datagram.
    pub fragment: Option<Fragment>,
    /// Of the upper layer.
    pub protocol: u8,
    /// Where the upper layer begins.
    pub offset: usize,
    /// What selectors look at.
    pub key: FlowKey,
    /// The octet that names the upper protocol.
    pub protocol_at: usize,
    /// TTL or hop limit.
    pub hops: u8,
    /// 0 for IPv4.
    pub flow_label: u32,
}

impl Datagram {
    /// A fragment that shows nothing of the upper protocol's header.
    pub fn is_later_fragment(&self) -> bool {
        self.fragment.is_some_and(|fragment| fragment.offset > 0)
    }
}

/// Two octets in network order; 0 where there are none.
#[inline]
pub fn word(octets: &[u8], at: usize) -> u16 {
    match octets.get(at..at + 2) {
        Some(two) => u16::from_be_bytes([two[0], two[1]]),
        None => 0,
    }
}

/// Four octets in network order; 0 where there are none.
#[inline]
pub fn long(octets: &[u8], at: usize) -> u32 {
    match octets.get(at..at + 4) {
        Some(four) => u32::from_be_bytes([four[0], four[1], four[2], four[3]]),
        None => 0,
    }
}

/// The packet's header, or None for what is no IP packet.
#[inline]
pub fn parse(packet: &[u8]) -> Option<Datagram> {
    match packet.first()? >> 4 {
        4 => parse_ipv4(packet),
        6 => parse_ipv6(packet),
        _ => None,
    }
}

#[inline]
fn parse_ipv4(packet: &[u8]) -> Option<Datagram> {
    if packet.len() < IPV4_HEADER_OCTETS {
        return None;
    }
    let offset = usize::from(packet[0] & 15) * 4;
    let length = usize::from(word(packet, 2));
    if offset < IPV4_HEADER_OCTETS || offset > length || length > packet.len() {
        return None;
    }
    let place = word(packet, 6);
    let fragment = (place & MORE_OR_OFFSET != 0).then(|| Fragment {
        identification: word(packet, 4).into(),
        offset: usize::from(place & OFFSET) * 8,
        more: place & MORE_FRAGMENTS != 0,
        header_at: 0,
    });
    let protocol = packet[IPV4_PROTOCOL_AT];
    let (source_port, destination_port) =
        if place & OFFSET != 0 { (NO_PORT, NO_PORT) } else { ports(packet, protocol, offset, length) };
    Some(Datagram {
        version: 4,
        length,
        traffic_class: packet[1],
        dont_fragment: place & DONT_FRAGMENT != 0,
        fragment,
        protocol,
        offset,
        key: FlowKey {
            source: Address { version: 4, value: long(packet, 12).into() },
            destination: Address { version: 4, value: long(packet, 16).into() },
            protocol,
            source_port,
            destination_port,
        },
        protocol_at: IPV4_PROTOCOL_AT,
        hops: packet[8],
        flow_label: 0,
    })
}

#[inline]
fn parse_ipv6(packet: &[u8]) -> Option<Datagram> {
    if packet.len() < IPV6_HEADER_OCTETS {
        return None;
    }
    let start = long(packet, 0);
    let length = IPV6_HEADER_OCTETS + usize::from(word(packet, 4));
    if length > packet.len() {
        return None;
    }
    let next_header = packet[IPV6_NEXT_HEADER_AT];
    let upper = if is_extension(next_header) {
        walk(packet, next_header, length)?
    } else {
        Upper { protocol: next_header, offset: IPV6_HEADER_OCTETS, named_at: IPV6_NEXT_HEADER_AT, fragment: None }
    };
    let later = upper.fragment.is_some_and(|fragment| fragment.offset > 0);
    let (source_port, destination_port) =
        if later { (NO_PORT, NO_PORT) } else { ports(packet, upper.protocol, upper.offset, length) };
    Some(Datagram {
        version: 6,
        length,
        traffic_class: (start >> 20) as u8,
        dont_fragment: true,
        fragment: upper.fragment,
        protocol: upper.protocol,
        offset: upper.offset,
        key: FlowKey {
            source: Address::from_octets(&packet[8..24]),
            destination: Address::from_octets(&packet[24..40]),
            protocol: upper.protocol,
            source_port,
            destination_port,
        },
        protocol_at: upper.named_at,
        hops: packet[7],
        flow_label: start & 0xF_FFFF,
    })
}

/// RFC 4301 section 4.4.1.1: these four are skipped to find the next layer protocol; AH is not, it counts as one.
fn is_extension(protocol: u8) -> bool {
    matches!(protocol, HOP_BY_HOP | ROUTING | FRAGMENT | DESTINATION_OPTIONS)
}

/// What may stand in front of a fragment header, or of IPsec in transport mode (RFC 8200 section 4.1).
pub fn is_read_by_routers(protocol: u8) -> bool {
    matches!(protocol, HOP_BY_HOP | ROUTING | DESTINATION_OPTIONS)
}

struct Upper {
    protocol: u8,
    offset: usize,
    named_at: usize,
    fragment: Option<Fragment>,
}

/// Skip extension headers. Every one must lie inside the packet, in a first fragment too (RFC 7112).
fn walk(packet: &[u8], mut next_header: u8, length: usize) -> Option<Upper> {
    let (mut offset, mut named_at) = (IPV6_HEADER_OCTETS, IPV6_NEXT_HEADER_AT);
    let mut fragment = None;
    for position in 0..IPV6_EXTENSIONS_MAX {
        if !is_extension(next_header) {
            return Some(Upper { protocol: next_header, offset, named_at, fragment });
        }
        if offset + 8 > length || (next_header == HOP_BY_HOP && position > 0) {
            return None;
        }
        let header_at = offset;
        named_at = offset;
        if next_header == FRAGMENT {
            next_header = packet[offset];
            let place = word(packet, offset + 2);
            // RFC 6946: a fragment that is the whole datagram is treated as one.
            if place & 0xFFF9 != 0 {
                fragment = Some(Fragment {
                    identification: long(packet, offset + 4),
                    offset: usize::from(place & 0xFFF8),
                    more: place & 1 != 0,
                    header_at,
                });
            }
            offset += 8;
            if place & 0xFFF8 != 0 {
                return Some(Upper { protocol: next_header, offset, named_at, fragment });
            }
        } else {
            next_header = packet[offset];
            offset += 8 * (usize::from(packet[offset + 1]) + 1);
            if offset > length {
                return None;
            }
        }
    }
    None
}

/// Of the extension header that stands there. A fragment header says no length: that octet is reserved.
pub fn extension_octets(packet: &[u8], at: usize, kind: u8) -> usize {
    if kind == FRAGMENT { 8 } else { 8 * (usize::from(packet.get(at + 1).copied().unwrap_or(0)) + 1) }
}

#[inline]
fn ports(packet: &[u8], protocol: u8, offset: usize, length: usize) -> (u32, u32) {
    match protocol {
        TCP | UDP | DCCP | SCTP | UDP_LITE if offset + 4 <= length => {
            (word(packet, offset).into(), word(packet, offset + 2).into())
        }
        ICMP | ICMPV6 if offset + 2 <= length => {
            (ICMP_BASE + u32::from(packet[offset]), ICMP_BASE + u32::from(packet[offset + 1]))
        }
        _ => (NO_PORT, NO_PORT),
    }
}

/// RFC 1071: the sum of 16-bit words with end-around carry, of any number of octets. Non-zero octets never give 0.
pub fn ones_complement_sum(octets: &[u8]) -> u16 {
    fold(sum(octets))
}

/// In the machine's own order, which only turns the octets of the result round (RFC 1071 section 2 B).
fn sum(octets: &[u8]) -> u64 {
    let four = |octets: &[u8]| u64::from(u32::from_ne_bytes([octets[0], octets[1], octets[2], octets[3]]));
    let mut lanes = [0u64; 8];
    let mut chunks = octets.chunks_exact(32);
    for chunk in &mut chunks {
        for (lane, octets) in lanes.iter_mut().zip(chunk.chunks_exact(4)) {
            *lane += four(octets);
        }
    }
    let mut rest = [0; 32];
    rest[..chunks.remainder().len()].copy_from_slice(chunks.remainder());
    let total = lanes.iter().sum::<u64>() + rest.chunks_exact(4).map(four).sum::<u64>();
    u64::from(u16::from_be(fold(total)))
}

/// A sum of words, of any width of a multiple of 16 bits, as one word with the carries added in.
#[inline]
pub fn fold(mut total: u64) -> u16 {
    while total >> 16 != 0 {
        total = (total & 0xFFFF) + (total >> 16);
    }
    total as u16
}

/// RFC 1071 over a header of an even number of octets, whose checksum field is zero (or included, to verify).
pub fn checksum(header: &[u8]) -> u16 {
    !ones_complement_sum(header)
}

/// What the checksum of an upper protocol covers besides itself (RFC 768, RFC 8200 section 8.1), as a sum.
pub fn pseudo_header_sum(source: Address, destination: Address, protocol: u8, upper_octets: usize) -> u64 {
    let wide = |value: u128| -> u64 { [0, 32, 64, 96].iter().map(|shift| u64::from((value >> shift) as u32)).sum() };
    wide(source.value) + wide(destination.value) + upper_octets as u64 + u64::from(protocol)
}

/// Make the header (with its options or extension headers) that of another payload of another protocol.
pub fn set_length(header: &mut [u8], protocol_at: usize, protocol: u8, payload_octets: usize) {
    header[protocol_at] = protocol;
    if header[0] >> 4 == 6 {
        let length = (header.len() - IPV6_HEADER_OCTETS + payload_octets) as u16;
        header[4..6].copy_from_slice(&length.to_be_bytes());
        return;
    }
    let length = (header.len() + payload_octets) as u16;
    header[2..4].copy_from_slice(&length.to_be_bytes());
    header[10..12].fill(0);
    let right = checksum(header);
    header[10..12].copy_from_slice(&right.to_be_bytes());
}

/// Octets that can follow this header (with its options or extension headers): its length field has 16 bits.
pub fn payload_max(header: &[u8]) -> usize {
    if header[0] >> 4 == 6 { LENGTH_MAX + IPV6_HEADER_OCTETS - header.len() } else { LENGTH_MAX - header.len() }
}

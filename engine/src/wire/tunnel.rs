//! The outer header of a tunnel: how it is made from the inner one, and what it says back (RFC 4301 section 5.1.2).
//!
//! | field           | outer header when sealing, by `HeaderRules`           | inner header when opening          |
//! |-----------------|-------------------------------------------------------|------------------------------------|
//! | DSCP            | copied, or a fixed value                              | kept                               |
//! | ECN             | copied (RFC 6040 section 4.1, normal mode), or 0      | RFC 6040 section 4.2, table below  |
//! | TTL / hop limit | 64, another fixed value, or copied                    | kept (who forwards it decrements)  |
//! | DF              | copied (IPv6 counts as set), set or clear             | kept                               |
//! | identification  | the caller's, or 0 where DF is set (RFC 6864)         | kept                               |
//! | flow label      | 0, or copied from IPv6 into IPv6                      | kept                               |

use super::address::Address;
use super::ip::{self, Datagram};
use crate::tables::sa::{Copying, HeaderRules};

/// Row: inner ECN, column: outer ECN, both as Not-ECT, ECT(1), ECT(0), CE. None: drop.
const ECN_ON_OPENING: [[Option<u8>; 4]; 4] = [
    [Some(0), Some(0), Some(0), None],
    [Some(1), Some(1), Some(1), Some(3)],
    [Some(2), Some(1), Some(2), Some(3)],
    [Some(3), Some(3), Some(3), Some(3)],
];

/// The header that every packet of one SA gets: what never changes is worked out once.
#[derive(Debug)]
pub struct OuterHeader {
    /// Of the header.
    pub octets: usize,
    /// The most that can follow it.
    pub payload_max: usize,
    rules: HeaderRules,
    addresses: [u8; 32],
    fixed_sum: u64,
}

impl OuterHeader {
    /// Of an SA between these two, which are of one family.
    pub fn new(source: Address, destination: Address, rules: HeaderRules) -> OuterHeader {
        let mut addresses = [0; 32];
        source.write(&mut addresses);
        destination.write(&mut addresses[destination.octets()..]);
        let octets = ip::header_octets(destination.version);
        OuterHeader {
            octets,
            payload_max: if destination.version == 4 { ip::LENGTH_MAX - octets } else { ip::LENGTH_MAX },
            rules,
            addresses,
            fixed_sum: 0x4500 + u64::from(ip::ones_complement_sum(&addresses[..8])),
        }
    }

    /// The DF bit of the outer header; for IPv6 outside, whether this system may cut it.
    #[inline]
    pub fn may_not_fragment(&self, inner: &Datagram) -> bool {
        match self.rules.dont_fragment {
            Copying::Copy => inner.dont_fragment,
            Copying::Set => true,
            Copying::Clear => false,
        }
    }

    /// Whether the header needs an identification, which then is never 0: Linux would put another one in its place, and
    /// AH has signed ours.
    #[inline]
    pub fn needs_identification(&self, inner: &Datagram) -> bool {
        self.octets == ip::IPV4_HEADER_OCTETS && !self.may_not_fragment(inner)
    }

    #[inline]
    fn traffic_class(&self, inner: &Datagram) -> u8 {
        let dscp = self.rules.dscp.map_or(inner.traffic_class & 0xFC, |dscp| dscp << 2);
        dscp | if self.rules.ecn { inner.traffic_class & 3 } else { 0 }
    }

    /// Write the header, `octets` of it, in front of so many octets of this protocol.
    #[inline]
    pub fn emit(&self, inner: &Datagram, protocol: u8, payload_octets: usize, identification: u16, to: &mut [u8]) {
        if self.octets == ip::IPV4_HEADER_OCTETS {
            self.emit_ipv4(inner, protocol, payload_octets, identification, to);
        } else {
            self.emit_ipv6(inner, protocol, payload_octets, to);
        }
    }

    #[inline]
    fn emit_ipv4(&self, inner: &Datagram, protocol: u8, payload_octets: usize, identification: u16, to: &mut [u8]) {
        let length = (ip::IPV4_HEADER_OCTETS + payload_octets) as u16;
        let flags = if self.may_not_fragment(inner) { ip::DONT_FRAGMENT } else { 0 };
        let hops = self.rules.hops.unwrap_or(inner.hops);
        let class = self.traffic_class(inner);
        let hops_and_protocol = u16::from_be_bytes([hops, protocol]);
        let total = [u16::from(class), length, identification, flags, hops_and_protocol]
            .iter()
            .fold(self.fixed_sum, |sum, word| sum + u64::from(*word));
        to[0] = 0x45;
        to[1] = class;
        to[2..4].copy_from_slice(&length.to_be_bytes());
        to[4..6].copy_from_slice(&identification.to_be_bytes());
        to[6..8].copy_from_slice(&flags.to_be_bytes());
        to[8..10].copy_from_slice(&hops_and_protocol.to_be_bytes());
        to[10..12].copy_from_slice(&(!ip::fold(total)).to_be_bytes());
        to[12..20].copy_from_slice(&self.addresses[..8]);
    }

    #[inline]
    fn emit_ipv6(&self, inner: &Datagram, protocol: u8, payload_octets: usize, to: &mut [u8]) {
        let label = if self.rules.flow_label { inner.flow_label } else { 0 };
        let start = 6 << 28 | u32::from(self.traffic_class(inner)) << 20 | label;
        to[0..4].copy_from_slice(&start.to_be_bytes());
        to[4..6].copy_from_slice(&(payload_octets as u16).to_be_bytes());
        to[6] = protocol;
        to[7] = self.rules.hops.unwrap_or(inner.hops);
        to[8..40].copy_from_slice(&self.addresses);
    }
}

/// Give the inner packet the ECN mark that it must carry from here on; false where it can't.
#[inline]
pub fn ecn_on_opening(packet: &mut [u8], inner: &Datagram, outer_traffic_class: u8) -> bool {
    let old = inner.traffic_class & 3;
    let Some(new) = ECN_ON_OPENING[usize::from(old)][usize::from(outer_traffic_class & 3)] else {
        return false;
    };
    if new == old {
        return true;
    }
    if inner.version == 6 {
        packet[1] = packet[1] & 0xCF | new << 4;
        return true;
    }
    let class = inner.traffic_class & 0xFC | new;
    // RFC 1624 equation 3: a header that was wrong before stays wrong.
    let sum = i64::from(!ip::word(packet, 10)) + i64::from(class) - i64::from(inner.traffic_class);
    let checksum = !(((sum - 1).rem_euclid(0xFFFF) + 1) as u16);
    packet[1] = class;
    packet[10..12].copy_from_slice(&checksum.to_be_bytes());
    true
}

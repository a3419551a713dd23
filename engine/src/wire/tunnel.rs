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
        let (identification, flags) =
            if self.may_not_fragment(inner) { (0, ip::DONT_FRAGMENT) } else { (identification, 0) };
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

#[cfg(test)]
mod tests {
    use super::super::building::{ipv4, ipv4_with, ipv6, parsed, udp, unhex};
    use super::*;

    const PLAIN: HeaderRules =
        HeaderRules { dscp: None, ecn: true, dont_fragment: Copying::Copy, hops: Some(64), flow_label: false };
    const CLASS: u8 = 0xBB;

    fn header(version: u8, rules: HeaderRules) -> OuterHeader {
        let ends = match version {
            4 => ["c0000201", "c0000202"],
            _ => ["20010db8000000000000000000000001", "20010db8000000000000000000000002"],
        };
        let [source, destination] = ends.map(|end| Address::from_octets(&unhex(end)));
        OuterHeader::new(source, destination, rules)
    }

    fn emitted(version: u8, rules: HeaderRules, inner: &[u8]) -> Vec<u8> {
        let header = header(version, rules);
        let mut octets = vec![0x55; header.octets];
        header.emit(&parsed(inner), 50, 100, 0x1234, &mut octets);
        octets
    }

    fn with_class(version: u8, class: u8) -> Vec<u8> {
        if version == 4 {
            return ipv4_with(&udp(), &[], |header| header[1] = class);
        }
        let mut packet = ipv6(&udp());
        (packet[0], packet[1]) = (0x60 | class >> 4, class << 4 | 1);
        packet
    }

    fn bound() -> Vec<u8> {
        ipv4_with(&udp(), &[], |header| (header[1], header[6]) = (CLASS, 0x40))
    }

    #[test]
    fn the_octets() {
        assert_eq!(emitted(4, PLAIN, &ipv4(&[])), unhex("45000078 12340000 4032e41c c0000201c0000202"));
        assert_eq!(emitted(4, PLAIN, &bound()), unhex("45bb0078 00004000 4032b595 c0000201c0000202"));
        let rules = HeaderRules { flow_label: true, ..PLAIN };
        let ends = "20010db8000000000000000000000001 20010db8000000000000000000000002";
        assert_eq!(emitted(6, rules, &with_class(6, CLASS)), unhex(&format!("6bb12345 00643240 {ends}")));
        assert_eq!(emitted(6, PLAIN, &with_class(6, CLASS)), unhex(&format!("6bb00000 00643240 {ends}")));
    }

    #[test]
    fn traffic_class_by_the_rules() {
        for (dscp, ecn, inside, outside) in [
            (None, true, CLASS, CLASS),
            (Some(0), true, CLASS, 3),
            (Some(63), true, CLASS, 0xFF),
            (Some(10), true, 0, 0x28),
            // RFC 6040 section 4.1: the compatibility mode.
            (None, false, CLASS, 0xB8),
            (Some(10), false, CLASS, 0x28),
        ] {
            let rules = HeaderRules { dscp, ecn, ..PLAIN };
            for inner in [4, 6] {
                assert_eq!(emitted(4, rules, &with_class(inner, inside))[1], outside);
                let six = emitted(6, rules, &with_class(inner, inside));
                assert_eq!(six[0] << 4 | six[1] >> 4, outside);
            }
        }
    }

    #[test]
    fn hops_by_the_rules() {
        let inner = ipv4_with(&udp(), &[], |header| header[8] = 17);
        for (hops, outside) in [(Some(64), 64), (Some(1), 1), (Some(255), 255), (None, 17)] {
            let rules = HeaderRules { hops, ..PLAIN };
            assert_eq!((emitted(4, rules, &inner)[8], emitted(6, rules, &inner)[7]), (outside, outside));
        }
    }

    #[test]
    fn df_and_identification_by_the_rules() {
        for (dont_fragment, outside) in [
            (Copying::Copy, [false, true, true]),
            (Copying::Set, [true, true, true]),
            (Copying::Clear, [false, false, false]),
        ] {
            let rules = HeaderRules { dont_fragment, ..PLAIN };
            for (inner, df) in [ipv4(&udp()), bound(), ipv6(&udp())].iter().zip(outside) {
                let datagram = parsed(inner);
                let expected = unhex(if df { "00004000" } else { "12340000" });
                assert_eq!(emitted(4, rules, inner)[4..8], expected);
                assert_eq!(header(4, rules).needs_identification(&datagram), !df);
                assert_eq!(header(6, rules).may_not_fragment(&datagram), df);
                assert!(!header(6, rules).needs_identification(&datagram));
            }
        }
    }

    #[test]
    fn every_checksum_is_right() {
        let (all, none) = (Address::from_octets(&[0xFF; 4]), Address::from_octets(&[0; 4]));
        let inner = parsed(&ipv4(&[]));
        for (source, destination) in [(all, none), (all, all), (none, none)] {
            let header = OuterHeader::new(source, destination, PLAIN);
            for payload_octets in 0..=header.payload_max {
                let mut octets = [0; 20];
                header.emit(&inner, 50, payload_octets, payload_octets as u16, &mut octets);
                assert_eq!(ip::checksum(&octets), 0);
            }
        }
    }

    #[test]
    fn the_largest_payload() {
        assert_eq!((header(4, PLAIN).octets, header(4, PLAIN).payload_max), (20, 65515));
        assert_eq!((header(6, PLAIN).octets, header(6, PLAIN).payload_max), (40, 65535));
    }

    /// RFC 6040 figure 4. Rows and columns: Not-ECT, ECT(0), ECT(1), CE.
    const FIGURE_4: [(u8, [Option<u8>; 4]); 4] = [
        (0, [Some(0), Some(0), Some(0), None]),
        (2, [Some(2), Some(2), Some(1), Some(3)]),
        (1, [Some(1), Some(1), Some(1), Some(3)]),
        (3, [Some(3), Some(3), Some(3), Some(3)]),
    ];

    fn marked(mut packet: Vec<u8>, outer: u8) -> Option<Vec<u8>> {
        let inner = parsed(&packet);
        ecn_on_opening(&mut packet, &inner, outer).then_some(packet)
    }

    #[test]
    fn ecn_on_the_way_in() {
        for version in [4, 6] {
            for dscp in [0, 0xB8, 0xFC] {
                for (inner, row) in FIGURE_4 {
                    for (outer, result) in [0, 2, 1, 3].into_iter().zip(row) {
                        let expected = result.map(|mark| with_class(version, dscp | mark));
                        assert_eq!(marked(with_class(version, dscp | inner), 0xA8 | outer), expected);
                    }
                }
            }
        }
    }

    #[test]
    fn marking_does_not_repair_a_wrong_checksum() {
        let mut packet = with_class(4, 2);
        packet[10] ^= 0x10;
        let marked = marked(packet.clone(), 3).expect("it can be marked");
        assert_eq!(marked[1], 3);
        assert_eq!(ip::checksum(&marked[..20]), ip::checksum(&packet[..20]));
        assert_ne!(ip::checksum(&marked[..20]), 0);
    }

    #[test]
    fn marking_keeps_every_right_checksum_right() {
        for number in 0..=u16::MAX {
            let with_mark = |mark| {
                ipv4_with(&[], &[], |header| {
                    header[1] = mark;
                    header[4..6].copy_from_slice(&number.to_be_bytes());
                })
            };
            assert_eq!(marked(with_mark(2), 3), Some(with_mark(3)));
        }
    }
}

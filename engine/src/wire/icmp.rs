//! Packets that are too big (RFC 1191, RFC 8201, RFC 4301 section 8.2): said to inner sources, heard from the way.
//!
//! What is *said* comes from the inner packet's destination, as from the far end of a link that is too small. What is
//! *heard* is unauthenticated, so it is believed only about an SA that is alive, with a sequence number that it sent not
//! long ago, never below a floor, and for a while only.

use super::address::Address;
use super::ip::{self, Datagram, long, next_header, word};
use super::udp;
use crate::tables::sa::UdpPorts;

/// How long a smaller path is believed in (RFC 1191 section 6.3).
pub const PATH_SECONDS: f64 = 600.0;
/// Sequence numbers that a complaint may be about: the last so many.
pub const RECENT: u64 = 1 << 16;

/// RFC 1191 section 7.1: for routers that don't say which size would fit.
const PLATEAUS: [usize; 9] = [65535, 32000, 17914, 8166, 4352, 2002, 1492, 1006, 576];
const ANSWERS_PER_SECOND: f64 = 100.0;
const ANSWERS_BURST: f64 = 50.0;
const UNREACHABLE: u8 = 3;
const FRAGMENTATION_NEEDED: u8 = 4;
const TOO_BIG6: u8 = 2;
const QUOTED4_MAX: usize = 576 - 28;
const QUOTED6_MAX: usize = 1280 - 48;
const HOPS: u8 = 64;
const ICMP_OCTETS: usize = 8;

/// No path has to be believed smaller: RFC 791 section 3.2 for IPv4 in practice, RFC 8200 section 5.
pub fn floor(version: u8) -> usize {
    if version == 4 { 576 } else { 1280 }
}

/// What tells the source of this packet that only `mtu` octets pass; None where nobody may be told.
///
/// RFC 1122 section 3.2.2 and RFC 4443 section 2.4: no error about an error, or about what is for many.
pub fn too_big(packet: &[u8], inner: &Datagram, mtu: usize) -> Option<Vec<u8>> {
    let (source, destination) = (inner.key.source, inner.key.destination);
    if inner.is_later_fragment() || is_error(packet, inner) || is_for_many(source) || is_for_many(destination) {
        return None;
    }
    Some(if inner.version == 4 { too_big4(packet, inner, mtu) } else { too_big6(packet, inner, mtu) })
}

fn is_error(packet: &[u8], inner: &Datagram) -> bool {
    if inner.offset >= inner.length {
        return false;
    }
    let kind = packet[inner.offset];
    match inner.protocol {
        next_header::ICMP => matches!(kind, 3 | 4 | 5 | 11 | 12),
        next_header::ICMPV6 => kind < 128,
        _ => false,
    }
}

fn is_for_many(address: Address) -> bool {
    let is_multicast = if address.version == 4 { address.value >> 24 >= 224 } else { address.value >> 120 == 0xFF };
    is_multicast || address.value == 0
}

fn message(kind: u8, code: u8, value: u32, quoted: &[u8], pseudo_sum: u64) -> Vec<u8> {
    let mut message = vec![kind, code, 0, 0];
    message.extend_from_slice(&value.to_be_bytes());
    message.extend_from_slice(quoted);
    let sum = ip::fold(pseudo_sum + u64::from(ip::ones_complement_sum(&message)));
    message[2..4].copy_from_slice(&(!sum).to_be_bytes());
    message
}

fn too_big4(packet: &[u8], inner: &Datagram, mtu: usize) -> Vec<u8> {
    let quoted = &packet[..inner.length.min(QUOTED4_MAX)];
    let message = message(UNREACHABLE, FRAGMENTATION_NEEDED, mtu as u32, quoted, 0);
    let mut answer = vec![0x45, 0xC0, 0, 0, 0, 0, 0, 0, HOPS, 0, 0, 0];
    answer.resize(ip::IPV4_HEADER_OCTETS, 0);
    inner.key.destination.write(&mut answer[12..]);
    inner.key.source.write(&mut answer[16..]);
    ip::set_length(&mut answer, 9, next_header::ICMP, message.len());
    answer.extend_from_slice(&message);
    answer
}

fn too_big6(packet: &[u8], inner: &Datagram, mtu: usize) -> Vec<u8> {
    let quoted = &packet[..inner.length.min(QUOTED6_MAX)];
    let (source, destination) = (inner.key.destination, inner.key.source);
    let pseudo = ip::pseudo_header_sum(source, destination, next_header::ICMPV6, ICMP_OCTETS + quoted.len());
    let message = message(TOO_BIG6, 0, mtu as u32, quoted, pseudo);
    let mut answer = vec![0x60, 0, 0, 0, 0, 0, 0, HOPS];
    answer.resize(ip::IPV6_HEADER_OCTETS, 0);
    source.write(&mut answer[8..]);
    destination.write(&mut answer[24..]);
    ip::set_length(&mut answer, 6, next_header::ICMPV6, message.len());
    answer.extend_from_slice(&message);
    answer
}

/// A router says that an IPsec packet of ours was too big.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Complaint {
    /// What it says would pass.
    pub mtu: usize,
    /// Of the security protocol.
    pub protocol: u8,
    /// Of the packet.
    pub spi: u32,
    /// Of the packet.
    pub sequence_low: u32,
    /// Of the packet.
    pub source: Address,
    /// Of the packet.
    pub destination: Address,
    /// The ports of the UDP that the ESP went in, if it is ESP at all.
    pub encapsulation: Option<UdpPorts>,
}

/// The complaint in an ICMP packet; None for everything else, whatever its octets.
pub fn parse_too_big(packet: &[u8]) -> Option<Complaint> {
    let outer = ip::parse(packet)?;
    if outer.fragment.is_some() || outer.length < outer.offset + ICMP_OCTETS {
        return None;
    }
    let (kind, code, value) = (packet[outer.offset], packet[outer.offset + 1], long(packet, outer.offset + 4));
    let quoted = &packet[outer.offset + ICMP_OCTETS..outer.length];
    match (outer.protocol, kind, code) {
        (next_header::ICMP, UNREACHABLE, FRAGMENTATION_NEEDED) => complaint(quoted, value & 0xFFFF, 4),
        (next_header::ICMPV6, TOO_BIG6, _) => complaint(quoted, value, 6),
        _ => None,
    }
}

fn complaint(quoted: &[u8], mtu: u32, version: u8) -> Option<Complaint> {
    // The quotation is cut off somewhere, so its length field says more than there is.
    if quoted.len() < ip::header_octets(version) || quoted[0] >> 4 != version {
        return None;
    }
    let (mut protocol, mut at, length, source, destination);
    if version == 4 {
        (at, protocol, length) = (usize::from(quoted[0] & 15) * 4, quoted[9], usize::from(word(quoted, 2)));
        (source, destination) = (Address::from_octets(&quoted[12..16]), Address::from_octets(&quoted[16..20]));
    } else {
        length = ip::IPV6_HEADER_OCTETS + usize::from(word(quoted, 4));
        (source, destination) = (Address::from_octets(&quoted[8..24]), Address::from_octets(&quoted[24..40]));
        (protocol, at) = behind_extensions(quoted);
    }
    let mut encapsulation = None;
    if protocol == next_header::UDP {
        encapsulation = Some(UdpPorts(word(quoted, at), word(quoted, at + 2)));
        (at, protocol) = (at + udp::HEADER_OCTETS, next_header::ESP);
    }
    at += if protocol == next_header::AH { 4 } else { 0 };
    if !matches!(protocol, next_header::ESP | next_header::AH) || quoted.len() < at + 8 {
        return None;
    }
    let mtu = if mtu == 0 { plateau_below(length) } else { mtu as usize };
    let (spi, sequence_low) = (long(quoted, at), long(quoted, at + 4));
    Some(Complaint { mtu, protocol, spi, sequence_low, source, destination, encapsulation })
}

/// What a quoted IPv6 packet carries and where: our own outer packet may be a first fragment, or have options.
fn behind_extensions(quoted: &[u8]) -> (u8, usize) {
    let (mut protocol, mut at) = (quoted[6], ip::IPV6_HEADER_OCTETS);
    for _ in 0..ip::IPV6_EXTENSIONS_MAX {
        let octets = if protocol == next_header::FRAGMENT && word(quoted, at + 2) & 0xFFF8 == 0 {
            8
        } else if ip::is_read_by_routers(protocol) {
            8 * (usize::from(quoted.get(at + 1).copied().unwrap_or(0)) + 1)
        } else {
            break;
        };
        (protocol, at) = (quoted.get(at).copied().unwrap_or(0), at + octets);
    }
    (protocol, at)
}

fn plateau_below(length: usize) -> usize {
    PLATEAUS.into_iter().find(|plateau| *plateau < length).unwrap_or(PLATEAUS[8])
}

/// How many answers may still be sent (RFC 4443 section 2.4 f: they must be limited).
#[derive(Debug)]
pub struct Allowance {
    left: f64,
    when: f64,
}

impl Default for Allowance {
    fn default() -> Allowance {
        Allowance { left: ANSWERS_BURST, when: 0.0 }
    }
}

impl Allowance {
    /// Whether one more may go.
    pub fn take(&mut self, now: f64) -> bool {
        let since = (now - self.when).max(0.0);
        self.left = ANSWERS_BURST.min(self.left + since * ANSWERS_PER_SECOND);
        self.when = now;
        if self.left < 1.0 {
            return false;
        }
        self.left -= 1.0;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::super::building::{ipv4, ipv4_of, ipv4_with, ipv6, ipv6_of, octets, parsed, udp as datagram, unhex};
    use super::*;

    fn told(packet: &[u8], mtu: usize) -> Option<Vec<u8>> {
        too_big(packet, &parsed(packet), mtu)
    }

    #[test]
    fn what_an_ipv4_source_is_told() {
        let packet = ipv4_with(&[0; 4], &[], |header| header[6] = 0x40);
        let answer = told(&packet, 1400).expect("it is told");
        let start = "45c00034 00000000 400165f5 0a0200090a010009 0304f78300000578";
        assert_eq!(answer, [unhex(start), packet].concat());
        let long = ipv4(&octets(2000));
        assert_eq!(told(&long, 1400).expect("it is told")[28..], long[..548]);
    }

    #[test]
    fn what_an_ipv6_source_is_told() {
        let packet = ipv6(&[0; 4]);
        let answer = told(&packet, 1400).expect("it is told");
        let ends = "fd000002000000000000000000000009 fd000001000000000000000000000009";
        assert_eq!(answer, [unhex(&format!("60000000 00343a40 {ends} 02006f6100000578")), packet].concat());
        let long = ipv6(&octets(2000));
        assert_eq!(told(&long, 1400).expect("it is told")[48..], long[..1232]);
    }

    #[test]
    fn nobody_is_told_about_an_error() {
        for kind in 0..=255 {
            let message = [kind, 0, 0, 0, 0, 0, 0, 0];
            let is_told = (told(&ipv4_of(1, &message), 1400).is_some(), told(&ipv6_of(58, &message), 1400).is_some());
            assert_eq!(is_told, (!matches!(kind, 3 | 4 | 5 | 11 | 12), kind >= 128), "{kind}");
        }
        assert!(told(&ipv4_of(1, &[]), 1400).is_some());
    }

    #[test]
    fn nobody_is_told_about_what_is_for_many() {
        for (at, address) in
            [(12, "00000000"), (12, "e0000001"), (16, "ef010101"), (16, "ffffffff"), (12, "dfffffff"), (16, "01000000")]
        {
            let address = unhex(address);
            let packet = ipv4_with(&datagram(), &[], |header| header[at..at + 4].copy_from_slice(&address));
            assert_eq!(told(&packet, 1400).is_some(), matches!(address[0], 0xDF | 1));
        }
        for (at, first) in [(8, 0), (24, 0xFF)] {
            let mut packet = ipv6(&datagram());
            packet[at..at + 16].fill(0);
            packet[at] = first;
            assert_eq!(told(&packet, 1400), None);
        }
    }

    #[test]
    fn later_fragments_are_not_spoken_of() {
        let piece = |high, low| ipv4_with(&datagram(), &[], |header| header[6..8].copy_from_slice(&[high, low]));
        assert!(told(&piece(0x20, 0), 1400).is_some());
        assert_eq!(told(&piece(0, 1), 1400), None);
    }

    #[test]
    fn answers_are_limited() {
        let mut allowance = Allowance::default();
        let mut taken = |now: f64, times: usize| (0..times).filter(|_| allowance.take(now)).count();
        assert_eq!((taken(1e9, 51), taken(1e9 + 0.125, 13), taken(1e9, 1), taken(1e9 + 99.0, 51)), (50, 12, 0, 50));
    }

    /// An ESP packet of ours, number 1 of SPI 1001.
    fn sealed(version: u8) -> Vec<u8> {
        let esp = [&unhex("000003e9 00000001")[..], &octets(40)].concat();
        if version == 4 { ipv4_of(50, &esp) } else { ipv6_of(50, &esp) }
    }

    /// What a router on the way says about it.
    fn said(version: u8, quoted: &[u8], mtu: u16) -> Vec<u8> {
        let [high, low] = mtu.to_be_bytes();
        let (kind, code) = if version == 4 { (3, 4) } else { (2, 0) };
        let message = [&[kind, code, 0, 0, 0, 0, high, low][..], quoted].concat();
        if version == 4 { ipv4_of(1, &message) } else { ipv6_of(58, &message) }
    }

    fn heard(version: u8, quoted: &[u8], mtu: u16) -> Option<Complaint> {
        parse_too_big(&said(version, quoted, mtu))
    }

    #[test]
    fn as_much_as_routers_quote_is_enough() {
        for (version, enough) in [(4, 28), (6, 48)] {
            let ours = sealed(version);
            let key = parsed(&ours).key;
            let complaint = Complaint {
                mtu: 1300,
                protocol: 50,
                spi: 1001,
                sequence_low: 1,
                source: key.source,
                destination: key.destination,
                encapsulation: None,
            };
            assert_eq!(heard(version, &ours[..enough], 1300), Some(complaint));
            assert!((0..enough).all(|octets| heard(version, &ours[..octets], 1300).is_none()));
        }
    }

    #[test]
    fn about_ah_and_about_esp_in_udp() {
        let about = |protocol, start: &str| {
            let quoted = ipv4_of(protocol, &unhex(start));
            heard(4, &quoted, 1300).map(|found| (found.protocol, found.spi, found.sequence_low, found.encapsulation))
        };
        assert_eq!(about(51, "32040000 000003ea 00000007"), Some((51, 1002, 7, None)));
        let in_udp = "1194 9c40 0010 0000 000003e9 00000002";
        assert_eq!(about(17, in_udp), Some((50, 1001, 2, Some(UdpPorts(4500, 40000)))));
        assert_eq!(about(17, "1194 9c40 0010 0000 000003e9 000000"), None);
        assert_eq!(about(6, "32040000 000003ea 00000007"), None);
    }

    #[test]
    fn behind_extension_headers() {
        let esp = "000003e9 00000001";
        let first = format!("2c00000000000000 32ff0001 00000009 {esp}");
        assert_eq!(heard(6, &ipv6_of(0, &unhex(&first)), 1400).map(|found| found.spi), Some(1001));
        let later = format!("32ff0008 00000009 {esp}");
        assert_eq!(heard(6, &ipv6_of(44, &unhex(&later)), 1400), None);
        // A chain that never ends.
        assert_eq!(heard(6, &ipv6_of(60, &unhex("3c00000000000000").repeat(20)), 1400), None);
    }

    #[test]
    fn a_router_that_says_no_size() {
        for (length, plateau) in [(1500, 1492), (1493, 1492), (1492, 1006), (1000, 576), (60, 576), (65535, 32000)] {
            let mut quoted = sealed(4);
            quoted[2..4].copy_from_slice(&u16::to_be_bytes(length));
            assert_eq!(heard(4, &quoted, 0).map(|found| found.mtu), Some(plateau));
        }
        assert_eq!(heard(6, &sealed(6), 0).map(|found| found.mtu), Some(576));
        assert_eq!((floor(4), floor(6)), (576, 1280));
    }

    #[test]
    fn what_says_nothing_of_the_kind() {
        let good = said(4, &sealed(4), 1300);
        assert!(parse_too_big(&good).is_some());
        for (at, octet) in [(20, 11), (21, 3), (6, 0x20), (9, 17), (28, 0x65), (0, 0x55)] {
            let mut other = good.clone();
            other[at] = octet;
            assert_eq!(parse_too_big(&other), None);
        }
        for packet in [&good[..26], &[], &sealed(4), &said(4, &sealed(6), 1300), &said(6, &sealed(4), 1300)] {
            assert_eq!(parse_too_big(packet), None);
        }
    }
}

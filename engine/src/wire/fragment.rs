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
/// A piece always carries at least eight octets, so an absurd `mtu` gives pieces that are larger. What has nothing behind
/// the part that every piece needs can't be cut, and is one piece, however large it is.
pub fn split(packet: &[u8], datagram: &Datagram, mtu: usize, identification: u32) -> Vec<Vec<u8>> {
    let front = if datagram.version == 4 { datagram.offset } else { unfragmentable(packet, datagram).0 };
    if datagram.length <= mtu || datagram.length == front {
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

#[cfg(test)]
mod tests {
    use super::super::building::{chained, ipv4, ipv4_with, ipv6, ipv6_of, octets, parsed, unhex};
    use super::*;

    const NUMBER: u32 = 0x5EED_1234;

    fn cut(packet: &[u8], mtu: usize) -> Vec<Vec<u8>> {
        split(packet, &parsed(packet), mtu, NUMBER)
    }

    /// What the pieces carry, each at its place.
    fn bodies(pieces: &[Vec<u8>]) -> Vec<u8> {
        let mut whole = Vec::new();
        for (at, piece) in pieces.iter().enumerate() {
            let datagram = parsed(piece);
            let fragment = datagram.fragment.expect("a piece");
            assert_eq!((fragment.offset, fragment.more), (whole.len(), at + 1 < pieces.len()));
            whole.extend_from_slice(&piece[datagram.offset..datagram.length]);
        }
        whole
    }

    #[test]
    fn only_options_with_the_copied_bit_are_in_every_piece() {
        let options = unhex("01 07070400000101 01 94040000 000000");
        let pieces = cut(&ipv4_with(&octets(40), &options, |_| ()), 60);
        assert_eq!(pieces.len(), 2);
        assert_eq!(pieces[0][20..36], options[..]);
        assert_eq!(pieces[1][..4], unhex("46000028"));
        assert_eq!(pieces[1][20..24], unhex("94040000"));
        assert!(pieces.iter().all(|piece| ip::checksum(&piece[..parsed(piece).offset]) == 0));
    }

    #[test]
    fn the_octets_of_ipv4_pieces() {
        let made = cut(&ipv4(&octets(12)), 28);
        let ends = "0a0100090a020009";
        let first = unhex(&format!("4500001c 00012000 401146bc {ends} 0001020304050607"));
        assert_eq!(made, [first, unhex(&format!("45000018 00010001 401166bf {ends} 08090a0b"))]);
    }

    #[test]
    fn the_octets_of_ipv6_pieces() {
        let ends = "fd000001000000000000000000000009 fd000002000000000000000000000009";
        let first = unhex(&format!("60012345 00102c40 {ends} 11000001 5eed1234 0001020304050607"));
        let second = unhex(&format!("60012345 00102c40 {ends} 11000009 5eed1234 08090a0b0c0d0e0f"));
        let last = unhex(&format!("60012345 000c2c40 {ends} 11000010 5eed1234 10111213"));
        assert_eq!(cut(&ipv6(&octets(20)), 59), [first, second, last]);
    }

    #[test]
    fn pieces_fit_and_add_up() {
        for size in [41, 1480, 1481, 9000, 65000] {
            for mtu in [68, 576, 1280, 1500] {
                let (four, six) = (ipv4(&octets(size)), ipv6(&octets(size)));
                for packet in [four, six].iter().filter(|packet| packet.len() > mtu) {
                    let pieces = cut(packet, mtu);
                    assert!(pieces.iter().all(|piece| piece.len() <= mtu));
                    assert_eq!(bodies(&pieces), octets(size));
                }
            }
        }
    }

    #[test]
    fn what_fits_is_one_piece_without_what_follows_it() {
        for packet in [ipv4(&octets(100)), ipv6(&octets(100))] {
            let padded = [&packet[..], b"padding"].concat();
            for mtu in [60, 1500] {
                assert_eq!(split(&padded, &parsed(&packet), mtu, NUMBER), cut(&packet, mtu));
            }
            assert_eq!(cut(&packet, packet.len()), [packet]);
        }
    }

    #[test]
    fn a_piece_cut_again_stays_a_piece() {
        let pieces = cut(&ipv4(&octets(3000)), 1500);
        let again: Vec<Vec<u8>> = pieces.iter().flat_map(|piece| cut(piece, 300)).collect();
        assert_eq!(bodies(&again), octets(3000));
    }

    #[test]
    fn an_absurd_size_gives_pieces_of_eight_octets() {
        for packet in [ipv4(&octets(100)), ipv6(&octets(100))] {
            for mtu in [0, 8, 27] {
                let pieces = cut(&packet, mtu);
                assert_eq!((pieces.len(), bodies(&pieces)), (13, octets(100)));
            }
        }
    }

    #[test]
    fn what_has_nothing_behind_its_headers_stays_whole() {
        let mut large = vec![59, 180];
        large.resize(8 * 181, 0);
        for packet in [ipv4(&[]), ipv4_with(&[], &[1; 40], |_| ()), ipv6(&[]), ipv6_of(0, &large)] {
            for mtu in [0, 19, 1280] {
                assert_eq!(cut(&packet, mtu), std::slice::from_ref(&packet));
            }
        }
        let piece = ipv4_with(&[], &[], |header| header[6] = 0x20);
        assert_eq!(cut(&piece, 0), [piece]);
    }

    #[test]
    fn damaged_options_end_what_is_copied() {
        for options in ["83010000", "83000000", "830900ff", "00940400", "01010183"] {
            let pieces = cut(&ipv4_with(&octets(100), &unhex(options), |_| ()), 60);
            assert!(pieces[1..].iter().all(|piece| piece[0] == 0x45), "{options}");
        }
    }

    #[test]
    fn headers_for_routers_are_in_every_ipv6_piece() {
        let packet = chained(&[0, 60, 43, 60], &octets(100));
        assert_eq!(unfragmentable(&packet, &parsed(&packet)), (64, 56));
        for piece in cut(&packet, 140) {
            assert_eq!((&piece[40..56], piece[56], piece[64]), (&packet[40..56], 44, 60));
        }
        let no_route = chained(&[0, 60], &octets(40));
        assert_eq!(unfragmentable(&no_route, &parsed(&no_route)), (48, 40));
    }

    #[test]
    fn the_protocol_tells_packets_apart_in_ipv4_only() {
        let four = parsed(&ipv4_with(&octets(8), &[], |header| header[7] = 1));
        let six = parsed(&ipv6_of(44, &unhex("11000009 0001e240 0000000000000000")));
        assert_eq!((key_of(&four).protocol, key_of(&four).identification), (17, 1));
        assert_eq!((key_of(&six).protocol, key_of(&six).identification), (0, 123_456));
        assert_eq!((key_of(&six).source, key_of(&six).destination), (six.key.source, six.key.destination));
    }
}

//! What `tests/ipsec/test_fragment.py` asks, and that what comes and goes leaves nothing behind.

use super::*;
use crate::wire::building::{ipv4, ipv4_with, ipv6, ipv6_of, octets, parsed, unhex};
use crate::wire::fragment::split;

const NOW: f64 = 1_700_000_000.0;
const OVERLAPS: [&[(usize, usize, bool)]; 10] = [
    &[(0, 16, true), (8, 16, true)],
    &[(8, 16, true), (0, 16, true)],
    &[(0, 32, true), (8, 8, true)],
    &[(8, 8, true), (0, 32, true)],
    &[(16, 8, false), (16, 16, true)],
    &[(16, 8, false), (24, 8, true)],
    &[(16, 8, false), (24, 8, false)],
    &[(16, 8, false), (8, 4, false)],
    &[(16, 8, true), (8, 8, false)],
    &[(32, 8, true), (16, 8, true), (24, 24, false)],
];

fn piece4(start: usize, count: usize, more: bool, number: u16) -> Vec<u8> {
    let place = (start / 8) as u16 | if more { ip::MORE_FRAGMENTS } else { 0 };
    ipv4_with(&octets(count), &[], |header| {
        header[4..6].copy_from_slice(&number.to_be_bytes());
        header[6..8].copy_from_slice(&place.to_be_bytes());
    })
}

fn fragment6(protocol: u8, start: usize, count: usize, more: bool) -> Vec<u8> {
    let [high, low] = (start as u16 | u16::from(more)).to_be_bytes();
    [&[protocol, 0, high, low, 0, 0, 0, 1][..], &octets(count)].concat()
}

fn piece6(start: usize, count: usize, more: bool) -> Vec<u8> {
    ipv6_of(44, &fragment6(17, start, count, more))
}

fn of_both(start: usize, count: usize, more: bool) -> [Vec<u8>; 2] {
    [piece4(start, count, more, 1), piece6(start, count, more)]
}

fn add(reassembler: &mut Reassembler, piece: &[u8]) -> Added {
    let added = reassembler.add(piece, &parsed(piece), NOW);
    let held: usize = reassembler.waiting.values().map(|pieces| pieces.octets).sum();
    assert_eq!(reassembler.octets(), held);
    added
}

/// What the last of these came to; all before it waited.
fn last(reassembler: &mut Reassembler, pieces: &[Vec<u8>]) -> Added {
    let (last, before) = pieces.split_last().expect("there are some");
    for piece in before {
        assert_eq!(add(reassembler, piece), Added::Waiting);
    }
    add(reassembler, last)
}

fn together(pieces: &[Vec<u8>]) -> Added {
    last(&mut Reassembler::default(), pieces)
}

#[test]
fn in_any_order() {
    for packet in [ipv4(&octets(1000)), ipv6(&octets(1000))] {
        let mut pieces = split(&packet, &parsed(&packet), 300, 1);
        for turn in 0..2 * pieces.len() {
            pieces.rotate_left(1);
            if turn == pieces.len() {
                pieces.reverse();
            }
            let mut reassembler = Reassembler::default();
            assert_eq!(last(&mut reassembler, &pieces), Added::Whole(packet.clone()));
            assert!(reassembler.is_empty() && reassembler.octets() == 0);
        }
    }
}

#[test]
fn an_exact_duplicate_changes_nothing_and_another_kills() {
    let (first, second) = (piece4(0, 16, true, 1), piece4(16, 8, false, 1));
    let whole = together(&[first.clone(), first.clone(), second]);
    assert!(matches!(whole, Added::Whole(_)));
    let mut other = first.clone();
    other[30] ^= 1;
    assert_eq!(together(&[first, other]), Added::Drop(Reason::Reassembly));
}

#[test]
fn overlaps_and_contradictions() {
    for story in OVERLAPS {
        for version in 0..2 {
            let pieces: Vec<Vec<u8>> =
                story.iter().map(|(start, count, more)| of_both(*start, *count, *more)[version].clone()).collect();
            let mut reassembler = Reassembler::default();
            assert_eq!(last(&mut reassembler, &pieces), Added::Drop(Reason::Reassembly), "{story:?}");
            assert!(reassembler.is_empty());
        }
    }
}

#[test]
fn pieces_that_are_part_of_no_packet() {
    for (start, count, more) in [(0, 9, true), (8, 15, true), (8, 0, false), (0, 0, true), (65528, 8, false)] {
        for piece in of_both(start, count, more) {
            let mut reassembler = Reassembler::default();
            assert_eq!(add(&mut reassembler, &piece), Added::Drop(Reason::Fragment));
            assert!(reassembler.is_empty());
        }
    }
    for piece in of_both(65528, 7, false) {
        assert_eq!(together(&[piece]), Added::Waiting);
    }
}

#[test]
fn a_packet_that_would_be_larger_than_its_length_field() {
    let with_end = |version: usize, end: usize| {
        let mut pieces: Vec<Vec<u8>> = (0..8).map(|at| of_both(8000 * at, 8000, true)[version].clone()).collect();
        pieces.push(of_both(64000, end, false)[version].clone());
        together(&pieces)
    };
    assert_eq!(with_end(0, 1516), Added::Drop(Reason::Fragment));
    assert!(matches!(with_end(0, 1515), Added::Whole(packet) if packet.len() == 65535));
    assert!(matches!(with_end(1, 1535), Added::Whole(packet) if packet.len() == 40 + 65535));
}

#[test]
fn too_many_pieces() {
    let pieces: Vec<Vec<u8>> = (0..=PIECES_MAX).map(|at| piece4(8 * at, 8, true, 1)).collect();
    assert_eq!(together(&pieces), Added::Drop(Reason::Reassembly));
}

#[test]
fn too_many_packets_refuse_new_ones_and_keep_the_old() {
    let mut reassembler = Reassembler::default();
    for number in 0..PACKETS_MAX as u16 {
        assert_eq!(add(&mut reassembler, &piece4(0, 8, true, number)), Added::Waiting);
    }
    let new = piece4(0, 8, true, 9999);
    assert_eq!(add(&mut reassembler, &new), Added::Drop(Reason::Reassembly));
    assert!(matches!(add(&mut reassembler, &piece4(8, 8, false, 5)), Added::Whole(_)));
    assert_eq!((add(&mut reassembler, &new), reassembler.len()), (Added::Waiting, PACKETS_MAX));
}

#[test]
fn memory_is_bounded() {
    let mut reassembler = Reassembler::default();
    let results: Vec<Added> = (0..100).map(|number| add(&mut reassembler, &piece4(0, 59992, true, number))).collect();
    assert_eq!((&results[0], &results[99]), (&Added::Waiting, &Added::Drop(Reason::Reassembly)));
    assert_eq!(reassembler.octets(), OCTETS_MAX / 59992 * 59992);
    // The piece of a packet that doesn't wait any longer leaves nothing behind.
    assert_eq!(reassembler.len(), OCTETS_MAX / 59992);
}

#[test]
fn only_what_belongs_together_is_put_together() {
    let first = piece4(0, 8, true, 1);
    assert_eq!(together(&[first.clone(), piece4(8, 8, false, 2)]), Added::Waiting);
    for (at, octet) in [(9, 6), (15, 8), (19, 8)] {
        let mut other = piece4(8, 8, false, 1);
        other[at] = octet;
        assert_eq!(together(&[first.clone(), other]), Added::Waiting);
    }
    // RFC 8200 section 4.5: of IPv6, only the first fragment's protocol counts.
    let later = ipv6_of(44, &fragment6(6, 8, 8, false));
    assert!(matches!(together(&[later, piece6(0, 8, true)]), Added::Whole(packet) if packet[6] == 17));
}

/// In front of it one that says the packet is whole (RFC 6946), with an octet set that is to be ignored.
#[test]
fn the_reserved_octet_of_a_fragment_header_is_no_length() {
    let chain = unhex("3c01000000000000 2c00000000000000");
    let piece = |start, more| ipv6_of(44, &[&chain[..], &fragment6(17, start, 8, more)].concat());
    let named = [&unhex("3c01000000000000 1100000000000000")[..], &octets(8), &octets(8)].concat();
    assert_eq!(together(&[piece(0, true), piece(8, false)]), Added::Whole(ipv6_of(44, &named)));
}

/// Marks of two pieces, and of the whole (RFC 3168 section 5.3).
#[test]
fn no_mark_of_congestion_is_lost() {
    for (first, second, whole) in [(0, 0, Some(0)), (2, 2, Some(2)), (2, 3, Some(3)), (1, 3, Some(3)), (0, 3, None)] {
        for marks in [[first, second], [second, first]] {
            let mut four = [piece4(0, 8, true, 1), piece4(8, 8, false, 1)];
            let mut six = [piece6(0, 8, true), piece6(8, 8, false)];
            for at in 0..2 {
                four[at][1] = 0xA8 | marks[at];
                (six[at][0], six[at][1]) = (0x6A, 0x81 | marks[at] << 4);
            }
            for result in [together(&four), together(&six)] {
                let class = match result {
                    Added::Whole(packet) => Some(parsed(&packet).traffic_class),
                    other => {
                        assert_eq!(other, Added::Drop(Reason::Congestion));
                        None
                    }
                };
                assert_eq!(class, whole.map(|mark| 0xA8 | mark));
            }
        }
    }
}

#[test]
fn what_waited_too_long_is_given_up_oldest_first() {
    let mut reassembler = Reassembler::default();
    let mut add_at = |piece: &[u8], now| reassembler.add(piece, &parsed(piece), now);
    for number in 0..3 {
        assert_eq!(add_at(&piece4(0, 8, true, number), NOW + f64::from(number)), Added::Waiting);
    }
    let late = piece4(16, 8, true, 0);
    assert_eq!(add_at(&late, NOW + 20.0), Added::Waiting);
    assert!(reassembler.expire(NOW + 29.9).is_empty());
    assert_eq!(reassembler.expire(NOW + 31.0), [late, piece4(0, 8, true, 1)]);
    assert_eq!(reassembler.expire(NOW + 99.0), [piece4(0, 8, true, 2)]);
    assert!(reassembler.expire(NOW + 99.0).is_empty() && reassembler.octets() == 0);
}

#[test]
fn what_begins_anew_waits_anew() {
    let mut reassembler = Reassembler::default();
    for (number, now) in [(1, 0.0), (2, 10.0), (1, 20.0)] {
        let piece = piece4(0, 8, true, number);
        assert_eq!(reassembler.add(&piece, &parsed(&piece), now), Added::Waiting);
        if now == 10.0 {
            assert!(matches!(add(&mut reassembler, &piece4(8, 8, false, 1)), Added::Whole(_)));
        }
    }
    assert!(reassembler.expire(39.9).is_empty());
    assert_eq!(reassembler.expire(45.0), [piece4(0, 8, true, 2)]);
    assert_eq!(reassembler.expire(50.0), [piece4(0, 8, true, 1)]);
}

#[test]
fn what_comes_and_goes_leaves_nothing_behind() {
    let mut reassembler = Reassembler::default();
    let (stays, first, second) = (piece4(0, 8, true, 2), piece4(0, 8, true, 1), piece4(8, 8, false, 1));
    add(&mut reassembler, &stays);
    for _ in 0..20 * PACKETS_MAX {
        add(&mut reassembler, &first);
        assert!(matches!(add(&mut reassembler, &second), Added::Whole(_)));
    }
    assert!(reassembler.order.len() <= 4 * PACKETS_MAX + 1);
    assert_eq!(reassembler.expire(NOW + WAIT_SECONDS), [stays]);
}

#[test]
fn a_trail_is_followed_for_a_while() {
    let mut trail = Trail::default();
    trail.lay("packet", "came to a", NOW);
    assert_eq!(trail.follow(&"packet", NOW + 29.0), Some("came to a"));
    assert_eq!((trail.follow(&"packet", NOW + 30.0), trail.follow(&"other", NOW)), (None, None));
    trail.lay("packet", "came to b", NOW + 29.0);
    assert_eq!(trail.follow(&"packet", NOW + 58.0), Some("came to b"));
    trail.clear();
    assert_eq!(trail.follow(&"packet", NOW + 29.0), None);
}

#[test]
fn a_trail_forgets_the_oldest_and_what_is_laid_again_is_new() {
    let mut trail = Trail::default();
    for number in 0..=TRAIL_MAX {
        trail.lay(number, number, NOW);
        trail.lay(1, 1, NOW);
    }
    assert_eq!([0, 1, 2, TRAIL_MAX].map(|key| trail.follow(&key, NOW)), [None, Some(1), Some(2), Some(TRAIL_MAX)]);
}

#[test]
fn a_trail_that_is_laid_again_and_again_stays_small() {
    let mut trail = Trail::default();
    for round in 0..10 * TRAIL_MAX {
        trail.lay(if round < 10 { round } else { 99 }, round, NOW);
        assert!(trail.order.len() <= 4 * TRAIL_MAX);
    }
    assert!((0..10).all(|key| trail.follow(&key, NOW) == Some(key)));
    assert_eq!(trail.follow(&99, NOW), Some(10 * TRAIL_MAX - 1));
}

//! What the kernel makes of super-packets again is what came.

use std::os::fd::AsRawFd;
use std::os::unix::net::UnixDatagram;

use super::*;
use crate::io::segment::Segments;
use crate::io::tun::{GSO_NONE, VIRTIO_OCTETS};
use crate::transform::batch_out::Run;

const FIN: u8 = 0x01;
const PORTS: [u8; 4] = [4, 0, 0, 53];

/// A packet of a flow of IPv4 or IPv6 with a right checksum. `number`: of the flow's octets for TCP, of its packets for
/// UDP.
fn packet(version: u8, protocol: u8, flow: u8, number: usize, payload: usize, flags: u8) -> Vec<u8> {
    let (offset, upper) = (ip::header_octets(version), if protocol == next_header::TCP { 32 } else { UDP_OCTETS });
    let mut packet = vec![0; offset + upper];
    packet.extend((0..payload).map(|at| ((number + at) * 37 + at / 200) as u8));
    packet[0] = version << 4 | if version == 4 { 5 } else { 0 };
    packet[offset - 1] = flow;
    if version == 4 {
        packet[6] = 0x40;
        packet[8] = 64;
    } else {
        packet[7] = 64;
    }
    packet[offset..offset + 4].copy_from_slice(&PORTS);
    let at = if protocol == next_header::TCP {
        packet[offset + 4..offset + 8].copy_from_slice(&(number as u32).to_be_bytes());
        packet[offset + 12..offset + 14].copy_from_slice(&[8 << 4, flags]);
        offset + 16
    } else {
        packet[offset + 4..offset + 6].copy_from_slice(&((upper + payload) as u16).to_be_bytes());
        offset + 6
    };
    ip::set_length(&mut packet[..offset], if version == 4 { 9 } else { 6 }, protocol, upper + payload);
    let key = ip::parse(&packet).expect("an IP packet").key;
    let pseudo = ip::pseudo_header_sum(key.source, key.destination, protocol, upper + payload);
    let sum = !ip::fold(pseudo + u64::from(ip::ones_complement_sum(&packet[offset..])));
    packet[at..at + 2].copy_from_slice(&sum.to_be_bytes());
    packet
}

/// What is written, as the kernel cuts it again; and how many pieces it was.
fn through(coalescer: &mut Coalescer, packets: &[Vec<u8>]) -> (Vec<Vec<u8>>, usize) {
    let (near, far) = UnixDatagram::pair().expect("a pair of sockets");
    far.set_nonblocking(true).expect("a socket");
    let (mut memory, mut ranges) = (Vec::new(), Vec::new());
    for packet in packets {
        ranges.push(memory.len()..memory.len() + packet.len());
        memory.extend_from_slice(packet);
    }
    let tun = Tun::with_offloads(near.as_raw_fd());
    let half = ranges.len() / 2;
    assert!(coalescer.add(&tun, &memory, &ranges[..half], 0).is_empty());
    assert!(coalescer.add(&tun, &memory, &ranges, half).is_empty());
    assert!(coalescer.flush(&tun, &memory).is_empty());
    let (mut octets, mut all, mut pieces) = (vec![0; 1 << 17], Vec::new(), 0);
    while let Ok(got) = far.recv(&mut octets) {
        let (header, packet) = (VirtioHeader::parse(&octets), &octets[VIRTIO_OCTETS..got]);
        pieces += 1;
        if header.gso_kind == GSO_NONE {
            all.push(packet.to_vec());
            continue;
        }
        let segments = Segments::new(&header, packet).expect("a super-packet");
        for number in 0..segments.count() {
            let mut segment = vec![0; segments.octets(number)];
            segments.write(number, &mut segment);
            all.push(segment);
        }
    }
    (all, pieces)
}

/// So many equally long ones of a flow, and what comes of them.
fn flow(version: u8, protocol: u8, count: usize, payload: usize) -> Vec<Vec<u8>> {
    let step = if protocol == next_header::TCP { payload } else { 1 };
    (0..count).map(|number| packet(version, protocol, 7, number * step, payload, ACK)).collect()
}

/// Segments of IPv4 count identifications up; these packets all have 0, which DF allows.
fn without_identification(mut packets: Vec<Vec<u8>>) -> Vec<Vec<u8>> {
    for packet in packets.iter_mut().filter(|packet| packet[0] >> 4 == 4) {
        packet[4..6].fill(0);
        let (protocol, payload) = (packet[9], packet.len() - 20);
        ip::set_length(&mut packet[..20], 9, protocol, payload);
    }
    packets
}

#[test]
fn what_the_kernel_cuts_again_is_what_came() {
    let mut coalescer = Coalescer::default();
    for (version, protocol) in [(4, next_header::TCP), (6, next_header::TCP), (4, 17), (6, 17)] {
        for (count, payload) in [(1, 1348), (2, 1348), (40, 1348), (48, 1349), (70, 35), (71, 1), (150, 800)] {
            let sent = flow(version, protocol, count, payload);
            let (got, pieces) = through(&mut coalescer, &sent);
            assert_eq!(without_identification(got), sent, "{count} of {payload}, IPv{version}, {protocol}");
            let fit = SEGMENTS_MAX.min((ip::LENGTH_MAX - 72) / payload);
            assert!(pieces <= count.div_ceil(fit) + 1, "{count} of {payload} in {pieces} pieces");
        }
    }
    assert!(coalescer.spare.len() <= SPARE_MAX);
}

#[test]
fn a_wrong_checksum_goes_alone_as_it_came_and_the_others_are_right() {
    let mut coalescer = Coalescer::default();
    for wrong in 0..5 {
        for protocol in [next_header::TCP, next_header::UDP] {
            let mut sent = flow(4, protocol, 5, 1001);
            *sent[wrong].last_mut().expect("octets") ^= 1;
            let (got, pieces) = through(&mut coalescer, &sent);
            assert_eq!(without_identification(got), sent);
            assert_eq!(pieces, if wrong == 0 || wrong == 4 { 2 } else { 3 });
        }
    }
}

#[test]
fn a_wrong_header_checksum_is_not_put_right() {
    let mut coalescer = Coalescer::default();
    for wrong in 0..5 {
        for protocol in [next_header::TCP, next_header::UDP] {
            let mut sent = flow(4, protocol, 5, 1001);
            sent[wrong][10] ^= 1;
            let (got, pieces) = through(&mut coalescer, &sent);
            assert_eq!(got[wrong], sent[wrong]);
            assert_eq!(without_identification(got), without_identification(sent));
            assert_eq!(pieces, if wrong == 0 || wrong == 4 { 2 } else { 3 });
        }
    }
}

#[test]
fn a_shorter_packet_and_a_push_end_a_run_and_other_flags_begin_none() {
    let tcp = |number, payload, flags| packet(4, next_header::TCP, 7, number, payload, flags);
    let mut coalescer = Coalescer::default();
    for (sent, pieces) in [
        (vec![tcp(0, 1000, ACK), tcp(1000, 999, ACK), tcp(1999, 1000, ACK)], 2),
        (vec![tcp(0, 1000, ACK), tcp(1000, 1000, ACK | PSH), tcp(2000, 1000, ACK)], 2),
        (vec![tcp(0, 1000, ACK), tcp(1000, 1001, ACK)], 2),
        (vec![tcp(0, 1000, ACK), tcp(2000, 1000, ACK)], 2),
        (vec![tcp(0, 1000, ACK), tcp(1000, 1000, ACK | FIN), tcp(2000, 0, ACK)], 3),
    ] {
        let (got, counted) = through(&mut coalescer, &sent);
        assert_eq!((without_identification(got), counted), (sent, pieces));
    }
}

#[test]
fn each_packet_that_can_t_be_written_is_told_of_once_whenever_it_was_added() {
    let mut coalescer = Coalescer::default();
    let tun = Tun::with_offloads(-1);
    let packets = [flow(4, next_header::TCP, 5, 1000), flow(6, 17, 3, 100), vec![vec![0; 40]]].concat();
    let (mut memory, mut ranges, mut told) = (Vec::new(), Vec::new(), Vec::new());
    for packet in &packets {
        ranges.push(memory.len()..memory.len() + packet.len());
        memory.extend_from_slice(packet);
    }
    for (from, end) in [(0, 2), (2, 6), (6, 9)] {
        told.extend(coalescer.add(&tun, &memory, &ranges[..end], from));
    }
    assert_eq!(told.iter().map(|(number, _)| *number).collect::<Vec<_>>(), [8]);
    told.extend(coalescer.flush(&tun, &memory));
    let mut numbers: Vec<usize> = told.iter().map(|(number, _)| *number).collect();
    numbers.sort_unstable();
    assert_eq!(numbers, (0..9).collect::<Vec<_>>());
    assert!(told.iter().all(|(_, error)| error.raw_os_error() == Some(libc::EBADF)));
}

#[test]
fn what_can_t_grow_is_not_kept_and_neither_are_very_many_flows() {
    let tcp = |flow, number, flags| packet(4, next_header::TCP, flow, number, 100, flags);
    let pushed = vec![tcp(1, 0, ACK), tcp(2, 0, ACK | PSH), tcp(3, 0, ACK)];
    let many: Vec<_> = (0..=SPARE_MAX).map(|flow| tcp(flow as u8, 0, ACK)).collect();
    let three_times_as_many: Vec<_> = (0..200).map(|flow| tcp(flow, 0, ACK)).collect();
    let full: Vec<_> = (0..SEGMENTS_MAX).map(|number| tcp(1, number * 100, ACK)).collect();
    let kept = [
        (pushed, 2),
        (many[1..].to_vec(), SPARE_MAX),
        (many, 0),
        (three_times_as_many, 200 - 3 * (SPARE_MAX + 1)),
        (full, 0),
    ];
    for (sent, kept) in kept {
        let (near, _far) = UnixDatagram::pair().expect("a pair of sockets");
        near.set_nonblocking(true).expect("a socket");
        let (memory, mut ranges) = (sent.concat(), Vec::new());
        sent.iter().for_each(|each| ranges.push(ranges.len() * each.len()..(ranges.len() + 1) * each.len()));
        let mut coalescer = Coalescer::default();
        coalescer.add(&Tun::with_offloads(near.as_raw_fd()), &memory, &ranges, 0);
        assert_eq!(coalescer.growing.len(), kept);
    }
}

#[test]
fn flows_are_kept_apart() {
    let mut sent = Vec::new();
    for number in 0..20 {
        sent.extend([1, 2, 3].map(|flow| packet(6, next_header::TCP, flow, number * 500, 500, ACK)));
    }
    let (mut got, pieces) = through(&mut Coalescer::default(), &sent);
    assert_eq!(pieces, 3);
    got.sort();
    sent.sort();
    assert_eq!(got, sent);
}

//! Super-packets cut into the packets that they stand for, as a network card would (TSO, USO).

use super::checksum;
use super::tun::{GSO_ECN, GSO_NONE, GSO_TCP4, GSO_TCP6, GSO_UDP, NEEDS_CHECKSUM, VirtioHeader};
use crate::transform::batch_out::Run;
use crate::wire::ip::{self, Datagram, next_header};

const TCP_OCTETS: usize = 20;
const UDP_OCTETS: usize = 8;
const FIN: u8 = 0x01;
const PSH: u8 = 0x08;
const CWR: u8 = 0x80;

/// What the packets of one read have in common.
pub struct Segments<'p> {
    packet: &'p [u8],
    datagram: Datagram,
    /// Of IP and the upper header, which every segment has.
    headers: usize,
    segment: usize,
    count: usize,
    /// The sum of the upper header and of the pseudo header, but for what differs from segment to segment.
    header_sum: u64,
}

/// Finish the checksum of a packet that isn't a super-packet. False where its header points outside of it.
pub fn finish_checksum(header: &VirtioHeader, packet: &mut [u8]) -> bool {
    if header.flags & NEEDS_CHECKSUM == 0 {
        return true;
    }
    let start = usize::from(header.checksum_start);
    let at = start + usize::from(header.checksum_offset);
    if at + 2 > packet.len() {
        return false;
    }
    // The field holds the pseudo header's sum already.
    let sum = !checksum::sum(&packet[start..]);
    let is_udp = header.checksum_offset == 6;
    let sum = if sum == 0 && is_udp { 0xFFFF } else { sum };
    packet[at..at + 2].copy_from_slice(&sum.to_be_bytes());
    true
}

impl<'p> Segments<'p> {
    /// None where the header and the packet contradict each other, or the packet isn't one to be cut.
    pub fn new(header: &VirtioHeader, packet: &'p [u8]) -> Option<Segments<'p>> {
        let kind = header.gso_kind & !GSO_ECN;
        if kind == GSO_NONE || header.segment_octets == 0 {
            return None;
        }
        let datagram = ip::parse(packet).filter(|datagram| datagram.fragment.is_none())?;
        let wanted = if kind == GSO_UDP { next_header::UDP } else { next_header::TCP };
        let version = match kind {
            GSO_TCP4 => 4,
            GSO_TCP6 => 6,
            _ => datagram.version,
        };
        if datagram.protocol != wanted || datagram.version != version || datagram.length != packet.len() {
            return None;
        }
        let headers = datagram.offset + upper_octets(packet, &datagram)?;
        let payload = packet.len().checked_sub(headers)?;
        let segment = usize::from(header.segment_octets);
        let count = payload.div_ceil(segment).max(1);
        let upper = &packet[datagram.offset..headers];
        let header_sum = common_sum(upper, datagram.protocol) + pseudo_sum(header, &datagram, upper);
        Some(Segments { packet, datagram, headers, segment, count, header_sum })
    }

    fn part(&self, segment: usize) -> &'p [u8] {
        let start = self.headers + segment * self.segment;
        &self.packet[start..self.packet.len().min(start + self.segment)]
    }

    /// `payload_sum`: of what stands behind the headers. The header is not read again where it was just written, which
    /// would take longer than all else here.
    fn write_upper(&self, segment: usize, payload_sum: u16, to: &mut [u8]) {
        let (offset, length) = (self.datagram.offset, to.len());
        let is_tcp = self.datagram.protocol == next_header::TCP;
        let (own_sum, checksum_at) = if is_tcp {
            let sequence = ip::long(self.packet, offset + 4).wrapping_add((segment * self.segment) as u32);
            to[offset + 4..offset + 8].copy_from_slice(&sequence.to_be_bytes());
            let mut gone = if segment > 0 { CWR } else { 0 };
            gone |= if segment + 1 < self.count { FIN | PSH } else { 0 };
            let flags = self.packet[offset + 13] & !gone;
            to[offset + 13] = flags;
            (u64::from(sequence) + u64::from(flags), offset + 16)
        } else {
            to[offset + 4..offset + 6].copy_from_slice(&((length - offset) as u16).to_be_bytes());
            ((length - offset) as u64, offset + 6)
        };
        let upper_octets = (length - offset) as u64;
        let sum = !ip::fold(self.header_sum + upper_octets + own_sum + u64::from(payload_sum));
        let sum = if sum == 0 && !is_tcp { 0xFFFF } else { sum };
        to[checksum_at..checksum_at + 2].copy_from_slice(&sum.to_be_bytes());
    }
}

/// Of addresses and protocol. Behind a routing header (RFC 8200 section 8.1) or a home address (RFC 6275 section 11.3.1)
/// the addresses are not the IP header's: as the kernel does it, what the sender has put into the field counts.
fn pseudo_sum(header: &VirtioHeader, datagram: &Datagram, upper: &[u8]) -> u64 {
    let key = &datagram.key;
    if header.flags & NEEDS_CHECKSUM == 0 {
        return ip::pseudo_header_sum(key.source, key.destination, key.protocol, 0);
    }
    let field = ip::word(upper, if datagram.protocol == next_header::TCP { 16 } else { 6 });
    u64::from(field) + without((datagram.length - datagram.offset) as u32)
}

/// Takes so much away from a sum.
fn without(octets: u32) -> u64 {
    u64::from(!ip::fold(octets.into()))
}

/// Of a TCP header without sequence number, flags and checksum; of UDP without length and checksum.
fn common_sum(header: &[u8], protocol: u8) -> u64 {
    let all = u64::from(ip::ones_complement_sum(header));
    if protocol == next_header::TCP {
        all + without(ip::long(header, 4)) + without(header[13].into()) + without(ip::word(header, 16).into())
    } else {
        all + without(ip::word(header, 4).into()) + without(ip::word(header, 6).into())
    }
}

/// Octets of the TCP or UDP header.
fn upper_octets(packet: &[u8], datagram: &Datagram) -> Option<usize> {
    let there = datagram.length - datagram.offset;
    let octets = match datagram.protocol {
        next_header::UDP => UDP_OCTETS,
        _ if there < TCP_OCTETS => return None,
        _ => usize::from(packet[datagram.offset + 12] >> 4) * 4,
    };
    let least = if datagram.protocol == next_header::UDP { UDP_OCTETS } else { TCP_OCTETS };
    (octets >= least && octets <= there).then_some(octets)
}

impl Run for Segments<'_> {
    fn count(&self) -> usize {
        self.count
    }

    fn octets(&self, segment: usize) -> usize {
        self.headers + self.part(segment).len()
    }

    fn write(&self, segment: usize, to: &mut [u8]) {
        to[..self.headers].copy_from_slice(&self.packet[..self.headers]);
        let payload_sum = checksum::copy_and_sum(self.part(segment), &mut to[self.headers..]);
        let offset = self.datagram.offset;
        let payload_octets = to.len() - offset;
        if self.datagram.version == 4 {
            let identification = ip::word(to, 4).wrapping_add(segment as u16);
            to[4..6].copy_from_slice(&identification.to_be_bytes());
        }
        // Of IPv6, the header that names the upper protocol may be an extension header: the field says it already.
        let named_at = self.datagram.protocol_at;
        let header = &mut to[..offset];
        ip::set_length(header, named_at, self.datagram.protocol, payload_octets);
        self.write_upper(segment, payload_sum, to);
    }

    fn first(&self) -> Option<&[u8]> {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::address::Address;
    use crate::wire::ip::{fold, ones_complement_sum, pseudo_header_sum};

    /// IP header, upper header of so many octets, payload.
    fn super_packet(version: u8, protocol: u8, upper: usize, payload: usize) -> Vec<u8> {
        let offset = ip::header_octets(version);
        let mut packet: Vec<u8> = (0..offset + upper + payload).map(|at| (at * 151 + at / 256 * 7 + 3) as u8).collect();
        packet[0] = version << 4 | 5;
        if version == 4 {
            packet[6..8].copy_from_slice(&[0x40, 0]);
        }
        packet[offset + 12] = if protocol == next_header::TCP { (upper as u8 / 4) << 4 } else { 0 };
        let named_at = if version == 4 { 9 } else { 6 };
        ip::set_length(&mut packet[..offset], named_at, protocol, upper + payload);
        packet
    }

    fn is_right(packet: &[u8]) -> bool {
        let datagram = ip::parse(packet).expect("an IP packet");
        let (key, upper) = (&datagram.key, &packet[datagram.offset..]);
        let pseudo = pseudo_header_sum(key.source, key.destination, key.protocol, upper.len());
        datagram.length == packet.len() && fold(pseudo + u64::from(ones_complement_sum(upper))) == 0xFFFF
    }

    #[test]
    fn every_segment_is_a_packet_with_a_right_checksum() {
        for (kind, version, protocol, upper) in [
            (GSO_TCP4, 4, next_header::TCP, 20),
            (GSO_TCP4 | GSO_ECN, 4, next_header::TCP, 60),
            (GSO_TCP6, 6, next_header::TCP, 32),
            (GSO_UDP, 4, next_header::UDP, 8),
            (GSO_UDP, 6, next_header::UDP, 8),
        ] {
            let packet = super_packet(version, protocol, upper, 5 * 1337 + 11);
            let header = VirtioHeader { gso_kind: kind, segment_octets: 1337, ..VirtioHeader::default() };
            let segments = Segments::new(&header, &packet).expect("it is one");
            let (headers, mut payload) = (ip::header_octets(version) + upper, Vec::new());
            for number in 0..segments.count() {
                let mut segment = vec![0; segments.octets(number)];
                segments.write(number, &mut segment);
                assert!(is_right(&segment), "segment {number} of kind {kind}");
                if protocol == next_header::TCP {
                    let at = ip::header_octets(version) + 4;
                    assert_eq!(ip::long(&segment, at), ip::long(&packet, at).wrapping_add(payload.len() as u32));
                }
                payload.extend_from_slice(&segment[headers..]);
            }
            assert_eq!((segments.count(), &payload[..]), (6, &packet[headers..]));
        }
    }

    /// RFC 6275 section 6.4: a routing header with the address that the packet is for in the end.
    fn routed(packet: &[u8], end: Address) -> Vec<u8> {
        let protocol = packet[6];
        let mut header = packet[..ip::IPV6_HEADER_OCTETS].to_vec();
        header.extend_from_slice(&[protocol, 2, 2, 1, 0, 0, 0, 0]);
        header.extend_from_slice(&end.value.to_be_bytes());
        header[6] = next_header::ROUTING;
        let upper = &packet[ip::IPV6_HEADER_OCTETS..];
        ip::set_length(&mut header, ip::IPV6_HEADER_OCTETS, protocol, upper.len());
        [&header[..], upper].concat()
    }

    #[test]
    fn what_goes_by_way_of_another_has_the_checksum_of_its_end() {
        let end = Address::from_octets(&[0xFD; 16]);
        for (kind, protocol, upper, field) in [(GSO_TCP6, next_header::TCP, 20, 16), (GSO_UDP, next_header::UDP, 8, 6)]
        {
            let plain = super_packet(6, protocol, upper, 3333);
            let source = ip::parse(&plain).expect("an IP packet").key.source;
            let mut packet = routed(&plain, end);
            let offset = ip::IPV6_HEADER_OCTETS + 24;
            let sum = fold(pseudo_header_sum(source, end, protocol, upper + 3333));
            packet[offset + field..offset + field + 2].copy_from_slice(&sum.to_be_bytes());
            let (flags, gso_kind) = (NEEDS_CHECKSUM, kind);
            let header = VirtioHeader { flags, gso_kind, segment_octets: 1000, ..VirtioHeader::default() };
            let segments = Segments::new(&header, &packet).expect("it is one");
            for number in 0..segments.count() {
                let mut segment = vec![0; segments.octets(number)];
                segments.write(number, &mut segment);
                let upper = &segment[offset..];
                let pseudo = pseudo_header_sum(source, end, protocol, upper.len());
                assert_eq!(fold(pseudo + u64::from(ones_complement_sum(upper))), 0xFFFF, "segment {number}");
            }
            assert_eq!(segments.count(), 4);
        }
    }

    #[test]
    fn flags_that_speak_of_an_end_stand_in_the_last_segment_and_cwr_in_the_first() {
        let mut packet = super_packet(4, next_header::TCP, 20, 3000);
        packet[33] = FIN | PSH | CWR | 0x10;
        let header = VirtioHeader { gso_kind: GSO_TCP4, segment_octets: 1000, ..VirtioHeader::default() };
        let segments = Segments::new(&header, &packet).expect("it is one");
        let flags = |number| {
            let mut segment = vec![0; segments.octets(number)];
            segments.write(number, &mut segment);
            assert!(is_right(&segment));
            segment[33]
        };
        assert_eq!([flags(0), flags(1), flags(2)], [CWR | 0x10, 0x10, FIN | PSH | 0x10]);
    }
}

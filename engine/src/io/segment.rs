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
        Some(Segments { packet, datagram, headers, segment, count: payload.div_ceil(segment).max(1) })
    }

    fn part(&self, segment: usize) -> &'p [u8] {
        let start = self.headers + segment * self.segment;
        &self.packet[start..self.packet.len().min(start + self.segment)]
    }

    /// `payload_sum`: of what stands behind the headers.
    fn write_upper(&self, segment: usize, payload_sum: u16, to: &mut [u8]) {
        let (offset, length) = (self.datagram.offset, to.len());
        let is_tcp = self.datagram.protocol == next_header::TCP;
        if is_tcp {
            let sequence = ip::long(to, offset + 4).wrapping_add((segment * self.segment) as u32);
            to[offset + 4..offset + 8].copy_from_slice(&sequence.to_be_bytes());
            let mut gone = if segment > 0 { CWR } else { 0 };
            gone |= if segment + 1 < self.count { FIN | PSH } else { 0 };
            to[offset + 13] &= !gone;
        } else {
            to[offset + 4..offset + 6].copy_from_slice(&((length - offset) as u16).to_be_bytes());
        }
        let at = offset + if is_tcp { 16 } else { 6 };
        to[at..at + 2].fill(0);
        let key = &self.datagram.key;
        let pseudo = ip::pseudo_header_sum(key.source, key.destination, key.protocol, length - offset);
        // Both upper headers have an even number of octets.
        let header_sum = ip::ones_complement_sum(&to[offset..self.headers]);
        let sum = !ip::fold(pseudo + u64::from(header_sum) + u64::from(payload_sum));
        let sum = if sum == 0 && !is_tcp { 0xFFFF } else { sum };
        to[at..at + 2].copy_from_slice(&sum.to_be_bytes());
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

//! Packets put together into super-packets on their way to the host, as a network card would (GRO).
//!
//! Only what a receiver can't tell from what was sent: consecutive segments of one TCP connection with equal headers, and
//! equally long datagrams of one UDP flow. A packet's own checksum is verified before it is merged, because the merged one
//! says that it is right; a packet whose checksum is wrong goes alone, as it came.
//!
//! Payloads are put one behind the other while their checksums are verified: the kernel takes one long piece in a third of
//! the time of many short ones.

use std::io;
use std::ops::Range;

use super::checksum;
use super::tun::{DATA_VALID, GSO_TCP4, GSO_TCP6, GSO_UDP, NEEDS_CHECKSUM, Tun, VirtioHeader};
use crate::wire::ip::{self, Datagram, FlowKey, next_header};

const TCP_OCTETS: usize = 20;
const UDP_OCTETS: usize = 8;
const ACK: u8 = 0x10;
const PSH: u8 = 0x08;
const SEGMENTS_MAX: usize = 70;
/// Runs whose memory is kept for later ones.
const SPARE_MAX: usize = 64;

/// A run that may still grow.
struct Growing {
    key: FlowKey,
    /// The first packet, in the memory that it lies in.
    first: Range<usize>,
    /// Of its headers.
    headers: usize,
    offset: usize,
    segment: usize,
    /// Of all payloads.
    payload: usize,
    next_sequence: u32,
    identification: u16,
    /// All of them, once there is more than one packet. What stands behind them is of no meaning.
    payloads: Vec<u8>,
    closed: bool,
    flags: u8,
    /// Which of the caller's packets it is made of.
    members: Vec<usize>,
}

/// What is put together. Used for one batch after another.
#[derive(Default)]
pub struct Coalescer {
    growing: Vec<Growing>,
    spare: Vec<Growing>,
}

/// What one packet has to say about being merged.
struct Candidate {
    datagram: Datagram,
    headers: usize,
    payload: usize,
    sequence: u32,
    flags: u8,
}

/// The packets that could not be written, by number, and why.
pub type Failures = Vec<(usize, io::Error)>;

impl Coalescer {
    /// Put together the packets that lie at these places, from that number on, and write what can't grow any more, in the
    /// order of their flows. Until `flush` what was put together before must stay where it is in `memory`.
    pub fn add(&mut self, tun: &Tun, memory: &[u8], packets: &[Range<usize>], from: usize) -> Failures {
        let mut failures = Vec::new();
        for (number, range) in packets.iter().enumerate().skip(from) {
            let packet = &memory[range.clone()];
            let candidate = if tun.offloads { candidate(packet, tun.udp) } else { None };
            let is_merged = candidate.is_some_and(|candidate| {
                self.merges(memory, packet, &candidate, number)
                    || self.begins(tun, memory, range, &candidate, number, &mut failures)
            });
            if !is_merged {
                self.write_flow(tun, memory, packet, &mut failures);
                alone(tun, packet, number, &mut failures);
            }
        }
        self.write_complete(tun, memory, &mut failures);
        failures
    }

    /// What can't grow any more; or all, where there are so many flows that to look for one costs more than it brings.
    fn write_complete(&mut self, tun: &Tun, memory: &[u8], failures: &mut Failures) {
        let are_many = self.growing.len() > SPARE_MAX;
        let is_complete = |run: &mut Growing| are_many || run.closed || run.members.len() >= SEGMENTS_MAX;
        let complete: Vec<Growing> = self.growing.extract_if(.., is_complete).collect();
        complete.into_iter().for_each(|run| self.write_run(tun, memory, run, failures));
    }

    /// Write what is left.
    pub fn flush(&mut self, tun: &Tun, memory: &[u8]) -> Failures {
        let (mut failures, mut growing) = (Vec::new(), std::mem::take(&mut self.growing));
        for run in growing.drain(..) {
            self.write_run(tun, memory, run, &mut failures);
        }
        self.growing = growing;
        failures
    }

    /// What was begun of this packet's flow goes before it.
    fn write_flow(&mut self, tun: &Tun, memory: &[u8], packet: &[u8], failures: &mut Failures) {
        let Some(datagram) = ip::parse(packet) else { return };
        while let Some(place) = self.place_of(&datagram.key) {
            let run = self.growing.remove(place);
            self.write_run(tun, memory, run, failures);
        }
    }

    fn place_of(&self, key: &FlowKey) -> Option<usize> {
        self.growing.iter().position(|run| run.key == *key)
    }

    /// Whether the packet was added to what was begun of its flow: it follows it, and its checksum is right.
    fn merges(&mut self, memory: &[u8], packet: &[u8], candidate: &Candidate, number: usize) -> bool {
        let place = self.place_of(&candidate.datagram.key);
        let Some(run) = place.map(|place| &mut self.growing[place]) else { return false };
        may_grow(run, memory, packet, candidate) && grow(run, memory, packet, candidate, number)
    }

    /// Whether the packet is the first of a run. What was begun of its flow goes before it.
    fn begins(
        &mut self,
        tun: &Tun,
        memory: &[u8],
        range: &Range<usize>,
        candidate: &Candidate,
        number: usize,
        failures: &mut Failures,
    ) -> bool {
        let packet = &memory[range.clone()];
        if !candidate.is_right(packet, checksum::sum(&packet[candidate.headers..])) {
            return false;
        }
        if let Some(place) = self.place_of(&candidate.datagram.key) {
            let run = self.growing.remove(place);
            self.write_run(tun, memory, run, failures);
        }
        let (payloads, mut members) = self.spare.pop().map_or_else(Default::default, |run| (run.payloads, run.members));
        members.clear();
        members.push(number);
        self.growing.push(Growing {
            key: candidate.datagram.key,
            first: range.clone(),
            headers: candidate.headers,
            offset: candidate.datagram.offset,
            segment: candidate.payload,
            payload: candidate.payload,
            next_sequence: candidate.sequence.wrapping_add(candidate.payload as u32),
            identification: ip::word(packet, 4),
            payloads,
            closed: ends_run(candidate),
            flags: candidate.flags,
            members,
        });
        if self.growing.len() > SPARE_MAX {
            self.write_complete(tun, memory, failures);
        }
        true
    }

    fn write_run(&mut self, tun: &Tun, memory: &[u8], run: Growing, failures: &mut Failures) {
        let result = if run.members.len() == 1 { single(tun, memory, &run) } else { merged(tun, memory, &run) };
        if let Err(error) = result {
            let code = error.raw_os_error().unwrap_or(libc::EIO);
            failures.extend(run.members.iter().map(|number| (*number, io::Error::from_raw_os_error(code))));
        }
        if self.spare.len() < SPARE_MAX {
            self.spare.push(run);
        }
    }
}

fn alone(tun: &Tun, packet: &[u8], number: usize, failures: &mut Failures) {
    if let Err(error) = tun.write(&VirtioHeader::default(), &[packet]) {
        failures.push((number, error));
    }
}

/// Its checksum was verified when the run began.
fn single(tun: &Tun, memory: &[u8], run: &Growing) -> io::Result<()> {
    tun.write(&VirtioHeader { flags: DATA_VALID, ..VirtioHeader::default() }, &[&memory[run.first.clone()]])
}

fn merged(tun: &Tun, memory: &[u8], run: &Growing) -> io::Result<()> {
    let mut headers = [0; 256];
    let headers = &mut headers[..run.headers];
    headers.copy_from_slice(&memory[run.first.clone()][..run.headers]);
    let is_tcp = run.key.protocol == next_header::TCP;
    let upper_octets = headers.len() - run.offset + run.payload;
    let (version, named_at) = (headers[0] >> 4, if headers[0] >> 4 == 4 { 9 } else { 6 });
    ip::set_length(&mut headers[..run.offset], named_at, run.key.protocol, upper_octets);
    let checksum_offset = if is_tcp { 16 } else { 6 };
    if is_tcp {
        headers[run.offset + 13] = run.flags;
    } else {
        headers[run.offset + 4..run.offset + 6].copy_from_slice(&(upper_octets as u16).to_be_bytes());
    }
    let pseudo = ip::pseudo_header_sum(run.key.source, run.key.destination, run.key.protocol, upper_octets);
    let at = run.offset + checksum_offset;
    headers[at..at + 2].copy_from_slice(&ip::fold(pseudo).to_be_bytes());
    let virtio = VirtioHeader {
        flags: NEEDS_CHECKSUM,
        gso_kind: if !is_tcp {
            GSO_UDP
        } else if version == 4 {
            GSO_TCP4
        } else {
            GSO_TCP6
        },
        header_octets: headers.len() as u16,
        segment_octets: run.segment as u16,
        checksum_start: run.offset as u16,
        checksum_offset: checksum_offset as u16,
    };
    tun.write(&virtio, &[headers, &run.payloads[..run.payload]])
}

/// A packet that could be part of a super-packet, if its checksum is right: see `Candidate::is_right`.
fn candidate(packet: &[u8], udp: bool) -> Option<Candidate> {
    let datagram = ip::parse(packet)?;
    let plain_header = datagram.offset == ip::header_octets(datagram.version) && datagram.fragment.is_none();
    // The merged one gets a checksum of its own: what is damaged would be put right.
    let is_whole = datagram.version == 6 || ip::checksum(&packet[..datagram.offset]) == 0;
    if !plain_header || !is_whole || datagram.length != packet.len() {
        return None;
    }
    let upper = &packet[datagram.offset..];
    let (octets, sequence, flags) = match datagram.protocol {
        next_header::TCP if upper.len() > TCP_OCTETS => {
            (usize::from(upper[12] >> 4) * 4, ip::long(upper, 4), upper[13])
        }
        next_header::UDP if udp && upper.len() > UDP_OCTETS && ip::word(upper, 6) != 0 => (UDP_OCTETS, 0, ACK),
        _ => return None,
    };
    let is_tcp = datagram.protocol == next_header::TCP;
    let least = if is_tcp { TCP_OCTETS } else { UDP_OCTETS };
    let is_plain = flags & !PSH == ACK && octets >= least && octets < upper.len();
    let says_so = is_tcp || usize::from(ip::word(upper, 4)) == upper.len();
    if !is_plain || !says_so {
        return None;
    }
    let headers = datagram.offset + octets;
    Some(Candidate { datagram, headers, payload: packet.len() - headers, sequence, flags })
}

impl Candidate {
    /// Whether the checksum is right, given the sum of the payload.
    fn is_right(&self, packet: &[u8], payload_sum: u16) -> bool {
        let (key, offset) = (&self.datagram.key, self.datagram.offset);
        let pseudo = ip::pseudo_header_sum(key.source, key.destination, key.protocol, packet.len() - offset);
        // Both upper headers have an even number of octets.
        let header_sum = ip::ones_complement_sum(&packet[offset..self.headers]);
        ip::fold(pseudo + u64::from(header_sum) + u64::from(payload_sum)) == 0xFFFF
    }
}

fn ends_run(candidate: &Candidate) -> bool {
    candidate.flags & PSH != 0
}

/// Whether the packet follows what was put together so far, with headers that say the same.
fn may_grow(run: &Growing, memory: &[u8], packet: &[u8], candidate: &Candidate) -> bool {
    let is_full = run.members.len() >= SEGMENTS_MAX || run.headers + run.payload + candidate.payload > ip::LENGTH_MAX;
    if run.closed || is_full || candidate.payload > run.segment {
        return false;
    }
    let (first, this) = (&memory[run.first.clone()][..run.headers], &packet[..candidate.headers]);
    candidate.headers == run.headers
        && (run.key.protocol != next_header::TCP || candidate.sequence == run.next_sequence)
        && same_ip(first, this, run.identification.wrapping_add(run.members.len() as u16))
        && same_upper(&first[run.offset..], &this[run.offset..], run.key.protocol)
}

fn same_ip(first: &[u8], this: &[u8], identification: u16) -> bool {
    if first[0] >> 4 == 6 {
        return first[0..4] == this[0..4] && first[7] == this[7];
    }
    let dont_fragment = first[6] & 0x40 != 0;
    // What is cut again by the kernel gets identifications that count up.
    let numbered = ip::word(this, 4) == identification || (dont_fragment && ip::word(this, 4) == ip::word(first, 4));
    first[1] == this[1] && first[6..9] == this[6..9] && numbered
}

fn same_upper(first: &[u8], this: &[u8], protocol: u8) -> bool {
    // Acknowledgement, data offset, window and options.
    protocol != next_header::TCP
        || (first[8..13] == this[8..13] && first[14..16] == this[14..16] && first[18..] == this[18..])
}

/// False where the packet's checksum is wrong: then nothing was done.
fn grow(run: &mut Growing, memory: &[u8], packet: &[u8], candidate: &Candidate, number: usize) -> bool {
    let (begin, end) = (run.payload, run.payload + candidate.payload);
    if run.payloads.len() < end {
        run.payloads.resize(end.next_power_of_two(), 0);
    }
    if !candidate.is_right(packet, checksum::copy_and_sum(&packet[candidate.headers..], &mut run.payloads[begin..end]))
    {
        return false;
    }
    if run.members.len() == 1 {
        run.payloads[..begin].copy_from_slice(&memory[run.first.clone()][run.headers..]);
    }
    run.members.push(number);
    run.payload = end;
    run.next_sequence = run.next_sequence.wrapping_add(candidate.payload as u32);
    run.flags |= candidate.flags;
    run.closed = candidate.payload < run.segment || ends_run(candidate);
    true
}

#[cfg(test)]
mod tests;

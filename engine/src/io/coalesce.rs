//! Packets put together into super-packets on their way to the host, as a network card would (GRO).
//!
//! Only what a receiver can't tell from what was sent: consecutive segments of one TCP connection with equal headers, and
//! equally long datagrams of one UDP flow. A packet's own checksum is verified before it is merged, because the merged one
//! says that it is right; a packet whose checksum is wrong goes alone, as it came.

use std::io;
use std::ops::Range;

use super::tun::{DATA_VALID, GSO_TCP4, GSO_TCP6, GSO_UDP, NEEDS_CHECKSUM, PIECES_MAX, Tun, VirtioHeader};
use crate::wire::ip::{self, Datagram, FlowKey, next_header};

const TCP_OCTETS: usize = 20;
const UDP_OCTETS: usize = 8;
const ACK: u8 = 0x10;
const PSH: u8 = 0x08;
const SEGMENTS_MAX: usize = PIECES_MAX - 2;

/// A run that may still grow. Ranges are in the memory that its packets lie in.
struct Growing {
    key: FlowKey,
    /// The first packet's headers.
    headers: Range<usize>,
    offset: usize,
    segment: usize,
    /// Of all payloads.
    payload: usize,
    next_sequence: u32,
    identification: u16,
    pieces: Vec<Range<usize>>,
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
    /// Write the packets that lie at these places, merged where they can be, in the order of their flows.
    pub fn write_all(&mut self, tun: &Tun, memory: &[u8], packets: &[Range<usize>]) -> Failures {
        let mut failures = Vec::new();
        for (number, range) in packets.iter().enumerate() {
            let packet = &memory[range.clone()];
            let candidate = if tun.offloads { candidate(packet, tun.udp) } else { None };
            let Some(candidate) = candidate else {
                self.write_flow(tun, memory, packet, &mut failures);
                alone(tun, packet, number, &mut failures);
                continue;
            };
            self.merge_or_begin(tun, memory, range, &candidate, number, &mut failures);
        }
        self.flush(tun, memory, &mut failures);
        failures
    }

    /// What was begun of this packet's flow goes before it.
    fn write_flow(&mut self, tun: &Tun, memory: &[u8], packet: &[u8], failures: &mut Failures) {
        let Some(datagram) = ip::parse(packet) else { return };
        let same = |run: &Growing| run.key == datagram.key;
        while let Some(place) = self.growing.iter().position(same) {
            let run = self.growing.remove(place);
            self.write_run(tun, memory, run, failures);
        }
    }

    fn merge_or_begin(
        &mut self,
        tun: &Tun,
        memory: &[u8],
        range: &Range<usize>,
        candidate: &Candidate,
        number: usize,
        failures: &mut Failures,
    ) {
        let place = self.growing.iter().position(|run| run.key == candidate.datagram.key);
        if let Some(place) = place {
            if may_grow(&self.growing[place], memory, range, candidate) {
                grow(&mut self.growing[place], range, candidate, number);
                return;
            }
            let run = self.growing.remove(place);
            self.write_run(tun, memory, run, failures);
        }
        let run = self.begin(range, candidate, number, memory);
        self.growing.push(run);
    }

    fn begin(&mut self, range: &Range<usize>, candidate: &Candidate, number: usize, memory: &[u8]) -> Growing {
        let (mut pieces, mut members) = self.spare.pop().map_or_else(Default::default, |run| (run.pieces, run.members));
        pieces.clear();
        members.clear();
        members.push(number);
        let body = range.start + candidate.headers;
        pieces.push(body..body + candidate.payload);
        Growing {
            key: candidate.datagram.key,
            headers: range.start..body,
            offset: candidate.datagram.offset,
            segment: candidate.payload,
            payload: candidate.payload,
            next_sequence: candidate.sequence.wrapping_add(candidate.payload as u32),
            identification: ip::word(&memory[range.clone()], 4),
            pieces,
            closed: ends_run(candidate),
            flags: candidate.flags,
            members,
        }
    }

    fn flush(&mut self, tun: &Tun, memory: &[u8], failures: &mut Failures) {
        let mut growing = std::mem::take(&mut self.growing);
        for run in growing.drain(..) {
            self.write_run(tun, memory, run, failures);
        }
        self.growing = growing;
    }

    fn write_run(&mut self, tun: &Tun, memory: &[u8], run: Growing, failures: &mut Failures) {
        let result = if run.pieces.len() == 1 { single(tun, memory, &run) } else { merged(tun, memory, &run) };
        if let Err(error) = result {
            let code = error.raw_os_error().unwrap_or(libc::EIO);
            failures.extend(run.members.iter().map(|number| (*number, io::Error::from_raw_os_error(code))));
        }
        self.spare.push(run);
    }
}

fn alone(tun: &Tun, packet: &[u8], number: usize, failures: &mut Failures) {
    if let Err(error) = tun.write(&VirtioHeader::default(), &[packet]) {
        failures.push((number, error));
    }
}

/// Its checksum was verified when it became a candidate.
fn single(tun: &Tun, memory: &[u8], run: &Growing) -> io::Result<()> {
    let whole = run.headers.start..run.pieces[0].end;
    tun.write(&VirtioHeader { flags: DATA_VALID, ..VirtioHeader::default() }, &[&memory[whole]])
}

fn merged(tun: &Tun, memory: &[u8], run: &Growing) -> io::Result<()> {
    let mut headers = [0; 256];
    let headers = &mut headers[..run.headers.len()];
    headers.copy_from_slice(&memory[run.headers.clone()]);
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
    let mut pieces: [&[u8]; PIECES_MAX] = [&[]; PIECES_MAX];
    pieces[0] = headers;
    for (place, range) in run.pieces.iter().enumerate() {
        pieces[place + 1] = &memory[range.clone()];
    }
    tun.write(&virtio, &pieces[..run.pieces.len() + 1])
}

/// A packet that could be part of a super-packet, if its checksum is right.
fn candidate(packet: &[u8], udp: bool) -> Option<Candidate> {
    let datagram = ip::parse(packet)?;
    let plain_header = datagram.offset == ip::header_octets(datagram.version) && datagram.fragment.is_none();
    if !plain_header || datagram.length != packet.len() {
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
    if !is_plain || !says_so || !is_checksum_right(packet, &datagram) {
        return None;
    }
    let headers = datagram.offset + octets;
    Some(Candidate { datagram, headers, payload: packet.len() - headers, sequence, flags })
}

fn is_checksum_right(packet: &[u8], datagram: &Datagram) -> bool {
    let key = &datagram.key;
    let upper = &packet[datagram.offset..];
    let pseudo = ip::pseudo_header_sum(key.source, key.destination, key.protocol, upper.len());
    ip::fold(pseudo + u64::from(ip::ones_complement_sum(upper))) == 0xFFFF
}

fn ends_run(candidate: &Candidate) -> bool {
    candidate.flags & PSH != 0
}

/// Whether the packet follows what was put together so far, with headers that say the same.
fn may_grow(run: &Growing, memory: &[u8], range: &Range<usize>, candidate: &Candidate) -> bool {
    let is_full =
        run.pieces.len() >= SEGMENTS_MAX || run.headers.len() + run.payload + candidate.payload > ip::LENGTH_MAX;
    if run.closed || is_full || candidate.payload > run.segment {
        return false;
    }
    let (first, this) = (&memory[run.headers.clone()], &memory[range.start..range.start + candidate.headers]);
    candidate.headers == first.len()
        && (run.key.protocol != next_header::TCP || candidate.sequence == run.next_sequence)
        && same_ip(first, this, run.identification.wrapping_add(run.pieces.len() as u16))
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

fn grow(run: &mut Growing, range: &Range<usize>, candidate: &Candidate, number: usize) {
    let body = range.start + candidate.headers;
    run.pieces.push(body..body + candidate.payload);
    run.members.push(number);
    run.payload += candidate.payload;
    run.next_sequence = run.next_sequence.wrapping_add(candidate.payload as u32);
    run.flags |= candidate.flags;
    run.closed = candidate.payload < run.segment || ends_run(candidate);
}

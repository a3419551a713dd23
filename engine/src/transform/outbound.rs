//! The way out (RFC 4301 section 5.1): a clear packet finds its policy and SA, is sealed, and gets an outer header.
//!
//! A packet that is too large once it is sealed is cut before or after, as the SA says and its DF bit allows; what may
//! not be cut is dropped, and its source told which size would fit. In transport mode whole packets are sealed (RFC 4303
//! section 3.3.4), so fragments are put together first and cut again behind.

use std::borrow::Cow;
use std::sync::Arc;

use super::claims::Claims;
use super::ipcomp::Compressor;
use super::seal::{seal_esp, sign_ah};
use super::verdict::{Dropped, Sent, Verdict};
use crate::crypto::{Engine, Random};
use crate::reason::Reason;
use crate::tables::reassembly::{Added, Reassembler, Trail};
use crate::tables::sa::{Action, Direction, Fragmentation, Mode, Policy, Protocol};
use crate::tables::sadb::{Id, Outbound, Record, Sadb, Sizes};
use crate::tables::spd::Spd;
use crate::wire::fragment::{self, FragmentKey};
use crate::wire::ip::{self, Datagram, next_header};
use crate::wire::{icmp, mss, transport, udp};

/// What every path passes (RFC 791 section 3.2, RFC 8200 section 5): no source is told to send smaller packets.
fn smallest_inner(version: u8) -> isize {
    if version == 4 { 68 } else { 1280 }
}

/// A packet that is going to be protected, and by what.
#[derive(Clone)]
struct Job<'p> {
    packet: Cow<'p, [u8]>,
    inner: Datagram,
    policy: Arc<Policy>,
    record: Id,
    bundled: Option<Id>,
    now: f64,
    /// Octets of the largest outer packet.
    mtu: isize,
    /// Of it, those in front of what the SA seals, in tunnel mode.
    around: isize,
}

/// Where a packet's IP header comes from: the SA's outer header for this inner packet, or the packet's own.
pub(super) enum Front<'a> {
    Outer(&'a Datagram),
    Own { header: &'a [u8], protocol_at: usize },
}

/// What is remembered of packets on their way out.
#[derive(Default)]
pub struct Memory {
    trail: Trail<FragmentKey, Option<Arc<Policy>>>,
    reassembler: Reassembler,
    allowance: icmp::Allowance,
}

impl Memory {
    /// The policies have changed.
    pub fn forget_trails(&mut self) {
        self.trail.clear();
    }

    /// Fragments that waited too long.
    pub fn expire(&mut self, now: f64) -> Vec<Vec<u8>> {
        self.reassembler.expire(now)
    }
}

/// What becomes of clear packets.
pub struct Outgoing<'g> {
    /// SAs.
    pub sadb: &'g Sadb,
    /// Policies.
    pub spd: &'g Spd,
    /// Numbers that were taken.
    pub claims: &'g mut Claims,
    /// Algorithms.
    pub engine: &'g mut dyn Engine,
    /// IVs, identifications, noise.
    pub random: &'g mut dyn Random,
    /// Of earlier packets.
    pub memory: &'g mut Memory,
}

pub(super) fn drop_of(
    record: &Outbound,
    id: Id,
    reason: Reason,
    policy: Option<Arc<Policy>>,
    answer: Option<Vec<u8>>,
) -> Verdict {
    record.service.slot.count_drop(reason);
    Verdict::Drop(Dropped { reason, record: Some(Record::Out(id)), policy, answer })
}

impl Outgoing<'_> {
    /// The verdict on one clear packet.
    pub fn protect(&mut self, packet: &[u8], now: f64) -> Verdict {
        let Some(inner) = ip::parse(packet) else {
            return Dropped::of_stranger(Reason::MalformedHeader);
        };
        let found = match inner.fragment {
            None => Ok(self.spd.find(Direction::Out, &inner.key)),
            Some(_) => self.policy_of_fragment(&inner, now),
        };
        match found {
            Err(reason) => Dropped::of_stranger(reason),
            Ok(None) => Verdict::Bypass,
            Ok(Some(policy)) => self.by_policy(packet, inner, policy, now),
        }
    }

    fn by_policy(&mut self, packet: &[u8], inner: Datagram, policy: Arc<Policy>, now: f64) -> Verdict {
        if policy.action == Action::Discard {
            return Dropped::by_policy(Reason::Discard, policy);
        }
        let Some(record) = self.sadb.serving(policy.reqid, policy.protocol) else {
            return Dropped::by_policy(Reason::NoSaOut, policy);
        };
        let serving = self.sadb.outbound_ref(record);
        let (mut mtu, mut around, mut bundled) = (serving.mtu(now), serving.around, None);
        if policy.bundle_ah {
            bundled = self.sadb.serving(policy.reqid, Protocol::Ah);
            let Some(ah) = bundled.map(|id| self.sadb.outbound_ref(id)) else {
                return drop_of(serving, record, Reason::NoBundleSa, Some(policy), None);
            };
            (mtu, around) = (mtu.min(ah.mtu(now)), around + ah.service.sizes.sealed(0));
        }
        let packet = Cow::Borrowed(packet);
        let (mtu, around) = (mtu as isize, around as isize);
        self.protect_job(Job { packet, inner, policy, record, bundled, now, mtu, around })
    }

    /// RFC 4301 section 7.3: a later fragment follows its first one, since it shows no ports itself.
    fn policy_of_fragment(&mut self, inner: &Datagram, now: f64) -> Result<Option<Arc<Policy>>, Reason> {
        let offset = inner.fragment.map_or(0, |fragment| fragment.offset);
        if offset + inner.length - inner.offset > ip::LENGTH_MAX {
            // Cut once more, it would have pieces whose place doesn't fit 13 bits and is another one.
            return Err(Reason::Fragment);
        }
        let key = fragment::key_of(inner);
        if !inner.is_later_fragment() {
            let policy = self.spd.find(Direction::Out, &inner.key);
            self.memory.trail.lay(key, policy.clone(), now);
            return Ok(policy);
        }
        if let Some(followed) = self.memory.trail.follow(&key, now) {
            return Ok(followed);
        }
        if self.spd.needs_ports(Direction::Out, &inner.key) {
            return Err(Reason::FragmentPorts);
        }
        Ok(self.spd.find(Direction::Out, &inner.key))
    }

    fn record(&self, job: &Job<'_>) -> &Outbound {
        self.sadb.outbound_ref(job.record)
    }

    fn drop(&self, job: &Job<'_>, reason: Reason) -> Verdict {
        drop_of(self.record(job), job.record, reason, Some(job.policy.clone()), None)
    }

    fn protect_job(&mut self, job: Job<'_>) -> Verdict {
        let record = self.record(&job);
        let bundled = job.bundled.map(|id| self.sadb.outbound_ref(id));
        let mode = record.service.sa.mode;
        if job.policy.mode != mode || bundled.is_some_and(|ah| !may_wrap(ah, record)) {
            return self.drop(&job, Reason::ProtocolMismatch);
        }
        if record.service.is_dead(job.now) || bundled.is_some_and(|ah| ah.service.is_dead(job.now)) {
            return self.drop(&job, Reason::ExpiredOut);
        }
        if job.inner.hops == 0 {
            // RFC 1122 section 3.2.1.7, RFC 8200 section 3: nobody sends or forwards it.
            return self.drop(&job, Reason::HopLimit);
        }
        if mode == Mode::Tunnel { self.in_tunnel(job) } else { self.in_transport(job) }
    }

    // Tunnel mode

    fn in_tunnel(&mut self, mut job: Job<'_>) -> Verdict {
        let sizes = self.record(&job).service.sizes;
        let room = sizes.largest_payload(job.mtu - job.around);
        self.clamp(&mut job, room);
        let (next, payload) = self.tunnel_payload(&job);
        if job.around + sizes.sealed(payload.len()) as isize > job.mtu {
            return self.oversize(job);
        }
        let inner = job.inner;
        let sealed = self.seal(&job, next, &payload, &Front::Outer(&inner));
        self.sent(&job, sealed.map(|packet| vec![packet]))
    }

    fn clamp(&self, job: &mut Job<'_>, room: isize) {
        let Some(wanted) = self.record(job).service.sa.mss else {
            return;
        };
        let largest = room - mss::sizes(job.inner.version) as isize;
        let wanted = if wanted == 0 { largest } else { largest.min(wanted as isize) };
        mss::clamp(job.packet.to_mut(), &job.inner, wanted.max(1) as usize);
    }

    fn tunnel_payload(&mut self, job: &Job<'_>) -> (u8, Vec<u8>) {
        let next = if job.inner.version == 4 { next_header::IPV4 } else { next_header::IPV6 };
        let clear = &job.packet[..job.inner.length];
        let record = self.sadb.outbound_ref(job.record);
        let (next, mut payload) = compressed(record.compression().as_deref_mut(), next, clear);
        let least = record.service.sa.tfc_octets;
        if least > payload.len() && next != next_header::IPCOMP {
            // RFC 4303 section 2.7: the inner packet says itself how long it is.
            let room = record.service.sizes.largest_payload(job.mtu - job.around).max(payload.len() as isize);
            payload.resize(least.min(room as usize), 0);
        }
        (next, payload)
    }

    fn oversize(&mut self, mut job: Job<'_>) -> Verdict {
        let record = self.record(&job);
        let room = record.service.sizes.largest_payload(job.mtu - job.around);
        let inner = job.inner;
        let may_cut_inner = !inner.dont_fragment && room >= smallest_inner(4);
        if room < smallest_inner(inner.version) {
            // Nobody may be told so little, so the tunnel has to cut (RFC 2473 section 7.1).
            job.inner.dont_fragment = false;
        }
        let may_cut_outer = !record.header.may_not_fragment(&job.inner);
        if may_cut_outer && (record.service.sa.fragmentation == Fragmentation::After || !may_cut_inner) {
            let (next, payload) = self.tunnel_payload(&job);
            let outer = self.seal(&job, next, &payload, &Front::Outer(&job.inner));
            return self.cut_after(&job, outer);
        }
        if may_cut_inner {
            return self.cut_before(&job, &inner, room as usize);
        }
        self.refuse(&job, room.max(smallest_inner(inner.version)))
    }

    fn cut_before(&mut self, job: &Job<'_>, inner: &Datagram, room: usize) -> Verdict {
        let mut sealed = Ok(Vec::new());
        for piece in fragment::split(&job.packet, inner, room, 0) {
            let inner = ip::parse(&piece).expect("made here");
            let each = Job { packet: Cow::Owned(piece), inner, ..job.clone() };
            let (next, payload) = self.tunnel_payload(&each);
            // Every piece takes its numbers, as the specification has it, even behind one that failed.
            let packet = self.seal(&each, next, &payload, &Front::Outer(&inner));
            sealed = match (sealed, packet) {
                (Ok(mut packets), Ok(packet)) => {
                    packets.push(packet);
                    Ok(packets)
                }
                (Ok(_), Err(reason)) => Err(reason),
                (Err(reason), _) => Err(reason),
            };
        }
        self.sent(job, sealed)
    }

    /// The packet may not be cut, and its source is told.
    fn refuse(&mut self, job: &Job<'_>, mtu: isize) -> Verdict {
        let mtu = mtu.max(0) as usize;
        let answer = if mtu < job.inner.length { icmp::too_big(&job.packet, &job.inner, mtu) } else { None };
        let answer = answer.filter(|_| self.memory.allowance.take(job.now));
        drop_of(self.record(job), job.record, Reason::TooBig, Some(job.policy.clone()), answer)
    }

    fn cut_after(&mut self, job: &Job<'_>, outer: Result<Vec<u8>, Reason>) -> Verdict {
        let outer = match outer {
            Ok(outer) => outer,
            Err(reason) => return self.drop(job, reason),
        };
        let mut identification = [0; 4];
        self.random.fill(&mut identification);
        let datagram = ip::parse(&outer).expect("made here");
        let mtu = job.mtu.max(0) as usize;
        let pieces = fragment::split(&outer, &datagram, mtu, u32::from_be_bytes(identification));
        self.sent(job, Ok(pieces))
    }

    // Transport mode

    fn in_transport(&mut self, mut job: Job<'_>) -> Verdict {
        let sa = &self.record(&job).service.sa;
        if job.inner.key.source != sa.source || job.inner.key.destination != sa.destination {
            return self.drop(&job, Reason::NotAnEnd);
        }
        let in_pieces = job.inner.fragment.is_some();
        if in_pieces {
            match self.memory.reassembler.add(&job.packet, &job.inner, job.now) {
                Added::Waiting => return Verdict::Hold,
                Added::Drop(reason) => return self.drop(&job, reason),
                Added::Whole(whole) => {
                    job.inner = ip::parse(&whole).expect("made here");
                    job.packet = Cow::Owned(whole);
                }
            }
            if job.inner.fragment.is_some() {
                // A fragment of a fragment.
                return self.drop(&job, Reason::Fragment);
            }
        }
        self.identify(&mut job);
        self.seal_transport(job, in_pieces)
    }

    /// Linux gives a packet without identification one, and AH has signed that it has none.
    fn identify(&mut self, job: &mut Job<'_>) {
        let inner = job.inner;
        if inner.version == 6 || inner.dont_fragment || ip::word(&job.packet, 4) != 0 {
            return;
        }
        let number = self.draw_identification();
        let packet = job.packet.to_mut();
        packet.truncate(inner.length);
        packet[4..6].copy_from_slice(&number.to_be_bytes());
        let payload_octets = inner.length - inner.offset;
        ip::set_length(&mut packet[..inner.offset], inner.protocol_at, inner.protocol, payload_octets);
    }

    fn draw_identification(&mut self) -> u16 {
        let mut drawn = [0; 2];
        self.random.fill(&mut drawn);
        u16::from_be_bytes(drawn).max(1)
    }

    fn seal_transport(&mut self, mut job: Job<'_>, in_pieces: bool) -> Verdict {
        let place = transport::place(&job.packet, &job.inner);
        let record = self.record(&job);
        let sizes = record.service.sizes;
        let around = job.around - record.header.octets as isize + place.header_octets as isize;
        let room = place.header_octets as isize + sizes.largest_payload(job.mtu - around);
        self.clamp(&mut job, room);
        let (header, clear) = job.packet[..job.inner.length].split_at(place.header_octets);
        let mut compressor = record.compression();
        let (next, payload) = compressed(compressor.as_deref_mut(), place.protocol, clear);
        drop(compressor);
        let too_big = around + sizes.sealed(payload.len()) as isize > job.mtu;
        // A source that may not be told so little is helped by cutting behind, as in tunnel mode.
        let may_tell = job.inner.dont_fragment && !in_pieces && room >= smallest_inner(job.inner.version);
        if too_big && may_tell {
            return self.refuse(&job, room);
        }
        let octets = around - header.len() as isize + sizes.sealed(payload.len()) as isize;
        if octets > ip::payload_max(header) as isize {
            return self.drop(&job, Reason::TooBig);
        }
        let front = Front::Own { header, protocol_at: place.protocol_at };
        let outer = self.seal(&job, next, &payload, &front);
        if too_big { self.cut_after(&job, outer) } else { self.sent(&job, outer.map(|packet| vec![packet])) }
    }

    // Both

    /// One outer packet, with the next sequence numbers of its SAs.
    fn seal(&mut self, job: &Job<'_>, next: u8, payload: &[u8], front: &Front<'_>) -> Result<Vec<u8>, Reason> {
        let record = self.record(job);
        let octets = job.around as usize - record.header.octets + record.service.sizes.sealed(payload.len());
        if octets > record.header.payload_max {
            return Err(Reason::TooBig);
        }
        let bundled = job.bundled.map(|id| self.sadb.outbound_ref(id));
        let reason = record.out_of_numbers().or_else(|| bundled.and_then(Outbound::out_of_numbers));
        if let Some(reason) = reason {
            return Err(reason);
        }
        let protocol = protocol_of(record);
        let named = if bundled.is_some() { next_header::AH } else { protocol };
        let mut packet = self.emit(job.record, front, named, octets);
        self.seal_behind(job.record, next, payload, &mut packet)?;
        if let Some(ah) = job.bundled {
            let body = packet.split_off(front_octets(front, self.record(job)));
            self.seal_behind(ah, protocol, &body, &mut packet)?;
        }
        Ok(packet)
    }

    pub(super) fn emit(&mut self, record: Id, front: &Front<'_>, protocol: u8, octets: usize) -> Vec<u8> {
        match front {
            Front::Own { header, protocol_at } => {
                let mut own = header.to_vec();
                ip::set_length(&mut own, *protocol_at, protocol, octets);
                own
            }
            Front::Outer(inner) => {
                let needed = self.sadb.outbound_ref(record).header.needs_identification(inner);
                let identification = if needed { self.draw_identification() } else { 0 };
                let header = &self.sadb.outbound_ref(record).header;
                let mut outer = vec![0; header.octets];
                header.emit(inner, protocol, octets, identification, &mut outer);
                outer
            }
        }
    }

    /// Protect a payload with the next number of an SA, and put it behind the IP header that is `packet` so far.
    pub(super) fn seal_behind(&mut self, id: Id, next: u8, payload: &[u8], packet: &mut Vec<u8>) -> Result<(), Reason> {
        let record = self.sadb.outbound_ref(id);
        let (service, sa) = (&record.service, &record.service.sa);
        let Some(before) = service.slot.claim(1, record.leased()) else {
            // Another worker took the last one a moment ago.
            return Err(record.out_of_numbers().unwrap_or(Reason::CounterJournal));
        };
        let number = before + 1;
        self.claims.add(id, number, number);
        let Sizes::Ah(header_octets) = service.sizes else {
            let before = if sa.encapsulation.is_some() { udp::HEADER_OCTETS } else { 0 };
            let mut sealed = seal_esp(self.engine, self.random, &service.keyed, sa.spi, number, next, payload, before);
            if let Some(ports) = sa.encapsulation {
                udp::write_header(ports, sa.source, sa.destination, &mut sealed);
            }
            packet.extend_from_slice(&sealed);
            return Ok(());
        };
        let signed = sign_ah(self.engine, &service.keyed, header_octets, sa.spi, number, next, packet, payload);
        packet.extend_from_slice(&signed.ok_or(Reason::MalformedHeader)?);
        Ok(())
    }

    fn sent(&mut self, job: &Job<'_>, packets: Result<Vec<Vec<u8>>, Reason>) -> Verdict {
        let packets = match packets {
            Ok(packets) => packets,
            Err(reason) => return self.drop(job, reason),
        };
        for id in [Some(job.record), job.bundled].into_iter().flatten() {
            self.sadb.outbound_ref(id).service.slot.add_use(1, job.inner.length as u64, job.now);
        }
        let policy = Some(job.policy.clone());
        Verdict::Send(Sent { packets, policy, record: job.record, bundled: job.bundled })
    }
}

fn compressed(compressor: Option<&mut Compressor>, next: u8, clear: &[u8]) -> (u8, Vec<u8>) {
    let mut payload = Vec::new();
    match compressor.and_then(|compressor| compressor.compress(next, clear, &mut payload)) {
        Some(next) => (next, payload),
        None => (next, clear.to_vec()),
    }
}

pub(super) fn protocol_of(record: &Outbound) -> u8 {
    let sa = &record.service.sa;
    if sa.encapsulation.is_some() { next_header::UDP } else { sa.protocol as u8 }
}

fn front_octets(front: &Front<'_>, record: &Outbound) -> usize {
    match front {
        Front::Outer(_) => record.header.octets,
        Front::Own { header, .. } => header.len(),
    }
}

/// AH goes around what has an outer header already, and not around UDP, where no receiver would look for it.
fn may_wrap(ah: &Outbound, sealed: &Outbound) -> bool {
    ah.service.sa.mode == Mode::Transport && sealed.service.sa.encapsulation.is_none()
}

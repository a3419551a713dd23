//! Many clear packets at once, out.
//!
//! What comes from the TUN is mostly *runs*: segments of one flow, which share policy, SA and outer header. So they are
//! looked up once, take their sequence numbers in one step, and are framed one behind the other in one piece of memory,
//! each segment copied once; then all of the batch is sealed in place. What asks for more (fragments, compression,
//! bundles, transport mode, too large, near the end of a life) goes through `Gateway::outbound` packet by packet. Verdicts
//! and their order are those of `Gateway::outbound` for the same packets.

use std::ops::Range;

use super::gateway::Gateway;
use super::seal::frame_esp;
use super::verdict::Verdict;
use crate::crypto::{ESP_HEADER_OCTETS, Job, Layout, Random};
use crate::tables::sa::{Direction, Mode, Protocol};
use crate::tables::sadb::{Id, Outbound, Sizes};
use crate::tables::spd::FlowCache;
use crate::wire::ip::{self, Datagram, next_header};
use crate::wire::udp;

/// Segments of one flow, whose headers say the same but for lengths, identification, sequence and flags of TCP. The
/// first is the longest.
pub trait Run {
    /// At least 1.
    fn count(&self) -> usize;
    /// Octets of the segment, its IP header included.
    fn octets(&self, segment: usize) -> usize;
    /// Write the segment to the whole of `to`, which is `octets(segment)` long.
    fn write(&self, segment: usize, to: &mut [u8]);
    /// The first segment where it lies somewhere whole.
    fn first(&self) -> Option<&[u8]>;
}

/// One packet is a run of one.
impl Run for &[u8] {
    fn count(&self) -> usize {
        1
    }

    fn octets(&self, _segment: usize) -> usize {
        self.len()
    }

    fn write(&self, _segment: usize, to: &mut [u8]) {
        to.copy_from_slice(self);
    }

    fn first(&self) -> Option<&[u8]> {
        Some(self)
    }
}

/// What is written in front of ESP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// All headers, for a raw socket or a link.
    Whole,
    /// Nothing: the kernel's UDP makes the headers.
    Datagram,
}

/// A packet that was sealed, or is about to be.
#[derive(Debug)]
pub struct Framed {
    /// In `OutBatch::octets`: all of it.
    pub range: Range<usize>,
    /// In the same: ESP.
    esp_at: usize,
    number: u64,
    /// Of the clear packet.
    pub inner_octets: usize,
    /// The SA.
    pub record: Id,
    /// As the outer header says.
    pub outer: Outer,
}

/// What the outer header says beyond addresses, for whoever lets the kernel write it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Outer {
    /// DSCP and ECN.
    pub traffic_class: u8,
    /// TTL or hop limit.
    pub hops: u8,
    /// The DF bit of IPv4.
    pub dont_fragment: bool,
}

/// What became of the packets of a batch, in their order.
#[derive(Debug)]
pub enum Out {
    /// Sealed in place.
    Framed(Framed),
    /// Everything else. With a packet's octets where something has to be said of it.
    Other(Verdict, Vec<u8>),
}

/// The memory of a batch; kept from one to the next.
#[derive(Default)]
pub struct OutBatch {
    /// Where framed packets lie.
    pub octets: Vec<u8>,
    /// What became of each.
    pub out: Vec<Out>,
    used: usize,
    /// Octets of the clear packets that went one by one.
    slow: usize,
    /// For each of `out`, how many claims were made when it was done.
    claims: Vec<usize>,
}

impl OutBatch {
    /// Forget the last batch.
    pub fn clear(&mut self) {
        self.out.clear();
        self.claims.clear();
        (self.used, self.slow) = (0, 0);
    }

    fn push(&mut self, out: Out, claims: usize) {
        self.out.push(out);
        self.claims.push(claims);
    }

    /// Behind the last one of `out` that needs no more than so many claims.
    pub fn end_of(&self, claims: usize) -> usize {
        self.claims.partition_point(|needed| *needed <= claims)
    }

    /// Octets so far, framed and others.
    pub fn used(&self) -> usize {
        self.used + self.slow
    }

    /// Room for so many octets more; from where.
    fn reserve(&mut self, octets: usize) -> usize {
        let at = self.used;
        self.used += octets;
        if self.octets.len() < self.used {
            self.octets.resize(self.used.next_power_of_two(), 0);
        }
        at
    }
}

/// What a flow comes to, as long as neither SAs nor policies change.
#[derive(Clone, Copy)]
pub enum Plan {
    /// Nothing special: this SA, in tunnel mode.
    Fast(Id),
    /// Everything else.
    Slow,
}

/// What a worker remembers of flows on their way out.
pub type Plans = FlowCache<Plan>;

impl Gateway {
    /// Frame the segments of a run into the batch. They are sealed by `seal_batch`.
    pub fn protect_run<R: Run>(
        &mut self,
        run: &R,
        plans: &mut Plans,
        framing: impl Fn(Id) -> Framing,
        batch: &mut OutBatch,
        now: f64,
    ) {
        let mut copy = Vec::new();
        let first = run.first().unwrap_or_else(|| {
            copy.resize(run.octets(0), 0);
            run.write(0, &mut copy);
            &copy
        });
        let inner = ip::parse(first).filter(|inner| inner.fragment.is_none() && inner.hops != 0);
        if let Some(inner) = inner
            && let Plan::Fast(id) = self.plan(&inner, plans)
            && self.is_ordinary(id, run, &inner, first, now)
            && self.frame_run(id, run, &inner, framing(id), batch, now)
        {
            return;
        }
        for segment in 0..run.count() {
            let mut packet = vec![0; run.octets(segment)];
            run.write(segment, &mut packet);
            let verdict = self.outbound(&packet, now);
            batch.slow += packet.len();
            batch.push(Out::Other(verdict, packet), self.claims.count());
        }
    }

    fn plan(&self, inner: &Datagram, plans: &mut Plans) -> Plan {
        let generation = self.spd.generation() + self.sadb.generation;
        *plans.get_or_insert_with(&inner.key, generation, || self.make_plan(inner))
    }

    fn make_plan(&self, inner: &Datagram) -> Plan {
        let Some(entry) = self.spd.find_entry(Direction::Out, &inner.key).filter(|entry| entry.is_plain) else {
            return Plan::Slow;
        };
        let Some(id) = self.sadb.serving(entry.reqid, Protocol::Esp) else {
            return Plan::Slow;
        };
        let record = self.sadb.outbound_ref(id);
        record.fetch();
        let sa = &record.service.sa;
        if sa.mode == Mode::Tunnel && record.compressor.is_none() && sa.tfc_octets == 0 {
            Plan::Fast(id)
        } else {
            Plan::Slow
        }
    }

    /// Whether all segments go through without a word: they fit, the numbers last, the SA lives.
    fn is_ordinary<R: Run>(&self, id: Id, run: &R, inner: &Datagram, first: &[u8], now: f64) -> bool {
        let record = self.sadb.outbound_ref(id);
        let service = &record.service;
        let (count, longest) = (run.count() as u64, run.octets(0));
        let sealed = service.sizes.sealed(longest);
        let fits = record.around + sealed <= record.mtu(now)
            && record.around - record.header.octets + sealed <= record.header.payload_max;
        let is_left = service.slot.sequence().checked_add(count).is_some_and(|last| last <= record.leased());
        fits && is_left
            && !service.would_be_dead(now, count, count * longest as u64)
            && inner.length == longest
            && !(service.sa.mss.is_some() && is_syn(first, inner))
    }

    /// False where another worker took the numbers that were left.
    fn frame_run<R: Run>(
        &mut self,
        id: Id,
        run: &R,
        inner: &Datagram,
        framing: Framing,
        batch: &mut OutBatch,
        now: f64,
    ) -> bool {
        let count = run.count() as u64;
        let record = self.sadb.outbound_ref(id);
        let slot = &record.service.slot;
        let Some(before) = slot.claim(count, record.leased()) else { return false };
        self.claims.add(id, before + 1, before + count);
        let frame = Frame::new(id, record, inner, framing);
        let mut octets = 0;
        for (segment, number) in (before + 1..=before + count).enumerate() {
            octets += run.octets(segment) as u64;
            let framed = frame.write(run, segment, number, self.random.as_mut(), batch);
            batch.push(Out::Framed(framed), self.claims.count());
        }
        slot.add_use(count, octets, now);
        true
    }

    /// Seal all that was framed since the batch was cleared, and finish the UDP headers that are ours.
    pub fn seal_batch(&mut self, batch: &mut OutBatch) {
        let mut jobs = Vec::with_capacity(batch.out.len());
        let (mut rest, mut at) = (&mut batch.octets[..], 0);
        for out in &batch.out {
            let Out::Framed(framed) = out else { continue };
            let (_, behind) = rest.split_at_mut(framed.esp_at - at);
            let (esp, behind) = behind.split_at_mut(framed.range.end - framed.esp_at);
            (rest, at) = (behind, framed.range.end);
            let key = &self.sadb.outbound_ref(framed.record).service.keyed;
            jobs.push(Job { key, esp, number: framed.number, right: false });
        }
        self.engine.seal(&mut jobs, self.random.as_mut());
        self.write_udp_headers(batch);
    }

    fn write_udp_headers(&self, batch: &mut OutBatch) {
        for out in &batch.out {
            let Out::Framed(framed) = out else { continue };
            let sa = &self.sadb.outbound_ref(framed.record).service.sa;
            if let Some(ports) = sa.encapsulation
                && framed.esp_at != framed.range.start
            {
                let datagram = &mut batch.octets[framed.esp_at - udp::HEADER_OCTETS..framed.range.end];
                udp::write_header(ports, sa.source, sa.destination, datagram);
            }
        }
    }
}

/// What the packets of a run are framed with, which is the same for all of them.
struct Frame<'r> {
    id: Id,
    record: &'r Outbound,
    inner: &'r Datagram,
    layout: Layout,
    /// Octets in front of ESP.
    before: usize,
    /// Of the inner packet, and behind the outer header.
    next: u8,
    protocol: u8,
    needs_identification: bool,
    outer: Outer,
}

impl<'r> Frame<'r> {
    fn new(id: Id, record: &'r Outbound, inner: &'r Datagram, framing: Framing) -> Frame<'r> {
        let Sizes::Esp(layout) = record.service.sizes else {
            unreachable!("only ESP is planned as fast");
        };
        let before = match framing {
            Framing::Whole => record.around,
            Framing::Datagram => 0,
        };
        let is_in_udp = record.service.sa.encapsulation.is_some();
        let mut header = [0; ip::IPV6_HEADER_OCTETS];
        record.header.emit(inner, 0, 0, 0, &mut header[..record.header.octets]);
        let (traffic_class, hops) = class_and_hops(&header);
        Frame {
            id,
            record,
            inner,
            layout,
            before,
            next: if inner.version == 4 { next_header::IPV4 } else { next_header::IPV6 },
            protocol: if is_in_udp { next_header::UDP } else { next_header::ESP },
            needs_identification: before != 0 && record.header.needs_identification(inner),
            outer: Outer { traffic_class, hops, dont_fragment: record.header.may_not_fragment(inner) },
        }
    }

    fn write<R: Run>(
        &self,
        run: &R,
        segment: usize,
        number: u64,
        random: &mut dyn Random,
        batch: &mut OutBatch,
    ) -> Framed {
        let payload_octets = run.octets(segment);
        let sealed = self.layout.sealed(payload_octets);
        let at = batch.reserve(self.before + sealed);
        let packet = &mut batch.octets[at..at + self.before + sealed];
        if self.before != 0 {
            self.write_header(sealed, random, packet);
        }
        let esp = &mut packet[self.before..];
        let payload_at = ESP_HEADER_OCTETS + self.layout.iv;
        run.write(segment, &mut esp[payload_at..payload_at + payload_octets]);
        frame_esp(esp, &self.layout, self.record.service.sa.spi, number, payload_octets, self.next);
        Framed {
            range: at..at + self.before + sealed,
            esp_at: at + self.before,
            number,
            inner_octets: payload_octets,
            record: self.id,
            outer: self.outer,
        }
    }

    fn write_header(&self, sealed: usize, random: &mut dyn Random, to: &mut [u8]) {
        let header = &self.record.header;
        let mut identification = 0;
        if self.needs_identification {
            let mut drawn = [0; 2];
            random.fill(&mut drawn);
            identification = u16::from_be_bytes(drawn).max(1);
        }
        let octets = self.record.around - header.octets + sealed;
        header.emit(self.inner, self.protocol, octets, identification, &mut to[..header.octets]);
    }
}

fn class_and_hops(header: &[u8]) -> (u8, u8) {
    if header[0] >> 4 == 4 { (header[1], header[8]) } else { ((ip::long(header, 0) >> 20) as u8, header[7]) }
}

fn is_syn(packet: &[u8], inner: &Datagram) -> bool {
    inner.protocol == next_header::TCP && packet.get(inner.offset + 13).is_some_and(|flags| flags & 2 != 0)
}

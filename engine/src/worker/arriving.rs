//! In: what arrived for a security protocol is opened and given to the kernel, which forwards or takes it.

use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use super::leaving::{reason_of, sentence};
use super::{Worker, now};
use crate::account::mode_row;
use crate::io::coalesce::Failures;
use crate::io::raw::{self, Received};
use crate::io::tun::VirtioHeader;
use crate::io::udp;
use crate::io::xsk::{Umem, Xsk};
use crate::reason::Reason;
use crate::tables::sadb::{Id, Record};
use crate::transform::batch_in::{Arrived, In};
use crate::transform::gateway::Heard;
use crate::transform::verdict::{Delivered, Dropped, Verdict};
use crate::wire::ip;

/// Calls for more before others get their turn. Where a call brought less than it could there is no more, and the poller
/// tells of what comes after: so a lone packet costs one call.
const ROUNDS_MAX: usize = 4;
/// The same, of frames, and of looks for them.
const FRAMES_MAX: usize = 256;
const LOOKS_MAX: usize = 32;

/// What was opened and is on its way to the TUN, in the memory that it came in.
#[derive(Default)]
pub(super) struct Delivery {
    ranges: Vec<Range<usize>>,
    records: Vec<Id>,
    /// So many of them the coalescer has.
    begun: usize,
}

impl Delivery {
    fn clear(&mut self) {
        self.ranges.clear();
        self.records.clear();
        self.begun = 0;
    }
}

impl Worker {
    /// A burst from a raw socket.
    pub(super) fn arrive_raw(&mut self, at: usize) {
        for _ in 0..ROUNDS_MAX {
            let mut received = std::mem::take(&mut self.received);
            received.clear();
            let got = self.doors.receivers[at].receive(&mut received);
            let arrived: Vec<Arrived> =
                received.packets.iter().map(|range| Arrived { range: range.clone(), headers: None }).collect();
            self.open(&mut received.octets, &arrived);
            self.received = received;
            if !matches!(got, Ok(raw::BATCH..)) {
                return;
            }
        }
    }

    /// A burst from a UDP port.
    pub(super) fn arrive_in_udp(&mut self, at: usize) {
        for _ in 0..ROUNDS_MAX {
            let mut arrived = Vec::new();
            let Ok(got @ 1..) = self.doors.ports[at].receive(&mut arrived) else { return };
            let mut octets = self.doors.ports[at].lend_octets();
            self.open(&mut octets, &arrived);
            self.doors.ports[at].take_back(octets);
            if got < udp::BATCH {
                return;
            }
        }
    }

    /// A burst from one of a link's queues.
    pub(super) fn arrive_past_the_stack(&mut self, at: usize) {
        let queue = self.doors.queues[at].clone();
        let mut xsk = queue.lock();
        let Some(mut frames) = xsk.lend() else { return };
        // The frames are the kernel's too: they come back whatever is met in them.
        let met = catch_unwind(AssertUnwindSafe(|| self.open_frames(&mut xsk, &mut frames)));
        xsk.take_back(frames);
        xsk.give_back();
        if let Err(mistake) = met {
            resume_unwind(mistake);
        }
    }

    /// What comes while others are opened goes to the TUN together with them: one piece is less work for all behind it.
    fn open_frames(&mut self, xsk: &mut Xsk, frames: &mut Umem) {
        let mut count = 0;
        for _ in 0..LOOKS_MAX {
            let mut arrived = Vec::new();
            let got = xsk.receive(frames, &mut arrived);
            if got == 0 {
                break;
            }
            self.open_more(frames.octets(), &arrived);
            count += got;
            if count >= FRAMES_MAX {
                break;
            }
        }
        self.deliver(frames.octets());
    }

    fn open(&mut self, octets: &mut [u8], arrived: &[Arrived]) {
        self.open_more(octets, arrived);
        self.deliver(octets);
    }

    /// The same, but what may go together with later ones is kept for `deliver`. `octets`: the same until then.
    fn open_more(&mut self, octets: &mut [u8], arrived: &[Arrived]) {
        let now = now();
        for verdict in self.gateway.open_batch(octets, arrived, &mut self.admissions, now) {
            match verdict {
                In::Deliver { range, record, .. } => {
                    self.delivery.ranges.push(range);
                    self.delivery.records.push(record);
                }
                In::Other(other) => {
                    self.deliver(octets);
                    self.finish_arrived(other.0, &other.1, now);
                }
            }
        }
        self.put_together(octets);
    }

    fn count_delivered(&mut self, id: Id, packets: usize, octets: usize) {
        self.moved.insert(id);
        let service = &self.gateway.sadb.inbound_ref(id).service;
        service.slot.set_worker(self.number);
        let row = mode_row(&service.sa);
        self.counters.add_mode(row, false, packets as u64, octets as u64);
    }

    /// All that was opened and isn't written yet.
    fn deliver(&mut self, octets: &[u8]) {
        self.put_together(octets);
        let failures = self.coalescer.flush(&self.doors.tun, octets);
        self.count_failures(octets, failures);
        self.delivery.clear();
    }

    fn put_together(&mut self, octets: &[u8]) {
        let mut delivery = std::mem::take(&mut self.delivery);
        let mut lengths = delivery.ranges[delivery.begun..].iter().map(Range::len);
        for of_one in delivery.records[delivery.begun..].chunk_by(|id, next| id == next) {
            let carried = lengths.by_ref().take(of_one.len()).sum();
            self.count_delivered(of_one[0], of_one.len(), carried);
        }
        let failures = self.coalescer.add(&self.doors.tun, octets, &delivery.ranges, delivery.begun);
        delivery.begun = delivery.ranges.len();
        self.delivery = delivery;
        self.count_failures(octets, failures);
    }

    fn count_failures(&self, octets: &[u8], failures: Failures) {
        let Delivery { ranges, records, .. } = &self.delivery;
        for (number, error) in failures {
            self.count_undelivered(&octets[ranges[number].clone()], records[number], &error, now());
        }
    }

    fn count_undelivered(&self, packet: &[u8], id: Id, error: &std::io::Error, now: f64) {
        let reason = reason_of(error);
        self.gateway.sadb.inbound_ref(id).service.slot.count_drop(reason);
        let dropped = Dropped { reason, record: Some(Record::In(id)), policy: None, answer: None };
        self.count(packet, &dropped, now, &format!(": the TUN: {}", sentence(error)), false);
    }

    fn finish_arrived(&mut self, verdict: Verdict, packet: &[u8], now: f64) {
        match verdict {
            Verdict::Deliver(delivered) => self.deliver_one(&delivered, now),
            Verdict::Hold => self.hold(now),
            Verdict::Drop(dropped) => self.count(packet, &dropped, now, "", true),
            Verdict::Send(_) | Verdict::Bypass => {}
        }
    }

    fn deliver_one(&mut self, delivered: &Delivered, now: f64) {
        let octets = ip::parse(&delivered.packet).map_or(delivered.packet.len(), |inner| inner.length);
        for id in [Some(delivered.record), delivered.bundled].into_iter().flatten() {
            self.count_delivered(id, 1, octets);
        }
        if let Err(error) = self.doors.tun.write(&VirtioHeader::default(), &[&delivered.packet]) {
            self.count_undelivered(&delivered.packet, delivered.record, &error, now);
        }
    }

    /// ICMP messages of routers to which a packet of ours was too big.
    pub(super) fn hear_complaints(&mut self, at: usize) {
        let now = now();
        let mut received = Received::default();
        let Ok(1..) = self.doors.complaints[at].receive(&mut received) else { return };
        for range in received.packets {
            let packet = &received.octets[range];
            match self.gateway.told_too_big(packet, now) {
                Heard::Dropped(Verdict::Drop(dropped)) => {
                    debug_assert!(dropped.reason == Reason::ForgedTooBig);
                    self.count(packet, &dropped, now, "", true);
                }
                Heard::Learned(..) | Heard::Dropped(_) | Heard::Nothing => {}
            }
        }
    }
}

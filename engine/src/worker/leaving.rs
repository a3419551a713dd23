//! Out: what the kernel steered into the TUN is protected and sent.

use std::io;
use std::ops::Range;

use super::{Way, Worker, now};
use crate::account::mode_row;
use crate::io::poller::Patience;
use crate::io::raw::BATCH;
use crate::io::segment::{Segments, finish_checksum};
use crate::io::tun::{GSO_NONE, NEEDS_CHECKSUM, VirtioHeader};
use crate::io::udp;
use crate::reason::Reason;
use crate::tables::sadb::{Id, Record};
use crate::transform::batch_in::{Headers, whole};
use crate::transform::batch_out::{Framed, Framing, Out, OutBatch};
use crate::transform::verdict::{Dropped, Sent, Verdict};
use crate::wire::address::Address;
use crate::wire::icmp::floor;
use crate::wire::{fragment, ip};

/// Reads from the TUN before what was read is sent.
const READS_MAX: usize = 32;
/// Octets of packets, framed or sealed one by one, before they are sent.
const OCTETS_MAX: usize = 192 * 1024;
/// How long a full queue is waited for, in milliseconds.
const PATIENCE_MS: libc::c_int = 20;

/// Consecutive datagrams that the kernel takes as one: they say the same outside, whichever SA they are of.
struct Run {
    /// In the batch.
    first: usize,
    port: usize,
    way: udp::Way,
    /// Of the last one.
    record: Id,
    range: Range<usize>,
    segment: usize,
    last: usize,
    count: usize,
}

/// Consecutive packets of one SA, which are counted at once.
struct Tally {
    record: Id,
    way: Way,
    packets: u64,
    octets: u64,
}

impl Worker {
    /// A burst.
    pub(super) fn leave(&mut self) {
        let now = now();
        self.patience = Patience::default();
        self.batch.clear();
        for _ in 0..READS_MAX {
            if !self.take_one(now) || self.batch.used() > OCTETS_MAX {
                break;
            }
        }
        self.gateway.seal_batch(&mut self.batch);
        self.send_batch(now);
    }

    /// One read, framed; false where there is nothing to read.
    fn take_one(&mut self, now: f64) -> bool {
        let mut read = std::mem::take(&mut self.read);
        let got = match self.doors.tun.read(&mut read) {
            Ok(Some((header, packet))) => Some((header, packet.len())),
            Ok(None) | Err(_) => None,
        };
        if let Some((header, octets)) = got {
            let start = if self.doors.tun.offloads { crate::io::tun::VIRTIO_OCTETS } else { 0 };
            self.frame(&header, &mut read[start..start + octets], now);
        }
        self.read = read;
        got.is_some()
    }

    fn frame(&mut self, header: &VirtioHeader, packet: &mut [u8], now: f64) {
        let ways = &self.ways;
        let framing = |id: Id| match ways.get(&id) {
            Some(Way::Port(_)) => Framing::Datagram,
            _ => Framing::Whole,
        };
        if header.gso_kind != GSO_NONE
            && let Some(segments) = Segments::new(header, packet)
        {
            self.gateway.protect_run(&segments, &mut self.plans, framing, &mut self.batch, now);
        } else if header.gso_kind == GSO_NONE && (header.flags & NEEDS_CHECKSUM == 0 || finish_checksum(header, packet))
        {
            let run: &[u8] = packet;
            self.gateway.protect_run(&run, &mut self.plans, framing, &mut self.batch, now);
        } else {
            let dropped = Dropped { reason: Reason::MalformedHeader, record: None, policy: None, answer: None };
            self.count(packet, &dropped, now, ": from the TUN", false);
        }
    }

    /// All that was sealed, in its order; where others send by the same SAs, each part when it is its turn.
    fn send_batch(&mut self, now: f64) {
        let mut batch = std::mem::take(&mut self.batch);
        let (mut from, mut claim) = (0, 0);
        while from < batch.out.len() {
            let next = self.gateway.turn(claim);
            let to = batch.end_of(next);
            self.send_part(&batch, from..to, now);
            self.gateway.leave(claim..next);
            (from, claim) = (to, next);
        }
        self.gateway.claims.clear();
        batch.clear();
        self.batch = batch;
    }

    fn send_part(&mut self, batch: &OutBatch, part: Range<usize>, now: f64) {
        let (mut raw, mut run): (Vec<usize>, Option<Run>) = (Vec::new(), None);
        let mut tally: Option<Tally> = None;
        for at in part {
            let framed = match &batch.out[at] {
                Out::Framed(framed) => framed,
                Out::Other(verdict, packet) => {
                    // Numbers of one SA leave in their order.
                    self.count_framed(tally.take());
                    self.send_run(run.take(), batch, now);
                    self.send_raw(&batch.out, &mut raw, &batch.octets, now);
                    self.finish_other(verdict, packet, now);
                    continue;
                }
            };
            let own = match &mut tally {
                Some(own) if own.record == framed.record => own,
                other => {
                    self.count_framed(other.take());
                    // Its numbers are taken already, of the whole burst: what is asked for first is there soonest.
                    self.used_number(framed.record);
                    let way = self.ways.get(&framed.record).copied().unwrap_or(Way::Raw);
                    other.insert(Tally { record: framed.record, way, packets: 0, octets: 0 })
                }
            };
            own.packets += 1;
            own.octets += framed.inner_octets as u64;
            let Way::Port(port) = own.way else {
                raw.push(at);
                continue;
            };
            if !run.as_mut().is_some_and(|run| self.extends(run, framed, port)) {
                self.send_run(run.take(), batch, now);
                run = Some(self.begun(at, framed, port));
            }
        }
        self.count_framed(tally);
        self.send_run(run.take(), batch, now);
        self.send_raw(&batch.out, &mut raw, &batch.octets, now);
    }

    fn count_framed(&self, tally: Option<Tally>) {
        let Some(tally) = tally else { return };
        let service = &self.gateway.sadb.outbound_ref(tally.record).service;
        service.slot.set_worker(self.number);
        self.counters.add_mode(mode_row(&service.sa), true, tally.packets, tally.octets);
    }

    fn finish_other(&mut self, verdict: &Verdict, packet: &[u8], now: f64) {
        match verdict {
            Verdict::Send(sent) => self.send_slowly(sent, packet, now),
            Verdict::Hold => self.hold(now),
            Verdict::Drop(dropped) => {
                if let (Reason::CounterJournal, Some(Record::Out(id))) = (dropped.reason, dropped.record) {
                    self.lacked_number(id);
                }
                if let Some(answer) = &dropped.answer {
                    // The kernel brings it to the packet's source, as if it came from the far end.
                    let _ = self.doors.tun.write(&VirtioHeader::default(), &[answer]);
                }
                self.count(packet, dropped, now, "", false);
            }
            Verdict::Bypass | Verdict::Deliver(_) => {
                let dropped = Dropped { reason: Reason::NoPolicy, record: None, policy: None, answer: None };
                self.count(packet, &dropped, now, "", false);
            }
        }
    }

    /// What didn't go with the others. `packet`: what the verdict was about; empty for what the gateway sends by itself.
    pub(super) fn send_slowly(&mut self, sent: &Sent, packet: &[u8], now: f64) {
        [Some(sent.record), sent.bundled].into_iter().flatten().for_each(|id| self.used_number(id));
        if sent.policy.is_some() {
            let octets = ip::parse(packet).map_or(packet.len(), |inner| inner.length) as u64;
            for id in [Some(sent.record), sent.bundled].into_iter().flatten() {
                let service = &self.gateway.sadb.outbound_ref(id).service;
                service.slot.set_worker(self.number);
                self.counters.add_mode(mode_row(&service.sa), true, 1, octets);
            }
        }
        for piece in &sent.packets {
            let destination = self.gateway.sadb.outbound_ref(sent.record).service.sa.destination;
            if let Err(error) = self.give(sent.record, piece, destination) {
                self.refused(sent.record, sent.bundled, piece, packet, error, now);
            }
        }
    }

    /// One packet by the raw socket, with patience for a full queue.
    fn give(&mut self, id: Id, packet: &[u8], destination: Address) -> io::Result<()> {
        // What has a port of its own never went past the stack.
        if !matches!(self.ways.get(&id), Some(Way::Port(_))) && !self.clear_way(destination) {
            return Err(full());
        }
        let sender = self.doors.senders.get(&destination.version);
        let sender = sender.ok_or_else(|| io::Error::from_raw_os_error(libc::EAFNOSUPPORT))?;
        match sender.send(&[(packet, destination)]) {
            (_, None) => Ok(()),
            (_, Some(error)) if is_full(&error) && sender.wait(PATIENCE_MS) => {
                sender.send(&[(packet, destination)]).1.map_or(Ok(()), Err)
            }
            (_, Some(error)) => Err(error),
        }
    }

    /// The kernel refused a packet: the link may be smaller than was known, or somebody else's complaint was waiting.
    fn refused(&mut self, id: Id, bundled: Option<Id>, piece: &[u8], packet: &[u8], error: io::Error, now: f64) {
        let destination = self.gateway.sadb.outbound_ref(id).service.sa.destination;
        let mtu = self.doors.senders.get(&destination.version).map_or(0, |sender| sender.refused_mtu());
        let pieces = if mtu == 0 {
            vec![piece.to_vec()]
        } else {
            [Some(id), bundled].into_iter().flatten().for_each(|id| self.learn(id, mtu, now));
            self.cut(piece, mtu.max(floor(destination.version)))
        };
        let again = pieces.iter().find_map(|each| self.give(id, each, destination).err());
        match again {
            None if !pieces.is_empty() => {}
            again => self.count_refused(id, packet, &again.unwrap_or(error), now),
        }
    }

    fn learn(&mut self, id: Id, mtu: usize, now: f64) {
        let record = self.gateway.sadb.outbound_ref(id);
        if mtu < record.mtu(now) {
            record.learn_mtu(mtu, now);
        }
    }

    /// An outer packet in pieces that fit the link; none where it may not be cut. By ourselves and not by the kernel,
    /// which writes the header anew: AH has signed it. The source of an IPv6 packet may always (RFC 8200 section 4.5).
    fn cut(&mut self, packet: &[u8], mtu: usize) -> Vec<Vec<u8>> {
        let datagram = ip::parse(packet).filter(|datagram| datagram.fragment.is_none());
        let Some(datagram) = datagram.filter(|datagram| datagram.version == 6 || !datagram.dont_fragment) else {
            return Vec::new();
        };
        let mut identification = [0; 4];
        self.random.fill(&mut identification);
        fragment::split(packet, &datagram, mtu, u32::from_be_bytes(identification))
    }

    pub(super) fn count_refused(&self, id: Id, packet: &[u8], error: &io::Error, now: f64) {
        let reason = reason_of(error);
        self.gateway.sadb.outbound_ref(id).service.slot.count_drop(reason);
        let dropped = Dropped { reason, record: Some(Record::Out(id)), policy: None, answer: None };
        self.count(packet, &dropped, now, &format!(": {}", sentence(error)), false);
    }

    // Many at once

    fn send_raw(&mut self, out: &[Out], raw: &mut Vec<usize>, octets: &[u8], now: f64) {
        let framed: Vec<&Framed> = raw
            .drain(..)
            .filter_map(|at| match &out[at] {
                Out::Framed(framed) => Some(framed),
                Out::Other(..) => None,
            })
            .collect();
        let mut at = 0;
        while at < framed.len() {
            at += match self.send_past_the_stack(&framed[at..], octets, now) {
                Some(done) => done,
                None => self.send_some(&framed[at..], octets, now),
            };
        }
    }

    /// Packets of one IP version from the first on, of one destination where others may go past the stack; how many are
    /// done with.
    fn send_some(&mut self, framed: &[&Framed], octets: &[u8], now: f64) -> usize {
        let destination = |framed: &Framed| self.gateway.sadb.outbound_ref(framed.record).service.sa.destination;
        let (first, is_one) = (destination(framed[0]), self.doors.routes.is_some());
        let version = first.version;
        let packets: Vec<(&[u8], Address)> = framed
            .iter()
            .take(BATCH)
            .map(|each| (&octets[each.range.clone()], destination(each)))
            .take_while(|(_, other)| if is_one { *other == first } else { other.version == version })
            .collect();
        if !self.clear_way(first) {
            for (each, (packet, _)) in framed.iter().zip(&packets) {
                self.count_refused(each.record, packet, &full(), now);
            }
            return packets.len();
        }
        let (done, error) = match self.doors.senders.get(&version) {
            Some(sender) => sender.send(&packets),
            None => (0, Some(io::Error::from_raw_os_error(libc::EAFNOSUPPORT))),
        };
        let Some(error) = error else { return done.max(1) };
        let piece = packets[done].0.to_vec();
        if is_full(&error) && self.doors.senders.get(&version).is_some_and(|sender| sender.wait(PATIENCE_MS)) {
            return done;
        }
        self.refused(framed[done].record, None, &piece, &piece, error, now);
        done + 1
    }

    fn begun(&self, first: usize, framed: &Framed, port: usize) -> Run {
        let (octets, range) = (framed.range.len(), framed.range.clone());
        let way = self.way_outside(framed);
        Run { first, port, way, record: framed.record, range, segment: octets, last: octets, count: 1 }
    }

    fn way_outside(&self, framed: &Framed) -> udp::Way {
        let sa = &self.gateway.sadb.outbound_ref(framed.record).service.sa;
        udp::Way {
            source: sa.source,
            destination: sa.destination,
            destination_port: sa.encapsulation.map_or(0, |ports| ports.1),
            outer: framed.outer,
        }
    }

    /// Whether the datagram was added to the run.
    fn extends(&self, run: &mut Run, framed: &Framed, port: usize) -> bool {
        let octets = framed.range.len();
        let follows = run.port == port && run.range.end == framed.range.start;
        if !follows || !udp::UdpPort::fits(run.range.len(), run.count, run.segment, run.last, octets) {
            return false;
        }
        let is_of_same = run.record == framed.record && run.way.outer == framed.outer;
        if !is_of_same && run.way != self.way_outside(framed) {
            return false;
        }
        run.record = framed.record;
        run.range.end = framed.range.end;
        run.last = octets;
        run.count += 1;
        true
    }

    fn send_run(&mut self, run: Option<Run>, batch: &OutBatch, now: f64) {
        let Some(run) = run else { return };
        let port = &self.doors.ports[run.port];
        let octets = &batch.octets[run.range.clone()];
        let mut result = port.send(&run.way, octets, run.segment);
        if result.as_ref().is_err_and(is_full) && port.wait(PATIENCE_MS) {
            result = port.send(&run.way, octets, run.segment);
        }
        if let Err(error) = result {
            self.send_run_slowly(&run, batch, &error, now);
        }
    }

    /// One datagram after the other, with our own headers: for a link that is smaller than was known, or can't segment.
    fn send_run_slowly(&mut self, run: &Run, batch: &OutBatch, error: &io::Error, now: f64) {
        let source_port = self.doors.ports[run.port].port;
        for out in &batch.out[run.first..run.first + run.count] {
            let Out::Framed(framed) = out else { continue };
            // Without one, the kernel would give each piece its own, should it be cut.
            let mut identification = [0; 2];
            self.random.fill(&mut identification);
            let identification = u16::from_be_bytes(identification).max(1);
            let packet = datagram(&batch.octets, framed.range.clone(), &run.way, source_port, identification);
            if is_full(error) {
                self.count_refused(framed.record, &packet, error, now);
            } else if let Err(error) = self.give(framed.record, &packet, run.way.destination) {
                self.refused(framed.record, None, &packet, &packet, error, now);
            }
        }
    }
}

/// A datagram as the kernel would have made it. `identification`: of IPv4.
fn datagram(octets: &[u8], range: Range<usize>, way: &udp::Way, source_port: u16, identification: u16) -> Vec<u8> {
    let headers = Headers {
        source: way.source,
        destination: way.destination,
        traffic_class: way.outer.traffic_class,
        hops: way.outer.hops,
        source_port,
        destination_port: way.destination_port,
    };
    let mut packet = whole(octets, range, Some(headers));
    if way.source.version == 4 {
        if way.outer.dont_fragment {
            packet[6] = 0x40;
        } else {
            packet[4..6].copy_from_slice(&identification.to_be_bytes());
        }
        let payload_octets = packet.len() - ip::IPV4_HEADER_OCTETS;
        ip::set_length(&mut packet[..ip::IPV4_HEADER_OCTETS], 9, ip::next_header::UDP, payload_octets);
    } else {
        let ports = crate::tables::sa::UdpPorts(source_port, way.destination_port);
        let at = ip::IPV6_HEADER_OCTETS;
        crate::wire::udp::write_header(ports, way.source, way.destination, &mut packet[at..]);
    }
    packet
}

pub(super) fn full() -> io::Error {
    io::Error::from_raw_os_error(libc::EAGAIN)
}

pub(super) fn is_full(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EAGAIN | libc::ENOBUFS))
}

pub(super) fn reason_of(error: &io::Error) -> Reason {
    match error.raw_os_error() {
        Some(libc::EMSGSIZE) => Reason::TooBig,
        Some(libc::EAGAIN | libc::ENOBUFS) => Reason::QueueFull,
        _ => Reason::SendFailed,
    }
}

/// The kernel's words for the error, without Rust's number behind them.
pub(super) fn sentence(error: &io::Error) -> String {
    let words = error.to_string();
    words.split(" (os error").next().unwrap_or_default().to_string()
}

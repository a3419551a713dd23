//! Many protected packets at once, in.
//!
//! Where all is ordinary (ESP in tunnel mode, whole packets), a batch is looked up, opened in place, and then judged packet
//! by packet in its order. Everything else goes through `Gateway::inbound`. Verdicts and their order are those of
//! `Gateway::inbound` for the same packets: so what an earlier packet of the batch did to window and life is asked again
//! behind the cryptography.

use std::ops::Range;
use std::sync::Arc;

use super::gateway::Gateway;
use super::inbound::{Through, drop_of, refusal, span};
use super::seal::{is_esp_runt, without_trailer};
use super::verdict::Verdict;
use crate::crypto::Job;
use crate::reason::Reason;
use crate::tables::sa::{Direction, Mode, Policy};
use crate::tables::sadb::{Id, Inbound, Sizes};
use crate::tables::spd::FlowCache;
use crate::wire::address::Address;
use crate::wire::ip::{self, Datagram, FlowKey, next_header};
use crate::wire::udp;

/// Of a datagram whose IP and UDP headers the kernel took off: what they said.
#[derive(Clone, Copy, Debug)]
#[allow(missing_docs, reason = "as in the headers")]
pub struct Headers {
    pub source: Address,
    pub destination: Address,
    pub traffic_class: u8,
    pub hops: u8,
    pub source_port: u16,
    pub destination_port: u16,
}

/// A packet as it arrived, in the memory of a batch.
#[derive(Clone, Debug)]
pub struct Arrived {
    /// Its octets: from the IP header, or, with `headers`, the payload of a UDP datagram.
    pub range: Range<usize>,
    /// None: they are in the octets.
    pub headers: Option<Headers>,
}

/// What became of a packet.
#[derive(Debug)]
pub enum In {
    /// This inner packet, in the batch's memory, goes to the host.
    Deliver {
        /// All of it.
        range: Range<usize>,
        /// The SA that it came through.
        record: Id,
        /// Whose inbound selector let it in.
        policy: Arc<Policy>,
    },
    /// Everything else, with the octets of the whole packet.
    Other(Box<(Verdict, Vec<u8>)>),
}

/// What a worker remembers of flows on their way in.
pub type Admissions = FlowCache<Option<Arc<Policy>>>;

/// Why a packet isn't let in, and the policy that said so.
type Refusal = (Reason, Option<Arc<Policy>>);

/// An ordinary packet on its way through. Small, because there are many.
struct Pending {
    esp: Range<usize>,
    number: u64,
    record: Id,
    /// Of the outer header.
    traffic_class: u8,
    /// In what arrived.
    place: usize,
}

impl Gateway {
    /// The verdicts on a batch of packets, which lie in `octets`, none in another one's, and are opened there.
    pub fn open_batch(
        &mut self,
        octets: &mut [u8],
        arrived: &[Arrived],
        admissions: &mut Admissions,
        now: f64,
    ) -> Vec<In> {
        let mut verdicts = Vec::with_capacity(arrived.len());
        let mut pending = Vec::with_capacity(arrived.len());
        for (place, each) in arrived.iter().enumerate() {
            if let Some(ordinary) = self.ordinary(octets, each, place, now) {
                pending.push(ordinary);
                continue;
            }
            self.finish(octets, arrived, &mut pending, admissions, &mut verdicts, now);
            let packet = whole(octets, each.range.clone(), each.headers);
            verdicts.push(In::Other(Box::new((self.inbound(&packet, now), packet))));
        }
        self.finish(octets, arrived, &mut pending, admissions, &mut verdicts, now);
        verdicts
    }

    /// The packet as one that is opened with the others, if nothing about it is special.
    fn ordinary(&self, octets: &[u8], arrived: &Arrived, place: usize, now: f64) -> Option<Pending> {
        let packet = &octets[arrived.range.clone()];
        let (outer, esp) = match arrived.headers {
            Some(headers) => (seen(&headers, packet.len()), 0..packet.len()),
            None => {
                let outer = ip::parse(packet).filter(|outer| outer.fragment.is_none())?;
                let (start, end) = span(packet, &outer).ok()?;
                (outer, start..end)
            }
        };
        if outer.protocol == next_header::AH || esp.len() < 8 {
            return None;
        }
        let low = ip::long(packet, esp.start + 4);
        let id = self.sadb.find_in(ip::long(packet, esp.start), outer.key.destination, next_header::ESP)?;
        let record = self.sadb.inbound_ref(id);
        let Sizes::Esp(layout) = record.service.sizes else { return None };
        let sa = &record.service.sa;
        let is_plain = sa.mode == Mode::Tunnel && sa.compression == 0 && refusal(record, &outer, now).is_none();
        if !is_plain || is_esp_runt(&layout, esp.len()) {
            return None;
        }
        let number = {
            let window = record.replay();
            window.number_of(low).filter(|number| window.check(*number))?
        };
        let esp = arrived.range.start + esp.start..arrived.range.start + esp.end;
        Some(Pending { esp, number, record: id, traffic_class: outer.traffic_class, place })
    }

    /// Open what is pending, and judge each in its order.
    fn finish(
        &mut self,
        octets: &mut [u8],
        arrived: &[Arrived],
        pending: &mut Vec<Pending>,
        admissions: &mut Admissions,
        verdicts: &mut Vec<In>,
        now: f64,
    ) {
        if pending.is_empty() {
            return;
        }
        let right = self.open_pending(octets, pending);
        for (each, right) in pending.drain(..).zip(right) {
            verdicts.push(match self.judge(octets, &each, right, admissions, now) {
                Ok((range, policy)) => In::Deliver { range, record: each.record, policy },
                Err((reason, policy)) => {
                    let verdict = drop_of(self.sadb.inbound_ref(each.record), each.record, reason, policy);
                    let Arrived { range, headers } = arrived[each.place].clone();
                    In::Other(Box::new((verdict, whole(octets, range, headers))))
                }
            });
        }
    }

    fn open_pending(&mut self, octets: &mut [u8], pending: &[Pending]) -> Vec<bool> {
        let mut places: Vec<usize> = (0..pending.len()).collect();
        places.sort_by_key(|place| pending[*place].esp.start);
        let mut jobs = Vec::with_capacity(pending.len());
        let (mut rest, mut at) = (octets, 0);
        for each in places.iter().map(|place| &pending[*place]) {
            let (_, behind) = rest.split_at_mut(each.esp.start - at);
            let (esp, behind) = behind.split_at_mut(each.esp.len());
            (rest, at) = (behind, each.esp.end);
            let key = &self.sadb.inbound_ref(each.record).service.keyed;
            jobs.push(Job { key, esp, number: each.number, right: false });
        }
        self.engine.open(&mut jobs);
        let mut right = vec![false; pending.len()];
        places.iter().zip(&jobs).for_each(|(place, job)| right[*place] = job.right);
        right
    }

    /// Where the inner packet lies and what lets it in, or why nothing does.
    fn judge(
        &mut self,
        octets: &mut [u8],
        each: &Pending,
        right: bool,
        admissions: &mut Admissions,
        now: f64,
    ) -> Result<(Range<usize>, Arc<Policy>), Refusal> {
        let without = |reason| (reason, None);
        let record = self.sadb.inbound_ref(each.record);
        number_is_good(record, &octets[each.esp.clone()], each, right, now).map_err(without)?;
        let (keyed, mode) = (&record.service.keyed, record.service.sa.mode);
        debug_assert!(mode == Mode::Tunnel);
        let payload = without_trailer(&octets[each.esp.clone()], &keyed.layout).map_err(without)?;
        let version = match payload.next_header {
            next_header::IPV4 => 4,
            next_header::IPV6 => 6,
            // Of an SA without compression, but the specification names it so.
            next_header::IPCOMP if payload.end - payload.start < 4 => return Err(without(Reason::Decompression)),
            next_header::IPCOMP => return Err(without(Reason::UnsupportedPayload)),
            _ => return Err(without(Reason::ModeMismatch)),
        };
        let range = each.esp.start + payload.start..each.esp.start + payload.end;
        let inner = ip::parse(&octets[range.clone()]).filter(|inner| inner.version == version);
        let inner = inner.ok_or(without(Reason::InnerMalformed))?;
        let range = range.start..range.start + inner.length;
        self.let_in(&mut octets[range.clone()], each, &inner, admissions, now).map(|policy| (range, policy))
    }

    fn let_in(
        &mut self,
        packet: &mut [u8],
        each: &Pending,
        inner: &Datagram,
        admissions: &mut Admissions,
        now: f64,
    ) -> Result<Arc<Policy>, Refusal> {
        let through = Through::one(each.record);
        let policy = if inner.fragment.is_some() {
            self.way_in().policy(inner, through, now).map_err(|reason| (reason, None))?
        } else {
            let generation = self.spd.generation();
            let find = || self.spd.find(Direction::In, &inner.key);
            let found = admissions.get_or_insert_with(&inner.key, generation, find);
            found.clone().ok_or((Reason::InnerMismatch, None))?
        };
        let objection = self.way_in().admit_by(&policy, through, each.traffic_class, packet, inner);
        if let Some(reason) = objection {
            return Err((reason, Some(policy)));
        }
        self.sadb.inbound_ref(each.record).service.slot.add_use(1, inner.length as u64, now);
        Ok(policy)
    }
}

/// The rest of RFC 4303 section 3.4 for a packet whose ICV was looked at, behind all earlier ones.
fn number_is_good(record: &Inbound, esp: &[u8], each: &Pending, right: bool, now: f64) -> Result<(), Reason> {
    if record.service.is_dead(now) {
        return Err(Reason::ExpiredIn);
    }
    let mut window = record.replay();
    match window.number_of(ip::long(esp, 4)).filter(|number| window.check(*number)) {
        None => return Err(Reason::Replay),
        // The window has moved so far that the packet names another number now, of which it can't be authentic.
        Some(number) if number != each.number || !right => return Err(Reason::Integrity),
        Some(number) => window.mark(number),
    }
    let (top, lost, newest) = (window.top(), window.lost(), window.newest());
    record.service.slot.set_sequence(top);
    record.service.slot.set_lost(lost);
    record.service.slot.set_window(newest);
    Ok(())
}

/// As if its headers had been parsed.
fn seen(headers: &Headers, payload_octets: usize) -> Datagram {
    let header_octets = ip::header_octets(headers.source.version);
    Datagram {
        version: headers.source.version,
        length: header_octets + udp::HEADER_OCTETS + payload_octets,
        traffic_class: headers.traffic_class,
        dont_fragment: headers.source.version == 6,
        fragment: None,
        protocol: next_header::UDP,
        offset: header_octets,
        key: FlowKey {
            source: headers.source,
            destination: headers.destination,
            protocol: next_header::UDP,
            source_port: headers.source_port.into(),
            destination_port: headers.destination_port.into(),
        },
        protocol_at: if headers.source.version == 4 { 9 } else { 6 },
        hops: headers.hops,
        flow_label: 0,
    }
}

/// The packet from its IP header on; without checksums where the kernel has looked at them and taken the headers off.
pub fn whole(octets: &[u8], range: Range<usize>, headers: Option<Headers>) -> Vec<u8> {
    let payload = &octets[range];
    let Some(headers) = headers else { return payload.to_vec() };
    let mut packet = vec![0; ip::header_octets(headers.source.version)];
    if headers.source.version == 4 {
        packet[0] = 0x45;
        packet[1] = headers.traffic_class;
        packet[8] = headers.hops;
        headers.source.write(&mut packet[12..16]);
        headers.destination.write(&mut packet[16..20]);
    } else {
        let start = 6 << 28 | u32::from(headers.traffic_class) << 20;
        packet[0..4].copy_from_slice(&start.to_be_bytes());
        packet[7] = headers.hops;
        headers.source.write(&mut packet[8..24]);
        headers.destination.write(&mut packet[24..40]);
    }
    let protocol_at = if headers.source.version == 4 { 9 } else { 6 };
    let datagram_octets = udp::HEADER_OCTETS + payload.len();
    ip::set_length(&mut packet, protocol_at, next_header::UDP, datagram_octets);
    packet.extend_from_slice(&headers.source_port.to_be_bytes());
    packet.extend_from_slice(&headers.destination_port.to_be_bytes());
    packet.extend_from_slice(&(datagram_octets as u16).to_be_bytes());
    packet.extend_from_slice(&[0, 0]);
    packet.extend_from_slice(payload);
    packet
}

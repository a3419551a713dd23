//! The way in (RFC 4301 section 5.2): a protected packet finds its SA, is opened, and must be what the policy allows.
//!
//! A packet may be protected more than once, for this gateway: AH around ESP is two layers of the same outer header.
//! Every layer is opened in turn, up to a limit; at the end the inbound selector that fits the clear packet must ask for
//! exactly the SAs that the packet came through.

use std::borrow::Cow;
use std::sync::Arc;

use super::ipcomp;
use super::seal::{AH_FIXED_OCTETS, open_ah, open_esp};
use super::verdict::{Delivered, Dropped, Verdict};
use crate::crypto::{ESP_HEADER_OCTETS, Engine};
use crate::reason::Reason;
use crate::tables::reassembly::{Added, Reassembler, Trail};
use crate::tables::sa::{Action, Direction, Mode, Policy, Protocol};
use crate::tables::sadb::{Id, Inbound, Record, Sadb, Sizes};
use crate::tables::spd::Spd;
use crate::wire::fragment::{self, FragmentKey};
use crate::wire::ip::{self, Datagram, next_header};
use crate::wire::{mss, tunnel, udp};

/// How often a packet may be protected.
const LAYERS_MAX: usize = 2;

/// The SAs that a packet came through so far.
#[derive(Clone, Copy, Default)]
pub struct Through {
    first: Option<Id>,
    second: Option<Id>,
}

impl Through {
    /// One SA.
    pub fn one(id: Id) -> Through {
        Through { first: Some(id), second: None }
    }

    fn and(self, id: Id) -> Through {
        if self.first.is_none() { Through::one(id) } else { Through { second: Some(id), ..self } }
    }

    fn last(self) -> Id {
        self.second.or(self.first).expect("a layer was opened")
    }

    fn bundled(self) -> Option<Id> {
        self.second.and(self.first)
    }

    fn all(self) -> impl Iterator<Item = Id> {
        [self.first, self.second].into_iter().flatten()
    }
}

/// A packet on its way through its layers.
struct Arrival<'p> {
    packet: Cow<'p, [u8]>,
    outer: Datagram,
    through: Through,
    now: f64,
}

/// What one layer came to.
enum Layer<'p> {
    Verdict(Verdict),
    Below(Arrival<'p>),
}

/// What is remembered of packets on their way in. A trail is of the SAs' reqid, so no peer lays another's.
#[derive(Default)]
pub struct Memory {
    trail: Trail<(u32, FragmentKey), Option<Arc<Policy>>>,
    reassembler: Reassembler,
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

/// What becomes of protected packets.
pub struct Incoming<'g> {
    /// SAs.
    pub sadb: &'g Sadb,
    /// Policies.
    pub spd: &'g Spd,
    /// Algorithms.
    pub engine: &'g mut dyn Engine,
    /// Of earlier packets.
    pub memory: &'g mut Memory,
}

/// The end of a packet that had got as far as to an SA, which counts it.
pub fn drop_of(record: &Inbound, id: Id, reason: Reason, policy: Option<Arc<Policy>>) -> Verdict {
    record.service.slot.count_drop(reason);
    Verdict::Drop(Dropped { reason, record: Some(Record::In(id)), policy, answer: None })
}

impl Incoming<'_> {
    /// The verdict on one IP packet that carries ESP or AH.
    pub fn open(&mut self, packet: &[u8], now: f64) -> Verdict {
        let Some(outer) = ip::parse(packet) else {
            return Dropped::of_stranger(Reason::MalformedHeader);
        };
        if outer.fragment.is_none() {
            let arrival = Arrival { packet: Cow::Borrowed(packet), outer, through: Through::default(), now };
            return self.open_layers(arrival);
        }
        if !self.sadb.has_inbound_between(outer.key.source, outer.key.destination) {
            // Nothing of a stranger's is kept.
            return Dropped::of_stranger(Reason::NoSaIn);
        }
        // RFC 4303 section 3.4.1: before ESP.
        match self.memory.reassembler.add(packet, &outer, now) {
            Added::Waiting => Verdict::Hold,
            Added::Drop(reason) => Dropped::of_stranger(reason),
            Added::Whole(whole) => match ip::parse(&whole) {
                None => Dropped::of_stranger(Reason::MalformedHeader),
                Some(outer) if outer.fragment.is_some() => Dropped::of_stranger(Reason::Fragment),
                Some(outer) => {
                    let arrival = Arrival { packet: Cow::Owned(whole), outer, through: Through::default(), now };
                    self.open_layers(arrival)
                }
            },
        }
    }

    fn open_layers(&mut self, mut arrival: Arrival<'_>) -> Verdict {
        for _ in 0..LAYERS_MAX {
            match self.open_layer(arrival) {
                Layer::Verdict(verdict) => return verdict,
                Layer::Below(below) => arrival = below,
            }
        }
        self.drop(arrival.through.last(), Reason::Nesting, None)
    }

    fn drop(&self, id: Id, reason: Reason, policy: Option<Arc<Policy>>) -> Verdict {
        drop_of(self.sadb.inbound_ref(id), id, reason, policy)
    }

    fn open_layer<'p>(&mut self, mut arrival: Arrival<'p>) -> Layer<'p> {
        let (start, end) = match span(&arrival.packet, &arrival.outer) {
            Ok(span) => span,
            Err(reason) => return Layer::Verdict(Dropped::of_stranger(reason)),
        };
        let id = match self.record(&arrival, start) {
            Ok(id) => id,
            Err(reason) => return Layer::Verdict(Dropped::of_stranger(reason)),
        };
        let opened = match refusal(self.sadb.inbound_ref(id), &arrival.outer, arrival.now) {
            Some(reason) => Err(reason),
            None => self.opened(id, &mut arrival.packet, start, end),
        };
        let (next, payload) = match opened {
            Ok(opened) => opened,
            Err(reason) => return Layer::Verdict(self.drop(id, reason, None)),
        };
        arrival.through = arrival.through.and(id);
        match self.sadb.inbound_ref(id).service.sa.mode {
            Mode::Tunnel => Layer::Verdict(self.out_of_tunnel(&arrival, next, payload)),
            Mode::Transport => self.out_of_transport(arrival, next, &payload),
        }
    }

    fn record(&self, arrival: &Arrival<'_>, start: usize) -> Result<Id, Reason> {
        let is_ah = arrival.outer.protocol == next_header::AH;
        let (protocol, at) = if is_ah { (next_header::AH, start + 4) } else { (next_header::ESP, start) };
        let (spi, destination) = (ip::long(&arrival.packet, at), arrival.outer.key.destination);
        self.sadb.find_in(spi, destination, protocol).ok_or_else(|| {
            let known = self.sadb.find_out(spi, destination, protocol).is_some();
            if known { Reason::WrongDirection } else { Reason::NoSaIn }
        })
    }

    /// Next header and octets of what is inside.
    fn opened(
        &mut self,
        id: Id,
        packet: &mut Cow<'_, [u8]>,
        start: usize,
        end: usize,
    ) -> Result<(u8, Vec<u8>), Reason> {
        let record = self.sadb.inbound_ref(id);
        let (key, mut window) = (&record.service.keyed, record.replay());
        let result = match record.service.sizes {
            Sizes::Ah(octets) => open_ah(self.engine, key, octets, &mut window, packet, start, end)
                .map(|payload| (payload.next_header, packet[payload.start..payload.end].to_vec())),
            Sizes::Esp(_) => {
                let mut esp = packet[start..end].to_vec();
                open_esp(self.engine, key, &mut window, &mut esp)
                    .map(|payload| (payload.next_header, esp[payload.start..payload.end].to_vec()))
            }
        };
        let slot = &record.service.slot;
        slot.set_sequence(window.top());
        slot.set_lost(window.lost());
        slot.set_window(window.newest());
        drop(window);
        let (next, octets) = result?;
        decompressed(record.service.sa.compression, next, octets)
    }

    fn out_of_tunnel(&mut self, arrival: &Arrival<'_>, next: u8, mut payload: Vec<u8>) -> Verdict {
        let last = arrival.through.last();
        let Some(version) = inner_version(next) else {
            return self.drop(last, Reason::ModeMismatch, None);
        };
        let Some(inner) = ip::parse(&payload).filter(|inner| inner.version == version) else {
            return self.drop(last, Reason::InnerMalformed, None);
        };
        payload.truncate(inner.length);
        self.admit(arrival.through, arrival, payload, &inner)
    }

    fn out_of_transport<'p>(&mut self, arrival: Arrival<'p>, next: u8, payload: &[u8]) -> Layer<'p> {
        let (outer, last) = (&arrival.outer, arrival.through.last());
        let header = &arrival.packet[..outer.offset];
        if payload.len() > ip::payload_max(header) {
            // Of IPComp only: in front of it stands a header that its sender left no room for.
            return Layer::Verdict(self.drop(last, Reason::Decompression, None));
        }
        let mut packet = header.to_vec();
        ip::set_length(&mut packet, outer.protocol_at, next, payload.len());
        packet.extend_from_slice(payload);
        let Some(inner) = ip::parse(&packet) else {
            return Layer::Verdict(self.drop(last, Reason::InnerMalformed, None));
        };
        if matches!(inner.protocol, next_header::ESP | next_header::AH) {
            return Layer::Below(Arrival { packet: Cow::Owned(packet), outer: inner, ..arrival });
        }
        Layer::Verdict(self.admit(arrival.through, &arrival, packet, &inner))
    }

    /// RFC 4301 section 5.2 step 4: the peer may only send what the inbound selectors of its SAs allow.
    fn admit(&mut self, through: Through, arrival: &Arrival<'_>, mut packet: Vec<u8>, inner: &Datagram) -> Verdict {
        let policy = match self.policy(inner, through, arrival.now) {
            Ok(policy) => policy,
            Err(reason) => return self.drop(through.last(), reason, None),
        };
        match self.admit_by(&policy, through, arrival.outer.traffic_class, &mut packet, inner) {
            Some(reason) => self.drop(through.last(), reason, Some(policy)),
            None => {
                for id in through.all() {
                    self.sadb.inbound_ref(id).service.slot.add_use(1, inner.length as u64, arrival.now);
                }
                let (record, bundled) = (through.last(), through.bundled());
                Verdict::Deliver(Delivered { packet, policy, record, bundled })
            }
        }
    }

    /// Why this policy doesn't let the packet in; if it does, the packet is as it goes on from here.
    pub fn admit_by(
        &self,
        policy: &Policy,
        through: Through,
        traffic_class: u8,
        packet: &mut [u8],
        inner: &Datagram,
    ) -> Option<Reason> {
        let objection = self.objection(policy, through, inner);
        if objection.is_some() {
            return objection;
        }
        let mode = self.sadb.inbound_ref(through.last()).service.sa.mode;
        if mode == Mode::Tunnel && !tunnel::ecn_on_opening(packet, inner, traffic_class) {
            return Some(Reason::Congestion);
        }
        self.clamp(through, packet, inner);
        None
    }

    /// As on the way out, a later fragment follows its first one, of the same SAs: no peer lays another's trail.
    /// The policy that speaks of a clear packet.
    pub fn policy(&mut self, inner: &Datagram, through: Through, now: f64) -> Result<Arc<Policy>, Reason> {
        let reqid = self.sadb.inbound_ref(through.last()).service.sa.reqid;
        let found = if inner.fragment.is_none() {
            self.spd.find(Direction::In, &inner.key)
        } else {
            self.policy_of_fragment(inner, reqid, now)?
        };
        found.ok_or(Reason::InnerMismatch)
    }

    fn policy_of_fragment(&mut self, inner: &Datagram, reqid: u32, now: f64) -> Result<Option<Arc<Policy>>, Reason> {
        let key = (reqid, fragment::key_of(inner));
        if !inner.is_later_fragment() {
            let policy = self.spd.find(Direction::In, &inner.key);
            self.memory.trail.lay(key, policy.clone(), now);
            return Ok(policy);
        }
        if let Some(followed) = self.memory.trail.follow(&key, now) {
            return Ok(followed);
        }
        if self.spd.needs_ports(Direction::In, &inner.key) {
            return Err(Reason::FragmentPorts);
        }
        Ok(self.spd.find(Direction::In, &inner.key))
    }

    /// Why the policy that speaks of a clear packet doesn't let it in by the SAs that it came through.
    fn objection(&self, policy: &Policy, through: Through, inner: &Datagram) -> Option<Reason> {
        if policy.action == Action::Discard {
            return Some(Reason::DiscardIn);
        }
        let sa = &self.sadb.inbound_ref(through.last()).service.sa;
        if sa.reqid != policy.reqid || !self.is_bundle_right(policy, through) {
            return Some(Reason::SaMismatch);
        }
        if policy.mode != sa.mode || policy.protocol != sa.protocol {
            return Some(Reason::ProtocolMismatch);
        }
        let is_tunnel = inner_version(inner.protocol).is_some();
        if sa.mode == Mode::Transport && is_tunnel && policy.selector.protocol != Some(inner.protocol) {
            // A tunnel of the peer's: its inner packet would get by without having been asked who it is.
            return Some(Reason::ModeMismatch);
        }
        None
    }

    fn is_bundle_right(&self, policy: &Policy, through: Through) -> bool {
        let Some(first) = through.bundled() else {
            return !policy.bundle_ah;
        };
        let (around, sa) =
            (&self.sadb.inbound_ref(first).service.sa, &self.sadb.inbound_ref(through.last()).service.sa);
        policy.bundle_ah
            && sa.protocol == Protocol::Esp
            && around.reqid == policy.reqid
            && around.protocol == Protocol::Ah
    }

    /// The segments that the other side will be sent have to fit the way back, which is as wide as the way in.
    fn clamp(&self, through: Through, packet: &mut [u8], inner: &Datagram) {
        let service = &self.sadb.inbound_ref(through.last()).service;
        let Some(wanted) = service.sa.mss else {
            return;
        };
        let bundled = through.bundled().map(|id| &self.sadb.inbound_ref(id).service.sizes);
        let room = largest_inner(service, bundled) - mss::sizes(inner.version) as isize;
        let wanted = if wanted == 0 { room } else { room.min(wanted as isize) };
        mss::clamp(packet, inner, wanted.max(1) as usize);
    }
}

/// The largest inner packet whose outer packet fits the SA's path.
fn largest_inner(service: &crate::tables::sadb::Service, bundled: Option<&Sizes>) -> isize {
    let sa = &service.sa;
    let outer_mtu = if sa.path_mtu == 0 { ip::LENGTH_MAX } else { sa.path_mtu };
    let outer_header = ip::header_octets(sa.destination.version);
    let udp_octets = if sa.encapsulation.is_some() { udp::HEADER_OCTETS } else { 0 };
    let around = outer_header + udp_octets + bundled.map_or(0, |sizes| sizes.sealed(0));
    let header = if sa.mode == Mode::Transport { outer_header as isize } else { 0 };
    (header + service.sizes.largest_payload(outer_mtu as isize - around as isize)).max(0)
}

fn inner_version(next: u8) -> Option<u8> {
    match next {
        next_header::IPV4 => Some(4),
        next_header::IPV6 => Some(6),
        _ => None,
    }
}

/// Where the security header stands and where what it covers ends.
pub fn span(packet: &[u8], outer: &Datagram) -> Result<(usize, usize), Reason> {
    let (start, end) = match outer.protocol {
        next_header::UDP => udp::esp_in(packet, outer.offset, outer.length)?,
        next_header::ESP | next_header::AH => (outer.offset, outer.length),
        _ => return Err(Reason::ProtocolMismatch),
    };
    let least = if outer.protocol == next_header::AH { AH_FIXED_OCTETS } else { ESP_HEADER_OCTETS };
    if end < start + least { Err(Reason::Runt) } else { Ok((start, end)) }
}

/// Why this packet isn't even looked into.
pub fn refusal(record: &Inbound, outer: &Datagram, now: f64) -> Option<Reason> {
    let sa = &record.service.sa;
    if outer.key.source != sa.source {
        return Some(Reason::OuterMismatch);
    }
    if (outer.protocol == next_header::UDP) != sa.encapsulation.is_some() {
        return Some(Reason::EncapsulationMismatch);
    }
    record.service.is_dead(now).then_some(Reason::ExpiredIn)
}

fn decompressed(cpi: u16, next: u8, octets: Vec<u8>) -> Result<(u8, Vec<u8>), Reason> {
    if next != next_header::IPCOMP {
        return Ok((next, octets));
    }
    let mut clear = Vec::new();
    let next = ipcomp::decompress(cpi, &octets, &mut clear)?;
    Ok((next, clear))
}

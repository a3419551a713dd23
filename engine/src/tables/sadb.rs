//! The security association database: SAs in service, each with what changes from packet to packet.
//!
//! A record is compiled from a `SecurityAssociation` once, when it is added: keys checked, header laid out. Inbound
//! records are found by what the packet shows (SPI, destination, protocol), outbound ones by the `reqid` and protocol
//! of the SPD entry that sent the packet here (RFC 4301 sections 4.4.2 and 5).
//!
//! Several workers may look at one database. What a packet changes is in atomic numbers, or behind a lock of the record.

use std::collections::HashMap;
use std::fmt;
use std::hint::black_box;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustc_hash::FxBuildHasher;

use super::few::Few;
use super::gone::Gone;
use super::leases::Lease;
use super::replay::Window;
use super::sa::{Direction, Protocol, REPLAY_WINDOW_MAX, SPI_MIN, SaKey, SecurityAssociation};
use super::slots::Slot;
use crate::crypto::{Keyed, Layout, Unfit};
use crate::reason::Reason;
use crate::transform::ipcomp::Compressor;
use crate::wire::address::Address;
use crate::wire::immutable::aligned;
use crate::wire::ip;
use crate::wire::tunnel::OuterHeader;
use crate::wire::{icmp, udp};

type FastMap<K, V> = HashMap<K, V, FxBuildHasher>;

/// Why an SA can't be put into service, or taken out.
#[derive(Debug, PartialEq, Eq)]
pub struct Refused(pub String);

impl fmt::Display for Refused {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.write_str(&self.0)
    }
}

impl From<Unfit> for Refused {
    fn from(unfit: Unfit) -> Refused {
        Refused(match unfit {
            Unfit::UnknownAlgorithm(name) => format!("no algorithm is called '{name}'"),
            Unfit::KeyLength(name, wanted, given) => format!("{name} wants a key of {wanted} octets, not {given}"),
            Unfit::Unauthenticated(sentence) => sentence,
        })
    }
}

/// What the algorithms of an SA add to a packet, in octets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sizes {
    /// Header, IV, padding, trailer and ICV.
    Esp(Layout),
    /// The whole header, with its padding.
    Ah(usize),
}

impl Sizes {
    /// From the security header to the end.
    #[inline]
    pub fn sealed(&self, payload: usize) -> usize {
        match self {
            Sizes::Esp(layout) => layout.sealed(payload),
            Sizes::Ah(header) => header + payload,
        }
    }

    /// The largest payload that is at most `sealed` octets afterwards; below 0 where none fits.
    pub fn largest_payload(&self, sealed: isize) -> isize {
        match self {
            Sizes::Esp(layout) => layout.largest_payload(sealed),
            Sizes::Ah(header) => sealed - *header as isize,
        }
    }
}

fn prepare(sa: &SecurityAssociation) -> Result<(Keyed, Sizes), Refused> {
    if sa.protocol == Protocol::Esp {
        let keyed = Keyed::esp(&sa.cipher, &sa.cipher_key, &sa.auth, &sa.auth_key, sa.esn)?;
        let sizes = Sizes::Esp(keyed.layout);
        return Ok((keyed, sizes));
    }
    if sa.auth == "none" || sa.cipher != "null" {
        let sentence = format!("AH takes an integrity algorithm and no cipher, not {} and {}", sa.auth, sa.cipher);
        return Err(Refused(sentence));
    }
    if sa.encapsulation.is_some() {
        let sentence = "AH covers the addresses that a NAT changes: it can't go in UDP (RFC 3948 section 1)";
        return Err(Refused(sentence.into()));
    }
    let keyed = Keyed::ah(&sa.auth, &sa.auth_key, sa.esn)?;
    let alignment = if sa.destination.version == 4 { 4 } else { 8 };
    let header = aligned(keyed.icv, alignment);
    Ok((keyed, Sizes::Ah(header)))
}

/// What both directions have.
pub struct Service {
    /// As configured.
    pub sa: SecurityAssociation,
    /// Sequence number and statistics.
    pub slot: Slot,
    /// Its keys, as given.
    pub keyed: Keyed,
    /// Octets that the algorithms add.
    pub sizes: Sizes,
    mortal: bool,
}

impl Service {
    fn new(sa: SecurityAssociation, slot: Slot) -> Result<Service, Refused> {
        let (keyed, sizes) = prepare(&sa)?;
        let mortal = sa.lifetime.hard.any();
        Ok(Service { sa, slot, keyed, sizes, mortal })
    }

    /// Past a hard limit of its life.
    #[inline]
    pub fn is_dead(&self, now: f64) -> bool {
        self.would_be_dead(now, 0, 0)
    }

    /// Past a hard limit, had it carried so much more.
    #[inline]
    pub fn would_be_dead(&self, now: f64, packets: u64, octets: u64) -> bool {
        if !self.mortal {
            return false;
        }
        let slot = &self.slot;
        let (life_packets, life_octets) = (slot.life_packets() + packets, slot.life_octets() + octets);
        self.sa.lifetime.hard.reached(now - slot.created(), life_octets, life_packets)
    }
}

/// An outbound SA in service. The last sequence number used is its slot's.
pub struct Outbound {
    /// Keys and statistics.
    pub service: Service,
    /// What goes in front, in tunnel mode.
    pub header: OuterHeader,
    /// The numbers that may be used; None: all that there are.
    pub lease: Option<Arc<Lease>>,
    /// None: nothing is compressed.
    pub compressor: Option<Mutex<Compressor>>,
    /// Octets in front of what the sealer makes, in tunnel mode.
    pub around: usize,
    /// Octets of the largest outer packet, as configured.
    pub most: usize,
    /// The last number that left, or was given up: numbers leave in the order in which they were claimed.
    pub left: AtomicU64,
    /// A time, as in the slot.
    kept_alive: AtomicU64,
}

impl Outbound {
    fn new(sa: SecurityAssociation, slot: Slot, now: f64) -> Result<Outbound, Refused> {
        let header = OuterHeader::new(sa.source, sa.destination, sa.header);
        let largest = header.octets + header.payload_max;
        let udp_octets = if sa.encapsulation.is_some() { udp::HEADER_OCTETS } else { 0 };
        Ok(Outbound {
            around: ip::header_octets(sa.destination.version) + udp_octets,
            compressor: (sa.compression != 0).then(|| Mutex::new(Compressor::new(sa.compression))),
            kept_alive: AtomicU64::new(now.to_bits()),
            left: AtomicU64::new(slot.sequence()),
            lease: None,
            most: if sa.path_mtu == 0 { largest } else { largest.min(sa.path_mtu) },
            header,
            service: Service::new(sa, slot)?,
        })
    }

    /// Ask for all that a packet needs. Where none of it is in a cache, it comes side by side: not one behind the other,
    /// each when it is needed.
    #[inline]
    pub fn fetch(&self) {
        let Service { sa, slot, keyed, .. } = &self.service;
        let numbers = (slot.sequence(), slot.path().0, slot.created());
        black_box((numbers, keyed.reveal().0.first().copied(), sa.spi, self.header.octets, self.most));
    }

    /// The last number that may be used, for now.
    #[inline]
    pub fn leased(&self) -> u64 {
        self.lease.as_ref().map_or_else(|| self.service.sa.sequence_max(), |lease| lease.last())
    }

    /// Why no packet can be sealed: none is left at all, or none that is leased.
    pub fn out_of_numbers(&self) -> Option<Reason> {
        let sequence = self.service.slot.sequence();
        if sequence < self.leased() {
            return None;
        }
        let all_gone = sequence >= self.service.sa.sequence_max();
        Some(if all_gone { Reason::SequenceExhausted } else { Reason::CounterJournal })
    }

    /// Octets of the largest outer packet that gets through, as far as is known.
    #[inline]
    pub fn mtu(&self, now: f64) -> usize {
        let (mtu, until) = self.service.slot.path();
        if mtu != 0 && now < until { self.most.min(mtu) } else { self.most }
    }

    /// Believe for a while that no more than `mtu` octets get through; what is believed then.
    pub fn learn_mtu(&self, mtu: usize, now: f64) -> usize {
        let believed = self.most.min(mtu.max(icmp::floor(self.service.sa.destination.version)));
        self.service.slot.set_path(believed, now + icmp::PATH_SECONDS);
        believed
    }

    /// When the last keep-alive left.
    pub fn kept_alive(&self) -> f64 {
        f64::from_bits(self.kept_alive.load(Ordering::Relaxed))
    }

    /// As above.
    pub fn set_kept_alive(&self, now: f64) {
        self.kept_alive.store(now.to_bits(), Ordering::Relaxed);
    }

    /// What is remembered of its compression, if it has any.
    pub fn compression(&self) -> Option<MutexGuard<'_, Compressor>> {
        Some(self.compressor.as_ref()?.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// An inbound SA in service.
pub struct Inbound {
    /// Keys and statistics. Its slot's sequence number is the right edge of the window, as last written.
    pub service: Service,
    replay: Mutex<Window>,
}

impl Inbound {
    /// Which numbers were seen.
    #[inline]
    pub fn replay(&self) -> MutexGuard<'_, Window> {
        self.replay.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The place of a record in its half of the database; another record may have it once it is removed.
pub type Id = u32;

/// Records with stable places.
struct Places<T> {
    all: Vec<Option<T>>,
    free: Vec<Id>,
}

impl<T> Places<T> {
    fn add(&mut self, record: T) -> Id {
        if let Some(id) = self.free.pop() {
            self.all[id as usize] = Some(record);
            return id;
        }
        self.all.push(Some(record));
        (self.all.len() - 1) as Id
    }

    fn remove(&mut self, id: Id) -> Option<T> {
        let record = self.all.get_mut(id as usize)?.take()?;
        self.free.push(id);
        Some(record)
    }

    fn iter(&self) -> impl Iterator<Item = (Id, &T)> {
        self.all.iter().enumerate().filter_map(|(id, record)| Some((id as Id, record.as_ref()?)))
    }
}

/// A record that was taken out of service, or refers to one in it.
#[derive(Clone, Copy, Debug)]
pub enum Record<T, U> {
    /// Of what arrives.
    In(T),
    /// Of what leaves.
    Out(U),
}

/// All SAs in service.
pub struct Sadb {
    inbound: Places<Inbound>,
    outbound: Places<Outbound>,
    inbound_names: FastMap<(u32, Address, u8), Id>,
    outbound_names: FastMap<(u32, Address, u8), Id>,
    serving: FastMap<(u32, Protocol), Few<Id>>,
    ends: FastMap<(Address, Address), usize>,
    /// Of records that were added and removed, so that whoever remembers one knows when to look again.
    pub generation: u64,
    /// Keys that were removed.
    pub gone: Gone,
}

impl Default for Sadb {
    fn default() -> Sadb {
        Sadb {
            inbound: Places { all: Vec::new(), free: Vec::new() },
            outbound: Places { all: Vec::new(), free: Vec::new() },
            inbound_names: FastMap::default(),
            outbound_names: FastMap::default(),
            serving: FastMap::default(),
            ends: FastMap::default(),
            generation: 0,
            gone: Gone::default(),
        }
    }
}

fn name(key: &SaKey) -> (u32, Address, u8) {
    (key.spi, key.destination, key.protocol as u8)
}

fn check(sa: &SecurityAssociation) -> Result<(), Refused> {
    let sentence = if sa.spi < SPI_MIN {
        format!("SPI {} is not in {SPI_MIN}..{}", sa.spi, u32::MAX)
    } else if sa.source.version != sa.destination.version {
        format!("source {} and destination {} are of different families", sa.source, sa.destination)
    } else if sa.replay_window > REPLAY_WINDOW_MAX {
        format!("replay window {} is not in 0..{REPLAY_WINDOW_MAX}", sa.replay_window)
    } else if sa.esn && sa.replay_window == 0 {
        "extended sequence numbers need a replay window to be found by (RFC 4303 section 2.2.1)".into()
    } else if sa.keep_alive_seconds != 0 && sa.encapsulation.is_none() {
        "keep-alives are for an SA that goes in UDP (RFC 3948 section 2.3)".into()
    } else {
        return Ok(());
    };
    Err(Refused(sentence))
}

fn word(direction: Direction) -> &'static str {
    if direction == Direction::In { "in" } else { "out" }
}

impl Sadb {
    /// Put an SA into service. The slot's sequence: the last number sent, or the highest seen.
    pub fn add(&mut self, sa: SecurityAssociation, slot: Slot, now: f64) -> Result<Record<Id, Id>, Refused> {
        check(&sa)?;
        let (key, direction) = (sa.key(), sa.direction);
        let names = if direction == Direction::In { &self.inbound_names } else { &self.outbound_names };
        if names.contains_key(&name(&key)) {
            let (spi, destination) = (key.spi, key.destination);
            let sentence = format!("{}bound SPI {spi:#x} to {destination} is in use already", word(direction));
            return Err(Refused(sentence));
        }
        let record = match direction {
            Direction::In => Record::In(self.add_inbound(sa, slot)?),
            Direction::Out => Record::Out(self.add_outbound(sa, slot, now)?),
        };
        self.generation += 1;
        Ok(record)
    }

    fn add_inbound(&mut self, sa: SecurityAssociation, slot: Slot) -> Result<Id, Refused> {
        let (key, ends) = (sa.key(), (sa.source, sa.destination));
        let mut replay = Window::new(sa.replay_window, slot.sequence(), sa.esn);
        replay.set_lost(slot.lost());
        slot.set_window(replay.newest());
        let id = self.inbound.add(Inbound { service: Service::new(sa, slot)?, replay: Mutex::new(replay) });
        self.inbound_names.insert(name(&key), id);
        *self.ends.entry(ends).or_default() += 1;
        Ok(id)
    }

    fn add_outbound(&mut self, sa: SecurityAssociation, slot: Slot, now: f64) -> Result<Id, Refused> {
        let (key, served) = (sa.key(), (sa.reqid, sa.protocol));
        let id = self.outbound.add(Outbound::new(sa, slot, now)?);
        self.outbound_names.insert(name(&key), id);
        let label = |id: &Id| &self.outbound.all[*id as usize].as_ref().expect("in service").service.sa.label;
        let serving = self.serving.entry(served).or_default();
        // Behind those of the same label, as they came.
        let place = serving.all().partition_point(|other| label(other) <= label(&id));
        serving.insert(place, id);
        Ok(id)
    }

    /// Take an SA out of service; its record is the caller's last look at it.
    pub fn remove(&mut self, sa: &SecurityAssociation) -> Result<Record<Inbound, Outbound>, Refused> {
        let key = sa.key();
        let names = if sa.direction == Direction::In { &mut self.inbound_names } else { &mut self.outbound_names };
        let Some(id) = names.remove(&name(&key)) else {
            let sentence = format!("no {}bound SPI {:#x} to {}", word(sa.direction), key.spi, key.destination);
            return Err(Refused(sentence));
        };
        let record = match sa.direction {
            Direction::In => Record::In(self.remove_inbound(id)),
            Direction::Out => Record::Out(self.remove_outbound(id)),
        };
        let (Record::In(Inbound { service, .. }) | Record::Out(Outbound { service, .. })) = &record;
        self.gone.add(service.keyed.serial());
        self.generation += 1;
        Ok(record)
    }

    fn remove_inbound(&mut self, id: Id) -> Inbound {
        let record = self.inbound.remove(id).expect("it had a name");
        let sa = &record.service.sa;
        if let Some(count) = self.ends.get_mut(&(sa.source, sa.destination)) {
            *count -= 1;
            if *count == 0 {
                self.ends.remove(&(sa.source, sa.destination));
            }
        }
        record
    }

    fn remove_outbound(&mut self, id: Id) -> Outbound {
        let record = self.outbound.remove(id).expect("it had a name");
        let served = (record.service.sa.reqid, record.service.sa.protocol);
        if let Some(serving) = self.serving.get_mut(&served) {
            if let Some(place) = serving.all().iter().position(|other| *other == id) {
                serving.remove(place);
            }
            if serving.all().is_empty() {
                self.serving.remove(&served);
            }
        }
        record
    }

    /// The inbound SA that a packet names.
    #[inline]
    pub fn find_in(&self, spi: u32, destination: Address, protocol: u8) -> Option<Id> {
        self.inbound_names.get(&(spi, destination, protocol)).copied()
    }

    /// The outbound SA of this name.
    pub fn find_out(&self, spi: u32, destination: Address, protocol: u8) -> Option<Id> {
        self.outbound_names.get(&(spi, destination, protocol)).copied()
    }

    /// The SA that serves an SPD entry; of several the one with the lowest label.
    #[inline]
    pub fn serving(&self, reqid: u32, protocol: Protocol) -> Option<Id> {
        self.serving.get(&(reqid, protocol))?.all().first().copied()
    }

    /// Whether any inbound SA goes from one address to the other.
    pub fn has_inbound_between(&self, source: Address, destination: Address) -> bool {
        self.ends.contains_key(&(source, destination))
    }

    /// The record with this id, which `find_out` gave, to finish it.
    pub fn outbound(&mut self, id: Id) -> &mut Outbound {
        self.outbound.all[id as usize].as_mut().expect("in service")
    }

    /// The record with this id, which `find_in` gave.
    #[inline]
    pub fn inbound_ref(&self, id: Id) -> &Inbound {
        self.inbound.all[id as usize].as_ref().expect("in service")
    }

    /// The record with this id, which `serving` or `find_out` gave.
    #[inline]
    pub fn outbound_ref(&self, id: Id) -> &Outbound {
        self.outbound.all[id as usize].as_ref().expect("in service")
    }

    /// The inbound record with this id, if it is in service yet.
    pub fn try_inbound(&self, id: Id) -> Option<&Inbound> {
        self.inbound.all.get(id as usize)?.as_ref()
    }

    /// All inbound ones.
    pub fn all_inbound(&self) -> impl Iterator<Item = (Id, &Inbound)> {
        self.inbound.iter()
    }

    /// All outbound ones.
    pub fn all_outbound(&self) -> impl Iterator<Item = (Id, &Outbound)> {
        self.outbound.iter()
    }
}

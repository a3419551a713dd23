//! The security policy database: ordered, directional entries, first match wins (RFC 4301 section 4.4.1).
//!
//! A linear scan is right but slow, so entries are grouped by *shape*: the lengths of both prefixes, and which of protocol
//! and single ports they name. Within a shape, all that an entry wants of a packet is one value, so one look into a hash
//! table finds the few entries that may fit (they differ in port ranges only). A lookup asks every shape, in the order of
//! the shapes' best entries, and stops as soon as no shape left can hold a better one. Real configurations have few shapes
//! however many entries.
//!
//! In front of it stands a `FlowCache` for each worker, from flow to whatever the worker made of it.

use std::collections::HashMap;
use std::fmt;
use std::hash::{BuildHasher, Hash};
use std::sync::Arc;

use rustc_hash::{FxBuildHasher, FxHashMap};

use super::sa::{Direction, Network, Policy, PortRange, Selector, cut};
use crate::wire::address::Address;
use crate::wire::ip::{FlowKey, NO_PORT};

/// Why an entry can't be added or removed.
#[derive(Debug, PartialEq, Eq)]
pub enum SpdError {
    /// The very same entry is there already.
    Duplicate(String),
    /// There is no such entry.
    Unknown(String),
    /// No packet could ever match it.
    Bad(String),
}

impl fmt::Display for SpdError {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SpdError::Duplicate(label) => write!(to, "{label} is there already"),
            SpdError::Unknown(label) => write!(to, "{label} is not there"),
            SpdError::Bad(label) => write!(to, "{label}: source and destination are of different families"),
        }
    }
}

/// Order, and a serial number so that equals stay in the order they came in; the label stands between.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Rank {
    order: i64,
    label: Arc<str>,
    serial: u64,
}

#[derive(Clone)]
struct Entry {
    rank: Rank,
    policy: Arc<Policy>,
}

/// Which bits of a flow the entries of one group look at.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct Shape {
    version: u8,
    source_bits: u32,
    destination_bits: u32,
    protocol: bool,
    source_port: bool,
    destination_port: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct Want {
    source: u128,
    destination: u128,
    protocol: u8,
    source_port: u32,
    destination_port: u32,
}

fn is_single(ports: Option<PortRange>) -> bool {
    ports.is_some_and(|ports| ports.first == ports.last)
}

impl Shape {
    fn of(selector: &Selector) -> Shape {
        Shape {
            version: selector.source.address.version,
            source_bits: selector.source.prefix,
            destination_bits: selector.destination.prefix,
            protocol: selector.protocol.is_some(),
            source_port: is_single(selector.source_ports),
            destination_port: is_single(selector.destination_ports),
        }
    }

    fn want(&self, key: &FlowKey) -> Want {
        Want {
            source: cut(key.source, self.source_bits),
            destination: cut(key.destination, self.destination_bits),
            protocol: if self.protocol { key.protocol } else { 0 },
            source_port: if self.source_port { key.source_port } else { NO_PORT },
            destination_port: if self.destination_port { key.destination_port } else { NO_PORT },
        }
    }
}

/// A flow that the selector matches.
fn sample(selector: &Selector) -> FlowKey {
    FlowKey {
        source: selector.source.address,
        destination: selector.destination.address,
        protocol: selector.protocol.unwrap_or(0),
        source_port: selector.source_ports.map_or(NO_PORT, |ports| ports.first),
        destination_port: selector.destination_ports.map_or(NO_PORT, |ports| ports.first),
    }
}

fn ports_fit(selector: &Selector, key: &FlowKey) -> bool {
    selector.source_ports.is_none_or(|ports| ports.contains(key.source_port))
        && selector.destination_ports.is_none_or(|ports| ports.contains(key.destination_port))
}

/// The entries of one shape. `best` may be lower than the best rank left: it isn't raised by removals.
struct Group {
    best: Rank,
    entries: HashMap<Want, Vec<Entry>, FxBuildHasher>,
}

/// The entries of one direction.
#[derive(Default)]
struct Table {
    ranks: FxHashMap<Arc<Policy>, Rank>,
    groups: FxHashMap<Shape, Group>,
    /// Shapes by the rank of their best entries.
    in_order: Vec<Shape>,
    /// Those that ask for ports.
    asking: FxHashMap<Arc<Policy>, Rank>,
    serial: u64,
}

impl Table {
    fn add(&mut self, policy: Policy) -> Result<(), SpdError> {
        if self.ranks.contains_key(&policy) {
            return Err(SpdError::Duplicate(policy.label));
        }
        if policy.selector.source.address.version != policy.selector.destination.address.version {
            return Err(SpdError::Bad(policy.label));
        }
        self.serial += 1;
        let rank = Rank { order: policy.order, label: policy.label.as_str().into(), serial: self.serial };
        let policy = Arc::new(policy);
        self.ranks.insert(policy.clone(), rank.clone());
        if policy.selector.source_ports.is_some() || policy.selector.destination_ports.is_some() {
            self.asking.insert(policy.clone(), rank.clone());
        }
        self.add_to_group(Entry { rank, policy });
        Ok(())
    }

    fn add_to_group(&mut self, entry: Entry) {
        let shape = Shape::of(&entry.policy.selector);
        let want = shape.want(&sample(&entry.policy.selector));
        let rank = entry.rank.clone();
        let is_new = !self.groups.contains_key(&shape);
        let group = self
            .groups
            .entry(shape)
            .or_insert_with(|| Group { best: rank.clone(), entries: HashMap::with_hasher(FxBuildHasher) });
        let is_better = rank < group.best;
        if is_better {
            group.best = rank.clone();
        }
        let entries = group.entries.entry(want).or_default();
        let place = entries.partition_point(|other| other.rank < rank);
        entries.insert(place, entry);
        if is_new || is_better {
            self.put_in_order();
        }
    }

    fn put_in_order(&mut self) {
        let groups = &self.groups;
        self.in_order = groups.keys().copied().collect();
        self.in_order.sort_by(|one, other| groups[one].best.cmp(&groups[other].best));
    }

    fn remove(&mut self, policy: &Policy) -> Result<(), SpdError> {
        let Some(rank) = self.ranks.remove(policy) else {
            return Err(SpdError::Unknown(policy.label.clone()));
        };
        self.asking.remove(policy);
        let shape = Shape::of(&policy.selector);
        let want = shape.want(&sample(&policy.selector));
        let group = self.groups.get_mut(&shape).expect("its shape has a group");
        let left = group.entries.get_mut(&want).expect("it is in its group");
        left.retain(|entry| entry.rank != rank);
        if left.is_empty() {
            group.entries.remove(&want);
        }
        if group.entries.is_empty() {
            self.groups.remove(&shape);
            self.put_in_order();
        }
        Ok(())
    }

    fn search(&self, key: &FlowKey) -> Option<&Entry> {
        let mut found: Option<&Entry> = None;
        for shape in self.in_order.iter().filter(|shape| shape.version == key.source.version) {
            let group = &self.groups[shape];
            if found.is_some_and(|found| found.rank < group.best) {
                break;
            }
            let fitting = group.entries.get(&shape.want(key)).into_iter().flatten();
            let first = fitting.into_iter().find(|entry| ports_fit(&entry.policy.selector, key));
            found = match (found, first) {
                (Some(found), Some(first)) if found.rank < first.rank => Some(found),
                (_, Some(first)) => Some(first),
                (found, None) => found,
            };
        }
        found
    }

    /// Whether the first entry that may fit a packet without ports would ask for them.
    fn needs_ports(&self, key: &FlowKey) -> bool {
        let bare = FlowKey { source_port: NO_PORT, destination_port: NO_PORT, ..*key };
        let plain = self.search(&bare);
        self.asking.iter().any(|(policy, rank)| {
            plain.is_none_or(|plain| *rank < plain.rank) && fits_but_for_ports(&policy.selector, key)
        })
    }
}

fn fits_but_for_ports(selector: &Selector, key: &FlowKey) -> bool {
    let within = |network: &Network, address: Address| network.contains(address);
    selector.protocol.is_none_or(|protocol| protocol == key.protocol)
        && within(&selector.source, key.source)
        && within(&selector.destination, key.destination)
}

/// All entries of both directions.
#[derive(Default)]
pub struct Spd {
    inbound: Table,
    outbound: Table,
    generation: u64,
}

impl Spd {
    fn table(&self, direction: Direction) -> &Table {
        if direction == Direction::In { &self.inbound } else { &self.outbound }
    }

    fn table_mut(&mut self, direction: Direction) -> &mut Table {
        self.generation += 1;
        if direction == Direction::In { &mut self.inbound } else { &mut self.outbound }
    }

    /// One more entry.
    pub fn add(&mut self, policy: Policy) -> Result<(), SpdError> {
        self.table_mut(policy.direction).add(policy)
    }

    /// One entry less.
    pub fn remove(&mut self, policy: &Policy) -> Result<(), SpdError> {
        self.table_mut(policy.direction).remove(policy)
    }

    /// Grows with every change, so that whoever remembers an answer knows when to ask again.
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// The first entry, by order, that matches.
    pub fn find(&self, direction: Direction, key: &FlowKey) -> Option<Arc<Policy>> {
        self.table(direction).search(key).map(|entry| entry.policy.clone())
    }

    /// Whether an entry may speak of a packet that shows no ports, and asks for ports (RFC 4301 section 7).
    pub fn needs_ports(&self, direction: Direction, key: &FlowKey) -> bool {
        self.table(direction).needs_ports(key)
    }
}

const CACHE_ENTRIES: usize = 8192;

struct Remembered<T> {
    key: FlowKey,
    generation: u64,
    what: T,
}

/// What one worker remembers of flows: one place for each of so many hash values, the last flow has it.
pub struct FlowCache<T> {
    places: Vec<Option<Remembered<T>>>,
}

impl<T> Default for FlowCache<T> {
    fn default() -> FlowCache<T> {
        FlowCache::new()
    }
}

impl<T> FlowCache<T> {
    /// Empty.
    pub fn new() -> FlowCache<T> {
        FlowCache { places: (0..CACHE_ENTRIES).map(|_| None).collect() }
    }

    /// What is remembered of the flow since that generation; else what `make` says, which is remembered.
    #[inline]
    pub fn get_or_insert_with(&mut self, key: &FlowKey, generation: u64, make: impl FnOnce() -> T) -> &T {
        let hash = FxBuildHasher.hash_one(key);
        let place = &mut self.places[(hash >> 40) as usize & (CACHE_ENTRIES - 1)];
        let known = place.as_ref().is_some_and(|known| known.key == *key && known.generation == generation);
        if !known {
            *place = Some(Remembered { key: *key, generation, what: make() });
        }
        &place.as_ref().expect("it was put there").what
    }
}

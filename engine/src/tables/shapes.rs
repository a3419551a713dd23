//! The index of policies (see `spd`): groups of entries of the same *shape*, which is the lengths of both prefixes and
//! which of protocol and single ports they name. Within a shape, all that an entry wants of a packet is one value.

use std::cmp::Ordering;
use std::collections::HashMap;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use rustc_hash::FxBuildHasher;

use super::few::Few;
use super::flows::{both, mix};
use super::sa::{Action, Mode, Policy, PortRange, Protocol, Selector, cut};
use crate::wire::ip::{FlowKey, NO_PORT};

/// A policy, and a serial number so that equals stay in the order they came in. Compared by rank: order, then label.
#[derive(Clone)]
pub struct Entry {
    /// All of it.
    pub policy: Arc<Policy>,
    pub(super) serial: u64,
    /// Of the policy, as are the others: what decides about most packets is here too, because with many policies every look
    /// at one is at memory that nobody has looked at for long.
    pub reqid: u32,
    /// By ESP alone, in tunnel mode.
    pub is_plain: bool,
    /// It names ports that a shape doesn't tell.
    has_ranges: bool,
}

impl Entry {
    pub(super) fn new(policy: Arc<Policy>, serial: u64) -> Entry {
        let is_range = |ports: Option<PortRange>| ports.is_some() && !is_single(ports);
        let (selector, is_esp) = (&policy.selector, policy.protocol == Protocol::Esp && !policy.bundle_ah);
        Entry {
            serial,
            reqid: policy.reqid,
            is_plain: policy.action == Action::Protect && is_esp && policy.mode == Mode::Tunnel,
            has_ranges: is_range(selector.source_ports) || is_range(selector.destination_ports),
            policy,
        }
    }

    fn rank(&self) -> (i64, &str, u64) {
        (self.policy.order, &self.policy.label, self.serial)
    }
}

impl PartialEq for Entry {
    fn eq(&self, other: &Entry) -> bool {
        self.serial == other.serial
    }
}

impl Eq for Entry {}

impl PartialOrd for Entry {
    fn partial_cmp(&self, other: &Entry) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Entry {
    fn cmp(&self, other: &Entry) -> Ordering {
        self.rank().cmp(&other.rank())
    }
}

/// Which bits of a flow the entries of one group look at.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Shape {
    version: u8,
    source_bits: u8,
    destination_bits: u8,
    protocol: bool,
    source_port: bool,
    destination_port: bool,
}

fn is_single(ports: Option<PortRange>) -> bool {
    ports.is_some_and(|ports| ports.first == ports.last)
}

impl Shape {
    fn of(selector: &Selector, by_ports: bool) -> Shape {
        Shape {
            version: selector.source.address.version,
            source_bits: selector.source.prefix as u8,
            destination_bits: selector.destination.prefix as u8,
            protocol: selector.protocol.is_some(),
            source_port: by_ports && is_single(selector.source_ports),
            destination_port: by_ports && is_single(selector.destination_ports),
        }
    }

    #[inline]
    fn want(self, key: &FlowKey) -> Want {
        let source_port = if self.source_port { key.source_port } else { NO_PORT };
        let destination_port = if self.destination_port { key.destination_port } else { NO_PORT };
        Want {
            source: cut(key.source, self.source_bits.into()),
            destination: cut(key.destination, self.destination_bits.into()),
            ports: both(source_port, destination_port),
            protocol: if self.protocol { key.protocol } else { 0 },
        }
    }
}

/// What is left of a flow when only the bits of a shape are looked at.
#[derive(PartialEq, Eq)]
struct Want {
    source: u128,
    destination: u128,
    ports: u64,
    protocol: u8,
}

impl Hash for Want {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(mix(self.source, self.destination, self.ports, self.protocol));
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
    shape: Shape,
    best: Entry,
    entries: HashMap<Want, Few<Entry>, FxBuildHasher>,
}

impl Group {
    fn want(&self, entry: &Entry) -> Want {
        self.shape.want(&sample(&entry.policy.selector))
    }

    fn add(&mut self, entry: Entry) {
        if entry < self.best {
            self.best = entry.clone();
        }
        let entries = self.entries.entry(self.want(&entry)).or_default();
        let place = entries.all().partition_point(|other| *other < entry);
        entries.insert(place, entry);
    }

    fn remove(&mut self, entry: &Entry) {
        let want = self.want(entry);
        let Some(entries) = self.entries.get_mut(&want) else { return };
        if let Ok(place) = entries.all().binary_search(entry) {
            entries.remove(place);
        }
        if entries.all().is_empty() {
            self.entries.remove(&want);
        }
    }

    #[inline]
    fn first(&self, key: &FlowKey, by_ports: bool) -> Option<&Entry> {
        let entries = self.entries.get(&self.shape.want(key))?;
        entries.all().iter().find(|entry| !by_ports || !entry.has_ranges || ports_fit(&entry.policy.selector, key))
    }
}

/// Entries of all shapes. Without `by_ports`, it is as if no entry named ports.
pub(super) struct Index {
    by_ports: bool,
    /// In the order of their best entries.
    groups: Vec<Group>,
}

impl Index {
    pub(super) fn new(by_ports: bool) -> Index {
        Index { by_ports, groups: Vec::new() }
    }

    fn place_of(&self, shape: Shape) -> Option<usize> {
        self.groups.iter().position(|group| group.shape == shape)
    }

    pub(super) fn add(&mut self, entry: Entry) {
        let shape = Shape::of(&entry.policy.selector, self.by_ports);
        let place = self.place_of(shape).unwrap_or_else(|| {
            self.groups.push(Group { shape, best: entry.clone(), entries: HashMap::default() });
            self.groups.len() - 1
        });
        self.groups[place].add(entry);
        let better = self.groups[..place].partition_point(|group| group.best < self.groups[place].best);
        self.groups[better..=place].rotate_right(1);
    }

    pub(super) fn remove(&mut self, entry: &Entry) {
        let shape = Shape::of(&entry.policy.selector, self.by_ports);
        let Some(place) = self.place_of(shape) else { return };
        self.groups[place].remove(entry);
        if self.groups[place].entries.is_empty() {
            self.groups.remove(place);
        }
    }

    /// The first entry, by rank, that fits.
    pub(super) fn search(&self, key: &FlowKey) -> Option<&Entry> {
        let mut found: Option<&Entry> = None;
        for group in &self.groups {
            if found.is_some_and(|found| *found < group.best) {
                break;
            }
            if group.shape.version == key.source.version {
                let first = group.first(key, self.by_ports);
                found = [found, first].into_iter().flatten().min();
            }
        }
        found
    }
}

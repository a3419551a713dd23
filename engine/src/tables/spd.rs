//! The security policy database: ordered, directional entries, first match wins (RFC 4301 section 4.4.1).
//!
//! A linear scan is right but slow, so entries are grouped by *shape* (see `shapes`): one look into a hash table for each
//! shape finds the few entries that may fit, which differ in port ranges only. A lookup asks every shape, in the order
//! of the shapes' best entries, and stops as soon as no shape left can hold a better one. Real configurations have few
//! shapes however many entries.
//!
//! In front of it stands a `FlowCache` for each worker, from flow to whatever the worker made of it.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use rustc_hash::FxBuildHasher;

pub use super::flows::FlowCache;
use super::sa::{Direction, Policy};
pub use super::shapes::Entry;
use super::shapes::Index;
use crate::wire::ip::{FlowKey, NO_PORT};

/// Why an entry can't be added or removed. Each names the entry's label.
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

fn asks_for_ports(policy: &Policy) -> bool {
    policy.selector.source_ports.is_some() || policy.selector.destination_ports.is_some()
}

/// The entries of one direction.
struct Table {
    serials: HashMap<Arc<Policy>, u64, FxBuildHasher>,
    index: Index,
    /// Those that ask for ports, found by all else that they want.
    asking: Index,
    last_serial: u64,
}

impl Table {
    fn new() -> Table {
        Table { serials: HashMap::default(), index: Index::new(true), asking: Index::new(false), last_serial: 0 }
    }

    fn add(&mut self, policy: Policy) -> Result<Arc<Policy>, SpdError> {
        if self.serials.contains_key(&policy) {
            return Err(SpdError::Duplicate(policy.label));
        }
        if policy.selector.source.address.version != policy.selector.destination.address.version {
            return Err(SpdError::Bad(policy.label));
        }
        self.last_serial += 1;
        let policy = Arc::new(policy);
        self.serials.insert(policy.clone(), self.last_serial);
        let entry = Entry::new(policy.clone(), self.last_serial);
        if asks_for_ports(&policy) {
            self.asking.add(entry.clone());
        }
        self.index.add(entry);
        Ok(policy)
    }

    fn remove(&mut self, policy: &Policy) -> Result<Arc<Policy>, SpdError> {
        let Some((policy, serial)) = self.serials.remove_entry(policy) else {
            return Err(SpdError::Unknown(policy.label.clone()));
        };
        let entry = Entry::new(policy, serial);
        if asks_for_ports(&entry.policy) {
            self.asking.remove(&entry);
        }
        self.index.remove(&entry);
        Ok(entry.policy)
    }

    /// Whether the first entry that may fit a packet without ports would ask for them.
    fn needs_ports(&self, key: &FlowKey) -> bool {
        let bare = FlowKey { source_port: NO_PORT, destination_port: NO_PORT, ..*key };
        let plain = self.index.search(&bare);
        self.asking.search(&bare).is_some_and(|asking| plain.is_none_or(|plain| asking < plain))
    }

    fn policies(&self) -> Vec<Arc<Policy>> {
        let entries = self.serials.iter().map(|(policy, serial)| Entry::new(policy.clone(), *serial));
        let mut entries: Vec<Entry> = entries.collect();
        entries.sort_unstable();
        entries.into_iter().map(|entry| entry.policy).collect()
    }
}

/// All entries of both directions.
pub struct Spd {
    inbound: Table,
    outbound: Table,
    generation: u64,
}

impl Default for Spd {
    fn default() -> Spd {
        Spd { inbound: Table::new(), outbound: Table::new(), generation: 0 }
    }
}

impl Spd {
    fn table(&self, direction: Direction) -> &Table {
        if direction == Direction::In { &self.inbound } else { &self.outbound }
    }

    fn table_mut(&mut self, direction: Direction) -> &mut Table {
        if direction == Direction::In { &mut self.inbound } else { &mut self.outbound }
    }

    /// One more entry.
    pub fn add(&mut self, policy: Policy) -> Result<Arc<Policy>, SpdError> {
        let added = self.table_mut(policy.direction).add(policy)?;
        self.generation += 1;
        Ok(added)
    }

    /// One entry less.
    pub fn remove(&mut self, policy: &Policy) -> Result<Arc<Policy>, SpdError> {
        let removed = self.table_mut(policy.direction).remove(policy)?;
        self.generation += 1;
        Ok(removed)
    }

    /// Grows with every change, so that whoever remembers an answer knows when to ask again.
    #[inline]
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// The first entry, by order, that matches.
    pub fn find(&self, direction: Direction, key: &FlowKey) -> Option<Arc<Policy>> {
        self.find_entry(direction, key).map(|entry| entry.policy.clone())
    }

    /// The same, where it stands.
    pub fn find_entry(&self, direction: Direction, key: &FlowKey) -> Option<&Entry> {
        self.table(direction).index.search(key)
    }

    /// Whether an entry may speak of a packet that shows no ports, and asks for ports (RFC 4301 section 7).
    pub fn needs_ports(&self, direction: Direction, key: &FlowKey) -> bool {
        self.table(direction).needs_ports(key)
    }

    /// Whether this very entry is there.
    pub fn has(&self, policy: &Policy) -> bool {
        self.table(policy.direction).serials.contains_key(policy)
    }

    /// The entries of one direction, in the order in which they are tried.
    pub fn policies(&self, direction: Direction) -> Vec<Arc<Policy>> {
        self.table(direction).policies()
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::*;
    use crate::tables::sa::{Action, Mode, Network, PortRange, Protocol, Selector};
    use crate::wire::address::Address;
    use crate::wire::ip::ICMP_BASE;
    use Direction::{In, Out};

    type Ports = Option<(u32, u32)>;

    fn address(text: &str) -> Address {
        text.parse::<IpAddr>().expect("an address").into()
    }

    fn network(text: &str) -> Network {
        let (first, prefix) = text.split_once('/').expect("a prefix");
        Network { address: address(first), prefix: prefix.parse().expect("a length") }
    }

    fn range(ports: Ports) -> Option<PortRange> {
        ports.map(|(first, last)| PortRange { first, last })
    }

    fn selector(source: &str, destination: &str, protocol: Option<u8>, from: Ports, to: Ports) -> Selector {
        let (source, destination) = (network(source), network(destination));
        Selector { source, destination, protocol, source_ports: range(from), destination_ports: range(to) }
    }

    fn policy(direction: Direction, selector: Selector, order: i64, label: &str) -> Policy {
        Policy {
            direction,
            selector,
            order,
            label: label.into(),
            reqid: 1,
            action: Action::Protect,
            protocol: Protocol::Esp,
            mode: Mode::Tunnel,
            bundle_ah: false,
            tunnel_source: None,
            tunnel_destination: None,
        }
    }

    fn everything() -> Selector {
        selector("0.0.0.0/0", "0.0.0.0/0", None, None, None)
    }

    fn flow() -> FlowKey {
        FlowKey {
            source: address("10.1.2.3"),
            destination: address("10.9.9.9"),
            protocol: 6,
            source_port: 1000,
            destination_port: 443,
        }
    }

    fn bare(key: FlowKey) -> FlowKey {
        FlowKey { source_port: NO_PORT, destination_port: NO_PORT, ..key }
    }

    fn found(spd: &Spd, key: &FlowKey) -> Option<(i64, String)> {
        spd.find(Out, key).map(|policy| (policy.order, policy.label.clone()))
    }

    fn matches(selector: &Selector, key: &FlowKey) -> bool {
        let fits = |ports: Option<PortRange>, port| ports.is_none_or(|ports| ports.contains(port));
        selector.source.contains(key.source)
            && selector.destination.contains(key.destination)
            && selector.protocol.is_none_or(|protocol| protocol == key.protocol)
            && fits(selector.source_ports, key.source_port)
            && fits(selector.destination_ports, key.destination_port)
    }

    /// A port that each range would take, none where any would do.
    fn shown(selector: &Selector, key: &FlowKey) -> FlowKey {
        let first = |ports: Option<PortRange>| ports.map_or(NO_PORT, |ports| ports.first);
        FlowKey {
            source_port: first(selector.source_ports),
            destination_port: first(selector.destination_ports),
            ..bare(*key)
        }
    }

    /// RFC 4301 section 4.4.1, word for word, of entries in the order of their ranks.
    fn scan<'p>(entries: &[&'p Policy], key: &FlowKey) -> Option<&'p Policy> {
        entries.iter().find(|policy| matches(&policy.selector, key)).copied()
    }

    /// By trial: the first entry that fits as it is ends it; one before it that fits by its ports asks.
    fn scan_for_ports(entries: &[&Policy], key: &FlowKey) -> bool {
        let before = entries.iter().take_while(|policy| !matches(&policy.selector, &bare(*key)));
        before.into_iter().any(|policy| matches(&policy.selector, &shown(&policy.selector, key)))
    }

    struct Dice(u64);

    impl Dice {
        fn below(&mut self, limit: usize) -> usize {
            self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            (self.0 >> 33) as usize % limit
        }

        fn pick<T: Copy>(&mut self, all: &[T]) -> T {
            all[self.below(all.len())]
        }

        /// Few values, so that selectors overlap and flows hit.
        fn address(&mut self, version: u8) -> Address {
            let four = [0x0A00_0000, 0x0A00_0001, 0x0A00_0002, 0x0A00_0080, 0x0A00_00FF, 0x0A00_0100];
            let six = [0, 1, 2, 1 << 63, 1 << 64].map(|low| (0xFDu128 << 120) + low);
            Address { version, value: if version == 4 { self.pick(&four) } else { self.pick(&six) } }
        }

        fn network(&mut self, version: u8) -> Network {
            let address = self.address(version);
            let prefix =
                if version == 4 { self.pick(&[0, 8, 24, 25, 31, 32]) } else { self.pick(&[0, 8, 64, 127, 128]) };
            let value =
                if prefix == 0 { 0 } else { address.value >> (address.bits() - prefix) << (address.bits() - prefix) };
            Network { address: Address { version, value }, prefix }
        }

        fn ports(&mut self) -> Ports {
            let (one, other) = (self.pick(&[0, 1, 22, 53, 65535]), self.pick(&[0, 1, 22, 53, 65535]));
            self.pick(&[None, Some((one.min(other), one.max(other)))])
        }

        fn policy(&mut self) -> Policy {
            let version = self.pick(&[4, 6]);
            let selector = Selector {
                source: self.network(version),
                destination: self.network(version),
                protocol: self.pick(&[None, Some(0), Some(6), Some(17)]),
                source_ports: range(self.ports()),
                destination_ports: range(self.ports()),
            };
            let reqid = self.below(3) as u32;
            let (direction, order, label) = (self.pick(&[In, Out]), self.below(4) as i64, self.pick(&["a", "b", "c"]));
            Policy { reqid, ..policy(direction, selector, order, label) }
        }

        fn flow(&mut self) -> FlowKey {
            let version = self.pick(&[4, 6]);
            let ports = [0, 1, 22, 53, 65535, NO_PORT];
            FlowKey {
                source: self.address(version),
                destination: self.address(version),
                protocol: self.pick(&[0, 1, 6, 17]),
                source_port: self.pick(&ports),
                destination_port: self.pick(&ports),
            }
        }
    }

    fn compare(spd: &Spd, entries: &[Policy], dice: &mut Dice) {
        for direction in [In, Out] {
            let mut sorted: Vec<&Policy> = entries.iter().filter(|policy| policy.direction == direction).collect();
            // Stable, so that equals stay as they came.
            sorted.sort_by_key(|policy| (policy.order, &policy.label));
            let listed = spd.policies(direction);
            assert!(listed.iter().map(|policy| policy.as_ref()).eq(sorted.iter().copied()));
            for _ in 0..40 {
                let key = dice.flow();
                assert_eq!(spd.find(direction, &key).as_deref(), scan(&sorted, &key), "{key:?}");
                assert_eq!(spd.needs_ports(direction, &key), scan_for_ports(&sorted, &key), "{key:?}");
            }
        }
    }

    #[test]
    fn the_index_is_a_linear_scan() {
        let mut dice = Dice(1);
        for _ in 0..200 {
            let (mut spd, mut entries) = (Spd::default(), Vec::<Policy>::new());
            for _ in 0..dice.below(40) {
                let policy = dice.policy();
                let is_new = !entries.contains(&policy);
                assert_eq!(spd.add(policy.clone()).is_ok(), is_new);
                entries.extend(is_new.then_some(policy));
            }
            while !entries.is_empty() {
                compare(&spd, &entries, &mut dice);
                for _ in 0..(1 + dice.below(8)).min(entries.len()) {
                    let policy = entries.remove(dice.below(entries.len()));
                    assert_eq!(spd.remove(&policy).as_deref(), Ok(&policy));
                }
            }
            compare(&spd, &entries, &mut dice);
        }
    }

    #[test]
    fn first_match_by_order_then_label() {
        let mut spd = Spd::default();
        let narrow = selector("10.1.0.0/16", "10.9.9.9/32", Some(6), None, Some((443, 443)));
        let sooner = policy(Out, selector("10.0.0.0/8", "10.0.0.0/8", None, None, None), 1, "a");
        for (added, first) in [
            (policy(Out, narrow, 3, "a"), (3, "a")),
            (policy(Out, everything(), 2, "a"), (2, "a")),
            (policy(Out, everything(), 1, "b"), (1, "b")),
            (sooner.clone(), (1, "a")),
        ] {
            spd.add(added).expect("it is new");
            assert_eq!(found(&spd, &flow()), Some((first.0, first.1.to_string())));
        }
        assert!(spd.find(In, &flow()).is_none() && spd.policies(In).is_empty());
        spd.remove(&sooner).expect("it is there");
        assert_eq!(found(&spd, &flow()), Some((1, "b".into())));
    }

    #[test]
    fn a_group_whose_best_entry_does_not_fit_hides_no_better_match_of_another() {
        let mut spd = Spd::default();
        for (network, order) in [("192.0.2.0/24", 1), ("10.1.2.0/24", 5), ("10.0.0.0/8", 3)] {
            spd.add(policy(Out, selector(network, "0.0.0.0/0", None, None, None), order, "a")).expect("it is new");
        }
        assert_eq!(found(&spd, &flow()), Some((3, "a".into())));
    }

    #[test]
    fn ports_that_a_packet_does_not_show_fit_no_port_selector() {
        let mut spd = Spd::default();
        let tcp = |ports| selector("0.0.0.0/0", "0.0.0.0/0", Some(6), None, ports);
        spd.add(policy(Out, tcp(Some((0, 65535))), 1, "a")).expect("it is new");
        assert_eq!((found(&spd, &flow()), found(&spd, &bare(flow()))), (Some((1, "a".into())), None));
        spd.add(policy(Out, tcp(None), 9, "a")).expect("it is new");
        assert_eq!(found(&spd, &bare(flow())), Some((9, "a".into())));
    }

    #[test]
    fn icmp_types_are_found_and_taken_for_no_port() {
        let mut spd = Spd::default();
        let echo = selector("0.0.0.0/0", "0.0.0.0/0", Some(1), Some((ICMP_BASE + 8, ICMP_BASE + 8)), None);
        let ports = selector("0.0.0.0/0", "0.0.0.0/0", None, Some((0, 65535)), None);
        spd.add(policy(Out, echo, 1, "echo")).expect("it is new");
        spd.add(policy(Out, ports, 9, "ports")).expect("it is new");
        let icmp = |kind| FlowKey { protocol: 1, source_port: ICMP_BASE + kind, destination_port: ICMP_BASE, ..flow() };
        assert_eq!(found(&spd, &icmp(8)), Some((1, "echo".into())));
        assert_eq!(found(&spd, &icmp(0)), None);
        let udp = FlowKey { protocol: 17, source_port: 8, destination_port: 0, ..flow() };
        assert_eq!(found(&spd, &udp), Some((9, "ports".into())));
    }

    #[test]
    fn which_entries_ask_for_ports() {
        let web = Some((443, 443));
        for (source, destination, protocol, from, to, asked) in [
            ("0.0.0.0/0", "0.0.0.0/0", Some(6), None, web, true),
            ("0.0.0.0/0", "0.0.0.0/0", None, Some((1, 2)), Some((3, 4)), true),
            ("10.1.2.3/32", "10.9.9.9/32", Some(6), None, web, true),
            ("0.0.0.0/0", "0.0.0.0/0", Some(6), None, None, false),
            ("0.0.0.0/0", "0.0.0.0/0", Some(17), None, web, false),
            ("10.1.2.4/32", "0.0.0.0/0", Some(6), None, web, false),
            ("0.0.0.0/0", "10.9.9.8/32", Some(6), None, web, false),
            ("::/0", "::/0", Some(6), None, web, false),
        ] {
            let mut spd = Spd::default();
            let asking = policy(Out, selector(source, destination, protocol, from, to), 1, "a");
            spd.add(asking.clone()).expect("it is new");
            assert_eq!(spd.needs_ports(Out, &bare(flow())), asked, "{asking:?}");
            assert!(!spd.needs_ports(In, &bare(flow())));
            spd.remove(&asking).expect("it is there");
            assert!(!spd.needs_ports(Out, &bare(flow())));
        }
    }

    #[test]
    fn what_is_refused_says_why_and_changes_nothing() {
        let mut spd = Spd::default();
        let first = policy(Out, everything(), 1, "/Common/ts");
        spd.add(first.clone()).expect("it is new");
        let said = |refused: Result<Arc<Policy>, SpdError>| refused.expect_err("it is refused").to_string();
        assert_eq!(said(spd.add(first.clone())), "/Common/ts is there already");
        for absent in [Policy { direction: In, ..first.clone() }, Policy { reqid: 99, ..first.clone() }] {
            assert_eq!(said(spd.remove(&absent)), "/Common/ts is not there");
        }
        let mixed = policy(Out, Selector { destination: network("fd00::/8"), ..everything() }, 1, "x");
        assert_eq!(said(spd.add(mixed)), "x: source and destination are of different families");
        assert_eq!((spd.generation(), spd.policies(Out).len()), (1, 1));
        spd.remove(&first).expect("it is there");
        assert_eq!((spd.generation(), spd.policies(Out).len()), (2, 0));
    }
}

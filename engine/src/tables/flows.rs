//! What one worker remembers of flows, in front of the policies: a fixed array of sets of four places, in which a flow
//! stands in the set that its hash names. Nothing is chained, grown or swept, so a lookup costs the same whatever an
//! attacker sends; at worst the policies are asked again.
//!
//! What was remembered before the last change of the policies is told by its generation, and is as good as nothing.

use std::array;

use crate::wire::ip::FlowKey;

const WAYS: usize = 4;
/// Few for a fuzzer: so one stands in another's way.
const SETS: usize = if cfg!(fuzzing) { 4 } else { 2048 };

/// Any odd numbers without pattern: these are digits of pi.
const DIGITS: [u64; 5] =
    [0x243F_6A88_85A3_08D3, 0x1319_8A2E_0370_7345, 0xA409_3822_299F_31D1, 0x082E_FA98_EC4E_6C89, 0x4528_21E6_38D0_1377];

/// Every bit of both into every bit of one: a multiplication of which no half is thrown away.
#[inline]
fn fold(one: u64, other: u64) -> u64 {
    let product = u128::from(one) * u128::from(other);
    product as u64 ^ (product >> 64) as u64
}

/// A hash of addresses, ports and protocol: good in its upper and in its lower bits.
#[inline]
pub(super) fn mix(source: u128, destination: u128, ports: u64, protocol: u8) -> u64 {
    let source = fold(source as u64 ^ DIGITS[0], (source >> 64) as u64 ^ DIGITS[1]);
    let destination = fold(destination as u64 ^ DIGITS[2], (destination >> 64) as u64 ^ DIGITS[3]);
    fold(source ^ ports, destination ^ DIGITS[4] ^ u64::from(protocol))
}

/// Both ports as one number.
#[inline]
pub(super) fn both(source_port: u32, destination_port: u32) -> u64 {
    u64::from(source_port) << 32 | u64::from(destination_port)
}

#[inline]
fn hash_of(key: &FlowKey) -> u64 {
    mix(key.source.value, key.destination.value, both(key.source_port, key.destination_port), key.protocol)
}

struct Known<T> {
    key: FlowKey,
    generation: u64,
    what: T,
}

/// Tags stand apart, so that a look at one cache line tells which place to look at.
struct Set<T> {
    tags: [u32; WAYS],
    next: usize,
    places: [Option<Known<T>>; WAYS],
}

impl<T> Set<T> {
    fn new() -> Set<T> {
        Set { tags: [0; WAYS], next: 0, places: array::from_fn(|_| None) }
    }

    fn is_of(&self, way: usize, generation: u64) -> bool {
        self.places[way].as_ref().is_some_and(|known| known.generation == generation)
    }

    #[inline]
    fn find(&self, tag: u32, key: &FlowKey, generation: u64) -> Option<usize> {
        let is_it = |known: &Known<T>| known.generation == generation && known.key == *key;
        (0..WAYS).find(|way| self.tags[*way] == tag && self.places[*way].as_ref().is_some_and(is_it))
    }

    /// Into a place that is free or outdated; else the places are taken in turn.
    fn put(&mut self, tag: u32, known: Known<T>) -> usize {
        let outdated = (0..WAYS).find(|way| !self.is_of(*way, known.generation));
        let way = outdated.unwrap_or(self.next);
        self.next = (way + 1) % WAYS;
        self.tags[way] = tag;
        self.places[way] = Some(known);
        way
    }
}

/// From flows to whatever a worker made of them.
pub struct FlowCache<T> {
    sets: Vec<Set<T>>,
}

impl<T> Default for FlowCache<T> {
    fn default() -> FlowCache<T> {
        FlowCache::new()
    }
}

impl<T> FlowCache<T> {
    /// Empty.
    pub fn new() -> FlowCache<T> {
        FlowCache { sets: (0..SETS).map(|_| Set::new()).collect() }
    }

    /// What is remembered of the flow since that generation; else what `make` says, which is remembered.
    #[inline]
    pub fn get_or_insert_with(&mut self, key: &FlowKey, generation: u64, make: impl FnOnce() -> T) -> &T {
        let hash = hash_of(key);
        let tag = (hash >> 32) as u32;
        let set = &mut self.sets[hash as usize % SETS];
        let way = match set.find(tag, key, generation) {
            Some(way) => way,
            None => set.put(tag, Known { key: *key, generation, what: make() }),
        };
        &set.places[way].as_ref().expect("it was found or put there").what
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;
    use std::sync::Arc;

    use super::*;
    use crate::wire::address::Address;

    fn flow(number: u32) -> FlowKey {
        let source = Address::from_octets(&number.to_be_bytes());
        let destination = Address::from_octets(&[10, 0, 0, 1]);
        FlowKey { source, destination, protocol: 6, source_port: 1000, destination_port: 443 }
    }

    #[test]
    fn what_is_known_is_not_made_again() {
        let mut cache = FlowCache::new();
        for number in 0..1000 {
            assert_eq!(*cache.get_or_insert_with(&flow(number), 1, || number), number);
        }
        let again = (0..1000).filter(|number| *cache.get_or_insert_with(&flow(*number), 1, || u32::MAX) == *number);
        assert!(again.count() > 990);
    }

    #[test]
    fn what_is_known_of_before_a_change_is_made_again() {
        let mut cache = FlowCache::new();
        assert_eq!(*cache.get_or_insert_with(&flow(1), 1, || "old"), "old");
        assert_eq!(*cache.get_or_insert_with(&flow(1), 2, || "new"), "new");
        assert_eq!(*cache.get_or_insert_with(&flow(1), 2, || "newer"), "new");
    }

    #[test]
    fn each_flow_gets_its_own_answer_however_many_there_are() {
        let mut cache = FlowCache::new();
        for round in 0..3 {
            for number in 0..50_000 {
                assert_eq!(*cache.get_or_insert_with(&flow(number), round / 2, || number), number);
            }
        }
    }

    #[test]
    fn every_field_of_a_flow_counts() {
        let six = Address { version: 6, value: flow(1).source.value };
        let all = [
            flow(1),
            FlowKey { source: six, ..flow(1) },
            FlowKey { destination: six, ..flow(1) },
            FlowKey { protocol: 17, ..flow(1) },
            FlowKey { source_port: 443, destination_port: 1000, ..flow(1) },
            FlowKey { destination_port: 444, ..flow(1) },
            FlowKey { source: flow(1).destination, destination: flow(1).source, ..flow(1) },
        ];
        let mut cache = FlowCache::new();
        for _ in 0..2 {
            for (number, key) in all.iter().enumerate() {
                assert_eq!(*cache.get_or_insert_with(key, 1, || number), number);
            }
        }
    }

    #[test]
    fn what_is_outdated_is_let_go_when_its_place_is_needed() {
        let mut cache = FlowCache::new();
        let value = Arc::new(());
        for number in 0..100_000 {
            cache.get_or_insert_with(&flow(number), 1, || value.clone());
        }
        assert_eq!(Arc::strong_count(&value), SETS * WAYS + 1);
        for number in 0..100_000 {
            cache.get_or_insert_with(&flow(number), 2, || Arc::new(()));
        }
        assert_eq!(Arc::strong_count(&value), 1);
    }

    /// Flows that differ in a few bits only, wherever these are, don't meet in a few sets.
    #[test]
    fn the_hash_spreads_whichever_bits_differ() {
        for shift in 0..120 {
            let spread = |number: u128| {
                let value = number << shift;
                let source = Address { version: 6, value };
                hash_of(&FlowKey { source, ..flow(1) })
            };
            let low: HashSet<u64> = (0..256).map(|number| spread(number) % 2048).collect();
            let high: HashSet<u64> = (0..256).map(|number| spread(number) >> 57).collect();
            assert!(low.len() > 200 && high.len() > 80, "{shift}: {} {}", low.len(), high.len());
        }
    }
}

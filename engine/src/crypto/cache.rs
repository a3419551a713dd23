//! Prepared keys of the SAs that are in use: of each engine, so many and no more. What an SA's algorithms compute from its
//! keys is a multiple of the keys themselves; a hundred thousand SAs have it only while packets come.
//!
//! A fixed array of sets of four places; a key stands in the set that its serial number leads to, and takes the place of
//! what was used longest ago among these. What went is wiped, by its own `drop`.

use std::array;

use super::Keyed;
use super::keyed::Serial;

const WAYS: usize = 4;
/// Few for a fuzzer: so one stands in another's way.
const SETS: usize = if cfg!(fuzzing) { 2 } else { 1024 };

/// Serials and batches stand apart, so that a look at one cache line tells which place to look at.
struct Set<P> {
    /// 0: the place is free.
    serials: [Serial; WAYS],
    /// By which each was used last.
    batches: [u64; WAYS],
    prepared: [Option<P>; WAYS],
}

impl<P> Set<P> {
    fn new() -> Set<P> {
        Set { serials: [0; WAYS], batches: [0; WAYS], prepared: array::from_fn(|_| None) }
    }
}

/// Evenly, whatever the steps from one serial number to the next: those of one direction may be every other one.
#[inline]
fn place_of(serial: Serial, sets: usize) -> usize {
    (serial.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 32) as usize % sets
}

/// See the module.
pub struct Cache<P> {
    sets: Vec<Set<P>>,
    sets_max: usize,
    batch: u64,
}

impl<P> Default for Cache<P> {
    fn default() -> Cache<P> {
        Cache::of_sets(SETS)
    }
}

impl<P> Cache<P> {
    /// For so many keys times four.
    pub fn of_sets(sets_max: usize) -> Cache<P> {
        Cache { sets: Vec::new(), sets_max, batch: 0 }
    }

    /// Of what `get` gave before, nothing is needed any more.
    #[inline]
    pub fn begin(&mut self) {
        self.batch += 1;
    }

    /// What was made of this key, or is made now; `make` may use the memory of what goes for it. It stays until the next
    /// `begin`. None: all places that it could have are taken by what `get` gave since the last one.
    #[inline]
    pub fn get(&mut self, key: &Keyed, make: impl FnOnce(&Keyed, Option<P>) -> P) -> Option<&P> {
        if self.sets.is_empty() {
            self.sets.resize_with(self.sets_max, Set::new);
        }
        let (sets, serial) = (self.sets.len(), key.serial());
        let set = &mut self.sets[place_of(serial, sets)];
        let way = match set.serials.iter().position(|each| *each == serial) {
            Some(way) => way,
            None => {
                // A free place was used before the first batch.
                let way = (0..WAYS).min_by_key(|way| set.batches[*way]).filter(|way| set.batches[*way] < self.batch)?;
                set.serials[way] = 0;
                set.prepared[way] = Some(make(key, set.prepared[way].take()));
                set.serials[way] = serial;
                way
            }
        };
        set.batches[way] = self.batch;
        set.prepared[way].as_ref()
    }

    /// As `get`, of one key alone: nothing that was given before is needed any more.
    #[inline]
    pub fn get_alone(&mut self, key: &Keyed, make: impl FnOnce(&Keyed, Option<P>) -> P) -> &P {
        self.begin();
        self.get(key, make).expect("a batch that has just begun has taken no place")
    }

    /// These keys are out of service: what was made of them goes. None: everything does.
    pub fn forget(&mut self, serials: Option<&[Serial]>) {
        let sets = self.sets.len();
        match serials {
            None => self.sets.clear(),
            Some(serials) if sets > 0 => {
                for serial in serials {
                    let set = &mut self.sets[place_of(*serial, sets)];
                    if let Some(way) = set.serials.iter().position(|each| each == serial) {
                        (set.serials[way], set.batches[way], set.prepared[way]) = (0, 0, None);
                    }
                }
            }
            Some(_) => {}
        }
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.sets.iter().map(|set| set.prepared.iter().flatten().count()).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tables::sa::Secret;

    fn keys(count: usize) -> Vec<Keyed> {
        let key = || Keyed::ah("sha1", &Secret::new(vec![7; 20]), false).expect("a good key");
        (0..count).map(|_| key()).collect()
    }

    /// What is made is the serial number; told is what went for it.
    fn get(cache: &mut Cache<Serial>, key: &Keyed) -> Option<Option<Serial>> {
        let mut went = None;
        let found = cache.get(key, |key, old| {
            went = old;
            key.serial()
        });
        assert!(found.is_none_or(|found| *found == key.serial()));
        found.is_some().then_some(went)
    }

    #[test]
    fn what_was_used_longest_ago_makes_room_and_nothing_of_this_batch() {
        let (mut cache, keys) = (Cache::of_sets(1), keys(6));
        for key in &keys[..4] {
            cache.begin();
            assert_eq!(get(&mut cache, key), Some(None));
        }
        cache.begin();
        assert_eq!(get(&mut cache, &keys[0]), Some(None));
        assert_eq!(get(&mut cache, &keys[4]), Some(Some(keys[1].serial())));
        assert_eq!(get(&mut cache, &keys[5]), Some(Some(keys[2].serial())));
        assert_eq!(get(&mut cache, &keys[1]), Some(Some(keys[3].serial())));
        assert_eq!(get(&mut cache, &keys[2]), None, "all are of this batch");
        assert_eq!((get(&mut cache, &keys[4]), cache.len()), (Some(None), 4));
        cache.begin();
        assert!(get(&mut cache, &keys[2]).is_some());
    }

    #[test]
    fn a_place_whose_key_went_out_of_service_is_free() {
        let (mut cache, keys) = (Cache::of_sets(1), keys(5));
        cache.forget(Some(&[1]));
        cache.begin();
        keys[..4].iter().for_each(|key| assert_eq!(get(&mut cache, key), Some(None)));
        cache.forget(Some(&[keys[2].serial(), keys[4].serial()]));
        assert_eq!(cache.len(), 3);
        assert_eq!((get(&mut cache, &keys[4]), cache.len()), (Some(None), 4), "even in the same batch");
        cache.forget(None);
        assert_eq!((get(&mut cache, &keys[0]), cache.len()), (Some(None), 1));
    }
}

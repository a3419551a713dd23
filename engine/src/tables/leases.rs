//! Blocks of sequence numbers that are in the counter journal, and so may be used.
//!
//! The format of the journal, and why there is one, is told in `culvert.dataplane.userspace.leases`. Here is what the
//! packets' way asks: may this number be used? The answer is one comparison; that there are further blocks in time is the
//! business of `journal`, in a thread of its own.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde::Deserialize;

/// Numbers in the first block.
pub const BLOCK_MIN: u64 = 1 << 10;
/// Numbers in the largest.
pub const BLOCK_MAX: u64 = 1 << 22;
/// A block that lasted less is followed by a larger one.
const QUICK: Duration = Duration::from_secs(2);

/// What the parent knows of an outbound SA's numbers.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Known(
    /// Under which the blocks are kept, in hex.
    pub String,
    /// Whose block it is, in hex.
    pub String,
    /// The last number that is known to be on the disk, of its blocks.
    pub u64,
    /// Without a journal nothing is sent; else the SA goes on.
    pub bool,
);

/// The numbers that one outbound SA may use.
#[derive(Debug)]
pub struct Lease {
    /// Under which the blocks are kept.
    pub name: [u8; 16],
    /// Whose they are.
    pub owner: [u8; 16],
    /// The last number that the SA has at all.
    pub limit: u64,
    /// Of a counter mode.
    pub strict: bool,
    last: AtomicU64,
    block: AtomicU64,
    asked: AtomicBool,
    /// The journal can't be written just now.
    failing: AtomicBool,
    promise: Mutex<Promise>,
}

/// What may come to the disk any moment.
#[derive(Debug, Default)]
struct Promise {
    /// The last number of a block that is on its way.
    last: u64,
    /// When the last one was granted.
    granted: Option<Instant>,
    /// The SA is out of service: no further block is put on its way.
    is_closed: bool,
}

fn sixteen(text: &str) -> Option<[u8; 16]> {
    u128::from_str_radix(text, 16).ok().filter(|_| text.len() == 32).map(u128::to_be_bytes)
}

impl Lease {
    /// None where the names are none.
    pub fn new(known: &Known, limit: u64) -> Option<Lease> {
        Some(Lease {
            name: sixteen(&known.0)?,
            owner: sixteen(&known.1)?,
            limit,
            strict: known.3,
            // A block that was taken when the SA had more numbers (extended ones) gives it none that it hasn't got.
            last: AtomicU64::new(known.2.min(limit)),
            block: AtomicU64::new(BLOCK_MIN),
            asked: AtomicBool::new(false),
            failing: AtomicBool::new(false),
            promise: Mutex::default(),
        })
    }

    /// The last number that may be used.
    #[inline]
    pub fn last(&self) -> u64 {
        if !self.strict && self.failing.load(Ordering::Relaxed) {
            self.limit
        } else {
            self.last.load(Ordering::Acquire)
        }
    }

    /// Whether less than half a block is left behind this number.
    #[inline]
    pub fn is_short(&self, number: u64) -> bool {
        let last = self.last.load(Ordering::Relaxed);
        last < self.limit && last.saturating_sub(number) < self.block.load(Ordering::Relaxed) / 2
    }

    fn promise(&self) -> MutexGuard<'_, Promise> {
        self.promise.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether nobody has asked for a further block yet; from now on somebody has.
    pub fn ask(&self) -> bool {
        !self.asked.swap(true, Ordering::Relaxed)
    }

    /// Whether somebody has asked and was not answered.
    pub fn is_asked(&self) -> bool {
        self.asked.load(Ordering::Relaxed) && !self.failing.load(Ordering::Relaxed)
    }

    /// Where the next block ends, which is on its way from now on. A block that didn't last is followed by a larger one.
    /// None where the SA is out of service.
    pub fn next_last(&self, number: u64) -> Option<u64> {
        let mut promise = self.promise();
        if promise.is_closed {
            self.asked.store(false, Ordering::Relaxed);
            return None;
        }
        let before = self.block.load(Ordering::Relaxed);
        let quick = promise.granted.is_some_and(|when| when.elapsed() < QUICK);
        let block = if quick { (before * 2).min(BLOCK_MAX) } else { before };
        self.block.store(block, Ordering::Relaxed);
        promise.last = self.last.load(Ordering::Relaxed).max(number).saturating_add(block).min(self.limit);
        Some(promise.last)
    }

    /// The block is on the disk.
    pub fn grant(&self, last: u64) {
        self.promise().granted = Some(Instant::now());
        self.last.fetch_max(last, Ordering::Release);
        self.failing.store(false, Ordering::Relaxed);
        self.asked.store(false, Ordering::Relaxed);
    }

    /// It could not be written, or nobody knows. Who was asked tries again.
    pub fn refuse(&self) {
        self.failing.store(true, Ordering::Relaxed);
    }

    /// These are on the disk already.
    fn raise(&self, last: u64) {
        self.last.fetch_max(last.min(self.limit), Ordering::Release);
    }

    /// The SA goes out of service: what isn't on its way to the disk by now will never be.
    pub fn close(&self) {
        self.promise().is_closed = true;
    }

    /// It never went.
    pub fn reopen(&self) {
        self.promise().is_closed = false;
    }

    /// The last number that the journal may give away under this name, at any time.
    fn reach(&self) -> u64 {
        let promised = self.promise().last;
        self.last.load(Ordering::Acquire).max(promised)
    }
}

/// Leases of counter modes whose SAs went. Whoever takes such a key over goes on behind all of them.
///
/// The parent says how far a key's numbers go, but it has read the journal before it sent its changes: until they were
/// made the old SA went on, and a block of its may come to the disk even later.
#[derive(Default)]
pub struct Spent(HashMap<[u8; 16], Gone>);

struct Gone {
    lease: Arc<Lease>,
    /// The last number used, or given away under the name before.
    number: u64,
    /// All of it was in the journal when an earlier message came.
    is_read: bool,
}

impl Gone {
    /// No number up to this one may be used by another SA.
    fn behind(&self) -> u64 {
        self.lease.reach().max(self.number)
    }
}

impl Spent {
    /// A message of changes begins. Its parent has read the journal after the answer to the one before.
    pub fn begin(&mut self) {
        self.0.retain(|_, gone| !gone.is_read);
        for gone in self.0.values_mut() {
            // The journal's thread holds what it has to write.
            gone.is_read = Arc::strong_count(&gone.lease) == 1;
        }
    }

    /// This SA goes out of service, with `number` as its last one.
    pub fn add(&mut self, lease: Arc<Lease>, number: u64) {
        lease.close();
        if lease.strict {
            let before = self.0.get(&lease.name).map_or(0, Gone::behind);
            self.0.insert(lease.name, Gone { lease, number: number.max(before), is_read: false });
        }
    }

    /// A new lease learns what its key has seen. Where the number has to begin, if another SA had the key.
    pub fn teach(&self, lease: &Lease) -> Option<u64> {
        let gone = self.0.get(&lease.name).filter(|_| lease.strict)?;
        if gone.lease.owner == lease.owner {
            lease.raise(gone.lease.last.load(Ordering::Acquire));
            return None;
        }
        let behind = gone.behind();
        lease.raise(behind);
        Some(behind)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lease(last: u64, strict: bool) -> Lease {
        let name = "00112233445566778899aabbccddeeff".to_string();
        Lease::new(&Known(name.clone(), name, last, strict), u32::MAX.into()).expect("names are names")
    }

    #[test]
    fn numbers_end_with_their_block_and_go_on_with_the_next() {
        let lease = lease(100, true);
        assert_eq!(lease.last(), 100);
        assert!(lease.is_short(1) && lease.ask() && !lease.ask());
        let next = lease.next_last(60).unwrap();
        assert_eq!(next, 100 + BLOCK_MIN);
        lease.grant(next);
        assert_eq!(lease.last(), next);
        assert!(!lease.is_short(100) && lease.is_short(next - 10) && lease.ask());
        assert_eq!(lease.next_last(next), Some(next + 2 * BLOCK_MIN));
    }

    #[test]
    fn without_a_journal_only_counter_modes_stop() {
        let (strict, other) = (lease(100, true), lease(100, false));
        strict.refuse();
        other.refuse();
        assert_eq!((strict.last(), other.last()), (100, u64::from(u32::MAX)));
        strict.grant(1100);
        other.grant(1100);
        assert_eq!((strict.last(), other.last()), (1100, 1100));
    }

    #[test]
    fn a_block_of_more_numbers_than_there_are_gives_only_those() {
        let lease = lease(u64::from(u32::MAX) + 9000, true);
        assert_eq!(lease.last(), u64::from(u32::MAX));
        assert!(!lease.is_short(u32::MAX.into()));
    }

    fn owned(owner: u8, last: u64) -> Arc<Lease> {
        let name = "00112233445566778899aabbccddeeff".to_string();
        let known = Known(name, format!("{owner:032x}"), last, true);
        Arc::new(Lease::new(&known, u32::MAX.into()).expect("names are names"))
    }

    #[test]
    fn who_takes_a_key_over_goes_behind_all_that_may_ever_be_written_for_the_one_before() {
        let (first, mut spent) = (owned(1, 1024), Spent::default());
        // One block more was granted than the parent knows, and one is on its way.
        first.grant(2048);
        assert_eq!(first.next_last(1500), Some(4096));
        spent.begin();
        spent.add(first.clone(), 1600);
        assert_eq!(first.next_last(1600), None, "nothing more is put on its way");
        let second = owned(2, 1024);
        assert_eq!(spent.teach(&second), Some(4096));
        assert!(second.last() == 4096 && second.is_short(4096), "its own block comes before its first packet");
        // The same SA again has its numbers, as many as are on the disk.
        let again = owned(1, 1024);
        assert_eq!((spent.teach(&again), again.last()), (None, 2048));
    }

    #[test]
    fn a_spent_key_is_kept_until_the_parent_has_read_of_it() {
        let (first, mut spent) = (owned(1, 1024), Spent::default());
        spent.add(first.clone(), 700);
        // The journal's thread holds it, here this test: no message comes too late.
        (0..3).for_each(|_| spent.begin());
        assert_eq!(spent.teach(&owned(2, 0)), Some(1024));
        drop(first);
        spent.begin();
        assert_eq!(spent.teach(&owned(2, 0)), Some(1024), "it was written after the parent had read");
        spent.begin();
        assert_eq!(spent.teach(&owned(2, 0)), None);
    }

    #[test]
    fn the_last_block_ends_with_the_numbers() {
        let lease = lease(u64::from(u32::MAX) - 5, true);
        assert_eq!(lease.next_last(u64::from(u32::MAX) - 7), Some(u32::MAX.into()));
        lease.grant(u32::MAX.into());
        assert!(!lease.is_short(u32::MAX.into()));
    }
}

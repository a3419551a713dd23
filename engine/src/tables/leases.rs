//! Blocks of sequence numbers that are in the counter journal, and so may be used.
//!
//! The format of the journal, and why there is one, is told in `culvert.dataplane.userspace.leases`. Here is what the
//! packets' way asks: may this number be used? The answer is one comparison; that there are further blocks in time is the
//! business of `journal`, in a thread of its own.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use serde::Deserialize;

/// Numbers in the first block.
pub const BLOCK_MIN: u64 = 1 << 10;
/// Numbers in the largest.
pub const BLOCK_MAX: u64 = 1 << 22;

/// What the parent knows of an outbound SA's numbers.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Known(
    /// Under which the blocks are kept, in hex.
    pub String,
    /// Whose block it is, in hex.
    pub String,
    /// The last number of the last block.
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
            last: AtomicU64::new(known.2),
            block: AtomicU64::new(BLOCK_MIN),
            asked: AtomicBool::new(false),
            failing: AtomicBool::new(false),
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

    /// Whether nobody has asked for a further block yet; from now on somebody has.
    pub fn ask(&self) -> bool {
        !self.asked.swap(true, Ordering::Relaxed)
    }

    /// Where the next block ends. A block that didn't last is followed by a larger one.
    pub fn next_last(&self, number: u64, quick: bool) -> u64 {
        let before = self.block.load(Ordering::Relaxed);
        let block = if quick { (before * 2).min(BLOCK_MAX) } else { before };
        self.block.store(block, Ordering::Relaxed);
        self.last.load(Ordering::Relaxed).max(number).saturating_add(block).min(self.limit)
    }

    /// The block is on the disk.
    pub fn grant(&self, last: u64) {
        self.last.store(last, Ordering::Release);
        self.failing.store(false, Ordering::Relaxed);
        self.asked.store(false, Ordering::Relaxed);
    }

    /// It could not be written.
    pub fn refuse(&self) {
        self.failing.store(true, Ordering::Relaxed);
        self.asked.store(false, Ordering::Relaxed);
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
        let next = lease.next_last(60, false);
        assert_eq!(next, 100 + BLOCK_MIN);
        lease.grant(next);
        assert_eq!(lease.last(), next);
        assert!(!lease.is_short(100) && lease.is_short(next - 10) && lease.ask());
        assert_eq!(lease.next_last(next, true), next + 2 * BLOCK_MIN);
    }

    #[test]
    fn without_a_journal_only_counter_modes_stop() {
        let (strict, other) = (lease(100, true), lease(100, false));
        strict.refuse();
        other.refuse();
        assert_eq!((strict.last(), other.last()), (100, u64::from(u32::MAX)));
        assert!(strict.ask(), "it is tried again");
    }

    #[test]
    fn the_last_block_ends_with_the_numbers() {
        let lease = lease(u64::from(u32::MAX) - 5, true);
        assert_eq!(lease.next_last(u64::from(u32::MAX) - 7, true), u64::from(u32::MAX));
        lease.grant(u32::MAX.into());
        assert!(!lease.is_short(u32::MAX.into()));
    }
}

//! The order of departure, where several workers send by one SA.
//!
//! Each claims numbers when it frames packets, and seals them at its own pace. If they left as they come, numbers would
//! arrive out of their order by as much as a burst, and a peer's window of 64 would drop what is late. So numbers of an SA
//! leave in the order in which they were claimed: whoever comes too early waits for the others.
//!
//! Nobody waits for ever. Each worker sends in the order of its own claims, so the oldest claim of all waits for none. On a
//! busy machine its worker may be without a processor for a while; who has waited much longer than that goes first all the
//! same, since a packet out of its order is better than none.

use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::tables::sadb::{Id, Sadb};

const PATIENCE: Duration = Duration::from_secs(2);
/// Looks before the processor is offered to others, and offers before sleep.
const LOOKS: usize = 200;
const OFFERS: usize = 50;
const NAP: Duration = Duration::from_micros(50);

/// Consecutive numbers of one outbound SA that one worker took.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Claim {
    record: Id,
    first: u64,
    last: u64,
}

/// Those of one worker that have not left, in their order. A worker that is alone keeps none.
#[derive(Debug, Default)]
pub struct Claims {
    is_kept: bool,
    all: Vec<Claim>,
}

impl Claims {
    /// There are other workers.
    pub fn keep(&mut self) {
        self.is_kept = true;
    }

    /// Whether there are.
    pub fn are_kept(&self) -> bool {
        self.is_kept
    }

    /// These numbers were taken.
    #[inline]
    pub fn add(&mut self, record: Id, first: u64, last: u64) {
        if !self.is_kept {
            return;
        }
        match self.all.last_mut() {
            Some(before) if before.record == record && before.last + 1 == first => before.last = last,
            _ => self.all.push(Claim { record, first, last }),
        }
    }

    /// How many there are.
    #[inline]
    pub fn count(&self) -> usize {
        self.all.len()
    }

    /// Wait until the numbers of one claim may leave; behind the last claim whose numbers may leave with them.
    pub fn turn(&self, from: usize, sadb: &Sadb) -> usize {
        let Some(first) = self.all.get(from) else { return from };
        wait_for(&sadb.outbound_ref(first.record).left, first.first - 1);
        let may_follow = |at: &usize| {
            let claim = &self.all[*at];
            let own = self.all[from..*at].iter().rev().find(|each| each.record == claim.record);
            let left = own.map_or_else(|| left_of(claim, sadb).load(Ordering::Acquire), |each| each.last);
            left + 1 >= claim.first
        };
        from + 1 + (from + 1..self.all.len()).take_while(may_follow).count()
    }

    /// The numbers of these claims have left, or were given up.
    pub fn leave(&self, claims: Range<usize>, sadb: &Sadb) {
        for claim in &self.all[claims] {
            left_of(claim, sadb).fetch_max(claim.last, Ordering::Release);
        }
    }

    /// All of a burst is done with.
    pub fn clear(&mut self) {
        self.all.clear();
    }
}

fn left_of<'a>(claim: &Claim, sadb: &'a Sadb) -> &'a AtomicU64 {
    &sadb.outbound_ref(claim.record).left
}

fn wait_for(left: &AtomicU64, number: u64) {
    let has_left = || left.load(Ordering::Acquire) >= number;
    for _ in 0..LOOKS {
        if has_left() {
            return;
        }
        std::hint::spin_loop();
    }
    for _ in 0..OFFERS {
        if has_left() {
            return;
        }
        thread::yield_now();
    }
    let until = Instant::now() + PATIENCE;
    while !has_left() && Instant::now() < until {
        thread::sleep(NAP);
    }
}

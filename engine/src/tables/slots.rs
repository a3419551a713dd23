//! One SA's slot in the counters file: sequence number, statistics, life. Layout as in
//! `culvert.dataplane.userspace.counters`: 80 numbers of eight octets, in the machine's own order.
//!
//! One worker writes, everyone may read: so plain stores, never torn, and no locked instruction per packet.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed, Ordering::Release};

use crate::reason::Reason;

/// Numbers of a slot.
pub const SLOT_WORDS: usize = 80;

const SEQUENCE: usize = 3;
const PACKETS: usize = 4;
const OCTETS: usize = 5;
const LAST_USE: usize = 6;
const CREATED: usize = 7;
const LIFE_PACKETS: usize = 8;
const LIFE_OCTETS: usize = 9;
const LOST: usize = 10;
const PATH_MTU: usize = 11;
const PATH_UNTIL: usize = 12;
const DROPS: usize = 16;

/// Memory that holds numbers: of a process alone, or mapped from a file.
pub trait Words: Send + Sync {
    /// All of them; always the same.
    fn words(&self) -> &[AtomicU64];
}

/// Memory of this process alone.
pub struct HeapWords(Box<[AtomicU64]>);

impl HeapWords {
    /// So many zeros.
    pub fn new(count: usize) -> HeapWords {
        HeapWords((0..count).map(|_| AtomicU64::new(0)).collect())
    }
}

impl Words for HeapWords {
    fn words(&self) -> &[AtomicU64] {
        &self.0
    }
}

/// One SA's numbers.
#[derive(Clone)]
pub struct Slot {
    words: Arc<dyn Words>,
    base: usize,
}

impl Slot {
    /// Of the numbers from `base` on. Panics where there aren't enough.
    pub fn new(words: Arc<dyn Words>, base: usize) -> Slot {
        assert!(words.words().len() >= base + SLOT_WORDS, "the counters are too few for this slot");
        Slot { words, base }
    }

    #[inline]
    fn word(&self, at: usize) -> &AtomicU64 {
        &self.words.words()[self.base + at]
    }

    #[inline]
    fn get(&self, at: usize) -> u64 {
        self.word(at).load(Relaxed)
    }

    #[inline]
    fn add(&self, at: usize, more: u64) {
        let word = self.word(at);
        word.store(word.load(Relaxed).wrapping_add(more), Relaxed);
    }

    #[inline]
    fn time(&self, at: usize) -> f64 {
        f64::from_bits(self.get(at))
    }

    /// The last number sent, or the right edge of the window.
    #[inline]
    pub fn sequence(&self) -> u64 {
        self.get(SEQUENCE)
    }

    /// Before the packet that carries it leaves.
    #[inline]
    pub fn set_sequence(&self, number: u64) {
        self.word(SEQUENCE).store(number, Release);
    }

    /// So many inner packets and octets were carried.
    #[inline]
    pub fn add_use(&self, packets: u64, octets: u64, now: f64) {
        self.add(PACKETS, packets);
        self.add(OCTETS, octets);
        self.add_life(packets, octets, now);
    }

    /// What counts for the key's life only.
    #[inline]
    pub fn add_life(&self, packets: u64, octets: u64, now: f64) {
        self.add(LIFE_PACKETS, packets);
        self.add(LIFE_OCTETS, octets);
        self.word(LAST_USE).store(now.to_bits(), Relaxed);
    }

    /// A packet of this SA died.
    pub fn count_drop(&self, reason: Reason) {
        self.add(DROPS + reason as usize, 1);
    }

    /// Packets of this SA that died of it.
    pub fn drops(&self, reason: Reason) -> u64 {
        self.get(DROPS + reason as usize)
    }

    /// Inner packets since the statistics were reset.
    pub fn packets(&self) -> u64 {
        self.get(PACKETS)
    }

    /// Inner octets since the statistics were reset.
    pub fn octets(&self) -> u64 {
        self.get(OCTETS)
    }

    /// Inner packets of the key's whole life.
    pub fn life_packets(&self) -> u64 {
        self.get(LIFE_PACKETS)
    }

    /// Inner octets of the key's whole life.
    pub fn life_octets(&self) -> u64 {
        self.get(LIFE_OCTETS)
    }

    /// Seconds since the epoch; 0 for never.
    pub fn last_use(&self) -> f64 {
        self.time(LAST_USE)
    }

    /// When the key went into service, in seconds since the epoch.
    pub fn created(&self) -> f64 {
        self.time(CREATED)
    }

    /// As above.
    pub fn set_created(&self, now: f64) {
        self.word(CREATED).store(now.to_bits(), Relaxed);
    }

    /// Numbers that the window left behind unseen.
    pub fn lost(&self) -> u64 {
        self.get(LOST)
    }

    /// As above.
    #[inline]
    pub fn set_lost(&self, lost: u64) {
        self.word(LOST).store(lost, Relaxed);
    }

    /// What was learned of the path: octets, and until when it is believed.
    pub fn path(&self) -> (usize, f64) {
        (self.get(PATH_MTU) as usize, self.time(PATH_UNTIL))
    }

    /// As above.
    pub fn set_path(&self, mtu: usize, until: f64) {
        self.word(PATH_MTU).store(mtu as u64, Relaxed);
        self.word(PATH_UNTIL).store(until.to_bits(), Relaxed);
    }
}

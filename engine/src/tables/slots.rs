//! One SA's slot in the counters file: sequence number, statistics, the life of its key. The layout is that of
//! `culvert.dataplane.userspace.counters`: 80 numbers of eight octets, in the machine's own order.
//!
//! Everyone may read. Where one worker writes, it writes with plain stores of eight octets, never torn, and no locked
//! instruction per packet; where several do, they add. Sequence numbers are claimed, whoever writes, and have an order to
//! keep: the number is there before the packet that carries it leaves, because whoever goes on from the file must not
//! repeat one (RFC 4303 section 3.3.3).

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::{AcqRel, Relaxed, Release};

use super::sa::Limits;
use crate::reason::{REASONS, Reason};

/// Numbers of a slot.
pub const SLOT_WORDS: usize = 80;
/// Octets of a slot.
pub const SLOT_OCTETS: usize = SLOT_WORDS * 8;

/// Two numbers that name the SA and its keys.
pub const IDENTITY: usize = 0;
/// 1 in, 2 out.
pub const DIRECTION: usize = 2;
/// The last number sent, or the right edge of the window.
pub const SEQUENCE: usize = 3;
/// Inner packets since the statistics were reset.
pub const PACKETS: usize = 4;
/// Inner octets since the statistics were reset.
pub const OCTETS: usize = 5;
/// A time: seconds since the epoch as floating point; 0 for never.
pub const LAST_USE: usize = 6;
/// A time: when the key went into service.
pub const CREATED: usize = 7;
/// Inner packets of the key's whole life.
pub const LIFE_PACKETS: usize = 8;
/// Inner octets of the key's whole life.
pub const LIFE_OCTETS: usize = 9;
/// Numbers that the window left behind unseen.
pub const LOST: usize = 10;
/// Octets of the largest outer packet, as learned of the path.
pub const PATH_MTU: usize = 11;
/// A time: until when that is believed.
pub const PATH_UNTIL: usize = 12;
/// Which of the newest numbers were seen.
pub const WINDOW: usize = 13;
/// The worker that the last packet went by.
pub const WORKER: usize = 14;
/// One number for each reason to drop.
pub const DROPS: usize = 16;

const _: () = assert!(DROPS + REASONS.len() <= SLOT_WORDS, "a slot has room for every reason");

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
    #[inline]
    fn words(&self) -> &[AtomicU64] {
        &self.0
    }
}

/// One SA's numbers.
#[derive(Clone)]
pub struct Slot {
    words: Arc<dyn Words>,
    base: usize,
    is_shared: bool,
}

impl Slot {
    /// Of the numbers from `base` on. Panics where there aren't enough.
    pub fn new(words: Arc<dyn Words>, base: usize) -> Slot {
        assert!(words.words().len() >= base + SLOT_WORDS, "the counters are too few for this slot");
        Slot { words, base, is_shared: false }
    }

    /// For several workers that write.
    pub fn shared(self) -> Slot {
        Slot { is_shared: true, ..self }
    }

    /// With memory of its own.
    pub fn alone() -> Slot {
        Slot::new(Arc::new(HeapWords::new(SLOT_WORDS)), 0)
    }

    /// Its numbers. One look at the bounds, here, serves every access to them.
    #[inline]
    fn all(&self) -> &[AtomicU64; SLOT_WORDS] {
        self.words.words()[self.base..].first_chunk().expect("the slot was there when it was made")
    }

    #[inline]
    fn get(&self, at: usize) -> u64 {
        self.all()[at].load(Relaxed)
    }

    #[inline]
    fn add(&self, at: usize, more: u64) {
        let word = &self.all()[at];
        if self.is_shared {
            word.fetch_add(more, Relaxed);
        } else {
            word.store(word.load(Relaxed).wrapping_add(more), Relaxed);
        }
    }

    #[inline]
    fn set(&self, at: usize, number: u64) {
        self.all()[at].store(number, Relaxed);
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

    /// Take so many numbers to send, up to `last`: the one before the first of them, or None where so many aren't left.
    /// Nobody else gets them.
    #[inline]
    pub fn claim(&self, count: u64, last: u64) -> Option<u64> {
        let behind = |before: u64| before.checked_add(count).filter(|after| *after <= last);
        self.all()[SEQUENCE].fetch_update(AcqRel, Relaxed, behind).ok()
    }

    /// The right edge of the window, or where to go on.
    #[inline]
    pub fn set_sequence(&self, number: u64) {
        self.all()[SEQUENCE].store(number, Release);
    }

    /// Sixteen octets that name the SA and its keys.
    pub fn identity(&self) -> [u8; 16] {
        let mut octets = [0; 16];
        octets[..8].copy_from_slice(&self.get(IDENTITY).to_ne_bytes());
        octets[8..].copy_from_slice(&self.get(IDENTITY + 1).to_ne_bytes());
        octets
    }

    /// Zero what is statistics; the sequence number and the key's life stay.
    pub fn zero(&self) {
        [PACKETS, OCTETS, LOST].into_iter().chain(DROPS..SLOT_WORDS).for_each(|at| self.set(at, 0));
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
        self.set(LAST_USE, now.to_bits());
    }

    /// The last packet went by this worker.
    #[inline]
    pub fn set_worker(&self, number: usize) {
        self.set(WORKER, number as u64);
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
    #[inline]
    pub fn life_packets(&self) -> u64 {
        self.get(LIFE_PACKETS)
    }

    /// Inner octets of the key's whole life.
    #[inline]
    pub fn life_octets(&self) -> u64 {
        self.get(LIFE_OCTETS)
    }

    /// Whether a limit of the key's life is reached.
    #[inline]
    pub fn is_past(&self, limits: &Limits, now: f64) -> bool {
        self.would_be_past(limits, now, 0, 0)
    }

    /// Whether one would be, had it carried so much more.
    #[inline]
    pub fn would_be_past(&self, limits: &Limits, now: f64, packets: u64, octets: u64) -> bool {
        let all_packets = self.life_packets().saturating_add(packets);
        let all_octets = self.life_octets().saturating_add(octets);
        limits.reached(now - self.created(), all_octets, all_packets)
    }

    /// Seconds since the epoch; 0 for never.
    pub fn last_use(&self) -> f64 {
        self.time(LAST_USE)
    }

    /// When the key went into service, in seconds since the epoch.
    #[inline]
    pub fn created(&self) -> f64 {
        self.time(CREATED)
    }

    /// As above.
    pub fn set_created(&self, now: f64) {
        self.set(CREATED, now.to_bits());
    }

    /// Numbers that the window left behind unseen.
    pub fn lost(&self) -> u64 {
        self.get(LOST)
    }

    /// As above.
    #[inline]
    pub fn set_lost(&self, lost: u64) {
        self.set(LOST, lost);
    }

    /// Which of the newest numbers were seen: `Window::newest`.
    pub fn window(&self) -> u64 {
        self.get(WINDOW)
    }

    /// As above.
    #[inline]
    pub fn set_window(&self, newest: u64) {
        self.set(WINDOW, newest);
    }

    /// What was learned of the path: octets, and until when it is believed.
    pub fn path(&self) -> (usize, f64) {
        (self.get(PATH_MTU) as usize, self.time(PATH_UNTIL))
    }

    /// As above.
    pub fn set_path(&self, mtu: usize, until: f64) {
        self.set(PATH_MTU, mtu as u64);
        self.set(PATH_UNTIL, until.to_bits());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers(slot: &Slot) -> Vec<u64> {
        slot.all().iter().map(|word| word.load(Relaxed)).collect()
    }

    #[test]
    fn every_number_has_its_place() {
        let words: Arc<dyn Words> = Arc::new(HeapWords::new(3 * SLOT_WORDS));
        let slot = Slot::new(words.clone(), SLOT_WORDS);
        slot.set_sequence(7);
        slot.add_use(2, 3000, 1.5);
        slot.add_life(1, 64, 2.5);
        slot.set_created(0.5);
        slot.set_lost(9);
        slot.set_path(1400, 600.25);
        slot.set_window(11);
        slot.count_drop(Reason::MalformedHeader);
        slot.count_drop(Reason::NoBundleSa);
        let mut expected = vec![0; SLOT_WORDS];
        expected[3..6].copy_from_slice(&[7, 2, 3000]);
        expected[6..8].copy_from_slice(&[2.5f64.to_bits(), 0.5f64.to_bits()]);
        expected[8..14].copy_from_slice(&[3, 3064, 9, 1400, 600.25f64.to_bits(), 11]);
        (expected[16], expected[60]) = (1, 1);
        assert_eq!(numbers(&slot), expected);
        assert!(numbers(&Slot::new(words.clone(), 0)).iter().all(|number| *number == 0));
        assert!(numbers(&Slot::new(words, 2 * SLOT_WORDS)).iter().all(|number| *number == 0));
    }

    #[test]
    fn what_was_written_is_read() {
        let slot = Slot::alone();
        slot.set_sequence(u64::MAX);
        slot.add_use(1, 100, 8.0);
        slot.add_life(1, 50, 9.0);
        slot.set_path(1280, 10.0);
        slot.count_drop(Reason::Replay);
        assert_eq!((slot.sequence(), slot.packets(), slot.octets()), (u64::MAX, 1, 100));
        assert_eq!((slot.life_packets(), slot.life_octets(), slot.last_use()), (2, 150, 9.0));
        assert_eq!((slot.path(), slot.drops(Reason::Replay), slot.drops(Reason::Runt)), ((1280, 10.0), 1, 0));
        assert_eq!(slot.clone().sequence(), u64::MAX);
    }

    #[test]
    fn no_number_is_claimed_twice_nor_any_behind_the_last() {
        let slot = Slot::alone().shared();
        slot.set_sequence(10);
        let claims = || -> Vec<u64> { std::iter::from_fn(|| slot.claim(3, 30_010)).collect() };
        let mut firsts: Vec<u64> = std::thread::scope(|scope| {
            let all: Vec<_> = (0..4).map(|_| scope.spawn(claims)).collect();
            all.into_iter().flat_map(|each| each.join().unwrap()).collect()
        });
        firsts.sort_unstable();
        assert_eq!(firsts, (0..10_000).map(|number| 10 + 3 * number).collect::<Vec<u64>>());
        assert_eq!((slot.sequence(), slot.claim(1, 30_010), slot.claim(2, u64::MAX)), (30_010, None, Some(30_010)));
        slot.set_sequence(u64::MAX);
        assert_eq!(slot.claim(1, u64::MAX), None);
    }

    #[test]
    fn what_several_add_is_all_there() {
        let slot = Slot::alone().shared();
        std::thread::scope(|scope| {
            let adding = || scope.spawn(|| (0..5000).for_each(|_| slot.add_use(1, 7, 1.0)));
            [adding(), adding(), adding(), adding()].into_iter().for_each(|each| each.join().unwrap());
        });
        assert_eq!((slot.packets(), slot.octets(), slot.life_packets()), (20_000, 140_000, 20_000));
    }

    #[test]
    fn the_life_of_a_key_ends_by_time_octets_or_packets() {
        let slot = Slot::alone();
        slot.set_created(1000.0);
        slot.add_use(4, 600, 1001.0);
        let limits = |seconds, octets, packets| Limits { seconds, octets, packets };
        assert!(!slot.is_past(&limits(0, 0, 0), 1e9));
        assert!(!slot.is_past(&limits(10, 601, 5), 1009.9));
        assert!(slot.is_past(&limits(10, 0, 0), 1010.0));
        assert!(slot.is_past(&limits(0, 600, 0), 1000.0) && slot.is_past(&limits(0, 0, 4), 1000.0));
        assert!(slot.would_be_past(&limits(0, 601, 0), 1000.0, 0, 1));
        assert!(slot.would_be_past(&limits(0, 0, 5), 1000.0, 1, 0));
    }

    #[test]
    #[should_panic(expected = "too few")]
    fn a_slot_is_whole() {
        Slot::new(Arc::new(HeapWords::new(SLOT_WORDS)), 1);
    }
}

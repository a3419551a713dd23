//! The counters file, mapped: what survives when this process is killed. Layout as in
//! `culvert.dataplane.userspace.counters`; the parent made the file and hands out its slots.

use std::io;
use std::os::fd::RawFd;
use std::slice;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex};

use crate::reason::Reason;
use crate::tables::slots::{SLOT_WORDS, Slot, Words};

const HEADER_WORDS: usize = 20480 / 8;
const MODES: usize = 8;
const DROPS: usize = 32;
const DROP_WORDS: usize = 32;
const LAST_WORDS: usize = DROP_WORDS - 2;
const DROPS_END: usize = DROPS + 64 * DROP_WORDS;
/// Rows of one worker: packets and octets, in and out, of four modes. Those of the first are at MODES, those of the others
/// behind the drops.
const MODES_WORDS: usize = 16;
const MODES_END: usize = DROPS_END + (WORKERS_MAX - 1) * MODES_WORDS;
/// Of each worker: which sockets it hears, and how much of what the kernel had no room for there is counted.
const LOOKED: usize = MODES_END;
const LOOKED_WORDS: usize = 2;
const LOOKED_END: usize = LOOKED + WORKERS_MAX * LOOKED_WORDS;
/// The file has room for the rows of so many.
pub const WORKERS_MAX: usize = 16;
const _: () = assert!(LOOKED_END <= HEADER_WORDS, "the header has room for the rows of every worker");
const SLOTS: usize = 1;

/// The whole file as numbers, as long as it is mapped, which is as long as this lives.
struct Mapping {
    start: *const AtomicU64,
    count: usize,
}

// SAFETY: the memory is of atomic numbers, shared with other processes anyway, and is never unmapped before the value.
unsafe impl Send for Mapping {}
// SAFETY: as above.
unsafe impl Sync for Mapping {}

impl Mapping {
    fn new(fd: RawFd) -> io::Result<Mapping> {
        // Nobody reads the file from where it is at; and fstat is among the calls that could ask about any file.
        // SAFETY: no pointers.
        let octets = unsafe { libc::lseek(fd, 0, libc::SEEK_END) };
        if octets < 0 {
            return Err(io::Error::last_os_error());
        }
        let octets = octets as usize;
        if octets < HEADER_WORDS * 8 {
            return Err(io::Error::other("the counters file is too short"));
        }
        let (access, kind) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_SHARED);
        // SAFETY: a new mapping anywhere, of a file that is never made shorter.
        let start = unsafe { libc::mmap(std::ptr::null_mut(), octets, access, kind, fd, 0) };
        if start == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        Ok(Mapping { start: start.cast(), count: octets / 8 })
    }
}

impl Words for Mapping {
    #[inline]
    fn words(&self) -> &[AtomicU64] {
        // SAFETY: the mapping is page aligned, `count` numbers long, and lives as long as `self`.
        unsafe { slice::from_raw_parts(self.start, self.count) }
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: this mapping was made by `new`, and nobody can hold a reference into it any more.
        unsafe { libc::munmap(self.start.cast_mut().cast(), self.count * 8) };
    }
}

/// See the module. As one of several workers sees it.
#[derive(Clone)]
pub struct Counters {
    fd: RawFd,
    words: Arc<Mapping>,
    modes: usize,
    looked: usize,
    /// One at a time tells of a drop.
    telling: Arc<Mutex<()>>,
}

impl Counters {
    /// Of the file that this descriptor has open.
    pub fn from_fd(fd: RawFd) -> io::Result<Counters> {
        let words = Arc::new(Mapping::new(fd)?);
        Ok(Counters { fd, words, modes: MODES, looked: LOOKED, telling: Arc::default() })
    }

    /// The same, with the rows of another worker.
    pub fn of_worker(&self, number: usize) -> Counters {
        assert!(number < WORKERS_MAX, "there are no rows for so many workers");
        let modes = if number == 0 { MODES } else { DROPS_END + (number - 1) * MODES_WORDS };
        Counters { modes, looked: LOOKED + number * LOOKED_WORDS, ..self.clone() }
    }

    /// Map again if the file has grown. Slots of before stay valid and show the same memory.
    pub fn refresh(&mut self) -> io::Result<()> {
        let fresh = Mapping::new(self.fd)?;
        if fresh.count != self.words.count {
            self.words = Arc::new(fresh);
        }
        Ok(())
    }

    /// One SA's numbers; None where the file hasn't so many.
    pub fn slot(&self, number: usize) -> Option<Slot> {
        let base = HEADER_WORDS + number.checked_mul(SLOT_WORDS)?;
        let fits = base.checked_add(SLOT_WORDS)? <= self.words.count;
        fits.then(|| Slot::new(self.words.clone(), base))
    }

    fn add(&self, at: usize, more: u64) {
        let word = &self.words.words()[at];
        word.store(word.load(Relaxed).wrapping_add(more), Relaxed);
    }

    fn set(&self, at: usize, number: u64) {
        self.words.words()[at].store(number, Relaxed);
    }

    /// What this worker has noted with `note_looked`, or its predecessor.
    pub fn looked(&self) -> (u64, u32) {
        let words = self.words.words();
        (words[self.looked].load(Relaxed), words[self.looked + 1].load(Relaxed) as u32)
    }

    /// Of these sockets' packets that the kernel had no room for, so many are counted.
    pub fn note_looked(&self, sockets: u64, lost: u32) {
        self.set(self.looked, sockets);
        self.set(self.looked + 1, lost.into());
    }

    /// A packet died of it; `last` is that one in words.
    pub fn count_drop(&self, reason: Reason, now: f64, last: &str) {
        self.count_drops(reason, 1, now, last);
    }

    /// So many packets died of it; `last` is the last one in words.
    pub fn count_drops(&self, reason: Reason, packets: u64, now: f64, last: &str) {
        let _turn = self.telling.lock();
        let base = DROPS + reason as usize * DROP_WORDS;
        self.add(base, packets);
        self.set(base + 1, now.to_bits());
        let mut text = last.as_bytes().chunks(8);
        for at in base + 2..base + 2 + LAST_WORDS {
            let mut octets = [0; 8];
            if let Some(part) = text.next() {
                octets[..part.len()].copy_from_slice(part);
            }
            self.set(at, u64::from_ne_bytes(octets));
        }
    }

    /// Packets and octets of a row of `show net ipsec-stat`, in or out.
    pub fn add_mode(&self, row: usize, out: bool, packets: u64, octets: u64) {
        let base = self.modes + row * 4 + if out { 2 } else { 0 };
        self.add(base, packets);
        self.add(base + 1, octets);
    }

    /// Zero all packet, octet and drop counts; sequences, lives and times of creation stay.
    pub fn zero(&self) {
        (MODES..MODES_END).for_each(|at| self.set(at, 0));
        let slots = self.words.words()[SLOTS].load(Relaxed) as usize;
        for slot in (0..slots).filter_map(|number| self.slot(number)) {
            slot.zero();
        }
    }
}

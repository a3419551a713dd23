//! The counter journal's writer: a thread that puts further blocks on the disk before anybody needs them.
//!
//! What is asked for while it waits for the disk goes into its next write together, so the disk is asked a few times a
//! second at most, however many SAs there are. Format: see `culvert.dataplane.userspace.leases`.

use std::io;
use std::os::fd::RawFd;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use crate::io::tell;
use crate::tables::leases::Lease;
use crate::worker::now;

const RECORD_OCTETS: usize = 64;
const MAGIC: [u8; 4] = *b"CLJ1";
const BLOCK: u8 = 1;
const EDGE: u8 = 2;
const TRIED_AGAIN: Duration = Duration::from_millis(200);
/// A disk that takes longer hangs.
const STUCK: Duration = Duration::from_secs(1);
/// So long new SAs wait for their first blocks. On a slower disk their first packets find no number.
const FIRST_BLOCK: Duration = Duration::from_millis(200);
const NAP: Duration = Duration::from_micros(200);

/// A record of 64 octets.
fn record(kind: u8, name: &[u8; 16], owner: &[u8; 16], number: u64, when: f64) -> [u8; RECORD_OCTETS] {
    let mut octets = [0; RECORD_OCTETS];
    octets[0..4].copy_from_slice(&MAGIC);
    octets[4] = kind;
    octets[8..24].copy_from_slice(name);
    octets[24..40].copy_from_slice(owner);
    octets[40..48].copy_from_slice(&number.to_le_bytes());
    octets[48..56].copy_from_slice(&when.to_le_bytes());
    let sum = crc32fast::hash(&octets[..60]);
    octets[60..].copy_from_slice(&sum.to_le_bytes());
    octets
}

/// The file, which the parent has opened for appending.
struct File {
    fd: RawFd,
}

impl File {
    /// All of it on the disk, or none of it in the file.
    fn append(&self, octets: &[u8]) -> io::Result<()> {
        let result = self.write(octets);
        if result.is_err() {
            self.cut_torn();
        }
        result
    }

    /// What is there only in part would move everything behind it out of step. Whole records stay: they only say what
    /// may have been used, and somebody may have read them.
    fn cut_torn(&self) {
        if let Ok(end) = self.octets() {
            let torn = end % RECORD_OCTETS as i64;
            if torn != 0 {
                // SAFETY: no pointers.
                unsafe { libc::ftruncate(self.fd, end - torn) };
            }
        }
    }

    fn octets(&self) -> io::Result<i64> {
        // SAFETY: no pointers.
        let end = unsafe { libc::lseek(self.fd, 0, libc::SEEK_END) };
        if end < 0 { Err(io::Error::last_os_error()) } else { Ok(end) }
    }

    fn write(&self, mut octets: &[u8]) -> io::Result<()> {
        while !octets.is_empty() {
            // SAFETY: pointer and length are of one live slice.
            let written = unsafe { libc::write(self.fd, octets.as_ptr().cast(), octets.len()) };
            if written < 0 {
                return Err(io::Error::last_os_error());
            }
            octets = &octets[written as usize..];
        }
        // SAFETY: no pointers.
        if unsafe { libc::fdatasync(self.fd) } < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
    }
}

/// What the writer is asked for.
enum Wish {
    /// A further block behind this number.
    Block(Arc<Lease>, u64),
    /// The right edge of a replay window, by the identity of its SA.
    Edge([u8; 16], u64),
}

/// The way to the writer.
#[derive(Clone)]
pub struct Journal {
    wishes: Option<Sender<Wish>>,
    /// Since when the thread waits for the disk.
    waits: Arc<Mutex<Option<Instant>>>,
}

impl Journal {
    /// Without a descriptor there is no journal: every wish is refused.
    pub fn new(fd: Option<RawFd>) -> io::Result<Journal> {
        let waits = Arc::default();
        let Some(fd) = fd else { return Ok(Journal { wishes: None, waits }) };
        let (wishes, asked) = channel();
        let mut writer = Writer { file: File { fd }, refused: Vec::new(), waits: waits.clone() };
        let (begun, begins) = channel();
        thread::Builder::new().name("journal".into()).spawn(move || {
            // A send that fails has nobody to wait for it.
            begun.send(()).unwrap_or(());
            writer.write_wishes(&asked);
        })?;
        // What a thread asks of the kernel at its start is not what it may ask later: see `harden::confine`.
        begins.recv().map_err(io::Error::other)?;
        Ok(Journal { wishes: Some(wishes), waits })
    }

    /// Whether there is one.
    pub fn is_there(&self) -> bool {
        self.wishes.is_some()
    }

    /// Ask for a further block in time.
    pub fn extend(&self, lease: &Arc<Lease>, number: u64) {
        if lease.ask() && !self.wish(Wish::Block(lease.clone(), number)) {
            lease.refuse();
        }
    }

    /// Whether the disk doesn't answer at all. Who may go on without it doesn't wait.
    pub fn is_stuck(&self) -> bool {
        let waits = self.waits.lock().unwrap_or_else(PoisonError::into_inner);
        waits.is_some_and(|since| since.elapsed() > STUCK)
    }

    /// Wait until each of these was granted or refused, but not for long.
    pub fn wait_for(leases: &[Arc<Lease>]) {
        let until = Instant::now() + FIRST_BLOCK;
        while leases.iter().any(|lease| lease.is_asked()) && Instant::now() < until {
            thread::sleep(NAP);
        }
    }

    /// Save where a replay window stands.
    pub fn save_edge(&self, identity: [u8; 16], edge: u64) {
        self.wish(Wish::Edge(identity, edge));
    }

    fn wish(&self, wish: Wish) -> bool {
        self.wishes.as_ref().is_some_and(|wishes| wishes.send(wish).is_ok())
    }
}

/// The thread.
struct Writer {
    file: File,
    /// Blocks that could not be written: nobody has to ask for them again.
    refused: Vec<Wish>,
    waits: Arc<Mutex<Option<Instant>>>,
}

impl Writer {
    fn write_wishes(&mut self, asked: &Receiver<Wish>) {
        let mut trouble = String::new();
        loop {
            let mut wishes = std::mem::take(&mut self.refused);
            if wishes.is_empty() {
                let Ok(first) = asked.recv() else { return };
                wishes.push(first);
            }
            wishes.extend(asked.try_iter());
            let sentence = self.grant(wishes).err().map_or(String::new(), |error| error.to_string());
            if !sentence.is_empty() {
                if sentence != trouble {
                    tell(format_args!("the counter journal can't be written: {sentence}"));
                }
                thread::sleep(TRIED_AGAIN);
            }
            trouble = sentence;
        }
    }

    fn grant(&mut self, wishes: Vec<Wish>) -> io::Result<()> {
        let (mut octets, mut blocks) = (Vec::with_capacity(wishes.len() * RECORD_OCTETS), Vec::new());
        for wish in wishes {
            match wish {
                Wish::Edge(identity, edge) => octets.extend(record(EDGE, &identity, &[0; 16], edge, now())),
                Wish::Block(lease, number) => {
                    if let Some(last) = lease.next_last(number) {
                        octets.extend(record(BLOCK, &lease.name, &lease.owner, last, now()));
                        blocks.push((lease, number, last));
                    }
                }
            }
        }
        self.note_waiting(Some(Instant::now()));
        let result = if octets.is_empty() { Ok(()) } else { self.file.append(&octets) };
        self.note_waiting(None);
        for (lease, number, last) in blocks {
            if result.is_ok() {
                lease.grant(last);
            } else {
                lease.refuse();
                self.refused.push(Wish::Block(lease, number));
            }
        }
        result
    }

    fn note_waiting(&self, since: Option<Instant>) {
        *self.waits.lock().unwrap_or_else(PoisonError::into_inner) = since;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_as_the_parent_reads_it() {
        let octets = record(BLOCK, &[1; 16], &[2; 16], 0x0102_0304, 1.5);
        assert_eq!(octets[..8], *b"CLJ1\x01\0\0\0");
        assert_eq!(octets[40..48], [4, 3, 2, 1, 0, 0, 0, 0]);
        assert_eq!(octets[48..56], 1.5f64.to_le_bytes());
        // zlib.crc32 of the first 60 octets, by Python.
        assert_eq!(octets[60..], 0x4a917539u32.to_le_bytes());
    }
}

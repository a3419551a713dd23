//! The counter journal's writer: a thread that puts further blocks on the disk before anybody needs them.
//!
//! What is asked for while it waits for the disk goes into its next write together, so the disk is asked a few times a
//! second at most, however many SAs there are. Format: see `culvert.dataplane.userspace.leases`.

use std::collections::HashMap;
use std::io;
use std::os::fd::RawFd;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
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
    /// To look at `Edges`, where there was nothing before.
    Edges,
}

/// The right edges of replay windows that aren't on the disk yet, by the identities of their SAs. Only the last one of each
/// counts, so a disk that hangs makes nothing grow.
#[derive(Clone, Default)]
struct Edges(Arc<Mutex<HashMap<[u8; 16], u64>>>);

impl Edges {
    fn lock(&self) -> MutexGuard<'_, HashMap<[u8; 16], u64>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether it is the first one, of which the writer doesn't know.
    fn add(&self, identity: [u8; 16], edge: u64) -> bool {
        let mut edges = self.lock();
        let is_first = edges.is_empty();
        edges.insert(identity, edge);
        is_first
    }

    /// What could not be written, unless there is a later one.
    fn put_back(&self, refused: HashMap<[u8; 16], u64>) {
        let mut edges = self.lock();
        for (identity, edge) in refused {
            edges.entry(identity).or_insert(edge);
        }
    }
}

/// The way to the writer.
#[derive(Clone)]
pub struct Journal {
    wishes: Option<Sender<Wish>>,
    edges: Edges,
    /// Since when the thread waits for the disk.
    waits: Arc<Mutex<Option<Instant>>>,
}

impl Journal {
    /// Without a descriptor there is no journal: every wish is refused.
    pub fn new(fd: Option<RawFd>) -> io::Result<Journal> {
        let (waits, edges) = (Arc::default(), Edges::default());
        let Some(fd) = fd else { return Ok(Journal { wishes: None, edges, waits }) };
        let (wishes, asked) = channel();
        let mut writer =
            Writer { file: File { fd }, refused: Vec::new(), edges: edges.clone(), waits: Arc::clone(&waits) };
        let (begun, begins) = channel();
        thread::Builder::new().name("journal".into()).spawn(move || {
            // A send that fails has nobody to wait for it.
            begun.send(()).unwrap_or(());
            writer.write_wishes(&asked);
        })?;
        // What a thread asks of the kernel at its start is not what it may ask later: see `harden::confine`.
        begins.recv().map_err(io::Error::other)?;
        Ok(Journal { wishes: Some(wishes), edges, waits })
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

    /// Save where a replay window stands, as soon as the disk takes it.
    pub fn save_edge(&self, identity: [u8; 16], edge: u64) {
        if self.is_there() && self.edges.add(identity, edge) {
            self.wish(Wish::Edges);
        }
    }

    fn wish(&self, wish: Wish) -> bool {
        self.wishes.as_ref().is_some_and(|wishes| wishes.send(wish).is_ok())
    }
}

/// The thread.
struct Writer {
    file: File,
    /// What could not be written: nobody has to ask for it again.
    refused: Vec<Wish>,
    edges: Edges,
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
        let edges = std::mem::take(&mut *self.edges.lock());
        let (mut octets, mut blocks) = (Vec::with_capacity((edges.len() + wishes.len()) * RECORD_OCTETS), Vec::new());
        for (identity, edge) in &edges {
            octets.extend(record(EDGE, identity, &[0; 16], *edge, now()));
        }
        for wish in wishes {
            if let Wish::Block(lease, number) = wish
                && let Some(last) = lease.next_last(number)
            {
                octets.extend(record(BLOCK, &lease.name, &lease.owner, last, now()));
                blocks.push((lease, number, last));
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
        if result.is_err() && !edges.is_empty() {
            self.edges.put_back(edges);
            self.refused.push(Wish::Edges);
        }
        result
    }

    fn note_waiting(&self, since: Option<Instant>) {
        *self.waits.lock().unwrap_or_else(PoisonError::into_inner) = since;
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Seek};
    use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

    use super::*;

    /// What was written, as identity and edge.
    fn edges_in(octets: &[u8]) -> Vec<(u8, u64)> {
        let number = |record: &[u8]| u64::from_le_bytes(*record[40..].first_chunk().expect("a whole record"));
        let mut found: Vec<_> = octets.chunks(RECORD_OCTETS).map(|record| (record[8], number(record))).collect();
        found.sort_unstable();
        found
    }

    #[test]
    fn a_disk_that_hangs_is_asked_once_and_gets_the_last_edge_of_each() {
        let (wishes, asked) = channel();
        let journal = Journal { wishes: Some(wishes), edges: Edges::default(), waits: Arc::default() };
        for edge in 1..=1000 {
            (1..=3).for_each(|name| journal.save_edge([name; 16], edge * u64::from(name)));
        }
        assert_eq!(asked.try_iter().count(), 1);
        let saved: HashMap<_, _> = (1..=3).map(|name| ([name; 16], 1000 * u64::from(name))).collect();
        assert_eq!(*journal.edges.lock(), saved);
        std::mem::take(&mut *journal.edges.lock());
        (2000..2010).for_each(|edge| journal.save_edge([1; 16], edge));
        assert_eq!(asked.try_iter().count(), 1, "after it was looked at");
    }

    #[test]
    fn edges_that_could_not_be_written_are_written_later_unless_they_are_older() {
        let edges = Edges::default();
        let (waits, refused) = (Arc::default(), Vec::new());
        let mut writer = Writer { file: File { fd: -1 }, refused, edges: edges.clone(), waits };
        assert!(edges.add([1; 16], 10) && !edges.add([2; 16], 20));
        assert!(writer.grant(vec![Wish::Edges]).is_err());
        assert!(!edges.add([2; 16], 21), "the writer hasn't forgotten");
        let again = std::mem::take(&mut writer.refused);
        assert_eq!(again.len(), 1);
        // SAFETY: the name is a string that lives as long as the program.
        let fd = unsafe { libc::memfd_create(c"journal".as_ptr(), libc::MFD_CLOEXEC) };
        // SAFETY: the descriptor was made a moment ago, and nobody else knows it.
        let mut file = std::fs::File::from(unsafe { OwnedFd::from_raw_fd(fd) });
        writer.file = File { fd: file.as_raw_fd() };
        assert!(writer.grant(again).is_ok());
        let mut octets = Vec::new();
        file.rewind().and_then(|()| file.read_to_end(&mut octets)).expect("it can be read");
        assert_eq!(edges_in(&octets), [(1, 10), (2, 21)]);
        assert!(edges.lock().is_empty() && writer.refused.is_empty());
    }

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

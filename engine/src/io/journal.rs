//! The counter journal's writer: a thread that puts further blocks on the disk before anybody needs them.
//!
//! What is asked for while it waits for the disk goes into its next write together, so the disk is asked a few times a
//! second at most, however many SAs there are. Format: see `culvert.dataplane.userspace.leases`.

use std::collections::HashMap;
use std::io;
use std::os::fd::RawFd;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use crate::tables::leases::Lease;
use crate::worker::now;

const RECORD_OCTETS: usize = 64;
const MAGIC: [u8; 4] = *b"CLJ1";
const BLOCK: u8 = 1;
const EDGE: u8 = 2;
const TRIED_AGAIN: Duration = Duration::from_millis(200);
/// A block that lasted less is followed by a larger one.
const QUICK: Duration = Duration::from_secs(2);

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

/// The file, which the parent has opened for appending. One writes at a time.
#[derive(Clone)]
struct File {
    fd: RawFd,
    turn: Arc<Mutex<()>>,
}

impl File {
    /// All of it on the disk, or none of it in the file.
    fn append(&self, octets: &[u8]) -> io::Result<()> {
        let _turn = self.turn.lock();
        let before = self.octets()?;
        let result = self.write(octets);
        if result.is_err() {
            // What is there only in part would move everything behind it out of step.
            // SAFETY: no pointers.
            unsafe { libc::ftruncate(self.fd, before) };
        }
        result
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
    file: Option<File>,
    wishes: Option<Sender<Wish>>,
}

impl Journal {
    /// Without a descriptor there is no journal: every wish is refused.
    pub fn new(fd: Option<RawFd>) -> io::Result<Journal> {
        let Some(fd) = fd else { return Ok(Journal { file: None, wishes: None }) };
        let (wishes, asked) = channel();
        let file = File { fd, turn: Arc::default() };
        let writers = file.clone();
        let (begun, begins) = channel();
        thread::Builder::new().name("journal".into()).spawn(move || {
            // A send that fails has nobody to wait for it.
            begun.send(()).unwrap_or(());
            write_wishes(&writers, &asked);
        })?;
        // What a thread asks of the kernel at its start is not what it may ask later: see `harden::confine`.
        begins.recv().map_err(io::Error::other)?;
        Ok(Journal { file: Some(file), wishes: Some(wishes) })
    }

    /// Ask for a further block in time.
    pub fn extend(&self, lease: &Arc<Lease>, number: u64) {
        if lease.ask() && !self.wish(Wish::Block(lease.clone(), number)) {
            lease.refuse();
        }
    }

    /// Blocks for all of these, at once: before an SA's first packet.
    pub fn extend_now(&self, leases: &[(Arc<Lease>, u64)]) -> io::Result<()> {
        let Some(file) = &self.file else {
            leases.iter().for_each(|(lease, _)| lease.refuse());
            return Ok(());
        };
        let wishes = leases.iter().map(|(lease, number)| Wish::Block(lease.clone(), *number)).collect();
        grant(file, wishes, &mut HashMap::new())
    }

    /// Save where a replay window stands.
    pub fn save_edge(&self, identity: [u8; 16], edge: u64) {
        self.wish(Wish::Edge(identity, edge));
    }

    fn wish(&self, wish: Wish) -> bool {
        self.wishes.as_ref().is_some_and(|wishes| wishes.send(wish).is_ok())
    }
}

type Granted = HashMap<[u8; 16], Instant>;

fn write_wishes(file: &File, asked: &Receiver<Wish>) {
    let mut granted = Granted::new();
    let mut trouble = String::new();
    while let Ok(first) = asked.recv() {
        let wishes: Vec<Wish> = std::iter::once(first).chain(asked.try_iter()).collect();
        let sentence = grant(file, wishes, &mut granted).err().map_or(String::new(), |error| error.to_string());
        if !sentence.is_empty() {
            if sentence != trouble {
                eprintln!("the counter journal can't be written: {sentence}");
            }
            // Whoever needs a number asks again.
            thread::sleep(TRIED_AGAIN);
        }
        trouble = sentence;
    }
}

fn grant(file: &File, wishes: Vec<Wish>, granted: &mut Granted) -> io::Result<()> {
    let (mut octets, mut blocks) = (Vec::with_capacity(wishes.len() * RECORD_OCTETS), Vec::new());
    for wish in wishes {
        match wish {
            Wish::Edge(identity, edge) => octets.extend(record(EDGE, &identity, &[0; 16], edge, now())),
            Wish::Block(lease, number) => {
                let quick = granted.get(&lease.owner).is_some_and(|when| when.elapsed() < QUICK);
                let last = lease.next_last(number, quick);
                octets.extend(record(BLOCK, &lease.name, &lease.owner, last, now()));
                blocks.push((lease, last));
            }
        }
    }
    let result = file.append(&octets);
    for (lease, last) in blocks {
        match &result {
            Ok(()) => {
                granted.insert(lease.owner, Instant::now());
                lease.grant(last);
            }
            Err(_) => lease.refuse(),
        }
    }
    result
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

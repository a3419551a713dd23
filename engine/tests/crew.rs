//! Several workers as the process has them, on sockets in place of devices: each in its thread, with the journal in
//! another, while SAs are replaced under way. All that was sent arrives, in its order, no number twice.

mod common;

use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::net::UdpSocket;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use culvert_engine::control::{Change, NO_SLOT};
use culvert_engine::crew::Crew;
use culvert_engine::crypto::best_engine;
use culvert_engine::crypto::chance::Chance;
use culvert_engine::io::counters::Counters;
use culvert_engine::io::journal::Journal;
use culvert_engine::io::raw::RawSender;
use culvert_engine::io::tun::Tun;
use culvert_engine::io::udp::UdpPort;
use culvert_engine::reason::Reason;
use culvert_engine::tables::leases::Known;
use culvert_engine::tables::sa::{SecurityAssociation, UdpPorts};
use culvert_engine::tables::slots::SLOT_OCTETS;
use culvert_engine::transform::gateway::Gateway;
use culvert_engine::worker::{Door, Doors, Worker};

use common::{address, packet, policy, sa};

const WORKERS: usize = 3;
/// Of each worker.
const PACKETS: usize = 6000;
/// On their way at once, so that no queue of the kernel's is ever full.
const UNDER_WAY: usize = 48;
/// How often there are new SAs.
const TIMES: usize = 8;
/// So many packets each time, of two SAs: more than a first block of numbers.
const OF_A_TIME: usize = 2400;
const HEADER_OCTETS: usize = 20480;
const PORT: u16 = 4500;
const PATIENCE: Duration = Duration::from_secs(30);

fn chance() -> Box<Chance> {
    Box::new(Chance::new().expect("the kernel has random numbers"))
}

fn file(name: &str, octets: usize) -> File {
    let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}-{}", std::process::id()));
    let file = OpenOptions::new().read(true).append(true).create_new(true).open(&path).expect("there is room for it");
    std::fs::remove_file(path).expect("it was there a moment ago");
    file.set_len(octets as u64).expect("it may grow");
    file
}

/// The `time`-th SA of this number, which goes to a port of this host.
fn local_sa(number: u32, time: usize, to: u16) -> SecurityAssociation {
    let loopback = address(0x7F00_0001);
    let spi = 1000 + number + 2 * time as u32;
    SecurityAssociation {
        spi,
        source: loopback,
        destination: loopback,
        encapsulation: Some(UdpPorts(PORT, to)),
        ..sa(number)
    }
}

/// Each of the two SAs has a slot of its own every time.
fn slot(number: u32, time: usize) -> i64 {
    2 * time as i64 + i64::from(number)
}

fn known(number: u32, time: usize) -> Known {
    let name = format!("{:032x}", slot(number, time) + 1);
    Known(name.clone(), name, 0, true)
}

/// What replaces the SAs of last time.
fn changes(time: usize, to: u16) -> (Vec<(Change, i64)>, Vec<Known>) {
    let mut changes = Vec::new();
    for number in 0..2 {
        if time == 0 {
            changes.push((Change::AddPolicy(policy(number)), NO_SLOT));
        } else {
            changes.push((Change::RemoveSa(Box::new(local_sa(number, time - 1, to))), NO_SLOT));
        }
        changes.push((Change::AddSa(Box::new(local_sa(number, time, to))), slot(number, time)));
    }
    (changes, (0..2).map(|number| known(number, time)).collect())
}

struct World {
    counters: Counters,
    wire: UdpSocket,
    arrived: AtomicUsize,
    sent: AtomicUsize,
    all_sent: AtomicBool,
    /// All has arrived, or nothing will any more.
    is_over: AtomicBool,
}

impl World {
    /// Packets that found no number in the journal. The disk may be slow.
    fn dropped(&self) -> usize {
        let slots = (0..2 * TIMES as i64).filter_map(|number| self.counters.slot(number as usize));
        slots.map(|slot| slot.drops(Reason::CounterJournal) as usize).sum()
    }

    fn under_way(&self) -> usize {
        let done = self.arrived.load(Ordering::Acquire) + self.dropped();
        self.sent.load(Ordering::Acquire).saturating_sub(done)
    }

    /// SPIs and numbers, as they come, until all have, or patience is at its end.
    fn collect(&self) -> HashMap<u32, Vec<u32>> {
        let mut numbers: HashMap<u32, Vec<u32>> = HashMap::new();
        let (mut octets, until) = ([0; 2048], Instant::now() + PATIENCE);
        while !(self.all_sent.load(Ordering::Acquire) && self.under_way() == 0) && Instant::now() < until {
            let Ok(got) = self.wire.recv(&mut octets) else { continue };
            let word = |at: usize| u32::from_be_bytes(octets[at..at + 4].try_into().expect("four octets"));
            assert!(got > 8);
            numbers.entry(word(0)).or_default().push(word(4));
            self.arrived.fetch_add(1, Ordering::AcqRel);
        }
        self.is_over.store(true, Ordering::Release);
        numbers
    }

    /// To one worker's TUN.
    fn send(&self, tun: &UnixDatagram) {
        for number in 0..PACKETS {
            while self.under_way() >= UNDER_WAY {
                if self.is_over.load(Ordering::Acquire) {
                    return;
                }
                thread::yield_now();
            }
            self.sent.fetch_add(1, Ordering::AcqRel);
            tun.send(&packet((number / 7 % 2) as u32)).expect("the worker reads");
        }
    }
}

/// What a packet leaves by that got its number on its own: a block of them came just when a burst had found none left.
fn raw_socket() -> OwnedFd {
    // SAFETY: no pointers.
    let fd = unsafe { libc::socket(libc::AF_INET, libc::SOCK_RAW | libc::SOCK_CLOEXEC, libc::IPPROTO_RAW) };
    assert!(fd >= 0, "root may have raw sockets: {}", std::io::Error::last_os_error());
    // SAFETY: the descriptor was opened a moment ago, and nobody else knows it.
    unsafe { OwnedFd::from_raw_fd(fd) }
}

/// A worker, the other end of its TUN, and what it has open.
fn worker(number: usize, counters: &Counters, journal: &Journal) -> (Worker, UnixDatagram) {
    let (tun, kernel) = UnixDatagram::pair().expect("there are descriptors");
    tun.set_nonblocking(true).expect("it is a socket");
    kernel.set_write_timeout(Some(PATIENCE)).expect("it is a socket");
    let port = UdpSocket::bind("127.0.0.1:0").expect("there are ports");
    let raw = raw_socket();
    let doors = Doors {
        tun: Tun::plain(tun.as_raw_fd()),
        senders: HashMap::from([(4, RawSender::from_fd(raw.as_raw_fd()))]),
        receivers: Vec::new(),
        complaints: Vec::new(),
        ports: vec![UdpPort::from_fd(port.as_raw_fd(), 4, PORT)],
        queues: Vec::new(),
        routes: None,
    };
    // Threads of workers have no end but that of the process.
    std::mem::forget((tun, port, raw));
    let gateway = Gateway::new(best_engine(), chance());
    let mut made = Worker::new(number, gateway, doors, counters.of_worker(number), journal.clone(), chance());
    made.join();
    (made, kernel)
}

fn replace(crew: &Crew, first: &mut Worker, time: usize, to: u16) {
    let (changes, leases) = changes(time, to);
    let reply = crew.change(first, |first| first.apply(changes, leases));
    assert_eq!((reply.failed, reply.sentence.as_str()), (None, ""));
    crew.go_on();
}

/// The first worker's own packets, and changes in between, most of which change nothing.
fn lead(crew: &Crew, first: &mut Worker, world: &World, to: u16) {
    let (mut time, mut next) = (0, Instant::now());
    while !world.is_over.load(Ordering::Acquire) {
        first.serve(Door::Tun);
        if world.arrived.load(Ordering::Acquire) > (time + 1) * OF_A_TIME && time + 1 < TIMES {
            time += 1;
            replace(crew, first, time, to);
        } else if Instant::now() >= next {
            crew.change(first, |_| ());
            crew.go_on();
            next = Instant::now() + Duration::from_millis(1);
        }
        thread::yield_now();
    }
}

#[test]
fn all_arrive_in_their_order_while_sas_are_replaced() {
    let (counted, journal) = (file("counters", HEADER_OCTETS + 2 * TIMES * SLOT_OCTETS), file("journal", 0));
    let counters = Counters::from_fd(counted.as_raw_fd()).expect("it is long enough");
    let leases = Journal::new(Some(journal.as_raw_fd())).expect("threads can be made");
    let wire = UdpSocket::bind("127.0.0.1:0").expect("there are ports");
    wire.set_read_timeout(Some(Duration::from_millis(20))).expect("it is a socket");
    let to = wire.local_addr().expect("it is bound").port();
    let (mut workers, tuns): (Vec<_>, Vec<_>) = (0..WORKERS).map(|number| worker(number, &counters, &leases)).unzip();
    let mut first = workers.remove(0);
    let crew = Crew::new(workers, Duration::ZERO).expect("threads can be made");
    replace(&crew, &mut first, 0, to);
    let (arrived, sent) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let (all_sent, is_over) = (AtomicBool::new(false), AtomicBool::new(false));
    let world = World { counters, wire, arrived, sent, all_sent, is_over };
    let numbers = thread::scope(|scope| {
        let collected = scope.spawn(|| world.collect());
        let sent = scope.spawn(|| {
            let each = |tun| {
                let world = &world;
                scope.spawn(move || world.send(tun))
            };
            let all: Vec<_> = tuns.iter().map(each).collect();
            all.into_iter().for_each(|each| each.join().expect("it was sent"));
            world.all_sent.store(true, Ordering::Release);
        });
        lead(&crew, &mut first, &world, to);
        sent.join().expect("all was sent");
        collected.join().expect("all arrived")
    });
    crew.stop();
    for (spi, numbers) in &numbers {
        let slot = world.counters.slot(*spi as usize - 1000).expect("every SA has a slot");
        assert_eq!(*numbers, (1..=numbers.len() as u32).collect::<Vec<u32>>(), "SPI {spi}");
        assert_eq!((slot.sequence(), slot.packets()), (numbers.len() as u64, numbers.len() as u64));
    }
    let all: usize = numbers.values().map(Vec::len).sum();
    assert_eq!(all + world.dropped(), WORKERS * PACKETS);
    // A first block of each SA, and those that were granted under way.
    let blocks = journal.metadata().expect("it is open").len() / 64;
    assert!(blocks > numbers.len() as u64 && numbers.len() > 2, "{blocks} blocks, {} SAs", numbers.len());
    // Where its threads look until the process ends.
    tuns.into_iter().for_each(std::mem::forget);
    std::mem::forget((counted, journal));
}

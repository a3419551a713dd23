//! AF_XDP: frames that a program at the link picked out for us, and frames that we send, past the kernel's stack.
//!
//! One socket for one receive queue, with memory (UMEM) of its own: the first half of its frames is received into, the
//! other sent from. Four rings say whose a frame is: *fill* (the kernel may write into it), *rx* (it has), *tx* (the kernel
//! may send it), *completion* (it has). Each has one writer and one reader, which publish their counts with release and
//! read the other's with acquire. culvertd has opened and bound the socket; here its memory is mapped.
//! See Linux Documentation/networking/af_xdp.rst.
//!
//! A driver with a place for our frames takes them by itself while it is awake. Where the kernel copies them, it does so
//! while we call it, some tens of frames in each call, straight into the queue of the link, which no qdisc waits in front of.
//! EAGAIN says either that this call's share is done or that the queue is full, EBUSY that the link dropped a frame. When
//! there is room again nobody says: a poll calls us writable as soon as half of the ring is. So we look again a little later:
//! what is in line stays there, and who needs room, or has to be behind others, naps, within the patience of its burst.

use std::io;
use std::mem::size_of;
use std::os::fd::RawFd;
use std::ptr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread::sleep;
use std::time::{Duration, Instant};

use libc::c_int;
use rustc_hash::FxHashMap;

use super::poller::Patience;
pub use super::rings::Umem;
use super::rings::{Descriptor, FRAMES, Offsets, RING, Ring};
use crate::transform::batch_in::Arrived;
use crate::wire::address::Address;
use crate::wire::ip;

/// Of Ethernet.
pub const LINK_HEADER_OCTETS: usize = 14;
const BATCH: usize = 64;
/// What a call ends with that leaves the rest for the next; anything else says that the link is down, or gone.
const PASSING: [c_int; 4] = [libc::EAGAIN, libc::ENOBUFS, libc::ENOMEM, libc::EINTR];
/// So many calls in vain say that the link takes nothing now.
const IN_VAIN_MAX: usize = 2;
/// Between two looks whether it does.
const NAP: Duration = Duration::from_micros(100);
/// How long it may take nothing before it stands still.
const STANDSTILL: Duration = Duration::from_millis(20);
/// When to look at what a burst has left in line; the same where the link stands still.
const REST_SECONDS: f64 = 0.001;
const STILL_SECONDS: f64 = 0.01;

/// It may be used by several threads.
pub fn lock(shared: &Mutex<Xsk>) -> MutexGuard<'_, Xsk> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Have the kernel send until it is so, within this patience and while the link doesn't stand still; whether it is so.
/// Others may use the socket during a nap: one of them receives by it.
pub fn wait<'a>(
    shared: &'a Mutex<Xsk>,
    mut xsk: MutexGuard<'a, Xsk>,
    patience: &mut Patience,
    is_so: impl Fn(&mut Xsk) -> bool,
) -> (MutexGuard<'a, Xsk>, bool) {
    loop {
        xsk.push();
        let found = is_so(&mut xsk);
        if found || xsk.stands_still() || patience.is_over() {
            return (xsk, found);
        }
        drop(xsk);
        sleep(NAP);
        xsk = lock(shared);
    }
}

/// The socket of one queue.
pub struct Xsk {
    fd: RawFd,
    /// Of the link.
    pub link: u32,
    umem: Option<Umem>,
    fill: Ring<u64>,
    completion: Ring<u64>,
    rx: Ring<Descriptor>,
    tx: Ring<Descriptor>,
    /// Frames to send from.
    free: Vec<u64>,
    /// Frames that were received and not given back.
    taken: Vec<u64>,
    /// The link has taken nothing for a while, and from then on it stands still: nobody waits for it before it takes some.
    still_from: Option<Instant>,
    /// Where in line the last frame for each destination ends.
    ends: FxHashMap<Address, u32>,
    /// Frames that the link dropped and nobody has counted.
    lost: u64,
}

const SOL_XDP: c_int = 283;
const XDP_MMAP_OFFSETS: c_int = 1;
const PAGES_OF_RX: i64 = 0;
const PAGES_OF_TX: i64 = 0x8000_0000;
const PAGES_OF_FILL: i64 = 0x1_0000_0000;
const PAGES_OF_COMPLETION: i64 = 0x1_8000_0000;

impl Xsk {
    /// `memory`: of its frames. It has no predecessor: both are new.
    pub fn from_fds(fd: RawFd, memory: RawFd, link: u32) -> io::Result<Xsk> {
        let mut offsets = Offsets::default();
        let mut octets = size_of::<Offsets>() as u32;
        let place = ptr::from_mut(&mut offsets).cast();
        // SAFETY: `offsets` is as long as `octets` says.
        if unsafe { libc::getsockopt(fd, SOL_XDP, XDP_MMAP_OFFSETS, place, &mut octets) } < 0 {
            return Err(io::Error::last_os_error());
        }
        Xsk::with_rings(fd, (fd, offsets), memory, link)
    }

    fn with_rings(fd: RawFd, (rings, offsets): (RawFd, Offsets), memory: RawFd, link: u32) -> io::Result<Xsk> {
        let umem = Umem::new(memory)?;
        let frame = umem.frame_octets as u64;
        let (receiving, sending) = (0..u64::from(RING), u64::from(RING)..FRAMES as u64);
        let mut xsk = Xsk {
            fd,
            link,
            umem: Some(umem),
            fill: Ring::new(rings, PAGES_OF_FILL, offsets.fill)?,
            completion: Ring::new(rings, PAGES_OF_COMPLETION, offsets.completion)?,
            rx: Ring::new(rings, PAGES_OF_RX, offsets.rx)?,
            tx: Ring::new(rings, PAGES_OF_TX, offsets.tx)?,
            free: sending.map(|number| number * frame).collect(),
            taken: receiving.map(|number| number * frame).collect(),
            still_from: None,
            ends: FxHashMap::default(),
            lost: 0,
        };
        xsk.give_back();
        Ok(xsk)
    }

    /// For a poller.
    pub fn fd(&self) -> RawFd {
        self.fd
    }

    // In

    /// What has arrived, from the IP header to the end that it names; how many frames there were, those included whose
    /// headers are wrong, which the kernel would drop as silently. They stay until `give_back`. `umem`: as it was lent.
    pub fn receive(&mut self, umem: &mut Umem, arrived: &mut Vec<Arrived>) -> usize {
        let frame = umem.frame_octets as u64;
        let octets = umem.octets();
        let mut count = 0;
        while count < BATCH
            && let Some(descriptor) = self.rx.read()
        {
            count += 1;
            self.taken.push(descriptor.address & !(frame - 1));
            let start = descriptor.address as usize + LINK_HEADER_OCTETS;
            let end = descriptor.address as usize + descriptor.octets as usize;
            if let Some(length) = octets.get(start..end).and_then(sound_length) {
                arrived.push(Arrived { range: start..start + length, headers: None });
            }
        }
        self.rx.release();
        count
    }

    /// The memory of the frames, until `take_back`.
    pub fn lend(&mut self) -> Option<Umem> {
        self.umem.take()
    }

    /// It again.
    pub fn take_back(&mut self, umem: Umem) {
        self.umem = Some(umem);
    }

    /// Let the kernel write into all frames that were received.
    pub fn give_back(&mut self) {
        while self.fill.room() > 0
            && let Some(address) = self.taken.pop()
        {
            self.fill.write(address);
        }
        self.fill.publish();
        if self.fill.sleeps() {
            // SAFETY: no pointers but null ones with no length.
            unsafe {
                libc::recvfrom(self.fd, ptr::null_mut(), 0, libc::MSG_DONTWAIT, ptr::null_mut(), ptr::null_mut())
            };
        }
    }

    // Out

    /// Whether a frame holds a packet of so many octets.
    pub fn fits(&self, octets: usize) -> bool {
        self.umem.as_ref().is_some_and(|umem| LINK_HEADER_OCTETS + octets <= umem.frame_octets)
    }

    /// Whether one more can be put in line.
    pub fn has_room(&mut self) -> bool {
        !self.free.is_empty() && self.tx.room() > 0
    }

    /// Put a frame of these two parts in line, which has to fit; false where there is no room.
    pub fn put(&mut self, link_header: &[u8; LINK_HEADER_OCTETS], packet: &[u8]) -> bool {
        if !self.has_room() {
            return false;
        }
        let Some(umem) = &mut self.umem else { return false };
        let Some(address) = self.free.pop() else { return false };
        let (header, rest) = umem.frame(address).split_at_mut(LINK_HEADER_OCTETS);
        header.copy_from_slice(link_header);
        rest[..packet.len()].copy_from_slice(packet);
        let octets = (LINK_HEADER_OCTETS + packet.len()) as u32;
        self.tx.write(Descriptor { address, octets, options: 0 });
        true
    }

    /// Have the kernel send what it takes now of what is in line. In how many seconds it has to be asked for the rest;
    /// None where there is none, or a driver comes for it by itself.
    pub fn flush(&mut self) -> Option<f64> {
        self.push();
        let has_rest = self.tx.unread() > 0 && self.tx.sleeps();
        has_rest.then(|| if self.stands_still() { STILL_SECONDS } else { REST_SECONDS })
    }

    /// What was put last was for this one.
    pub fn note(&mut self, destination: Address) {
        self.ends.insert(destination, self.tx.written());
    }

    /// Nothing for this one is in line any more.
    pub fn is_clear(&mut self, destination: Address) -> bool {
        let unread = self.tx.unread();
        if unread == 0 {
            self.ends.clear();
        }
        let behind = |end: &u32| self.tx.written().wrapping_sub(*end);
        self.ends.get(&destination).is_none_or(|end| unread <= behind(end))
    }

    /// How many frames the link dropped since the last time.
    pub fn take_lost(&mut self) -> u64 {
        std::mem::take(&mut self.lost)
    }

    fn stands_still(&self) -> bool {
        self.still_from.is_some_and(|from| Instant::now() >= from)
    }

    /// Call the kernel until nothing is in line or it takes nothing, and take back what it has sent. How far it is, it
    /// tells after each call from 6.17 on; before, when it is through, or when a frame has left the link. What is left
    /// it also sends by itself when this socket is polled, but then it tells nobody of what the link drops: so of a link
    /// that drops, which is never full, nothing is left.
    fn push(&mut self) {
        self.tx.publish();
        let (mut moved, mut in_vain, mut is_gone) = (false, 0, false);
        while self.tx.unread() > 0 && self.tx.sleeps() && in_vain < IN_VAIN_MAX && !is_gone {
            // SAFETY: no pointers but null ones with no length.
            let sent = unsafe { libc::sendto(self.fd, ptr::null(), 0, libc::MSG_DONTWAIT, ptr::null(), 0) };
            let error = if sent < 0 { io::Error::last_os_error().raw_os_error() } else { None };
            let has_dropped = error == Some(libc::EBUSY);
            self.lost += u64::from(has_dropped);
            is_gone = !has_dropped && error.is_some_and(|error| !PASSING.contains(&error));
            if self.has_moved() || has_dropped {
                (moved, in_vain) = (true, 0);
            } else {
                in_vain += 1;
            }
        }
        if self.has_moved() || moved || self.tx.unread() == 0 {
            self.still_from = None;
        } else {
            let patience = if is_gone { Duration::ZERO } else { STANDSTILL };
            self.still_from.get_or_insert_with(|| Instant::now() + patience);
        }
    }

    /// Since the last time. Each may be what tells.
    fn has_moved(&mut self) -> bool {
        self.reclaim() | self.tx.went_on()
    }

    fn reclaim(&mut self) -> bool {
        let before = self.free.len();
        while let Some(address) = self.completion.read() {
            self.free.push(address);
        }
        self.completion.release();
        self.free.len() > before
    }
}

/// Octets of the IP packet in front, if its header is as the kernel's own receiver wants it.
fn sound_length(packet: &[u8]) -> Option<usize> {
    let parsed = ip::parse(packet)?;
    let is_sound = parsed.version == 6 || ip::checksum(&packet[..ip::IPV4_HEADER_OCTETS]) == 0;
    (is_sound && parsed.length <= packet.len()).then_some(parsed.length)
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsRawFd;
    use std::os::unix::net::UnixDatagram;
    use std::sync::atomic::Ordering;
    use std::thread;

    use super::super::poller::PATIENCE;
    use super::super::rings::RingOffsets;
    use super::*;

    const COUNTS: RingOffsets = RingOffsets { producer: 0, consumer: 64, descriptors: 192, flags: 128 };
    const FRAME_OCTETS: i64 = 2048;

    /// The other side of the rings that are for sending.
    struct Kernel {
        tx: Ring<Descriptor>,
        completion: Ring<u64>,
    }

    impl Kernel {
        /// Send at most so many frames; their numbers.
        fn send(&mut self, count: usize) -> Vec<u64> {
            let mut sent = Vec::new();
            while sent.len() < count
                && let Some(descriptor) = self.tx.read()
            {
                self.completion.write(descriptor.address);
                sent.push(descriptor.address / FRAME_OCTETS as u64);
            }
            self.completion.publish();
            self.tx.release();
            sent
        }
    }

    fn memory(octets: i64) -> RawFd {
        // SAFETY: the name is a string with its end, the rest are numbers.
        let fd = unsafe { libc::memfd_create(c"rings".as_ptr(), libc::MFD_CLOEXEC) };
        // SAFETY: no pointers.
        assert_eq!(unsafe { libc::ftruncate(fd, octets) }, 0);
        fd
    }

    /// Rings without a kernel, whose calls are answered by a socket: with EAGAIN, as long as the other one lives.
    fn rings() -> (Xsk, Kernel, [UnixDatagram; 2]) {
        let (ours, other) = UnixDatagram::pair().unwrap();
        ours.set_nonblocking(true).unwrap();
        while ours.send(&[]).is_ok() {}
        let (rings, frames) = (memory(PAGES_OF_COMPLETION + (1 << 20)), memory(FRAMES as i64 * FRAME_OCTETS));
        let offsets = Offsets { rx: COUNTS, tx: COUNTS, fill: COUNTS, completion: COUNTS };
        let xsk = Xsk::with_rings(ours.as_raw_fd(), (rings, offsets), frames, 1).unwrap();
        xsk.tx.count(COUNTS.flags).store(1, Ordering::Relaxed);
        let tx = Ring::new(rings, PAGES_OF_TX, COUNTS).unwrap();
        let completion = Ring::new(rings, PAGES_OF_COMPLETION, COUNTS).unwrap();
        for fd in [rings, frames] {
            // SAFETY: it was made here; what is mapped stays.
            unsafe { libc::close(fd) };
        }
        (xsk, Kernel { tx, completion }, [ours, other])
    }

    fn destination(number: u8) -> Address {
        Address::from_octets(&[192, 0, 2, number])
    }

    fn put(xsk: &mut Xsk) -> bool {
        let is_put = xsk.put(&[0; LINK_HEADER_OCTETS], &[0; 100]);
        xsk.note(destination(1));
        is_put
    }

    /// As a burst of its own.
    fn put_patiently(shared: &Mutex<Xsk>) -> bool {
        let (mut xsk, has_room) = wait(shared, lock(shared), &mut Patience::default(), Xsk::has_room);
        has_room && put(&mut xsk)
    }

    fn drain(shared: &Mutex<Xsk>) -> bool {
        wait(shared, lock(shared), &mut Patience::default(), |xsk| xsk.is_clear(destination(1))).1
    }

    #[test]
    fn what_a_slow_link_takes_leaves_in_its_order() {
        let (mut xsk, mut kernel, _sockets) = rings();
        let frames = xsk.free.len();
        (0..100).for_each(|_| assert!(put(&mut xsk)));
        let link = thread::spawn(move || {
            let mut sent = Vec::new();
            while sent.len() < 100 {
                sleep(Duration::from_millis(2));
                sent.extend(kernel.send(30));
            }
            sent
        });
        while xsk.flush().is_some() {
            sleep(Duration::from_secs_f64(REST_SECONDS));
        }
        assert!(
            link.join().unwrap().is_sorted_by(|one, next| next < one),
            "the last free frame is the first to be taken"
        );
        // What came back between the last look at it and the one at what is in line.
        xsk.reclaim();
        assert_eq!((xsk.free.len(), xsk.take_lost()), (frames, 0));
    }

    #[test]
    fn a_link_that_stands_still_is_waited_for_once() {
        let (xsk, mut kernel, _sockets) = rings();
        let shared = Mutex::new(xsk);
        (0..RING).for_each(|_| assert!(put(&mut lock(&shared))));
        let begun = Instant::now();
        assert!(!put_patiently(&shared), "there is no room");
        let waited = begun.elapsed();
        assert!(waited >= STANDSTILL);
        (0..100).for_each(|_| assert!(!put_patiently(&shared) && !drain(&shared)));
        assert!(begun.elapsed() < waited * 5);
        assert_eq!(lock(&shared).flush(), Some(STILL_SECONDS));
        assert_eq!(kernel.send(1).len(), 1);
        assert!(put_patiently(&shared));
        assert_eq!(kernel.send(RING as usize).len(), RING as usize - 1, "and what isn't published");
        assert!(!drain(&shared));
        assert_eq!(kernel.send(2).len(), 1);
        assert!(drain(&shared));
    }

    #[test]
    fn a_link_that_is_slow_is_waited_for_as_long_as_a_burst_may_and_others_get_their_turn() {
        let (mut xsk, mut kernel, _sockets) = rings();
        (0..RING).for_each(|_| assert!(put(&mut xsk)));
        xsk.push();
        let shared = Mutex::new(xsk);
        let (mut patience, begun) = (Patience::default(), Instant::now());
        thread::scope(|scope| {
            let others = scope.spawn(|| {
                let turns = (0..10).map(|_| {
                    sleep(Duration::from_millis(1));
                    let (_xsk, asked) = (lock(&shared), Instant::now());
                    asked
                });
                turns.filter(|turn| *turn < begun + PATIENCE).count()
            });
            scope.spawn(|| {
                for _ in 0..30 {
                    sleep(Duration::from_millis(1));
                    kernel.send(1);
                }
            });
            let (xsk, is_clear) = wait(&shared, lock(&shared), &mut patience, |xsk| xsk.is_clear(destination(1)));
            drop(xsk);
            assert!(!is_clear && begun.elapsed() >= PATIENCE);
            assert!(patience.is_over(), "and no further wait of this burst");
            assert!(others.join().unwrap() > 0);
        });
    }

    #[test]
    fn only_frames_for_the_same_destination_are_waited_for() {
        let (mut xsk, mut kernel, _sockets) = rings();
        assert!(put(&mut xsk));
        assert!(xsk.put(&[0; LINK_HEADER_OCTETS], &[0; 100]));
        xsk.note(destination(2));
        xsk.push();
        assert_eq!([1, 2, 3].map(|number| xsk.is_clear(destination(number))), [false, false, true]);
        assert_eq!(kernel.send(1).len(), 1);
        assert_eq!([1, 2, 3].map(|number| xsk.is_clear(destination(number))), [true, false, true]);
        assert_eq!(kernel.send(1).len(), 1);
        assert!(xsk.is_clear(destination(2)) && xsk.ends.is_empty());
    }

    #[test]
    fn a_link_that_is_gone_is_not_waited_for() {
        let (mut xsk, _kernel, [_ours, other]) = rings();
        drop(other);
        assert!(put(&mut xsk));
        assert_eq!(xsk.flush(), Some(STILL_SECONDS));
    }

    #[test]
    fn a_driver_that_is_awake_is_not_called() {
        let (mut xsk, mut kernel, _sockets) = rings();
        xsk.tx.count(COUNTS.flags).store(0, Ordering::Relaxed);
        assert!(put(&mut xsk) && xsk.flush().is_none(), "it comes by itself");
        let shared = Mutex::new(xsk);
        assert!(!drain(&shared), "but it hasn't been there");
        assert_eq!(kernel.send(2).len(), 1);
        assert!(drain(&shared));
    }
}

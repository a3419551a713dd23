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
//! there is room again nobody says: a poll calls us writable as soon as half of the ring is. So we look again after a nap.

use std::io;
use std::mem::size_of;
use std::os::fd::RawFd;
use std::ptr;
use std::thread::sleep;
use std::time::Duration;

use libc::c_int;

use super::rings::{Descriptor, Mapping, Offsets, RING, Ring};
use crate::transform::batch_in::Arrived;
use crate::wire::ip;

/// Frames of one socket; as culvertd has made them.
const FRAMES: usize = 4096;
/// Of Ethernet.
pub const LINK_HEADER_OCTETS: usize = 14;
const BATCH: usize = 64;
/// At least so many of the frames in line the kernel sends in one call, where nothing is in its way.
const FRAMES_OF_CALL: u32 = 16;
/// Before the kernel is called again where the link took nothing; so many of them in vain, and the link stands still.
const NAP: Duration = Duration::from_micros(100);
const NAPS_MAX: usize = 200;

/// The frames of one socket: the first half is received into, the other is sent from.
pub struct Umem {
    mapping: Mapping,
    frame_octets: usize,
}

// SAFETY: it is one thread's at a time.
unsafe impl Send for Umem {}

impl Umem {
    fn new(fd: RawFd) -> io::Result<Umem> {
        // SAFETY: all zeros is a valid stat, which the call fills in.
        let mut about: libc::stat = unsafe { std::mem::zeroed() };
        // SAFETY: `about` is live.
        if unsafe { libc::fstat(fd, &mut about) } < 0 {
            return Err(io::Error::last_os_error());
        }
        let octets = about.st_size as usize;
        Ok(Umem { mapping: Mapping::new(fd, octets, 0)?, frame_octets: octets / FRAMES })
    }

    /// Those that are received into, one behind the other.
    pub fn octets(&mut self) -> &mut [u8] {
        let octets = RING as usize * self.frame_octets;
        // SAFETY: the mapping has so many octets and nobody else in this process refers to them; what the kernel writes
        // into meanwhile are frames of the fill ring, at whose octets nobody looks before they come by the rx ring.
        unsafe { std::slice::from_raw_parts_mut(self.mapping.start.as_ptr(), octets) }
    }

    /// A frame to send from: not one that is in line.
    fn frame(&mut self, address: u64) -> &mut [u8] {
        assert!(address as usize <= self.mapping.octets - self.frame_octets);
        // SAFETY: it is within the mapping, and borrowed as all of it is; the kernel looks only at frames of the tx ring.
        unsafe { std::slice::from_raw_parts_mut(self.mapping.start.as_ptr().add(address as usize), self.frame_octets) }
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
    /// The link took nothing for a while: nobody waits for it before it does again.
    stands_still: bool,
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
            stands_still: false,
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

    /// Put a frame of these two parts in line, which has to fit; false where there is no room, nor will be soon.
    pub fn put(&mut self, link_header: &[u8; LINK_HEADER_OCTETS], packet: &[u8]) -> bool {
        let has_room = |xsk: &mut Xsk| !xsk.free.is_empty() && xsk.tx.room() > 0;
        if !has_room(self) && !self.push_until(has_room) {
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

    /// Have the kernel send what is in line. False where the link stands still and it has to be asked again.
    pub fn flush(&mut self) -> bool {
        self.push_until(|xsk| xsk.tx.unread() == 0 || !xsk.tx.sleeps())
    }

    /// Nothing is in line any more; false where the link stands still and something is.
    pub fn drain(&mut self) -> bool {
        self.push_until(|xsk| xsk.tx.unread() == 0)
    }

    /// How many frames the link dropped since the last time.
    pub fn take_lost(&mut self) -> u64 {
        std::mem::take(&mut self.lost)
    }

    /// Push until it is so, with patience as long as something moves; whether it is so.
    fn push_until(&mut self, is_so: impl Fn(&mut Xsk) -> bool) -> bool {
        self.tx.publish();
        let mut naps = 0;
        loop {
            let moved = self.push();
            let is_so = is_so(self);
            if is_so || moved {
                (self.stands_still, naps) = (false, 0);
            }
            if is_so {
                return true;
            }
            if !moved {
                self.stands_still |= naps == NAPS_MAX;
                if self.stands_still {
                    return false;
                }
                naps += 1;
                sleep(NAP);
            }
        }
    }

    /// Call the kernel as often as it may need for what is in line (only from 6.17 on it tells how far it is after each
    /// call, before when it is through), and take back what it has sent; whether anything moved.
    fn push(&mut self) -> bool {
        for _ in 0..self.tx.unread().div_ceil(FRAMES_OF_CALL) {
            if self.tx.unread() == 0 || !self.tx.sleeps() {
                break;
            }
            // SAFETY: no pointers but null ones with no length.
            let sent = unsafe { libc::sendto(self.fd, ptr::null(), 0, libc::MSG_DONTWAIT, ptr::null(), 0) };
            if sent >= 0 {
                continue;
            }
            match io::Error::last_os_error().raw_os_error() {
                Some(libc::EAGAIN | libc::ENOBUFS | libc::ENOMEM | libc::EINTR) => {}
                Some(libc::EBUSY) => self.lost += 1,
                // The link is down, or gone.
                _ => {
                    self.stands_still = true;
                    break;
                }
            }
        }
        // Each may be what tells.
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
    use std::time::Instant;

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

    fn put(xsk: &mut Xsk) -> bool {
        xsk.put(&[0; LINK_HEADER_OCTETS], &[0; 100])
    }

    #[test]
    fn what_a_slow_link_takes_leaves_in_its_order() {
        let (mut xsk, mut kernel, _sockets) = rings();
        let frames = xsk.free.clone();
        (0..100).for_each(|_| assert!(put(&mut xsk)));
        let link = thread::spawn(move || {
            let mut sent = Vec::new();
            while sent.len() < 100 {
                sleep(Duration::from_millis(2));
                sent.extend(kernel.send(30));
            }
            sent
        });
        // Once, unless the other thread got no turn for long.
        while !xsk.flush() {}
        assert!(
            link.join().unwrap().is_sorted_by(|one, next| next < one),
            "the last free frame is the first to be taken"
        );
        assert_eq!((xsk.free.len(), xsk.take_lost()), (frames.len(), 0));
    }

    #[test]
    fn a_link_that_stands_still_is_waited_for_once() {
        let (mut xsk, mut kernel, _sockets) = rings();
        (0..RING).for_each(|_| assert!(put(&mut xsk)));
        let begun = Instant::now();
        assert!(!put(&mut xsk), "there is no room");
        let waited = begun.elapsed();
        assert!(waited >= NAP * NAPS_MAX as u32);
        (0..100).for_each(|_| assert!(!put(&mut xsk) && !xsk.flush() && !xsk.drain()));
        assert!(begun.elapsed() < waited * 5);
        assert_eq!(kernel.send(1).len(), 1);
        assert!(put(&mut xsk));
        assert_eq!(kernel.send(RING as usize).len(), RING as usize - 1, "and what isn't published");
        assert!(!xsk.drain());
        assert_eq!(kernel.send(2).len(), 1);
        assert!(xsk.drain());
    }

    #[test]
    fn a_link_that_is_gone_is_not_waited_for() {
        let (mut xsk, _kernel, [_ours, other]) = rings();
        drop(other);
        assert!(put(&mut xsk));
        xsk.tx.publish();
        assert!(!xsk.push() && xsk.stands_still);
    }

    #[test]
    fn a_driver_that_is_awake_is_not_called() {
        let (mut xsk, mut kernel, _sockets) = rings();
        xsk.tx.count(COUNTS.flags).store(0, Ordering::Relaxed);
        assert!(put(&mut xsk) && xsk.flush(), "it comes by itself");
        assert!(!xsk.drain(), "but it hasn't been there");
        assert_eq!(kernel.send(2).len(), 1);
        assert!(xsk.drain());
    }
}

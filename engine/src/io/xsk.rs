//! AF_XDP: frames that a program at the link picked out for us, and frames that we send, past the kernel's stack.
//!
//! One socket for one receive queue, with memory (UMEM) of its own: the first half of its frames is received into, the
//! other sent from. Four rings say whose a frame is: *fill* (the kernel may write into it), *rx* (it has), *tx* (the kernel
//! may send it), *completion* (it has). Each has one writer and one reader, which publish their counts with release and
//! read the other's with acquire. culvertd has opened and bound the socket; here its memory is mapped.
//! See Linux Documentation/networking/af_xdp.rst.

use std::io;
use std::mem::size_of;
use std::os::fd::RawFd;
use std::ptr::{self, NonNull};
use std::sync::atomic::{AtomicU32, Ordering};

use libc::{c_int, c_void};

use super::poller::wait_for_room;
use crate::transform::batch_in::Arrived;
use crate::wire::ip;

/// Frames of one socket, and entries of each of its rings; as culvertd has made them.
const FRAMES: usize = 4096;
const RING: u32 = 2048;
/// Of Ethernet.
pub const LINK_HEADER_OCTETS: usize = 14;
/// Calls for one burst: the kernel sends some tens of frames in each.
const KICKS_MAX: usize = 256;
const BATCH: usize = 64;
const PATIENCE_MS: c_int = 20;

/// Memory that is mapped as long as this lives.
struct Mapping {
    start: NonNull<u8>,
    octets: usize,
}

impl Mapping {
    fn new(fd: RawFd, octets: usize, offset: i64) -> io::Result<Mapping> {
        let (access, flags) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_SHARED | libc::MAP_POPULATE);
        // SAFETY: a new mapping where the kernel likes it touches no memory of ours.
        let start = unsafe { libc::mmap(ptr::null_mut(), octets, access, flags, fd, offset) };
        if start == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let start = NonNull::new(start.cast()).ok_or_else(|| io::Error::other("mapped at zero"))?;
        Ok(Mapping { start, octets })
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: it was mapped in `new`, and nobody has a reference into it any more.
        unsafe { libc::munmap(self.start.as_ptr().cast::<c_void>(), self.octets) };
    }
}

/// The frames of one socket. The kernel writes only into those that are in the fill ring, and reads those in the tx ring.
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

    /// All frames, one behind the other.
    pub fn octets(&mut self) -> &mut [u8] {
        // SAFETY: the mapping has so many octets and nobody else in this process refers to them; what the kernel writes
        // into meanwhile are frames of the fill ring, at whose octets nobody looks before they come by the rx ring.
        unsafe { std::slice::from_raw_parts_mut(self.mapping.start.as_ptr(), self.mapping.octets) }
    }
}

/// Of struct xdp_mmap_offsets.
#[repr(C)]
#[derive(Clone, Copy, Default)]
struct RingOffsets {
    producer: u64,
    consumer: u64,
    descriptors: u64,
    flags: u64,
}

#[repr(C)]
#[derive(Clone, Copy, Default)]
struct Offsets {
    rx: RingOffsets,
    tx: RingOffsets,
    fill: RingOffsets,
    completion: RingOffsets,
}

/// Of struct xdp_desc.
#[repr(C)]
#[derive(Clone, Copy, Default)]
struct Descriptor {
    address: u64,
    octets: u32,
    options: u32,
}

/// One ring, of which we are the writer (fill, tx) or the reader (rx, completion).
struct Ring<T> {
    mapping: Mapping,
    offsets: RingOffsets,
    /// Our own count: of what was written, or read.
    own: u32,
    /// The other's, as it was last looked at.
    other: u32,
    of: std::marker::PhantomData<T>,
}

// SAFETY: it is one thread's at a time.
unsafe impl<T> Send for Ring<T> {}

impl<T: Copy> Ring<T> {
    fn new(fd: RawFd, at: i64, offsets: RingOffsets) -> io::Result<Ring<T>> {
        let octets = offsets.descriptors as usize + RING as usize * size_of::<T>();
        let mapping = Mapping::new(fd, octets, at)?;
        Ok(Ring { mapping, offsets, own: 0, other: 0, of: std::marker::PhantomData })
    }

    fn count(&self, offset: u64) -> &AtomicU32 {
        // SAFETY: the kernel says where in the mapping its counts are, aligned; they are shared with it as atomics.
        unsafe { &*self.mapping.start.as_ptr().add(offset as usize).cast::<AtomicU32>() }
    }

    fn place(&self, number: u32) -> *mut T {
        let first = self.mapping.start.as_ptr().wrapping_add(self.offsets.descriptors as usize).cast::<T>();
        first.wrapping_add((number & (RING - 1)) as usize)
    }

    /// The kernel wants to be called before it goes on.
    fn sleeps(&self) -> bool {
        self.count(self.offsets.flags).load(Ordering::Relaxed) & 1 != 0
    }

    // As writer

    fn room(&mut self) -> u32 {
        if self.own.wrapping_sub(self.other) == RING {
            self.other = self.count(self.offsets.consumer).load(Ordering::Acquire);
        }
        RING - self.own.wrapping_sub(self.other)
    }

    /// There has to be room.
    fn write(&mut self, value: T) {
        // SAFETY: `place` is within the mapping; there was room, so the kernel doesn't read it before it is published.
        unsafe { self.place(self.own).write(value) };
        self.own = self.own.wrapping_add(1);
    }

    fn publish(&self) {
        self.count(self.offsets.producer).store(self.own, Ordering::Release);
    }

    fn is_unread(&self) -> bool {
        self.count(self.offsets.consumer).load(Ordering::Acquire) != self.own
    }

    // As reader

    fn read(&mut self) -> Option<T> {
        if self.own == self.other {
            self.other = self.count(self.offsets.producer).load(Ordering::Acquire);
            if self.own == self.other {
                return None;
            }
        }
        // SAFETY: `place` is within the mapping; the kernel has published it and doesn't write it before it is released.
        let value = unsafe { self.place(self.own).read() };
        self.own = self.own.wrapping_add(1);
        Some(value)
    }

    fn release(&self) {
        self.count(self.offsets.consumer).store(self.own, Ordering::Release);
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
        let umem = Umem::new(memory)?;
        let frame = umem.frame_octets as u64;
        let (receiving, sending) = (0..u64::from(RING), u64::from(RING)..FRAMES as u64);
        let mut xsk = Xsk {
            fd,
            link,
            umem: Some(umem),
            fill: Ring::new(fd, PAGES_OF_FILL, offsets.fill)?,
            completion: Ring::new(fd, PAGES_OF_COMPLETION, offsets.completion)?,
            rx: Ring::new(fd, PAGES_OF_RX, offsets.rx)?,
            tx: Ring::new(fd, PAGES_OF_TX, offsets.tx)?,
            free: sending.map(|number| number * frame).collect(),
            taken: receiving.map(|number| number * frame).collect(),
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

    /// Octets that one frame holds, link header included.
    pub fn frame_octets(&self) -> usize {
        self.umem.as_ref().map_or(0, |umem| umem.frame_octets)
    }

    /// Put a frame of these two parts in line; false where there is no room.
    pub fn put(&mut self, link_header: &[u8; LINK_HEADER_OCTETS], packet: &[u8]) -> bool {
        if self.free.is_empty() || self.tx.room() == 0 {
            self.flush();
        }
        let Some(umem) = &mut self.umem else { return false };
        if packet.len() + LINK_HEADER_OCTETS > umem.frame_octets || self.tx.room() == 0 {
            return false;
        }
        let Some(address) = self.free.pop() else { return false };
        let (header, rest) = umem.octets()[address as usize..].split_at_mut(LINK_HEADER_OCTETS);
        header.copy_from_slice(link_header);
        rest[..packet.len()].copy_from_slice(packet);
        let octets = (LINK_HEADER_OCTETS + packet.len()) as u32;
        self.tx.write(Descriptor { address, octets, options: 0 });
        true
    }

    /// Have the kernel send what is in line, and take back what it has sent.
    pub fn flush(&mut self) {
        self.tx.publish();
        for _ in 0..KICKS_MAX {
            if !self.tx.is_unread() || !self.tx.sleeps() {
                break;
            }
            // SAFETY: no pointers but null ones with no length.
            let sent = unsafe { libc::sendto(self.fd, ptr::null(), 0, libc::MSG_DONTWAIT, ptr::null(), 0) };
            let is_stuck = sent < 0 && io::Error::last_os_error().raw_os_error() != Some(libc::EAGAIN);
            if is_stuck && !wait_for_room(self.fd, PATIENCE_MS) {
                break;
            }
            self.reclaim();
        }
        self.reclaim();
    }

    fn reclaim(&mut self) {
        while let Some(address) = self.completion.read() {
            self.free.push(address);
        }
        self.completion.release();
    }
}

/// Octets of the IP packet in front, if its header is as the kernel's own receiver wants it.
fn sound_length(packet: &[u8]) -> Option<usize> {
    let parsed = ip::parse(packet)?;
    let is_sound = parsed.version == 6 || ip::checksum(&packet[..ip::IPV4_HEADER_OCTETS]) == 0;
    (is_sound && parsed.length <= packet.len()).then_some(parsed.length)
}

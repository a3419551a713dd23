//! Memory that is mapped, and the rings in it that the kernel and we share. Each has one writer and one reader, which
//! publish their counts with release and read the other's with acquire.

use std::io;
use std::mem::size_of;
use std::os::fd::RawFd;
use std::ptr::{self, NonNull};
use std::sync::atomic::{AtomicU32, Ordering};

use libc::c_void;

/// Entries of each ring; as culvertd has made them.
pub(super) const RING: u32 = 2048;
/// Of one socket; as culvertd has made them.
pub(super) const FRAMES: usize = 4096;

/// Memory that is mapped as long as this lives.
pub(super) struct Mapping {
    pub start: NonNull<u8>,
    pub octets: usize,
}

impl Mapping {
    pub fn new(fd: RawFd, octets: usize, offset: i64) -> io::Result<Mapping> {
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

/// The frames of one socket: the first half is received into, the other is sent from.
pub struct Umem {
    mapping: Mapping,
    pub(super) frame_octets: usize,
}

// SAFETY: it is one thread's at a time.
unsafe impl Send for Umem {}

impl Umem {
    pub(super) fn new(fd: RawFd) -> io::Result<Umem> {
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
    pub(super) fn frame(&mut self, address: u64) -> &mut [u8] {
        assert!(address as usize <= self.mapping.octets - self.frame_octets);
        // SAFETY: it is within the mapping, and borrowed as all of it is; the kernel looks only at frames of the tx ring.
        unsafe { std::slice::from_raw_parts_mut(self.mapping.start.as_ptr().add(address as usize), self.frame_octets) }
    }
}

/// Of struct xdp_mmap_offsets.
#[repr(C)]
#[derive(Clone, Copy, Default)]
pub(super) struct RingOffsets {
    pub producer: u64,
    pub consumer: u64,
    pub descriptors: u64,
    pub flags: u64,
}

#[repr(C)]
#[derive(Clone, Copy, Default)]
pub(super) struct Offsets {
    pub rx: RingOffsets,
    pub tx: RingOffsets,
    pub fill: RingOffsets,
    pub completion: RingOffsets,
}

/// Of struct xdp_desc.
#[repr(C)]
#[derive(Clone, Copy, Default)]
pub(super) struct Descriptor {
    pub address: u64,
    pub octets: u32,
    pub options: u32,
}

/// One ring, of which we are the writer (fill, tx) or the reader (rx, completion).
pub(super) struct Ring<T> {
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
    pub fn new(fd: RawFd, at: i64, offsets: RingOffsets) -> io::Result<Ring<T>> {
        let octets = offsets.descriptors as usize + RING as usize * size_of::<T>();
        let mapping = Mapping::new(fd, octets, at)?;
        Ok(Ring { mapping, offsets, own: 0, other: 0, of: std::marker::PhantomData })
    }

    pub fn count(&self, offset: u64) -> &AtomicU32 {
        // SAFETY: the kernel says where in the mapping its counts are, aligned; they are shared with it as atomics.
        unsafe { &*self.mapping.start.as_ptr().add(offset as usize).cast::<AtomicU32>() }
    }

    fn place(&self, number: u32) -> *mut T {
        let first = self.mapping.start.as_ptr().wrapping_add(self.offsets.descriptors as usize).cast::<T>();
        first.wrapping_add((number & (RING - 1)) as usize)
    }

    /// The kernel wants to be called before it goes on.
    pub fn sleeps(&self) -> bool {
        self.count(self.offsets.flags).load(Ordering::Relaxed) & 1 != 0
    }

    // As writer

    pub fn room(&mut self) -> u32 {
        if self.own.wrapping_sub(self.other) == RING {
            self.other = self.count(self.offsets.consumer).load(Ordering::Acquire);
        }
        RING - self.own.wrapping_sub(self.other)
    }

    /// There has to be room.
    pub fn write(&mut self, value: T) {
        // SAFETY: `place` is within the mapping; there was room, so the kernel doesn't read it before it is published.
        unsafe { self.place(self.own).write(value) };
        self.own = self.own.wrapping_add(1);
    }

    pub fn publish(&self) {
        self.count(self.offsets.producer).store(self.own, Ordering::Release);
    }

    /// Look how far the other is; whether it went on since the last time.
    pub fn went_on(&mut self) -> bool {
        let before = self.other;
        self.other = self.count(self.offsets.consumer).load(Ordering::Acquire);
        self.other != before
    }

    /// So many were written, those that aren't published included.
    pub fn written(&self) -> u32 {
        self.own
    }

    /// So many it hasn't read, as far as it has told.
    pub fn unread(&self) -> u32 {
        self.own.wrapping_sub(self.count(self.offsets.consumer).load(Ordering::Acquire))
    }

    // As reader

    pub fn read(&mut self) -> Option<T> {
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

    pub fn release(&self) {
        self.count(self.offsets.consumer).store(self.own, Ordering::Release);
    }
}

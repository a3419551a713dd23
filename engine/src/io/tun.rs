//! The TUN: where the kernel hands over clear packets, and takes them back; with offloads, up to 64 KiB at a time.
//!
//! With a virtio header in front of each packet (IFF_VNET_HDR) the kernel gives TCP and UDP in super-packets, whose
//! checksum and segmentation are ours to finish, and takes such back. The parent has opened the device and chosen its flags.

use std::io;
use std::os::fd::RawFd;

use libc::{c_int, c_uint, c_ulong, iovec};

/// Of the header that we ask for.
pub const VIRTIO_OCTETS: usize = 10;
/// The largest packet, with its virtio header.
pub const READ_OCTETS: usize = VIRTIO_OCTETS + 65535;

const TUNGETIFF: c_ulong = 0x800454d2;
const TUNSETOFFLOAD: c_ulong = 0x400454d0;
const TUNSETVNETHDRSZ: c_ulong = 0x400454d8;
const IFF_VNET_HDR: u16 = 0x4000;
const CSUM: c_uint = 0x01;
const TSO4: c_uint = 0x02;
const TSO6: c_uint = 0x04;
const TSO_ECN: c_uint = 0x08;
const USO4: c_uint = 0x20;
const USO6: c_uint = 0x40;

/// The checksum from `checksum_start` on is not finished.
pub const NEEDS_CHECKSUM: u8 = 1;
/// Whoever wrote it has verified the checksum.
pub const DATA_VALID: u8 = 2;
/// Kinds of super-packets.
pub const GSO_NONE: u8 = 0;
/// TCP in IPv4.
pub const GSO_TCP4: u8 = 1;
/// TCP in IPv6.
pub const GSO_TCP6: u8 = 4;
/// UDP in either.
pub const GSO_UDP: u8 = 5;
/// Added to a kind of TCP: the first segment has CWR.
pub const GSO_ECN: u8 = 0x80;

/// What stands in front of a packet. See the virtio specification, section 5.1.6.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs, reason = "the specification's names, written out")]
pub struct VirtioHeader {
    pub flags: u8,
    pub gso_kind: u8,
    pub header_octets: u16,
    pub segment_octets: u16,
    pub checksum_start: u16,
    pub checksum_offset: u16,
}

impl VirtioHeader {
    /// In the machine's own order.
    pub fn parse(octets: &[u8]) -> VirtioHeader {
        let word = |at: usize| u16::from_ne_bytes([octets[at], octets[at + 1]]);
        VirtioHeader {
            flags: octets[0],
            gso_kind: octets[1],
            header_octets: word(2),
            segment_octets: word(4),
            checksum_start: word(6),
            checksum_offset: word(8),
        }
    }

    /// As it stands in front of a packet.
    pub fn emit(&self) -> [u8; VIRTIO_OCTETS] {
        let mut octets = [0; VIRTIO_OCTETS];
        octets[0] = self.flags;
        octets[1] = self.gso_kind;
        let words = [self.header_octets, self.segment_octets, self.checksum_start, self.checksum_offset];
        for (at, word) in words.into_iter().enumerate() {
            octets[2 + 2 * at..4 + 2 * at].copy_from_slice(&word.to_ne_bytes());
        }
        octets
    }
}

/// The device, which was opened by another.
#[derive(Debug)]
pub struct Tun {
    fd: RawFd,
    out: RawFd,
    /// Whether packets have a virtio header.
    pub offloads: bool,
    /// Whether super-packets of UDP are understood.
    pub udp: bool,
}

impl Tun {
    /// Asks the device what it is, and for all the offloads that the kernel has.
    ///
    /// Where `fd` is one queue of several, the kernel gives a flow to the queue that something of it was written to,
    /// whatever waits in another one. So writing goes to an `out` that nothing is read from: the parent has attached it
    /// and detached it again. Else it is `fd`.
    pub fn from_fds(fd: RawFd, out: RawFd) -> io::Result<Tun> {
        let mut request = [0u8; 40];
        // SAFETY: TUNGETIFF fills a struct ifreq, which is 40 octets.
        check(unsafe { libc::ioctl(fd, TUNGETIFF, request.as_mut_ptr()) })?;
        let flags = u16::from_ne_bytes([request[16], request[17]]);
        let offloads = flags & IFF_VNET_HDR != 0;
        let udp = if offloads { ask_for_offloads(fd)? } else { false };
        Ok(Tun { fd, out, offloads, udp })
    }

    /// Anything that gives and takes whole packets: for tests, which have no device.
    pub fn plain(fd: RawFd) -> Tun {
        Tun { fd, out: fd, offloads: false, udp: false }
    }

    /// Anything that takes what a TUN with offloads takes.
    #[cfg(test)]
    pub(super) fn with_offloads(fd: RawFd) -> Tun {
        Tun { fd, out: fd, offloads: true, udp: true }
    }

    /// For a poller.
    pub fn fd(&self) -> RawFd {
        self.fd
    }

    /// The next packet into `octets`, which has room for READ_OCTETS; None where there is none.
    pub fn read<'b>(&self, octets: &'b mut [u8]) -> io::Result<Option<(VirtioHeader, &'b [u8])>> {
        // SAFETY: the pointer and length are of one live slice.
        let got = unsafe { libc::read(self.fd, octets.as_mut_ptr().cast(), octets.len()) };
        if got < 0 {
            let error = io::Error::last_os_error();
            return if error.kind() == io::ErrorKind::WouldBlock { Ok(None) } else { Err(error) };
        }
        let packet = &octets[..got as usize];
        if !self.offloads {
            return Ok(Some((VirtioHeader::default(), packet)));
        }
        if packet.len() < VIRTIO_OCTETS {
            return Ok(None);
        }
        let (header, packet) = packet.split_at(VIRTIO_OCTETS);
        Ok(Some((VirtioHeader::parse(header), packet)))
    }

    /// One packet, in pieces that lie anywhere.
    pub fn write(&self, header: &VirtioHeader, pieces: &[&[u8]]) -> io::Result<()> {
        let front = header.emit();
        let mut vectors = [iovec { iov_base: std::ptr::null_mut(), iov_len: 0 }; PIECES_MAX + 1];
        let mut count = 0;
        let front = if self.offloads { Some(&front[..]) } else { None };
        for piece in front.into_iter().chain(pieces.iter().copied()) {
            vectors[count] = iovec { iov_base: piece.as_ptr().cast_mut().cast(), iov_len: piece.len() };
            count += 1;
        }
        // SAFETY: `vectors` points at slices that live until the call returns, and writev only reads them.
        let written = unsafe { libc::writev(self.out, vectors.as_ptr(), count as c_int) };
        if written < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
    }
}

/// Of one packet that is written.
const PIECES_MAX: usize = 2;

/// Whether those of UDP are among them.
fn ask_for_offloads(fd: RawFd) -> io::Result<bool> {
    let size = VIRTIO_OCTETS as c_int;
    // SAFETY: TUNSETVNETHDRSZ reads one int.
    check(unsafe { libc::ioctl(fd, TUNSETVNETHDRSZ, &size) })?;
    let tcp = CSUM | TSO4 | TSO6 | TSO_ECN;
    // UDP since Linux 6.2; nothing at all is an old kernel's word for "whole packets only".
    for offloads in [tcp | USO4 | USO6, tcp, 0] {
        // SAFETY: TUNSETOFFLOAD takes its argument by value.
        if unsafe { libc::ioctl(fd, TUNSETOFFLOAD, c_ulong::from(offloads)) } == 0 {
            return Ok(offloads & USO4 != 0);
        }
    }
    Err(io::Error::last_os_error())
}

fn check(result: c_int) -> io::Result<()> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

//! Raw sockets: whole IP packets out and in, many per call.

use std::io;
use std::mem::{size_of, zeroed};
use std::net::IpAddr;
use std::os::fd::RawFd;
use std::ptr;

use libc::{c_int, c_uint, c_void, iovec, mmsghdr, msghdr, sockaddr_in, sockaddr_in6, sockaddr_storage};

use super::ancillary::{Ancillary, is_whole};
use super::poller::wait_for_room;
use crate::wire::address::Address;
use crate::wire::ip;

/// Packets in one call.
pub const BATCH: usize = 64;
/// Of one packet that is received.
pub const PACKET_OCTETS: usize = 65535;

/// As the kernel takes an address.
pub(super) fn emit_address(address: Address, port: u16) -> (sockaddr_storage, u32) {
    // SAFETY: all zeros is a valid sockaddr_storage.
    let mut storage: sockaddr_storage = unsafe { zeroed() };
    match IpAddr::from(address) {
        IpAddr::V4(four) => {
            let to = ptr::from_mut(&mut storage).cast::<sockaddr_in>();
            // SAFETY: sockaddr_storage is larger than, and aligned for, every address.
            let to = unsafe { &mut *to };
            to.sin_family = libc::AF_INET as u16;
            to.sin_port = port.to_be();
            to.sin_addr.s_addr = u32::from_ne_bytes(four.octets());
            (storage, size_of::<sockaddr_in>() as u32)
        }
        IpAddr::V6(six) => {
            let to = ptr::from_mut(&mut storage).cast::<sockaddr_in6>();
            // SAFETY: as above.
            let to = unsafe { &mut *to };
            to.sin6_family = libc::AF_INET6 as u16;
            to.sin6_port = port.to_be();
            to.sin6_addr.s6_addr = six.octets();
            (storage, size_of::<sockaddr_in6>() as u32)
        }
    }
}

/// The other way; port 0 where there is none. None for another family.
pub(super) fn parse_address(storage: &sockaddr_storage) -> Option<(Address, u16)> {
    match c_int::from(storage.ss_family) {
        libc::AF_INET => {
            // SAFETY: the family says what it is.
            let from = unsafe { &*ptr::from_ref(storage).cast::<sockaddr_in>() };
            Some((Address::from_octets(&from.sin_addr.s_addr.to_ne_bytes()), u16::from_be(from.sin_port)))
        }
        libc::AF_INET6 => {
            // SAFETY: as above.
            let from = unsafe { &*ptr::from_ref(storage).cast::<sockaddr_in6>() };
            Some((Address::from_octets(&from.sin6_addr.s6_addr), u16::from_be(from.sin6_port)))
        }
        _ => None,
    }
}

/// A socket that sends whole IP packets, header included.
#[derive(Clone, Copy, Debug)]
pub struct RawSender {
    fd: RawFd,
}

impl RawSender {
    /// Opened by the parent.
    pub fn from_fd(fd: RawFd) -> RawSender {
        RawSender { fd }
    }

    /// Send these packets, each to its destination; at most BATCH. How many of them, from the first on, the kernel
    /// took, and why not the next one.
    pub fn send(&self, packets: &[(&[u8], Address)]) -> (usize, Option<io::Error>) {
        let count = packets.len().min(BATCH);
        // SAFETY: all zeros is a valid value of each of these structures.
        let (mut messages, mut vectors, mut addresses) = unsafe {
            (zeroed::<[mmsghdr; BATCH]>(), zeroed::<[iovec; BATCH]>(), zeroed::<[sockaddr_storage; BATCH]>())
        };
        for (at, (packet, destination)) in packets[..count].iter().enumerate() {
            let (address, octets) = emit_address(*destination, 0);
            addresses[at] = address;
            vectors[at] = iovec { iov_base: packet.as_ptr().cast_mut().cast(), iov_len: packet.len() };
            let header = &mut messages[at].msg_hdr;
            header.msg_name = ptr::from_mut(&mut addresses[at]).cast();
            header.msg_namelen = octets;
            header.msg_iov = &mut vectors[at];
            header.msg_iovlen = 1;
        }
        // SAFETY: every pointer in `messages` is to an element of an array that lives until the call returns.
        let sent = unsafe { libc::sendmmsg(self.fd, messages.as_mut_ptr(), count as c_uint, 0) };
        if sent < 0 {
            return (0, Some(io::Error::last_os_error()));
        }
        (sent as usize, None)
    }

    /// Wait until the kernel has room again; false where it has none after so many milliseconds.
    pub fn wait(&self, patience_ms: c_int) -> bool {
        wait_for_room(self.fd, patience_ms)
    }

    /// The MTU of the link that a packet was too large for a moment ago; 0 where the kernel doesn't say. Only what the
    /// kernel says by itself counts: an ICMP message can be anybody's.
    pub fn refused_mtu(&self) -> usize {
        let mut mtu = 0;
        loop {
            let mut control = Ancillary::of_datagram();
            // SAFETY: all zeros is a valid msghdr.
            let mut header: msghdr = unsafe { zeroed() };
            control.lend(&mut header);
            // SAFETY: `header` points at live memory.
            let got = unsafe { libc::recvmsg(self.fd, &mut header, libc::MSG_ERRQUEUE | libc::MSG_DONTWAIT) };
            if got < 0 {
                return mtu;
            }
            mtu = control.local_mtu(&header).unwrap_or(mtu);
        }
    }
}

/// Many packets that arrived, one behind the other in one memory.
#[derive(Default)]
pub struct Received {
    /// Where they lie.
    pub octets: Vec<u8>,
    /// Each.
    pub packets: Vec<std::ops::Range<usize>>,
}

impl Received {
    /// Forget them; the memory stays.
    pub fn clear(&mut self) {
        self.octets.clear();
        self.packets.clear();
    }
}

/// A socket that packets of one security protocol, or ICMP, arrive at.
pub struct RawReceiver {
    fd: RawFd,
    version: u8,
    protocol: u8,
    octets: Vec<u8>,
    /// None for IPv4, where the kernel shows the header.
    ancillary: Vec<Ancillary>,
}

/// In front of a raw IPv6 packet, room for the header that the kernel doesn't show.
const ROOM: usize = ip::IPV6_HEADER_OCTETS;
const STRIDE: usize = ROOM + PACKET_OCTETS;
/// In the place of one of whose headers the kernel couldn't say all: it dies as one whose header is damaged.
const NO_PACKET: [u8; 1] = [0];

impl RawReceiver {
    /// Opened by the parent.
    pub fn from_fd(fd: RawFd) -> io::Result<RawReceiver> {
        let family = option(fd, libc::SO_DOMAIN)?;
        let protocol = option(fd, libc::SO_PROTOCOL)? as u8;
        let version = if family == libc::AF_INET { 4 } else { 6 };
        let octets = vec![0; STRIDE * BATCH];
        let said_of = if version == 4 { 0 } else { BATCH };
        let ancillary = (0..said_of).map(|_| Ancillary::of_packet()).collect();
        Ok(RawReceiver { fd, version, protocol, octets, ancillary })
    }

    /// For a poller.
    pub fn fd(&self) -> RawFd {
        self.fd
    }

    /// Append what has arrived to `to`, from the IP header on; how many there were.
    pub fn receive(&mut self, to: &mut Received) -> io::Result<usize> {
        // SAFETY: all zeros is a valid value of each of these structures.
        let (mut messages, mut vectors, mut addresses) = unsafe {
            (zeroed::<[mmsghdr; BATCH]>(), zeroed::<[iovec; BATCH]>(), zeroed::<[sockaddr_storage; BATCH]>())
        };
        for at in 0..BATCH {
            let start = at * STRIDE + ROOM;
            let place = &mut self.octets[start..start + PACKET_OCTETS];
            vectors[at] = iovec { iov_base: place.as_mut_ptr().cast::<c_void>(), iov_len: place.len() };
            let header = &mut messages[at].msg_hdr;
            header.msg_iov = &mut vectors[at];
            header.msg_iovlen = 1;
            header.msg_name = ptr::from_mut(&mut addresses[at]).cast();
            header.msg_namelen = size_of::<sockaddr_storage>() as u32;
            if self.version == 6 {
                self.ancillary[at].lend(header);
            }
        }
        let count = BATCH as c_uint;
        // SAFETY: every pointer in `messages` is to memory that lives until the call returns.
        let got = unsafe { libc::recvmmsg(self.fd, messages.as_mut_ptr(), count, libc::MSG_DONTWAIT, ptr::null_mut()) };
        if got < 0 {
            return Err(io::Error::last_os_error());
        }
        for at in 0..got as usize {
            let begin = to.octets.len();
            self.append(at, &messages[at], &addresses[at], &mut to.octets);
            to.packets.push(begin..to.octets.len());
        }
        Ok(got as usize)
    }

    fn append(&self, at: usize, message: &mmsghdr, address: &sockaddr_storage, to: &mut Vec<u8>) {
        let payload = &self.octets[at * STRIDE + ROOM..][..message.msg_len as usize];
        if self.version == 6 {
            let source = parse_address(address).filter(|_| is_whole(&message.msg_hdr));
            let Some((source, _)) = source else { return to.extend_from_slice(&NO_PACKET) };
            self.ancillary[at].write_header6(&message.msg_hdr, source, self.protocol, payload.len(), to);
        }
        to.extend_from_slice(payload);
    }
}

fn option(fd: RawFd, name: c_int) -> io::Result<c_int> {
    let (mut value, mut octets): (c_int, u32) = (0, size_of::<c_int>() as u32);
    let place = ptr::from_mut(&mut value).cast();
    // SAFETY: `value` is as long as `octets` says.
    if unsafe { libc::getsockopt(fd, libc::SOL_SOCKET, name, place, &mut octets) } < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(value)
}

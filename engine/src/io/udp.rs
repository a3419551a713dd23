//! ESP in UDP (RFC 3948) with the kernel's segmentation (UDP_SEGMENT) and its reverse (UDP_GRO): a run of equally long
//! packets crosses the kernel as one.
//!
//! The kernel's UDP makes the headers. With segmentation it fills in a checksum in IPv4 too, where RFC 3948 section 2.1
//! would have none; receivers have to take both.

use std::cell::Cell;
use std::io;
use std::mem::{size_of, zeroed};
use std::ops::Range;
use std::os::fd::RawFd;
use std::ptr;

use libc::{c_int, c_uint, c_void, iovec, mmsghdr, msghdr, sockaddr_storage};

use super::ancillary::{Ancillary, is_whole};
use super::poller::wait_for_room;
use super::raw::{emit_address, parse_address};
use crate::transform::batch_in::{Arrived, Headers};
use crate::transform::batch_out::Outer;
use crate::wire::address::Address;

const UDP_SEGMENT: c_int = 103;
const UDP_GRO: c_int = 104;
const PMTUDISC_PROBE: c_int = 3;
const PMTUDISC_INTERFACE: c_int = 4;
/// Segments in one call, as the kernel has it.
pub const SEGMENTS_MAX: usize = 64;
/// Of one datagram, or of a run of them.
pub const OCTETS_MAX: usize = 65507;
/// Runs of datagrams in one call.
pub const BATCH: usize = 16;
const PLACE_OCTETS: usize = 65536;

/// A port that ESP in UDP leaves from and arrives at.
pub struct UdpPort {
    fd: RawFd,
    /// 4 or 6.
    pub version: u8,
    /// Of this host.
    pub port: u16,
    octets: Vec<u8>,
    ancillary: Vec<Ancillary>,
    dont_fragment: Cell<Option<bool>>,
}

/// What a run of datagrams has in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "as in the headers")]
pub struct Way {
    pub source: Address,
    pub destination: Address,
    pub destination_port: u16,
    pub outer: Outer,
}

/// Room for what is said of a run: segment size, source address, traffic class, hops.
#[repr(C, align(8))]
struct Sayings {
    octets: [u8; 160],
    used: usize,
}

impl Sayings {
    fn say<T: Copy>(&mut self, level: c_int, kind: c_int, value: T) {
        let octets = size_of::<libc::cmsghdr>() + size_of::<T>();
        // SAFETY: all zeros is a valid cmsghdr.
        let mut one: libc::cmsghdr = unsafe { zeroed() };
        one.cmsg_len = octets as _;
        one.cmsg_level = level;
        one.cmsg_type = kind;
        let at = self.used;
        self.used += octets.next_multiple_of(size_of::<usize>());
        assert!(self.used <= self.octets.len(), "what is said of a run has a known size");
        // SAFETY: the assertion says that both lie within `octets`; neither write needs alignment.
        unsafe {
            ptr::write_unaligned(self.octets.as_mut_ptr().add(at).cast(), one);
            let behind = at + size_of::<libc::cmsghdr>();
            ptr::write_unaligned(self.octets.as_mut_ptr().add(behind).cast(), value);
        }
    }

    fn of(way: &Way, segment: Option<usize>) -> Sayings {
        let mut said = Sayings { octets: [0; 160], used: 0 };
        if let Some(octets) = segment {
            said.say(libc::IPPROTO_UDP, UDP_SEGMENT, octets as u16);
        }
        let (class, hops) = (c_int::from(way.outer.traffic_class), c_int::from(way.outer.hops));
        if way.source.version == 4 {
            // struct in_pktinfo: link, source address, unused.
            let info: [u32; 3] = [0, (way.source.value as u32).to_be(), 0];
            said.say(libc::IPPROTO_IP, libc::IP_PKTINFO, info);
            said.say(libc::IPPROTO_IP, libc::IP_TOS, class);
            said.say(libc::IPPROTO_IP, libc::IP_TTL, hops);
        } else {
            let info = (way.source.value.to_be_bytes(), 0u32);
            let mut octets = [0u8; 20];
            octets[..16].copy_from_slice(&info.0);
            said.say(libc::IPPROTO_IPV6, libc::IPV6_PKTINFO, octets);
            said.say(libc::IPPROTO_IPV6, libc::IPV6_TCLASS, class);
            said.say(libc::IPPROTO_IPV6, libc::IPV6_HOPLIMIT, hops);
        }
        said
    }
}

fn set(fd: RawFd, level: c_int, name: c_int, value: c_int) -> io::Result<()> {
    let place = ptr::from_ref(&value).cast();
    // SAFETY: `value` is one live int.
    let result = unsafe { libc::setsockopt(fd, level, name, place, size_of::<c_int>() as u32) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

impl UdpPort {
    /// Opened and bound by the parent. Without UDP_GRO in the kernel, datagrams come singly.
    pub fn from_fd(fd: RawFd, version: u8, port: u16) -> UdpPort {
        let _ = set(fd, libc::IPPROTO_UDP, UDP_GRO, 1);
        UdpPort {
            fd,
            version,
            port,
            octets: vec![0; BATCH * PLACE_OCTETS],
            ancillary: (0..BATCH).map(|_| Ancillary::of_datagram()).collect(),
            dont_fragment: Cell::new(None),
        }
    }

    /// For a poller.
    pub fn fd(&self) -> RawFd {
        self.fd
    }

    /// Whether a run may still take a datagram of `octets`: all of it is equally long, but for a shorter last one.
    pub fn fits(run_octets: usize, count: usize, segment: usize, last: usize, octets: usize) -> bool {
        count < SEGMENTS_MAX && run_octets + octets <= OCTETS_MAX && last == segment && octets <= segment
    }

    /// Send a run of datagrams, which lie one behind the other, each `segment` octets but for a shorter last one.
    pub fn send(&self, way: &Way, run: &[u8], segment: usize) -> io::Result<()> {
        self.choose_dont_fragment(way)?;
        let said = Sayings::of(way, (run.len() > segment).then_some(segment));
        let (mut address, octets) = emit_address(way.destination, way.destination_port);
        let mut vector = iovec { iov_base: run.as_ptr().cast_mut().cast::<c_void>(), iov_len: run.len() };
        // SAFETY: all zeros is a valid msghdr.
        let mut header: msghdr = unsafe { zeroed() };
        header.msg_name = ptr::from_mut(&mut address).cast();
        header.msg_namelen = octets;
        header.msg_iov = &mut vector;
        header.msg_iovlen = 1;
        header.msg_control = said.octets.as_ptr().cast_mut().cast();
        header.msg_controllen = said.used as _;
        // SAFETY: every pointer in `header` is to memory that lives until the call returns, and is only read.
        if unsafe { libc::sendmsg(self.fd, &header, libc::MSG_DONTWAIT) } < 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(())
    }

    /// Wait until the kernel has room again; false where it has none after so many milliseconds.
    pub fn wait(&self, patience_ms: c_int) -> bool {
        wait_for_room(self.fd, patience_ms)
    }

    /// The DF bit belongs to the socket: it is changed where a run wants another one than the last. Either way the link's
    /// MTU counts and not the path's, as for IPv6 the parent has asked for.
    fn choose_dont_fragment(&self, way: &Way) -> io::Result<()> {
        if way.source.version == 6 || self.dont_fragment.get() == Some(way.outer.dont_fragment) {
            return Ok(());
        }
        let choice = if way.outer.dont_fragment { PMTUDISC_PROBE } else { PMTUDISC_INTERFACE };
        set(self.fd, libc::IPPROTO_IP, libc::IP_MTU_DISCOVER, choice)?;
        self.dont_fragment.set(Some(way.outer.dont_fragment));
        Ok(())
    }

    /// Append what has arrived to `arrived`: where its payload lies in this port's memory, and what its headers said. How
    /// many runs of datagrams there were.
    pub fn receive(&mut self, arrived: &mut Vec<Arrived>) -> io::Result<usize> {
        // SAFETY: all zeros is a valid value of each of these structures.
        let (mut messages, mut vectors, mut addresses) = unsafe {
            (zeroed::<[mmsghdr; BATCH]>(), zeroed::<[iovec; BATCH]>(), zeroed::<[sockaddr_storage; BATCH]>())
        };
        // What was lent and met a mistake didn't come back.
        self.octets.resize(BATCH * PLACE_OCTETS, 0);
        for at in 0..BATCH {
            let place = &mut self.octets[at * PLACE_OCTETS..(at + 1) * PLACE_OCTETS];
            vectors[at] = iovec { iov_base: place.as_mut_ptr().cast::<c_void>(), iov_len: place.len() };
            let header = &mut messages[at].msg_hdr;
            header.msg_iov = &mut vectors[at];
            header.msg_iovlen = 1;
            header.msg_name = ptr::from_mut(&mut addresses[at]).cast();
            header.msg_namelen = size_of::<sockaddr_storage>() as u32;
            self.ancillary[at].lend(header);
        }
        let count = BATCH as c_uint;
        // SAFETY: every pointer in `messages` is to memory that lives until the call returns.
        let got = unsafe { libc::recvmmsg(self.fd, messages.as_mut_ptr(), count, libc::MSG_DONTWAIT, ptr::null_mut()) };
        if got < 0 {
            return Err(io::Error::last_os_error());
        }
        for at in 0..got as usize {
            self.append(at, &messages[at], &addresses[at], arrived);
        }
        Ok(got as usize)
    }

    /// Its memory, to be opened in place and given back.
    pub fn lend_octets(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.octets)
    }

    /// As above.
    pub fn take_back(&mut self, octets: Vec<u8>) {
        self.octets = octets;
    }

    fn append(&self, at: usize, message: &mmsghdr, address: &sockaddr_storage, arrived: &mut Vec<Arrived>) {
        let begin = at * PLACE_OCTETS;
        let source = parse_address(address).filter(|_| is_whole(&message.msg_hdr));
        let Some((source, source_port)) = source else {
            // One octet without headers is no packet, and dies as one whose header is damaged.
            return arrived.push(Arrived { range: begin..begin + 1, headers: None });
        };
        let facts = self.ancillary[at].datagram_facts(&message.msg_hdr);
        let headers = Headers {
            source,
            destination: facts.destination.unwrap_or(source),
            traffic_class: facts.traffic_class,
            hops: facts.hops,
            source_port,
            destination_port: self.port,
        };
        for range in pieces(begin, message.msg_len as usize, facts.segment_octets) {
            arrived.push(Arrived { range, headers: Some(headers) });
        }
    }
}

/// The datagrams in a run of them.
fn pieces(begin: usize, octets: usize, segment: usize) -> impl Iterator<Item = Range<usize>> {
    let segment = if segment == 0 { octets.max(1) } else { segment };
    let count = octets.div_ceil(segment).max(1);
    (0..count).map(move |number| begin + number * segment..begin + octets.min((number + 1) * segment))
}

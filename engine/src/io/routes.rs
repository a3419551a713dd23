//! Where frames go: the link and the two link addresses for a destination, asked of the kernel (rtnetlink).
//!
//! The kernel finds neighbours out and looks after them; what it doesn't know yet, or no more, is for the raw socket, which
//! makes it look. So now and then one burst goes by the raw socket all the same: its packets have the kernel ask a silent
//! neighbour whether it is still there. Whatever changes on the host (addresses, links, neighbours, routes, rules) makes
//! all answers void at once.

use std::io;
use std::os::fd::RawFd;

use rustc_hash::FxHashMap;

use super::xsk::LINK_HEADER_OCTETS;
use crate::wire::address::Address;

/// An answer is good for so long, in seconds. Then one burst should be the kernel's.
const GOOD_SECONDS: f64 = 1.0;
/// After which the kernel is asked again where it had none.
const SILENCE_SECONDS: f64 = 0.1;
const RECEIVE_OCTETS: usize = 1 << 16;

const HEADER_OCTETS: usize = 16;
const REQUEST: u16 = 1;
const ERROR: u16 = 2;
const NEW_LINK: u16 = 16;
const GET_LINK: u16 = 18;
const NEW_ROUTE: u16 = 24;
const GET_ROUTE: u16 = 26;
const NEW_NEIGHBOUR: u16 = 28;
const GET_NEIGHBOUR: u16 = 30;

const ROUTE_DESTINATION: u16 = 1;
const ROUTE_LINK: u16 = 4;
const ROUTE_GATEWAY: u16 = 5;
const ROUTE_MARK: u16 = 16;
const ROUTE_VIA: u16 = 18;
const UNICAST: u8 = 1;
const NEIGHBOUR_DESTINATION: u16 = 1;
const NEIGHBOUR_ADDRESS: u16 = 2;
/// Reachable, stale, delay, probe, noarp, permanent: the kernel itself would send there.
const SENDABLE: u16 = 0x02 | 0x04 | 0x08 | 0x10 | 0x40 | 0x80;
const LINK_ADDRESS: u16 = 1;
const LINK_MTU: u16 = 4;
/// SO_MARK of all that the gateway sends: see `userspace/marks.py`.
const OWN_MARK: u32 = 0x4355_0002;

/// How a packet leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hop {
    /// The link's index.
    pub link: u32,
    /// Of the largest packet.
    pub mtu: usize,
    /// What stands in front of the packet.
    pub header: [u8; LINK_HEADER_OCTETS],
}

struct Answer {
    hop: Option<Hop>,
    until: f64,
}

/// What the kernel answered.
pub struct Routes {
    fd: RawFd,
    number: u32,
    answers: FxHashMap<Address, Answer>,
    octets: Vec<u8>,
}

impl Routes {
    /// A socket of rtnetlink that doesn't block, and that hears of changes.
    pub fn from_fd(fd: RawFd) -> Routes {
        Routes { fd, number: 0, answers: FxHashMap::default(), octets: vec![0; RECEIVE_OCTETS] }
    }

    /// For a poller.
    pub fn fd(&self) -> RawFd {
        self.fd
    }

    /// The way to a destination, and whether the raw socket should have a burst all the same; None where it has to find one.
    pub fn hop(&mut self, destination: Address, now: f64) -> Option<(Hop, bool)> {
        if let Some(answer) = self.answers.get(&destination)
            && now < answer.until
            && answer.until < now + 2.0 * GOOD_SECONDS
        {
            return answer.hop.map(|hop| (hop, false));
        }
        let had_one = self.answers.remove(&destination).is_some_and(|answer| answer.hop.is_some());
        let hop = self.ask(destination);
        let patience = if hop.is_some() { GOOD_SECONDS } else { SILENCE_SECONDS };
        self.answers.insert(destination, Answer { hop, until: now + patience });
        hop.map(|hop| (hop, had_one))
    }

    /// Something changed on the host.
    pub fn forget(&mut self) {
        while self.receive().is_ok_and(|octets| octets > 0) {}
        self.answers.clear();
    }

    fn ask(&mut self, destination: Address) -> Option<Hop> {
        let (link, gateway) = self.route(destination)?;
        let (mtu, source) = self.link(link)?;
        let neighbour = self.neighbour(link, gateway.unwrap_or(destination))?;
        let kind: [u8; 2] = if destination.version == 4 { [0x08, 0x00] } else { [0x86, 0xDD] };
        let mut header = [0; LINK_HEADER_OCTETS];
        header[..6].copy_from_slice(&neighbour);
        header[6..12].copy_from_slice(&source);
        header[12..].copy_from_slice(&kind);
        Some(Hop { link, mtu, header })
    }

    fn route(&mut self, destination: Address) -> Option<(u32, Option<Address>)> {
        let octets = octets_of(destination);
        let mut body = vec![family(destination), octets.len() as u8 * 8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        add_attribute(&mut body, ROUTE_DESTINATION, &octets);
        add_attribute(&mut body, ROUTE_MARK, &OWN_MARK.to_ne_bytes());
        let reply = self.request(GET_ROUTE, NEW_ROUTE, &body)?;
        let (head, attributes) = reply.split_at_checked(12)?;
        if head[7] != UNICAST {
            return None;
        }
        let (mut link, mut gateway) = (None, None);
        for (kind, value) in Attributes(attributes) {
            match kind {
                ROUTE_LINK => link = Some(u32::from_ne_bytes(value.try_into().ok()?)),
                ROUTE_GATEWAY => gateway = Some(parse_octets(value)?),
                // A gateway of the other family: its own in front.
                ROUTE_VIA => gateway = Some(parse_octets(value.get(2..)?)?),
                _ => {}
            }
        }
        Some((link?, gateway))
    }

    fn link(&mut self, link: u32) -> Option<(usize, [u8; 6])> {
        let mut body = vec![0; 16];
        body[4..8].copy_from_slice(&link.to_ne_bytes());
        let reply = self.request(GET_LINK, NEW_LINK, &body)?;
        let (mut mtu, mut address) = (None, None);
        for (kind, value) in Attributes(reply.get(16..)?) {
            match kind {
                LINK_MTU => mtu = Some(u32::from_ne_bytes(value.try_into().ok()?) as usize),
                LINK_ADDRESS => address = value.try_into().ok(),
                _ => {}
            }
        }
        Some((mtu?, address?))
    }

    fn neighbour(&mut self, link: u32, address: Address) -> Option<[u8; 6]> {
        let mut body = vec![family(address), 0, 0, 0];
        body.extend(link.to_ne_bytes());
        body.extend([0; 4]);
        add_attribute(&mut body, NEIGHBOUR_DESTINATION, &octets_of(address));
        let reply = self.request(GET_NEIGHBOUR, NEW_NEIGHBOUR, &body)?;
        let (head, attributes) = reply.split_at_checked(12)?;
        if u16::from_ne_bytes([head[8], head[9]]) & SENDABLE == 0 {
            return None;
        }
        let mut found = Attributes(attributes).filter(|(kind, _)| *kind == NEIGHBOUR_ADDRESS);
        found.next()?.1.try_into().ok()
    }

    /// The body of the kernel's reply, which is there when the request has been sent. What else was waiting tells of
    /// changes: then nothing that was known before counts.
    fn request(&mut self, kind: u16, expected: u16, body: &[u8]) -> Option<Vec<u8>> {
        self.number = self.number.wrapping_add(1).max(1);
        let mut message = Vec::with_capacity(HEADER_OCTETS + body.len());
        message.extend(((HEADER_OCTETS + body.len()) as u32).to_ne_bytes());
        message.extend(kind.to_ne_bytes());
        message.extend(REQUEST.to_ne_bytes());
        message.extend(self.number.to_ne_bytes());
        message.extend([0; 4]);
        message.extend(body);
        // SAFETY: pointer and length are of one live vector.
        let sent = unsafe { libc::send(self.fd, message.as_ptr().cast(), message.len(), libc::MSG_DONTWAIT) };
        if sent < 0 {
            return None;
        }
        loop {
            let octets = self.receive().ok().filter(|octets| *octets > 0)?;
            for (kind, number, body) in Messages(&self.octets[..octets]) {
                if number == self.number && (kind == expected || kind == ERROR) {
                    return (kind == expected).then(|| body.to_vec());
                }
            }
            self.answers.clear();
        }
    }

    fn receive(&mut self) -> io::Result<usize> {
        let place = self.octets.as_mut_ptr().cast();
        // SAFETY: `octets` has so many octets.
        let got = unsafe { libc::recv(self.fd, place, self.octets.len(), libc::MSG_DONTWAIT) };
        match got {
            0.. => Ok(got as usize),
            _ => {
                let error = io::Error::last_os_error();
                // ENOBUFS: more happened than could be told.
                let more = matches!(error.raw_os_error(), Some(libc::ENOBUFS | libc::EINTR));
                if more { self.receive() } else { Err(error) }
            }
        }
    }
}

fn family(address: Address) -> u8 {
    if address.version == 4 { libc::AF_INET as u8 } else { libc::AF_INET6 as u8 }
}

fn octets_of(address: Address) -> Vec<u8> {
    match std::net::IpAddr::from(address) {
        std::net::IpAddr::V4(four) => four.octets().to_vec(),
        std::net::IpAddr::V6(six) => six.octets().to_vec(),
    }
}

fn parse_octets(octets: &[u8]) -> Option<Address> {
    matches!(octets.len(), 4 | 16).then(|| Address::from_octets(octets))
}

fn add_attribute(to: &mut Vec<u8>, kind: u16, value: &[u8]) {
    to.extend((4 + value.len() as u16).to_ne_bytes());
    to.extend(kind.to_ne_bytes());
    to.extend(value);
    to.resize(to.len().next_multiple_of(4), 0);
}

/// Kind, number and body of each message.
struct Messages<'a>(&'a [u8]);

impl<'a> Iterator for Messages<'a> {
    type Item = (u16, u32, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let head = self.0.get(..HEADER_OCTETS)?;
        let octets = u32::from_ne_bytes(head[..4].try_into().ok()?) as usize;
        let (kind, number) = (u16::from_ne_bytes([head[4], head[5]]), u32::from_ne_bytes(head[8..12].try_into().ok()?));
        let body = self.0.get(HEADER_OCTETS..octets)?;
        self.0 = self.0.get(octets.next_multiple_of(4)..).unwrap_or(&[]);
        Some((kind, number, body))
    }
}

/// Kind and value of each attribute.
struct Attributes<'a>(&'a [u8]);

impl<'a> Iterator for Attributes<'a> {
    type Item = (u16, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let head = self.0.get(..4)?;
        let octets = usize::from(u16::from_ne_bytes([head[0], head[1]]));
        let value = self.0.get(4..octets)?;
        self.0 = self.0.get(octets.next_multiple_of(4)..).unwrap_or(&[]);
        Some((u16::from_ne_bytes([head[2], head[3]]) & 0x3FFF, value))
    }
}

#[cfg(test)]
mod tests {
    use super::{Attributes, Messages, Routes, add_attribute};
    use crate::wire::address::Address;

    #[test]
    fn lengths_that_lie_end_the_reading() {
        for octets in 0..40u8 {
            let mut message = vec![octets, 0, 0, 0, 24, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0];
            message.extend([octets, 0, 4, 0, 7, 7, 7, 7]);
            assert!(Messages(&message).count() <= 1);
            assert!(Attributes(&message[16..]).count() <= 2);
        }
        let mut body = Vec::new();
        add_attribute(&mut body, 5, &[1, 2, 3]);
        add_attribute(&mut body, 6, &[]);
        let read: Vec<(u16, Vec<u8>)> = Attributes(&body).map(|(kind, value)| (kind, value.to_vec())).collect();
        assert_eq!(read, [(5, vec![1, 2, 3]), (6, vec![])]);
    }

    #[test]
    fn what_is_no_link_of_ethernet_is_left_to_the_raw_socket() {
        // SAFETY: no pointers.
        let fd = unsafe { libc::socket(libc::AF_NETLINK, libc::SOCK_RAW | libc::SOCK_CLOEXEC, libc::NETLINK_ROUTE) };
        let mut routes = Routes::from_fd(fd);
        assert!(routes.hop(Address::from_octets(&[127, 0, 0, 1]), 1.0).is_none());
        // SAFETY: this descriptor was made here.
        unsafe { libc::close(fd) };
    }
}
